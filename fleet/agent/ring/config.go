package ring

import (
	"errors"
	"fmt"
	"time"
)

// Order is which value goes out first.
type Order uint8

const (
	// OldestFirst keeps the order in which values were put.
	OldestFirst Order = iota
	// NewestFirst hands out the newest value, so that what a device says now is heard now; what was left behind comes
	// after it, newest first, marked Backlog.
	NewestFirst
)

// ParseOrder reads oldest-first or newest-first.
func ParseOrder(s string) (Order, error) {
	switch s {
	case "oldest-first":
		return OldestFirst, nil
	case "newest-first":
		return NewestFirst, nil
	}
	return 0, fmt.Errorf("order %q: want oldest-first or newest-first", s)
}

func (o Order) String() string {
	if o == NewestFirst {
		return "newest-first"
	}
	return "oldest-first"
}

// Config is what an operator sets about a ring.
type Config struct {
	// Bytes bounds the ring's files together.
	Bytes int64
	// Segment bounds one file, and so what gives way at once when the ring is full. 0: a sixteenth of Bytes, within
	// 16 KiB and 4 MiB.
	Segment int64
	Order   Order
	// Sync 0: Put returns when its value is on the disk. Above 0: Put returns at once, and an fsync follows within this
	// time. That spares flash, and a power cut takes what was put in that time; the end of the process takes nothing.
	Sync time.Duration
}

// Bounds of a configuration.
const (
	MinSegment = 4 << 10
	MaxSegment = 64 << 20
	MaxSync    = time.Hour
)

// DefaultConfig keeps 64 MiB, the oldest first, on the disk when Put returns.
func DefaultConfig() Config { return Config{Bytes: 64 << 20} }

// Validate names the first key that cannot be used.
func (c Config) Validate() error {
	segment := c.segment()
	switch {
	case c.Bytes <= 0:
		return fmt.Errorf("bytes %d: want more than 0", c.Bytes)
	case c.Segment < 0 || segment < MinSegment || segment > MaxSegment:
		return fmt.Errorf("segment %d: want 0, or from %d to %d", c.Segment, MinSegment, MaxSegment)
	case c.Bytes < 2*segment:
		return fmt.Errorf("bytes %d: want at least two segments of %d", c.Bytes, segment)
	case c.Order > NewestFirst:
		return fmt.Errorf("order %d: want oldest-first or newest-first", c.Order)
	case c.Sync < 0 || c.Sync > MaxSync:
		return fmt.Errorf("sync %v: want from 0s to %v", c.Sync, MaxSync)
	}
	return nil
}

func (c Config) segment() int64 {
	if c.Segment != 0 {
		return c.Segment
	}
	return min(max(c.Bytes/16, 16<<10), 4<<20)
}

// ID names a value in its ring. A later value has a higher one.
type ID uint64

// Entry is a value that was handed out.
type Entry struct {
	ID    ID
	Kind  uint8
	Value []byte // the caller's
	// Backlog: a later value was handed out before, or the value lay there at Open. In NewestFirst only.
	Backlog bool
}

// Counts are totals since Open, but for the first three and InFlight.
type Counts struct {
	Waiting  int   `json:"waiting"`   // values that Next would give
	InFlight int   `json:"in_flight"` // handed out, neither done nor returned
	Bytes    int64 `json:"bytes"`     // of the ring's files

	Found   uint64 `json:"found"` // values that lay there at Open
	Put     uint64 `json:"put"`
	Done    uint64 `json:"done"`
	Dropped Lost   `json:"dropped"` // gave way because the ring was full
	Corrupt Lost   `json:"corrupt"` // not as it was written; Messages are those that are known to be missing
	Torn    int64  `json:"torn"`    // bytes at the end of the last segment that are no record: a write that was cut short
	Failed  uint64 `json:"failed"`  // values that the disk did not take; Put's error said so
	// SyncFailures are fsyncs that failed; with Config.Sync nobody else hears of them.
	SyncFailures uint64 `json:"sync_failures"`
}

// Lost is what was given up.
type Lost struct {
	Messages uint64 `json:"messages"`
	Bytes    uint64 `json:"bytes"`
}

var (
	// ErrTooLarge: no segment can hold the value.
	ErrTooLarge = errors.New("ring: the value is larger than a segment")
	// ErrClosed: the ring was closed.
	ErrClosed = errors.New("ring: closed")
	// ErrInUse: another process has the ring open.
	ErrInUse = errors.New("ring: another process has it open")
)
