//go:build linux

package torture

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"slices"
	"sync"
	"testing"
	"time"

	"muster.dev/cmd/muster/stack"
	"muster.dev/cmd/muster/stack/stacktest"
)

// backWithin is how soon a gateway must accept again once the broker is back.
const backWithin = 5 * time.Second

const (
	sinceReady = "both gateways accept again, since the broker is ready"
	sinceTaken = "both gateways accept again, since its port is open"
	brokerBack = "the broker is ready, since it was started"
)

// absence is one death of the broker as its port showed it.
type absence struct {
	died    time.Time // the process is gone for sure
	refused time.Time // when somebody knocked in vain for the last time
	taken   time.Time // when the port was seen open
	ready   time.Time // when it said that it is ready
}

// Row 19 of the fault matrix. Devices send through two gateways over TLS while the broker is killed again and again:
// what was accepted is there, nothing new is accepted while there is no broker, and both gateways accept again soon
// after. Full: 2,000 devices, 50 deaths.
func TestTortureNothingIsAcceptedWhileThereIsNoBroker(t *testing.T) {
	if testing.Short() {
		t.Skip("SKIPPED: -short")
	}
	n := seed(t)
	form, p := timings("the broker dies under the fleet")
	h, deaths := usual(60, 300*time.Millisecond), 3
	if full() {
		// Such a fleet comes back over seconds, not at one instant, as the gateway asks it to.
		h, deaths = habits{devices: 2000, wait: 3 * time.Second, again: 2 * time.Second, cuts: 100}, 50
	}
	deaths = kills(t, deaths)
	s := newSite(t, n, p)
	s.start()
	s.hold(stack.Kafka) // its supervisor waits longer after each death
	broker := s.ownBroker()
	r := &run{site: s, port: stacktest.FreePort(t), report: newReport(form, n)}
	r.gatewayB()
	s.eventually(patience, "the second gateway listens", listens(stack.Loopback(r.port)))
	r.fleet = s.startFleet(h, "https://"+stack.Loopback(r.port), n)
	if _, err := s.moves(time.Now(), patience); err != nil {
		t.Fatalf("before any death: %v", err)
	}
	r.report.began = time.Now()
	var all []absence
	for i := range deaths {
		<-time.After(500*time.Millisecond + r.upTo(2500*time.Millisecond))
		var a absence
		away := r.upTo(4 * time.Second)
		switch r.rng.IntN(10) {
		case 0, 1, 2:
			away = 0
		case 3:
			away += 9 * time.Second // longer than a gateway waits for the log
		}
		if broker.dead() {
			t.Errorf("the broker ended by itself before death %d", i+1)
		}
		broker.kill()
		a.died = time.Now()
		started := s.knock(&a, func() {
			<-time.After(away)
			broker = s.ownBroker()
		})
		r.report.Faults++
		r.report.Crashes++
		r.report.took(brokerBack, a.ready.Sub(started))
		all = append(all, a)
		err := s.within(patience, func(context.Context) error {
			if door := r.fleet.silent(a.taken); door >= 0 {
				return fmt.Errorf("gateway %d accepts nothing", door)
			}
			return nil
		})
		if err != nil {
			t.Errorf("death %d: %s after the broker is back: %v", i+1, patience, err)
		}
	}
	if r.second.dead() {
		t.Error("the second gateway ended by itself")
	}
	v := s.judge(r.fleet, r.second)
	r.absences(v, all)
	r.report.of(r.fleet)
	r.report.note("%d devices; %d answers were 503", h.devices, r.fleet.shed.Load())
	r.report.print(t, v)
	r.fleet.refusals(t)
}

// ownBroker starts the broker as the stack's configuration says.
func (s *site) ownBroker() *proc {
	return s.run(stack.Kafka, "MUSTER_OPS_LISTEN="+stack.Loopback(s.ports.Ops[stack.Kafka]))
}

// knock knocks at the broker's port from its death on, has it started, and notes when it is back.
func (s *site) knock(a *absence, start func()) (started time.Time) {
	s.t.Helper()
	addr := stack.Loopback(s.ports.Kafka)
	quit := make(chan struct{})
	var knocking sync.WaitGroup
	knocking.Go(func() {
		for a.refused = a.died; ; <-time.After(5 * time.Millisecond) {
			at := time.Now()
			c, err := net.DialTimeout("tcp", addr, time.Second)
			if err == nil {
				a.taken = time.Now()
				c.Close()
				return
			}
			a.refused = at
			select {
			case <-quit:
				return
			default:
			}
		}
	})
	start()
	started = time.Now()
	client := &http.Client{Timeout: 2 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	err := s.within(patience, func(ctx context.Context) error {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+stack.Loopback(s.ports.Ops[stack.Kafka])+"/readyz", nil)
		if err != nil {
			return err
		}
		resp, err := client.Do(req)
		if err != nil {
			return err
		}
		resp.Body.Close()
		if resp.StatusCode != http.StatusOK {
			return fmt.Errorf("the broker says %s", resp.Status)
		}
		a.ready = time.Now()
		return nil
	})
	if err != nil {
		close(quit)
	}
	knocking.Wait()
	if err != nil {
		s.t.Fatalf("the broker does not come back: %v", err)
	}
	return started
}

// silent is a gateway that accepted nothing after an instant, or -1.
func (f *fleet) silent(after time.Time) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	var heard [2]bool
	for _, a := range slices.Backward(f.accepts) {
		// In the order in which they were noted, which is not quite that of the answers.
		if a.at.Before(after.Add(-time.Second)) {
			break
		}
		heard[a.door] = heard[a.door] || a.at.After(after)
	}
	return slices.Index(heard[:], false)
}

// absences holds what was accepted to the times at which there was no broker.
func (r *run) absences(v *verdict, all []absence) {
	var late time.Duration
	var lates int
	var back []time.Duration // of each death, since the broker was ready
	accepts := r.fleet.accepts
	slices.SortFunc(accepts, func(a, b accept) int { return a.at.Compare(b.at) })
	for i, away := range all {
		again := [2]time.Time{}
		from, _ := slices.BinarySearchFunc(accepts, away.died, func(a accept, at time.Time) int { return a.at.Compare(at) })
		for _, a := range accepts[from:] {
			switch {
			case a.at.Before(away.refused) && a.began.After(away.died):
				v.find("FALSE: in death %d of the broker, gateway %d accepted a message that was sent %s after it and answered %s before its port was open",
					i+1, a.door, a.began.Sub(away.died), away.taken.Sub(a.at))
			case a.at.Before(away.refused): // the log had it, the answer was on its way
				lates++
				late = max(late, a.at.Sub(away.died))
			case a.at.After(away.taken) && again[a.door].IsZero():
				again[a.door] = a.at
			}
			if !again[0].IsZero() && !again[1].IsZero() {
				break
			}
		}
		for door, at := range again {
			if at.IsZero() {
				v.find("after death %d of the broker gateway %d accepted nothing", i+1, door)
				return
			}
		}
		last := slices.MaxFunc(again[:], time.Time.Compare)
		r.report.took(sinceReady, max(0, last.Sub(away.ready)))
		r.report.took(sinceTaken, last.Sub(away.taken))
		back = append(back, last.Sub(away.ready))
	}
	// Each has to be in time where the machine is the torture's own; beside other work that is the least of them.
	if !full() && len(back) > 0 {
		back = []time.Duration{slices.Min(back)}
	}
	for _, d := range back {
		if d > backWithin {
			v.find("after a death of the broker both gateways accepted %s after it was ready, want %s", d.Round(time.Millisecond), backWithin)
		}
	}
	r.report.note("while there was no broker nothing that was sent meanwhile was accepted; %d answers came after a death to what was sent before it, the last %s after", lates, late.Round(time.Millisecond))
}
