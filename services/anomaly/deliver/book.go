package deliver

import (
	"cmp"
	"slices"
	"time"

	"muster.dev/proto/event"
)

// told is what a receiver knows of an incident.
type told uint8

const (
	nothing told = iota
	perhaps      // a message's end was not heard
	own          // it had a message of its own
	summed       // it was counted in a summary
)

// policy is how a kind of receiver is told.
type policy struct {
	batch   int           // messages a request
	rate    int           // messages a minute; 0 is no bound
	most    int           // open incidents that it has on their own; 0 is no bound
	repeat  time.Duration // from one message about an open incident to the next; 0 is never
	doubles int           // how often repeat is doubled
	hush    bool          // what an operator has acknowledged is not told until it is resolved
	gap     time.Duration // between two messages about changes that are not worth one at once
	hold    time.Duration // for how long a resolved one is told again
}

const (
	// gather is how long a change waits for others, so that of many the worst comes first; while there are others it waits longer, up to patience.
	gather   = 500 * time.Millisecond
	patience = 5 * time.Second
	// summaryGap is the least time between two summaries.
	summaryGap = time.Minute
	// named is how many of an incident's devices are kept: a message names no more.
	named = 50
)

// entry is an incident that a route is about.
type entry struct {
	inc   event.Incident // the latest state, cut
	first int64          // offset of the record by which it entered
	off   int64          // of the latest
	since int64          // offset of the first record that is not delivered; -1 is none

	told    told
	under   bool      // a message about it is on its way
	said    said      // what the receiver knows
	ready   time.Time // when what is not delivered may be sent
	dirty   time.Time // since when it waits
	due     time.Time // when it is told again; zero is never
	repeats int
	sent    time.Time // the last message
	over    time.Time // of a resolved one: until when it is told again; zero is not yet delivered
}

// said is what a change of is told at once.
type said struct {
	state, severity, cause string
	acked                  bool
}

func saidOf(i *event.Incident) said {
	return said{i.State, i.Severity, i.Cause, i.Acked.Who != ""}
}

func (e *entry) open() bool { return e.inc.State == event.IncidentOpen }

// fresh says that the incident has to be told and was not, on its own.
func (e *entry) fresh() bool { return e.since >= 0 && e.open() && e.told != own && e.told != summed }

// book is what a route knows: which incidents there are, what of them its receiver knows, what is to be said when. It is
// a plain state: time comes in from outside, and nothing is sent from here.
type book struct {
	match Match
	policy
	entries map[string]*entry
	next    int64 // offset behind the last record
	restored

	calm    time.Time // when nothing more seems to come
	tokens  float64
	filled  time.Time
	sum     summary
	sumSent time.Time
	sumNow  bool // the summary that was sent is not what holds any more
	unsent  uint64
	hushed  uint64
	newly   int // told in a summary, and not counted yet
}

// summary is of the open incidents that the receiver has not been told of on their own.
type summary struct {
	open     int
	first    time.Time
	severity string // as it was told
}

// action is what a message says.
type action string

const (
	opened       action = "opened"
	updated      action = "updated"
	acknowledged action = "acknowledged"
	resolved     action = "resolved"
	repeated     action = "repeated"
)

// message is one thing to say: of an incident, or a summary of many.
type message struct {
	action action
	inc    event.Incident
	before said // what the receiver knows
	was    told
	sum    *overview
	at     int64 // offset up to which it says what the log says
}

func newBook(m Match, p policy, r restored, now time.Time) *book {
	return &book{match: m, policy: p, restored: r, entries: map[string]*entry{}, next: r.low, tokens: float64(p.rate), filled: now, sum: summary{open: r.many, first: now}}
}

// take folds a record in. What was committed is known to be delivered.
func (b *book) take(offset int64, i event.Incident, now time.Time) {
	b.next = offset + 1
	e := b.entries[i.ID]
	if e == nil {
		if !b.match.matches(&i) {
			return
		}
		e = &entry{first: offset, since: -1}
		if offset >= b.commit && offset < b.may {
			e.told = perhaps // its message may have been under way when the process ended
		}
		b.entries[i.ID] = e
	}
	if e.told == nothing && !e.under && offset >= b.commit && i.State == event.IncidentOpen && !b.match.matches(&i) {
		delete(b.entries, i.ID)
		return
	}
	rose := e.told == summed && i.Severity == event.SeverityCritical && e.inc.Severity != event.SeverityCritical
	e.inc, e.off = cut(i), offset
	if offset < b.commit {
		b.known(e, now)
		return
	}
	if !e.open() && !e.under && (e.told == nothing || e.told == summed) {
		if e.told == summed {
			b.sumNow = true
		} else {
			b.unsent++
		}
		delete(b.entries, i.ID)
		return
	}
	e.over = time.Time{}
	switch {
	case rose:
		e.told = nothing
		b.sumNow = true
	case e.told == summed:
		return // its number stays the same
	case b.hush && e.open() && e.inc.Acked.Who != "" && !e.under && (e.told != own || e.said.acked):
		// Somebody is at it. What the receiver does not know it need not learn.
		b.hushed++
		e.since, e.due = -1, time.Time{}
		if e.told == own {
			e.said = saidOf(&e.inc)
			e.said.acked = true
		}
		return
	}
	if e.since < 0 {
		e.since, e.dirty = offset, now
	}
	e.ready = now.Add(gather)
	b.calm = e.ready
	if e.told == own && e.said == saidOf(&e.inc) {
		e.ready = latest(e.ready, e.sent.Add(b.gap))
	}
}

// known takes a record that was delivered before this process.
func (b *book) known(e *entry, now time.Time) {
	if !e.open() {
		delete(b.entries, e.inc.ID)
		return
	}
	e.told, e.said, e.sent, e.due = own, saidOf(&e.inc), now, time.Time{}
	if b.restored.summed(e.first) {
		e.told = summed
	} else if b.repeat > 0 && !(b.hush && e.said.acked) {
		e.due = now.Add(b.repeat)
	}
}

// begin says that the log was read to its end: what there is to say counts from now.
func (b *book) begin(now time.Time) {
	for _, e := range b.entries {
		if e.since >= 0 {
			e.dirty, e.ready = now, now
		}
	}
	b.calm = now.Add(gather)
	if _, sum := b.counts(); sum != b.sum.open {
		b.sumNow = true
	}
}

// skip passes over a record that is no incident.
func (b *book) skip(offset int64) { b.next = max(b.next, offset+1) }

// round is what is to be sent in one request, or how long there is nothing to send.
func (b *book) round(now time.Time) (out []message, wait time.Duration) {
	b.refill(now)
	wait = time.Hour
	later := func(at time.Time) { wait = min(wait, max(at.Sub(now), time.Millisecond)) }
	var due []*entry
	fresh, sum, owned := 0, 0, 0
	for _, e := range b.entries {
		switch {
		case e.told == summed:
			sum++
		case e.told == own && e.open():
			owned++
		}
		switch at := b.when(e); {
		case at.IsZero():
		case at.After(now):
			later(at)
		default:
			due = append(due, e)
			if e.fresh() {
				fresh++
			}
		}
	}
	// When few are left of the summary there is room for them.
	promote := sum > 0 && fresh == 0 && (b.rate > 0 && sum <= b.rate || b.most > 0 && owned < b.most)
	if promote {
		for _, e := range b.entries {
			if e.told == summed {
				due = append(due, e)
			}
		}
	}
	slices.SortFunc(due, worst)
	slots := len(due)
	if b.most > 0 {
		slots = max(0, b.most-owned)
	}
	waiting := 0 // of the fresh, those for which there is no room
	for _, e := range due {
		if len(out) == b.batch || b.rate > 0 && b.tokens < float64(len(out)+1) {
			break
		}
		if e.fresh() || e.told == summed {
			if slots == 0 {
				waiting++
				continue
			}
			slots--
		}
		e.under = true
		out = append(out, b.message(e))
	}
	if len(out) > 0 && !(b.batch > 1 && len(out) < b.batch && waiting > 0) {
		return out, 0
	}
	// What is more than a minute's worth of messages, or more than there is room for, is told as one.
	if many := b.rate > 0 && fresh > b.rate || waiting > 0; many || b.sumNow || b.sumDue(now) {
		if at := b.sumSent.Add(summaryGap); !b.sumSent.IsZero() && at.After(now) && !(b.most > 0 && many) {
			later(at)
		} else if m, any := b.summary(due, many, now); any {
			return append(out, m), 0
		}
	}
	if len(out) > 0 {
		return out, 0
	}
	if len(due) > 0 && b.rate > 0 {
		later(now.Add(time.Duration((1 - b.tokens) * float64(time.Minute) / float64(b.rate))))
	}
	if b.sum.open > 0 && b.most > 0 {
		later(b.sumSent.Add(b.repeat))
	}
	return nil, wait
}

// sumDue says whether a summary that holds is to be told again, to who would forget it.
func (b *book) sumDue(now time.Time) bool {
	return b.most > 0 && b.sum.open > 0 && !b.sumSent.Add(b.repeat).After(now)
}

// when is the moment at which something is to be said; zero is never.
func (b *book) when(e *entry) time.Time {
	switch {
	case e.since >= 0 && b.calm.Before(e.dirty.Add(patience)):
		return latest(e.ready, b.calm)
	case e.since >= 0:
		return latest(e.ready, e.dirty.Add(patience))
	case e.told == summed:
		return time.Time{}
	default:
		return e.due
	}
}

func (b *book) message(e *entry) message {
	m := message{inc: e.inc, before: e.said, was: e.told, at: b.next, action: repeated}
	switch {
	case !e.open():
		m.action = resolved
	case e.told != own:
		m.action = opened
	case e.since >= 0 && e.inc.Acked.Who != "" && !e.said.acked:
		m.action = acknowledged
	case e.since >= 0:
		m.action = updated
	}
	return m
}

// summary counts the open incidents that are not told on their own: those that were so far and, if there are too many, those
// that wait.
func (b *book) summary(due []*entry, many bool, now time.Time) (m message, any bool) {
	var list []*entry
	for _, e := range b.entries {
		if e.told == summed {
			list = append(list, e)
		}
	}
	if many {
		for _, e := range due {
			if e.fresh() && !e.under { // else it is told on its own with this summary
				list = append(list, e)
			}
		}
	}
	if len(list) == 0 && b.sum.open == 0 {
		b.sumNow = false
		return m, false
	}
	slices.SortFunc(list, worst)
	m = message{sum: overviewOf(list), action: opened, at: b.next}
	switch {
	case len(list) == 0:
		m.action = resolved
	case b.sum.open > 0:
		m.action = updated
	default:
		b.sum.first = now
	}
	m.sum.since = b.sum.first
	if m.before = (said{severity: b.sum.severity}); b.sum.severity != "" {
		m.was = own
	}
	return m, true
}

// done takes what became of a round: delivered, or not and perhaps all the same.
func (b *book) done(round []message, ok, unknown bool, now time.Time) {
	for _, m := range round {
		if m.sum != nil {
			b.summarised(m, ok, now)
			continue
		}
		if b.rate > 0 {
			b.tokens--
		}
		e := b.entries[m.inc.ID]
		if e == nil {
			continue
		}
		e.under = false
		switch {
		case ok:
			if e.told == summed {
				b.sumNow = true
			}
			e.told, e.sent, e.said = own, now, saidOf(&m.inc)
			b.again(e, m, now)
		case unknown && e.told == nothing:
			e.told = perhaps
		case e.told == nothing && !e.open(): // it was resolved meanwhile
			b.unsent++
			delete(b.entries, e.inc.ID)
		}
	}
}

// again sets when a delivered entry is told the next time.
func (b *book) again(e *entry, m message, now time.Time) {
	e.since, e.due = -1, time.Time{}
	if e.off >= m.at { // it has changed while the message was under way
		e.since, e.ready = m.at, now
		return
	}
	if !e.open() {
		if e.over.IsZero() {
			e.over = now.Add(b.hold)
		}
		if !now.Before(e.over) {
			delete(b.entries, e.inc.ID)
			return
		}
		e.due = now.Add(b.repeat)
		return
	}
	if b.repeat == 0 || b.hush && e.said.acked {
		return
	}
	if m.action == repeated {
		e.repeats = min(e.repeats+1, b.doubles)
	} else {
		e.repeats = 0
	}
	e.due = now.Add(b.repeat << e.repeats)
}

func (b *book) summarised(m message, ok bool, now time.Time) {
	b.sumSent = now // a receiver that fails is not asked more often
	if !ok {
		return
	}
	b.sumNow = false
	b.sum.open, b.sum.severity = len(m.sum.ids), m.sum.severity
	for _, id := range m.sum.ids {
		e := b.entries[id]
		if e == nil || !e.open() {
			b.sumNow = true // it was resolved meanwhile
		}
		if e != nil && e.open() && e.told != own {
			if e.told != summed {
				b.newly++
			}
			e.told, e.since, e.said, e.due = summed, -1, saidOf(&e.inc), time.Time{}
		}
	}
}

func (b *book) refill(now time.Time) {
	if d := now.Sub(b.filled); d > 0 {
		b.tokens = min(float64(b.rate), b.tokens+d.Minutes()*float64(b.rate))
	}
	b.filled = now
}

// worst orders what is to be said: critical first, then what is resolved after what is not, then as the log has it.
func worst(a, b *entry) int {
	return cmp.Or(cmp.Compare(weight(a), weight(b)), cmp.Compare(a.first, b.first))
}

func weight(e *entry) (w int) {
	switch e.inc.Severity {
	case event.SeverityCritical:
	case event.SeverityWarning:
		w = 2
	default:
		w = 4
	}
	if !e.open() {
		w++
	}
	return w
}

// cut takes off what no message has.
func cut(i event.Incident) event.Incident {
	if len(i.Devices) > named {
		i.Devices = slices.Clone(i.Devices[:named])
	}
	i.Evidence = nil
	return i
}

func latest(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// waiting is how many incidents are not delivered, and since when the oldest is not.
func (b *book) waiting() (n int, oldest time.Time) {
	for _, e := range b.entries {
		if e.since < 0 {
			continue
		}
		n++
		if oldest.IsZero() || e.dirty.Before(oldest) {
			oldest = e.dirty
		}
	}
	return n, oldest
}

// counts are the open incidents, and those of them that are known from a summary only.
func (b *book) counts() (open, sum int) {
	for _, e := range b.entries {
		if e.open() {
			open++
		}
		if e.told == summed {
			sum++
		}
	}
	return open, sum
}
