//go:build linux

package torture

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"testing"
	"time"

	"go.uber.org/goleak"

	"muster.dev/cmd/muster/stack"
	"muster.dev/cmd/muster/stack/stacktest"
)

func TestMain(m *testing.M) {
	code := m.Run()
	if program.path != "" {
		os.RemoveAll(filepath.Dir(program.path))
	}
	if code == 0 {
		if err := goleak.Find(goleak.IgnoreCurrent()); err != nil {
			println(err.Error())
			code = 1
		}
	}
	os.Exit(code)
}

const (
	variable         = "MUSTER_TORTURE"
	variableSeed     = "MUSTER_SEED"
	variableDuration = "MUSTER_TORTURE_DURATION"
	variableKills    = "MUSTER_TORTURE_KILLS"   // of the broker
	variableShipped  = "MUSTER_TORTURE_SHIPPED" // 1: the sinks' timings as they ship
)

func full() bool { return os.Getenv(variable) == "full" }

func seed(t *testing.T) uint64 {
	t.Helper()
	n := rand.Uint64N(1 << 32)
	if s := os.Getenv(variableSeed); s != "" {
		var err error
		if n, err = strconv.ParseUint(s, 10, 64); err != nil {
			t.Fatalf("%s=%q: want a number", variableSeed, s)
		}
	}
	t.Logf("seed %d: %s=%d replays it", n, variableSeed, n)
	return n
}

// length is a form's own, or what was asked for.
func length(t *testing.T, d time.Duration) time.Duration {
	t.Helper()
	if s := os.Getenv(variableDuration); s != "" {
		var err error
		if d, err = time.ParseDuration(s); err != nil || d <= 0 {
			t.Fatalf("%s=%q: want a duration, as 20m", variableDuration, s)
		}
	}
	return d
}

// kills is a form's own number, or what was asked for.
func kills(t *testing.T, n int) int {
	t.Helper()
	if s := os.Getenv(variableKills); s != "" {
		var err error
		if n, err = strconv.Atoi(s); err != nil || n < 1 {
			t.Fatalf("%s=%q: want a number of kills", variableKills, s)
		}
	}
	return n
}

// quickly is what the quick form does; the full form draws lots, and the seed gives their order.
var quickly = []string{
	"sink dies at plan.resolved", "sink dies at plan.committed", "sink dies at insert.sent", "sink dies at insert.acked",
	"sink dies at ledger.sent", "sink dies at ledger.acked", "sink dies at commit.sent", "sink dies at commit.acked",
	"clickhouse and sink killed at once", "gateways killed in turn", "kafka, gateway and sink killed at once",
	"sink stopped, another takes over, the first wakes", "a metric is new, the sink dies with its plan written", silence,
}

func TestTortureWhatWasAnsweredIsStoredOnceWhateverDies(t *testing.T) {
	if testing.Short() {
		t.Skip("SKIPPED: -short")
	}
	n := seed(t)
	form, p := timings("all faults")
	devices, wait, atLeast := 24, 120*time.Millisecond, int64(2_000)
	if full() {
		devices, wait, atLeast = 120, 200*time.Millisecond, 10_000
	}
	s := newSite(t, n, p)
	s.start()
	r := &run{site: s, port: stacktest.FreePort(t), report: newReport(form, n)}
	r.gatewayB()
	s.eventually(patience, "the second gateway listens", listens(stack.Loopback(r.port)))
	r.fleet = s.startFleet(usual(devices, wait), "https://"+stack.Loopback(r.port), n)
	if _, err := s.moves(time.Now(), patience); err != nil {
		t.Fatalf("before any fault: %v", err)
	}
	r.report.began = time.Now()
	all := faults()
	if full() {
		r.lottery(all, time.Now().Add(length(t, 20*time.Minute)))
	} else {
		r.each(all, quickly)
	}
	s.eventually(10*time.Minute, "enough messages were answered", func(context.Context) error {
		if n := r.fleet.answered.Load(); n < atLeast {
			return fmt.Errorf("%d of %d", n, atLeast)
		}
		return nil
	})
	v := s.judge(r.fleet, r.second)
	if full() {
		r.rebuild(v)
	}
	r.report.of(r.fleet)
	r.report.print(t, v)
	r.fleet.refusals(t)
}

// refusals says what should not have been answered.
func (f *fleet) refusals(t *testing.T) {
	t.Helper()
	f.mu.Lock()
	defer f.mu.Unlock()
	for i, refusal := range f.refused {
		if i < 10 {
			t.Errorf("refused: %s", refusal)
		}
	}
}

// timings are the sinks' in this form, and what it is called.
func timings(what string) (form string, p pace) {
	switch {
	case !full():
		return what + ", quick", pace{session: 2 * time.Second, linger: 300 * time.Millisecond, settle: 2 * time.Second}
	case os.Getenv(variableShipped) == "1":
		return what + ", full, timings as shipped", pace{}
	}
	return what + ", full", pace{session: 2 * time.Second, linger: 500 * time.Millisecond, settle: 5 * time.Second}
}

// each does the named faults in the seed's order.
func (r *run) each(all []fault, names []string) {
	for _, i := range r.rng.Perm(len(names)) {
		at := slices.IndexFunc(all, func(f fault) bool { return f.name == names[i] })
		if at < 0 {
			r.t.Fatalf("no fault is called %q", names[i])
		}
		r.inject(all[at])
	}
}

// lottery draws faults until the time is over.
func (r *run) lottery(all []fault, end time.Time) {
	var lots []fault
	for _, f := range all {
		for range f.weight {
			lots = append(lots, f)
		}
	}
	for time.Now().Before(end) && r.t.Context().Err() == nil {
		r.inject(lots[r.rng.IntN(len(lots))])
	}
}

// rebuild drops every table, replays the log, and compares.
func (r *run) rebuild(before *verdict) {
	began := time.Now()
	cmd := exec.CommandContext(r.t.Context(), r.binary, "rebuild", "--yes", "--data", string(r.dir))
	cmd.Env = r.environment()
	if out, err := cmd.CombinedOutput(); err != nil {
		r.t.Errorf("rebuild: %v: %s", err, out)
		return
	}
	r.caughtUp(before.Offsets)
	samples, ledger := r.prints()
	if samples != before.Samples {
		before.find("REBUILD: samples were %s and are %s", before.Samples, samples)
	}
	if ledger != before.LedgerSum {
		before.find("REBUILD: the ledger was %s and is %s", before.LedgerSum, ledger)
	}
	r.report.Rebuilt = "the same ledger and samples (" + samples + ") in " + time.Since(began).Round(100*time.Millisecond).String()
	if len(before.Findings) > 0 {
		r.report.Rebuilt = "see the findings"
	}
}
