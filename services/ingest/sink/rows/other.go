package rows

import (
	"math"

	"muster.dev/platform/warehouse/native"
	"muster.dev/proto/batch"
)

// storedNaN is ClickHouse's own NaN, bit for bit: a value that was stored here and later by a wide table's view must
// not be told apart by a hash.
var storedNaN = math.Float64frombits(0x7ff8000000000000)

// Scales of a narrow table for what is no scaled integer.
const (
	scaleFloat = -1
	scaleBool  = -2
	scaleText  = -3
)

// exact is the bound below which a float64 holds every integer.
const exact = 1 << 53

// narrowTable has one row a value: the overflow, and what was old when it came.
type narrowTable struct {
	name               string
	by                 partitioning
	block              *native.Block
	class              *native.Fixed[int8]
	metric, device, fw *native.Dictionary
	number             *native.Fixed[uint32]
	ts                 *native.Fixed[int64]
	value              *native.Fixed[float64]
	int                *native.Nullable[int64]
	text               *native.Text
	scale              *native.Fixed[int8]
	source
	tally tally
}

func newNarrowTable(name string, by partitioning) *narrowTable {
	t := &narrowTable{
		name: name, by: by,
		class:  native.Enum8("class", classType),
		metric: native.LowCardinality("metric"), device: native.LowCardinality("device"), fw: native.LowCardinality("fw"),
		number: native.UInt32("device_no"),
		ts:     native.DateTime64("ts"),
		value:  native.Float64("value"),
		int:    native.NullableOf(native.Int64("int")),
		text:   native.String("text"),
		scale:  native.Int8("scale"),
		source: newSource(),
	}
	t.block = native.NewBlock(t.class, t.metric, t.number, t.device, t.ts, t.value, t.int, t.text, t.scale, t.fw, t.gen, t.part, t.off)
	return t
}

func (t *narrowTable) reset() {
	t.block.Reset()
	t.tally.reset()
}

func (t *narrowTable) sheet() Block {
	return Block{Table: t.name, Data: t.block, Rows: t.ts.Rows(), Parts: t.tally.ids(t.by.id)}
}

const narrowBytes = 49

// putNarrow adds the values of a column at the chosen steps: s.steps and s.words say which, nil steps mean all.
func (s *Sheet) putNarrow(t *narrowTable, m *Message, c *batch.Column, all bool) int {
	b := &m.batch
	n := len(s.steps)
	if all {
		n = len(b.Times)
	}
	if n == 0 {
		return 0
	}
	t.class.Fill(int8(m.Device.Class), n)
	t.metric.FillID(t.metric.IDString(m.metric(c)), n)
	t.number.Fill(m.Device.No, n)
	t.device.FillID(t.device.ID(m.Name), n)
	t.fw.FillID(t.fw.ID(b.Firmware), n)
	t.source.fill(&s.set, m.Offset, n)
	s.putTimes(t.ts, &t.tally, t.by, m, all)

	values := t.value.Grow(n)
	scale := int8(scaleFloat)
	switch c.Kind {
	case batch.Int:
		scale = int8(c.Scale)
		ints, nulls := t.int.Grow(n)
		for i := range n {
			v := c.Ints[s.word(i, all)]
			values[i] = batch.Scaled(v, c.Scale)
			if c.Scale == 0 || v >= exact || v <= -exact {
				ints[i] = v
			} else {
				nulls[i] = 1
			}
		}
	case batch.Float:
		t.int.AppendNulls(n)
		floats := c.Floats()
		for i := range n {
			values[i] = floats[s.word(i, all)]
		}
	case batch.Bool:
		scale = scaleBool
		t.int.AppendNulls(n)
		for i := range n {
			values[i] = float64(c.Ints[s.word(i, all)])
		}
	case batch.Text:
		scale = scaleText
		t.int.AppendNulls(n)
		for i := range n {
			values[i] = storedNaN
			v := b.Text(c, s.word(i, all))
			t.text.Append(v)
			s.bytes += int64(len(v))
		}
	}
	if c.Kind != batch.Text {
		t.text.PadTo(t.text.Rows() + n)
	}
	t.scale.Fill(scale, n)
	s.bytes += int64(n) * narrowBytes
	return n
}

// word is the place among the column's values of the i-th row to write.
func (s *Sheet) word(i int, all bool) int {
	if all {
		return i
	}
	return int(s.words[i])
}

// putTimes adds the times of the chosen steps and counts their partitions.
func (s *Sheet) putTimes(ts *native.Fixed[int64], tally *tally, by partitioning, m *Message, all bool) {
	times, class := m.batch.Times, m.Device.Class
	if all {
		ts.AppendSlice(times)
		if by.key(class, times[0]) == by.key(class, times[len(times)-1]) { // times ascend
			s.touch(tally, by, class, times[0], len(times))
			return
		}
		for _, at := range times {
			s.touch(tally, by, class, at, 1)
		}
		return
	}
	out := ts.Grow(len(s.steps))
	for i, step := range s.steps {
		out[i] = times[step]
		s.touch(tally, by, class, times[step], 1)
	}
}

func (s *Sheet) touch(t *tally, by partitioning, class uint8, ts int64, n int) {
	key := by.key(class, ts)
	if by.bounded && (key != t.last || t.run == 0) {
		s.days[key] = struct{}{}
	}
	t.add(key, uint64(n))
}
