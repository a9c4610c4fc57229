package follow

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"os/signal"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"muster.dev/platform/eventlog"
	"muster.dev/proto/event"
	"muster.dev/services/anomaly/judge"
	"muster.dev/services/anomaly/shard"
)

// envChild makes this binary the detectors' process, so that it can be killed; it holds what is to be run.
const envChild = "MUSTER_TEST_DETECTORS"

// childSettings are what a child is told.
type childSettings struct {
	Brokers []string
	Config  Config
}

// childMain runs the detectors until SIGTERM.
func childMain(text string) int {
	var s childSettings
	err := json.Unmarshal([]byte(text), &s)
	if err == nil {
		var r *Room
		ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
		defer stop()
		r, err = New(Settings{
			Log: eventlog.Config{Brokers: s.Brokers, ClientID: "detectors"}, Config: s.Config, Shard: shard.DefaultSettings(), Judge: judge.DefaultSettings(),
			Logger: slog.New(slog.NewTextHandler(os.Stderr, nil)),
		})
		if err == nil {
			err = r.Run(ctx)
		}
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

// process is the detectors in a child process.
type process struct {
	cmd  *exec.Cmd
	out  bytes.Buffer // of stderr; to be read when it has ended
	kill func()       // and wait
	done chan struct{}
}

func (f *fleet) spawn(cfg Config) *process {
	f.t.Helper()
	text, err := json.Marshal(childSettings{f.log.Brokers, cfg})
	if err != nil {
		f.t.Fatal(err)
	}
	p := &process{cmd: exec.Command(os.Args[0], "-test.run=^$"), done: make(chan struct{})}
	p.cmd.Env = append(os.Environ(), envChild+"="+string(text))
	p.cmd.Stderr, p.cmd.SysProcAttr = &p.out, withParent()
	if err := p.cmd.Start(); err != nil {
		f.t.Fatal(err)
	}
	go func() {
		defer close(p.done)
		_ = p.cmd.Wait()
	}()
	p.kill = sync.OnceFunc(func() {
		_ = p.cmd.Process.Kill()
		<-p.done
	})
	f.t.Cleanup(func() {
		p.kill()
		if f.t.Failed() {
			f.t.Logf("process %d said:\n%s", p.cmd.Process.Pid, p.out.Bytes()[max(0, p.out.Len()-8<<10):])
		}
	})
	return p
}

// kills is how often the process is killed: a few times in a test, 200 times in the torture.
func kills(t *testing.T) int {
	if s := os.Getenv("MUSTER_TEST_KILLS"); s != "" {
		n, err := strconv.Atoi(s)
		if err != nil || n < 1 {
			t.Fatalf("MUSTER_TEST_KILLS=%q: want a count", s)
		}
		return n
	}
	if os.Getenv("MUSTER_TORTURE") == "full" {
		return 200
	}
	return 8
}

// A fleet of which a part falls silent again and again, and whose own side is away now and then, while the detectors' process
// is killed at points of its protocol or at any time: each silence is one incident, no stall is one of a silent cohort, and
// each record is, byte for byte, that of a run that nobody disturbed.
func TestTortureDetectorsThatAreKilledSayEachIncidentOnceAndNoFalseSilence(t *testing.T) {
	f := newFleet(t, 40, 10*time.Second)
	silences, points := 0, CrashPoints()
	f.live(7*time.Minute, all)
	for kill := range kills(t) {
		cfg := f.config()
		cfg.SnapshotEvery = time.Minute
		if f.rng.IntN(2) == 0 {
			cfg.CrashAt = fmt.Sprintf("%s:%d", points[f.rng.IntN(len(points))], 1+f.rng.IntN(4))
		}
		p := f.spawn(cfg)
		after := time.NewTimer(time.Duration(200+f.rng.IntN(1300)) * time.Millisecond)
		switch kill % 4 { // what goes on meanwhile
		case 0:
			f.live(3*time.Minute, all)
			f.live(4*time.Minute, few)
			silences++
		case 1:
			f.live(6*time.Minute, all)
		case 2:
			f.live(12*time.Minute, all)
			f.at += 10 * time.Minute.Milliseconds() // nothing at all
		case 3:
			f.live(8*time.Minute, all)
		}
		select {
		case <-after.C:
		case <-p.done:
			after.Stop()
		}
		p.kill()
	}
	f.live(20*time.Minute, all)
	last := f.spawn(f.config())
	f.complete()
	last.kill()
	got := map[event.IncidentKind]int{}
	for _, in := range f.incidents() {
		got[in.Kind]++
		if in.State != "resolved" {
			t.Errorf("%s %s is %s: %s", in.ID, in.Kind, in.State, in.Title)
		}
	}
	if got[event.SilentCohort] != silences {
		t.Errorf("%d incidents of silent cohorts, want %d", got[event.SilentCohort], silences)
	}
	t.Logf("incidents: %v", got)
}

// A detector that is started again is back where it was within seconds: it reads what came since its last snapshot, which is
// ten minutes of the fleet at most, and not the fleet's history.
func TestARestartReadsOnFromTheLastSnapshot(t *testing.T) {
	devices := 2_000
	if s := os.Getenv("MUSTER_TEST_DEVICES"); s != "" {
		var err error
		if devices, err = strconv.Atoi(s); err != nil {
			t.Fatal(err)
		}
	}
	f := newFleet(t, devices, time.Minute)
	cfg := f.config()
	cfg.SnapshotEvery = DefaultConfig().SnapshotEvery
	m := f.join(cfg, "1")
	for range 12 {
		f.live(time.Minute, all)
	}
	kept := func(part int32) Head {
		h, err := ReadHead(t.Context(), f.log, ShardPlace(part, parts))
		if err != nil {
			t.Fatal(err)
		}
		return h
	}
	for part := range int32(parts) {
		f.until("there is a snapshot of the whole fleet", func() error {
			f.live(10*time.Second, all)
			if n := len(kept(part).Snapshots); n < 2 { // the first is of the beginning
				return errNotYet
			}
			return nil
		})
	}
	f.ready(m)
	m.end()
	for range 8 {
		f.live(time.Minute, all)
	}
	began := time.Now()
	m = f.join(cfg, "1")
	f.ready(m)
	took := time.Since(began)
	size := 0
	for part := range int32(parts) {
		h := kept(part)
		size += int(h.Snapshots[len(h.Snapshots)-1].Ref.Chunks)
	}
	t.Logf("%d devices: ready again after %v, from snapshots of %d chunks", devices, took.Round(time.Millisecond), size)
	if n := testutil.ToFloat64(m.m.restores.WithLabelValues(stageShard, "snapshot")); n < parts {
		t.Errorf("%v shards began from a snapshot", n)
	}
	m.end()
}
