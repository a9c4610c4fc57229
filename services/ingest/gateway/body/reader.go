package body

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/klauspost/compress/gzip"
)

// Budget is what buffered bytes are taken from; admit.Budget is one.
type Budget interface {
	Take(n int64) bool
	Give(n int64)
}

// Limits bound one body.
type Limits struct {
	Compressed int64 // wire bytes of a compressed body
	Output     int64 // bytes of the body itself
	Ratio      int64 // Output may be this many times the wire bytes
	// MinRate is in bytes a second; it counts after Grace.
	MinRate int64
	Grace   time.Duration
}

// ratioFloor is how large any compressed body may grow, however small it is: 50 times nothing would refuse the
// smallest honest bodies.
const ratioFloor = 64 << 10

// Encoding is a Content-Encoding.
type Encoding uint8

// The encodings that are taken.
const (
	Identity Encoding = iota
	Gzip
	Zstd
)

// The ways a body can be refused. Each comes wrapped with what was seen.
var (
	ErrTooLarge = errors.New("the body is too large")
	ErrRatio    = errors.New("the body grows too much")
	ErrDamaged  = errors.New("the compressed body is damaged")
	ErrCut      = errors.New("the body is cut short or framed wrongly")
	ErrSlow     = errors.New("the body comes too slowly")
	ErrBudget   = errors.New("no room for the body now")
)

// Reader holds the buffers of one request.
type Reader struct {
	wire  []byte // as it came
	plain []byte // decompressed
	taken int64
	from  Budget
	gz    *gzip.Reader
	src   bytes.Reader
}

// firstRead is what a body of unknown length begins with.
const firstRead = 4 << 10

// keep is the largest buffer that is kept for the next request: a rare large body must not pin memory for ever.
const keep = 64 << 10

// Read reads and decompresses a body. declared is its Content-Length, negative when there is none; the caller has
// refused a declared length above the limit already. The bytes stay valid until Release. wire is how many bytes came.
func (r *Reader) Read(src io.Reader, declared int64, enc Encoding, l Limits, from Budget) (p []byte, wire int64, err error) {
	r.from = from
	limit := l.Output
	if enc != Identity {
		limit = min(limit, l.Compressed)
	}
	if err := r.readWire(src, declared, limit, l); err != nil {
		return nil, int64(len(r.wire)), err
	}
	wire = int64(len(r.wire))
	switch enc {
	case Gzip:
		p, err = r.gunzip(l)
	case Zstd:
		p, err = r.unzstd(l)
	default:
		p = r.wire
	}
	return p, wire, err
}

// Release gives the budget back and forgets the body. The bytes that Read returned must not be used any more.
func (r *Reader) Release() {
	if r.taken > 0 {
		r.from.Give(r.taken)
		r.taken = 0
	}
	r.from = nil
	r.wire, r.plain = shrink(r.wire), shrink(r.plain)
	r.src.Reset(nil)
}

func shrink(b []byte) []byte {
	if cap(b) > keep {
		return nil
	}
	return b[:0]
}

// grow makes room for n bytes in all, taking what is new from the budget.
func (r *Reader) grow(b []byte, n int64) ([]byte, error) {
	// What is reserved is what the request asks for, not what an old buffer happens to have.
	if !r.from.Take(n) {
		return b, fmt.Errorf("%w: %d bytes", ErrBudget, n)
	}
	r.taken += n
	if int64(cap(b)) >= int64(len(b))+n {
		return b, nil
	}
	bigger := make([]byte, len(b), int64(len(b))+n)
	copy(bigger, b)
	return bigger, nil
}

func (r *Reader) readWire(src io.Reader, declared, limit int64, l Limits) error {
	b := r.wire[:0]
	defer func() { r.wire = b }()
	if declared >= 0 {
		limit = declared
	}
	// What is declared is not there yet: one who sends nothing of it holds no room that others could use.
	chunk := min(int64(firstRead), limit)
	b, err := r.grow(b, chunk)
	if err != nil {
		return err
	}
	room := chunk // bytes that are reserved and not yet filled
	var began time.Time
	for {
		if room == 0 {
			if int64(len(b)) == declared {
				return nil // net/http gives no byte past Content-Length
			}
			if int64(len(b)) >= limit {
				// One byte more decides whether it ends here.
				var one [1]byte
				n, err := io.ReadFull(src, one[:])
				if n > 0 {
					return fmt.Errorf("%w: more than %d bytes", ErrTooLarge, limit)
				}
				if err != io.EOF {
					return classify(err)
				}
				return nil
			}
			room = min(max(int64(len(b)), firstRead), limit-int64(len(b)))
			if b, err = r.grow(b, room); err != nil {
				return err
			}
		}
		n, err := src.Read(b[len(b) : int64(len(b))+room])
		b, room = b[:len(b)+n], room-int64(n)
		if err == io.EOF {
			if int64(len(b)) < declared {
				return fmt.Errorf("%w: %d of %d bytes came", ErrCut, len(b), declared)
			}
			return nil
		}
		if err != nil {
			return classify(err)
		}
		if int64(len(b)) == declared {
			continue
		}
		// Only a body that takes several reads is slow enough to be timed.
		if began.IsZero() {
			began = time.Now()
		} else if d := time.Since(began); d > l.Grace && int64(len(b)) < int64(d.Seconds()*float64(l.MinRate)) {
			return fmt.Errorf("%w: %d bytes in %v, at least %d a second are asked for", ErrSlow, len(b), d.Round(time.Millisecond), l.MinRate)
		}
	}
}

// classify tells a body that was too slow from one that broke.
func classify(err error) error {
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return fmt.Errorf("%w: it was not complete in time", ErrSlow)
	}
	return fmt.Errorf("%w: %w", ErrCut, err)
}

// bound is how large the body on the wire may become.
func (r *Reader) bound(l Limits) (limit int64, why error) {
	if byRatio := max(int64(len(r.wire))*l.Ratio, ratioFloor); byRatio < l.Output {
		return byRatio, fmt.Errorf("%w: more than %d times its %d bytes", ErrRatio, l.Ratio, len(r.wire))
	}
	return l.Output, fmt.Errorf("%w: more than %d bytes when decompressed", ErrTooLarge, l.Output)
}
