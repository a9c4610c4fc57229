package silence

import (
	"fmt"
	"math"
	"slices"
	"time"

	"muster.dev/proto/event"
	"muster.dev/services/anomaly/incident"
)

// tell tells a cohort's own incident at a whole slot.
func (c *Cohorts) tell(k *cohort, signals []incident.Signal) []incident.Signal {
	some, count := k.excursion()
	k.peak = max(k.peak, count)
	cause, why := k.likely(some, count)
	over := k.fired == 0
	corrected := cause == incident.CausePower && k.cause != cause && k.cause != ""
	if k.cause == "" || corrected || !over && cause != incident.CauseUnknown && (k.cause != incident.CausePower || cause == k.cause) {
		k.cause, k.why = cause, k.said(count)+"; "+why
	}
	s := c.signal(k)
	s.Numbers, s.Thresholds = k.numbers(some, count), c.s.thresholds(k)
	if !over {
		k.count = count
		s.Devices, s.All = members(some), true
	}
	s.Count = k.count
	if over && corrected { // a book changes the cause of what goes on, and when it was told twice
		signals = append(signals, s, s)
	}
	s.Over = over
	return append(signals, s)
}

// signal is what all signals of a cohort's own incident have in common.
func (c *Cohorts) signal(k *cohort) incident.Signal {
	s := incident.Signal{
		Kind: event.SilentCohort, Cause: k.cause, Why: k.why, Subject: event.Subject{Cohort: k.name},
		Since: k.since, At: k.now.at, Evidence: k.since - (c.s.Missed+1)*k.interval, Period: period(k.interval),
	}
	if k.enrol && !k.v.fires {
		s.Severity = event.SeverityInfo
	}
	return s
}

func period(interval int64) int64 {
	_, whole := Grid(interval)
	return whole
}

// members are devices as an incident names them, longest silent first: of too many, those that are the least likely to be of the
// usual ones.
func members(some []*lost) []event.Member {
	out := make([]event.Member, 0, len(some))
	for _, g := range some[:min(len(some), event.MaxMembers)] {
		out = append(out, g.Member)
	}
	slices.SortFunc(out, bySilence)
	return out
}

func bySilence(a, b event.Member) int {
	switch {
	case a.Since != b.Since:
		return int(min(1, max(-1, a.Since-b.Since)))
	case a.ID < b.ID:
		return -1
	case a.ID > b.ID:
		return 1
	}
	return 0
}

func (c *cohort) said(count uint32) string {
	n, _ := c.now.heard()
	p, _, _ := c.b.believed(n)
	return fmt.Sprintf("%d of %d expected devices are silent since %s or later, %.3g in a hundred are usual", count, n,
		time.UnixMilli(c.since).UTC().Format("15:04:05"), math.Round(1e4*p)/100)
}

// numbers are those behind the verdict.
func (c *cohort) numbers(some []*lost, count uint32) []event.Number {
	n, _ := c.now.heard()
	p, rho, phi := c.b.believed(n)
	whole := func(name string, n uint32) event.Number {
		return event.Number{Name: name, Micro: int64(n) * 1e6, Unit: "devices"}
	}
	out := []event.Number{
		whole("expected", c.now.expected), whole("missing", c.now.missing), whole("never_heard", c.now.never),
		number("usual_share", p, ""), number("over_dispersion", rho, ""), number("autocorrelation", phi, ""),
		number("chance", c.v.tail, "log10"), number("cusum", c.v.cusum, "nat"),
	}
	for _, s := range c.signs(some, count) {
		out = append(out, whole(s.cause+"_silent", s.of), whole(s.cause+"_others", s.other))
	}
	if c.back.returned > 0 {
		out = append(out, whole("returned", c.back.returned), whole("returned_after_power_loss", c.power))
	}
	return out
}

func (s *Settings) thresholds(k *cohort) []event.Number {
	l := s.limits(k.interval)
	return []event.Number{
		number("chance", math.Log10(l.alpha), "log10"), number("cusum", l.h, "nat"), number("share_above_usual", above, ""),
		number("missed_intervals", float64(s.Missed)+float64(s.GracePermille)/1_000, "intervals"),
	}
}

// number rounds, so that equal logs give equal bytes whatever adds in which order below a millionth.
func number(name string, v float64, unit string) event.Number {
	return event.Number{Name: name, Micro: int64(math.Round(min(max(v, -1e12), 1e12) * 1e6)), Unit: unit}
}

// tellJoints tells what the incidents of several cohorts are, at the whole slots of any of these.
func (c *Cohorts) tellJoints(at int64, signals []incident.Signal) []incident.Signal {
	kept := c.joints[:0]
	for _, j := range c.joints {
		if len(j.cohort) == 0 {
			s := j.signal(at)
			s.Over, s.Now, s.Why = true, true, "its cohorts were emptied: none of their devices is expected any more"
			signals = append(signals, s)
			continue
		}
		if !slices.ContainsFunc(j.cohort, func(name string) bool {
			k := c.byName[name]
			return k.now.at == at && (k.now.whole || j.opened == at) && k.now.decided
		}) {
			kept = append(kept, j)
			continue
		}
		signals = append(signals, c.tellJoint(at, j))
		if j.quiet != 0 && at >= j.quiet+int64(c.s.Quiet-1)*j.period {
			for _, name := range j.cohort {
				c.byName[name].close()
			}
			continue
		}
		kept = append(kept, j)
	}
	clear(c.joints[len(kept):])
	c.joints = kept
	return signals
}

func (j *joint) signal(at int64) incident.Signal {
	s := incident.Signal{
		Kind: event.SilentCohort, Cause: incident.CauseRegion, Subject: event.Subject{Region: j.region},
		Since: j.since, At: at, Evidence: j.since - 3*j.period, Period: period(j.period),
	}
	if j.region == "" {
		s.Kind, s.Cause = event.Pipeline, incident.CauseLog
	}
	return s
}

func (c *Cohorts) tellJoint(at int64, j *joint) incident.Signal {
	s := j.signal(at)
	var expected, missing uint32
	silent := 0
	on := false
	for _, name := range j.cohort {
		k := c.byName[name]
		some, count := k.excursion()
		if s.Count += count; k.fired != 0 {
			s.Devices, s.All = append(s.Devices, members(some)...), true
		}
		for _, h := range k.where {
			if j.region == "" || h.region == j.region {
				expected, missing = expected+h.expected, missing+h.missing
			}
		}
		if k.fired != 0 {
			on = true
			silent++
		}
	}
	slices.SortFunc(s.Devices, bySilence)
	s.Devices = s.Devices[:min(len(s.Devices), event.MaxMembers)]
	s.Numbers = []event.Number{
		number("cohorts", float64(len(j.cohort)), ""), number("cohorts_silent", float64(silent), ""),
		number("expected", float64(expected), "devices"), number("missing", float64(missing), "devices"),
	}
	s.Thresholds = []event.Number{number("cohorts", 2, ""), number("share", .9, "")}
	if !on {
		if s.Over, s.Count = true, j.count; j.quiet == 0 {
			j.quiet = at
		}
		return s
	}
	j.quiet, j.count = 0, s.Count
	s.Why = fmt.Sprintf("%d of %d devices of region %s are silent, in %d of its cohorts in the same slots: the way to them, not each of them", missing, expected, j.region, len(j.cohort))
	if j.region == "" {
		s.Why = fmt.Sprintf("%d of %d devices of %d cohorts fell silent in the same slots, more than half of what is unrelated: look at our own side first", missing, expected, len(j.cohort))
		s.Thresholds = []event.Number{number("share_of_unrelated", .5, "")}
	}
	return s
}
