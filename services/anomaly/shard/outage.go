package shard

import (
	"math"
	"slices"
	"strings"

	"muster.dev/services/anomaly/page"
)

// outage is a time in which we heard nothing, and what was told of it.
type outage struct {
	All          bool
	Region       string
	From, Until  int64 // Until 0: it goes on
	told, closed bool  // the detectors know that it began, that it ended
}

// gap finds, as the clock is put forward, how much of the step no gateway was heard for: then nobody of ours was there, or
// the clocks leapt. Either way no device is to blame for having said nothing in that time.
func (c *clock) gap(at int64) {
	until := at - (c.elapsed - c.moved)
	limit := int64(math.MaxInt64)
	for i := range c.gateways {
		if g := &c.gateways[i]; g.last != 0 && !g.wrong && c.alive(g) {
			limit = min(limit, g.limit())
		}
	}
	from := c.now
	for i := range c.gateways {
		if g := &c.gateways[i]; !g.wrong && g.last-c.now <= limit { // it has not spoken since
			from = max(from, g.last)
		}
	}
	if until-from > limit {
		c.outages = append(c.outages, outage{All: true, From: from, Until: until})
	}
}

// absent finds regions none of whose gateways is heard, while others are.
func (c *clock) absent() {
	for i := range c.gateways {
		region := c.gateways[i].region
		if region == "" || c.out(region) >= 0 || c.served(region) {
			continue
		}
		var from int64
		for j := range c.gateways {
			if o := &c.gateways[j]; o.region == region && !o.wrong {
				from = max(from, o.last)
			}
		}
		if from != 0 {
			c.outages = append(c.outages, outage{Region: region, From: min(from, c.now)})
		}
	}
	for i := range c.outages {
		if o := &c.outages[i]; !o.All && o.Until == 0 && c.now-o.From > forgottenLast {
			c.redefined(o.Region, c.now) // it does not come back
		}
	}
}

// served says whether a gateway of the region is alive.
func (c *clock) served(region string) bool {
	return slices.ContainsFunc(c.gateways, func(g gateway) bool { return g.region == region && c.alive(&g) })
}

// owed gives the regions whose gateways are all late with their marks, by less than makes an outage: where beats are long,
// devices would be taken for silent before that is known.
func (c *clock) owed() (regions []string) {
	for i := range c.gateways {
		region := c.gateways[i].region
		late := func(g gateway) bool { return c.elapsed-g.heard > max(leastGap, g.limit()/2) }
		if region != "" && !slices.Contains(regions, region) && !slices.ContainsFunc(c.gateways, func(g gateway) bool { return g.region == region && !late(g) }) {
			regions = append(regions, region)
		}
	}
	return regions
}

// out gives the region's outage that goes on, or -1.
func (c *clock) out(region string) int {
	return slices.IndexFunc(c.outages, func(o outage) bool { return !o.All && o.Region == region && o.Until == 0 })
}

// ended takes a sign that a region is served.
func (c *clock) ended(region string, at int64) {
	if i := c.out(region); region != "" && i >= 0 {
		c.outages[i].Until = max(at, c.outages[i].From+1)
	}
}

// redefined takes the registry's word that a region has another gateway.
func (c *clock) redefined(region string, at int64) {
	c.gateways = slices.DeleteFunc(c.gateways, func(g gateway) bool { return g.region == region && region != "" && !c.alive(&g) })
	c.ended(region, at)
}

// between gives the outages that touch a stretch of time, as they are known at its end, in order.
func (c *clock) between(from, until int64) []page.Outage {
	var out []page.Outage
	for i := range c.outages {
		if o := &c.outages[i]; o.From < until && (o.Until == 0 || o.Until > from) {
			out = append(out, o.asOf(until))
		}
	}
	slices.SortFunc(out, func(a, b page.Outage) int {
		switch {
		case a.All != b.All && a.All:
			return -1
		case a.All != b.All:
			return 1
		case a.Region != b.Region:
			return strings.Compare(a.Region, b.Region)
		}
		return int(a.From - b.From)
	})
	return out
}

func (o *outage) asOf(until int64) page.Outage {
	p := page.Outage{All: o.All, Region: o.Region, From: o.From, Until: o.Until}
	if p.Until > until {
		p.Until = 0
	}
	return p
}

// settled drops what lies before a time.
func (c *clock) settled(until int64) {
	c.outages = slices.DeleteFunc(c.outages, func(o outage) bool { return o.Until != 0 && o.Until <= until && o.closed })
}
