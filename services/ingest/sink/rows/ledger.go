package rows

import (
	"muster.dev/platform/warehouse/native"
)

const outcomeType = "Enum8('stored' = 1, 'duplicate' = 2, 'conflict' = 3, 'quarantined' = 4, 'control' = 5)"

// ledgerTable has one row for each offset of the plan.
type ledgerTable struct {
	block *native.Block
	source
	outcome            *native.Fixed[int8]
	device, boot, hash *native.Fixed[uint32]
	seq                *native.Fixed[uint64]
	got, stored        *native.Fixed[int64]
	t0, t1             *native.Fixed[int64]
	n, faults, bytes   *native.Fixed[uint32]
	tally              tally
	samples            uint64
}

func newLedgerTable() *ledgerTable {
	t := &ledgerTable{
		source:  newSource(),
		outcome: native.Enum8("outcome", outcomeType),
		device:  native.UInt32("device_no"), boot: native.UInt32("boot"), hash: native.UInt32("hash"),
		seq: native.UInt64("seq"),
		got: native.DateTime64("got"), stored: native.DateTime64("stored_at"),
		t0: native.Int64("t0"), t1: native.Int64("t1"),
		n: native.UInt32("n"), faults: native.UInt32("faults"), bytes: native.UInt32("bytes"),
	}
	t.block = native.NewBlock(t.gen, t.part, t.off, t.outcome, t.device, t.boot, t.seq, t.hash, t.got, t.t0, t.t1, t.n, t.faults, t.bytes, t.stored)
	return t
}

func (t *ledgerTable) reset() {
	t.block.Reset()
	t.tally.reset()
	t.samples = 0
}

func (t *ledgerTable) sheet() Block {
	return Block{Table: TableLedger, Data: t.block, Rows: t.off.Rows(), Parts: t.tally.ids(byMonth.id), stored: t.stored}
}

// ledgerRow is what a record came to. t0 and t1 are Unix ms.
type ledgerRow struct {
	outcome   Outcome
	t0, t1    int64
	n, faults uint32
}

const ledgerBytes = 78

func (s *Sheet) putLedger(m *Message, r ledgerRow) {
	t := s.ledger
	month := monthKey(m.Time)
	if o := s.set.Only; o != nil && o.Table == TableLedger && !o.Parts[monthID(month)] {
		return
	}
	if r.t0 == 0 && r.t1 == 0 {
		r.t0, r.t1 = m.Time, m.Time
	}
	t.source.fill(&s.set, m.Offset, 1)
	t.outcome.Append(int8(r.outcome))
	t.device.Append(m.Device.No)
	t.boot.Append(m.Boot)
	t.seq.Append(m.Seq)
	t.hash.Append(m.Hash)
	t.got.Append(m.Time)
	t.t0.Append(r.t0 - m.Time)
	t.t1.Append(r.t1 - m.Time)
	t.n.Append(r.n)
	t.faults.Append(r.faults)
	t.bytes.Append(uint32(len(m.Value)))
	t.stored.Append(0) // until Stamp
	t.tally.add(month, 1)
	t.samples += uint64(r.n)
	s.bytes += ledgerBytes
}
