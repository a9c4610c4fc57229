package security

import (
	"cmp"
	"fmt"
	"math/bits"
	"slices"
	"strings"

	"muster.dev/proto/event"
	"muster.dev/services/anomaly/incident"
	"muster.dev/services/anomaly/page"
)

const (
	maxSuspects = 20_000 // devices with signs of the last day; one more is counted
	maxPlaces   = 2_000  // where somebody knocked in the last day
	maxCohorts  = 10_000 // in which somebody enrolled
	together    = 5      // devices of one cohort that are at two addresses from one hour on: then it is the network's doing
	weeks       = 28     // days that a cohort's hours are remembered
)

// Judge is the judge's part.
type Judge struct {
	set      Settings
	suspects []suspect // in order of id
	places   []place   // in order of name
	cohorts  []cohort  // in order of name
	slot     int64     // of the last cut
	over     uint64    // what there was no room for
}

// cause is an incident, or none.
type cause struct {
	open, quiet bool
	since       int64
}

// suspect is a device that was seen as two.
type suspect struct {
	cause
	id, cohort    string
	no            uint32
	strong, turns ring
	first, last   int64 // sign of the last two hours, and at all
	shared        bool  // its cohort has an incident for it
}

// place is where revoked identities knock.
type place struct {
	cause
	name    string
	knocks  ring
	minute  int64
	minutes uint64 // of the last hour in which there was a knock, as bits
	first   int64
	last    int64
}

// cohort is one in which devices enrol.
type cohort struct {
	cause
	name  string
	first int64 // enrolment of all
	hours ring
	began int64
	day   int64
	most  [weeks]uint64 // of an hour, of each day; the newest first
	// many is the incident that many of its devices are at two addresses.
	many cause
}

// NewJudge knows of nothing yet.
func NewJudge(s Settings) *Judge { return &Judge{set: s} }

// Cut takes what all shards told until an instant.
func (j *Judge) Cut(at int64, signs []page.Sign) []incident.Signal {
	knocks := map[string]uint64{}
	var where []string
	for i := range signs {
		switch s := &signs[i]; s.Kind {
		case kindClone:
			j.suspect(at, s)
		case kindKnocking: // all shards see the same
			if _, known := knocks[s.Detail]; !known {
				where = append(where, s.Detail)
			}
			knocks[s.Detail] = max(knocks[s.Detail], s.Count)
		case kindEnrolment:
			j.enrolled(at, s)
		}
	}
	slices.Sort(where)
	for _, name := range where {
		j.knocked(at, name, knocks[name])
	}
	turned := at/step > j.slot
	j.slot = max(j.slot, at/step)
	if len(signs) == 0 && !turned {
		return nil
	}
	out := j.clones(at, turned)
	out = j.knocking(at, turned, out)
	return j.bursts(at, turned, out)
}

func (j *Judge) suspect(at int64, s *page.Sign) {
	i, known := slices.BinarySearchFunc(j.suspects, s.ID, func(x suspect, id string) int { return strings.Compare(x.id, id) })
	if !known {
		if len(j.suspects) >= maxSuspects {
			j.over++
			return
		}
		j.suspects = slices.Insert(j.suspects, i, suspect{id: s.ID, no: s.No, first: s.At})
	}
	x := &j.suspects[i]
	if x.last < s.At-2*hour {
		x.first = s.At
	}
	x.cohort, x.no, x.last = s.Cohort, s.No, max(x.last, s.At)
	if s.Detail == twoAddresses {
		x.turns.add(at, s.Count)
	} else {
		x.strong.add(at, s.Count)
	}
}

// say says of a cause that goes on, that begins, or that has ended. Nothing is said twice in ten minutes.
func (c *cause) say(at, first int64, is, turned bool, s incident.Signal, out []incident.Signal) []incident.Signal {
	s.Kind, s.At, s.Period = event.Security, at, step
	switch {
	case is && (!c.open || c.quiet || turned):
		if !c.open {
			c.since = first
		}
		c.open, c.quiet = true, false
	case !is && c.open && !c.quiet:
		c.quiet, s.Over = true, true
	default:
		return out
	}
	s.Since = c.since
	return append(out, s)
}

func number(name string, n uint64, unit string) event.Number {
	return event.Number{Name: name, Micro: int64(min(n, 1e12)) * 1e6, Unit: unit}
}

func (j *Judge) clones(at int64, turned bool) (out []incident.Signal) {
	weak := map[string][]event.Member{}
	var names []string
	for i := range j.suspects {
		x := &j.suspects[i]
		x.strong.turn(at)
		x.turns.turn(at)
		if !x.open && x.strong.lastHour() < j.set.CloneSigns && x.turns.busy() >= j.set.CloneTurns {
			if weak[x.cohort] == nil {
				names = append(names, x.cohort)
			}
			weak[x.cohort] = append(weak[x.cohort], event.Member{ID: x.id, No: x.no, Since: x.first})
		}
	}
	slices.Sort(names)
	for _, name := range names {
		if c := j.cohort(name); c != nil && len(weak[name]) >= together || c != nil && c.many.open {
			out = c.many.say(at, weak[name][0].Since, true, turned, incident.Signal{
				Cause: incident.CauseClone, Severity: event.SeverityWarning, Subject: event.Subject{Cohort: name},
				Devices: weak[name], Count: uint32(len(weak[name])),
				Numbers: []event.Number{number("devices", uint64(len(weak[name])), "")}, Thresholds: []event.Number{number("devices", together, "")},
				Title: fmt.Sprintf("%d devices of %s are at two addresses in turns", len(weak[name]), name),
				Why:   "So many at once are rather a way to us with two addresses than clones. Ask whoever runs the devices' network.",
			}, out)
			for _, m := range weak[name] {
				i, _ := slices.BinarySearchFunc(j.suspects, m.ID, func(x suspect, id string) int { return strings.Compare(x.id, id) })
				j.suspects[i].shared = true
			}
		}
	}
	for i := range j.cohorts {
		if c := &j.cohorts[i]; c.many.open && weak[c.name] == nil {
			out = c.many.say(at, 0, false, turned, incident.Signal{Cause: incident.CauseClone, Subject: event.Subject{Cohort: c.name}}, out)
			c.many.open = false
		}
	}
	for i := range j.suspects {
		out = j.clone(&j.suspects[i], at, turned, out)
	}
	j.suspects = slices.DeleteFunc(j.suspects, func(x suspect) bool { return x.last < at-day })
	return out
}

func (j *Judge) clone(x *suspect, at int64, turned bool, out []incident.Signal) []incident.Signal {
	strong, turns := x.strong.lastHour(), x.turns.busy()
	is := strong >= j.set.CloneSigns || turns >= j.set.CloneTurns && !x.shared
	if x.open { // it lasts as long as there are signs
		is = x.strong.busy() > 0 || turns > 2
	}
	if turns == 0 {
		x.shared = false
	}
	severity := event.SeverityCritical
	why := "Two devices use one identity: what was seen in the last two hours fits no single device. Revoke the identity, and enrol the right device anew."
	if strong < j.set.CloneSigns {
		severity = event.SeverityWarning
		why = "Messages of one identity come from two addresses in turns, and have not always done so. Two devices may use it, or its network has got a second way to us."
	}
	was := x.open
	out = x.say(at, x.first, is, turned, incident.Signal{
		Cause: incident.CauseClone, Severity: severity, Subject: event.Subject{Cohort: x.cohort, Device: x.id},
		Devices: []event.Member{{ID: x.id, No: x.no, Since: x.first}}, Count: 1, Why: why,
		Numbers:    []event.Number{number("signs_in_an_hour", strong, ""), number("turns_of_12", uint64(turns), "")},
		Thresholds: []event.Number{number("signs_in_an_hour", j.set.CloneSigns, ""), number("turns_of_12", uint64(j.set.CloneTurns), "")},
	}, out)
	if was && x.quiet {
		x.cause = cause{}
	}
	return out
}

func (j *Judge) knocked(at int64, name string, n uint64) {
	i, known := slices.BinarySearchFunc(j.places, name, func(x place, name string) int { return strings.Compare(x.name, name) })
	if !known {
		if len(j.places) >= maxPlaces {
			j.over++
			return
		}
		j.places = slices.Insert(j.places, i, place{name: name})
	}
	x := &j.places[i]
	if x.last < at-hour {
		x.first = at
	}
	x.last = at
	x.knocks.add(at, n)
	x.pass(at)
	x.minutes |= 1
}

// pass moves the bits of the last hour's minutes on.
func (x *place) pass(at int64) {
	x.minutes <<= uint64(min(max(at/minute-x.minute, 0), 64))
	x.minutes &= 1<<60 - 1
	x.minute = max(x.minute, at/minute)
}

func (j *Judge) knocking(at int64, turned bool, out []incident.Signal) []incident.Signal {
	for i := range j.places {
		x := &j.places[i]
		x.knocks.turn(at)
		x.pass(at)
		n, minutes := x.knocks.lastHour(), bits.OnesCount64(x.minutes)
		need, spread := j.set.Knocks, j.set.KnockMinutes
		s := incident.Signal{
			Cause: incident.CauseKnocking,
			Why:   "Revoked identities go on trying. Gateways count what they refuse, and not whom: the audit log says who was revoked. Find the devices, or whoever has their keys.",
		}
		switch kind, name, _ := strings.Cut(x.name, " "); {
		case x.name == whereRegistry:
			s.Subject.Gateway = incident.Registry
			s.Why = "The registry refuses what is not allowed, again and again. The audit log says who tried, from where, and what."
			need, spread = j.set.Attempts, 1
		case kind == "region":
			s.Subject.Region = name
		default:
			s.Subject.Gateway = name
		}
		is := n >= need && minutes >= spread || x.open && n > 0
		s.Numbers = []event.Number{number("refused_in_an_hour", n, ""), number("minutes_of_60", uint64(minutes), "")}
		s.Thresholds = []event.Number{number("refused_in_an_hour", need, ""), number("minutes_of_60", uint64(spread), "")}
		was := x.open
		out = x.say(at, x.first, is, turned, s, out)
		if was && x.quiet {
			x.cause = cause{}
		}
	}
	j.places = slices.DeleteFunc(j.places, func(x place) bool { return x.last < at-day })
	return out
}

// cohort finds a cohort, or makes room for it; nil if there is none.
func (j *Judge) cohort(name string) *cohort {
	i, known := slices.BinarySearchFunc(j.cohorts, name, func(x cohort, name string) int { return strings.Compare(x.name, name) })
	if !known {
		if len(j.cohorts) >= maxCohorts {
			j.over++
			return nil
		}
		j.cohorts = slices.Insert(j.cohorts, i, cohort{name: name})
	}
	return &j.cohorts[i]
}

func (j *Judge) enrolled(at int64, s *page.Sign) {
	x := j.cohort(s.Cohort)
	if x == nil {
		return
	}
	x.first = cmp.Or(x.first, at)
	if at < x.first+2*hour {
		return // it is being filled: that is not how it goes on
	}
	if x.hours.turn(at); x.hours.lastHour() == 0 {
		x.began = at
	}
	x.hours.add(at, s.Count)
}

func (j *Judge) bursts(at int64, turned bool, out []incident.Signal) []incident.Signal {
	for i := range j.cohorts {
		x := &j.cohorts[i]
		x.hours.turn(at)
		n, usual := x.hours.lastHour(), slices.Max(x.most[:])
		is := n >= j.set.Enrolments && n/j.set.Times > usual && at >= x.first+day
		if x.open { // it lasts until it is over, or until it is the usual
			is = n >= j.set.Enrolments/2 && at < x.since+day
		}
		was := x.open
		out = x.say(at, x.began, is, turned, incident.Signal{
			Cause: incident.CauseEnrolmentBurst, Subject: event.Subject{Cohort: x.name}, Count: uint32(min(n, 1<<31)),
			Numbers:    []event.Number{number("enrolments_in_an_hour", n, "devices"), number("most_of_four_weeks", usual, "devices")},
			Thresholds: []event.Number{number("enrolments_in_an_hour", max(j.set.Enrolments, sum(usual, 1)*j.set.Times), "devices")},
			Why:        "More devices enrol within an hour than this cohort has seen in four weeks. If nobody expected them, withdraw the password or the line that they came by.",
		}, out)
		if was && x.quiet {
			x.cause = cause{}
		}
		if !x.open { // a burst becomes the usual when it is over
			x.remember(at)
		}
	}
	return out
}

// remember takes the most of an hour for the day. The hour that runs now does not count against itself.
func (x *cohort) remember(at int64) {
	if n := at/day - x.day; n > 0 {
		n = min(n, weeks)
		copy(x.most[n:], x.most[:weeks-n])
		clear(x.most[:n])
		x.day = at / day
	}
	var before uint64
	for _, c := range x.hours.counts[inAnH:] {
		before = sum(before, c)
	}
	x.most[0] = max(x.most[0], before)
}
