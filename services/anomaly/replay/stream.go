package replay

import (
	"context"
	"errors"
)

// ErrEnough, returned by the function that Read calls, ends Read without an error.
var ErrEnough = errors.New("enough")

// Log is where a replay reads from.
type Log interface {
	// Read calls each with the committed records of a partition in order, beginning at an offset or after it, and returns nil
	// at what was the end when it began, or after ErrEnough. It may be called for several partitions at once. A record is
	// good for ever. Where the log begins after from, it fails with ErrGone.
	Read(ctx context.Context, topic string, part int32, from int64, each func(*Record) error) error
}

// ErrGone is in the error of a stretch that the log holds no longer.
var ErrGone = errors.New("the log does not hold it any more")

// batchOf is how many records go from one goroutine to another at once, and batchBytes what they have at most, but for one.
const (
	batchOf    = 512
	batchBytes = 256 << 10
)

// stream is a partition that is pulled from: at most two batches are read ahead.
type stream struct {
	batches chan []*Record
	err     error // set before batches is closed
	now     []*Record
}

// pull begins to read; the goroutine ends with the partition's end or ctx, and wait is told.
func pull(ctx context.Context, log Log, topic string, part int32, from int64, run func(func())) *stream {
	s := &stream{batches: make(chan []*Record, 1)}
	run(func() {
		defer close(s.batches)
		var full []*Record
		size := 0
		send := func() error {
			select {
			case s.batches <- full:
				full, size = make([]*Record, 0, batchOf), 0
				return nil
			case <-ctx.Done():
				return context.Cause(ctx)
			}
		}
		s.err = log.Read(ctx, topic, part, from, func(r *Record) error {
			size += r.size()
			if full = append(full, r); len(full) < batchOf && size < batchBytes {
				return nil
			}
			return send()
		})
		if s.err == nil && len(full) > 0 {
			s.err = send()
		}
	})
	return s
}

// head is the next record, or nil at the end.
func (s *stream) head() (*Record, error) {
	for len(s.now) == 0 {
		next, ok := <-s.batches
		if !ok {
			return nil, s.err
		}
		s.now = next
	}
	return s.now[0], nil
}

func (s *stream) pop() { s.now = s.now[1:] }
