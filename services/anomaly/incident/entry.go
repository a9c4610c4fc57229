package incident

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"

	"muster.dev/proto/batch"
	"muster.dev/proto/event"
)

// entry is one incident in a Book.
type entry struct {
	now    event.Incident // as it stands, with the records' fields; without N and Detector
	many   bool
	period int64
	quiet  int64    // first instant at which nothing of it was seen any more; 0: it is seen
	closed int64    // when it was resolved
	begun  int64    // its evidence begins here
	titled bool     // its detector gave a title
	next   string   // a cause that one signal gave, for the second
	worst  uint32   // most devices at once
	blamed []uint32 // of a failed update: all devices that it ever named, in order
	lost   bool     // known from the log alone
	told   told
}

// told is what the last record said of what a reader acts on.
type told struct {
	at       int64
	count    uint32
	severity string
	cause    string
}

func (e *entry) isOpen() bool { return e.now.State == event.IncidentOpen }

func (e *entry) key() subject { return subject{e.now.Kind, e.now.Subject, e.many} }

// changed says whether a reader would act on it otherwise than on the last record. Devices count in steps of a fifth:
// so many that come or go one by one are a handful of records.
func (e *entry) changed() bool {
	n, was := int64(e.now.Count), int64(e.told.count)
	step := n != was && n > 0 && max(n-was, was-n)*5 >= was
	return step || e.now.Severity != e.told.severity || e.now.Cause != e.told.cause
}

// begin opens an incident. Its id is made of when it began, but of no time before after: the one before it of the same subject,
// which is no longer known, may have begun then, too.
func (b *Book) begin(at, after int64, s *Signal, many bool) event.Incident {
	kind := string(s.Kind)
	if many {
		kind += "-many" // the fleet as a subject may have an incident of its own
	}
	e := &entry{many: many, begun: s.Evidence}
	e.now = event.Incident{
		ID: ID(event.IncidentKind(kind), s.Subject, max(s.Since, after)), State: event.IncidentOpen, Kind: s.Kind, Subject: s.Subject,
		Since: s.Since, Cause: s.Cause,
	}
	b.entries = append(b.entries, e)
	b.subjects[e.key()] = e
	b.ids[e.now.ID] = e
	b.open[kindNo(s.Kind)]++
	b.refresh(e, s)
	return b.tell(e, at)
}

// reopen is the same incident again: it was not over.
func (b *Book) reopen(e *entry, at int64, s *Signal) event.Incident {
	e.now.State, e.now.ResolvedAt = event.IncidentOpen, 0
	e.now.Reopened++
	e.now.Cause, e.next, e.quiet, e.closed = s.Cause, "", 0, 0
	b.open[kindNo(s.Kind)]++
	b.refresh(e, s)
	return b.tell(e, at)
}

// resolve closes it. The record keeps the numbers of the last verdict, and how many devices it was at worst.
func (b *Book) resolve(e *entry, at, since int64, why string) event.Incident {
	switch {
	case why != "":
		e.now.Why = plain(why, batch.MaxText)
	case e.lost:
		e.now.Why = lostSight
	case e.period == 0 && e.now.Reopened > 0:
		e.now.Why = fmt.Sprintf("it came and went, and nothing of it was seen for %d minutes", comesAgain/minute)
	case e.period == 0:
		e.now.Why = "nothing of it is seen any more"
	default:
		e.now.Why = "nothing of it was seen for " + strconv.FormatInt(b.s.Quiet, 10) + " periods"
	}
	e.now.State, e.now.ResolvedAt = event.IncidentResolved, max(since, e.now.Since)
	b.named -= len(e.now.Devices)
	e.now.Devices, e.now.Count = nil, 0
	if e.worst > 0 {
		e.now.Numbers = append(slices.DeleteFunc(slices.Clone(e.now.Numbers), func(n event.Number) bool { return n.Name == worstName }),
			event.Number{Name: worstName, Micro: int64(e.worst) * 1e6, Unit: "devices"})
		sortNumbers(e.now.Numbers)
	}
	e.quiet, e.closed = 0, at
	b.open[kindNo(e.now.Kind)]--
	return b.tell(e, at)
}

const worstName = "devices_at_worst"

// refresh takes in what a signal says of an incident that is open.
func (b *Book) refresh(e *entry, s *Signal) {
	e.period = s.Period
	if !s.Over || s.Now {
		e.now.Why = s.Why
	}
	if !s.Over {
		severity := s.Severity
		if severity == "" {
			severity = Severity(s.Kind, s.Cause)
		}
		if rank(severity) > rank(e.now.Severity) {
			e.now.Severity = severity // who was woken is not told later that it was nothing
		}
		switch s.Cause {
		case e.now.Cause:
			e.next = ""
		case e.next:
			e.now.Cause, e.next = s.Cause, ""
		default:
			e.next = s.Cause // one odd slot changes no cause
		}
		e.now.Numbers, e.now.Thresholds = s.Numbers, s.Thresholds
		e.titled = s.Title != ""
		if e.titled {
			e.now.Title = s.Title
		}
	}
	room := min(event.MaxMembers, max(few, b.s.MaxNamed-b.named+len(e.now.Devices)))
	b.named -= len(e.now.Devices)
	var all int
	e.now.Devices, all = merge(e.now.Devices, s, room)
	b.named += len(e.now.Devices)
	e.blame()
	if e.now.Count = s.Count; s.Count == 0 {
		e.now.Count = uint32(all)
	}
	e.worst = max(e.worst, e.now.Count)
}

// merge gives the members after a signal, the longest affected first, room at most; and how many they would be.
func merge(had []event.Member, s *Signal, room int) ([]event.Member, int) {
	if len(s.Devices) == 0 && len(s.Back) == 0 && !s.All {
		return had, len(had)
	}
	if s.All || s.Count != 0 && int(s.Count) == len(s.Devices) {
		had = nil // it names all
	}
	gone := make(map[uint32]bool, len(s.Back)+len(s.Devices))
	for _, no := range s.Back {
		gone[no] = true
	}
	said := make(map[uint32]bool, len(s.Devices))
	all := make([]event.Member, 0, len(had)+len(s.Devices))
	for _, m := range s.Devices {
		if !said[m.No] {
			said[m.No] = true
			all = append(all, m)
		}
	}
	for _, m := range had {
		if !gone[m.No] && !said[m.No] {
			all = append(all, m)
		}
	}
	slices.SortFunc(all, func(a, b event.Member) int {
		return cmp.Or(cmp.Compare(a.Since, b.Since), cmp.Compare(a.ID, b.ID), cmp.Compare(a.No, b.No))
	})
	n := len(all)
	if n > room {
		all = all[:room]
	}
	return slices.Clip(all), n
}

// tell gives the record of how an incident stands.
func (b *Book) tell(e *entry, at int64) event.Incident {
	i := &e.now
	i.Revision++
	i.At = at
	if !e.titled {
		i.Title = plain(title(i, e.worst), event.MaxTitle)
	}
	i.Runbook = b.s.Runbooks + Runbook(i.Kind, i.Cause)
	i.Evidence = pinned(i.Evidence, b.ranges(e.begun, at))
	e.told = told{at, i.Count, i.Severity, i.Cause}
	record := *i
	record.Devices, record.Numbers, record.Thresholds, record.Evidence = slices.Clone(i.Devices), slices.Clone(i.Numbers), slices.Clone(i.Thresholds), slices.Clone(i.Evidence)
	return record
}

// pinned gives the ranges as they are now, each from where it began at first: what a ring has forgotten by now is
// evidence still.
func pinned(had, now []event.Range) []event.Range {
	if len(now) == 0 {
		return had
	}
	type place struct {
		topic string
		part  int32
	}
	from := make(map[place]int64, len(had))
	for _, r := range had {
		from[place{r.Topic, r.Part}] = r.From
	}
	all := slices.Clone(now[:min(len(now), event.MaxEvidence)])
	for i, r := range all {
		if f, ok := from[place{r.Topic, r.Part}]; ok {
			all[i].From = min(f, r.From)
		}
	}
	return all
}
