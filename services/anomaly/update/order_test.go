package update

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"

	"muster.dev/proto/event"
	"muster.dev/services/anomaly/page"
)

// If the update does nothing, all ways to deal the arms are as likely: over all of them the mean is 1, ties or not.
func TestTheMeanOfAnOrderOverAllDealsIsOne(t *testing.T) {
	for _, values := range [][]float64{{1, 2, 3, 4, 5, 6, 7}, {1, 1, 1, 2, 2, 5, 7, 7}, {3, 3, 3, 3}, {0, 9}} {
		for treated := 1; treated < len(values); treated++ {
			sum, n := 0.0, 0
			for deal := range 1 << len(values) {
				units := make([]ranked, len(values))
				k := 0
				for i, v := range values {
					units[i] = ranked{v, deal&(1<<i) != 0}
					if units[i].treated {
						k++
					}
				}
				if k != treated {
					continue
				}
				var o order
				if !o.add(units, 1) {
					t.Fatal("both arms are there")
				}
				sum += math.Exp(o.log())
				n++
			}
			if mean := sum / float64(n); math.Abs(mean-1) > 1e-6 {
				t.Errorf("%v, %d treated: the mean is %g", values, treated, mean)
			}
		}
	}
	var o order
	if o.add([]ranked{{1, true}, {2, true}}, 1) || o != (order{}) {
		t.Error("one arm alone says something")
	}
}

// numbers are what the shards tell of a metric at a stage's end: some of the treated are worse by so many standard deviations.
func numbers(treated, control, sites int, bySite bool, part, shift float64, seed uint64) []page.Rank {
	r := seeded(seed)
	level := make([]float64, sites)
	for i := range level {
		level[i] = 10 * r.NormFloat64()
	}
	var out []page.Rank
	for i := range treated + control {
		isTreated := i*treated/(treated+control) != (i+1)*treated/(treated+control)
		at := i * sites / (treated + control)
		if bySite {
			isTreated = at%4 == 3
		}
		x := level[at] + r.NormFloat64()
		if isTreated && r.Float64() < part {
			x += shift
		}
		out = append(out, page.Rank{Rollout: "r", Stage: 1, Stratum: fmt.Sprintf("%03d|m", at), Metric: "heap", ID: fmt.Sprintf("d%04d", i), Treated: isTreated, Micro: micro(x)})
	}
	return out
}

func watching(bySite bool) *Rollouts {
	j := NewRollouts(DefaultSettings())
	j.Registry(0, event.RolloutStarted{Rollout: "r", Cohort: "c", Firmware: "2", From: "1", BySite: bySite, Design: event.DefaultRolloutDesign(), Stages: []event.RolloutStage{{SharePPM: 1, SoakMS: hour}},
		Health: []event.RolloutHealth{{Metric: "heap", Worse: 1}}})
	j.Registry(0, event.RolloutStageStarted{Rollout: "r", Stage: 1})
	return j
}

func TestHealthOfACanaryFindsWhatBefallsAllAndWhatBefallsSome(t *testing.T) {
	for _, c := range []struct {
		name                    string
		treated, control, sites int
		bySite                  bool
		part, shift             float64
		least, most             int // of 200 that are failed
	}{
		{name: "nothing, ten sites", treated: 50, control: 200, sites: 10},
		{name: "nothing, by site", treated: 250, control: 750, sites: 40, bySite: true},
		{name: "all by two deviations", treated: 50, control: 200, sites: 10, part: 1, shift: 2, least: 200, most: 200},
		{name: "all by one", treated: 50, control: 450, sites: 10, part: 1, shift: 1, least: 160, most: 200},
		{name: "three tenths by five", treated: 50, control: 200, sites: 10, part: .3, shift: 5, least: 120, most: 200},
		{name: "twenty devices at five sites", treated: 20, control: 180, sites: 5, part: .7, shift: 5, least: 190, most: 200},
		{name: "ten of forty sites by as much as sites differ by, and more", treated: 250, control: 750, sites: 40, bySite: true, part: 1, shift: 30, least: 170, most: 200},
	} {
		failed := 0
		for seed := range uint64(200) {
			j := watching(c.bySite)
			ranks := numbers(c.treated, c.control, c.sites, c.bySite, c.part, c.shift, seed)
			if v, _ := j.Cut(hour, nil, ranks); len(v) > 0 && v[0].Verdict == event.VerdictFail {
				failed++
			}
		}
		if failed < c.least || failed > max(c.most, 2) {
			t.Errorf("%s: %d of 200 are failed", c.name, failed)
		}
	}
}

func TestHealthIsThatOfAllShardsTogether(t *testing.T) {
	all := numbers(50, 200, 10, false, 1, 1.5, 3)
	one, twelve := watching(false), watching(false)
	one.Cut(hour, nil, all)
	var dealt []page.Rank // as twelve pages follow each other
	for shard := range uint64(12) {
		dealt = append(dealt, slices.DeleteFunc(slices.Clone(all), func(r page.Rank) bool { return hash(r.ID)%12 != shard })...)
	}
	twelve.Cut(hour, nil, dealt)
	if a, b := &one.rollouts[0].on, &twelve.rollouts[0].on; a.orders[0] != b.orders[0] || a.ill() != b.ill() || a.compared != [2]uint32{50, 200} || b.compared != a.compared {
		t.Errorf("%v and %v: %g and %g", a.compared, b.compared, a.ill(), b.ill())
	}
}

func TestAVerdictSaysOfHowManyTheHealthWasCompared(t *testing.T) {
	for _, c := range []struct {
		bySite bool
		none   bool
		says   string
	}{{says: "health was compared of 50 and 200 devices"}, {bySite: true, says: "health was compared of 10 and 30 sites"}, {none: true, says: "health was not compared, for"}} {
		j := watching(c.bySite)
		ranks := numbers(50, 200, 10, false, 0, 0, 1)
		if c.bySite {
			ranks = numbers(250, 750, 40, true, 0, 0, 1)
		}
		if c.none {
			ranks = nil
		}
		j.Cut(hour, nil, ranks)
		j.Registry(hour, event.RolloutChanged{Rollout: "r", State: event.RolloutDone})
		v, _ := j.Cut(hour+minutes, nil, nil)
		if len(v) != 1 || !strings.Contains(v[0].Why, c.says) || (v[0].ComparedTreated == 0) != c.none {
			t.Errorf("%+v", v)
		}
	}
}

// Of many only some are watched, whichever shard they are in, and both arms to the same end.
func TestOfManyDevicesSomeAreWatched(t *testing.T) {
	n := 0
	for i := range 100_000 {
		if byLot(fmt.Sprintf("north-%05d", i), mostControls, 100_000) {
			n++
		}
	}
	if n < 1_700 || n > 2_300 || !byLot("d", 5, 5) {
		t.Errorf("%d are drawn", n)
	}
}
