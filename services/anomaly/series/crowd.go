package series

import (
	"cmp"
	"maps"
	"math"
	"slices"

	"muster.dev/services/anomaly/page"
)

// leastPeers of a shard, the series itself among them, can be compared.
const leastPeers = 4

// turnsOthers is how many of its peers' distances count as a series' own, at most: they are like it, not the same.
const turnsOthers = 10.

// So many peers are what awayTimes is for; of more, the farthest is farther: by the tail of a normal distribution, of
// which that many weeks have an exponent of besideTail.
const (
	besidePeers = 100
	besideTail  = 13.
)

// crowd is what the series of one cohort and metric do together, in one shard: the median of their distances from what
// was expected of each.
type crowd struct {
	n     uint32 // buckets
	told  uint32 // series of it when a finding was told
	watch watch  // of which a departure alone is judged
	rise  gauge  // how far the median goes in an hour or two
	lag   float32
	last  int32 // newest bucket
	week  week
}

// compare holds each series that has just closed a bucket against its peers in this shard: what all of them do at once
// is no fault of one, and is judged apart.
func (b *Bank) compare() {
	type one struct {
		key uint64
		off float32
		i   int32
	}
	var all []one
	for i := range b.made {
		if e := b.at(i); e.used && e.last == b.step-1 && !e.wear.wears {
			all = append(all, one{pair(e.cohort, e.metric), e.watch.off, i})
		}
	}
	slices.SortFunc(all, func(x, y one) int {
		return cmp.Or(cmp.Compare(x.key, y.key), cmp.Compare(x.off, y.off), cmp.Compare(x.i, y.i))
	})
	for len(all) > 0 {
		n := 1
		for n < len(all) && all[n].key == all[0].key {
			n++
		}
		peers := all[:n]
		all = all[n:]
		still := 0
		for _, p := range peers {
			if b.at(p.i).watch.run >= flatLeast {
				still++
			}
		}
		for _, p := range peers {
			b.rested(b.at(p.i), n, still)
		}
		if n < leastPeers {
			for _, p := range peers {
				b.confirm(b.at(p.i), float64(p.off), 0)
			}
			continue
		}
		usual, grains, tails, values := make([]float64, n), make([]float64, n), tail{}, tail{}
		turns, rises, rising := 0., 0., 0. // of all: how often they turned, and how fast they usually go
		for k, p := range peers {
			w := &b.at(p.i).watch
			of := &w.beside
			usual[k], grains[k] = float64(of.usual), b.at(p.i).det.grain.of(awayLeast)
			turns += float64(of.turns)
			rises += float64(w.rise.usual)
			rising += float64(w.rise.turns)
			tails.join(&of.tail, n)
			values.join(&w.far.tail, n)
		}
		slices.Sort(usual)
		// What its peers wander is no departure of one either, however little it was seen to wander itself.
		floor := medianOf(grains)
		least := max(floor, usual[n/2])
		times := awayTimes * math.Sqrt(1+logarithm(max(1, float64(n)/besidePeers))/besideTail)
		median := (float64(peers[(n-1)/2].off) + float64(peers[n/2].off)) / 2
		middle := make([]float64, n)
		for k, p := range peers {
			middle[k] = b.at(p.i).watch.y
		}
		y := medianOf(middle)
		calm := b.calm(peers[0].key, median, floor)
		weeks := b.weeks(toldOf * float64(b.sizes[b.at(peers[0].i).cohort]))
		limit, far := tails.limit(weeks, turnsMany, distances), values.limit(weeks, turnsMany, distances)
		for _, p := range peers {
			e := b.at(p.i)
			a := &e.watch.beside
			off := float64(p.off) - median
			next := a.next(off)
			least := max(least, e.det.grain.of(awayLeast)) // who seldom moves is no reason to shout among those who do
			a.rests = !calm                                // a weekend may be another one to each
			a.others = float32(min(turnsOthers, turns-float64(a.turns)))
			e.watch.rises(off, next+float64(a.slow), times, max(floor, e.det.grain.of(awayLeast), rises/float64(n)), weeks, rising, &e.det, e.last)
			a.vetoed = !e.watch.its(e.watch.y-y, times, least, &e.det, calm) || math.Abs(next) < limit*max(float64(a.usual), least)
			was := e.watch.open
			e.watch.leaving(unlike, a, times, least, &e.det, e.last, off, e.watch.value)
			b.untold = b.untold || was != e.watch.open
			b.confirm(e, off, far)
		}
		b.together(peers[0].key, median, floor, b.at(peers[n/2].i))
	}
}

// rested tells what is flat since a first weekend began: after half a day, unless many of its peers are flat, too. Of few
// peers nothing is known.
func (b *Bank) rested(e *entry, peers, still int) {
	w := &e.watch
	if w.lived >= weekKnown || w.states.known(e.last) || e.last-w.from < weekendFlat || !onWeekend(w.from, e.last) || peers >= leastPeers && 2*still >= peers || !w.stuck(&e.det) {
		return
	}
	w.sticks(&e.det, e.last)
	b.untold = true
}

// calm says whether a crowd's median is as near to its place as it usually is, floor at least.
func (b *Bank) calm(key uint64, median, floor float64) bool {
	c := b.crowds[key]
	if c == nil || c.n < warmTold || c.watch.is(departure) {
		return false
	}
	a := &c.watch.alone
	return math.Abs(a.next(median)) < distances.from*max(float64(a.usual), floor)
}

// confirm asks for a value that goes as far as its peers' seldom do.
func (b *Bank) confirm(e *entry, off, least float64) {
	was := e.watch.open
	e.watch.confirm(e.last, off, least, &e.det)
	b.untold = b.untold || was != e.watch.open
}

// wearSettle is how many buckets after a block its falls are looked at: who speaks seldom has ended it too.
const wearSettle = 24

func wearingAt(step int32) int32 { return (step - 1 - wearSettle) / wearBlock }

// wearing judges the consumables once in six hours, when their falls are new.
func (b *Bank) wearing() {
	block := wearingAt(b.step)
	type group struct {
		falls []float64
		of    []int32
	}
	groups := map[uint64]*group{}
	for i := range b.made {
		e := b.at(i)
		if !e.used || e.wear.fresh != block {
			continue
		}
		key := pair(e.cohort, e.metric)
		g := groups[key]
		if g == nil {
			g = &group{}
			groups[key] = g
		}
		g.falls = append(g.falls, float64(e.wear.fall))
		if e.wear.wears {
			g.of = append(g.of, i)
		}
	}
	for key, g := range groups {
		// Where they are most of it, the group moves by being used up: its median says nothing.
		if c := b.crowds[key]; c != nil && c.watch.is(departure) && 2*len(g.of) > len(g.falls) {
			c.watch.end(departure, b.step)
			b.untold = true
		}
		if len(g.falls) < leastPeers {
			continue
		}
		middle := medianOf(g.falls)
		for k, f := range g.falls {
			g.falls[k] = math.Abs(f - middle)
		}
		scatter := medianOf(g.falls)
		for _, i := range g.of {
			e := b.at(i)
			was := e.watch.open
			e.wearing(middle, scatter)
			b.untold = b.untold || was != e.watch.open
		}
	}
}

func medianOf(all []float64) float64 {
	slices.Sort(all)
	return all[len(all)/2]
}

// together judges the median; floor is that of most of its series, and like is the series at it.
func (b *Bank) together(key uint64, median, floor float64, like *entry) {
	c := b.crowds[key]
	if c == nil {
		c = &crowd{}
		b.crowds[key] = c
	}
	if c.n < rowsCap {
		c.n++
	}
	w := &c.watch
	if c.last > 0 {
		w.lived = min(w.lived+uint32(max(0, min(lifeGap, b.step-1-c.last))), rowsCap)
	}
	c.last = b.step - 1
	if day := floorDiv(int64(b.step-1)*bucketMS, dayMS); int32(day) != w.from {
		w.from = int32(day)
		w.alone.nextDay()
		c.rise.nextDay()
	}
	was := w.open
	d := Detector{n: c.n}
	w.weeks = b.weeks(float64(b.sizes[like.cohort]) / float64(b.groups[key].series))
	a, hour := &w.alone, (b.step-1)/hourBuckets
	if away := a.next(median); !w.is(departure) && math.Abs(away) > crowdTimes/3*max(float64(a.usual), floor) && c.week.knows(hour, away) {
		a.fast = float32(away + float64(a.slow)) // and nothing is learned of it
		c.week.see(hour, away)
		return
	}
	if c.rises(median, floor, b.step-1) {
		w.weeks = 0
	}
	a.rests, a.others = true, turnsMany // many have turned, whatever their median did
	w.leaving(departure, &w.alone, crowdTimes, floor, &d, b.step-1, median, like.watch.value)
	if w.open&^was != 0 {
		w.found[departure].usual = float32(like.det.Usual(int64(like.last) * bucketMS))
	}
	b.untold = b.untold || was != w.open
	c.week.see(hour, float64(a.fast)-float64(a.slow))
}

// rises says whether the median goes as fast as it seldom does: how far it wanders in a day does not matter then, and
// crowdTimes of it are enough.
func (c *crowd) rises(median, floor float64, no int32) bool {
	a := &c.watch.alone
	c.lag += float32(float64(max(lagWeight, 1/float64(c.n)) * (median - float64(c.lag))))
	v := math.Abs(float64(a.fast) + float64(awayWeight*(median-float64(a.fast))) - float64(c.lag))
	if c.n < awayLearns || c.watch.is(departure) {
		return false
	}
	high := c.n > warmAlone && c.rise.high(v, crowdTimes, floor, c.watch.weeks, turnsMany, distances)
	c.rise.learn(v, floor, float64(c.n-awayLearns+1), distances)
	return high
}

// next is where the median is after a bucket, from where it is usually.
func (a *apart) next(e float64) float64 {
	return float64(a.fast) + float64(awayWeight*(e-float64(a.fast))) - float64(a.slow)
}

// disperse ends a crowd that has become too small.
func (b *Bank) disperse(key uint64) {
	c := b.crowds[key]
	if c == nil || b.groups[key].series >= leastPeers {
		return
	}
	c.watch.open = 0
	c.watch.found[departure].until = b.step
	b.leaving = c.watch.tell(b.leaving, func(k kind) page.Finding { return b.ofCrowd(key, c, k) })
	delete(b.crowds, key)
}

// ofCrowd is a finding that names no device: Reporting are the series that it was told for.
func (b *Bank) ofCrowd(key uint64, c *crowd, k kind) page.Finding {
	if c.watch.told == 0 {
		c.told = b.groups[key].series
	}
	f := c.watch.finding(k)
	f.Cohort, f.Metric, f.Reporting = b.names.Cohort(int32(key>>16)), b.metricAt[uint16(key)].text, c.told
	return f
}

func (b *Bank) tellCrowds(out []page.Finding) []page.Finding {
	for _, key := range slices.Sorted(maps.Keys(b.crowds)) {
		c := b.crowds[key]
		out = c.watch.tell(out, func(k kind) page.Finding { return b.ofCrowd(key, c, k) })
	}
	return out
}
