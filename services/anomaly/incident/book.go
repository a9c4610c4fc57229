package incident

import (
	"slices"

	"muster.dev/proto/batch"
	"muster.dev/proto/event"
)

// Book holds the incidents that are open, and those that were not long ago. It is for one goroutine.
//
// Each cut of the log is Take, with what all detectors say in a fixed order, then Tick, with the same time. Both give
// records in the order in which they are to be written; the writer numbers them and says which detector it was.
type Book struct {
	s        Settings
	ranges   func(from, to int64) []event.Range
	at       int64
	entries  []*entry // in the order in which they first opened
	subjects map[subject]*entry
	ids      map[string]*entry
	open     []int // by kind
	named    int   // members of open incidents
	rest     []rest
	recall   []*entry // open on the log, by id, until they are claimed
	after    int64    // that is done at the first cut after this instant; 0: there is nothing to claim
}

// subject is what makes two signals the same incident.
type subject struct {
	kind event.IncidentKind
	of   event.Subject
	many bool // the summary of a kind
}

// NewBook is an empty one. ranges gives the stretches of the log that hold what was said between two instants, or more.
func NewBook(s Settings, ranges func(from, to int64) []event.Range) *Book {
	if ranges == nil {
		ranges = func(int64, int64) []event.Range { return nil }
	}
	return &Book{
		s: s, ranges: ranges, subjects: map[subject]*entry{}, ids: map[string]*entry{},
		open: make([]int, len(Kinds)), rest: make([]rest, len(Kinds)),
	}
}

// Open is the number of open incidents.
func (b *Book) Open() (n int) {
	for _, k := range b.open {
		n += k
	}
	return n
}

// OpenOf is the number of open incidents of a kind.
func (b *Book) OpenOf(kind event.IncidentKind) int {
	if k := kindNo(kind); k >= 0 {
		return b.open[k]
	}
	return 0
}

// Find gives the id of the open incident about a subject, or nothing.
func (b *Book) Find(kind event.IncidentKind, of event.Subject) string {
	if e := b.subjects[subject{kind: kind, of: of}]; e != nil && e.isOpen() {
		return e.now.ID
	}
	return ""
}

// Take takes in what the detectors say at a cut. What a wider cause explains opens nothing: see absorb.
func (b *Book) Take(at int64, signals []Signal) (records []event.Incident) {
	at = clamp(at)
	records = b.claim(at)
	for _, s := range parentsFirst(signals) {
		if kindNo(s.Kind) < 0 {
			continue // no detector that is known here
		}
		s.tidy(at)
		parent := b.parent(&s)
		if parent == nil && s.Kind == event.SilentCohort && !s.Over {
			parent = b.update(&s)
		}
		if parent != nil {
			if e := b.subjects[s.key(false)]; e != nil && e.isOpen() {
				records = append(records, b.resolve(e, at, at, partOf(parent)))
			}
			continue
		}
		records = b.take(records, at, &s, false)
	}
	for k := range b.rest {
		if s, ok := b.rest[k].signal(Kinds[k], at); ok {
			s.tidy(at)
			records = b.take(records, at, &s, true)
		}
	}
	return records
}

func (b *Book) take(records []event.Incident, at int64, s *Signal, many bool) []event.Incident {
	k := kindNo(s.Kind)
	e := b.subjects[s.key(many)]
	switch {
	case s.Over:
		if !many {
			b.rest[k].forget(s)
		}
		if e == nil || !e.isOpen() {
			return records
		}
		b.refresh(e, s)
		if s.Now || s.Period == 0 && e.now.Reopened == 0 {
			return append(records, b.resolve(e, at, min(s.At, at), s.Why))
		}
		if e.quiet == 0 {
			e.quiet = s.At
		}
		return records
	case e != nil && e.isOpen():
		e.quiet, e.lost = 0, false
		b.refresh(e, s)
		return records
	case !many && b.open[k] >= b.s.MaxOpen:
		b.rest[k].remember(s)
		return records
	}
	if !many {
		b.rest[k].forget(s)
	}
	if e != nil && at <= e.closed+max(b.s.Again*e.period, comesAgain) && e.now.Revision < b.s.MaxRevisions {
		return append(records, b.reopen(e, at, s))
	}
	after := at - remembered
	if e != nil { // another one of the same subject: its id must be another, too
		s.Since, after = max(s.Since, e.now.ResolvedAt), max(after, e.closed+1)
		b.drop(e)
	}
	return append(records, b.begin(at, after, s, many))
}

// Tick goes on to at: it tells what has changed, and resolves what was quiet for long enough. blind says that nothing
// was heard since the Tick before, by our own fault: it is no quiet.
func (b *Book) Tick(at int64, blind bool) (records []event.Incident) {
	at = clamp(at)
	passed := max(at-b.at, 0)
	for _, e := range b.entries {
		switch {
		case !e.isOpen():
		case e.quiet != 0 && blind:
			e.quiet += passed
		case e.quiet != 0:
			if at >= e.quiet+b.calm(e) {
				records = append(records, b.resolve(e, at, min(e.quiet, at), ""))
			}
		case e.changed() && at >= e.told.at+max(e.period, minute) && e.now.Revision < b.s.MaxRevisions:
			records = append(records, b.tell(e, at))
		}
	}
	for k := range b.rest {
		b.rest[k].sweep(at)
	}
	b.at = at
	b.prune(at)
	return records
}

// calm is for how long nothing of an incident is to be seen until it is resolved. One without a period ends at once, but where
// it has come again it is one that comes and goes.
func (b *Book) calm(e *entry) int64 {
	if e.period == 0 {
		return comesAgain
	}
	return (b.s.Quiet - 1) * e.period
}

// Acknowledge writes down who takes an incident on. The first one stays; of an incident that is not open, or is not
// known, it says nothing.
func (b *Book) Acknowledge(id, who string, when, at int64) (records []event.Incident) {
	e := b.ids[id]
	if e == nil || !e.isOpen() || e.now.Acked.Who != "" || who == "" {
		return nil
	}
	e.now.Acked = event.Ack{Who: plain(who, batch.MaxText), At: clamp(when)}
	return append(records, b.tell(e, clamp(at)))
}

// prune forgets what was resolved long ago, and the oldest of too many.
func (b *Book) prune(at int64) {
	closed := 0
	for _, e := range b.entries {
		if !e.isOpen() {
			closed++
		}
	}
	most := b.s.MaxOpen * len(Kinds)
	if closed == 0 {
		return
	}
	kept := b.entries[:0]
	for _, e := range b.entries {
		if !e.isOpen() && (closed > most || at > e.closed+max(b.s.Again*e.period, remembered)) {
			closed--
			b.forget(e)
			continue
		}
		kept = append(kept, e)
	}
	clear(b.entries[len(kept):])
	b.entries = kept
}

func (b *Book) forget(e *entry) {
	if b.subjects[e.key()] == e {
		delete(b.subjects, e.key())
	}
	delete(b.ids, e.now.ID)
}

func (b *Book) drop(e *entry) {
	b.forget(e)
	if i := slices.Index(b.entries, e); i >= 0 {
		b.entries = slices.Delete(b.entries, i, i+1)
	}
}

func clamp(at int64) int64 { return min(max(at, 0), batch.MaxTime) }

// End resolves all open incidents of a kind.
func (b *Book) End(kind event.IncidentKind, at int64, why string) (records []event.Incident) {
	at = clamp(at)
	for _, e := range b.entries {
		if e.isOpen() && e.now.Kind == kind {
			records = append(records, b.resolve(e, at, at, why))
		}
	}
	if k := kindNo(kind); k >= 0 {
		b.rest[k] = rest{}
	}
	return records
}

// Adopt goes on with other settings.
func (b *Book) Adopt(s Settings) error {
	if err := s.Validate(); err != nil {
		return err
	}
	b.s = s
	return nil
}
