package silence

import (
	"cmp"
	"slices"
	"strings"

	"muster.dev/services/anomaly/incident"
	"muster.dev/services/anomaly/page"
)

// Cohorts is the part of the judge.
type Cohorts struct {
	s       Settings
	byName  map[string]*cohort
	sorted  []*cohort // by name
	joints  []*joint  // by region
	outages []stall   // that go on, or were told last

	due []*cohort // only during a cut
}

// NewCohorts is the state before the first slot.
func NewCohorts(s Settings) *Cohorts { return &Cohorts{s: s, byName: map[string]*cohort{}} }

// Cut judges one instant: the slots of all shards that end at it, sorted by partition, and the outages that their pages
// tell. It is called for each instant at which a page was cut, in order.
func (c *Cohorts) Cut(at int64, slots []page.Slot, outages []page.Outage) (signals []incident.Signal) {
	signals = c.stalls(at, outages)
	c.gather(slots)
	for _, k := range c.due {
		if k.now.members == 0 {
			signals = c.empty(k, signals)
		} else if k.now.decided && k.now.expected > 0 {
			k.look(&c.s)
		}
	}
	for _, k := range c.due {
		if k.in == none && k.fired != 0 && k.now.decided && k.now.expected > 0 && (k.fired < at || k.now.members < few) {
			signals = c.open(k, signals)
		}
	}
	for _, k := range c.due {
		if k.in == own && k.now.whole && k.now.decided && k.opened < at {
			signals = c.tell(k, signals)
			if k.quiet >= c.s.Quiet {
				k.close()
			}
		}
	}
	return c.tellJoints(at, signals)
}

// gather adds the slots of shards and regions up, by cohort.
func (c *Cohorts) gather(slots []page.Slot) {
	c.due = c.due[:0]
	for i := range slots {
		p := &slots[i]
		k := c.byName[p.Cohort]
		if k == nil {
			k = &cohort{name: strings.Clone(p.Cohort), interval: p.Interval}
			k.b.p = .05
			c.byName[k.name] = k
			at, _ := slices.BinarySearchFunc(c.sorted, k.name, func(k *cohort, name string) int { return cmp.Compare(k.name, name) })
			c.sorted = slices.Insert(c.sorted, at, k)
		}
		if k.now.at != p.At {
			c.due = append(c.due, k)
			k.begins(p)
		}
		k.now.add(p)
		k.meet(p)
		if !p.Ours {
			k.place(p)
		}
	}
	slices.SortFunc(c.due, func(a, b *cohort) int { return strings.Compare(a.name, b.name) })
}

// begins makes a cohort ready for the slots of an instant.
func (c *cohort) begins(p *page.Slot) {
	c.now, c.where = sums{at: p.At}, c.where[:0]
	if p.Interval != c.interval { // what was usual at another pace is a guess now
		c.interval = p.Interval
		c.b.slots, c.b.k, c.b.s, c.b.late = 0, 0, [3]float64{}, nil
	}
}

func (c *cohort) place(p *page.Slot) {
	i, ok := slices.BinarySearchFunc(c.where, p.Region, func(h here, r string) int { return cmp.Compare(h.region, r) })
	if !ok {
		c.where = slices.Insert(c.where, i, here{region: strings.Clone(p.Region)})
	}
	h, missing := &c.where[i], min(p.Missing, p.Expected)
	never := min(p.Never, missing)
	h.expected, h.missing, h.heard = plus(h.expected, p.Expected-never), plus(h.missing, missing-never), plus(h.heard, p.Heard)
}

// open finds out which incident a silence belongs to, and opens it if there is none.
func (c *Cohorts) open(k *cohort, signals []incident.Signal) []incident.Signal {
	some, count := k.excursion()
	if k.v.fires && k.now.members >= few {
		if j := c.joins(k); j != nil {
			c.attach(j, k)
			return signals
		}
		if mates, yes := c.all(k); yes {
			return c.share(k, "", mates, signals)
		}
		if mates, region := c.around(k, some, count); region != "" {
			return c.share(k, region, mates, signals)
		}
	} else if j := c.joins(k); j != nil && k.v.fires { // one of few devices, in a region that is out
		c.attach(j, k)
		return signals
	}
	k.in, k.opened, k.quiet, k.since = own, k.now.at, 0, k.begin(some, &c.s)
	k.back, k.power, k.came, k.again = tally{}, 0, nil, 0
	return c.tell(k, signals)
}

// share opens the one incident of several cohorts, and ends those that some of them have of their own.
func (c *Cohorts) share(k *cohort, region string, mates []*cohort, signals []incident.Signal) []incident.Signal {
	j := c.joint(region)
	if j == nil {
		j = &joint{region: region, since: k.now.at, opened: k.now.at}
		c.joints = append(c.joints, j)
		slices.SortFunc(c.joints, byRegion)
	}
	j.quiet = 0
	why := "it is part of the silence of region " + region + ", which has an incident of its own"
	if region == "" {
		why = "other cohorts fell silent in the same slots: our own side is likely, which has an incident of its own"
	}
	for _, m := range mates {
		if m.in == own {
			signals = append(signals, c.end(m, why))
		}
		c.attach(j, m)
	}
	return signals
}

func (c *Cohorts) attach(j *joint, k *cohort) {
	some, _ := k.excursion()
	k.in = regions
	if j.region == "" {
		k.in = ours
	}
	k.since, k.opened, k.quiet = k.begin(some, &c.s), k.now.at, 0
	j.since = min(j.since, k.since)
	j.take(k)
}

// empty is the end of a cohort without devices.
func (c *Cohorts) empty(k *cohort, signals []incident.Signal) []incident.Signal {
	switch k.in {
	case own:
		signals = append(signals, c.end(k, "the cohort was emptied: none of its devices is expected any more"))
	case regions, ours:
		for _, j := range c.joints {
			j.cohort = slices.DeleteFunc(j.cohort, func(name string) bool { return name == k.name })
		}
	}
	delete(c.byName, k.name)
	c.sorted = slices.DeleteFunc(c.sorted, func(other *cohort) bool { return other == k })
	return signals
}

// end closes a cohort's own incident at once.
func (c *Cohorts) end(k *cohort, why string) incident.Signal {
	s := c.signal(k)
	s.Over, s.Now, s.Why = true, true, why
	k.close()
	return s
}
