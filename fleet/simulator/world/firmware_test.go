package world_test

import (
	"fmt"
	"math"
	"testing"

	"muster.dev/fleet/simulator/plan"
	"muster.dev/fleet/simulator/truth"
	"muster.dev/fleet/simulator/world"
	"muster.dev/proto/event"
)

// updated is a cohort of 400, of which half run 2.0.0 from the second day on.
func updated(t *testing.T, firmware string) *world.World {
	return newWorld(t, fmt.Sprintf(`
scenario: updated
lasts: 5d
cohorts:
  - name: a
    devices: 400
    interval: 1h
    sites: 4
    metrics: [{name: heap, model: {base: 100, noise: 1}}, {name: battery, decimals: 2, model: {follows: battery}}]
    battery: {lasts: 50d, spread: 0%%}
firmware:
  - version: 2.0.0
%s
rollouts: [{firmware: 2.0.0, cohort: a, at: 1d, takes: 1h, postponed: {share: 20%%, by: 2h}, stages: [{share: 50%%}]}]
`, firmware), 11)
}

// facts gathers the truth of the lives by kind.
func facts(w *world.World) map[string][]truth.Line {
	out := map[string][]truth.Line{}
	all(w, func(_ *plan.Device, h *world.Happening) {
		if h.Kind == world.Fact {
			out[h.Truth.Kind] = append(out[h.Truth.Kind], h.Truth)
		}
	})
	return out
}

// since is the time from each device's update to its first line of a kind.
func since(of map[string][]truth.Line, kind string) (mean float64, devices int) {
	at := map[string]truth.Time{}
	for _, l := range of[truth.Update] {
		at[l.Device] = l.Until
	}
	seen := map[string]bool{}
	for _, l := range of[kind] {
		if !seen[l.Device] {
			seen[l.Device] = true
			mean += float64(l.At-at[l.Device]) / float64(hour)
			devices++
		}
	}
	return mean / float64(max(1, devices)), devices
}

func TestASoundVersionDoesNothing(t *testing.T) {
	of := facts(updated(t, "    fails: 0%"))
	if len(of[truth.Update]) != 200 || len(of[truth.Assigned]) != 400 || len(of[truth.Crash]) != 0 || len(of[truth.Silent]) != 0 {
		t.Errorf("%d updates, %d assigned, %d crashes", len(of[truth.Update]), len(of[truth.Assigned]), len(of[truth.Crash]))
	}
	if n := len(of[truth.Postponed]); n < 25 || n > 58 {
		t.Errorf("%d of 200 put it off", n)
	}
}

func TestVersionsFailAsTheySay(t *testing.T) {
	of := facts(updated(t, "    crashes: {chance: 20%, within: 2h, boot-loop: 3}"))
	if after, n := since(of, truth.Crash); n < 25 || n > 58 || !near(after, 2, 1) {
		t.Errorf("%d of 200 crash, %.1f h after", n, after)
	}
	if loops, crashes := len(of[truth.BootLoop]), len(of[truth.Crash]); loops < 500 || crashes < 3*loops || crashes > 3*loops+6 {
		t.Errorf("%d boot loops, %d crashes", loops, crashes)
	}
	of = facts(updated(t, "    crashes: {chance: 50%, then: rolls-back}"))
	if n, backs := len(of[truth.Crash]), reasons(of, "rollback"); n < 80 || n > 120 || backs != n {
		t.Errorf("%d crash, %d go back", n, backs)
	}
	of = facts(updated(t, "    silent: {chance: 20%, after: 1h}"))
	if after, n := since(of, truth.Silent); n < 25 || n > 58 || !near(after, 1, 0.5) {
		t.Errorf("%d of 200 fall silent, %.1f h after", n, after)
	}
	of = facts(updated(t, "    bricks: 20%"))
	bricked := 0
	for _, l := range of[truth.Update] {
		if l.Detail["result"] == "bricked" {
			bricked++
		}
	}
	if n := len(of[truth.Silent]); n < 25 || n > 58 || bricked != n || reasons(of, "ota") != 200-n {
		t.Errorf("%d of 200 are bricked, %d fall silent, %d boot into it", bricked, n, reasons(of, "ota"))
	}
	of = facts(updated(t, "    leaks: {metric: heap, per: 2/h, room: 20}"))
	if after, n := since(of, truth.Crash); n != 200 || !near(after, 10, 0.1) || len(of[truth.Leak]) != 200 {
		t.Errorf("%d run out of memory, %.1f h after", n, after)
	}
	of = facts(updated(t, "    paper: 30%\n    fails: 20%\n    rolls-back: 10%"))
	results := map[string]int{}
	for _, l := range of[truth.Update] {
		results[l.Detail["result"].(string)]++
	}
	for result, want := range map[string]float64{"paper": 60, "failed": 40, "rolled_back": 20, "ok": 80} {
		if !near(float64(results[result]), want, 4*math.Sqrt(want)) {
			t.Errorf("results %v", results)
		}
	}
	if n := reasons(of, "rollback"); n != results["rolled_back"] {
		t.Errorf("%d go back of %d", n, results["rolled_back"])
	}
}

func reasons(of map[string][]truth.Line, reason string) (n int) {
	for _, l := range of[truth.Boot] {
		if l.Detail["reason"] == reason {
			n++
		}
	}
	return n
}

func TestALeakAndADrainShowInTheirMetrics(t *testing.T) {
	w := updated(t, "    leaks: {metric: heap, per: 2/h}\n    drains: {factor: 5}\n    shifts: [{metric: heap, by: 50}]")
	treated := map[string]bool{}
	for _, l := range facts(w)[truth.Update] {
		treated[l.Device] = true
	}
	last := w.Until() - 3*hour
	heaps, levels := readings(t, w, "heap"), readings(t, w, "battery")
	for i := range w.Devices() {
		heap, _ := mean(heaps[i], last, w.Until())
		level, _ := mean(levels[i], last, w.Until())
		if treated[w.Devices()[i].ID] {
			if heap < 180 || level > 75 {
				t.Errorf("an updated device has %.0f in its heap and %.1f %%", heap, level)
			}
		} else if !near(heap, 100, 3) || !near(level, 90, 0.3) {
			t.Errorf("another device has %.0f in its heap and %.1f %%", heap, level)
		}
	}
}

// TestWhatDevicesReportIsWhatHappened compares events with the truth, over a radio that loses nothing.
func TestWhatDevicesReportIsWhatHappened(t *testing.T) {
	w := updated(t, "    crashes: {chance: 30%, within: 6h}\n    errors: {per: 4/d, code: ENOSPC, chance: 50%}\n    fails: 10%")
	said := map[string]int{}
	all(w, func(_ *plan.Device, h *world.Happening) {
		if h.Kind != world.Deliver || h.Message.Stream != world.Events {
			return
		}
		m, err := event.DecodeMessage(h.Message.Body)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range m.Events {
			key := e.Type
			if e.Type == event.OTA {
				key += " " + e.Fields["result"].(string)
			}
			if e.Type == event.OSError && e.Fields["code"] != "ENOSPC" {
				t.Errorf("%v", e.Fields)
			}
			said[key]++
		}
	})
	of := facts(w)
	results := map[string]int{}
	for _, l := range of[truth.Update] {
		results["ota "+l.Detail["result"].(string)]++
	}
	if said["crash"] != len(of[truth.Crash]) || said["boot"] != len(of[truth.Boot]) || said["ota ok"] != results["ota ok"] ||
		said["ota failed"] != results["ota failed"] || said["ota started"] != 200 || said["ota postponed"] != len(of[truth.Postponed]) {
		t.Errorf("said %v, but %d crashes, %d boots, %v", said, len(of[truth.Crash]), len(of[truth.Boot]), results)
	}
	if n := said["os-error"]; n < 1000 || n > 1800 {
		t.Errorf("%d errors of about 90 devices in four days", n)
	}
}
