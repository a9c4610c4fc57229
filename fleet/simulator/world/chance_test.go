package world_test

import (
	"fmt"
	"math"
	"testing"

	"muster.dev/fleet/simulator/plan"
	"muster.dev/fleet/simulator/truth"
	"muster.dev/fleet/simulator/world"
)

// all plays every life and gives what comes of it to see.
func all(w *world.World, see func(d *plan.Device, h *world.Happening)) {
	var h world.Happening
	for i := range w.Devices() {
		l := w.Life(i)
		for l.Next(&h) {
			see(&w.Devices()[i], &h)
		}
	}
}

// TestLossIsWhatItIsSaidToBe measures share and mean length of the runs of loss.
func TestLossIsWhatItIsSaidToBe(t *testing.T) {
	for _, c := range []struct{ loss, burst float64 }{{0.05, 1}, {0.2, 1}, {0.05, 4}, {0.2, 12}} {
		w := newWorld(t, fmt.Sprintf(`
scenario: loss
lasts: 2w
cohorts:
  - {name: a, devices: 12, interval: 5m, jitter: 0%%, metrics: [{name: x}], radio: {loss: %g, burst: %g}}
`, c.loss, c.burst), 3)
		lost, got, runs := 0.0, 0.0, 0.0
		arrived := make([]map[int64]bool, len(w.Devices()))
		last := make([]int64, len(w.Devices()))
		for i := range arrived {
			arrived[i] = map[int64]bool{}
		}
		all(w, func(d *plan.Device, h *world.Happening) {
			if h.Kind == world.Lost {
				lost++
				if h.Message.Made != last[d.Index]+300_000 {
					runs++
				}
				last[d.Index] = h.Message.Made
			} else if h.Kind == world.Deliver {
				got++
			}
		})
		share, mean := lost/(lost+got), lost/runs
		expected := c.burst
		if c.burst == 1 {
			expected = 1 / (1 - c.loss)
		}
		if math.Abs(share/c.loss-1) > 0.15 || math.Abs(mean/expected-1) > 0.15 {
			t.Errorf("loss %g in bursts of %g: %.3f in runs of %.2f", c.loss, c.burst, share, mean)
		}
	}
}

// TestAFaultTakesExactlyItsShare counts whom a fault takes, and that nothing else of them changes.
func TestAFaultTakesExactlyItsShare(t *testing.T) {
	const base = `
scenario: share
lasts: 2d
cohorts:
  - {name: a, devices: 50, sites: 5, interval: 10m, metrics: [{name: x, model: {base: 5, noise: 1}}], radio: {loss: 5%, burst: 2}}
`
	w := newWorld(t, base+"faults: [{at: 1d, for: 6h, power-loss: {cohort: a, share: 30%}}]\n", 5)
	silent := map[string]bool{}
	bodies := map[string]string{}
	all(w, func(d *plan.Device, h *world.Happening) {
		if h.Kind == world.Fact && h.Truth.Kind == truth.Silent {
			silent[d.ID] = true
		}
		if h.Kind == world.Deliver && h.At < w.Begins()+23*3_600_000 {
			bodies[d.ID] += string(h.Message.Body)
		}
	})
	if len(silent) != 15 {
		t.Errorf("%d devices of 50 are silent", len(silent))
	}
	for _, l := range w.Truth() {
		if l.Kind == "power-loss" && (l.Count != 15 || !silent[l.IDs[0]] || l.Cohort != "a" || l.Fault != 1) {
			t.Errorf("%+v", l)
		}
	}
	same := map[string]string{}
	all(newWorld(t, base, 5), func(d *plan.Device, h *world.Happening) {
		if h.Kind == world.Deliver && h.At < w.Begins()+23*3_600_000 {
			same[d.ID] += string(h.Message.Body)
		}
	})
	for id := range bodies {
		if bodies[id] != same[id] {
			t.Errorf("a fault of the second day changes the first of %s", id)
		}
	}
}

// TestStagesAreDealtWithinSites holds each stage to its size, and each site to its part of it.
func TestStagesAreDealtWithinSites(t *testing.T) {
	for _, whole := range []bool{false, true} {
		w := newWorld(t, fmt.Sprintf(`
scenario: stages
lasts: 3d
cohorts:
  - {name: a, devices: 200, sites: 10, interval: 1h, metrics: [{name: x}]}
firmware: [{version: 2.0.0}]
rollouts: [{firmware: 2.0.0, cohort: a, at: 6h, whole-sites: %v, takes: 10m, stages: [{share: 10%%, soak: 12h}, {share: 50%%}]}]
`, whole), 2)
		stages := map[int]int{}
		sites := map[int]map[int]int{}
		updated := map[string]int64{}
		begins := map[int]truth.Time{}
		for _, l := range w.Truth() {
			if l.Kind == truth.Stage {
				begins[l.Detail["stage"].(int)] = l.At
				if want := map[int]int{1: 20, 2: 80}[l.Detail["stage"].(int)]; l.Count != want {
					t.Errorf("a stage takes %d, want %d", l.Count, want)
				}
			}
		}
		all(w, func(d *plan.Device, h *world.Happening) {
			if h.Kind != world.Fact {
				return
			}
			switch h.Truth.Kind {
			case truth.Assigned:
				stage := h.Truth.Detail["stage"].(int)
				stages[stage]++
				if sites[d.Site] == nil {
					sites[d.Site] = map[int]int{}
				}
				sites[d.Site][stage]++
			case truth.Update:
				updated[d.ID] = int64(h.Truth.At)
				if h.Truth.At < begins[h.Truth.Detail["stage"].(int)] || h.Truth.Detail["result"] != "ok" {
					t.Errorf("%+v", h.Truth)
				}
			}
		})
		if stages[0] != 100 || stages[1] != 20 || stages[2] != 80 || len(updated) < 99 {
			t.Errorf("stages %v, %d updated", stages, len(updated))
		}
		for site, of := range sites {
			switch {
			case whole && len(of) > 1:
				t.Errorf("site %d is in several stages: %v", site, of)
			case !whole && (of[1] < 1 || of[1] > 3 || of[0] < 9 || of[0] > 11):
				t.Errorf("site %d is dealt unevenly: %v", site, of)
			}
		}
	}
}

// TestWhatIsKeptComesInOrder holds a device with a store to what its store promises.
func TestWhatIsKeptComesInOrder(t *testing.T) {
	const text = `
scenario: kept
lasts: 2d
cohorts:
  - {name: a, devices: 5, metrics: [{name: x}], radio: {keeps: %s}, heartbeat: 10m}
faults: [{at: 1d, for: 6h, region-outage: {}}]
`
	for keeps, want := range map[string]struct{ lost, late int }{"1d": {0, 5 * 360}, "2h": {5 * 240, 5 * 120}, "0s": {5 * 360, 0}} {
		w := newWorld(t, fmt.Sprintf(text, keeps), 1)
		lost, late := 0, 0
		next := map[int]uint64{}
		all(w, func(d *plan.Device, h *world.Happening) {
			switch {
			case h.Kind == world.Lost:
				lost++
				next[d.Index] = max(next[d.Index], h.Message.Seq+1)
			case h.Kind == world.Deliver && h.Message.Stream == world.Telemetry:
				if h.Message.Backlog {
					late++
				}
				if h.Message.Seq < next[d.Index] {
					t.Fatalf("keeps %s: seq %d after %d", keeps, h.Message.Seq, next[d.Index])
				}
				next[d.Index] = h.Message.Seq + 1
			}
		})
		if math.Abs(float64(lost-want.lost)) > 15 || math.Abs(float64(late-want.late)) > 20 {
			t.Errorf("keeps %s: %d lost, %d late, want about %d and %d", keeps, lost, late, want.lost, want.late)
		}
	}
}

// TestPlannedSleepIsNotDue compares what is due with what a fleet without any mishap makes.
func TestPlannedSleepIsNotDue(t *testing.T) {
	for _, sleep := range []string{"{for: 6h}", `{from: "03:00", for: 2h}`, `{every: 2h, from: "01:30", for: 45m}`, `{every: 1w, from: "23:00", for: 3d}`} {
		w := newWorld(t, `
scenario: asleep
lasts: 9d
begins: 2026-02-03T07:11:13Z
cohorts:
  - {name: a, devices: 4, interval: 1m, metrics: [{name: x}], sleep: `+sleep+`}
`, 1)
		var sum truth.Count
		days := map[int]truth.Count{}
		all(w, func(_ *plan.Device, h *world.Happening) {
			if h.Kind == world.Tally {
				sum.Add(h.Count)
				c := days[h.Day]
				c.Add(h.Count)
				days[h.Day] = c
			}
		})
		if diff := sum.Due - sum.Made; diff < -8 || diff > 200 || sum.Arrived < sum.Made-4 {
			t.Errorf("%s: %+v", sleep, sum)
		}
		for day, c := range days {
			if diff := c.Due - c.Made; diff < -60 || diff > 60 {
				t.Errorf("%s: day %d: %+v", sleep, day, c)
			}
		}
	}
}

// TestWhoIsRevokedKnocksAfterIt does so also where its radio was lost before.
func TestWhoIsRevokedKnocksAfterIt(t *testing.T) {
	w := newWorld(t, `
scenario: knocks
lasts: 1d
cohorts: [{name: a, devices: 3, metrics: [{name: x}]}]
faults:
  - {at: 1h, for: 2h, radio-loss: {cohort: a}}
  - {at: 4h, revoke: {cohort: a, devices: 2, knocks: 10m}}
`, 1)
	knocks := 0
	for _, l := range facts(w)[truth.Knocking] {
		knocks++
		if l.At < truth.Time(w.Begins()+4*hour) || l.Until != truth.Time(w.Until()) {
			t.Errorf("%+v", l)
		}
	}
	if knocks != 2 {
		t.Errorf("%d knock", knocks)
	}
}
