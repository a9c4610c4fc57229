package census

import (
	"cmp"
	"slices"

	"muster.dev/proto/event"
)

// Cohort is a cohort of the fleet. All shards know all cohorts, and agree on everything but Members.
type Cohort struct {
	Name        string
	Region      string
	Told        int64 // ms: the definition's interval, else the one that most of its devices told, else 0
	Interval    int64 // Told, else DefaultInterval
	Sleep       []event.Sleep
	Revoked     bool
	Quarantined bool
	Members     int // active devices of this shard
	Fleet       int // devices of all shards that were not revoked

	defined int64 // interval
	kinds   []uint32
	best    uint32 // 1 + the kind that most devices have; 0 is none
	naps    []nap
	napping int64 // a week, ms
}

// nap is a planned silence in a week that begins on Monday, 00:00 UTC, ms.
type nap struct{ from, to int64 }

const (
	minute = 60_000
	day    = 24 * 60 * minute
	week   = 7 * day
	monday = 4 * day // the first one after 1970-01-01, a Thursday
)

// Cohorts is the number of cohorts. The first has no name: it is that of devices without one.
func (s *State) Cohorts() int { return len(s.cohorts) }

// Cohort gives a cohort by its index, which is dense, stable and never reused. It is to be read, not to be kept.
func (s *State) Cohort(c int32) *Cohort { return &s.cohorts[c] }

// LookupCohort finds a cohort.
func (s *State) LookupCohort(name string) (int32, bool) {
	c, ok := s.places[name]
	return c, ok
}

// place finds a cohort, or makes room for it.
func (s *State) place(name string) int32 {
	if at, ok := s.places[name]; ok {
		return at
	}
	name = string([]byte(name))
	at := int32(len(s.cohorts))
	s.cohorts = append(s.cohorts, Cohort{Name: name, Interval: DefaultInterval})
	s.places[name] = at
	return at
}

// count adds devices to a kind, or takes them away. What that changes for the cohort is told.
func (s *State) count(k uint32, by int) {
	kd := &s.kinds[k]
	c := &s.cohorts[kd.cohort]
	was := c.Fleet
	kd.devices = uint32(int(kd.devices) + by)
	c.Fleet += by
	switch {
	case kd.interval == 0:
	case c.best == 0 && kd.devices > 0, by > 0 && s.more(k, c.best-1):
		c.best = k + 1
	case by < 0 && c.best == k+1:
		c.best = 0
		for _, other := range c.kinds {
			if o := &s.kinds[other]; o.interval != 0 && o.devices > 0 && (c.best == 0 || s.more(other, c.best-1)) {
				c.best = other + 1
			}
		}
	}
	if !s.told(kd.cohort) && (was == 0 || c.Fleet == 0) {
		s.tell(CohortChanged, -1, kd.cohort, -1)
	}
}

// more says whether more devices are of kind a than of b; of equals the shorter interval counts.
func (s *State) more(a, b uint32) bool {
	x, y := &s.kinds[a], &s.kinds[b]
	return x.devices > y.devices || x.devices == y.devices && x.interval < y.interval
}

// told finds what the cohort was told, and says whether that is new.
func (s *State) told(cohort int32) bool {
	c := &s.cohorts[cohort]
	told := c.defined
	if told == 0 && c.best != 0 {
		told = s.kinds[c.best-1].interval
	}
	if told == c.Told {
		return false
	}
	c.Told, c.Interval = told, cmp.Or(told, DefaultInterval)
	s.tell(CohortChanged, -1, cohort, -1)
	return true
}

// sleep takes over a definition's planned silence.
func (c *Cohort) sleep(sleep []event.Sleep) {
	c.Sleep, c.naps, c.napping = slices.Clone(sleep), nil, 0
	var all []nap
	for _, s := range sleep {
		length := int64(s.To) - int64(s.From)
		if length < 0 {
			length += day / minute
		}
		for d := range int64(7) {
			if s.Days>>d&1 == 0 {
				continue
			}
			from := d*day + int64(s.From)*minute
			to := from + length*minute
			all = append(all, nap{from, min(to, week)})
			if to > week { // from Sunday into Monday
				all = append(all, nap{0, to - week})
			}
		}
	}
	slices.SortFunc(all, func(a, b nap) int { return cmp.Compare(a.from, b.from) })
	for _, n := range all {
		if last := len(c.naps) - 1; last >= 0 && n.from <= c.naps[last].to {
			c.naps[last].to = max(c.naps[last].to, n.to)
			continue
		}
		c.naps = append(c.naps, n)
	}
	for _, n := range c.naps {
		c.napping += n.to - n.from
	}
}

// Asleep says whether silence is planned at a time, Unix ms.
func (c *Cohort) Asleep(at int64) bool {
	if len(c.naps) == 0 {
		return false
	}
	_, in := inWeek(at)
	for _, n := range c.naps {
		if n.from <= in && in < n.to {
			return true
		}
	}
	return false
}

// SleptBetween is how much of a stretch of time is planned silence, ms.
func (c *Cohort) SleptBetween(from, to int64) int64 {
	if len(c.naps) == 0 || to <= from {
		return 0
	}
	return c.slept(to) - c.slept(from)
}

// slept is the planned silence from a Monday long ago until a time.
func (c *Cohort) slept(at int64) int64 {
	weeks, in := inWeek(at)
	sum := weeks * c.napping
	for _, n := range c.naps {
		sum += max(0, min(in, n.to)-n.from)
	}
	return sum
}

func inWeek(at int64) (weeks, in int64) {
	weeks, in = (at-monday)/week, (at-monday)%week
	if in < 0 {
		weeks, in = weeks-1, in+week
	}
	return weeks, in
}
