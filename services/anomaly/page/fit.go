package page

import "slices"

// Fit gives the page as it fits into a record: the page itself nearly always, else a copy that names fewer devices, and
// if that is not enough tells less of what may be left out without a sum becoming wrong, and in the end of fewer cohorts.
// Arms are never left out: those that cannot be told now are to wait for another page, and one of too many is none. Cut says
// how many things were left out. It is a pure function of the page, and of one that fits the page itself.
func (p *Page) Fit() *Page {
	if p.size() <= MaxValue/2 || p.fits() {
		return p
	}
	for names := MaxDevices / 2; ; names /= 2 {
		if cut := p.naming(names); names == 0 || cut.fits() {
			p = cut
			break
		}
	}
	for _, shorten := range []func(*Page){
		func(p *Page) { p.Ranks = halve(p, p.Ranks) },
		func(p *Page) { p.Findings = halve(p, p.Findings) },
		func(p *Page) { p.Volumes = halve(p, sumsFirst(p.Volumes)) },
		func(p *Page) { p.Signs = halve(p, p.Signs) },
		func(p *Page) { p.Outages = halve(p, p.Outages) },
		func(p *Page) { p.Slots = halve(p, p.Slots) },
	} {
		for times := 1; times <= 32 && !p.fits(); times++ {
			shorten(p)
		}
	}
	return p
}

func halve[T any](p *Page, list []T) []T {
	half := len(list) / 2
	p.Cut += uint32(len(list) - half)
	return list[:half:half]
}

// sumsFirst puts the sums of cohorts before those of their metrics, whose names devices give.
func sumsFirst(list []Volume) []Volume {
	list = slices.Clone(list)
	slices.SortStableFunc(list, func(a, b Volume) int { return min(len(a.Metric), 1) - min(len(b.Metric), 1) })
	return list
}

func (p *Page) fits() bool {
	if p.least() > MaxValue {
		return false // it need not be written to know
	}
	return len(p.bytes()) <= MaxValue
}

// naming is a copy that names at most so many devices in a slot or an arm.
func (p *Page) naming(most int) *Page {
	c := *p
	c.Slots, c.Arms = slices.Clone(p.Slots), slices.Clone(p.Arms)
	first := func(gone []Gone) []Gone {
		n := min(len(gone), most)
		c.Cut += uint32(len(gone) - n)
		return gone[:n:n]
	}
	for i := range c.Slots {
		s := &c.Slots[i]
		s.Gone = first(s.Gone)
	}
	for i := range c.Arms {
		c.Arms[i].Failed = first(c.Arms[i].Failed)
	}
	return &c
}

// size is more than the page has in bytes, unless its texts are longer than any should be.
func (p *Page) size() int {
	n := 1_024 + 128*len(p.Outages) + 512*len(p.Slots) + 512*len(p.Arms) + 512*len(p.Ranks) + 512*len(p.Findings) + 384*len(p.Volumes) + 640*len(p.Signs)
	for i := range p.Slots {
		n += 160*len(p.Slots[i].Gone) + 5*len(p.Slots[i].Back)
	}
	for i := range p.Arms {
		n += 160 * len(p.Arms[i].Failed)
	}
	return n
}

// least is less than the page has in bytes as arrays.
func (p *Page) least() int {
	n := 8*len(p.Ranks) + 10*len(p.Findings) + 6*len(p.Volumes) + 7*len(p.Signs)
	gone := func(list []Gone) {
		for i := range list {
			n += 8 + len(list[i].ID)
		}
	}
	for i := range p.Slots {
		n += 24 + len(p.Slots[i].Cohort) + len(p.Slots[i].Region) + len(p.Slots[i].Back)
		gone(p.Slots[i].Gone)
	}
	for i := range p.Arms {
		n += 16 + len(p.Arms[i].Rollout) + len(p.Arms[i].Stratum)
		gone(p.Arms[i].Failed)
	}
	return n
}
