package rows

import (
	"slices"
	"time"

	"muster.dev/platform/warehouse"
	"muster.dev/platform/warehouse/native"
	"muster.dev/proto/batch"
)

// Outcome is what becomes of a record; the numbers are the ledger's.
type Outcome int8

const (
	Stored      Outcome = 1
	Duplicate   Outcome = 2
	Conflict    Outcome = 3
	Quarantined Outcome = 4
	Controlled  Outcome = 5
)

// String is the outcome's name in the ledger and in metrics.
func (o Outcome) String() string {
	switch o {
	case Stored:
		return "stored"
	case Duplicate:
		return "duplicate"
	case Conflict:
		return "conflict"
	case Quarantined:
		return "quarantined"
	default:
		return "control"
	}
}

// Tables that every plan may have; wide tables come beside them.
const (
	TableOther      = "s_other"
	TableOld        = "s_old"
	TableEvents     = "device_events"
	TableQuarantine = "quarantine"
	TableLedger     = "ledger"
)

// Block is a plan's part for one table.
type Block struct {
	Table string
	Data  *native.Block
	Rows  int
	// Parts is how many rows each of the table's partitions gets, by partition id. A block lands partition by
	// partition: each wholly, or not at all.
	Parts map[string]uint64

	stored *native.Fixed[int64] // the ledger's stored_at; nil in the others
}

// Stamp sets the ledger's stored_at, Unix ms, in all of the block: it is for lag alone, and so the instant of
// sending. The other tables have no such column.
func (b Block) Stamp(now int64) {
	if b.stored == nil {
		return
	}
	for i := range b.stored.Values() {
		b.stored.Values()[i] = now
	}
}

// Settings is what the rows of a plan are a function of, beside its records.
type Settings struct {
	Gen  uint16 // stands for the topic's id
	Part uint16
	Rev  uint64
	// Only leaves out what is not of these partitions of this table, for a block that repairs it. The sheet's
	// other tables then mean nothing.
	Only *Only
}

// Only names partitions of one table.
type Only struct {
	Table string
	Parts map[string]bool
}

// Sheet gathers the rows of one plan. It is reused from plan to plan and keeps its memory.
type Sheet struct {
	set     Settings
	catalog Catalog

	other      *narrowTable
	old        *narrowTable
	events     *eventsTable
	quarantine *quarantineTable
	ledger     *ledgerTable
	wide       map[uint16]*wideTable // nil where the profile has no table at this revision
	wideRev    uint64

	days  map[uint64]struct{} // (class, day) of the samples, over all tables
	bytes int64

	from   []*wideColumn // by column of the batch: where it goes in the wide table
	misfit [][]uint64    // by column: steps that do not fit there; nil where all do
	spare  [][]uint64
	rows   []uint64 // steps that make a row of the wide table
	faults []batch.Fault
	mask   batch.Mask
	skip   []uint64 // steps that are left out: those that go to another table, and what Only leaves out
	steps  []int32
	words  []int32
	text   []byte
}

// NewSheet is an empty sheet.
func NewSheet(catalog Catalog) *Sheet {
	return &Sheet{
		catalog: catalog, other: newNarrowTable(TableOther, byDay), old: newNarrowTable(TableOld, byYear), events: newEventsTable(), quarantine: newQuarantineTable(), ledger: newLedgerTable(),
		wide: map[uint16]*wideTable{}, days: map[uint64]struct{}{},
	}
}

// Begin empties the sheet for a plan.
func (s *Sheet) Begin(set Settings) {
	s.Clear()
	s.set = set
	if set.Rev != s.wideRev {
		clear(s.wide)
		s.wideRev = set.Rev
	}
}

// Clear empties the sheet, before it is known for what: it keeps the wide tables of the revision it had, and their memory.
// Nothing may be put before Begin.
func (s *Sheet) Clear() {
	for _, t := range s.tables() {
		t.reset()
	}
	clear(s.days)
	s.bytes = 0
}

// Put adds a record with its outcome.
func (s *Sheet) Put(m *Message, o Outcome) {
	row := ledgerRow{outcome: o}
	switch o {
	case Stored:
		switch m.Form {
		case Telemetry:
			row = s.putTelemetry(m)
		case Events:
			row = s.putEvents(m)
		}
	case Quarantined:
		s.refuse(m, m.Reason, m.Detail)
		row.faults = 1
	case Conflict:
		s.refuse(m, ReasonConflict, "another message of the same device, boot and seq is stored")
		row.faults = 1
	}
	s.putLedger(m, row)
}

// PutHole says that the log has no record at an offset that the plan covers: a marker of a transaction, or a record
// that was compacted away.
func (s *Sheet) PutHole(off int64, got int64) {
	s.putLedger(&Message{Offset: off, Time: got}, ledgerRow{outcome: Controlled})
}

// Rows is the number of rows of the fullest wide table, and of the fullest other one.
func (s *Sheet) Rows() (wide, narrow int) {
	for _, t := range s.wide {
		if t != nil {
			wide = max(wide, t.ts.Rows())
		}
	}
	return wide, max(s.other.ts.Rows(), s.old.ts.Rows(), s.events.ts.Rows(), s.quarantine.off.Rows(), s.ledger.off.Rows())
}

// Bytes is about how much the blocks take.
func (s *Sheet) Bytes() int64 { return s.bytes }

// Partitions is how many day-partitions the samples touch. Those of old readings are years, and few.
func (s *Sheet) Partitions() int { return len(s.days) }

// Touches is how many day-partitions the samples would touch with the message added.
func (s *Sheet) Touches(m *Message) int {
	n := len(s.days)
	if m.Form != Telemetry {
		return n
	}
	oldest, newest := batch.Bounds(m.Time, false) // what is older is not kept by day
	last := uint64(1<<64 - 1)
	for _, ts := range m.batch.Times {
		if ts < oldest || ts > newest {
			continue
		}
		if day := dayKey(m.Device.Class, ts); day != last {
			last = day
			if _, ok := s.days[day]; !ok {
				n++
			}
		}
	}
	return n
}

// Blocks are the tables' parts of the plan, in the order in which they are to be sent: the ledger last, so that a
// full range of it means that all has landed.
func (s *Sheet) Blocks() []Block {
	var out []Block
	for _, t := range s.tables() {
		if b := t.sheet(); b.Rows > 0 {
			out = append(out, b)
		}
	}
	return out
}

// Samples is how many sample values the tables hold.
func (s *Sheet) Samples() uint64 { return s.ledger.samples }

// table is one table of a sheet.
type table interface {
	reset()
	sheet() Block
}

func (s *Sheet) tables() []table {
	var out []table
	numbers := make([]uint16, 0, len(s.wide))
	for no, t := range s.wide {
		if t != nil {
			numbers = append(numbers, no)
		}
	}
	slices.Sort(numbers)
	for _, no := range numbers {
		out = append(out, s.wide[no])
	}
	return append(out, s.other, s.old, s.events, s.quarantine, s.ledger)
}

const dayMS = 24 * 60 * 60 * 1000

// A partition is counted under a number that is cheap to make of a row's time, and named by the warehouse.
type partitioning struct {
	key     func(class uint8, ts int64) uint64
	id      func(key uint64) string
	bounded bool // by Partitions: a plan has room for few of them
}

var (
	byDay   = partitioning{dayKey, dayID, true}
	byMonth = partitioning{func(_ uint8, ts int64) uint64 { return monthKey(ts) }, monthID, false}
	byYear  = partitioning{yearKey, yearID, false}
)

func dayKey(class uint8, ts int64) uint64 { return uint64(class)<<32 | uint64(uint32(ts/dayMS)) }

func dayID(key uint64) string {
	return warehouse.PartitionOf(uint8(key>>32), int64(uint32(key))*dayMS)
}

func yearKey(class uint8, ts int64) uint64 {
	return uint64(class)<<32 | uint64(uint32(time.UnixMilli(ts).UTC().Year()))
}

func yearID(key uint64) string {
	return warehouse.YearOf(uint8(key>>32), time.Date(int(uint32(key)), 1, 1, 0, 0, 0, 0, time.UTC).UnixMilli())
}

func monthKey(ts int64) uint64 {
	t := time.UnixMilli(ts).UTC()
	return uint64(t.Year())*12 + uint64(t.Month()) - 1
}

func monthID(key uint64) string {
	return warehouse.MonthOf(time.Date(int(key/12), time.Month(key%12+1), 1, 0, 0, 0, 0, time.UTC).UnixMilli())
}

// tally counts rows by partition. Rows of one partition come in runs.
type tally struct {
	parts map[uint64]uint64
	last  uint64
	run   uint64
}

func (t *tally) add(key, n uint64) {
	if key != t.last {
		t.flush()
		t.last = key
	}
	t.run += n
}

func (t *tally) flush() {
	if t.run > 0 {
		if t.parts == nil {
			t.parts = map[uint64]uint64{}
		}
		t.parts[t.last] += t.run
		t.run = 0
	}
}

func (t *tally) reset() {
	clear(t.parts)
	t.run = 0
}

func (t *tally) ids(id func(uint64) string) map[string]uint64 {
	t.flush()
	out := make(map[string]uint64, len(t.parts))
	for k, n := range t.parts {
		out[id(k)] = n
	}
	return out
}

const classType = "Enum8('standard' = 0, 'debug' = 1, 'audit' = 2, 'cold' = 3)"

// source is the three columns that say which record a row is made of.
type source struct {
	gen, part *native.Fixed[uint16]
	off       *native.Fixed[uint64]
}

func newSource() source {
	return source{native.UInt16("topic_gen"), native.UInt16("part"), native.UInt64("off")}
}

func (c source) fill(set *Settings, off int64, n int) {
	c.gen.Fill(set.Gen, n)
	c.part.Fill(set.Part, n)
	c.off.Fill(uint64(off), n)
}
