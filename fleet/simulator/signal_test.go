package simulator

import (
	"reflect"
	"testing"
	"time"
)

var midnight = time.Date(2026, 3, 14, 0, 0, 0, 0, time.UTC)

func dayOf(seed uint64, name string, boot uint32, every time.Duration) []sample {
	s := newSensor(seed, name, boot, midnight)
	var out []sample
	for at := midnight; at.Before(midnight.Add(24 * time.Hour)); at = at.Add(every) {
		out = append(out, s.step(at))
	}
	return out
}

func TestTheSameSeedGivesTheSameDay(t *testing.T) {
	a := dayOf(7, "sim-01", 3, time.Minute)
	if !reflect.DeepEqual(a, dayOf(7, "sim-01", 3, time.Minute)) {
		t.Error("two days of one seed differ")
	}
	for what, other := range map[string][]sample{
		"seed": dayOf(8, "sim-01", 3, time.Minute), "device": dayOf(7, "sim-02", 3, time.Minute), "boot": dayOf(7, "sim-01", 4, time.Minute),
	} {
		if reflect.DeepEqual(a, other) {
			t.Errorf("another %s gives the same day", what)
		}
	}
}

func TestAfternoonsAreWarmerThanNights(t *testing.T) {
	for _, name := range []string{"sim-01", "sim-02", "sim-03"} {
		d := dayOf(1, name, 1, time.Minute)
		mean := func(from, to int) (m float64) {
			for _, s := range d[from*60 : to*60] {
				m += float64(s.deciCelsius) / 10
			}
			return m / float64((to-from)*60)
		}
		if night, noon := mean(1, 5), mean(12, 16); noon-night < 2 {
			t.Errorf("%s: night %.1f, afternoon %.1f", name, night, noon)
		}
	}
}

func TestSignalsStayInTheirRangesAndMove(t *testing.T) {
	modes, doors, levels := map[string]bool{}, 0, map[int64]bool{}
	last := int64(-1)
	for i, s := range dayOf(1, "sim-01", 1, 2*time.Second) {
		if s.deciCelsius < 0 || s.deciCelsius > 450 || s.rssi < -110 || s.rssi > -30 || s.heapFree < 100_000 || s.heapFree > 200_000 || s.battery < -1 || s.battery > 100 {
			t.Fatalf("step %d: %+v", i, s)
		}
		if s.uptime < last {
			t.Fatalf("uptime goes back to %d", s.uptime)
		}
		last = s.uptime
		modes[s.mode] = true
		if s.doorOpen {
			doors++
		}
		if s.battery >= 0 {
			levels[s.battery] = true
		}
	}
	if len(modes) != 3 || doors == 0 || doors > 43_200/4 || len(levels) < 2 || len(levels) > 6 {
		t.Errorf("modes %v, %d steps with the door open, battery %v", modes, doors, levels)
	}
}
