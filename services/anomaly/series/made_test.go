package series

import (
	"fmt"
	"math"
	"math/rand/v2"
	"strconv"

	"muster.dev/services/anomaly/page"
)

// The begin of made series: a Monday, 00:00 UTC.
const begins = int64(1_767_571_200_000)

const (
	minute = int64(60_000)
	hour   = 60 * minute
	day    = 24 * hour
)

// model of a value, as simulated devices have it.
type model struct{ base, spread, daily, weekly, noise, walk, together, least float64 }

// maker makes the readings of some devices' metric.
type maker struct {
	m      model
	metric []byte
	dice   *rand.Rand
	base   []float64
	walk   []float64
	shared float64
	last   []float64
}

func newMaker(metric string, m model, devices int, seed uint64) *maker {
	out := &maker{m: m, metric: []byte(metric), dice: rand.New(rand.NewPCG(seed, uint64(len(metric)))), base: make([]float64, devices), walk: make([]float64, devices), last: make([]float64, devices)}
	for i := range out.base {
		out.base[i] = m.base + m.spread*out.dice.NormFloat64()
		out.walk[i] = m.walk * out.dice.NormFloat64()
	}
	return out
}

// fault alters what a device says; there is false where it says nothing.
type fault func(device int, at int64, v, last float64, noise float64) (altered float64, there bool)

// at makes a minute: each device says one value, but for the share that is lost.
func (k *maker) at(at int64, loss float64, f fault, say func(device int, at int64, v float64)) {
	keep := math.Exp(-1. / 360)
	grow := math.Sqrt(1 - keep*keep)
	k.shared = keep*k.shared + grow*k.m.together*k.dice.NormFloat64()
	wave := math.Sin(2 * math.Pi * float64(at%day-9*hour) / float64(day))
	weekend := 0.
	if d := (at/day + 4) % 7; d == 0 || d == 6 {
		weekend = 1
	}
	for i := range k.base {
		k.walk[i] = keep*k.walk[i] + grow*k.m.walk*k.dice.NormFloat64()
		noise := k.m.noise * k.dice.NormFloat64()
		v := k.base[i] + k.m.daily*wave + k.m.weekly*weekend + k.walk[i] + k.shared + noise
		there := true
		if f != nil {
			v, there = f(i, at, v, k.last[i], noise)
		}
		v = math.Round(max(k.m.least, v)*10) / 10
		k.last[i] = v
		if there && k.dice.Float64() >= loss {
			say(i, at+int64(i), v)
		}
	}
}

func testNames() Names {
	return Names{
		Device: func(i int32) string { return fmt.Sprintf("d-%04d", i) },
		Cohort: func(c int32) string { return "cohort-" + strconv.Itoa(int(c)) },
	}
}

// live feeds some metrics of one cohort's devices to a bank for some days, and gives all that it tells.
func live(b *Bank, days float64, loss float64, metrics []*maker, f fault) (told []page.Finding) {
	for at := begins; at < begins+int64(days*float64(day)); at += minute {
		for m, k := range metrics {
			g := f
			if m > 0 {
				g = nil
			}
			k.at(at, loss, g, func(device int, at int64, v float64) {
				b.Row(int32(device), uint32(device)+1, 0, k.metric, at, v)
			})
		}
		told = append(told, b.Tick(at+minute)...)
	}
	return told
}
