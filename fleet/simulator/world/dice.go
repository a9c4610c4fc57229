package world

import (
	"math"
	"math/rand/v2"
)

// dice is one stream of chance. A device has one a purpose, so that what one purpose uses up changes no other.
type dice struct{ rand.PCG }

// Purposes of streams.
const (
	forPlans   = uint64(iota) + 1 // who comes and goes, whom faults and rollouts take
	forFate                       // when a device fails
	forSignals                    // what it measures
	forRadio                      // what gets through
	forClone                      // the other one under its identity
	forTraits                     // what it is like from the beginning
	forVersion                    // what a version does to it
	forShared                     // what a cohort's devices share
)

// roll begins the stream of a purpose. a and b say whose it is.
func roll(seed, purpose uint64, a, b int) dice {
	var d dice
	d.Seed(mix(seed^purpose*0x9e3779b97f4a7c15), mix(mix(uint64(a)+1)^uint64(b)*0xd1342543de82ef95))
	return d
}

// mix is splitmix64's finaliser: neighbours get streams that have nothing in common.
func mix(x uint64) uint64 {
	x += 0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

// unit is uniform in [0, 1).
func (d *dice) unit() float64 { return float64(d.Uint64()>>11) / (1 << 53) }

func (d *dice) chance(p float64) bool { return p > 0 && d.unit() < p }

// exp is exponential of mean 1.
func (d *dice) exp() float64 { return rand.New(&d.PCG).ExpFloat64() }

// norm is normal of mean 0 and deviation 1.
func (d *dice) norm() float64 { return rand.New(&d.PCG).NormFloat64() }

// below is uniform in 0..n-1.
func (d *dice) below(n int) int { return int(rand.New(&d.PCG).Uint64N(uint64(n))) }

// between is uniform in from..to-1, in ms; from if to is not above.
func (d *dice) between(from, to int64) int64 {
	if to <= from {
		return from
	}
	return from + int64(rand.New(&d.PCG).Uint64N(uint64(to-from)))
}

// after adds an exponential time of a mean, in ms. At least one millisecond passes.
func (d *dice) after(at int64, mean float64) int64 {
	return later(at, 1+float64(d.exp()*mean))
}

const dayMS = 24 * 60 * 60 * 1000

// next is when a process of some events a day has its next one.
func (d *dice) next(at int64, perDay float64) int64 {
	if perDay <= 0 || at == Never {
		return Never
	}
	return d.after(at, dayMS/perDay)
}

// later adds, and does not run over.
func later(at int64, by float64) int64 {
	if at == Never || by > math.MaxInt64/4 {
		return Never
	}
	return at + int64(by)
}

// runs is the length of a run in intervals that goes on with 1 - 1/mean each time: at least 1.
func (d *dice) runs(mean float64) int64 {
	if mean <= 1 {
		return 1
	}
	return 1 + int64(math.Log(1-d.unit())/math.Log1p(-1/mean))
}
