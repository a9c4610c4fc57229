package page

import (
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/vmihailenco/msgpack/v5"

	"muster.dev/proto/batch"
	"muster.dev/proto/event"
	"muster.dev/proto/record"
)

const (
	// Type is the ce_type of a page.
	Type = "muster.cohorts.page.v1"
	// MaxValue is the number of bytes that a page's record may have.
	MaxValue = 1 << 20

	formVersion = 1

	// leastThing is less than any slot, device or the like has in bytes: a page of empty ones would be two hundred times as
	// large in memory as it is on the log. A page of few things may have less.
	leastThing, fewThings = 8, 64
)

// ErrRefused is in every error of a record that is no page.
var ErrRefused = errors.New("it is no page")

// form is a page on the log: a MsgPack map by the names of the fields, without those that are zero. A page of very many
// cohorts is written as arrays instead, in the order of the fields; a reader tells the two apart by their first byte.
type form struct {
	V    uint64
	Page Page
}

// Encode gives the record's value and headers. Equal pages give equal bytes. What does not fit is left out as Fit says.
func (p *Page) Encode() (value []byte, headers []event.Header, err error) {
	if err := p.validate(); err != nil {
		return nil, nil, fmt.Errorf("write page %d of part %d: %w", p.N, p.Part, err)
	}
	value = p.Fit().bytes()
	if len(value) > MaxValue {
		return nil, nil, fmt.Errorf("write page %d of part %d: it has %d bytes, the limit is %d", p.N, p.Part, len(value), MaxValue)
	}
	part, n := strconv.FormatInt(int64(p.Part), 10), strconv.FormatUint(p.N, 10)
	return value, []event.Header{
		{Key: record.HeaderType, Value: []byte(Type)},
		{Key: "ce_specversion", Value: []byte("1.0")},
		{Key: "ce_id", Value: []byte(part + "/" + n)},
		{Key: "ce_source", Value: []byte("/muster/anomaly/shard/" + part)},
		{Key: "ce_time", Value: []byte(time.UnixMilli(p.Until).UTC().Format(time.RFC3339Nano))},
		{Key: "content-type", Value: []byte("application/msgpack")},
	}, nil
}

// bytes writes the page as it is: as maps, and if that is too long as arrays.
func (p *Page) bytes() []byte {
	value := p.write(false)
	if len(value) > MaxValue {
		value = p.write(true)
	}
	return value
}

func (p *Page) write(arrays bool) []byte {
	w := writer{out: make([]byte, 0, min(p.size()/2, 2*MaxValue)), arrays: arrays}
	w.page(p)
	return w.out
}

// Decode reads a record. What it does not know it passes over. An error has ErrRefused.
func Decode(headers []event.Header, value []byte) (*Page, error) {
	for _, h := range headers {
		if h.Key == record.HeaderType && string(h.Value) != Type {
			return nil, fmt.Errorf("%w: its ce_type is %.80q", ErrRefused, h.Value)
		}
	}
	limits := batch.DefaultLimits()
	limits.Body, limits.Elements = MaxValue, MaxValue
	if err := batch.Scan(value, limits); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrRefused, err)
	}
	if n := containers(value); n > len(value)/leastThing+fewThings {
		return nil, fmt.Errorf("%w: it has %d bytes, and %d maps and arrays in them", ErrRefused, len(value), n)
	}
	var in form
	if err := msgpack.Unmarshal(value, &in); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrRefused, err)
	}
	if in.V != formVersion {
		return nil, fmt.Errorf("%w: its version %d is not known here", ErrRefused, in.V)
	}
	if err := errors.Join(in.Page.validate(), in.Page.counts()); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrRefused, err)
	}
	return &in.Page, nil
}

func (p *Page) validate() error {
	switch {
	case p.Part < 0:
		return fmt.Errorf("part is %d: it must be 0 or more", p.Part)
	case p.N == 0:
		return errors.New("n is 0: pages count from 1")
	case p.Until <= p.From:
		return fmt.Errorf("until is %d: it must be after from, %d", p.Until, p.From)
	case p.From < -batch.MaxTime || p.Until > batch.MaxTime:
		return fmt.Errorf("it goes from %d until %d: these are no Unix milliseconds", p.From, p.Until)
	case p.Telemetry < 0 || p.Events < 0 || p.Registry < 0:
		return errors.New("an offset is negative")
	case len(p.Snapshot.SHA256) != 0 && len(p.Snapshot.SHA256) != 32:
		return fmt.Errorf("the snapshot's sum has %d bytes, not 32", len(p.Snapshot.SHA256))
	}
	return nil
}
