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

func TestWhoNeverLostAMessageIsToldSoonerTheLongerItIsKnown(t *testing.T) {
	k := func(gaps uint32, runs, more int) int64 {
		g := lost{every: 5 * minute, runs: uint32(runs), more: uint32(more), gaps: gaps}
		return g.bears(DefaultSettings().False / 1_000)
	}
	last := int64(outage)
	for _, known := range []struct {
		gaps        uint32
		least, most int64
	}{{0, 48, 56}, {400, 32, 38}, {2_000, 18, 24}, {countGaps(0), 14, 19}} {
		now := k(known.gaps, 0, 0)
		if now < known.least || now > known.most || now >= last {
			t.Errorf("after %d messages without a loss %d intervals are borne; before, %d", known.gaps, now, last)
		}
		last = now
	}
	if rare, often := k(20_000, 20, 60), k(2_000, 20, 60); rare >= often {
		t.Errorf("bursts that begin seldom are borne for %d intervals, and such that begin often for %d", rare, often)
	}
	slow := lost{every: 60 * minute, gaps: 400}
	if k := slow.bears(DefaultSettings().False / 1_000); k >= 32 {
		t.Errorf("a device that has twelve times fewer messages a week, and so fewer runs, is borne for %d intervals", k)
	}
}

func TestHowOftenRunsBeginIsLearntFromGaps(t *testing.T) {
	v := device{every: min1, flags: heard}
	for range 10_000 {
		v.gap(min1, min1)
	}
	if v.gaps != countGaps(0) || v.runs != 0 {
		t.Fatalf("%d gaps and %d runs of a device that never lost a message", v.gaps, v.runs)
	}
	for range 100_000 { // one message of twenty is lost, and one of forty is one of two
		for range 38 {
			v.gap(min1, min1)
		}
		v.gap(2*min1, min1)
		v.gap(100, min1) // another message of one report
	}
	if got := begins(float64(v.runs), float64(v.gaps)); got < .025 || got > .0257 {
		t.Errorf("runs begin at %g of the gaps (%d of %d), not at one of 39", got, v.runs, v.gaps)
	}
	before := v.gaps
	v.gap(200*min1, min1) // longer than an outage: nothing is known of it
	if v.gaps != before {
		t.Errorf("%d gaps, before %d", v.gaps, before)
	}
	if got := begins(60_000, 0); got <= 0 || got > 1 {
		t.Errorf("absurd counts make a share of %g", got)
	}
}
