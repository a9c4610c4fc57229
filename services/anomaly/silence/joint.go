package silence

import (
	"cmp"
	"slices"
)

// joint is an incident that several cohorts are in: a region's, or with no region our own.
type joint struct {
	region string
	cohort []string // names, in order
	since  int64
	opened int64
	period int64  // the longest of their intervals
	quiet  int64  // since when nothing is seen of it; 0: something is
	count  uint32 // of devices, as told last
}

// window is how far apart two silences may begin that have one cause.
func (s *Settings) window(a, b *cohort) int64 { return (s.Missed + 2) * max(a.interval, b.interval) }

// together says whether another cohort falls silent in the same slots as one that has.
func (c *Cohorts) together(one, other *cohort) bool {
	if other == one || other.now.members < few || !other.now.decided || other.now.at < one.now.at-2*other.interval {
		return false
	}
	w := c.s.window(one, other)
	switch {
	case other.in == own:
		return other.fired != 0 && other.opened >= one.fired-w
	case other.in != none:
		return false
	case other.fired != 0:
		return !other.enrol || other.v.fires
	}
	return other.v.weak
}

// unit is what counts as one when unrelated cohorts are counted: all of a region, or a cohort without one.
func unit(k *cohort) string {
	if r := k.home(); r != "" {
		return "region " + r
	}
	return "cohort " + k.name
}

// all says whether more than half of what is unrelated falls silent at once: that is our own side.
func (c *Cohorts) all(one *cohort) (mates []*cohort, yes bool) {
	units := map[string]bool{unit(one): true} // false: well
	mates = append(mates, one)
	for _, k := range c.sorted {
		if k == one || k.now.members < few || !k.now.decided || k.now.expected == 0 || k.in == regions || k.in == ours {
			continue
		}
		u := unit(k)
		silent := c.together(one, k)
		units[u] = units[u] || silent
		if silent {
			mates = append(mates, k)
		}
	}
	silent := 0
	for _, is := range units {
		if is {
			silent++
		}
	}
	return mates, len(units) >= 2 && 2*silent > len(units)
}

// around says whether a cohort's silence is its region's: others of the region share it, or hardly anybody in the region
// is heard.
func (c *Cohorts) around(one *cohort, some []*lost, count uint32) (mates []*cohort, region string) {
	region = one.seat()
	if region == "" {
		return nil, ""
	}
	var all here
	mark := one.mark()
	mates = append(mates, one)
	cohorts := 0
	for _, k := range c.sorted {
		if !k.now.decided || k.now.at < one.now.at-2*one.interval || k.interval > 2*one.interval {
			continue // what it says of this silence comes later
		}
		hushed := false
		for i := range k.where {
			if h := &k.where[i]; h.region == region && h.expected > 0 {
				all.expected, all.heard = all.expected+h.expected, all.heard+h.heard
				cohorts++
				hushed = h.hushed()
			}
		}
		if k != one && (c.together(one, k) && k.seat() == region && !apart(mark, k.mark()) || hushed && (k.in == none || k.in == own)) {
			mates = append(mates, k)
		}
	}
	big := 0
	for _, k := range mates {
		if k.now.members >= few {
			big++
		}
	}
	if big > 1 {
		return mates, region
	}
	if all.expected < few || !all.hushed() {
		return nil, ""
	}
	if cohorts == 1 && len(one.where) == 1 {
		// The region is the cohort: then what its devices showed before comes first.
		for _, s := range one.signs(some, count) {
			if s.strong() {
				return nil, ""
			}
		}
	}
	return mates, region
}

// joins gives the incident in force that a cohort's silence belongs to.
func (c *Cohorts) joins(k *cohort) *joint {
	for _, j := range c.joints {
		near := j.quiet == 0 && k.fired <= j.opened+(c.s.Missed+2)*max(j.period, k.interval)
		if near && (j.region == "" || j.region == k.seat() && !c.stranger(j, k)) {
			return j
		}
	}
	return nil
}

// stranger says whether a cohort's silence has a sign of its own, and each of an incident's has another.
func (c *Cohorts) stranger(j *joint, k *cohort) bool {
	mark := k.mark()
	for _, name := range j.cohort {
		if of := c.byName[name]; of == nil || !apart(mark, of.mark()) {
			return false
		}
	}
	return len(j.cohort) > 0
}

// apart says whether two signs are of two causes.
func apart(a, b string) bool { return a != "" && b != "" && a != b }

func (c *Cohorts) joint(region string) *joint {
	for _, j := range c.joints {
		if j.region == region {
			return j
		}
	}
	return nil
}

func (j *joint) take(k *cohort) {
	if i, ok := slices.BinarySearch(j.cohort, k.name); !ok {
		j.cohort = slices.Insert(j.cohort, i, k.name)
	}
	j.period = max(j.period, k.interval)
}

func byRegion(a, b *joint) int { return cmp.Compare(a.region, b.region) }
