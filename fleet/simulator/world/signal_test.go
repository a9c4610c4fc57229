package world_test

import (
	"fmt"
	"math"
	"testing"

	"muster.dev/fleet/simulator/chance"
	"muster.dev/fleet/simulator/plan"
	"muster.dev/fleet/simulator/truth"
	"muster.dev/fleet/simulator/world"
	"muster.dev/proto/batch"
)

const hour = int64(3_600_000)

// reading is one value as it arrived.
type reading struct {
	made  int64 // of its message, true time
	says  int64
	value float64
}

// readings decodes all values of a gauge, by device.
func readings(t *testing.T, w *world.World, metric string) [][]reading {
	t.Helper()
	out := make([][]reading, len(w.Devices()))
	var b batch.Batch
	all(w, func(d *plan.Device, h *world.Happening) {
		if h.Kind != world.Deliver || h.Message.Stream != world.Telemetry || h.Message.Copy || h.Message.Clone {
			return
		}
		if err := b.Decode(h.Message.Body); err != nil {
			t.Fatal(err)
		}
		for i := range b.Columns {
			c := &b.Columns[i]
			if string(c.Name) != metric {
				continue
			}
			word := 0
			for step, at := range b.Times {
				if c.Has(step) {
					out[d.Index] = append(out[d.Index], reading{made: h.Message.Made, says: at, value: float64(c.Ints[word]) / math.Pow10(int(c.Scale))})
					word++
				}
			}
		}
	})
	return out
}

func mean(all []reading, from, until int64) (m float64, n int) {
	for _, r := range all {
		if from <= r.made && r.made < until {
			m += r.value
			n++
		}
	}
	return m / float64(max(1, n)), n
}

func near(a, b, by float64) bool { return math.Abs(a-b) <= by }

const oneCohort = `
scenario: one
lasts: 14d
cohorts:
  - name: a
    devices: 2
    interval: 5m
    metrics:
      - %s
    battery: {lasts: 100d, spread: 0%%}
`

func TestASignalIsTheSumOfItsParts(t *testing.T) {
	w := newWorld(t, fmt.Sprintf(oneCohort, "{name: x, decimals: 3, model: {base: 20, daily: 4, weekly: 10, noise: 0.5, drift: 0.1/d}}"), 1)
	of := readings(t, w, "x")[0]
	b := w.Begins() // a Monday
	for _, c := range []struct {
		day, hour int64
		want      float64
	}{{0, 15, 24}, {0, 3, 16}, {4, 9, 20.4}, {5, 15, 34.5}, {9, 15, 24.9}} {
		at := b + c.day*24*hour + c.hour*hour
		if got, n := mean(of, at-hour/2, at+hour/2); !near(got, c.want, 0.6) || n < 8 {
			t.Errorf("day %d, %d o'clock: %.2f of %d, want %.2f", c.day, c.hour, got, n, c.want)
		}
	}
}

func TestWhatFollowsFollows(t *testing.T) {
	w := newWorld(t, fmt.Sprintf(oneCohort, "{name: x, decimals: 2, model: {follows: battery}}"), 1)
	of := readings(t, w, "x")[1]
	if first, last := of[0].value, of[len(of)-1].value; !near(first, 100, 0.1) || !near(last, 86, 0.1) {
		t.Errorf("after two weeks of a hundred days the battery is at %g, from %g", last, first)
	}
	w = newWorld(t, fmt.Sprintf(oneCohort, "{name: x, decimals: 1, model: {base: -60, follows: radio}}")+
		"faults: [{at: 2d, for: 1d, radio-loss: {loss: 10%, fades: 1d, by: 20}}]\n", 1)
	of = readings(t, w, "x")[0]
	for at, want := range map[int64]float64{12: -60, 36: -70, 60: -80, 80: -60} {
		if got, n := mean(of, w.Begins()+at*hour-hour, w.Begins()+at*hour+hour); !near(got, want, 1) || n < 10 {
			t.Errorf("after %d hours the radio is at %g, want %g", at, got, want)
		}
	}
	w = newWorld(t, fmt.Sprintf(oneCohort, "{name: x, decimals: 0, model: {follows: uptime}}")+"faults: [{at: 7d, restart: {}}]\n", 1)
	of = readings(t, w, "x")[0]
	if last := of[len(of)-1]; !near(last.value, 7*86400, 400) {
		t.Errorf("seven days after a restart it is up for %g s", last.value)
	}
}

func TestAnomaliesAreWhatTheyAreCalled(t *testing.T) {
	from, until := 5*24*hour, 6*24*hour
	play := func(kind, by string) (before, in, after []reading) {
		w := newWorld(t, fmt.Sprintf(oneCohort, "{name: x, decimals: 3, model: {base: 20, noise: 0.5}}")+
			fmt.Sprintf("faults: [{at: 5d, for: 1d, anomaly: {metric: x, kind: %s%s, devices: 1}}]\n", kind, by), 1)
		var victim string
		for _, l := range w.Truth() {
			if l.Kind == "anomaly" {
				victim = l.IDs[0]
			}
		}
		for i, of := range readings(t, w, "x") {
			if w.Devices()[i].ID != victim {
				if m, n := mean(of, w.Begins()+from, w.Begins()+until); !near(m, 20, 0.3) || n < 280 {
					t.Errorf("%s: another device has %d values of %g", kind, n, m)
				}
				continue
			}
			for _, r := range of {
				switch at := r.made - w.Begins(); {
				case at < from:
					before = append(before, r)
				case at < until:
					in = append(in, r)
				default:
					after = append(after, r)
				}
			}
		}
		return before, in, after
	}
	spread := func(of []reading) (sd float64) {
		m, n := mean(of, 0, chance.Never)
		for _, r := range of {
			sd += (r.value - m) * (r.value - m)
		}
		return math.Sqrt(sd / float64(max(1, n)))
	}
	before, in, after := play("flat-line", "")
	if spread(in) > 1e-9 || in[0].value != before[len(before)-1].value || spread(after) < 0.4 {
		t.Errorf("flat-line: %g, then %g", spread(in), spread(after))
	}
	if _, in, _ = play("jump", ", by: -3"); !near(in[0].value, 17, 2.5) || !near(spread(in), 0.5, 0.1) {
		t.Errorf("jump: %v", in[0])
	}
	if _, in, _ = play("drift", ", by: 12"); !near(in[0].value, 20, 2.5) || !near(in[len(in)/2].value, 26, 2.5) || !near(in[len(in)-1].value, 32, 2.5) {
		t.Errorf("drift: %v to %v", in[0], in[len(in)-1])
	}
	if _, in, _ = play("noise", ", by: 6"); !near(spread(in), 3, 0.5) {
		t.Errorf("noise: %g", spread(in))
	}
	if _, in, after = play("missing", ""); len(in) != 0 || len(after) < 2000 {
		t.Errorf("missing: %d, then %d", len(in), len(after))
	}
	if _, in, _ = play("slow", ", by: 10"); len(in) < 27 || len(in) > 30 {
		t.Errorf("slow: %d", len(in))
	}
}

func TestACostSpikeIsAsManyValuesAsItSays(t *testing.T) {
	w := newWorld(t, `
scenario: spike
lasts: 3h
cohorts: [{name: a, devices: 2, metrics: [{name: x}, {name: y}], radio: {keeps: 1h}}]
faults: [{at: 1h, for: 10m, cost-spike: {metric: x, rate: 100Hz, devices: 1}}]
`, 1)
	most := 0
	for _, of := range readings(t, w, "x") {
		n := 0
		for i, r := range of {
			if at := r.made - w.Begins(); hour <= at && at < hour+10*60_000 {
				n++
				if i > 0 && n > 6_000 && r.says-of[i-1].says > 1_300 { // the jitter of a message is 600 ms either way
					t.Fatalf("%d ms between two values", r.says-of[i-1].says)
				}
			}
		}
		most = max(most, n)
	}
	if most < 54_000 || most > 60_000 {
		t.Errorf("%d values in ten minutes of 100 Hz", most)
	}
	for _, of := range readings(t, w, "y") {
		if len(of) < 178 || len(of) > 181 {
			t.Errorf("%d values of the other metric in three hours", len(of))
		}
	}
}

func TestClocksAreWrongAsTheySay(t *testing.T) {
	w := newWorld(t, `
scenario: clocks
lasts: 6d
cohorts: [{name: a, devices: 40, interval: 10m, metrics: [{name: x}], clock: {skew: 10s, drift: 100ppm, wrong: {share: 25%, by: -3y}}}]
faults: [{at: 2d, for: 1d, clock-step: {devices: 5, by: 2h}}]
`, 1)
	wrong, stepped := map[int]bool{}, 0
	all(w, func(d *plan.Device, h *world.Happening) {
		if h.Kind == world.Fact && h.Truth.Kind == truth.ClockWrong {
			wrong[d.Index] = true
		}
	})
	var sum, drift float64
	for i, of := range readings(t, w, "x") {
		off := func(r reading) float64 { return float64(r.says - r.made) }
		shift := 0.0
		if wrong[i] {
			shift = -3 * 365 * 24 * float64(hour)
		}
		if !near(off(of[0]), shift, 300_000) { // it was up for up to a week before
			t.Errorf("device %d begins with %g ms", i, off(of[0]))
		}
		sum += (off(of[0]) - shift) * (off(of[0]) - shift)
		drift += math.Pow(off(of[len(of)-1])-off(of[0]), 2)
		for _, r := range of {
			if at := r.made - w.Begins(); at > 60*hour && at < 61*hour && near(off(r)-shift, 2*float64(hour), 400_000) {
				stepped++
				break
			}
		}
	}
	sd, away := math.Sqrt(sum/40), math.Sqrt(drift/40)
	if len(wrong) < 4 || len(wrong) > 17 || stepped != 5 || sd < 5_000 || sd > 60_000 || away < 20_000 || away > 100_000 {
		t.Errorf("%d wrong, %d stepped, %g off at first, %g more in six days", len(wrong), stepped, sd, away)
	}
}

func TestAnotherIntervalIsDue(t *testing.T) {
	w := newWorld(t, `
scenario: pace
lasts: 4d
cohorts: [{name: a, devices: 4, metrics: [{name: x}, {name: clicks, kind: counter, model: {base: 10}}]}]
faults: [{at: 1d, for: 1d, interval: {devices: 2, to: 5m}}, {at: 3d, interval: {devices: 1, to: 10s}}]
`, 3)
	var due, made int64
	all(w, func(_ *plan.Device, h *world.Happening) {
		if h.Kind == world.Tally {
			due, made = due+h.Count.Due, made+h.Count.Made
		}
	})
	if want := int64(4*5760 - 2*(1440-288) + 8640 - 1440); !near(float64(made), float64(want), 30) || !near(float64(due), float64(want), 30) {
		t.Errorf("made %d, due %d, want %d", made, due, want)
	}
	for i, of := range readings(t, w, "clicks") {
		if grown := of[len(of)-1].value - of[0].value; !near(grown, 57_600, 100) {
			t.Errorf("device %d counts %g in four days, whatever its interval", i, grown)
		}
	}
}
