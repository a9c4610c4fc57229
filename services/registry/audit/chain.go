package audit

import (
	"fmt"
	"slices"

	"muster.dev/proto/event"
)

const (
	// window is how many of the last events are remembered, to tell a repetition from a forgery.
	window = 1 << 16
	// maxStrays bounds what is held until it is known what it is; the oldest is then settled.
	maxStrays = 256
	// maxFindings bounds what is listed; what is beyond is counted.
	maxFindings = 1_000
)

// Verifier walks the chain. It is for one goroutine.
type Verifier struct {
	started  bool
	part     bool // of a log: the first record is taken as it stands
	tip      node // the last event of the chain
	first    node
	events   uint64
	past     []node // the last events, by number modulo window
	strays   []stray
	missing  []span
	findings []Finding
	more     uint64
	later    map[string]uint64
	kept     []*Kept
	line     func(offset int64) int // where an offset stands in an export
	holes    []Hole
	shapes   shapes
}

// stray is a record that does not follow the chain's tip, with those that follow it; or one that cannot be read.
type stray struct {
	first, tip node
	count      int
	behind     uint64 // the tip's number when it came
	err        error  // why it cannot be read
}

// span is events that are missing.
type span struct {
	from, to uint64
	last     Hash // of the last of them, as the next one names it
	finding  int  // its place among the findings; -1 when that is full
}

// NewVerifier begins at the beginning of a log. The heads that were kept are looked for on the way.
func NewVerifier(kept ...*Kept) *Verifier {
	return &Verifier{past: make([]node, 0, 1024), later: map[string]uint64{}, kept: kept, shapes: shapes{}}
}

// Part says that what comes is a part of a log: its first event is believed to follow what it names.
func (v *Verifier) Part() { v.part = true }

// Add takes the next record, and says whether it is, as far as is known by now, the chain's next event, and its body.
func (v *Verifier) Add(rec Record) (e event.Registry, linked bool, err error) {
	e, at, err := rec.read()
	if err != nil {
		v.hold(stray{first: at, tip: at, count: 1, behind: v.tip.n, err: err})
		return e, false, err
	}
	if !v.started && v.part {
		v.tip = node{n: at.n - 1, sum: at.prev, offset: rec.Offset - 1}
	}
	v.started = true
	for _, k := range v.kept {
		k.look(at)
	}
	if key, yes := v.shapes.disguised(e, rec.Value); yes {
		v.find(Finding{Kind: Disguised, Offset: at.offset, Event: at.n,
			Expected: fmt.Sprintf("the body of an event of type %s", rec.Type), Stands: fmt.Sprintf("a body with the key %.64q, which such an event has not", key)})
	}
	if at.n == v.tip.n+1 && at.prev == v.tip.sum {
		v.extend(at)
		if later, is := e.Body.(event.Unknown); is {
			v.later[later.CEType]++
		}
		return e, true, nil
	}
	v.misplaced(at)
	return e, false, nil
}

// extend makes a record the chain's tip, and what waited for it.
func (v *Verifier) extend(at node) {
	v.take(at)
	for again := true; again; {
		again = false
		for i, s := range v.strays {
			if s.err == nil && s.first.n == v.tip.n+1 && s.first.prev == v.tip.sum {
				v.strays = slices.Delete(v.strays, i, i+1)
				v.find(Finding{Kind: Moved, Offset: s.first.offset, Event: s.first.n, Until: s.tip.n,
					Expected: fmt.Sprintf("behind event %d, which it follows", v.tip.n), Stands: fmt.Sprintf("before it: event %d is at offset %d", v.tip.n, v.tip.offset)})
				v.take(s.first)
				v.adopt(s)
				again = true
				break
			}
		}
	}
	// What the chain has gone past is none of it.
	v.strays = slices.DeleteFunc(v.strays, func(s stray) bool {
		if s.err == nil && s.tip.n > v.tip.n {
			return false
		}
		v.foreign(s)
		return true
	})
}

// take appends to the chain.
func (v *Verifier) take(at node) {
	if v.events == 0 {
		v.first = at
	}
	v.tip = at
	v.events++
	if len(v.past) < window {
		if want := int(at.n%window) + 1; want > len(v.past) {
			v.past = append(v.past, make([]node, want-len(v.past))...)
		}
	}
	v.past[at.n%window] = at
}

// adopt makes what follows a stray's first record the chain's end.
func (v *Verifier) adopt(s stray) {
	if s.count > 1 {
		v.take(s.tip)
		v.events += uint64(s.count - 2)
	}
}

// remembered is the event of the chain with this number, if it is remembered.
func (v *Verifier) remembered(n uint64) (node, bool) {
	if i := int(n % window); i < len(v.past) && v.past[i].n == n && n != 0 {
		return v.past[i], true
	}
	return node{}, false
}

// misplaced judges a record that does not follow the tip.
func (v *Verifier) misplaced(at node) {
	if at.n <= v.tip.n {
		if same, ok := v.remembered(at.n); ok && same.sum == at.sum {
			v.find(Finding{Kind: Repeated, Offset: at.offset, Event: at.n,
				Expected: fmt.Sprintf("event %d", v.tip.n+1), Stands: fmt.Sprintf("event %d again, which is at offset %d: %s", at.n, same.offset, at)})
			return
		}
		for i, m := range v.missing {
			if at.n >= m.from && at.n <= m.to && (at.n < m.to || at.sum == m.last) {
				v.found(i, at)
				return
			}
		}
		if at.n+window <= v.tip.n {
			v.find(Finding{Kind: Repeated, Offset: at.offset, Event: at.n,
				Expected: fmt.Sprintf("event %d", v.tip.n+1), Stands: fmt.Sprintf("a record with the number of an event long past: %s", at)})
			return
		}
	}
	for i := range v.strays {
		s := &v.strays[i]
		if s.err == nil && at.n == s.tip.n+1 && at.prev == s.tip.sum {
			s.tip = at
			if s.count++; s.tip.n > v.tip.n {
				v.follow(i)
			}
			return
		}
	}
	v.hold(stray{first: at, tip: at, count: 1, behind: v.tip.n})
}

// found settles an event that was missed: it stands elsewhere.
func (v *Verifier) found(i int, at node) {
	m := v.missing[i]
	v.find(Finding{Kind: Moved, Offset: at.offset, Event: at.n,
		Expected: fmt.Sprintf("before event %d", m.to+1), Stands: fmt.Sprintf("behind event %d: %s", v.tip.n, at)})
	if m.from == m.to && m.finding >= 0 { // said once is enough
		v.findings[m.finding].Kind = ""
		v.missing = slices.Delete(v.missing, i, i+1)
	}
}

func (v *Verifier) hold(s stray) {
	if len(v.strays) == maxStrays {
		v.foreign(v.strays[0])
		v.strays = slices.Delete(v.strays, 0, 1)
	}
	v.strays = append(v.strays, s)
}

// follow leaves the tip for a run of strays that goes on where the chain does not, and says what is wrong between.
func (v *Verifier) follow(i int) {
	s := v.strays[i]
	v.strays = slices.Delete(v.strays, i, i+1)
	v.bridge(s)
	v.take(s.first)
	v.adopt(s)
	v.strays = slices.DeleteFunc(v.strays, func(o stray) bool {
		if o.err == nil && o.tip.n > v.tip.n {
			return false
		}
		v.foreign(o)
		return true
	})
}

// bridge tells what is wrong between the tip and what goes on without it.
func (v *Verifier) bridge(s stray) {
	first := s.first
	switch {
	case first.n > v.tip.n+1:
		v.gap(first)
	case first.n == v.tip.n+1:
		v.changed(v.tip, first)
	default:
		v.fork(first)
	}
}

// gap is for events between the tip and first that are not there, or not as they were.
func (v *Verifier) gap(first node) {
	from, to := v.tip.n+1, first.n-1
	if from == to {
		for i, o := range v.strays {
			if o.count == 1 && o.first.offset > v.tip.offset && o.first.offset < first.offset {
				v.strays = slices.Delete(v.strays, i, i+1)
				v.altered(o, first)
				return
			}
		}
	}
	f := Finding{Kind: Removed, Offset: first.offset, Event: from, Until: to,
		Expected: fmt.Sprintf("event %d, whose predecessor's SHA-256 is %s", from, v.tip.sum),
		Stands:   fmt.Sprintf("event %d, which names a predecessor of SHA-256 %s: %s", first.n, first.prev, first)}
	if len(v.missing) < maxStrays {
		at := len(v.findings)
		if at >= maxFindings {
			at = -1
		}
		v.missing = append(v.missing, span{from, to, first.prev, at})
	}
	v.find(f)
}

// altered is for a record that stands where an event is missing: it was that event.
func (v *Verifier) altered(o stray, next node) {
	f := Finding{Kind: Changed, Offset: o.first.offset, Event: next.n - 1,
		Expected: fmt.Sprintf("event %d, of SHA-256 %s as event %d at offset %d names it", next.n-1, next.prev, next.n, next.offset)}
	switch {
	case o.err != nil:
		f.Stands = fmt.Sprintf("a record of SHA-256 %s that cannot be read: %v", o.first.sum, o.err)
	case o.first.n == next.n-1 && o.first.prev != v.tip.sum:
		f.Stands = fmt.Sprintf("%s, which names a predecessor of SHA-256 %s", o.first, o.first.prev)
		if o.first.sum == next.prev {
			// It is whole; what it follows is not.
			v.changed(v.tip, o.first)
			return
		}
	default:
		f.Stands = fmt.Sprintf("event %d: %s", o.first.n, o.first)
	}
	v.find(f)
}

// changed is for an event that its successor does not recognise.
func (v *Verifier) changed(at, next node) {
	if at.n == 0 {
		v.find(Finding{Kind: Changed, Offset: next.offset, Event: next.n, Expected: "the first event, which names no predecessor", Stands: next.String()})
		return
	}
	v.find(Finding{Kind: Changed, Offset: at.offset, Event: at.n,
		Expected: fmt.Sprintf("SHA-256 %s, as event %d at offset %d names it", next.prev, next.n, next.offset), Stands: at.String()})
}

// fork is for a second history: the chain goes on from first, though others have its number.
func (v *Verifier) fork(first node) {
	if before, ok := v.remembered(first.n - 1); first.n != 1 && (!ok || before.sum != first.prev) || first.n == 1 && first.prev != (Hash{}) {
		v.find(Finding{Kind: Changed, Offset: first.offset, Event: first.n,
			Expected: fmt.Sprintf("event %d", v.tip.n+1), Stands: fmt.Sprintf("another history, which goes on from here: %s", first)})
		return
	}
	for n := first.n; n <= v.tip.n; n++ {
		other, ok := v.remembered(n)
		if !ok {
			continue
		}
		v.events--
		v.find(Finding{Kind: Foreign, Offset: other.offset, Event: n,
			Expected: fmt.Sprintf("event %d, which is at offset %d and from which the chain goes on", first.n, first.offset),
			Stands:   fmt.Sprintf("%s: readers take it for event %d, and ignore all that follows", other, n)})
	}
}

// foreign is for a stray that the chain has passed.
func (v *Verifier) foreign(s stray) {
	f := Finding{Kind: Foreign, Offset: s.first.offset, Expected: fmt.Sprintf("event %d", s.behind+1)}
	if s.err != nil {
		f.Stands = fmt.Sprintf("a record of SHA-256 %s that is no event: %v; readers ignore it", s.first.sum, s.err)
	} else {
		f.Event, f.Until = s.first.n, s.tip.n
		f.Stands = fmt.Sprintf("%s, which no event follows; readers ignore it", s.first)
	}
	v.find(f)
}

func (v *Verifier) find(f Finding) {
	if f.Do == "" {
		f.Do = does[f.Kind]
	}
	if f.Until == f.Event {
		f.Until = 0
	}
	if v.line != nil && f.Offset >= 0 {
		f.Line = v.line(f.Offset)
	}
	if len(v.findings) >= maxFindings {
		v.more++
		return
	}
	v.findings = append(v.findings, f)
}
