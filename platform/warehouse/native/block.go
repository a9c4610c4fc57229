package native

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// Column is one column of a block. The methods that add values are those of
// the concrete types.
type Column interface {
	Name() string
	Type() string
	Rows() int
	// PadTo adds defaults (NULL where there is one) until there are that
	// many rows; it does nothing if there are.
	PadTo(rows int)
	// Truncate takes rows off the end, to take a message back.
	Truncate(rows int)
	// Reset empties the column and keeps its memory.
	Reset()

	segments(dst [][]byte) [][]byte
}

// label is what every column has: its name, its type and the bytes of both.
type label struct {
	name, typ string
	head      []byte
}

func newLabel(name, typ string) label {
	head := binary.AppendUvarint(nil, uint64(len(name)))
	head = append(head, name...)
	head = binary.AppendUvarint(head, uint64(len(typ)))
	head = append(head, typ...)
	return label{name: name, typ: typ, head: head}
}

// Name implements Column.
func (l *label) Name() string { return l.name }

// Type implements Column.
func (l *label) Type() string { return l.typ }

// ErrEmpty is the refusal to encode a block without rows, which ClickHouse
// would take for the end of the data.
var ErrEmpty = errors.New("native: the block has no rows")

// Block is a set of columns that are sent together. It is not safe for
// concurrent use.
type Block struct {
	columns []Column
	names   []string
	head    []byte
	parts   [][]byte
}

// NewBlock is a block of these columns, in this order.
func NewBlock(columns ...Column) *Block {
	b := &Block{}
	for _, c := range columns {
		b.Add(c)
	}
	return b
}

// Add appends a column; the block must be empty.
func (b *Block) Add(c Column) {
	b.columns = append(b.columns, c)
	b.names = append(b.names, c.Name())
}

// Names are the names of the columns, for the statement's column list.
func (b *Block) Names() []string { return b.names }

// Columns are the columns, aliased.
func (b *Block) Columns() []Column { return b.columns }

// Rows is the number of rows of the first column.
func (b *Block) Rows() int {
	if len(b.columns) == 0 {
		return 0
	}
	return b.columns[0].Rows()
}

// PadTo pads every column, see Column.
func (b *Block) PadTo(rows int) {
	for _, c := range b.columns {
		c.PadTo(rows)
	}
}

// Truncate truncates every column, see Column.
func (b *Block) Truncate(rows int) {
	for _, c := range b.columns {
		c.Truncate(rows)
	}
}

// Reset empties every column.
func (b *Block) Reset() {
	for _, c := range b.columns {
		c.Reset()
	}
}

// Segments are the block's bytes in pieces that alias the columns' memory:
// good until the next call on the block or a column. Columns of unequal
// length are an error, since ClickHouse would read one's bytes as the next's.
func (b *Block) Segments() ([][]byte, error) {
	rows := b.Rows()
	if rows == 0 {
		return nil, ErrEmpty
	}
	for _, c := range b.columns {
		if c.Rows() != rows {
			return nil, fmt.Errorf("native: column %s has %d rows, %s has %d", c.Name(), c.Rows(), b.columns[0].Name(), rows)
		}
	}
	b.head = binary.AppendUvarint(b.head[:0], uint64(len(b.columns)))
	b.head = binary.AppendUvarint(b.head, uint64(rows))
	b.parts = append(b.parts[:0], b.head)
	for _, c := range b.columns {
		b.parts = c.segments(b.parts)
	}
	return b.parts, nil
}

// AppendTo appends the block's bytes to dst.
func (b *Block) AppendTo(dst []byte) ([]byte, error) {
	parts, err := b.Segments()
	for _, p := range parts {
		dst = append(dst, p...)
	}
	return dst, err
}
