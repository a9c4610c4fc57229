package incident

import (
	"io"
	"maps"
	"slices"

	"muster.dev/proto/event"
	"muster.dev/services/anomaly/state"
)

// form is the version of what Snapshot writes.
const form = 2

const maxText = 2 << 10 // of any text in a record

// Snapshot writes all that a Book remembers.
func (b *Book) Snapshot(to io.Writer) error {
	w := state.NewWriter(to)
	w.Head("incidents", form)
	w.I64(b.at)
	w.I64(b.after)
	for _, entries := range [][]*entry{b.entries, b.recall} {
		w.Len(len(entries))
		for _, e := range entries {
			e.write(w)
		}
	}
	for k := range b.rest {
		r := &b.rest[k]
		w.I64(r.since)
		w.I64(r.period)
		w.I64(r.swept)
		w.Text(r.severity)
		w.Bool(r.told)
		w.Len(len(r.seen))
		for _, h := range slices.Sorted(maps.Keys(r.seen)) {
			w.U64(h)
			w.I64(r.seen[h])
		}
	}
	return w.Flush()
}

// Restore reads what Snapshot wrote into an empty Book.
func (b *Book) Restore(from io.Reader) error {
	r := state.NewReader(from)
	r.Head("incidents", form)
	b.at = r.I64()
	b.after = r.I64()
	for range r.Len(b.most()) {
		e := read(r)
		k := kindNo(e.now.Kind)
		if r.Err() == nil && (k < 0 || !event.IncidentID(e.now.ID) || b.subjects[e.key()] != nil) {
			r.Spoil("an incident is of no kind, has no id or is there twice")
		}
		if r.Err() != nil {
			return r.Err()
		}
		b.entries = append(b.entries, e)
		b.subjects[e.key()], b.ids[e.now.ID] = e, e
		if e.isOpen() {
			b.open[k]++
			b.named += len(e.now.Devices)
		}
	}
	for range r.Len(b.most()) {
		e := read(r)
		if r.Err() == nil && (kindNo(e.now.Kind) < 0 || !event.IncidentID(e.now.ID) || !e.isOpen()) {
			r.Spoil("an incident of the log is of no kind, has no id or is not open")
		}
		if r.Err() != nil {
			return r.Err()
		}
		b.recall = append(b.recall, e)
	}
	for k := range b.rest {
		rest := &b.rest[k]
		rest.since, rest.period, rest.swept = r.I64(), r.I64(), r.I64()
		rest.severity, rest.told = r.Text(), r.Bool()
		for range r.Len(maxRest) {
			if rest.seen == nil {
				rest.seen = map[uint64]int64{}
			}
			h := r.U64()
			rest.seen[h] = r.I64()
			if r.Err() != nil {
				break
			}
		}
	}
	return r.Err()
}

func (e *entry) write(w *state.Writer) {
	i := &e.now
	w.Bytes([]byte(i.ID))
	w.Bool(e.isOpen())
	for _, s := range []string{string(i.Kind), i.Severity, i.Title, i.Cause, i.Why, i.Acked.Who, e.next, e.told.severity, e.told.cause} {
		w.Bytes([]byte(s))
	}
	s := i.Subject
	for _, s := range []string{s.Cohort, s.Region, s.Gateway, s.Rollout, s.Metric, s.Device} {
		w.Bytes([]byte(s))
	}
	for _, at := range []int64{i.Since, i.At, i.ResolvedAt, i.Acked.At, e.period, e.quiet, e.closed, e.begun, e.told.at} {
		w.I64(at)
	}
	for _, n := range []uint32{i.Revision, i.Reopened, i.Count, e.worst, e.told.count} {
		w.U32(n)
	}
	w.Bool(e.many)
	w.Bool(e.titled)
	w.Bool(e.lost)
	w.Len(len(e.blamed))
	for _, no := range e.blamed {
		w.U32(no)
	}
	w.Len(len(i.Devices))
	for _, m := range i.Devices {
		w.Text(m.ID)
		w.U32(m.No)
		w.I64(m.Since)
		w.U8(m.Marks)
	}
	for _, numbers := range [][]event.Number{i.Numbers, i.Thresholds} {
		w.Len(len(numbers))
		for _, n := range numbers {
			w.Text(n.Name)
			w.I64(n.Micro)
			w.Text(n.Unit)
		}
	}
	w.Len(len(i.Evidence))
	for _, r := range i.Evidence {
		w.Text(r.Topic)
		w.Int(int64(r.Part))
		w.I64(r.From)
		w.I64(r.To)
	}
}

func read(r *state.Reader) *entry {
	e := &entry{}
	i := &e.now
	i.ID, i.State = string(r.Bytes(maxText)), event.IncidentResolved
	if r.Bool() {
		i.State = event.IncidentOpen
	}
	var kind string
	for _, s := range []*string{&kind, &i.Severity, &i.Title, &i.Cause, &i.Why, &i.Acked.Who, &e.next, &e.told.severity, &e.told.cause} {
		*s = string(r.Bytes(maxText))
	}
	i.Kind = event.IncidentKind(kind)
	s := &i.Subject
	for _, s := range []*string{&s.Cohort, &s.Region, &s.Gateway, &s.Rollout, &s.Metric, &s.Device} {
		*s = string(r.Bytes(maxText))
	}
	for _, at := range []*int64{&i.Since, &i.At, &i.ResolvedAt, &i.Acked.At, &e.period, &e.quiet, &e.closed, &e.begun, &e.told.at} {
		*at = r.I64()
	}
	for _, n := range []*uint32{&i.Revision, &i.Reopened, &i.Count, &e.worst, &e.told.count} {
		*n = r.U32()
	}
	e.many, e.titled, e.lost = r.Bool(), r.Bool(), r.Bool()
	for range r.Len(maxBlamed) {
		if e.blamed = append(e.blamed, r.U32()); r.Err() != nil {
			return e
		}
	}
	for range r.Len(event.MaxMembers) {
		i.Devices = append(i.Devices, event.Member{ID: r.Text(), No: r.U32(), Since: r.I64(), Marks: r.U8()})
		if r.Err() != nil {
			return e
		}
	}
	for _, numbers := range []*[]event.Number{&i.Numbers, &i.Thresholds} {
		for range r.Len(event.MaxNumbers) {
			*numbers = append(*numbers, event.Number{Name: r.Text(), Micro: r.I64(), Unit: r.Text()})
		}
	}
	for range r.Len(event.MaxEvidence) {
		i.Evidence = append(i.Evidence, event.Range{Topic: r.Text(), Part: int32(r.Int()), From: r.I64(), To: r.I64()})
	}
	return e
}
