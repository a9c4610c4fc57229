package batch

import (
	"cmp"
	"math"
	"slices"

	"muster.dev/proto/internal/wire"
)

// Builder gathers one device's samples, in any order, and writes them as a compact batch. Its memory is bounded by
// MaxValues values and MaxBody bytes of text, and is kept by Reset: pool it. Nothing it was given is aliased. It is
// not for concurrent use.
//
// The setters may be called in any order of time. What cannot be sent (a name that is none, too many values) is
// remembered and returned by Err and AppendTo, so that a caller need not look at each call. Values of one metric may
// differ in kind: FORMAT.md says which kind the column takes and what becomes of the others.
type Builder struct {
	keyed  bool
	boot   uint32
	seq    uint64
	fw     []byte
	hasFW  bool
	schema uint32
	index  []string // the schema's metrics

	err    *Error
	sealed bool

	samples []sample
	text    []byte // of text values and of numbers that no type holds
	names   []byte
	spans   []span // of the names
	table   nameTable
	last    int // the metric after the one found last: samples come in turns

	times   []int64
	order   []uint32 // samples by metric, then by step
	starts  []int    // of each metric in order
	columns []uint16 // metrics in the order in which they are written
	places  []uint32 // of the metrics in the schema
}

type span struct{ from, to int }

type sample struct {
	at     int64
	bits   uint64 // of the value, or place and length of its text
	metric uint16
	form   form
	scale  uint8
	step   uint16
}

type form uint8

const (
	scaledForm form = iota
	bigForm         // uint64 above int64
	hugeForm        // text of a number
	floatForm
	boolForm
	textForm
)

// NewBuilder gives an empty builder.
func NewBuilder() *Builder { return new(Builder) }

// Reset forgets the message and keeps the memory.
func (b *Builder) Reset() {
	b.keyed, b.boot, b.seq, b.fw, b.hasFW, b.schema, b.index = false, 0, 0, b.fw[:0], false, 0, nil
	b.err, b.sealed = nil, false
	b.samples, b.text, b.names, b.spans = b.samples[:0], b.text[:0], b.names[:0], b.spans[:0]
	b.table.reset()
	b.last = 0
	if cap(b.text) > MaxBody/16 {
		b.text = nil
	}
}

// SetKey makes a retry of the message safe: the same boot, seq and content are stored once.
func (b *Builder) SetKey(boot uint32, seq uint64) {
	if seq > MaxSeq {
		b.refuse(Unprocessable, "seq", MaxSeq, "is out of range: count from 0 and from a new boot")
		return
	}
	b.keyed, b.boot, b.seq = true, boot, seq
}

// Key gives what SetKey set.
func (b *Builder) Key() (boot uint32, seq uint64, keyed bool) { return b.boot, b.seq, b.keyed }

// SetFirmware names the firmware that took the samples.
func (b *Builder) SetFirmware(fw string) {
	b.fw, b.hasFW = append(b.fw[:0], fw...), true
	if err := checkFirmware(b.fw, 0); err != nil {
		b.fail(err)
	}
}

// SetSchema writes metrics as indexes into a schema that was published before. A message with a metric that the
// schema does not have is written self-contained.
func (b *Builder) SetSchema(id uint32, metrics []string) { b.schema, b.index = id, metrics }

// Len is the number of values so far.
func (b *Builder) Len() int { return len(b.samples) }

// Err gives what was wrong so far.
func (b *Builder) Err() error {
	if b.err != nil {
		return b.err
	}
	return nil
}

func (b *Builder) fail(err *Error) {
	if b.err == nil {
		b.err = err
	}
}

func (b *Builder) refuse(code Code, field string, limit int64, format string, args ...any) {
	if b.err == nil {
		b.err = refuse(code, field, limit, 0, format, args...)
	}
}

// SetInt adds an integer.
func (b *Builder) SetInt(atMS int64, metric string, v int64) { b.SetScaled(atMS, metric, v, 0) }

// SetScaled adds the decimal n / 10^scale, exactly.
func (b *Builder) SetScaled(atMS int64, metric string, n int64, scale uint8) {
	if scale > MaxScale {
		b.refuse(Unprocessable, metric, MaxScale, "has %d decimal places: send fewer, or a float", scale)
		return
	}
	b.add(sample{at: atMS, bits: uint64(n), form: scaledForm, scale: scale}, bytesOf(metric))
}

// SetUint adds an integer. One above int64 is kept as it is, and is a fault of its reader.
func (b *Builder) SetUint(atMS int64, metric string, v uint64) {
	b.add(uintSample(atMS, v), bytesOf(metric))
}

// SetFloat adds a double, as a double.
func (b *Builder) SetFloat(atMS int64, metric string, v float64) {
	b.add(sample{at: atMS, bits: math.Float64bits(v), form: floatForm}, bytesOf(metric))
}

// SetNumber adds a double, as a scaled integer if at most nine decimal places say the same double.
func (b *Builder) SetNumber(atMS int64, metric string, v float64) {
	b.add(numberSample(atMS, v), bytesOf(metric))
}

// SetBool adds a truth value.
func (b *Builder) SetBool(atMS int64, metric string, v bool) {
	b.add(boolSample(atMS, v), bytesOf(metric))
}

// SetText adds a text.
func (b *Builder) SetText(atMS int64, metric, v string) {
	b.addText(atMS, textForm, bytesOf(v), bytesOf(metric))
}

func uintSample(at int64, v uint64) sample {
	if v > math.MaxInt64 {
		return sample{at: at, bits: v, form: bigForm}
	}
	return sample{at: at, bits: v, form: scaledForm}
}

func numberSample(at int64, v float64) sample {
	if n, scale, ok := wire.FloatDecimal(v); ok {
		return sample{at: at, bits: uint64(n), form: scaledForm, scale: scale}
	}
	return sample{at: at, bits: math.Float64bits(v), form: floatForm}
}

func boolSample(at int64, v bool) sample {
	s := sample{at: at, form: boolForm}
	if v {
		s.bits = 1
	}
	return s
}

func (b *Builder) addText(at int64, f form, text, metric []byte) {
	if b.err != nil {
		return
	}
	if m := b.metric(metric); m >= 0 {
		b.putText(at, f, text, m)
	}
}

func (b *Builder) putText(at int64, f form, text []byte, m int) {
	if len(b.text)+len(text) > MaxBody {
		b.refuse(TooLarge, "values", MaxBody, "hold too much text: send several messages")
		return
	}
	from := len(b.text)
	b.text = append(b.text, text...)
	b.put(sample{at: at, bits: uint64(from)<<32 | uint64(len(text)), form: f}, m)
}

func (b *Builder) textOf(s *sample) []byte {
	return b.text[s.bits>>32:][:uint32(s.bits)]
}

func (b *Builder) add(s sample, metric []byte) {
	if b.err != nil {
		return
	}
	if m := b.metric(metric); m >= 0 {
		b.put(s, m)
	}
}

func (b *Builder) put(s sample, m int) {
	if len(b.samples) == MaxValues {
		b.refuse(TooLarge, "values", MaxValues, "the message has more values than allowed: send several messages")
		return
	}
	s.metric = uint16(m)
	b.samples = append(b.samples, s)
	b.sealed = false
}

func (b *Builder) name(i int) []byte { return b.names[b.spans[i].from:b.spans[i].to] }

// metric gives the number of a metric's name, a new one if need be.
func (b *Builder) metric(name []byte) int {
	if b.last < len(b.spans) && string(b.name(b.last)) == string(name) {
		b.last++
		return b.last - 1
	}
	if b.last >= len(b.spans) && len(b.spans) > 0 && string(b.name(0)) == string(name) {
		b.last = 1
		return 0
	}
	if !nameOK(name) {
		b.fail(badName(name, 0))
		return -1
	}
	if len(b.spans) == MaxColumns {
		// The table has no room to try; look first whether the name is known.
		i := slices.IndexFunc(b.spans, func(s span) bool { return string(b.names[s.from:s.to]) == string(name) })
		if i < 0 {
			b.refuse(TooLarge, "metrics", MaxColumns, "the message has more metrics than allowed: send several messages")
		}
		return i
	}
	i := b.table.find(name, len(b.spans), b.name)
	if i == len(b.spans) {
		from := len(b.names)
		b.names = append(b.names, name...)
		b.spans = append(b.spans, span{from, len(b.names)})
	}
	b.last = i + 1
	return i
}

// seal puts the samples in order: times ascending and each once, samples by metric and step. It refuses a metric that
// has two values of one time.
func (b *Builder) seal() *Error {
	if b.err != nil || b.sealed {
		return b.err
	}
	if len(b.samples) == 0 {
		b.refuse(Unprocessable, "readings", 0, "hold no value: send at least one")
		return b.err
	}
	b.sealTimes()
	if len(b.times) > MaxSteps {
		b.refuse(TooLarge, "readings", MaxSteps, "the message has %d points in time: send several messages", len(b.times))
		return b.err
	}
	step := 0
	for i := range b.samples {
		s := &b.samples[i]
		if b.times[step] != s.at {
			step, _ = slices.BinarySearch(b.times, s.at)
		}
		s.step = uint16(step)
	}
	b.sealOrder()
	if b.err == nil {
		b.sealColumns()
		b.sealed = true
	}
	return b.err
}

func (b *Builder) sealTimes() {
	b.times = b.times[:0]
	sorted := true
	for i := range b.samples {
		at := b.samples[i].at
		if n := len(b.times); n > 0 {
			if b.times[n-1] == at {
				continue
			}
			sorted = sorted && b.times[n-1] < at
		}
		b.times = append(b.times, at)
	}
	if !sorted {
		slices.Sort(b.times)
		b.times = slices.Compact(b.times)
	}
	if first, last := b.times[0], b.times[len(b.times)-1]; first < -MaxSeq || last > MaxSeq {
		b.refuse(Unprocessable, "ts", MaxSeq, "is out of range: send Unix milliseconds")
	}
}

func (b *Builder) sealOrder() {
	metrics := len(b.spans)
	b.starts = slices.Grow(b.starts[:0], metrics+1)[:metrics+1]
	clear(b.starts)
	for i := range b.samples {
		b.starts[b.samples[i].metric+1]++
	}
	for m := range metrics {
		b.starts[m+1] += b.starts[m]
	}
	b.order = slices.Grow(b.order[:0], len(b.samples))[:len(b.samples)]
	for i := range b.samples {
		m := b.samples[i].metric
		b.order[b.starts[m]] = uint32(i)
		b.starts[m]++
	}
	copy(b.starts[1:], b.starts[:metrics])
	b.starts[0] = 0
	for m := range metrics {
		own := b.order[b.starts[m]:b.starts[m+1]]
		if !slices.IsSortedFunc(own, b.byStep) {
			slices.SortFunc(own, b.byStep)
		}
		for i := 1; i < len(own); i++ {
			if b.samples[own[i-1]].step == b.samples[own[i]].step {
				b.refuse(Malformed, string(b.name(m)), 0, "has two values at ts %d: send one value of a metric for a time", b.samples[own[i]].at)
				return
			}
		}
	}
}

func (b *Builder) byStep(x, y uint32) int { return cmp.Compare(b.samples[x].step, b.samples[y].step) }

// sealColumns orders the columns: by index if a schema has them all, else by name.
func (b *Builder) sealColumns() {
	b.columns = b.columns[:0]
	for m := range b.spans {
		if b.starts[m] < b.starts[m+1] { // a null in the easy form makes a name without values
			b.columns = append(b.columns, uint16(m))
		}
	}
	if b.schema != 0 && b.findPlaces() {
		slices.SortFunc(b.columns, func(x, y uint16) int { return cmp.Compare(b.places[x], b.places[y]) })
		return
	}
	b.places = b.places[:0]
	slices.SortFunc(b.columns, func(x, y uint16) int { return slices.Compare(b.name(int(x)), b.name(int(y))) })
}

func (b *Builder) findPlaces() bool {
	b.places = b.places[:0]
	from := 0
	for m := range b.spans {
		if b.starts[m] == b.starts[m+1] {
			b.places = append(b.places, 0)
			continue
		}
		name := b.name(m)
		if from >= len(b.index) || b.index[from] != string(name) {
			if from = slices.IndexFunc(b.index, func(s string) bool { return s == string(name) }); from < 0 {
				return false
			}
		}
		b.places = append(b.places, uint32(from))
		from++
	}
	return true
}

// AppendTo appends the compact batch to dst. On an error, an *Error, dst comes back as it was.
func (b *Builder) AppendTo(dst []byte) ([]byte, error) {
	if err := b.seal(); err != nil {
		return dst, err
	}
	dst = append(dst, 0x98, Version)
	if b.keyed {
		dst = wire.AppendUint(wire.AppendUint(dst, uint64(b.boot)), b.seq)
	} else {
		dst = append(dst, 0xc0, 0xc0)
	}
	if b.hasFW {
		dst = wire.AppendText(dst, b.fw)
	} else {
		dst = append(dst, 0xc0)
	}
	dst = wire.AppendArrayHead(wire.AppendInt(dst, b.times[0]), len(b.times))
	prev := b.times[0]
	for _, at := range b.times {
		dst = wire.AppendInt(dst, at-prev)
		prev = at
	}
	indexed := len(b.places) > 0
	if indexed {
		dst = wire.AppendUint(dst, uint64(b.schema))
	} else {
		dst = append(dst, 0xc0)
	}
	dst = wire.AppendArrayHead(dst, len(b.columns))
	for _, m := range b.columns {
		dst = append(dst, 0x93)
		if indexed {
			dst = wire.AppendUint(dst, uint64(b.places[m]))
		} else {
			dst = wire.AppendText(dst, b.name(int(m)))
		}
		dst = b.appendColumn(dst, b.order[b.starts[m]:b.starts[m+1]])
	}
	return dst, nil
}
