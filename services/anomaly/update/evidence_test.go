package update

import (
	"math"
	"testing"
)

// chance is the probability of each number of treated among those that fail, at an odds ratio: by multiplying out.
func chance(r round, psi float64) []float64 {
	choose := func(n, k int) float64 {
		out := 1.0
		for i := range k {
			out *= float64(n-i) / float64(i+1)
		}
		return out
	}
	d := r.failT + r.failC
	out := make([]float64, d+1)
	sum := 0.0
	for x := range out {
		if x <= r.riskT && d-x <= r.riskC {
			out[x] = choose(r.riskT, x) * choose(r.riskC, d-x) * math.Pow(psi, float64(x))
			sum += out[x]
		}
	}
	for x := range out {
		out[x] /= sum
	}
	return out
}

func TestTheLikelihoodIsFishersOfAFixedNumberOfFailures(t *testing.T) {
	for _, r := range []round{{50, 200, 1, 0}, {50, 200, 0, 1}, {5, 20, 3, 4}, {5, 3, 4, 2}, {1, 1, 1, 0}, {40, 3, 2, 3}} {
		var e evidence
		e.add(r, 2)
		one := chance(r, 1)[r.failT]
		for i, psi := range grid {
			want := math.Log(chance(r, psi)[r.failT] / one)
			if got := float64(e.log[i]) / nano; math.Abs(got-want) > 1e-8 {
				t.Errorf("%+v at %g: %g, want %g", r, psi, got, want)
			}
		}
		if e.log[margin] != e.log[12] { // 2 stands there too
			t.Errorf("%+v: the margin has a likelihood of its own", r)
		}
	}
}

// An e-value has the mean 1 at most where the hypothesis is true: after any number of rounds then, and at any time.
func TestTheEValuesHaveTheMeanOneAtMostWhereNothingIsWrong(t *testing.T) {
	for _, start := range []round{{50, 200, 0, 0}, {8, 3, 0, 0}, {3, 30, 0, 0}} {
		for d := 1; d <= 4; d++ {
			mean := func(truth float64, value func(*evidence) float64) (sum float64) {
				r := start
				r.failC = d
				for x, p := range chance(r, truth) {
					var e evidence
					e.add(round{start.riskT, start.riskC, x, d - x}, 2)
					if p > 0 {
						sum += p * math.Exp(value(&e))
					}
				}
				return sum
			}
			if m := mean(1, (*evidence).fail); math.Abs(m-1) > 1e-6 {
				t.Errorf("%+v, %d failures: fail has the mean %g where nothing is wrong", start, d, m)
			}
			if m := mean(.5, (*evidence).fail); m > 1 {
				t.Errorf("%+v, %d failures: fail has the mean %g where the update helps", start, d, m)
			}
			if m := mean(2, (*evidence).pass); math.Abs(m-1) > 1e-6 {
				t.Errorf("%+v, %d failures: pass has the mean %g at the margin", start, d, m)
			}
			if m := mean(5, (*evidence).pass); m > 1 {
				t.Errorf("%+v, %d failures: pass has the mean %g beyond the margin", start, d, m)
			}
		}
	}
	for _, rate := range []float64{.05, .02, 0} {
		mean := 0.0
		for bad := range uint32(21) {
			p := chanceOf(20, bad, rate)
			mean += p * math.Exp(installs(20, bad, 50_000))
		}
		if mean > 1+1e-9 {
			t.Errorf("installs have the mean %g at %g", mean, rate)
		}
	}
}

func chanceOf(n, k uint32, p float64) float64 {
	out := 1.0
	for i := range k {
		out *= float64(n-i) / float64(i+1) * p
	}
	return out * math.Pow(1-p, float64(n-k))
}

func TestSoManyDevicesAreNeededForARareFailure(t *testing.T) {
	for ppm, want := range map[uint32][2]uint32{5_000: {644, 1_339}, 10_000: {322, 668}, 20_000: {160, 333}, 50_000: {63, 132}, 100_000: {31, 65}} {
		for failed := range uint32(2) {
			n := uint32(1)
			for rare(n, failed, ppm) < math.Log(20) {
				n++
			}
			if n < want[failed]-1 || n > want[failed]+1 {
				t.Errorf("%d in a million with %d failed: %d devices, want %d", ppm, failed, n, want[failed])
			}
		}
	}
	if !math.IsInf(rare(1_000, 0, 0), -1) {
		t.Error("without a margin there is none to pass")
	}
}

func TestTheIntervalHoldsTheEffect(t *testing.T) {
	var e evidence
	if effect, low, high := e.effect(); effect != 1 || low != 0 || high != most {
		t.Errorf("of nothing: %g, %g to %g", effect, low, high)
	}
	for range 40 { // five times
		e.add(round{50, 200, 1, 0}, 2)
	}
	for range 32 {
		e.add(round{50, 200, 0, 1}, 2)
	}
	effect, low, high := e.effect()
	if math.Abs(effect-5) > .01 || low < 1.2 || low > 4 || high < 6 || high > 18 {
		t.Errorf("%g, %g to %g", effect, low, high)
	}
	order := evidence{}
	for range 32 {
		order.add(round{50, 200, 0, 1}, 2)
	}
	for range 40 {
		order.add(round{50, 200, 1, 0}, 2)
	}
	if order != e {
		t.Error("the order of the rounds changes the sum")
	}
}

func TestARoundThatCannotBeSaysNothing(t *testing.T) {
	var e evidence
	for _, r := range []round{{0, 10, 0, 1}, {10, 0, 1, 0}, {10, 10, 0, 0}, {3, 3, 4, 0}, {-1, 3, 0, 1}} {
		e.add(r, 2)
	}
	if e != (evidence{}) {
		t.Errorf("%+v", e)
	}
}

func TestASiteOfAnySizeIsCounted(t *testing.T) {
	var e evidence
	e.add(round{100_000, 900_000, 500, 4_500}, 2) // a region goes out, a tenth of it treated
	if f := e.fail(); math.IsNaN(f) || f > .5 {
		t.Errorf("%g", f)
	}
	if effect, low, high := e.effect(); math.Abs(effect-1) > .01 || low < .6 || high > 1.6 {
		t.Errorf("%g, %g to %g", effect, low, high)
	}
}
