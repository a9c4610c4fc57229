//go:build linux

package torture

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"

	"muster.dev/cmd/muster/stack"
	"muster.dev/services/ingest/sink"
)

// fault is one thing that goes wrong. do injects it and says how many processes it killed; when it returns, everything
// that belongs to the stack is free to come back.
type fault struct {
	name   string
	weight int // in the full form's lottery
	do     func(*run) int
}

const silence = "the store is silent"

// run is a torture under way.
type run struct {
	*site
	fleet  *fleet
	port   int // of the second gateway
	second *proc
	report *report
}

// gatewayB starts the second gateway.
func (r *run) gatewayB() {
	r.second = r.site.run(stack.Gateway, "MUSTER_NAME=second", "MUSTER_LISTEN="+stack.Loopback(r.port), "MUSTER_MQTT_LISTEN=")
}

// faults are all of them. Those that die at a point of the protocol come first.
func faults() []fault {
	var all []fault
	for _, point := range sink.CrashPoints() {
		all = append(all, fault{"sink dies at " + point, 2, func(r *run) int { return r.dieAt(point) }})
	}
	return append(all,
		fault{"sink killed", 4, func(r *run) int { return r.killed(stack.Sink) }},
		fault{"sinks killed, one after another", 6, (*run).burst},
		fault{"three sinks, one of them killed every 0.5 to 3 s", 2, (*run).reap},
		fault{"clickhouse killed", 4, func(r *run) int { return r.killed(stack.ClickHouse) }},
		fault{"clickhouse and sink killed at once", 3, func(r *run) int { return r.killed(stack.ClickHouse, stack.Sink) }},
		fault{"kafka killed", 4, func(r *run) int { return r.killed(stack.Kafka) }},
		fault{"kafka, gateway and sink killed at once", 3, func(r *run) int { return r.killed(stack.Kafka, stack.Gateway, stack.Sink) }},
		fault{"gateways killed in turn", 5, (*run).gateways},
		fault{"registry killed", 2, func(r *run) int { return r.killed(stack.Registry) }},
		fault{"sink stopped, another takes over, the first wakes", 4, (*run).zombie},
		fault{"sinks join and leave", 4, (*run).storm},
		fault{"a metric is new, the sink dies with its plan written", 3, (*run).schema},
		fault{"everything killed at once", 2, (*run).everything},
		fault{silence, 1, func(r *run) int {
			return r.blackhole(map[bool]time.Duration{false: 6 * time.Second, true: time.Minute}[full()])
		}},
	)
}

// killed kills supervised parts at one instant.
func (r *run) killed(parts ...string) int {
	n := 0
	for _, p := range parts {
		if r.kill(p) {
			n++
		}
	}
	return n
}

// dieAt has a sink of our own join and die at a point of the protocol.
func (r *run) dieAt(point string) int {
	p := r.site.run(stack.Sink, "MUSTER_CRASH_AT="+point+":"+strconv.Itoa(1+r.rng.IntN(3)))
	select {
	case <-p.ended:
		return 1
	case <-time.After(patience):
		r.t.Errorf("a sink that was to die at %s lives after %s", point, patience)
		p.kill()
		return 0
	}
}

// burst kills the supervised sink and others that come up meanwhile.
func (r *run) burst() int {
	n := 0
	for range 2 + r.rng.IntN(3) {
		p := r.site.run(stack.Sink)
		<-time.After(300*time.Millisecond + r.upTo(1500*time.Millisecond))
		if r.rng.IntN(3) == 0 && r.kill(stack.Sink) {
			n++
		}
		<-time.After(r.upTo(500 * time.Millisecond))
		p.kill()
		n++
	}
	return n
}

// reap keeps three sinks beside the supervised one and kills one of them again and again.
func (r *run) reap() int {
	var in [3]*proc
	for i := range in {
		in[i] = r.site.run(stack.Sink)
	}
	n := 0
	for end := time.Now().Add(40 * time.Second); time.Now().Before(end); n++ {
		<-time.After(500*time.Millisecond + r.upTo(2500*time.Millisecond))
		i := r.rng.IntN(len(in))
		in[i].kill()
		in[i] = r.site.run(stack.Sink)
	}
	for _, p := range in {
		p.kill()
	}
	return n + len(in)
}

func (r *run) upTo(d time.Duration) time.Duration { return time.Duration(r.rng.Int64N(int64(d))) }

// gateways kills both, again and again, under the requests that are in flight.
func (r *run) gateways() int {
	n := 0
	for range 2 + r.rng.IntN(3) {
		if r.rng.IntN(3) > 0 {
			r.second.kill()
			n++
			r.gatewayB()
		} else if r.kill(stack.Gateway) {
			n++
		}
		<-time.After(r.upTo(time.Second))
	}
	return n
}

// zombie stops the sink for longer than its session, lets another own its partitions, and wakes it.
func (r *run) zombie() int {
	pid, err := r.pid(stack.Sink)
	if err != nil {
		return 0 // it is being started again after the fault before
	}
	p := r.site.run(stack.Sink)
	defer p.leave(30 * time.Second)
	<-time.After(r.upTo(time.Second))
	stopped := time.Now()
	if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
		return 0
	}
	if _, err := r.moves(stopped.Add(r.session()), patience); err != nil {
		r.t.Errorf("the sink that was to take over does not store: %v", err)
	}
	_ = syscall.Kill(pid, syscall.SIGCONT)
	_, err = r.moves(time.Now(), patience)
	if err != nil {
		r.t.Errorf("after the zombie woke: %v", err)
	}
	return 0
}

func (s *site) session() time.Duration {
	if s.pace.session == 0 {
		return sink.DefaultConfig().SessionTimeout
	}
	return s.pace.session
}

// storm makes the group rebalance without end for a while.
func (r *run) storm() int {
	n := 0
	var in []*proc
	for range 4 + r.rng.IntN(5) {
		in = append(in, r.site.run(stack.Sink))
		<-time.After(200*time.Millisecond + r.upTo(800*time.Millisecond))
		if len(in) > 2 {
			i := r.rng.IntN(len(in))
			if r.rng.IntN(2) == 0 {
				in[i].kill()
				n++
			} else {
				_ = in[i].cmd.Process.Signal(syscall.SIGTERM)
			}
			in = append(in[:i], in[i+1:]...)
		}
	}
	for _, p := range in {
		if !p.leave(30 * time.Second) {
			r.t.Errorf("%s did not stop within 30 s", p.name)
		}
	}
	return n
}

// schema makes devices send what they never sent, has a sink die with a plan of the old revision written, and waits
// until the registry gave the metric its column: the plan is replayed under the new one.
func (r *run) schema() int {
	before := r.columns()
	n := r.fleet.metrics.Add(1)
	killed := r.dieAt("plan.committed") + r.dieAt("insert.acked")
	err := r.within(patience, func(context.Context) error {
		if now := r.columns(); now <= before {
			return fmt.Errorf("%d columns before metric %d, %d now", before, n, now)
		}
		return nil
	})
	if err != nil {
		r.t.Errorf("the new metric got no column within %s: %v", patience, err)
	}
	return killed
}

func (s *site) columns() uint64 {
	var n uint64
	ctx, cancel := context.WithTimeout(s.t.Context(), 10*time.Second)
	defer cancel()
	_ = s.house.Conn().QueryRow(ctx, "SELECT count() FROM system.columns WHERE database = 'muster' AND startsWith(table, 'w_') AND name LIKE '%extra%'").Scan(&n)
	return n // none while the store is away
}

// everything is a machine that stops: all processes at one instant, and `muster up` again.
func (r *run) everything() int {
	n := r.killAll()
	r.start()
	r.gatewayB()
	return n
}

// inject does one fault and measures how long it takes until every partition stores again what was accepted after
// it.
func (r *run) inject(f fault) {
	r.t.Helper()
	began := time.Now()
	killed := f.do(r)
	at := time.Now()
	rto, err := r.moves(at, patience)
	if err != nil {
		r.t.Errorf("%s: the ledger does not move again within %s: %v", f.name, patience, err)
	}
	r.report.add(f.name, killed, rto, err)
	r.t.Logf("%6s  %-55s %2d killed, recovered in %s", time.Since(r.report.began).Round(100*time.Millisecond), f.name, killed, rto.Round(10*time.Millisecond))
	if r.second.dead() {
		r.t.Errorf("the second gateway ended by itself during %q, which began at %s", f.name, began.Format("15:04:05"))
		r.gatewayB()
	}
}

// rss is the resident memory of a process in bytes.
func rss(pid int) (int64, error) {
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(raw)) {
		if rest, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			kb, err := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(rest), " kB"), 10, 64)
			return kb << 10, err
		}
	}
	return 0, errors.New("no VmRSS")
}
