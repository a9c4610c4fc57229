package rows

import (
	"math/bits"

	"muster.dev/platform/warehouse"
	"muster.dev/platform/warehouse/native"
	"muster.dev/proto/batch"
)

// maxDecimal is the first number that a Decimal(9, s) does not hold.
const maxDecimal = 1_000_000_000

// wideTable is a profile's table: one row a step, one column a metric.
type wideTable struct {
	name       string
	block      *native.Block
	class      *native.Fixed[int8]
	number     *native.Fixed[uint32]
	device, fw *native.Dictionary
	ts         *native.Fixed[int64]
	source
	byName map[string]*wideColumn
	tally  tally
	room   int           // rows that the columns have memory for
	guess  []*wideColumn // by column of the last batch: the next one mostly has the same
}

// wideColumn is a metric's column; the one that fits its kind is set.
type wideColumn struct {
	Metric
	decimal *native.Nullable[int32]
	int     *native.Nullable[int64]
	float   *native.Nullable[float64]
	bool    *native.Nullable[bool]
	text    *native.Dictionary
}

func newWideTable(p Profile) *wideTable {
	t := &wideTable{
		name:   warehouse.WideTable(p.Name),
		class:  native.Enum8("class", classType),
		number: native.UInt32("device_no"),
		device: native.LowCardinality("device"), fw: native.LowCardinality("fw"),
		ts:     native.DateTime64("ts"),
		source: newSource(),
		byName: make(map[string]*wideColumn, len(p.Metrics)),
	}
	t.block = native.NewBlock(t.class, t.number, t.device, t.ts, t.fw, t.gen, t.part, t.off)
	for _, m := range p.Metrics {
		name := warehouse.MetricColumn(m.Name)
		c := &wideColumn{Metric: m}
		switch {
		case m.Kind == batch.Float:
			c.float = native.NullableOf(native.Float64(name))
			t.block.Add(c.float)
		case m.Kind == batch.Bool:
			c.bool = native.NullableOf(native.Bool(name))
			t.block.Add(c.bool)
		case m.Kind == batch.Text:
			c.text = native.LowCardinalityNullable(name)
			t.block.Add(c.text)
		case m.Scale > 0:
			c.decimal = native.NullableOf(native.Decimal32(name, m.Scale))
			t.block.Add(c.decimal)
		default:
			c.int = native.NullableOf(native.Int64(name))
			t.block.Add(c.int)
		}
		t.byName[m.Name] = c
	}
	return t
}

func (t *wideTable) reset() {
	t.block.Reset()
	t.tally.reset()
}

func (t *wideTable) sheet() Block {
	rows := t.ts.Rows()
	t.block.PadTo(rows) // metrics that the last messages did not have
	return Block{Table: t.name, Data: t.block, Rows: rows, Parts: t.tally.ids(byDay.id)}
}

// find is the column of a metric, nil where the table has none. Messages of a profile mostly list their metrics in one order,
// so the column at the same place of the last batch is tried first: a comparison instead of a hash.
func (t *wideTable) find(place int, metric string) *wideColumn {
	if place < len(t.guess) {
		if c := t.guess[place]; c != nil && c.Name == metric {
			return c
		}
	}
	c := t.byName[metric]
	for len(t.guess) <= place {
		t.guess = append(t.guess, nil)
	}
	t.guess[place] = c
	return c
}

// reserve gives the columns memory for more rows, twice of what they had. A slice that is appended to grows by a quarter
// when it is large, and moves all its values each time.
func (t *wideTable) reserve(rows int) {
	if rows <= t.room {
		return
	}
	t.room = max(rows, 2*t.room, leastRoom)
	for _, c := range t.block.Columns() {
		if _, grows := c.(*native.Dictionary); grows {
			continue // padding would put a value into the dictionary
		}
		had := c.Rows()
		c.PadTo(t.room)
		c.Truncate(had)
	}
}

const leastRoom = 256

// takes says whether the column's type holds the kind of values exactly.
func (c *wideColumn) takes(b *batch.Column) bool {
	if c.Kind != b.Kind {
		return false
	}
	return c.Kind != batch.Int || b.Scale <= c.Scale
}

// wideOf is the table of a profile at the plan's revision, nil where it has none.
func (s *Sheet) wideOf(profile uint16) *wideTable {
	if profile == 0 {
		return nil
	}
	t, ok := s.wide[profile]
	if !ok {
		if p, known := s.catalog.Profile(profile, s.set.Rev); known && len(p.Metrics) > 0 {
			t = newWideTable(p)
		}
		s.wide[profile] = t
	}
	return t
}

var pow10 = [...]int64{1, 10, 100, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9}

// route finds, for each column of the batch, where it goes in the wide table, and which of its values do not fit there.
func (s *Sheet) route(m *Message, w *wideTable) {
	columns := m.batch.Columns
	s.from, s.misfit = s.from[:0], s.misfit[:0]
	for i := range columns {
		c := &columns[i]
		var to *wideColumn
		if w != nil {
			if to = w.find(i, m.metric(c)); to != nil && !to.takes(c) {
				to = nil
			}
		}
		s.from = append(s.from, to)
		var misfit []uint64
		if to != nil && to.decimal != nil {
			misfit = s.findMisfits(m, c, i, to)
		}
		s.misfit = append(s.misfit, misfit)
	}
}

// findMisfits marks the steps whose number a Decimal(9, s) does not hold; nil when it holds all.
func (s *Sheet) findMisfits(m *Message, c *batch.Column, ci int, to *wideColumn) []uint64 {
	bound := (maxDecimal - 1) / pow10[to.Scale-c.Scale]
	bad := false
	for _, v := range c.Ints {
		bad = bad || v > bound || v < -bound
	}
	if !bad {
		return nil
	}
	for len(s.spare) <= ci {
		s.spare = append(s.spare, nil)
	}
	words := (len(m.batch.Times) + 63) / 64
	if cap(s.spare[ci]) < words {
		s.spare[ci] = make([]uint64, words)
	}
	out := s.spare[ci][:words]
	clear(out)
	word := 0
	for step := range m.batch.Times {
		if !c.Has(step) {
			continue
		}
		if v := c.Ints[word]; v > bound || v < -bound {
			out[step>>6] |= 1 << (step & 63)
		}
		word++
	}
	return out
}

// putWide adds a row for each step at which a column of the table has a value.
func (s *Sheet) putWide(m *Message, w *wideTable) {
	b := &m.batch
	all := s.findRows(m)
	n := len(b.Times)
	if !all {
		n = len(s.steps)
	}
	if n == 0 {
		return
	}
	base := w.ts.Rows()
	w.reserve(base + n)
	w.class.Fill(int8(m.Device.Class), n)
	w.number.Fill(m.Device.No, n)
	w.device.FillID(w.device.ID(m.Name), n)
	w.fw.FillID(w.fw.ID(b.Firmware), n)
	w.source.fill(&s.set, m.Offset, n)
	s.putTimes(w.ts, &w.tally, byDay, m, all)
	s.bytes += int64(n) * 36
	for ci, to := range s.from {
		if to == nil {
			continue
		}
		c := &b.Columns[ci]
		if all && c.Missing == nil && s.misfit[ci] == nil && s.mask.Column(ci) == nil {
			s.putFull(b, c, to, base)
		} else {
			s.putSparse(b, c, to, base, ci, n)
		}
		s.bytes += int64(n) * 6
	}
}

// findRows finds the steps that make a row: those with a value that goes into the table. It says true, and leaves the
// list alone, when that is every step.
func (s *Sheet) findRows(m *Message) bool {
	b := &m.batch
	words := (len(b.Times) + 63) / 64
	s.rows = append(s.rows[:0], make([]uint64, words)...)
	for ci, to := range s.from {
		if to == nil {
			continue
		}
		c := &b.Columns[ci]
		withheld, misfit := s.mask.Column(ci), s.misfit[ci]
		if c.Missing == nil && withheld == nil && misfit == nil && len(s.skip) == 0 {
			return true
		}
		for i := range s.rows {
			has := ^uint64(0)
			if c.Missing != nil {
				has &^= c.Missing[i]
			}
			if withheld != nil {
				has &^= withheld[i]
			}
			if misfit != nil {
				has &^= misfit[i]
			}
			if len(s.skip) > 0 {
				has &^= s.skip[i]
			}
			s.rows[i] |= has
		}
	}
	s.steps = s.steps[:0]
	for i, rest := range s.rows {
		if i == words-1 {
			rest &= ^uint64(0) >> ((64 - len(b.Times)&63) & 63)
		}
		for ; rest != 0; rest &= rest - 1 {
			s.steps = append(s.steps, int32(i<<6+bits.TrailingZeros64(rest)))
		}
	}
	return len(s.steps) == len(b.Times)
}

// putFull adds a column that has a value at every step.
func (s *Sheet) putFull(b *batch.Batch, c *batch.Column, to *wideColumn, base int) {
	switch {
	case to.decimal != nil:
		to.decimal.PadTo(base)
		times := pow10[to.Scale-c.Scale]
		values, _ := to.decimal.Grow(len(c.Ints))
		for i, v := range c.Ints {
			values[i] = int32(v * times)
		}
	case to.int != nil:
		to.int.PadTo(base)
		to.int.AppendSlice(c.Ints)
	case to.float != nil:
		to.float.PadTo(base)
		to.float.AppendSlice(c.Floats())
	case to.bool != nil:
		to.bool.PadTo(base)
		values, _ := to.bool.Grow(len(c.Ints))
		for i, v := range c.Ints {
			values[i] = v != 0
		}
	default:
		to.text.PadTo(base)
		for i := range c.Ints {
			to.text.Append(b.Text(c, i))
		}
	}
}

// putSparse adds a column that lacks values at some of the rows: those that the message does not have, that are at
// fault, or that do not fit.
func (s *Sheet) putSparse(b *batch.Batch, c *batch.Column, to *wideColumn, base, ci, n int) {
	withheld, misfit := s.mask.Column(ci), s.misfit[ci]
	at := func(bitmap []uint64, step int) bool { return bitmap != nil && bitmap[step>>6]>>(step&63)&1 != 0 }
	every := n == len(b.Times)
	row, word := 0, 0
	for step := range b.Times {
		has := c.Has(step)
		in := every || row < n && int(s.steps[row]) == step
		if in {
			if has && !at(withheld, step) && !at(misfit, step) {
				to.put(b, c, word, base+row)
			}
			row++
		}
		if has {
			word++
		}
	}
}

// put writes one value at a row, with NULLs before it where the column is behind.
func (to *wideColumn) put(b *batch.Batch, c *batch.Column, word, row int) {
	switch {
	case to.decimal != nil:
		to.decimal.PadTo(row)
		to.decimal.Append(int32(c.Ints[word] * pow10[to.Scale-c.Scale]))
	case to.int != nil:
		to.int.PadTo(row)
		to.int.Append(c.Ints[word])
	case to.float != nil:
		to.float.PadTo(row)
		to.float.Append(c.Floats()[word])
	case to.bool != nil:
		to.bool.PadTo(row)
		to.bool.Append(c.Ints[word] != 0)
	default:
		to.text.PadTo(row)
		to.text.Append(b.Text(c, word))
	}
}
