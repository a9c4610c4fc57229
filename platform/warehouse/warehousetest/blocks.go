package warehousetest

import (
	"fmt"

	"muster.dev/platform/warehouse"
	"muster.dev/platform/warehouse/native"
	"muster.dev/proto/batch"
)

// Enum types as the tables declare them.
const (
	ClassType   = "Enum8('standard' = 0, 'debug' = 1, 'audit' = 2, 'cold' = 3)"
	OutcomeType = "Enum8('stored' = 1, 'duplicate' = 2, 'conflict' = 3, 'quarantined' = 4, 'control' = 5)"
)

// Outcomes of a record.
const (
	Stored      int8 = 1
	Duplicate   int8 = 2
	Conflict    int8 = 3
	Quarantined int8 = 4
	Control     int8 = 5
)

// Scales of s_other beside 0..9.
const (
	ScaleFloat int8 = -1
	ScaleBool  int8 = -2
	ScaleText  int8 = -3
)

// Source is the record that a row is made of; every block has it.
type Source struct {
	TopicGen *native.Fixed[uint16]
	Part     *native.Fixed[uint16]
	Off      *native.Fixed[uint64]
}

func newSource() Source {
	return Source{TopicGen: native.UInt16("topic_gen"), Part: native.UInt16("part"), Off: native.UInt64("off")}
}

// Append adds the source of n rows.
func (s Source) Append(gen, part uint16, off uint64, n int) {
	s.TopicGen.Fill(gen, n)
	s.Part.Fill(part, n)
	s.Off.Fill(off, n)
}

// LedgerBlock is a block of the table ledger.
type LedgerBlock struct {
	*native.Block
	Source
	Outcome  *native.Fixed[int8]
	DeviceNo *native.Fixed[uint32]
	Boot     *native.Fixed[uint32]
	Seq      *native.Fixed[uint64]
	Hash     *native.Fixed[uint32]
	Got      *native.Fixed[int64]
	T0, T1   *native.Fixed[int64] // milliseconds relative to Got
	N        *native.Fixed[uint32]
	Faults   *native.Fixed[uint32]
	Bytes    *native.Fixed[uint32]
	StoredAt *native.Fixed[int64]
}

// NewLedgerBlock is an empty block of the table ledger.
func NewLedgerBlock() *LedgerBlock {
	b := &LedgerBlock{
		Source: newSource(), Outcome: native.Enum8("outcome", OutcomeType),
		DeviceNo: native.UInt32("device_no"), Boot: native.UInt32("boot"), Seq: native.UInt64("seq"), Hash: native.UInt32("hash"),
		Got: native.DateTime64("got"), T0: native.Int64("t0"), T1: native.Int64("t1"),
		N: native.UInt32("n"), Faults: native.UInt32("faults"), Bytes: native.UInt32("bytes"), StoredAt: native.DateTime64("stored_at"),
	}
	b.Block = native.NewBlock(b.TopicGen, b.Part, b.Off, b.Outcome, b.DeviceNo, b.Boot, b.Seq, b.Hash, b.Got, b.T0, b.T1, b.N, b.Faults, b.Bytes, b.StoredAt)
	return b
}

// OtherBlock is a block of the table s_other.
type OtherBlock struct {
	*native.Block
	Source
	Class    *native.Fixed[int8]
	Metric   *native.Dictionary
	DeviceNo *native.Fixed[uint32]
	Device   *native.Dictionary
	TS       *native.Fixed[int64]
	Value    *native.Fixed[float64] // NaN for a text
	Int      *native.Nullable[int64]
	Text     *native.Text
	Scale    *native.Fixed[int8]
	Firmware *native.Dictionary
}

// NewOtherBlock is an empty block of the table s_other.
func NewOtherBlock() *OtherBlock {
	b := &OtherBlock{
		Source: newSource(), Class: native.Enum8("class", ClassType), Metric: native.LowCardinality("metric"),
		DeviceNo: native.UInt32("device_no"), Device: native.LowCardinality("device"), TS: native.DateTime64("ts"),
		Value: native.Float64("value"), Int: native.NullableOf(native.Int64("int")), Text: native.String("text"),
		Scale: native.Int8("scale"), Firmware: native.LowCardinality("fw"),
	}
	b.Block = native.NewBlock(b.Class, b.Metric, b.DeviceNo, b.Device, b.TS, b.Value, b.Int, b.Text, b.Scale, b.Firmware, b.TopicGen, b.Part, b.Off)
	return b
}

// WideBlock is a block of a profile's table. Metrics[i] is the column of the
// profile's i-th metric, of the type that its kind has:
//
//	Int, scale 0     *native.Nullable[int64]
//	Int, scale 1..9  *native.Nullable[int32]
//	Float            *native.Nullable[float64]
//	Bool             *native.Nullable[bool]
//	Text             *native.Dictionary
type WideBlock struct {
	*native.Block
	Source
	Table    string
	Class    *native.Fixed[int8]
	DeviceNo *native.Fixed[uint32]
	Device   *native.Dictionary
	TS       *native.Fixed[int64]
	Firmware *native.Dictionary
	Metrics  []native.Column
}

// NewWideBlock is an empty block of the profile's table.
func NewWideBlock(p warehouse.Profile) *WideBlock {
	b := &WideBlock{
		Source: newSource(), Table: warehouse.WideTable(p.Name), Class: native.Enum8("class", ClassType),
		DeviceNo: native.UInt32("device_no"), Device: native.LowCardinality("device"), TS: native.DateTime64("ts"),
		Firmware: native.LowCardinality("fw"),
	}
	b.Block = native.NewBlock(b.Class, b.DeviceNo, b.Device, b.TS, b.Firmware, b.TopicGen, b.Part, b.Off)
	for _, m := range p.Metrics {
		c := metricColumn(m)
		b.Metrics = append(b.Metrics, c)
		b.Add(c)
	}
	return b
}

func metricColumn(m warehouse.Metric) native.Column {
	name := warehouse.MetricColumn(m.Name)
	switch {
	case m.Kind == batch.Float:
		return native.NullableOf(native.Float64(name))
	case m.Kind == batch.Bool:
		return native.NullableOf(native.Bool(name))
	case m.Kind == batch.Text:
		return native.LowCardinalityNullable(name)
	case m.Scale > 0:
		return native.NullableOf(native.Decimal32(name, m.Scale))
	default:
		return native.NullableOf(native.Int64(name))
	}
}

// QuarantineBlock is a block of the table quarantine.
type QuarantineBlock struct {
	*native.Block
	Source
	Idx      *native.Fixed[uint32]
	Got      *native.Fixed[int64]
	DeviceNo *native.Fixed[uint32]
	Device   *native.Dictionary
	Boot     *native.Fixed[uint32]
	Seq      *native.Fixed[uint64]
	Metric   *native.Dictionary
	TSMillis *native.Fixed[int64]
	Reason   *native.Dictionary
	Detail   *native.Text
	Payload  *native.Text
}

// NewQuarantineBlock is an empty block of the table quarantine.
func NewQuarantineBlock() *QuarantineBlock {
	b := &QuarantineBlock{
		Source: newSource(), Idx: native.UInt32("idx"), Got: native.DateTime64("got"), DeviceNo: native.UInt32("device_no"),
		Device: native.LowCardinality("device"), Boot: native.UInt32("boot"), Seq: native.UInt64("seq"), Metric: native.LowCardinality("metric"),
		TSMillis: native.Int64("ts_ms"), Reason: native.LowCardinality("reason"), Detail: native.String("detail"), Payload: native.String("payload"),
	}
	b.Block = native.NewBlock(b.TopicGen, b.Part, b.Off, b.Idx, b.Got, b.DeviceNo, b.Device, b.Boot, b.Seq, b.Metric, b.TSMillis, b.Reason, b.Detail, b.Payload)
	return b
}

// EventBlock is a block of the table device_events.
type EventBlock struct {
	*native.Block
	Source
	DeviceNo *native.Fixed[uint32]
	Device   *native.Dictionary
	TS       *native.Fixed[int64]
	Type     *native.Dictionary
	Boot     *native.Fixed[uint32]
	Seq      *native.Fixed[uint64]
	Idx      *native.Fixed[uint16]
	Firmware *native.Dictionary
	Fields   *native.Text // a JSON object
}

// NewEventBlock is an empty block of the table device_events.
func NewEventBlock() *EventBlock {
	b := &EventBlock{
		Source: newSource(), DeviceNo: native.UInt32("device_no"), Device: native.LowCardinality("device"), TS: native.DateTime64("ts"),
		Type: native.LowCardinality("type"), Boot: native.UInt32("boot"), Seq: native.UInt64("seq"), Idx: native.UInt16("idx"),
		Firmware: native.LowCardinality("fw"), Fields: native.String("fields"),
	}
	b.Block = native.NewBlock(b.DeviceNo, b.Device, b.TS, b.Type, b.Boot, b.Seq, b.Idx, b.Firmware, b.Fields, b.TopicGen, b.Part, b.Off)
	return b
}

// DeviceBlock is a block of the table device_rows.
type DeviceBlock struct {
	*native.Block
	Source
	No         *native.Fixed[uint32]
	Device     *native.Text
	Cohort     *native.Dictionary
	Class      *native.Fixed[int8]
	Profile    *native.Dictionary
	Region     *native.Dictionary
	IntervalMS *native.Fixed[uint32]
	History    *native.Fixed[bool]
	Revoked    *native.Fixed[bool]
	EnrolledAt *native.Fixed[int64]
}

// NewDeviceBlock is an empty block of the table device_rows.
func NewDeviceBlock() *DeviceBlock {
	b := &DeviceBlock{
		Source: newSource(), No: native.UInt32("no"), Device: native.String("device"), Cohort: native.LowCardinality("cohort"),
		Class: native.Enum8("class", ClassType), Profile: native.LowCardinality("profile"), Region: native.LowCardinality("region"),
		IntervalMS: native.UInt32("interval_ms"), History: native.Bool("history"), Revoked: native.Bool("revoked"), EnrolledAt: native.DateTime64("enrolled_at"),
	}
	b.Block = native.NewBlock(b.No, b.Device, b.Cohort, b.Class, b.Profile, b.Region, b.IntervalMS, b.History, b.Revoked, b.EnrolledAt, b.TopicGen, b.Part, b.Off)
	return b
}

// InsertOf is the insert of a block. The block must stay as it is until Insert
// returned.
func InsertOf(table string, b *native.Block, token, queryID string) (warehouse.Insert, error) {
	body, err := b.Segments()
	if err != nil {
		return warehouse.Insert{}, fmt.Errorf("block for %s: %w", table, err)
	}
	return warehouse.Insert{Table: table, Columns: b.Names(), Token: token, QueryID: queryID, Body: body, Rows: b.Rows()}, nil
}
