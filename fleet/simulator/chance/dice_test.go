package chance

import (
	"math"
	"testing"
)

// TestAStreamIsTheSameForEver holds the first numbers of a stream to what they were: all scenarios' bytes hang on them.
func TestAStreamIsTheSameForEver(t *testing.T) {
	d := Roll(7, ForRadio, 3, 1)
	if got := [3]uint64{d.Uint64(), d.Uint64(), d.Uint64()}; got != [3]uint64{0xbae92223225c21bb, 0x344799490d806e63, 0xe9e060be00268b99} {
		t.Errorf("%#x", got)
	}
}

func TestStreamsOfNeighboursHaveNothingInCommon(t *testing.T) {
	seen := map[uint64]bool{}
	for seed := range uint64(4) {
		for purpose := ForPlans; purpose <= ForShared; purpose++ {
			for a := range 10 {
				for b := range 10 {
					d := Roll(seed, purpose, a, b)
					seen[d.Uint64()] = true
				}
			}
		}
	}
	if len(seen) != 4*8*100 {
		t.Errorf("%d of %d streams begin alike", 4*8*100-len(seen), 4*8*100)
	}
}

// TestDrawsHaveTheirMeans is of one seed, so it holds always or never.
func TestDrawsHaveTheirMeans(t *testing.T) {
	const n = 20_000
	d := Roll(1, ForSignals, 0, 0)
	for _, c := range []struct {
		name string
		draw func() float64
		want float64
	}{
		{"unit", d.Unit, 0.5},
		{"exp", d.Exp, 1},
		{"norm squared", func() float64 { x := d.Norm(); return x * x }, 1},
		{"below 10", func() float64 { return float64(d.Below(10)) }, 4.5},
		{"between", func() float64 { return float64(d.Between(100, 200)) }, 149.5},
		{"after a second", func() float64 { return float64(d.After(0, 1000)) }, 1000.5},
		{"twice a day", func() float64 { return float64(d.Next(0, 2)) }, DayMS / 2},
		{"runs of 4", func() float64 { return float64(d.Runs(4)) }, 4},
		{"a chance of 20 %", func() float64 { return map[bool]float64{true: 1}[d.Chance(0.2)] }, 0.2},
	} {
		sum := 0.0
		for range n {
			sum += c.draw()
		}
		if mean := sum / n; math.Abs(mean/c.want-1) > 0.05 {
			t.Errorf("%s: %g in the mean, want %g", c.name, mean, c.want)
		}
	}
}

func TestWhatNeverHappensIsNotDrawn(t *testing.T) {
	d := Roll(1, ForFate, 0, 0)
	before := d
	if d.Next(5, 0) != Never || d.Next(Never, 3) != Never || d.Chance(0) || d.Between(5, 5) != 5 || d.Between(5, 4) != 5 || d.Runs(1) != 1 || d != before {
		t.Error("something was drawn")
	}
	if Later(Never, 1) != Never || Later(5, math.MaxInt64) != Never || Later(5, 2.9) != 7 {
		t.Error("a time ran over")
	}
}
