package native

import (
	"encoding/binary"
	"slices"
)

// Text is a String column.
type Text struct {
	label
	data []byte
	ends []int // of each row in data, for Truncate
}

// String is a String column.
func String(name string) *Text { return &Text{label: newLabel(name, "String")} }

// Append adds the string v, which may hold any bytes.
func (c *Text) Append(v []byte) {
	c.data = binary.AppendUvarint(c.data, uint64(len(v)))
	c.data = append(c.data, v...)
	c.ends = append(c.ends, len(c.data))
}

// AppendString adds the string v.
func (c *Text) AppendString(v string) {
	c.data = binary.AppendUvarint(c.data, uint64(len(v)))
	c.data = append(c.data, v...)
	c.ends = append(c.ends, len(c.data))
}

// Fill adds v n times.
func (c *Text) Fill(v []byte, n int) {
	for range n {
		c.Append(v)
	}
}

// Rows implements Column.
func (c *Text) Rows() int { return len(c.ends) }

// PadTo implements Column: it adds empty strings.
func (c *Text) PadTo(rows int) {
	for len(c.ends) < rows {
		c.Append(nil)
	}
}

// Truncate implements Column.
func (c *Text) Truncate(rows int) {
	if rows < len(c.ends) {
		c.ends = c.ends[:rows]
		c.data = c.data[:0]
		if rows > 0 {
			c.data = c.data[:c.ends[rows-1]]
		}
	}
}

// Reset implements Column.
func (c *Text) Reset() { c.data, c.ends = c.data[:0], c.ends[:0] }

func (c *Text) segments(dst [][]byte) [][]byte { return append(dst, c.head, c.data) }

// NullableText is a Nullable(String) column.
type NullableText struct {
	text  Text
	nulls []uint8
}

// NullableString is a Nullable(String) column.
func NullableString(name string) *NullableText {
	return &NullableText{text: Text{label: newLabel(name, "Nullable(String)")}}
}

// Append adds the string v.
func (c *NullableText) Append(v []byte) {
	c.nulls = append(c.nulls, 0)
	c.text.Append(v)
}

// AppendNull adds NULL.
func (c *NullableText) AppendNull() {
	c.nulls = append(c.nulls, 1)
	c.text.Append(nil)
}

// Name implements Column.
func (c *NullableText) Name() string { return c.text.name }

// Type implements Column.
func (c *NullableText) Type() string { return c.text.typ }

// Rows implements Column.
func (c *NullableText) Rows() int { return len(c.nulls) }

// PadTo implements Column: it adds NULL.
func (c *NullableText) PadTo(rows int) {
	for len(c.nulls) < rows {
		c.AppendNull()
	}
}

// Truncate implements Column.
func (c *NullableText) Truncate(rows int) {
	if rows < len(c.nulls) {
		c.nulls = c.nulls[:rows]
		c.text.Truncate(rows)
	}
}

// Reset implements Column.
func (c *NullableText) Reset() {
	c.nulls = c.nulls[:0]
	c.text.Reset()
}

func (c *NullableText) segments(dst [][]byte) [][]byte {
	return append(dst, c.text.head, c.nulls, c.text.data)
}

// Dictionary is a LowCardinality(String) or LowCardinality(Nullable(String))
// column. Its dictionary lasts for one block: ids are good until Reset.
type Dictionary struct {
	label
	nullable bool
	ids      map[string]uint32
	keys     []byte
	rows     []uint32

	prefix  []byte
	indexes []byte
	count   []byte
}

// Id 0 of every dictionary is the empty string, and NULL where the column is
// nullable: ClickHouse reads it so.
const emptyID = 0

// LowCardinality is a LowCardinality(String) column.
func LowCardinality(name string) *Dictionary {
	return dictionary(name, "LowCardinality(String)", false)
}

// LowCardinalityNullable is a LowCardinality(Nullable(String)) column.
func LowCardinalityNullable(name string) *Dictionary {
	return dictionary(name, "LowCardinality(Nullable(String))", true)
}

func dictionary(name, typ string, nullable bool) *Dictionary {
	c := &Dictionary{label: newLabel(name, typ), nullable: nullable, ids: make(map[string]uint32)}
	c.Reset()
	return c
}

// ID is the id of v in this block's dictionary. Look it up once a message and
// fill with it.
func (c *Dictionary) ID(v []byte) uint32 {
	if id, ok := c.ids[string(v)]; ok {
		return id
	}
	return c.add(string(v))
}

// IDString is ID for a string.
func (c *Dictionary) IDString(v string) uint32 {
	if id, ok := c.ids[v]; ok {
		return id
	}
	return c.add(v)
}

func (c *Dictionary) add(v string) uint32 {
	id := uint32(len(c.ids))
	if c.nullable {
		id++ // 0 is NULL, which the map does not hold
	}
	c.ids[v] = id
	c.keys = binary.AppendUvarint(c.keys, uint64(len(v)))
	c.keys = append(c.keys, v...)
	return id
}

// FillID adds it n times.
func (c *Dictionary) FillID(id uint32, n int) {
	at := len(c.rows)
	c.rows = slices.Grow(c.rows, n)[:at+n]
	tail := c.rows[at:]
	for i := range tail {
		tail[i] = id
	}
}

// Append adds the string v, with a look-up.
func (c *Dictionary) Append(v []byte) { c.rows = append(c.rows, c.ID(v)) }

// AppendString adds the string v, with a look-up.
func (c *Dictionary) AppendString(v string) { c.rows = append(c.rows, c.IDString(v)) }

// AppendNull adds NULL, or an empty string where the column has no NULL.
func (c *Dictionary) AppendNull() { c.rows = append(c.rows, emptyID) }

// Rows implements Column.
func (c *Dictionary) Rows() int { return len(c.rows) }

// PadTo implements Column: it adds NULL or empty strings.
func (c *Dictionary) PadTo(rows int) {
	if n := rows - len(c.rows); n > 0 {
		c.FillID(emptyID, n)
	}
}

// Truncate implements Column. Keys that no row uses any more stay.
func (c *Dictionary) Truncate(rows int) {
	if rows < len(c.rows) {
		c.rows = c.rows[:rows]
	}
}

// Reset implements Column: it forgets the dictionary too, so that a block's
// bytes depend on its rows alone.
func (c *Dictionary) Reset() {
	clear(c.ids)
	c.rows = c.rows[:0]
	c.keys = append(c.keys[:0], 0) // id 0: the empty string
	if !c.nullable {
		c.ids[""] = emptyID
	}
}

// Serialization constants of LowCardinality in Native.
const (
	sharedDictionaries = 1      // the version of the state that precedes the data
	additionalKeys     = 1 << 9 // this block brings its own keys
	updateDictionary   = 1 << 10
)

func (c *Dictionary) segments(dst [][]byte) [][]byte {
	size := uint64(len(c.ids))
	if c.nullable {
		size++
	}
	var width uint64
	switch {
	case size <= 1<<8:
		width = 0
	case size <= 1<<16:
		width = 1
	default:
		width = 2
	}
	c.prefix = binary.LittleEndian.AppendUint64(c.prefix[:0], sharedDictionaries)
	c.prefix = binary.LittleEndian.AppendUint64(c.prefix, additionalKeys|updateDictionary|width)
	c.prefix = binary.LittleEndian.AppendUint64(c.prefix, size)
	c.count = binary.LittleEndian.AppendUint64(c.count[:0], uint64(len(c.rows)))

	indexes := raw(c.rows)
	switch width {
	case 0:
		c.indexes = slices.Grow(c.indexes[:0], len(c.rows))[:len(c.rows)]
		for i, id := range c.rows {
			c.indexes[i] = uint8(id)
		}
		indexes = c.indexes
	case 1:
		c.indexes = slices.Grow(c.indexes[:0], 2*len(c.rows))[:2*len(c.rows)]
		for i, id := range c.rows {
			binary.LittleEndian.PutUint16(c.indexes[2*i:], uint16(id))
		}
		indexes = c.indexes
	}
	return append(dst, c.head, c.prefix, c.keys, c.count, indexes)
}
