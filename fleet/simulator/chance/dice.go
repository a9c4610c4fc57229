package chance

import (
	"math"
	"math/rand/v2"
)

// Dice is one stream of chance. A device has one a purpose, so that what one purpose uses up changes no other.
type Dice struct{ rand.PCG }

// Purpose is what a stream is drawn for.
type Purpose uint64

// Purposes of streams.
const (
	ForPlans   = Purpose(iota) + 1 // who comes and goes, whom faults and rollouts take
	ForFate                        // when a device fails
	ForSignals                     // what it measures
	ForRadio                       // what gets through
	ForClone                       // the other one under its identity
	ForTraits                      // what it is like from the beginning
	ForVersion                     // what a version does to it
	ForShared                      // what a cohort's devices share
)

// Roll begins the stream of a purpose. a and b say whose it is.
func Roll(seed uint64, purpose Purpose, a, b int) Dice {
	var d Dice
	d.Seed(mix(seed^uint64(purpose)*0x9e3779b97f4a7c15), mix(mix(uint64(a)+1)^uint64(b)*0xd1342543de82ef95))
	return d
}

// mix is splitmix64's finaliser: neighbours get streams that have nothing in common.
func mix(x uint64) uint64 {
	x += 0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

// Unit is uniform in [0, 1).
func (d *Dice) Unit() float64 { return float64(d.Uint64()>>11) / (1 << 53) }

// Chance is true with probability p. Where p is 0 nothing is drawn.
func (d *Dice) Chance(p float64) bool { return p > 0 && d.Unit() < p }

// Exp is exponential of mean 1.
func (d *Dice) Exp() float64 { return rand.New(&d.PCG).ExpFloat64() }

// Norm is normal of mean 0 and deviation 1.
func (d *Dice) Norm() float64 { return rand.New(&d.PCG).NormFloat64() }

// Below is uniform in 0..n-1.
func (d *Dice) Below(n int) int { return int(rand.New(&d.PCG).Uint64N(uint64(n))) }

// Between is uniform in from..to-1, in ms; from if to is not above.
func (d *Dice) Between(from, to int64) int64 {
	if to <= from {
		return from
	}
	return from + int64(rand.New(&d.PCG).Uint64N(uint64(to-from)))
}

// After adds an exponential time of a mean, in ms. At least one millisecond passes.
func (d *Dice) After(at int64, mean float64) int64 {
	return Later(at, 1+float64(d.Exp()*mean))
}

// DayMS is a day in ms.
const DayMS = 24 * 60 * 60 * 1000

// Never is after all times.
const Never = math.MaxInt64

// Next is when a process of some events a day has its next one.
func (d *Dice) Next(at int64, perDay float64) int64 {
	if perDay <= 0 || at == Never {
		return Never
	}
	return d.After(at, DayMS/perDay)
}

// Later adds, and does not run over.
func Later(at int64, by float64) int64 {
	if at == Never || by > math.MaxInt64/4 {
		return Never
	}
	return at + int64(by)
}

// Runs is the length of a run in intervals that goes on with 1 - 1/mean each time: at least 1.
func (d *Dice) Runs(mean float64) int64 {
	if mean <= 1 {
		return 1
	}
	return 1 + int64(math.Log(1-d.Unit())/math.Log1p(-1/mean))
}
