package silence

import (
	"cmp"
	"math"
	"slices"

	"muster.dev/proto/event"
	"muster.dev/services/anomaly/page"
)

// cohort is what the judge keeps of one cohort.
type cohort struct {
	name     string
	interval int64
	now      sums   // of the last look
	where    []here // by region, in order

	b     baseline
	v     verdict
	calm  int64  // the last whole slot at which nothing spoke for a change
	low   uint32 // missing at that time
	fired int64  // the first of the looks that fire without a break; 0: this one does not

	usual  float64 // share of devices that were never heard
	unseen int     // whole slots in a row in which far more were not
	enrol  bool    // long enough for an incident

	gone []lost // named as missing, in order of number

	in     home  // which incident it is in
	since  int64 // of its own incident
	opened int64
	quiet  int // whole slots in a row without a sign of it
	cause  string
	why    string
	count  uint32   // of devices, as told last
	peak   uint32   // most that were missing in it
	back   tally    // since it opened
	power  uint32   // of these, said that the power had been gone
	came   []uint32 // of these, who was named, in order
	again  uint32   // came once more: one device that comes and goes is one
}

// home is which kind of incident a cohort's silence is told in.
type home uint8

const (
	none    home = iota
	own          // one about the cohort
	regions      // one about a region
	ours         // one about the way of them all: our own side
)

// lost is a device that is missing.
type lost struct {
	event.Member
	at    int64 // when it was told
	every int64
	phi   uint32
	runs  uint32 // from which phi was learnt, and by how much they went on
	more  uint32
	gaps  uint32 // of which these runs were some
	waits int64  // ms decided since then: what an outage of ours hides is not counted
	learn int    // slots that had taught the baseline by then
}

// sums are a look at a cohort, over shards and regions of which something is known.
type sums struct {
	at                             int64
	whole, decided                 bool
	expected, missing, never       uint32
	talking                        uint32 // heard within their last interval
	asleep, members                uint32
	power, radio, updated          uint32
	powerAll, radioAll, updatedAll uint32
}

// here is the part of it in a region.
type here struct {
	region            string
	expected, missing uint32 // without those that were never heard
	heard             uint32 // within their last interval
}

func (s *sums) add(p *page.Slot) {
	s.whole = p.Whole
	s.members = plus(s.members, p.Members)
	if p.Ours {
		return
	}
	s.decided = true
	missing := min(p.Missing, p.Expected)
	for _, n := range [...]struct {
		sum *uint32
		add uint32
	}{
		{&s.expected, p.Expected}, {&s.missing, missing}, {&s.never, min(p.Never, missing)}, {&s.talking, p.Heard}, {&s.asleep, p.Asleep},
		{&s.power, p.Power}, {&s.radio, p.Radio}, {&s.updated, p.Updated},
		{&s.powerAll, p.PowerAll}, {&s.radioAll, p.RadioAll}, {&s.updatedAll, p.UpdatedAll},
	} {
		*n.sum = plus(*n.sum, n.add)
	}
}

// plus is a sum that never comes round: a count from a page is not believed to be small.
func plus(a, b uint32) uint32 { return a + min(b, math.MaxUint32-a) }

// heard is how many devices are expected that were heard before, and how many of these are missing.
func (s *sums) heard() (n, u uint32) { return s.expected - s.never, s.missing - s.never }

// mostNamed is how many missing devices of a cohort are kept by name. Sums count all of them.
const mostNamed = 10 * page.MaxDevices

// meet keeps who has gone, and forgets who is back.
func (c *cohort) meet(p *page.Slot) {
	for _, no := range p.Back {
		if i, ok := c.find(no); ok {
			c.gone = slices.Delete(c.gone, i, i+1)
		}
		c.comes(no)
	}
	for _, g := range p.Gone {
		i, ok := c.find(g.No)
		if !ok {
			if len(c.gone) >= mostNamed {
				continue
			}
			c.gone = slices.Insert(c.gone, i, lost{})
		}
		c.gone[i] = lost{
			Member: event.Member{ID: g.ID, No: g.No, Since: g.Since, Marks: uint8(g.Marks)},
			at:     p.At, every: max(g.Every, 1_000), phi: g.Phi, runs: g.Runs, more: g.More, gaps: g.Gaps, learn: c.b.k,
		}
	}
	c.back.returned = plus(c.back.returned, p.Returned)
	c.back.left = plus(c.back.left, min(p.Left, p.Returned))
	c.power = plus(c.power, p.PowerBack)
}

// comes keeps who came back since the incident opened.
func (c *cohort) comes(no uint32) {
	if c.in != own {
		return
	}
	i, twice := slices.BinarySearch(c.came, no)
	switch {
	case twice:
		c.again = plus(c.again, 1)
	case len(c.came) < mostNamed:
		c.came = slices.Insert(c.came, i, no)
	}
}

func (c *cohort) find(no uint32) (int, bool) {
	return slices.BinarySearchFunc(c.gone, no, func(l lost, no uint32) int { return cmp.Compare(l.No, no) })
}

// look judges a look that is decided.
func (c *cohort) look(s *Settings) {
	l := s.limits(c.interval)
	n, u := c.now.heard()
	sub, _ := Grid(c.interval)
	for i := range c.gone {
		c.gone[i].waits += sub
	}
	if n > 0 && c.now.whole && c.b.whole(u, n, l, c.in != none) {
		c.calm, c.low = c.now.at, u
	}
	switch {
	case n == 0:
		c.v = verdict{}
	case c.now.members < few:
		c.v = verdict{fires: c.overdue(s)}
	default:
		c.v = c.b.look(u, n, l, c.in != none)
	}
	c.unheard()
	if !c.v.fires && !c.enrol {
		c.fired = 0
	} else if c.fired == 0 {
		c.fired = c.now.at
	}
	if c.now.whole && c.in != none {
		if c.quiet++; c.fired != 0 {
			c.quiet = 0
		}
	}
}

// few devices are no cohort: with losses that come in bursts, no test of their sum is both fast and quiet.
const few = 5

// overdue says whether a device of a cohort of few is silent for longer than its own losses explain.
func (c *cohort) overdue(s *Settings) bool {
	each := s.False / float64(1_000*float64(c.now.members))
	for i := range c.gone {
		g := &c.gone[i]
		if page.Marks(g.Marks)&page.MarkNever != 0 {
			continue
		}
		if s.Missed*g.every+g.waits >= max(g.bears(each), s.Missed+1)*g.every {
			return true
		}
	}
	return false
}

// bears is how many intervals of silence the device's own losses explain. F false incidents are borne in 1,000 weeks, and R runs
// of losses begin in a week, as many as are predicted of the device, so a run may be taken for a silence with a chance of F/1000R:
// each is F/1000. Once in a device's life as many are borne again, half of these at its first run, a sixth at the second: each
// makes the next better known.
func (g *lost) bears(each float64) int64 {
	had := float64(g.runs)
	week := float64(begins(had, float64(g.gaps))*weekMS) / float64(g.every)
	return borne(float64(g.more), had, float64(each*float64(1/week+1/float64((had+1)*(had+2)))))
}

const (
	jump     = .1 // of the expected: more than usual that were never heard
	unheards = 24 // whole slots: on a bad radio the first message takes its time
	patience = 30 * minute
)

// unheard watches the share of devices that were enrolled and never heard: the usual one is nobody's news, a jump is.
func (c *cohort) unheard() {
	if !c.now.whole || c.now.expected == 0 {
		return
	}
	share := float64(c.now.never) / float64(c.now.expected)
	least := min(3, max(1, (c.now.expected+1)/2))
	if c.now.never >= least && share >= c.usual+jump {
		c.unseen++
	} else {
		c.unseen = 0
		c.usual += float64(slow * (share - c.usual))
	}
	c.enrol = c.unseen >= unheards && int64(c.unseen)*c.interval >= patience
}

// begin is when the silence began: the first of the last signs of life, of those that it is made of. A few that were gone before
// the last calm were gone before it.
func (c *cohort) begin(some []*lost, s *Settings) int64 {
	earliest := c.calm - (s.Missed+2)*c.interval
	since, all, later := c.now.at, c.now.at, 0
	for _, g := range some {
		if all = min(all, g.Since); c.now.members < few || g.Since >= earliest || g.every > c.interval {
			since = min(since, g.Since)
			later++
		}
	}
	if 2*later < len(some) {
		return all
	}
	return since
}

// seat is the region in which a cohort's silence lies, if most of it lies in one.
func (c *cohort) seat() string {
	_, u := c.now.heard()
	for _, h := range c.where {
		if h.region != "" && float64(h.missing) >= .8*float64(u) && h.missing > 0 {
			return h.region
		}
	}
	return ""
}

// hushed says whether hardly any of a cohort's devices in a region are heard.
func (h *here) hushed() bool { return h.expected > 0 && 10*h.heard <= h.expected }

// home is the region in which most of a cohort's devices are.
func (c *cohort) home() string {
	best := here{}
	for _, h := range c.where {
		if h.expected > best.expected {
			best = h
		}
	}
	return best.region
}

// close ends what a cohort is in. What it learns begins where it was.
func (c *cohort) close() {
	c.in, c.quiet, c.fired = none, 0, 0
	c.cause, c.why, c.count, c.peak = "", "", 0, 0
	c.b.s = [3]float64{}
	c.back, c.power, c.came, c.again = tally{}, 0, nil, 0
	c.calm, c.low = c.now.at, c.now.missing
}
