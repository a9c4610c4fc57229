package incident

import (
	"slices"

	"muster.dev/proto/batch"
	"muster.dev/proto/event"
	"muster.dev/proto/identity"
)

// key is which incident a signal is of.
func (s *Signal) key(many bool) subject { return subject{s.Kind, s.Subject, many} }

// tidy makes a signal such that a record can hold it: what a detector quotes may come from a device.
func (s *Signal) tidy(at int64) {
	s.At, s.Period = clamp(s.At), max(s.Period, 0)
	if s.At == 0 || s.At > at {
		s.At = at
	}
	s.Since = min(clamp(s.Since), at)
	if s.Since == 0 {
		s.Since = s.At
	}
	if s.Evidence = clamp(s.Evidence); s.Evidence == 0 || s.Evidence > s.Since {
		s.Evidence = s.Since
	}
	if !event.Name(s.Cause) {
		s.Cause = CauseUnknown
	}
	if rank(s.Severity) == 0 {
		s.Severity = ""
	}
	for _, text := range []*string{&s.Subject.Cohort, &s.Subject.Region, &s.Subject.Gateway, &s.Subject.Rollout, &s.Subject.Metric, &s.Subject.Device} {
		*text = plain(*text, batch.MaxText)
	}
	s.Title, s.Why = plain(s.Title, event.MaxTitle), plain(s.Why, batch.MaxText)
	s.Numbers, s.Thresholds = numbers(s.Numbers), numbers(s.Thresholds)
	good := func(m event.Member) bool {
		_, err := identity.ParseDevice(m.ID)
		return err == nil && m.Since >= 0 && m.Since <= batch.MaxTime
	}
	if slices.ContainsFunc(s.Devices, func(m event.Member) bool { return !good(m) }) {
		s.Devices = slices.DeleteFunc(slices.Clone(s.Devices), func(m event.Member) bool { return !good(m) })
	}
}

// numbers gives those that a record can hold, in order of name; one is left for the end.
func numbers(all []event.Number) []event.Number {
	kept := make([]event.Number, 0, min(len(all), event.MaxNumbers))
	for _, n := range all {
		if event.Name(n.Name) && len(kept) < event.MaxNumbers-1 {
			n.Unit = plain(n.Unit, event.MaxUnit)
			kept = append(kept, n)
		}
	}
	sortNumbers(kept)
	return kept
}

func sortNumbers(all []event.Number) {
	slices.SortStableFunc(all, func(a, b event.Number) int {
		if a.Name < b.Name {
			return -1
		}
		if a.Name > b.Name {
			return 1
		}
		return 0
	})
}

// parentsFirst puts what explains others before what it explains, and keeps the order otherwise.
func parentsFirst(signals []Signal) []Signal {
	width := func(s *Signal) int {
		switch {
		case s.Kind == event.Pipeline:
			return 0
		case s.Kind == event.UpdateFailure:
			return 1
		case s.Kind == event.SilentCohort && s.Subject.Cohort == "":
			return 2
		}
		return 3
	}
	signals = slices.Clone(signals)
	slices.SortStableFunc(signals, func(a, b Signal) int { return width(&a) - width(&b) })
	return signals
}

// slack is how many periods before a wider cause a silence may have begun that it explains.
const slack = 3

// parent is the wider incident in force that a silence belongs to: our own side being away explains every silence that
// it reaches, a region that is out those of its cohorts; but none that began before. An end needs no parent.
func (b *Book) parent(s *Signal) *entry {
	if s.Kind != event.SilentCohort || s.Over {
		return nil
	}
	began := s.Since
	if e := b.subjects[s.key(false)]; e != nil && e.isOpen() {
		began = e.now.Since
	}
	inForce := func(kind event.IncidentKind, of event.Subject) *entry {
		e := b.subjects[subject{kind: kind, of: of}]
		if e != nil && e.isOpen() && e.quiet == 0 && began >= e.now.Since-slack*max(s.Period, e.period) {
			return e
		}
		return nil
	}
	if e := inForce(event.Pipeline, event.Subject{}); e != nil {
		return e
	}
	if s.Subject.Region == "" {
		return nil
	}
	region := event.Subject{Region: s.Subject.Region}
	if e := inForce(event.Pipeline, region); e != nil {
		return e
	}
	if s.Subject == region {
		return nil // it is that one
	}
	return inForce(event.SilentCohort, region)
}
