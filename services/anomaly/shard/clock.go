package shard

import (
	"math"
	"slices"
	"strings"

	"muster.dev/proto/event"
)

const (
	second     = 1_000
	minute     = 60 * second
	tenMinutes = 10 * minute
	hour       = 60 * minute
	day        = 24 * hour

	leastBeat   = 5 * second
	firstBeat   = minute // until a gateway's own is known
	leastGap    = 15 * second
	beats       = 3 // that a gateway may miss
	maxGateways = 1_024

	// A gateway's time that has leapt is believed after so many marks; by more than a month, after more: a machine
	// that was off for a weekend is back at once, one that begins in 1970 has time to be set right.
	leapMarks, longMarks = 3, 120
	longLeap             = 32 * day

	// A clock that shows a time before 2020 has lost it.
	firstTime = 1_577_836_800_000

	// A gateway that is not heard while others are is forgotten; the last one of a region later, for until then its
	// absence is an outage.
	forgotten, forgottenLast = hour, day
)

// gateway is what is known of one that writes watermarks.
type gateway struct {
	name, region string
	last         int64 // time of its last mark that was believed
	raw          int64 // time of its last mark
	beat         int64 // learnt, between two marks; 0: not known
	run          int   // marks in a row whose time has leapt
	wrong        bool  // its time is far from the clock, and others keep the clock
	elapsed      int64 // see clock.elapsed: as this one counts
	heard        int64 // clock.elapsed at its last mark
}

// limit is how long it may be silent, ms.
func (g *gateway) limit() int64 {
	if g.beat == 0 {
		return beats * firstBeat
	}
	return max(leastGap, beats*g.beat)
}

// clock is the shard's. It moves by gateways' marks alone.
type clock struct {
	now      int64 // 0: nothing is known
	gateways []gateway
	// elapsed is how much time has gone by as the fastest of the gateways counts, whatever their clocks show: by it is
	// told who is silent while others are not.
	elapsed int64
	moved   int64 // elapsed when now was set
	slack   int64 // see ahead
	outages []outage
	tooMany uint64
	fixed   bool // a page was cut: the clock never goes back any more
}

func (c *clock) find(name string) *gateway {
	i, found := slices.BinarySearchFunc(c.gateways, name, func(g gateway, name string) int { return strings.Compare(g.name, name) })
	if found {
		return &c.gateways[i]
	}
	if len(c.gateways) >= maxGateways {
		c.tooMany++
		return nil
	}
	c.gateways = slices.Insert(c.gateways, i, gateway{name: strings.Clone(name), elapsed: c.elapsed, heard: c.elapsed})
	return &c.gateways[i]
}

func (c *clock) alive(g *gateway) bool { return c.elapsed-g.heard <= g.limit() }

// mark takes a watermark. Marks come twice, on both topics: the second of the same time says nothing.
func (c *clock) mark(w event.Watermark) {
	g := c.find(w.Gateway)
	if g == nil || w.Time == g.raw {
		return
	}
	step := w.Time - g.raw
	if !c.alive(g) {
		g.elapsed = c.elapsed
	} else if g.raw != 0 && step > 0 && step <= g.limit() {
		g.elapsed += step
	}
	c.elapsed = max(c.elapsed, g.elapsed)
	g.heard = c.elapsed
	if c.believe(g, w.Time) {
		if g.last != 0 {
			g.learn(step)
		}
		g.last, g.region = w.Time, strings.Clone(w.Region)
		c.ended(g.region, w.Time)
		c.judge(g)
	}
	g.raw = w.Time
	c.move()
	c.absent()
	c.forget()
	c.room()
}

// believe says whether a gateway's time is taken as such. Its first one is held against the clock.
func (c *clock) believe(g *gateway, at int64) bool {
	ref := g.last
	if ref == 0 {
		ref = c.now
	}
	leap := at - ref
	if leap < 0 {
		leap = -leap
	}
	if at < firstTime {
		g.run = max(g.run, 1)
		return false
	}
	if leap <= tenMinutes || c.now == 0 || g.last == 0 && !c.fixed {
		g.run = 0
		return true
	}
	if since := at - g.raw; g.run > 0 && since > 0 && since <= tenMinutes {
		g.run++
	} else {
		g.run = 1
	}
	need := leapMarks
	if leap > longLeap {
		need = longMarks
	}
	if g.run < need {
		return false
	}
	g.run = 0
	return true
}

// learn moves the beat: down fast, for a gap is not a beat, and up slowly.
func (g *gateway) learn(step int64) {
	switch {
	case step <= 0 || step > tenMinutes:
	case g.beat == 0:
		g.beat = max(step, leastBeat)
	case step < g.beat:
		g.beat = max((g.beat+step)/2, leastBeat)
	default:
		g.beat += (min(step, 4*g.beat) - g.beat) / 8
	}
}

// judge says whether a gateway's clock is wrong: others that are right keep another time.
func (c *clock) judge(g *gateway) {
	far := g.last-c.now > tenMinutes || c.now-g.last > tenMinutes
	if !far || c.now == 0 {
		g.wrong = false
		return
	}
	others := false
	for i := range c.gateways {
		o := &c.gateways[i]
		if o == g || o.wrong || o.last == 0 {
			continue
		}
		if c.elapsed-o.heard <= forgotten && o.last >= c.now-tenMinutes && o.last <= c.now+tenMinutes {
			others = true
		}
	}
	g.wrong = others && c.fixed
}

// move puts the clock at the lower median of the times of the gateways that are alive, not wrong and not in the middle of a leap.
func (c *clock) move() {
	var times []int64
	for i := range c.gateways {
		g := &c.gateways[i]
		if g.last != 0 && g.run == 0 && !g.wrong && c.alive(g) && (!c.fixed || g.last >= c.now-tenMinutes) {
			times = append(times, g.last)
		}
	}
	if len(times) == 0 {
		return
	}
	slices.Sort(times)
	at := times[(len(times)-1)/2]
	if !c.fixed {
		c.now, c.moved = at, c.elapsed
		return
	}
	if at <= c.now {
		return
	}
	c.gap(at)
	c.now, c.moved = at, c.elapsed
}

// ahead says whether a record's time cannot be: so far no gateway's beat explains it.
func (c *clock) ahead(at int64) bool { return c.now != 0 && at > c.now+c.slack }

// room finds the slack anew: how far the clock may stand behind what comes. When a gateway dies, the clock waits for it as
// long as for any mark, and then for the next one of another.
func (c *clock) room() {
	c.slack = leastGap
	for i := range c.gateways {
		beat := c.gateways[i].beat
		if beat == 0 {
			beat = firstBeat
		}
		c.slack = max(c.slack, beats*beat)
	}
	c.slack = 2*c.slack + leastGap
}

// sane gives the time at which a record is taken. One ahead of the clock is taken at the clock, and so is one of long
// ago if a gateway is known whose clock shows that time; else it was on its way for so long.
func (c *clock) sane(at int64) (sane int64, moved bool) {
	if c.ahead(at) {
		return c.now, true
	}
	if c.now-at <= tenMinutes {
		return at, false
	}
	for i := range c.gateways {
		g := &c.gateways[i]
		if (g.wrong || g.run > 0) && at <= g.raw+tenMinutes && at >= g.raw-tenMinutes {
			return c.now, true
		}
	}
	return at, false
}

// forget drops gateways that are gone for good.
func (c *clock) forget() {
	oldest := int64(math.MaxInt64)
	for i := range c.gateways {
		oldest = min(oldest, c.gateways[i].heard)
	}
	if c.elapsed-oldest <= forgotten {
		return
	}
	c.gateways = slices.DeleteFunc(c.gateways, func(g gateway) bool {
		gone := c.elapsed - g.heard
		return gone > forgottenLast || gone > forgotten && !c.lastOf(g.name, g.region)
	})
	if !slices.ContainsFunc(c.gateways, func(g gateway) bool { return !g.wrong && c.elapsed-g.heard <= forgotten }) {
		for i := range c.gateways { // nobody is left who could say so
			c.gateways[i].wrong = false
		}
	}
}

// lastOf says whether no other gateway of the region was heard later.
func (c *clock) lastOf(name, region string) bool {
	if region == "" {
		return false
	}
	last := -1
	for i := range c.gateways {
		if o := &c.gateways[i]; o.region == region && (last < 0 || o.heard > c.gateways[last].heard) {
			last = i
		}
	}
	return last >= 0 && c.gateways[last].name == name
}
