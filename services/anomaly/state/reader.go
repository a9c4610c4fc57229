package state

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
)

// ErrDamaged is in every error of bytes that are not what a Writer wrote.
var ErrDamaged = errors.New("the state is damaged")

// MaxText is the longest text that Text reads, in bytes.
const MaxText = 1 << 10

// Reader reads what a Writer wrote. After the first error everything is zero.
type Reader struct {
	r    *bufio.Reader
	err  error
	room [8]byte
}

// NewReader reads from r; if r is a Reader, it is that one.
func NewReader(r io.Reader) *Reader {
	if same, ok := r.(*Reader); ok {
		return same
	}
	return &Reader{r: bufio.NewReaderSize(r, 1<<16)}
}

// Read makes a Reader an io.Reader for the rooms below.
func (r *Reader) Read(p []byte) (int, error) {
	if r.err != nil {
		return 0, r.err
	}
	return r.r.Read(p)
}

// Err is the first error so far.
func (r *Reader) Err() error { return r.err }

// Spoil ends the reading: what was read cannot be.
func (r *Reader) Spoil(format string, args ...any) {
	if r.err == nil {
		r.err = fmt.Errorf("%w: %w", ErrDamaged, fmt.Errorf(format, args...))
	}
}

// End gives the first error, and one if anything is left.
func (r *Reader) End() error {
	if r.err == nil {
		if _, err := r.r.ReadByte(); err == nil {
			r.Spoil("something follows its end")
		} else if !errors.Is(err, io.EOF) {
			r.err = err
		}
	}
	return r.err
}

func (r *Reader) fill(p []byte) bool {
	if r.err != nil {
		return false
	}
	if _, err := io.ReadFull(r.r, p); err != nil {
		r.fail(err)
		return false
	}
	return true
}

func (r *Reader) fail(err error) {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		r.Spoil("it is cut short")
		return
	}
	r.err = fmt.Errorf("read the state: %w", err)
}

// Head reads the begin of a room's part, which must be this one in this form.
func (r *Reader) Head(name string, version uint64) {
	if got := r.Text(); r.err == nil && got != name {
		r.Spoil("%.40q stands where %q should", got, name)
	}
	if got := r.U64(); r.err == nil && got != version {
		r.Spoil("%s is of the form %x, and %x is known here", name, got, version)
	}
}

// U8 reads a byte.
func (r *Reader) U8() uint8 {
	if !r.fill(r.room[:1]) {
		return 0
	}
	return r.room[0]
}

// U16 reads two bytes.
func (r *Reader) U16() uint16 {
	if !r.fill(r.room[:2]) {
		return 0
	}
	return binary.LittleEndian.Uint16(r.room[:])
}

// U32 reads four bytes.
func (r *Reader) U32() uint32 {
	if !r.fill(r.room[:4]) {
		return 0
	}
	return binary.LittleEndian.Uint32(r.room[:])
}

// U64 reads eight bytes.
func (r *Reader) U64() uint64 {
	if !r.fill(r.room[:8]) {
		return 0
	}
	return binary.LittleEndian.Uint64(r.room[:])
}

// I64 reads eight bytes.
func (r *Reader) I64() int64 { return int64(r.U64()) }

// F64 reads the bits of a number.
func (r *Reader) F64() float64 { return math.Float64frombits(r.U64()) }

// Bool reads a byte that must be 0 or 1.
func (r *Reader) Bool() bool {
	v := r.U8()
	if v > 1 {
		r.Spoil("%d is neither false nor true", v)
	}
	return v == 1
}

// Uint reads a number as Writer.Uint wrote it.
func (r *Reader) Uint() uint64 {
	if r.err != nil {
		return 0
	}
	v, err := binary.ReadUvarint(r.r)
	if err != nil {
		r.fail(err)
		return 0
	}
	return v
}

// Int reads a number as Writer.Int wrote it.
func (r *Reader) Int() int64 {
	if r.err != nil {
		return 0
	}
	v, err := binary.ReadVarint(r.r)
	if err != nil {
		r.fail(err)
		return 0
	}
	return v
}

// Len reads how many things follow, most at most. A caller asks for Err in its loop, and lets what it keeps grow with
// what comes.
func (r *Reader) Len(most int) int {
	n := r.Uint()
	if r.err == nil && n > uint64(most) {
		r.Spoil("%d things follow, %d are the limit", n, most)
	}
	if r.err != nil {
		return 0
	}
	return int(n)
}

// Bytes reads a length, most at most, and bytes, which are the caller's; nil if there are none.
func (r *Reader) Bytes(most int) []byte {
	n := r.Len(most)
	var out []byte
	for len(out) < n {
		from := len(out)
		out = append(out, make([]byte, min(n-from, 1<<16))...)
		if !r.fill(out[from:]) {
			return nil
		}
	}
	return out
}

// Text reads a length, MaxText at most, and a text.
func (r *Reader) Text() string { return string(r.Bytes(MaxText)) }
