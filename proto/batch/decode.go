package batch

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math"
	"unicode/utf8"

	"muster.dev/proto/internal/wire"
)

// How a column's values are written: the second element of a column.
const (
	encScaled = 0  // 0..9: integers of that many decimal places
	encDelta  = 16 // 16..25: the same, each but the first as the difference from the value before
	encFloat  = 32
	encBool   = 33
	encText   = 34
)

// Decode reads one message of the compact form. It is a single pass over p, refuses whole messages with an *Error and
// never panics; memory is bounded by 4 bytes a byte of p and 64 KiB, and reused. After an error b holds nothing to use.
func (b *Batch) Decode(p []byte) error {
	if err := b.decode(p); err != nil {
		b.Times, b.Columns, b.Values = b.Times[:0], b.Columns[:0], 0
		return err
	}
	return nil
}

func refuse(code Code, field string, limit int64, offset int, format string, args ...any) *Error {
	return &Error{Code: code, Field: field, Detail: fmt.Sprintf(format, args...), Limit: limit, Offset: offset}
}

func truncated(field string, i int) *Error {
	return refuse(Malformed, field, 0, i, "the message ends here: send it whole")
}

func (b *Batch) decode(p []byte) *Error {
	b.src, b.Firmware, b.Keyed, b.Boot, b.Seq, b.Schema, b.Values = p, nil, false, 0, 0, 0, 0
	b.Times, b.Columns, b.bitmaps = b.Times[:0], b.Columns[:0], b.bitmaps[:0]
	b.faulty = false
	if len(p) > MaxBody {
		return refuse(TooLarge, "body", MaxBody, 0, "has %d bytes: send several messages", len(p))
	}
	elements, i, ok := arrayHead(p, 0)
	if !ok {
		return refuse(Malformed, "body", 0, 0, "is not a compact batch: it must be a MsgPack array of 8 elements or more, and whole")
	}
	if elements < 1 {
		return refuse(Malformed, "body", 8, i, "is an empty array: a compact batch has 8 elements")
	}
	version, i, ok := intAt(p, i)
	if !ok {
		return refuse(Malformed, "version", 0, i, "must be an integer: send %d", Version)
	}
	if version != Version {
		return refuse(UnknownVersion, "version", Version, i, "%d is not known here: send version %d", version, Version)
	}
	if elements < 8 {
		return refuse(Malformed, "body", 8, i, "has %d elements: a compact batch has 8", elements)
	}
	i, err := b.envelope(p, i)
	if err != nil {
		return err
	}
	if i, err = b.columns(p, i); err != nil {
		return err
	}
	for range elements - 8 { // of a later version
		if i, err = skip(p, i, MaxDepth-1); err != nil {
			return err
		}
	}
	if i != len(p) {
		return refuse(Malformed, "body", 0, i, "%d bytes follow the end of the message: send one message a body", len(p)-i)
	}
	if b.Values == 0 {
		return refuse(Unprocessable, "columns", 0, i, "hold no value: send at least one")
	}
	return nil
}

// envelope reads boot, seq, fw, base_ms, dt and schema.
func (b *Batch) envelope(p []byte, i int) (int, *Error) {
	boot, i, hasBoot, err := optionalInt(p, i, "boot", math.MaxUint32)
	if err != nil {
		return i, err
	}
	seq, i, hasSeq, err := optionalInt(p, i, "seq", MaxSeq)
	if err != nil {
		return i, err
	}
	if hasBoot != hasSeq {
		return i, refuse(Unprocessable, "seq", 0, i, "boot and seq go together: send both, or neither")
	}
	b.Keyed, b.Boot, b.Seq = hasBoot, uint32(boot), uint64(seq)
	if i, err = b.firmware(p, i); err != nil {
		return i, err
	}
	if i, err = b.times(p, i); err != nil {
		return i, err
	}
	schema, i, has, err := optionalInt(p, i, "schema", math.MaxUint32)
	if err != nil {
		return i, err
	}
	if has && schema == 0 {
		return i, refuse(Unprocessable, "schema", 0, i, "0 is no schema: send a schema's id, or nil")
	}
	b.Schema = uint32(schema)
	return i, nil
}

func (b *Batch) firmware(p []byte, i int) (int, *Error) {
	if i < len(p) && p[i] == 0xc0 {
		return i + 1, nil
	}
	fw, i, ok := textAt(p, i)
	if !ok {
		return i, refuse(Malformed, "fw", 0, i, "must be a text or nil, and whole")
	}
	if err := checkFirmware(fw, i); err != nil {
		return i, err
	}
	b.Firmware = fw
	return i, nil
}

func checkFirmware(fw []byte, at int) *Error {
	if len(fw) > MaxFirmware {
		return refuse(Unprocessable, "fw", MaxFirmware, at, "has %d bytes: send a shorter firmware version", len(fw))
	}
	for _, c := range fw {
		if c < 0x20 || c == 0x7f {
			return refuse(Unprocessable, "fw", 0, at, "holds a control character: send printable text")
		}
	}
	if !utf8.Valid(fw) {
		return refuse(Unprocessable, "fw", 0, at, "is not valid UTF-8: use UTF-8")
	}
	return nil
}

func (b *Batch) times(p []byte, i int) (int, *Error) {
	at, i, ok := intAt(p, i)
	if !ok || at < -MaxSeq || at > MaxSeq {
		return i, refuse(Unprocessable, "base_ms", MaxSeq, i, "must be an integer of Unix milliseconds")
	}
	steps, i, ok := arrayHead(p, i)
	if !ok {
		return i, refuse(Malformed, "dt", 0, i, "must be an array of integers, and whole")
	}
	if steps > MaxSteps {
		return i, refuse(TooLarge, "dt", MaxSteps, i, "has %d steps: send several messages", steps)
	}
	if steps == 0 {
		return i, refuse(Unprocessable, "dt", 0, i, "has no step: send at least one")
	}
	if cap(b.Times) < steps {
		b.Times = make([]int64, steps)
	}
	b.Times = b.Times[:steps]
	for k := range b.Times {
		dt, next, ok := intAt(p, i)
		if !ok {
			return i, refuse(Malformed, "dt", 0, i, "step %d must be an integer of milliseconds, and whole", k)
		}
		if dt < 0 || dt == 0 && k > 0 || dt > MaxSeq-at {
			return i, refuse(Unprocessable, "dt", 0, i, "step %d is %d ms after the one before: send steps in order of time, each time once", k, dt)
		}
		at += dt
		b.Times[k] = at
		i = next
	}
	return i, nil
}

func (b *Batch) columns(p []byte, i int) (int, *Error) {
	n, i, ok := arrayHead(p, i)
	if !ok {
		return i, refuse(Malformed, "columns", 0, i, "must be an array of columns, and whole")
	}
	if n > MaxColumns {
		return i, refuse(TooLarge, "columns", MaxColumns, i, "has %d metrics: send several messages", n)
	}
	steps := len(b.Times)
	if least := n * (4 + steps); least > len(p)-i {
		return i, refuse(Malformed, "columns", 0, i, "claim %d columns of %d steps, more than the %d bytes left can hold: send it whole", n, steps, len(p)-i)
	}
	if cells := n * steps; cells > MaxValues && cells-bytes.Count(p[i:], []byte{0xc0}) > MaxValues {
		// Not even if every byte that looks like a nil were one: refused before memory is taken.
		return i, tooMany(i)
	}
	if cap(b.Columns) < n {
		b.Columns = make([]Column, n)
	}
	b.Columns = b.Columns[:n]
	// No more values than bytes are left, and none is read past the limit: so columns never move once read.
	if need := min(n*steps, MaxValues); len(b.words) < need {
		b.words = make([]int64, need)
	}
	ordered := true
	for k := range b.Columns {
		c := &b.Columns[k]
		var err *Error
		if i, err = b.column(p, i, c); err != nil {
			return i, err
		}
		if k > 0 && ordered {
			prev := &b.Columns[k-1]
			if b.Schema != 0 {
				ordered = prev.Index < c.Index
			} else {
				ordered = string(prev.Name) < string(c.Name)
			}
		}
	}
	if !ordered {
		if k := b.twice(); k > 0 {
			return i, refuse(Malformed, "columns", 0, i, "column %d is a metric that is there before: send each metric once", k)
		}
	}
	return i, nil
}

// twice gives a column whose metric an earlier column has. Columns in order need no such look.
func (b *Batch) twice() int {
	b.names.reset()
	var scratch [2][4]byte
	key := func(buf *[4]byte, k int) []byte {
		if b.Schema == 0 {
			return b.Columns[k].Name
		}
		binary.BigEndian.PutUint32(buf[:], b.Columns[k].Index)
		return buf[:]
	}
	for k := range b.Columns {
		if b.names.find(key(&scratch[0], k), k, func(o int) []byte { return key(&scratch[1], o) }) != k {
			return k
		}
	}
	return 0
}

// column reads a column. Of the usual one, [index below 128, enc, fewer than 16 steps], the heads are single bytes.
func (b *Batch) column(p []byte, i int, c *Column) (int, *Error) {
	if b.Schema != 0 && len(p)-i > 4 && p[i] == 0x93 && p[i+1]|p[i+2] < 0x80 && len(b.Times) < 16 && p[i+3] == 0x90|byte(len(b.Times)) {
		c.Name, c.Index = nil, uint32(p[i+1])
		return b.values(p, i+4, c, int64(p[i+2]))
	}
	elements, i, ok := arrayHead(p, i)
	if !ok || elements < 3 {
		return i, refuse(Malformed, "columns", 0, i, "a column must be an array of name, enc and values, and whole")
	}
	if i >= len(p) {
		return i, truncated("columns", i)
	}
	if b.Schema != 0 {
		index, next, ok := intAt(p, i)
		if !ok || index < 0 || index > math.MaxUint32 {
			return i, refuse(Malformed, "columns", 0, i, "with a schema a column begins with the metric's index in it")
		}
		c.Name, c.Index, i = nil, uint32(index), next
	} else {
		name, next, ok := textAt(p, i)
		if !ok {
			return i, refuse(Malformed, "columns", 0, i, "without a schema a column begins with the metric's name, a text")
		}
		if !nameOK(name) {
			return i, badName(name, i)
		}
		c.Name, c.Index, i = name, 0, next
	}
	enc, i, ok := intAt(p, i)
	if !ok {
		return i, refuse(Malformed, "enc", 0, i, "must be an integer")
	}
	n, i, ok := arrayHead(p, i)
	if !ok || n != len(b.Times) {
		return i, refuse(Malformed, "values", int64(len(b.Times)), i, "a column must have one value or nil for each of the %d steps, and be whole", len(b.Times))
	}
	i, err := b.values(p, i, c, enc)
	for k := 3; k < elements && err == nil; k++ {
		i, err = skip(p, i, MaxDepth-3)
	}
	return i, err
}

// values reads a column's values, one or nil for each step.
func (b *Batch) values(p []byte, i int, c *Column, enc int64) (_ int, err *Error) {
	c.Missing, c.Scale, c.delta, c.first = nil, 0, false, uint32(b.Values)
	switch {
	case enc >= encScaled && enc <= encScaled+MaxScale:
		c.Kind, c.Scale = Int, uint8(enc)
		i, err = b.ints(p, i, c)
	case enc >= encDelta && enc <= encDelta+MaxScale:
		c.Kind, c.Scale, c.delta = Int, uint8(enc-encDelta), true
		i, err = b.deltas(p, i, c)
	case enc == encFloat:
		c.Kind = Float
		i, err = b.floats(p, i, c)
	case enc == encBool:
		c.Kind = Bool
		i, err = b.cells(p, i, c, 0, b.place())
	case enc == encText:
		c.Kind = Text
		i, err = b.cells(p, i, c, 0, b.place())
	default:
		return i, refuse(Unprocessable, "enc", 0, i, "%d is no encoding of version %d: use 0-9, 16-25, 32, 33 or 34", enc, Version)
	}
	return i, err
}

func badName(name []byte, at int) *Error {
	if len(name) > MaxMetricName {
		return refuse(Unprocessable, "metric", MaxMetricName, at, "the name %q... has %d bytes: use a shorter one", name[:24], len(name))
	}
	return refuse(Unprocessable, "metric", 0, at, "the name %q must be a-z or _, then a-z, 0-9 or _: rename it", name)
}

// place is where the next column's words may go: behind those before, and not past the limit.
func (b *Batch) place() []int64 {
	return b.words[b.Values:min(len(b.words), b.Values+len(b.Times))]
}

// ints is the fast path of a scaled column: it leaves what is rare to cells.
func (b *Batch) ints(p []byte, i int, c *Column) (int, *Error) {
	out := b.place()
	k := 0
	for ; k < len(out) && i < len(p); k++ {
		h := p[i]
		if h < 0x80 {
			out[k] = int64(h)
			i++
			continue
		}
		v, next, ok := intAt(p, i)
		if !ok {
			break
		}
		out[k] = v
		i = next
	}
	if k == len(b.Times) {
		c.Ints = out
		b.Values += k
		return i, nil
	}
	return b.cells(p, i, c, k, out)
}

// deltas is the same for a column of differences.
func (b *Batch) deltas(p []byte, i int, c *Column) (int, *Error) {
	out := b.place()
	var prev int64
	k := 0
	for ; k < len(out) && i < len(p); k++ {
		h := p[i]
		var d int64
		switch {
		case h < 0x80:
			d = int64(h)
			i++
		case h >= 0xe0:
			d = int64(int8(h))
			i++
		default:
			v, next, ok := intAt(p, i)
			if !ok {
				return b.cells(p, i, c, k, out)
			}
			d, i = v, next
		}
		v := prev + d
		if (v < prev) != (d < 0) {
			return i, overflow(i)
		}
		prev = v
		out[k] = v
	}
	if k == len(b.Times) {
		c.Ints = out
		b.Values += k
		return i, nil
	}
	return b.cells(p, i, c, k, out)
}

func tooMany(i int) *Error {
	return refuse(TooLarge, "values", MaxValues, i, "the message has more values than allowed: send several messages")
}

func overflow(i int) *Error {
	return refuse(Unprocessable, "values", 0, i, "a difference leaves the range of int64: write the column without differences")
}

func (b *Batch) floats(p []byte, i int, c *Column) (int, *Error) {
	out := b.place()
	k := 0
	for ; k < len(out) && len(p)-i >= 9 && p[i] == 0xcb; k++ {
		out[k] = int64(binary.BigEndian.Uint64(p[i+1:]))
		i += 9
	}
	if k == len(b.Times) {
		c.Ints = out
		b.Values += k
		return i, nil
	}
	return b.cells(p, i, c, k, out)
}

// cells reads a column's cells from step k on, of any kind: k words are there already, complete. out is where words go.
func (b *Batch) cells(p []byte, i int, c *Column, k int, out []int64) (int, *Error) {
	steps := len(b.Times)
	words := k
	var prev int64
	delta := c.delta
	if delta && k > 0 {
		prev = out[k-1]
	}
	for ; k < steps; k++ {
		if i >= len(p) {
			return i, truncated("values", i)
		}
		if p[i] == 0xc0 {
			b.miss(c, k)
			i++
			continue
		}
		if words == len(out) {
			return i, tooMany(i)
		}
		word, next, why, err := cell(p, i, c.Kind)
		if err != nil {
			return i, err
		}
		switch {
		case why != 0 && delta && why == outOfRange:
			return i, overflow(i)
		case why != 0:
			b.mark(b.Values + words)
			word = makeBad(c.Kind, why, i)
		case delta:
			v := prev + word
			if (v < prev) != (word < 0) {
				return i, overflow(i)
			}
			prev, word = v, v
		}
		out[words] = word
		words++
		i = next
	}
	c.Ints = out[:words]
	b.Values += words
	return i, nil
}

func (b *Batch) miss(c *Column, step int) {
	if c.Missing == nil {
		n := (len(b.Times) + 63) / 64
		if cap(b.bitmaps)-len(b.bitmaps) < n {
			b.bitmaps = make([]uint64, 0, max(2*cap(b.bitmaps), 8*n)) // the columns before keep the old one
		}
		from := len(b.bitmaps)
		b.bitmaps = b.bitmaps[:from+n]
		c.Missing = b.bitmaps[from : from+n : from+n]
		clear(c.Missing)
	}
	c.Missing[step>>6] |= 1 << (step & 63)
}

// mark notes that a word is at fault.
func (b *Batch) mark(word int) {
	if !b.faulty {
		if need := (len(b.words) + 63) / 64; len(b.bad) < need {
			b.bad = make([]uint64, need)
		}
		clear(b.bad)
		b.faulty = true
	}
	b.bad[word>>6] |= 1 << (word & 63)
}

// cell reads one cell that is not nil, as kind has it. A cell of another scalar type is a fault; a list, a map or an
// extension is none of a column's and refuses the message.
func cell(p []byte, i int, kind Kind) (word int64, next int, why reason, err *Error) {
	h := p[i]
	switch {
	case kind == Text:
		if text, next, ok := textAt(p, i); ok {
			switch {
			case len(text) > MaxText:
				return 0, next, tooLong, nil
			case !utf8.Valid(text):
				return 0, next, notUTF8, nil
			}
			return int64(uint64(next-len(text))<<32 | uint64(next)), next, 0, nil
		}
	case kind == Bool && h&0xfe == 0xc2:
		return int64(h & 1), i + 1, 0, nil
	case kind == Int:
		if v, next, ok := intAt(p, i); ok {
			return v, next, 0, nil
		}
	case kind == Float && h == 0xcb && len(p)-i >= 9:
		return int64(binary.BigEndian.Uint64(p[i+1:])), i + 9, 0, nil
	case kind == Float && h == 0xca && len(p)-i >= 5:
		return int64(math.Float64bits(float64(math.Float32frombits(binary.BigEndian.Uint32(p[i+1:]))))), i + 5, 0, nil
	case kind == Float:
		if v, next, ok := intAt(p, i); ok {
			if v < -1<<53 || v > 1<<53 {
				return 0, next, outOfRange, nil
			}
			return int64(math.Float64bits(float64(v))), next, 0, nil
		}
	}
	if next, err = skip(p, i, 0); err != nil {
		return 0, i, 0, err
	}
	if (kind == Int || kind == Float) && (h == 0xcf || h >= 0xc4 && h <= 0xc6) {
		return 0, next, outOfRange, nil // an integer above int64, or the text of a number that no type holds
	}
	return 0, next, offType, nil
}

// skip passes over one element of at most this nesting.
func skip(p []byte, i, depth int) (int, *Error) {
	r := readers.Get().(*wire.MsgPack)
	defer readers.Put(r)
	r.Reset(p[i:], Limits{Depth: depth, Elements: MaxElements, Keys: MaxKeys, AnyText: true, Prefix: true})
	t, err := r.Next()
	if err == nil {
		err = wire.Skip(r, t)
	}
	if err != nil {
		err.Offset += i
		return i, err
	}
	return i + r.Offset(), nil
}
