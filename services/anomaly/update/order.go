package update

import (
	"cmp"
	"math"
	"slices"
	"strings"

	"muster.dev/proto/event"
	"muster.dev/services/anomaly/page"
)

// depths is how many of the order are looked at: a quarter as many as are treated, for what befalls some of them; as many as are
// treated, for what befalls all; and half of everybody, for what moves all by a little.
const depths = 3

// order is the evidence of one metric's numbers in one direction, in nanonats.
type order [depths][len(failingOdds)]int64

// unit of the order: a device, or a site where whole sites are treated.
type ranked struct {
	value   float64
	treated bool
}

// add takes the units of a stratum, and says whether both arms are there. The worst one comes first, and so on: if the update
// does nothing, any that are left are next with the same chance. So the law is that of failures in ticks, with the place in the
// order for the time; those of one value come together.
func (o *order) add(units []ranked, worse int) bool {
	var left round
	for _, u := range units {
		if u.treated {
			left.riskT++
		} else {
			left.riskC++
		}
	}
	if left.riskT == 0 || left.riskC == 0 {
		return false
	}
	units = slices.Clone(units)
	slices.SortStableFunc(units, func(a, b ranked) int { return -worse * cmp.Compare(a.value, b.value) })
	stop := [depths]int{(left.riskT + 3) / 4, left.riskT, (len(units) + 1) / 2}
	for taken := 0; taken < max(stop[0], stop[1], stop[2]); {
		left.failT, left.failC = 0, 0
		n := taken
		for ; n < len(units) && units[n].value == units[taken].value; n++ {
			if units[n].treated {
				left.failT++
			} else {
				left.failC++
			}
		}
		weights := left.weights()
		least, base := max(0, n-taken-left.riskC), logSum(weights, 0)
		for k, psi := range failingOdds {
			ln := math.Log(psi)
			add := toNano(float64(float64(left.failT-least)*ln) - logSum(weights, ln) + base)
			for d := range stop {
				if taken < stop[d] {
					o[d][k] += add
				}
			}
		}
		left.riskT, left.riskC = left.riskT-left.failT, left.riskC-left.failC
		taken = n
	}
	return true
}

// log is the log of the e-value: the mean over depths and odds.
func (o *order) log() float64 {
	var logs []float64
	for d := range o {
		for _, v := range o[d] {
			logs = append(logs, float64(v)/nano)
		}
	}
	return logSum(logs, 0) - math.Log(float64(len(logs)))
}

// What a metric is held against: that it is higher, that it is lower, that it rises, that it falls more.
const (
	higher = iota
	lower
	rises
	falls
	sides
)

// compare takes the numbers of one metric that were told together, in order of stratum and device.
func (s *stage) compare(ranks []page.Rank) {
	k := slices.IndexFunc(s.health, func(h event.RolloutHealth) bool { return h.Metric == ranks[0].Metric })
	if k < 0 {
		return
	}
	up := higher
	if ranks[0].Trend {
		up = rises
	}
	var treated, control uint32
	for _, units := range s.groups(ranks) {
		if !s.orders[k][up].add(units, 1) {
			continue
		}
		s.orders[k][up+1].add(units, -1)
		for _, u := range units {
			if u.treated {
				treated++
			} else {
				control++
			}
		}
	}
	s.compared = [2]uint32{max(s.compared[0], treated), max(s.compared[1], control)}
}

// groups are those that can be compared: a stratum's devices, those of a few together by model, or all sites.
func (s *stage) groups(ranks []page.Rank) (out [][]ranked) {
	place := map[string]int{} // looked up, never walked through
	group := func(name string) int {
		k, ok := place[name]
		if !ok {
			k = len(out)
			place[name], out = k, append(out, nil)
		}
		return k
	}
	if s.bySite {
		ranks = slices.Clone(ranks)
		slices.SortStableFunc(ranks, func(a, b page.Rank) int { return strings.Compare(site(a.Stratum), site(b.Stratum)) })
		for len(ranks) > 0 {
			n, sum := 0, 0.0
			for ; n < len(ranks) && site(ranks[n].Stratum) == site(ranks[0].Stratum); n++ {
				sum += float64(ranks[n].Micro)
			}
			k := group("")
			out[k] = append(out[k], ranked{sum / float64(n), ranks[0].Treated})
			ranks = ranks[n:]
		}
		return out
	}
	for len(ranks) > 0 {
		n := 1
		for n < len(ranks) && ranks[n].Stratum == ranks[0].Stratum {
			n++
		}
		name := "site|" + ranks[0].Stratum
		if n < few {
			name = "model|" + model(ranks[0].Stratum)
		}
		k := group(name)
		for _, r := range ranks[:n] {
			out[k] = append(out[k], ranked{float64(r.Micro), r.Treated})
		}
		ranks = ranks[n:]
	}
	return out
}

// ill is the log of the e-value against "the metrics are as usual": the mean over the metrics, over what they were and how they
// changed, and over both directions where either is bad.
func (s *stage) ill() float64 {
	if len(s.health) == 0 {
		return 0
	}
	var logs []float64
	for k, h := range s.health {
		for side := range s.orders[k] {
			if h.Worse > 0 && side%2 == 1 || h.Worse < 0 && side%2 == 0 {
				continue
			}
			log := s.orders[k][side].log() - math.Ln2
			if h.Worse == 0 {
				log -= math.Ln2
			}
			logs = append(logs, log)
		}
	}
	return logSum(logs, 0) - math.Log(float64(len(s.health)))
}
