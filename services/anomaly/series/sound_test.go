package series

import (
	"flag"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"muster.dev/services/anomaly/incident"
)

var measured = flag.Bool("eval", false, "play thousands of healthy series, minutes long, and report")

// sound are kinds of series that nothing is wrong with. make gives one device's: a function that is asked for each
// minute's value in order; shared is what all devices of a cohort have in common that minute, of a standard deviation of 1.
var sound = []struct {
	name string
	make func(dice *rand.Rand) func(at int64, shared float64) float64
}{
	{"white", func(d *rand.Rand) func(int64, float64) float64 {
		base := 50 + 5*d.NormFloat64()
		return func(int64, float64) float64 { return tenth(base + 2*d.NormFloat64()) }
	}},
	{"wave", func(d *rand.Rand) func(int64, float64) float64 {
		base := 21 + d.NormFloat64()
		return func(at int64, _ float64) float64 { return tenth(base + 4*sunny(at) + .3*d.NormFloat64()) }
	}},
	{"week", func(d *rand.Rand) func(int64, float64) float64 {
		base := 310 + 40*d.NormFloat64()
		return func(at int64, _ float64) float64 {
			return math.Round(base + 120*sunny(at) - 150*weekend(at) + 15*d.NormFloat64())
		}
	}},
	{"shared", func(d *rand.Rand) func(int64, float64) float64 {
		base := 60 + 3*d.NormFloat64()
		return func(at int64, s float64) float64 { return tenth(base - 10*sunny(at) + 3*s + d.NormFloat64()) }
	}},
	{"wanders an hour", func(d *rand.Rand) func(int64, float64) float64 { return wanders(d, 30, .6, 60) }},
	{"wanders six hours", func(d *rand.Rand) func(int64, float64) float64 { return wanders(d, 4, .3, 360) }},
	{"wanders two days", func(d *rand.Rand) func(int64, float64) float64 { return wanders(d, 20, 2, 2880) }},
	{"walks", func(d *rand.Rand) func(int64, float64) float64 {
		x := 500 + 50*d.NormFloat64()
		return func(int64, float64) float64 { x += .5 * d.NormFloat64(); return tenth(x) }
	}},
	{"events", func(d *rand.Rand) func(int64, float64) float64 {
		return func(int64, float64) float64 { return poisson(d, .3) }
	}},
	{"count of events", func(d *rand.Rand) func(int64, float64) float64 {
		x := 0.
		return func(int64, float64) float64 { x += poisson(d, .8); return x }
	}},
	{"events by day", func(d *rand.Rand) func(int64, float64) float64 {
		return func(at int64, _ float64) float64 { return poisson(d, 2*(1+.9*sunny(at))) }
	}},
	{"heavy tails", func(d *rand.Rand) func(int64, float64) float64 {
		return func(int64, float64) float64 {
			return tenth(20 + d.NormFloat64()/math.Sqrt((square(d)+square(d)+square(d))/3))
		}
	}},
	{"bursts", func(d *rand.Rand) func(int64, float64) float64 {
		x := 1.
		return func(int64, float64) float64 {
			if x *= .98; d.Float64() < .003 {
				x += 20 * d.ExpFloat64()
			}
			return tenth(5 + x + .3*d.NormFloat64())
		}
	}},
	{"few levels", func(d *rand.Rand) func(int64, float64) float64 {
		w := wanders(d, 22.3, .4, 600)
		return func(at int64, s float64) float64 { return math.Round(w(at, s)) }
	}},
	{"switch", func(d *rand.Rand) func(int64, float64) float64 {
		on := 0.
		return func(int64, float64) float64 {
			if d.Float64() < 1./40 {
				on = 1 - on
			}
			return on
		}
	}},
	{"mains", func(d *rand.Rand) func(int64, float64) float64 {
		return func(int64, float64) float64 { return math.Round(100*(50+.02*d.NormFloat64())) / 100 }
	}},
	{"air", func(d *rand.Rand) func(int64, float64) float64 {
		w := wanders(d, 1013+d.NormFloat64(), .3, 600)
		return func(at int64, s float64) float64 { return tenth(w(at, s) + 4*s + .2*d.NormFloat64()) }
	}},
	{"kelvin", func(d *rand.Rand) func(int64, float64) float64 {
		w := wanders(d, 293+.5*d.NormFloat64(), .4, 360)
		return func(at int64, s float64) float64 { return tenth(w(at, s) + 2*sunny(at) + .2*d.NormFloat64()) }
	}},
	{"volts", func(d *rand.Rand) func(int64, float64) float64 {
		w := wanders(d, 230+d.NormFloat64(), .8, 120)
		return func(at int64, s float64) float64 { return tenth(w(at, s) + .5*s) }
	}},
	{"saw", func(d *rand.Rand) func(int64, float64) float64 {
		x := 100 * d.Float64()
		return func(int64, float64) float64 {
			if x -= .05 + .02*d.NormFloat64(); x < 5 {
				x = 95 + 5*d.Float64()
			}
			return tenth(x)
		}
	}},
}

func tenth(v float64) float64 { return math.Round(v*10) / 10 }

func sunny(at int64) float64 { return math.Sin(2 * math.Pi * float64(at%day-9*hour) / float64(day)) }

func weekend(at int64) float64 {
	if d := (at/day + 4) % 7; d == 0 || d == 6 {
		return 1
	}
	return 0
}

func square(d *rand.Rand) float64 { v := d.NormFloat64(); return v * v }

func wanders(d *rand.Rand, base, by, minutes float64) func(int64, float64) float64 {
	keep := math.Exp(-1 / minutes)
	x := by * d.NormFloat64()
	return func(int64, float64) float64 {
		x = keep*x + math.Sqrt(1-keep*keep)*by*d.NormFloat64()
		return math.Round(100*(base+x+by/3*d.NormFloat64())) / 100
	}
}

func poisson(d *rand.Rand, mean float64) float64 {
	n := 0.
	for p := d.Float64(); p > math.Exp(-mean); p *= d.Float64() {
		n++
	}
	return n
}

// falsely plays a healthy cohort's metric, a reading every five minutes, and counts what becomes an incident, by words.
func falsely(kind, devices, weeks int, seed uint64, verbs map[string]int) (incidents int) {
	dice := rand.New(rand.NewPCG(seed, uint64(kind)))
	var all []func(int64, float64) float64
	for range devices {
		all = append(all, sound[kind].make(rand.New(rand.NewPCG(dice.Uint64(), dice.Uint64()))))
	}
	keep, shared := math.Exp(-5./1440), dice.NormFloat64()
	of := int64(0)
	return incidentsOf(devices, 7*weeks, 5, dice, verbs, func(i int, at int64) float64 {
		if at != of {
			of, shared = at, keep*shared+math.Sqrt(1-keep*keep)*dice.NormFloat64()
		}
		return all[i](at, shared)
	})
}

// incidentsOf plays a cohort's metric, of which a reading in each few minutes is heard, but for one in thirty, and counts
// what becomes an incident, by words.
func incidentsOf(devices, days int, each int64, dice *rand.Rand, verbs map[string]int, value func(i int, at int64) float64) (incidents int) {
	b, p := NewBank(DefaultSettings(), testNames()), NewPeers(DefaultSettings())
	metric := []byte("of-it")
	open := map[string]int64{}
	for at := begins; at < begins+int64(days)*day; at += each * minute {
		for i := range devices {
			if v := value(i, at); dice.Float64() >= .03 {
				b.Row(int32(i), uint32(i)+1, 0, metric, at+int64(i), v)
			}
		}
		if (at-begins)%(5*minute) != 0 {
			continue
		}
		for _, s := range p.Cut(at+5*minute, b.Tick(at+5*minute)) {
			key := s.Subject.Device
			if until, was := open[key]; !s.Over && (!was || until > 0 && s.At-until > 90*minute) {
				incidents++
				verbs[word(s)]++
			}
			if open[key] = 0; s.Over {
				open[key] = s.At
			}
		}
	}
	return incidents
}

func word(s incident.Signal) string {
	of := "device"
	if s.Subject.Device == "" {
		of = s.Cause
	}
	for _, k := range says {
		if strings.Contains(s.Title, k.verb) {
			return of + " " + k.kind
		}
	}
	return of
}

func TestFewOfManyHealthySeriesAreTold(t *testing.T) {
	for kind, of := range sound {
		if slices.Contains([]string{"bursts", "saw", "events by day", "few levels"}, of.name) {
			continue // what of them is told is measured
		}
		verbs := map[string]int{}
		if n := falsely(kind, 25, 2, 7, verbs); n > 1 {
			t.Errorf("%s: %d incidents of nothing in 50 weeks of a series: %v", of.name, n, verbs)
		}
	}
}

func TestMeasuredHealthySeries(t *testing.T) {
	if !*measured {
		t.Skip("SKIPPED: minutes long; make measure plays it with -eval")
	}
	for kind, of := range sound {
		for _, devices := range []int{1, 50} {
			verbs, n, weeks := map[string]int{}, 0, 0
			for seed := uint64(100); weeks*devices < 400; seed++ {
				n += falsely(kind, devices, 4, seed, verbs)
				weeks += 4
			}
			var words []string
			for w, n := range verbs {
				words = append(words, fmt.Sprintf("%d %s", n, w))
			}
			slices.Sort(words)
			t.Logf("%-18s %4d devices: %6.1f in 1,000 series-weeks, %6.3f a cohort-week  %s", of.name, devices, 1000*float64(n)/float64(weeks*devices), float64(n)/float64(weeks), strings.Join(words, ", "))
		}
	}
}
