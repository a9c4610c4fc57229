package update

import (
	"flag"
	"strings"
	"testing"
)

var full = flag.Bool("eval", false, "measure each cell with as many runs as are reported")

// The seed of the few runs was there when the design was chosen, that of the many was not.
func TestABadUpdateFailsAndASoundOneDoesNot(t *testing.T) {
	for _, c := range Cells() {
		bad, dead, sound := strings.HasPrefix(c.Name, "+20"), strings.HasPrefix(c.Name, "dead"), strings.HasPrefix(c.Name, "no effect")
		runs, seed := 200, uint64(5)
		switch {
		case *full:
			runs, seed = 10_000, 77
		case bad, dead:
			runs = 400
		}
		t.Run(c.Name, func(t *testing.T) {
			r := Measure(c, runs, seed)
			t.Log(r)
			if sound && r.Failed*100 > runs { // one in a hundred, and one by chance in a few
				t.Errorf("%d of %d sound rollouts fail", r.Failed, runs)
			}
			if dead && (r.Failed*100 < 96*runs || r.Exposure > 3_000) { // with four controls a device, three that die are not enough
				t.Errorf("%d of %d rollouts whose devices die before they begin fail, after %.0f device-minutes", r.Failed, runs, r.Exposure)
			}
			if bad && (r.Failed*100 < 99*runs && *full || r.Failed*100 < 98*runs || r.Exposure > 3_000) {
				t.Errorf("%d of %d bad rollouts fail, after %.0f device-minutes", r.Failed, runs, r.Exposure)
			}
		})
	}
}

func TestReadingsThatNoSilenceDependsOnChangeNothing(t *testing.T) {
	for _, c := range []Cell{
		{Treated: 20, Controls: 4, Sites: 5, Base: .2, Extra: .2, Shards: 1}, {Treated: 20, Controls: 2, Sites: 5, Base: .3, Outages: .5, Shards: 3},
	} {
		dense, err := newPlay(c)
		if err != nil {
			t.Fatal(err)
		}
		dense.every = 1
		sparse, err := newPlay(c)
		if err != nil {
			t.Fatal(err)
		}
		for i := range uint64(6) {
			if a, b := dense.run(seeded(i)), sparse.run(seeded(i)); !sameVerdict(a, b) {
				t.Errorf("all readings: %+v\nfew: %+v", a, b)
			}
		}
	}
}

func TestTheQuickPlayIsTheLongOne(t *testing.T) {
	for k, c := range []Cell{
		{Treated: 20, Controls: 4, Sites: 5, Base: .2, Extra: .2}, {Treated: 50, Controls: 4, Sites: 10, Base: .01}, {Treated: 20, Controls: 3, Sites: 4, Base: .5, Outages: .5},
		{Treated: 30, Controls: 3, Sites: 12, Base: .3, Outages: .5, BySite: true}, {Treated: 20, Controls: 4, Sites: 5, Base: .05, Times: 5},
		{Treated: 20, Controls: 4, Sites: 5, Base: .2, Outages: .3, Bricks: .3, Extra: .1},
	} {
		p, err := newPlay(c)
		if err != nil {
			t.Fatal(err)
		}
		for i := range uint64(8) {
			a, b := p.run(seeded(i)), p.quick(seeded(i))
			if !sameVerdict(a, b) {
				t.Errorf("cell %d, run %d:\nlong  %+v\nquick %+v", k, i, a, b)
			}
		}
	}
}

func TestShardsChangeNothing(t *testing.T) {
	c := Cell{Treated: 20, Controls: 4, Sites: 5, Base: .2, Outages: .5, Extra: .2}
	one, err := newPlay(c)
	if err != nil {
		t.Fatal(err)
	}
	c.Shards = 4
	four, err := newPlay(c)
	if err != nil {
		t.Fatal(err)
	}
	for i := range uint64(6) {
		if a, b := one.run(seeded(i)), four.run(seeded(i)); !sameVerdict(a, b) {
			t.Errorf("one shard: %+v\nfour: %+v", a, b)
		}
	}
}
