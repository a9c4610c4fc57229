package shard

import (
	"slices"

	"muster.dev/proto/event"
	"muster.dev/services/anomaly/census"
	"muster.dev/services/anomaly/page"
	"muster.dev/services/anomaly/silence"
)

// cut closes the time until the instant that is due, and tells a page of it.
func (s *State) cut() {
	until := s.due
	s.applyRegistry(until)
	if s.stale {
		s.grid()
	}
	s.applyHeld(until)
	s.tellTallies()
	outages := s.clock.between(s.until, until)
	s.tell(until)
	s.n++
	s.clock.fixed = true
	p := &page.Page{Part: s.part, N: s.n, From: s.until, Until: until, Late: s.counts.Late, Outages: outages}
	p.Telemetry, p.Events, p.Registry, _ = s.Position()
	if !s.set.Off.Silence {
		s.silence.Owed(s.clock.owed())
		p.Slots = s.silence.Cut(until)
	}
	if !s.set.Off.Update {
		p.Arms, p.Ranks = s.arms.Tick(until)
	}
	if !s.set.Off.Series {
		p.Findings = s.series.Tick(until)
	}
	if !s.set.Off.Spend {
		p.Volumes = s.meter.Tick(until)
	}
	if !s.set.Off.Security {
		p.Signs = s.watch.Tick(until)
	}
	s.pages = append(s.pages, p.Fit())
	s.until, s.due = until, s.next(until)
	s.clock.settled(until)
}

// next is the instant after one at which all shards cut: the end of a slot of some cohort, or of a minute.
func (s *State) next(after int64) int64 {
	due := floor(after, minute) + minute
	for _, slot := range s.slots {
		due = min(due, floor(after, slot)+slot)
	}
	return due
}

// grid finds the lengths of slots anew.
func (s *State) grid() {
	s.slots, s.stale = s.slots[:0], false
	for c := range s.census.Cohorts() {
		cohort := s.census.Cohort(int32(c))
		if cohort.Fleet == 0 {
			continue
		}
		if sub, _ := silence.Grid(cohort.Interval); sub < minute || sub%minute != 0 {
			s.slots = append(s.slots, sub)
		}
	}
	slices.Sort(s.slots)
	s.slots = slices.Compact(s.slots)
}

// tell tells the detectors of outages that they do not know.
func (s *State) tell(until int64) {
	for i := range s.clock.outages {
		o := &s.clock.outages[i]
		ended := o.Until != 0 && o.Until <= until
		if o.From >= until || o.told && (!ended || o.closed) {
			continue
		}
		o.told, o.closed = true, ended
		p := o.asOf(until)
		if !s.set.Off.Silence {
			s.silence.Outage(p)
		}
		if !s.set.Off.Update {
			s.arms.Outage(p)
		}
	}
}

// applyRegistry applies what the registry said until an instant: all records up to the last one of a time not after it.
// So one record whose clock was ahead holds up nothing that followed it.
func (s *State) applyRegistry(until int64) {
	n := 0
	for i, r := range s.registry {
		if r.Offset < s.end && r.Time <= until {
			n = i + 1
		}
	}
	for _, r := range s.registry[:n] {
		r.Time = min(r.Time, until)
		at := max(r.Time, s.until)
		changes, err := s.census.Apply(r)
		if err != nil {
			continue // counted there
		}
		for i := range changes {
			s.stale = s.change(&changes[i], at) || s.stale
		}
	}
	rest := copy(s.registry, s.registry[n:])
	clear(s.registry[rest:])
	s.registry = s.registry[:rest]
}

// change tells the detectors what became of a device or a cohort, and says whether slots may have another length now.
func (s *State) change(c *census.Change, at int64) bool {
	c.At = at
	switch c.Kind {
	case census.Joined:
		if !s.set.Off.Silence {
			s.silence.Join(c.Device, at)
		}
		if !s.set.Off.Update {
			s.arms.Join(c.Device, at)
		}
	case census.Left:
		if !s.set.Off.Silence {
			s.silence.Leave(c.Device, at)
		}
		if !s.set.Off.Update {
			s.arms.Leave(c.Device, at)
		}
		if !s.set.Off.Series {
			s.series.Leave(c.Device)
		}
	case census.Moved:
		if !s.set.Off.Silence {
			s.silence.Move(c.Device, c.Was, c.Cohort, at)
		}
		if !s.set.Off.Update {
			s.arms.Move(c.Device, c.Was, c.Cohort, at)
		}
	case census.Described:
		if !s.set.Off.Silence {
			s.silence.Describe(c.Device, at)
		}
	case census.Other:
		s.other(c.Body, at)
	}
	if !s.set.Off.Security {
		s.watch.Registry(at, *c)
	}
	return c.Kind != census.Other
}

// other takes the events of which the census keeps nothing.
func (s *State) other(body event.Body, at int64) {
	switch b := body.(type) {
	case event.SchemaDefined:
		names := make([]string, len(b.Metrics))
		for i, m := range b.Metrics {
			names[i] = m.Name
		}
		if _, known := s.schemas[b.Schema]; !known { // a schema never changes
			s.schemas[b.Schema] = names
		}
	case event.RegionDefined:
		s.clock.redefined(b.Region, at)
	default:
		if !s.set.Off.Update {
			s.arms.Registry(at, body)
		}
	}
}

// applyHeld applies what devices said until an instant.
func (s *State) applyHeld(until int64) {
	ready := s.held.until(until)
	for i := range ready {
		s.apply(&ready[i])
	}
}
