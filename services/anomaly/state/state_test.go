package state

import (
	"bytes"
	"errors"
	"io"
	"math"
	"testing"
	"testing/iotest"
)

func write(w *Writer) {
	w.Head("room", 7)
	w.U8(200)
	w.U16(60_000)
	w.U32(math.MaxUint32)
	w.U64(math.MaxUint64)
	w.I64(math.MinInt64)
	w.F64(-0.1)
	w.Bool(true)
	w.Bool(false)
	w.Uint(300)
	w.Int(-300)
	w.Len(3)
	w.Bytes([]byte{1, 2})
	w.Text("pump-1")
}

func read(t *testing.T, r *Reader) {
	t.Helper()
	r.Head("room", 7)
	if r.U8() != 200 || r.U16() != 60_000 || r.U32() != math.MaxUint32 || r.U64() != math.MaxUint64 || r.I64() != math.MinInt64 ||
		r.F64() != -0.1 || !r.Bool() || r.Bool() || r.Uint() != 300 || r.Int() != -300 || r.Len(3) != 3 ||
		!bytes.Equal(r.Bytes(2), []byte{1, 2}) || r.Text() != "pump-1" {
		t.Errorf("something came back as something else: %v", r.Err())
	}
}

func TestWhatIsWrittenComesBackWhoeverNests(t *testing.T) {
	var buf bytes.Buffer
	w := NewWriter(&buf)
	write(w)
	write(NewWriter(w)) // a room below, with its parent's writer
	w.U8(1)
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
	r := NewReader(iotest.OneByteReader(&buf))
	read(t, r)
	read(t, NewReader(r))
	if r.U8() != 1 || r.End() != nil {
		t.Errorf("the end: %v", r.Err())
	}
}

func TestAnythingCutShortOrTooLongIsDamage(t *testing.T) {
	var buf bytes.Buffer
	w := NewWriter(&buf)
	write(w)
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
	whole := buf.Bytes()
	for n := range len(whole) {
		r := NewReader(bytes.NewReader(whole[:n]))
		r.Head("room", 7)
		for r.Err() == nil && n > 0 {
			_ = r.U8()
		}
		if !errors.Is(r.Err(), ErrDamaged) && n > 0 {
			t.Fatalf("%d bytes: %v", n, r.Err())
		}
	}
	long := func(f func(r *Reader)) {
		t.Helper()
		var buf bytes.Buffer
		w := NewWriter(&buf)
		w.Uint(math.MaxUint64 >> 1)
		_ = w.Flush()
		r := NewReader(&buf)
		f(r)
		if !errors.Is(r.Err(), ErrDamaged) {
			t.Errorf("a length that is a lie: %v", r.Err())
		}
	}
	long(func(r *Reader) { _ = r.Len(10) })
	long(func(r *Reader) { _ = r.Text() })
	long(func(r *Reader) { _ = r.Bytes(math.MaxInt) })
	other := NewReader(bytes.NewReader(whole))
	other.Head("room", 8)
	if !errors.Is(other.Err(), ErrDamaged) || other.U8() != 0 {
		t.Errorf("another form: %v", other.Err())
	}
	rest := NewReader(bytes.NewReader(whole))
	rest.Head("room", 7)
	if !errors.Is(rest.End(), ErrDamaged) {
		t.Errorf("bytes after the end: %v", rest.Err())
	}
	two := NewReader(bytes.NewReader([]byte{2}))
	if two.Bool() || !errors.Is(two.Err(), ErrDamaged) {
		t.Errorf("a bool of 2: %v", two.Err())
	}
}

func TestTheFirstErrorStays(t *testing.T) {
	broken := errors.New("broken")
	r := NewReader(iotest.ErrReader(broken))
	if r.U64() != 0 || r.Text() != "" || r.Int() != 0 || !errors.Is(r.Err(), broken) || !errors.Is(r.End(), broken) {
		t.Errorf("%v", r.Err())
	}
	if _, err := r.Read(make([]byte, 1)); !errors.Is(err, broken) {
		t.Errorf("%v", err)
	}
	pr, pw := io.Pipe()
	_ = pr.CloseWithError(broken)
	w := NewWriter(pw)
	for range 1 << 17 {
		w.U8(1)
	}
	if err := w.Flush(); !errors.Is(err, broken) || !errors.Is(w.Err(), broken) {
		t.Errorf("%v", err)
	}
}
