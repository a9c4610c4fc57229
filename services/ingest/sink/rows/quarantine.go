package rows

import (
	"muster.dev/platform/warehouse/native"
)

// maxPayload bounds what one row of quarantine keeps of a message; the log has the rest.
const maxPayload = 64 << 10

// quarantineTable keeps what could not be stored, with the reason.
type quarantineTable struct {
	block *native.Block
	source
	idx                    *native.Fixed[uint32]
	got, ts                *native.Fixed[int64]
	number, boot           *native.Fixed[uint32]
	seq                    *native.Fixed[uint64]
	device, metric, reason *native.Dictionary
	detail, payload        *native.Text
	tally                  tally
}

func newQuarantineTable() *quarantineTable {
	t := &quarantineTable{
		source: newSource(),
		idx:    native.UInt32("idx"),
		got:    native.DateTime64("got"), ts: native.Int64("ts_ms"),
		number: native.UInt32("device_no"), boot: native.UInt32("boot"), seq: native.UInt64("seq"),
		device: native.LowCardinality("device"), metric: native.LowCardinality("metric"), reason: native.LowCardinality("reason"),
		detail: native.String("detail"), payload: native.String("payload"),
	}
	t.block = native.NewBlock(t.gen, t.part, t.off, t.idx, t.got, t.number, t.device, t.boot, t.seq, t.metric, t.ts, t.reason, t.detail, t.payload)
	return t
}

func (t *quarantineTable) reset() {
	t.block.Reset()
	t.tally.reset()
}

func (t *quarantineTable) sheet() Block {
	return Block{Table: TableQuarantine, Data: t.block, Rows: t.off.Rows(), Parts: t.tally.ids(byMonth.id)}
}

// fault is one row of quarantine.
type fault struct {
	idx            uint32
	ts             int64
	metric         string
	reason, detail string
	payload        []byte
}

// refuse puts a whole message into quarantine.
func (s *Sheet) refuse(m *Message, reason, detail string) {
	s.putFault(m, fault{ts: m.Time, reason: reason, detail: detail, payload: m.Value[:min(len(m.Value), maxPayload)]})
}

func (s *Sheet) putFault(m *Message, f fault) {
	t := s.quarantine
	month := monthKey(m.Time)
	if o := s.set.Only; o != nil && o.Table == TableQuarantine && !o.Parts[monthID(month)] {
		return
	}
	t.source.fill(&s.set, m.Offset, 1)
	t.idx.Append(f.idx)
	t.got.Append(m.Time)
	t.number.Append(m.Device.No)
	t.device.Append(m.Name)
	t.boot.Append(m.Boot)
	t.seq.Append(m.Seq)
	t.metric.AppendString(f.metric)
	t.ts.Append(f.ts)
	t.reason.AppendString(f.reason)
	t.detail.AppendString(f.detail)
	t.payload.Append(f.payload)
	t.tally.add(month, 1)
	s.bytes += int64(80 + len(f.detail) + len(f.payload))
}
