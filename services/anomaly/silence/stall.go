package silence

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"muster.dev/proto/event"
	"muster.dev/services/anomaly/incident"
	"muster.dev/services/anomaly/page"
)

// stall is an outage of ours, as an incident.
type stall struct {
	region string // empty: all
	from   int64
	until  int64 // 0: it goes on
	opened bool
	goes   bool // some shard says so; only during a cut
}

// stalls tells the outages that pages tell. What silence there was in them is ours, and nobody else's.
func (c *Cohorts) stalls(at int64, outages []page.Outage) (signals []incident.Signal) {
	var gone []stall // over in all shards that told of them
	for _, o := range outages {
		region := o.Region
		if o.All {
			region = ""
		} else if region == "" {
			continue
		}
		i, ok := slices.BinarySearchFunc(c.outages, region, func(s stall, r string) int { return cmp.Compare(s.region, r) })
		if !ok {
			c.outages = slices.Insert(c.outages, i, stall{region: strings.Clone(region), from: o.From})
		}
		s := &c.outages[i]
		s.from = min(s.from, o.From)
		if o.Until == 0 {
			s.goes = true
		} else {
			s.until = max(s.until, o.Until)
		}
	}
	for i := range c.outages {
		if s := &c.outages[i]; s.goes {
			s.until, s.goes = 0, false
		}
	}
	c.outages = slices.DeleteFunc(c.outages, func(s stall) bool {
		if s.until != 0 {
			gone = append(gone, s)
		}
		return s.until != 0
	})
	for i := range c.outages {
		s := &c.outages[i]
		if at-s.from >= c.s.StalledFor {
			signals = append(c.excuse(at, s, signals), s.signal(at, c))
			s.opened = true
		}
	}
	for i := range gone {
		s := &gone[i]
		if !s.opened && s.until-s.from >= c.s.StalledFor {
			signals = append(c.excuse(at, s, signals), s.signal(at, c))
			s.opened = true
		}
		if s.opened {
			over := s.signal(at, c)
			over.Over = true
			over.Why = "our own side is heard again since " + clock(s.until)
			signals = append(signals, over)
		}
	}
	return signals
}

const excused = "our own side was out at that time, which has an incident of its own"

// excuse ends the incidents that were opened before the outage that explains them was known.
func (c *Cohorts) excuse(at int64, s *stall, signals []incident.Signal) []incident.Signal {
	if s.opened {
		return signals
	}
	for _, k := range c.sorted {
		if k.in == own && k.opened >= s.from && (s.region == "" || k.seat() == s.region) {
			over := c.end(k, excused)
			over.At = at
			signals = append(signals, over)
		}
	}
	c.joints = slices.DeleteFunc(c.joints, func(j *joint) bool {
		if j.opened < s.from || s.region != "" && s.region != j.region {
			return false
		}
		if over := j.signal(at); j.region != "" { // one of all of us goes on as this outage
			over.Over, over.Now, over.Why = true, true, excused
			signals = append(signals, over)
		}
		for _, name := range j.cohort {
			c.byName[name].close()
		}
		return true
	})
	return signals
}

func (s *stall) signal(at int64, c *Cohorts) incident.Signal {
	out := incident.Signal{
		Kind: event.Pipeline, Cause: incident.CauseLog, Since: s.from, At: at,
		Why: "no gateway was heard since " + clock(s.from) + ": what devices did is not known, and no silence of theirs is told",
	}
	if s.region != "" {
		out.Cause, out.Subject.Region = incident.CauseGateway, s.region
		out.Why = fmt.Sprintf("no gateway of region %s was heard since %s: what its devices did is not known, and no silence of theirs is told", s.region, clock(s.from))
	}
	until := at
	if s.until != 0 {
		until = s.until
	}
	out.Numbers = []event.Number{number("silent_for", float64(until-s.from)/1_000, "s")}
	out.Thresholds = []event.Number{number("silent_for", float64(c.s.StalledFor)/1_000, "s")}
	return out
}

func clock(at int64) string { return time.UnixMilli(at).UTC().Format("15:04:05") }
