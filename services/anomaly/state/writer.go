package state

import (
	"bufio"
	"encoding/binary"
	"io"
	"math"
)

// Writer writes to a buffer. The first error ends the writing and comes back from Flush and Err.
type Writer struct {
	w    *bufio.Writer
	err  error
	room [binary.MaxVarintLen64]byte
}

// NewWriter writes to w; if w is a Writer, it is that one.
func NewWriter(w io.Writer) *Writer {
	if same, ok := w.(*Writer); ok {
		return same
	}
	return &Writer{w: bufio.NewWriterSize(w, 1<<16)}
}

// Write makes a Writer an io.Writer for the rooms below.
func (w *Writer) Write(p []byte) (int, error) {
	if w.err != nil {
		return 0, w.err
	}
	n, err := w.w.Write(p)
	w.err = err
	return n, err
}

// Flush writes out what is in the buffer, and gives the first error.
func (w *Writer) Flush() error {
	if w.err == nil {
		w.err = w.w.Flush()
	}
	return w.err
}

// Err is the first error so far.
func (w *Writer) Err() error { return w.err }

// Head begins a room's part: what it is, and which form it has.
func (w *Writer) Head(name string, version uint64) {
	w.Text(name)
	w.U64(version)
}

// U8 writes a byte.
func (w *Writer) U8(v uint8) {
	w.room[0] = v
	_, _ = w.Write(w.room[:1])
}

// U16 writes two bytes.
func (w *Writer) U16(v uint16) {
	binary.LittleEndian.PutUint16(w.room[:], v)
	_, _ = w.Write(w.room[:2])
}

// U32 writes four bytes.
func (w *Writer) U32(v uint32) {
	binary.LittleEndian.PutUint32(w.room[:], v)
	_, _ = w.Write(w.room[:4])
}

// U64 writes eight bytes.
func (w *Writer) U64(v uint64) {
	binary.LittleEndian.PutUint64(w.room[:], v)
	_, _ = w.Write(w.room[:8])
}

// I64 writes eight bytes.
func (w *Writer) I64(v int64) { w.U64(uint64(v)) }

// F64 writes the bits of v.
func (w *Writer) F64(v float64) { w.U64(math.Float64bits(v)) }

// Bool writes a byte.
func (w *Writer) Bool(v bool) {
	if v {
		w.U8(1)
	} else {
		w.U8(0)
	}
}

// Uint writes a number in as few bytes as it needs.
func (w *Writer) Uint(v uint64) {
	_, _ = w.Write(w.room[:binary.PutUvarint(w.room[:], v)])
}

// Int writes a number that may be negative in as few bytes as it needs.
func (w *Writer) Int(v int64) {
	_, _ = w.Write(w.room[:binary.PutVarint(w.room[:], v)])
}

// Len writes how many things follow.
func (w *Writer) Len(n int) { w.Uint(uint64(n)) }

// Bytes writes a length and bytes.
func (w *Writer) Bytes(p []byte) {
	w.Len(len(p))
	_, _ = w.Write(p)
}

// Text writes a length and a text.
func (w *Writer) Text(s string) {
	w.Len(len(s))
	if w.err == nil {
		_, w.err = w.w.WriteString(s)
	}
}
