package series

import (
	"fmt"
	"math"
	"slices"
	"testing"
)

// young are models of metrics that wander about their place for a good part of the time in which anything was seen of them.
var young = []struct {
	metric string
	m      model
}{
	{"temperature", model{base: 21, spread: 1, daily: 3, noise: .2, walk: .5, least: -1e9}},
	{"heap_used", model{base: 180, noise: 4, walk: 6}},
	{"humidity", model{base: 48, spread: 4, daily: -8, noise: 1.5}},
	{"motor", model{base: 45, spread: 4, daily: 6, weekly: -5, noise: 1.5, walk: 3}},
	{"level", model{base: 20, spread: 5, walk: 4, noise: .2, together: 5}},
}

// toldOfTheYoung plays the first days of a cohort's metric, and says what was told: incidents by words and day, and, of
// those with a fault, which and after how many hours.
func toldOfTheYoung(of, devices, days int, seed uint64, from int64, size float64, faulty int) (falsely map[string]int, found []float64) {
	k := newMaker(young[of].metric, young[of].m, devices, seed)
	b, p := NewBank(DefaultSettings(), testNames()), NewPeers(DefaultSettings())
	falsely = map[string]int{}
	open, first := map[string]int64{}, map[string]bool{}
	for at := begins; at < begins+int64(days)*day; at += minute {
		k.at(at, .05, func(i int, at int64, v, _, _ float64) (float64, bool) {
			if i < faulty && at >= begins+from {
				v += size
			}
			return v, true
		}, func(device int, at int64, v float64) { b.Row(int32(device), uint32(device)+1, 0, k.metric, at, v) })
		if at/minute%5 != 0 {
			continue
		}
		for _, s := range p.Cut(at+minute, b.Tick(at+minute)) {
			if s.Over {
				open[s.Subject.Device] = s.At
				continue
			}
			until, was := open[s.Subject.Device]
			known := was && (until == 0 || s.At-until <= 90*minute)
			open[s.Subject.Device] = 0
			its := false
			for _, d := range s.Devices {
				var i int
				if fmt.Sscanf(d.ID, "d-%d", &i); i < faulty && at >= begins+from {
					if its = true; !first[d.ID] {
						first[d.ID] = true
						found = append(found, float64(at-begins-from)/float64(hour))
					}
				}
			}
			if !its && !known {
				falsely[fmt.Sprintf("%s day %d", word(s), (at-begins)/day)]++
			}
		}
	}
	return falsely, found
}

// A cohort of five has few peers to learn from, and a walk of half a day is not known after two.
func TestAYoungWalkIsToldForWhatNoWalkDoes(t *testing.T) {
	for _, of := range []int{1, 3} {
		said := 0
		for seed := range uint64(40) {
			falsely, _ := toldOfTheYoung(of, 5, 4, 3000+seed, 0, 0, 0)
			for _, n := range falsely {
				said += n
			}
		}
		if said > 2 {
			t.Errorf("%s: %d incidents of nothing in forty cohorts' first four days", young[of].metric, said)
		}
		if _, found := toldOfTheYoung(of, 12, 4, 77, 5*day/2, 10*young[of].m.walk, 3); len(found) != 3 || found[2] > 2 {
			t.Errorf("%s: a jump of ten spreads of three devices is told after hours %v", young[of].metric, found)
		}
	}
}

func TestMeasuredYoungSeries(t *testing.T) {
	if !*measured {
		t.Skip("SKIPPED: minutes long; make measure plays it with -eval")
	}
	for of, y := range young {
		for _, devices := range []int{5, 12, 40, 200} {
			n, sum, lives := 0, map[string]int{}, max(2, 600/devices)
			for seed := range uint64(lives) {
				said, _ := toldOfTheYoung(of, devices, 5, 1000+seed, 0, 0, 0)
				for w, k := range said {
					sum[w] += k
					n += k
				}
			}
			t.Logf("%-12s %4d devices: %3d in %d lives of five days  %v", y.metric, devices, n, lives, sum)
		}
		for _, from := range []int64{5 * day / 2, 7 * day / 2} {
			for _, times := range []float64{5, 7, 10} {
				var all []float64
				const seeds = 6
				for seed := range uint64(seeds) {
					_, found := toldOfTheYoung(of, 20, int(from/day)+2, 400+seed, from, times*max(y.m.noise, y.m.walk), 3)
					all = append(all, found...)
				}
				slices.Sort(all)
				median := math.NaN()
				if len(all) > 0 {
					median = all[len(all)/2]
				}
				t.Logf("%-12s jump of %2.0f spreads on day %.1f: %2d of %d, median %.1f h", y.metric, times, float64(from)/float64(day), len(all), 3*seeds, median)
			}
		}
	}
}
