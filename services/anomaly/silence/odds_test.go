package silence

import (
	"math"
	"testing"
)

// What is borne of a device is held against the truth: runs that go on with a chance of phi, in the first week of its life.
func TestAFirstWeekOfOneDeviceKeepsToItsBudget(t *testing.T) {
	for _, loss := range []float64{.05, .2} {
		if got := Measure(Cell{Devices: 1, Loss: loss, Burst: 4, Life: 1}, 400, 7_201); got.Low > 5 {
			t.Error(got)
		}
	}
}

func TestLossesAreBorneAsLongAsLittleIsKnownOfThem(t *testing.T) {
	const chance = 1.24e-5 // 2.5 in 1,000 weeks, and a run at every tenth message of five minutes
	last := int64(outage)
	for _, runs := range []float64{0, 3, 10, 30, 100, 1_000} {
		k := borne(0, runs, chance)
		if k > last || runs > 0 && runs < 50 && k == last {
			t.Errorf("%g runs of one, and %d intervals are borne; before, %d", runs, k, last)
		}
		last = k
	}
	if last != 5 {
		t.Errorf("losses never go on, which is known, and %d intervals are borne", last)
	}
	for _, phi := range []float64{.2, .5, .75} { // of which all is known
		want := 1 + math.Ceil(math.Log(chance)/math.Log(phi))
		if k := float64(borne(50_000*phi, 50_000*(1-phi), chance)); k < want || k > want+1 {
			t.Errorf("runs go on with a chance of %g, and %g intervals are borne, not %g", phi, k, want)
		}
	}
	if k := borne(60_000, 1_000, chance); k != outage {
		t.Errorf("%d intervals are borne of one that is hardly ever heard", k)
	}
	if k := borne(math.MaxUint32, math.MaxUint32, chance); k < 2 || k > outage {
		t.Errorf("%d intervals are borne of absurd counts", k)
	}
}
