package snapshot

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// ErrDamaged is in every error of bytes that are no snapshot, or are not what its writer wrote.
var ErrDamaged = errors.New("the snapshot is damaged")

// maxSection bounds what a reader holds at once; a section is a few thousand devices.
const maxSection = 16 << 20

// Writer writes sections: a tag, the length as four bytes, the payload.
type Writer struct {
	w   io.Writer
	err error
	buf Buffer
}

// NewWriter writes to w. The first error ends the writing and comes back from Err.
func NewWriter(w io.Writer) *Writer { return &Writer{w: w} }

// Section writes what fill puts into the buffer, which is good for that time only.
func (w *Writer) Section(tag byte, fill func(*Buffer)) {
	if w.err != nil {
		return
	}
	w.buf.p = append(w.buf.p[:0], tag, 0, 0, 0, 0)
	fill(&w.buf)
	if len(w.buf.p) > maxSection {
		w.err = fmt.Errorf("write a snapshot: section %q has %d bytes, the limit is %d", tag, len(w.buf.p), maxSection)
		return
	}
	binary.BigEndian.PutUint32(w.buf.p[1:], uint32(len(w.buf.p)-5))
	if _, err := w.w.Write(w.buf.p); err != nil {
		w.err = fmt.Errorf("write a snapshot: %w", err)
	}
}

// Err is the first error.
func (w *Writer) Err() error { return w.err }

// Buffer is the payload of a section while it is written.
type Buffer struct{ p []byte }

// Uint writes a number in as few bytes as it needs.
func (b *Buffer) Uint(v uint64) { b.p = binary.AppendUvarint(b.p, v) }

// Int writes a number that may be negative.
func (b *Buffer) Int(v int64) { b.p = binary.AppendVarint(b.p, v) }

// Bool writes a byte.
func (b *Buffer) Bool(v bool) {
	if v {
		b.p = append(b.p, 1)
	} else {
		b.p = append(b.p, 0)
	}
}

// Raw writes bytes of a length that the reader knows.
func (b *Buffer) Raw(p []byte) { b.p = append(b.p, p...) }

// Bytes writes a length and bytes.
func (b *Buffer) Bytes(p []byte) {
	b.Uint(uint64(len(p)))
	b.p = append(b.p, p...)
}

// Text writes a length and a text.
func (b *Buffer) Text(s string) {
	b.Uint(uint64(len(s)))
	b.p = append(b.p, s...)
}

// Len is the number of bytes that are written.
func (b *Buffer) Len() int { return len(b.p) - 5 }

// Reader reads sections. Its memory is bounded by the largest one.
type Reader struct {
	r   *bufio.Reader
	buf []byte
}

// NewReader reads from r.
func NewReader(r io.Reader) *Reader { return &Reader{r: bufio.NewReaderSize(r, 1<<16)} }

// Next gives the next section, good until the one after. io.EOF is the end between two sections.
func (r *Reader) Next() (tag byte, payload *Cursor, err error) {
	var head [5]byte
	if _, err := io.ReadFull(r.r, head[:]); err != nil {
		if errors.Is(err, io.ErrUnexpectedEOF) {
			err = fmt.Errorf("%w: it is cut short", ErrDamaged)
		}
		return 0, nil, err
	}
	size := int(binary.BigEndian.Uint32(head[1:]))
	if size > maxSection {
		return 0, nil, fmt.Errorf("%w: a section of %d bytes", ErrDamaged, size)
	}
	// Read in steps: a length that is a lie costs what is there, not what it says.
	r.buf = r.buf[:0]
	for len(r.buf) < size {
		step := min(size-len(r.buf), 1<<20)
		had := len(r.buf)
		if cap(r.buf) < had+step {
			r.buf = append(make([]byte, 0, min(size, 2*(had+step))), r.buf...)
		}
		r.buf = r.buf[:had+step]
		if _, err := io.ReadFull(r.r, r.buf[had:]); err != nil {
			if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
				err = fmt.Errorf("%w: it is cut short", ErrDamaged)
			}
			return 0, nil, err
		}
	}
	return head[0], &Cursor{p: r.buf}, nil
}

// Cursor reads a section's payload. After the first thing that is not there all others are zero, and Err says so.
type Cursor struct {
	p   []byte
	bad bool
}

func (c *Cursor) spoil() {
	c.bad = true
	c.p = nil
}

// Err is nil as long as everything that was asked for was there.
func (c *Cursor) Err() error {
	if c.bad {
		return fmt.Errorf("%w: a section ends in the middle of a value", ErrDamaged)
	}
	return nil
}

// Done is Err, or an error if something is left.
func (c *Cursor) Done() error {
	if !c.bad && len(c.p) > 0 {
		return fmt.Errorf("%w: a section has %d bytes too many", ErrDamaged, len(c.p))
	}
	return c.Err()
}

// Uint reads a number.
func (c *Cursor) Uint() uint64 {
	v, n := binary.Uvarint(c.p)
	if n <= 0 {
		c.spoil()
		return 0
	}
	c.p = c.p[n:]
	return v
}

// Int reads a number that may be negative.
func (c *Cursor) Int() int64 {
	v, n := binary.Varint(c.p)
	if n <= 0 {
		c.spoil()
		return 0
	}
	c.p = c.p[n:]
	return v
}

// Bool reads a byte.
func (c *Cursor) Bool() bool {
	p := c.Raw(1)
	return len(p) == 1 && p[0] == 1
}

// Raw reads n bytes, good as long as the section.
func (c *Cursor) Raw(n int) []byte {
	if n < 0 || n > len(c.p) {
		c.spoil()
		return nil
	}
	p := c.p[:n]
	c.p = c.p[n:]
	return p
}

// Hash reads 32 bytes.
func (c *Cursor) Hash() (h [32]byte) {
	copy(h[:], c.Raw(32))
	return h
}

// Bytes reads a length and bytes, which are the caller's.
func (c *Cursor) Bytes() []byte {
	p := c.raw()
	if len(p) == 0 {
		return nil
	}
	return append([]byte(nil), p...)
}

func (c *Cursor) raw() []byte {
	n := c.Uint()
	if n > uint64(len(c.p)) {
		c.spoil()
		return nil
	}
	return c.Raw(int(n))
}

// Text reads a length and a text.
func (c *Cursor) Text() string { return string(c.raw()) }

// Count reads the number of things that follow, each of which has least bytes at least: a lie is found before memory is
// given to it.
func (c *Cursor) Count(least int) int {
	n := c.Uint()
	if n > uint64(len(c.p)/max(least, 1)) {
		c.spoil()
		return 0
	}
	return int(n)
}
