package judge

import (
	"muster.dev/proto/event"
	"muster.dev/services/anomaly/census"
)

// registry follows the registry's log, link by link, as far as the shards had read it.
type registry struct {
	known   int64 // all records below this offset were given
	next    int64 // offset of the first record that is not folded in
	n       uint64
	prev    [32]byte
	ignored uint64
	queue   []link // given, and not folded in
}

// link is a record that waits. Of most, as of a device's enrolment, there is nothing to be told: a fleet's whole log waits at a
// first start, and takes the room of its links alone.
type link struct {
	offset, time int64
	n            uint64 // 0: it is none of the chain's
	sum          [32]byte
	event        *event.Registry
}

func (r *registry) add(rec census.Record) {
	if rec.Offset < r.known || rec.Offset < r.next {
		return // it was given before
	}
	r.known = rec.Offset + 1
	n, prev := r.n, r.prev
	for i := len(r.queue) - 1; i >= 0; i-- {
		if last := &r.queue[i]; last.n != 0 {
			n, prev = last.n, last.sum
			break
		}
	}
	l := link{offset: rec.Offset, time: rec.Time}
	if e, err := event.DecodeRegistry(rec.Headers, rec.Value); err == nil && e.Prev == prev && e.N == n+1 {
		l.n, l.sum = e.N, event.Chain(rec.Value)
		switch e.Body.(type) {
		case event.IncidentAcknowledged, event.RolloutStarted, event.RolloutStageStarted, event.RolloutChanged:
			l.event = &e
		}
	}
	r.queue = append(r.queue, l)
}

// upTo folds in what lies below an offset, and tells what anybody here wants to know. What is no link is not the registry's.
func (r *registry) upTo(offset int64, tell func(at int64, e event.Registry)) {
	for len(r.queue) > 0 && r.queue[0].offset < offset {
		l := r.queue[0]
		r.queue[0] = link{}
		r.queue = r.queue[1:]
		if l.n == 0 {
			r.ignored++
			continue
		}
		r.n, r.prev = l.n, l.sum
		if l.event != nil {
			tell(l.time, *l.event)
		}
	}
	if len(r.queue) == 0 {
		r.queue = nil
	}
	r.next = max(r.next, offset)
}
