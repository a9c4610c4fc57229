package native

import (
	"slices"
	"strconv"
	"unsafe"
)

// Number is a value of fixed width that Native stores as little-endian bytes.
type Number interface {
	~uint8 | ~uint16 | ~uint32 | ~uint64 | ~int8 | ~int16 | ~int32 | ~int64 | ~float32 | ~float64 | ~bool
}

// Fixed is a column of fixed-width values. The zero value of T stands for the
// column's default.
type Fixed[T Number] struct {
	label
	values []T
}

// UInt8 is a UInt8 column.
func UInt8(name string) *Fixed[uint8] { return fixed[uint8](name, "UInt8") }

// UInt16 is a UInt16 column.
func UInt16(name string) *Fixed[uint16] { return fixed[uint16](name, "UInt16") }

// UInt32 is a UInt32 column.
func UInt32(name string) *Fixed[uint32] { return fixed[uint32](name, "UInt32") }

// UInt64 is a UInt64 column.
func UInt64(name string) *Fixed[uint64] { return fixed[uint64](name, "UInt64") }

// Int8 is an Int8 column.
func Int8(name string) *Fixed[int8] { return fixed[int8](name, "Int8") }

// Int32 is an Int32 column.
func Int32(name string) *Fixed[int32] { return fixed[int32](name, "Int32") }

// Int64 is an Int64 column.
func Int64(name string) *Fixed[int64] { return fixed[int64](name, "Int64") }

// Float64 is a Float64 column.
func Float64(name string) *Fixed[float64] { return fixed[float64](name, "Float64") }

// Bool is a Bool column.
func Bool(name string) *Fixed[bool] { return fixed[bool](name, "Bool") }

// DateTime64 is a DateTime64(3, 'UTC') column; values are Unix milliseconds.
func DateTime64(name string) *Fixed[int64] { return fixed[int64](name, "DateTime64(3, 'UTC')") }

// Decimal32 is a Decimal(9, scale) column; values are scaled by 10^scale.
func Decimal32(name string, scale uint8) *Fixed[int32] {
	return fixed[int32](name, decimal32(scale))
}

// Enum8 is an Enum8 column of the given type, as in `Enum8('a' = 0, 'b' = 1)`.
func Enum8(name, typ string) *Fixed[int8] { return fixed[int8](name, typ) }

func decimal32(scale uint8) string { return "Decimal(9, " + strconv.Itoa(int(scale)) + ")" }

func fixed[T Number](name, typ string) *Fixed[T] { return &Fixed[T]{label: newLabel(name, typ)} }

// Append adds one value.
func (c *Fixed[T]) Append(v T) { c.values = append(c.values, v) }

// AppendSlice adds the values of vs.
func (c *Fixed[T]) AppendSlice(vs []T) { c.values = append(c.values, vs...) }

// Fill adds v n times.
func (c *Fixed[T]) Fill(v T, n int) {
	tail := c.Grow(n)
	for i := range tail {
		tail[i] = v
	}
}

// Grow adds n zero values and returns them for writing in place. The slice
// is good until the next call that adds.
func (c *Fixed[T]) Grow(n int) []T {
	at := len(c.values)
	c.values = slices.Grow(c.values, n)[:at+n]
	clear(c.values[at:])
	return c.values[at:]
}

// Values is what the column holds, aliased.
func (c *Fixed[T]) Values() []T { return c.values }

// Rows implements Column.
func (c *Fixed[T]) Rows() int { return len(c.values) }

// PadTo implements Column.
func (c *Fixed[T]) PadTo(rows int) {
	if n := rows - len(c.values); n > 0 {
		c.Grow(n)
	}
}

// Truncate implements Column.
func (c *Fixed[T]) Truncate(rows int) {
	if rows < len(c.values) {
		c.values = c.values[:rows]
	}
}

// Reset implements Column.
func (c *Fixed[T]) Reset() { c.values = c.values[:0] }

func (c *Fixed[T]) segments(dst [][]byte) [][]byte {
	return append(dst, c.head, raw(c.values))
}

// Nullable is a Nullable column of fixed-width values.
type Nullable[T Number] struct {
	label
	nulls  []uint8
	values []T
}

// NullableOf is the Nullable form of the column c, which must be empty and is
// not used afterwards.
func NullableOf[T Number](c *Fixed[T]) *Nullable[T] {
	return &Nullable[T]{label: newLabel(c.name, "Nullable("+c.typ+")")}
}

// Append adds one value.
func (c *Nullable[T]) Append(v T) {
	c.nulls = append(c.nulls, 0)
	c.values = append(c.values, v)
}

// AppendNull adds NULL.
func (c *Nullable[T]) AppendNull() {
	var zero T
	c.nulls = append(c.nulls, 1)
	c.values = append(c.values, zero)
}

// AppendNulls adds NULL n times.
func (c *Nullable[T]) AppendNulls(n int) {
	_, nulls := c.Grow(n)
	for i := range nulls {
		nulls[i] = 1
	}
}

// AppendSlice adds the values of vs, none of them NULL.
func (c *Nullable[T]) AppendSlice(vs []T) {
	at := len(c.nulls)
	c.values = append(c.values, vs...)
	c.nulls = slices.Grow(c.nulls, len(vs))[:at+len(vs)]
	clear(c.nulls[at:])
}

// Fill adds v n times.
func (c *Nullable[T]) Fill(v T, n int) {
	values, _ := c.Grow(n)
	for i := range values {
		values[i] = v
	}
}

// Grow adds n zero values, none of them NULL, and returns values and null
// flags (1 is NULL) for writing in place. A NULL's value must stay zero, so
// that equal rows have equal bytes.
func (c *Nullable[T]) Grow(n int) (values []T, nulls []uint8) {
	at := len(c.values)
	c.values = slices.Grow(c.values, n)[:at+n]
	c.nulls = slices.Grow(c.nulls, n)[:at+n]
	clear(c.values[at:])
	clear(c.nulls[at:])
	return c.values[at:], c.nulls[at:]
}

// Rows implements Column.
func (c *Nullable[T]) Rows() int { return len(c.values) }

// PadTo implements Column: it adds NULL.
func (c *Nullable[T]) PadTo(rows int) {
	if n := rows - len(c.values); n > 0 {
		c.AppendNulls(n)
	}
}

// Truncate implements Column.
func (c *Nullable[T]) Truncate(rows int) {
	if rows < len(c.values) {
		c.values, c.nulls = c.values[:rows], c.nulls[:rows]
	}
}

// Reset implements Column.
func (c *Nullable[T]) Reset() { c.values, c.nulls = c.values[:0], c.nulls[:0] }

func (c *Nullable[T]) segments(dst [][]byte) [][]byte {
	return append(dst, c.head, c.nulls, raw(c.values))
}

// raw is the memory of vs. Native is little-endian, and so is every machine
// that ClickHouse and this package are built for; a test checks it.
func raw[T Number](vs []T) []byte {
	if len(vs) == 0 {
		return nil
	}
	return unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(vs))), len(vs)*int(unsafe.Sizeof(vs[0])))
}
