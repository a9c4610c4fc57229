package rows

import (
	"encoding/json"

	"muster.dev/platform/warehouse/native"
	"muster.dev/proto/batch"
	"muster.dev/proto/event"
)

// eventsTable has one row a device event.
type eventsTable struct {
	block            *native.Block
	number, boot     *native.Fixed[uint32]
	device, kind, fw *native.Dictionary
	ts               *native.Fixed[int64]
	seq              *native.Fixed[uint64]
	idx              *native.Fixed[uint16]
	fields           *native.Text
	source
	tally tally
}

func newEventsTable() *eventsTable {
	t := &eventsTable{
		number: native.UInt32("device_no"), boot: native.UInt32("boot"),
		device: native.LowCardinality("device"), kind: native.LowCardinality("type"), fw: native.LowCardinality("fw"),
		ts: native.DateTime64("ts"), seq: native.UInt64("seq"), idx: native.UInt16("idx"),
		fields: native.String("fields"),
		source: newSource(),
	}
	t.block = native.NewBlock(t.number, t.device, t.ts, t.kind, t.boot, t.seq, t.idx, t.fw, t.fields, t.gen, t.part, t.off)
	return t
}

func (t *eventsTable) reset() {
	t.block.Reset()
	t.tally.reset()
}

func (t *eventsTable) sheet() Block {
	return Block{Table: TableEvents, Data: t.block, Rows: t.ts.Rows(), Parts: t.tally.ids(byMonth.id)}
}

// putEvents adds the events of a message; one whose time is out of bounds goes to quarantine, as a sample's would.
func (s *Sheet) putEvents(m *Message) ledgerRow {
	row := ledgerRow{outcome: Stored}
	oldest, newest := batch.Bounds(m.Time, m.Device.History)
	for i := range m.events.Events {
		e := &m.events.Events[i]
		if i == 0 || e.TS < row.t0 {
			row.t0 = e.TS
		}
		if i == 0 || e.TS > row.t1 {
			row.t1 = e.TS
		}
		fields := encodeFields(e)
		reason := ""
		switch {
		case e.TS < oldest:
			reason = batch.ReasonTimePast
		case e.TS > newest:
			reason = batch.ReasonTimeFuture
		}
		if reason != "" {
			s.putFault(m, fault{idx: row.faults, ts: e.TS, metric: e.Type, reason: reason, payload: fields})
			row.faults++
			continue
		}
		s.putEvent(m, e, uint16(i), fields)
		row.n++
	}
	return row
}

func (s *Sheet) putEvent(m *Message, e *event.Device, idx uint16, fields []byte) {
	t := s.events
	month := monthKey(e.TS)
	if o := s.set.Only; o != nil && o.Table == TableEvents && !o.Parts[monthID(month)] {
		return
	}
	t.number.Append(m.Device.No)
	t.device.Append(m.Name)
	t.ts.Append(e.TS)
	t.kind.AppendString(e.Type)
	t.boot.Append(m.Boot)
	t.seq.Append(m.Seq)
	t.idx.Append(idx)
	t.fw.AppendString(m.events.Firmware)
	t.fields.Append(fields)
	t.source.fill(&s.set, m.Offset, 1)
	t.tally.add(month, 1)
	s.bytes += int64(48 + len(fields))
}

// encodeFields is the event's fields as a JSON object, keys in order of name. The decoder lets only integers, finite
// floats, booleans and UTF-8 texts through, so it cannot fail.
func encodeFields(e *event.Device) []byte {
	if len(e.Fields) == 0 {
		return []byte("{}")
	}
	b, err := json.Marshal(e.Fields)
	if err != nil {
		return []byte("{}")
	}
	return b
}
