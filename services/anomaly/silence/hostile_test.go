package silence

import (
	"math"
	"testing"
	"time"

	"muster.dev/services/anomaly/incident"
	"muster.dev/services/anomaly/page"
)

// A tail is added up term by term: whatever a page counts, that has an end, and says the same as of fewer.
func TestATailHasAnEnd(t *testing.T) {
	began := time.Now()
	for _, c := range []struct{ p, rho, share float64 }{{.1, .05, .4}, {.5, .5, .55}, {.002, 0, .5}, {.3, .5, .9}, {.998, 0, .9995}} {
		all := tail(math.MaxUint32, int(c.share*math.MaxUint32), c.p, c.rho)
		some := tail(mostTerms, int(c.share*mostTerms), c.p, c.rho)
		if math.IsNaN(all) || math.Abs(all-some) > 1e-3*some {
			t.Errorf("%+v: %g, of fewer %g", c, all, some)
		}
	}
	if took := time.Since(began); took > time.Minute {
		t.Errorf("it took %v", took)
	}
}

// Sums of pages do not come round, and what is missing is a part of what is expected.
func TestAbsurdCountsMakeNoSilence(t *testing.T) {
	c := NewCohorts(DefaultSettings())
	for n := range int64(400) {
		at := (n + 1) * 5 * minute
		slots := []page.Slot{
			{Cohort: "a", Region: "r", At: at, Interval: 5 * minute, Whole: true, Expected: 20, Heard: 20, Members: 20},
			{Cohort: "a", Region: "r", At: at, Interval: 5 * minute, Whole: true, Never: math.MaxUint32, Left: 7},
		}
		if n > 350 {
			slots = append(slots, page.Slot{Cohort: "a", Region: "r", At: at, Interval: 5 * minute, Whole: true, Expected: math.MaxUint32, Heard: math.MaxUint32, Members: math.MaxUint32})
		}
		if said := c.Cut(at, slots, nil); len(said) > 0 {
			t.Fatalf("slot %d: %+v", n, said[0])
		}
	}
	k := c.byName["a"]
	if n, u := k.now.heard(); n != math.MaxUint32 || u != 0 || k.where[0].expected != math.MaxUint32 {
		t.Errorf("%d of %d, %+v", u, n, k.where)
	}
}

// One device whose power comes and goes says nothing of why the others are silent, however often it says it.
func TestOneDeviceThatFlapsBlamesNoPower(t *testing.T) {
	w := newTown(t, 1)
	north := w.settle("north", "", 50, min1)
	w.pass(6 * hourMS)
	off(north[:20])
	w.pass(10 * min1)
	for range 8 {
		off(north[40:41])
		w.pass(5 * min1)
		on(north[40:41])
		w.pass(min1 / 2)
		w.of(north[40]).Boot(north[40].index, w.now, "brownout")
		w.pass(4 * min1)
	}
	if got := w.one(); got.Cause != incident.CauseUnknown {
		t.Errorf("%s: %s", got.Cause, got.Why)
	}
	for _, p := range north[:10] {
		w.of(p).Boot(p.index, w.now, "brownout")
	}
	on(north[:12])
	w.pass(5 * min1)
	if got := w.one(); got.Cause != incident.CausePower {
		t.Errorf("ten that came back say so: %s: %s", got.Cause, got.Why)
	}
}
