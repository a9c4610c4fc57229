package batch

import (
	"math"
	"math/bits"
	"strconv"
	"unsafe"

	"muster.dev/proto/internal/wire"
)

// Bounds of a message. A device that has more sends several messages.
const (
	MaxBody       = 4 << 20 // bytes, after decompression
	MaxValues     = 10_000  // values present in a message
	MaxSteps      = 1_000   // points in time
	MaxColumns    = 256     // metrics
	MaxMetricName = 63      // bytes of [a-z_][a-z0-9_]*
	MaxText       = 1_024   // bytes of a text value; a longer one is a fault
	MaxFirmware   = 64      // bytes
	MaxDepth      = 16      // nesting
	MaxElements   = 131_072 // MsgPack or JSON elements, keys included
	MaxKeys       = 1_024   // keys of one map
	MaxScale      = 9       // decimal places of a scaled integer
	MaxSeq        = 1<<53 - 1
	Version       = 1
)

// Kind is the type of a column's values.
type Kind uint8

const (
	Int   Kind = iota // integers, scaled: the value is n / 10^Scale
	Float             // IEEE 754 double
	Bool
	Text // UTF-8
)

func (k Kind) String() string {
	switch k {
	case Int:
		return "int"
	case Float:
		return "float"
	case Bool:
		return "bool"
	default:
		return "text"
	}
}

// Column is one metric's values. Only the values that are there take a word: word i belongs to the i-th step whose
// bit in Missing is not set.
type Column struct {
	Name    []byte // nil when the message uses a schema
	Index   uint32 // the metric's place in the schema
	first   uint32 // place of Ints[0] among the batch's words
	Kind    Kind
	Scale   uint8 // of Int: 0..9
	delta   bool
	Missing []uint64 // a bit a step, set where the step has no value; nil = complete
	// Ints holds, by Kind: the scaled integers; for Bool 0 or 1; for Float the bits, read by Floats; for Text a
	// place in the message, read by Batch.Text. The word of a value at fault from the start means nothing:
	// hold the column to Judge first.
	Ints []int64
}

// Floats is Ints of a Float column, seen as what they are. It shares their memory.
func (c *Column) Floats() []float64 {
	if len(c.Ints) == 0 {
		return nil
	}
	return unsafe.Slice((*float64)(unsafe.Pointer(unsafe.SliceData(c.Ints))), len(c.Ints))
}

// Has reports whether the step has a value.
func (c *Column) Has(step int) bool {
	return c.Missing == nil || c.Missing[step>>6]>>(step&63)&1 == 0
}

// word gives the place in Ints of a step that has a value.
func (c *Column) word(step int) int {
	if c.Missing == nil {
		return step
	}
	before := step
	for i := range step >> 6 {
		before -= bits.OnesCount64(c.Missing[i])
	}
	return before - bits.OnesCount64(c.Missing[step>>6]&(1<<(step&63)-1))
}

// Batch is one message. Decode reuses its memory: what it gave before is gone, and what it gives lives as long as
// the input is not changed. The zero value is ready. A Batch is not for concurrent use.
type Batch struct {
	Keyed    bool // boot and seq are there: a retry can be told
	Boot     uint32
	Seq      uint64
	Firmware []byte
	Schema   uint32  // 0 = self-contained
	Times    []int64 // Unix ms, one a step, ascending
	Columns  []Column
	Values   int // values present, those at fault included

	src     []byte
	words   []int64
	bitmaps []uint64
	bad     []uint64 // a bit a word: at fault as decoded; meaningful while faulty
	faulty  bool
	names   nameTable
}

// Text is the i-th present value of a Text column. It aliases the message.
func (b *Batch) Text(c *Column, i int) []byte {
	at := uint64(c.Ints[i])
	return b.src[uint32(at>>32):uint32(at)]
}

func (b *Batch) isBad(c *Column, i int) bool {
	if !b.faulty {
		return false
	}
	w := int(c.first) + i
	return b.bad[w>>6]>>(w&63)&1 != 0
}

// AppendValue writes the value of a step for a reader: numbers, true and false as in JSON, text as it is; of a value
// that was at fault on arrival, what the message holds; nothing where nothing is. For quarantine and for people.
func (b *Batch) AppendValue(dst []byte, column, step int) []byte {
	c := &b.Columns[column]
	if !c.Has(step) {
		return dst
	}
	i := c.word(step)
	if b.isBad(c, i) {
		_, offset := badWord(c.Ints[i])
		return appendRaw(dst, b.src[offset:])
	}
	switch c.Kind {
	case Int:
		return appendScaled(dst, c.Ints[i], c.Scale)
	case Float:
		return strconv.AppendFloat(dst, c.Floats()[i], 'g', -1, 64)
	case Bool:
		return strconv.AppendBool(dst, c.Ints[i] != 0)
	default:
		return append(dst, b.Text(c, i)...)
	}
}

func appendScaled(dst []byte, n int64, scale uint8) []byte {
	if scale == 0 {
		return strconv.AppendInt(dst, n, 10)
	}
	if n < 0 {
		dst = append(dst, '-')
	}
	u := uint64(n)
	if n < 0 {
		u = -u
	}
	ten := uint64(pow10[scale])
	dst = append(strconv.AppendUint(dst, u/ten, 10), '.')
	rest := u % ten
	for s := int(scale) - 1; s >= 0; s-- {
		p := uint64(pow10[s])
		dst = append(dst, byte('0'+rest/p))
		rest %= p
	}
	return dst
}

// appendRaw shows a cell that does not belong where it stands. The decoder has been over it.
func appendRaw(dst, p []byte) []byte {
	r := wire.NewMsgPack(p, wire.Limits{Depth: 1, Elements: 1, Keys: 1, Prefix: true, AnyText: true})
	t, err := r.Next()
	if err != nil {
		return dst
	}
	switch t.Kind {
	case wire.Int:
		return strconv.AppendInt(dst, t.Int, 10)
	case wire.Uint:
		return strconv.AppendUint(dst, uint64(t.Int), 10)
	case wire.Float:
		return strconv.AppendFloat(dst, t.Float, 'g', -1, 64)
	case wire.Bool:
		return strconv.AppendBool(dst, t.Int != 0)
	case wire.Text, wire.Bin:
		return append(dst, t.Bytes[:min(len(t.Bytes), MaxText)]...)
	}
	return dst
}

// The word of a value at fault: why, and where in the message it stands. In a Float column it is also a NaN, so
// that nobody takes it for a number.
func makeBad(k Kind, r reason, offset int) int64 {
	w := uint64(r)<<32 | uint64(uint32(offset))
	if k == Float {
		w |= 0x7ff8 << 48
	}
	return int64(w)
}

func badWord(w int64) (reason, int) { return reason(w >> 32 & 0xff), int(uint32(w)) }

var pow10 = [...]int64{1, 10, 100, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9}

// Scaled is the number that a scaled integer stands for, as every reader of it shall compute it.
func Scaled(n int64, scale uint8) float64 {
	if scale == 0 {
		return float64(n)
	}
	return float64(n) / float64(pow10[scale])
}

func finite(f float64) bool {
	return math.Float64bits(f)&(0x7ff<<52) != 0x7ff<<52
}
