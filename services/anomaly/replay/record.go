package replay

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"muster.dev/proto/event"
)

// Record is one of the log's.
type Record struct {
	Offset     int64
	Time       int64 // Unix ms, as its writer said
	Key, Value []byte
	Headers    []event.Header
}

func (r *Record) size() int {
	n := len(r.Key) + len(r.Value)
	for _, h := range r.Headers {
		n += len(h.Key) + len(h.Value)
	}
	return n
}

// Bounds of a record in a bundle: what a broker of ours takes, and no more.
const (
	maxKey     = 1 << 10
	maxValue   = 5 << 20
	maxHeaders = 64
	maxHeader  = 64 << 10
)

// errRecord is in the error of bytes that are no record.
var errRecord = errors.New("no record of a bundle")

// appendRecord writes: offset, time as varints; key, value, each header's key and value with their lengths before them.
func appendRecord(dst []byte, r *Record) []byte {
	dst = binary.AppendVarint(dst, r.Offset)
	dst = binary.AppendVarint(dst, r.Time)
	dst = appendBytes(appendBytes(dst, r.Key), r.Value)
	dst = binary.AppendUvarint(dst, uint64(len(r.Headers)))
	for _, h := range r.Headers {
		dst = appendBytes(appendBytes(dst, []byte(h.Key)), h.Value)
	}
	return dst
}

// appendBytes keeps apart what is empty and what is not there: a record without a key is a gateway's.
func appendBytes(dst, p []byte) []byte {
	if p == nil {
		return binary.AppendUvarint(dst, 0)
	}
	return append(binary.AppendUvarint(dst, uint64(len(p))+1), p...)
}

// readRecord reads what appendRecord wrote; io.EOF where nothing is left. What it gives is its own.
func readRecord(r *bufio.Reader) (*Record, error) {
	if _, err := r.Peek(1); errors.Is(err, io.EOF) {
		return nil, io.EOF
	}
	in := reading{r: r}
	out := &Record{Offset: in.int(), Time: in.int(), Key: in.bytes("key", maxKey), Value: in.bytes("value", maxValue)}
	n := in.count("headers", maxHeaders)
	for range n {
		if in.err != nil {
			break
		}
		out.Headers = append(out.Headers, event.Header{Key: string(in.bytes("header", maxHeader)), Value: in.bytes("header", maxHeader)})
	}
	if in.err == nil && out.Offset < 0 {
		in.err = fmt.Errorf("offset %d is below 0", out.Offset)
	}
	if in.err != nil {
		return nil, fmt.Errorf("%w: %w", errRecord, in.err)
	}
	return out, nil
}

// reading stops at the first error.
type reading struct {
	r   *bufio.Reader
	err error
}

func (in *reading) fail(err error) {
	if errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	in.err = err
}

func (in *reading) int() int64 {
	if in.err != nil {
		return 0
	}
	v, err := binary.ReadVarint(in.r)
	if err != nil {
		in.fail(err)
	}
	return v
}

func (in *reading) count(what string, limit uint64) uint64 {
	if in.err != nil {
		return 0
	}
	n, err := binary.ReadUvarint(in.r)
	switch {
	case err != nil:
		in.fail(err)
	case n > limit:
		in.err = fmt.Errorf("%s %d is above the limit of %d", what, n, limit)
	default:
		return n
	}
	return 0
}

func (in *reading) bytes(what string, limit uint64) []byte {
	n := in.count(what+"'s length", limit+1)
	if in.err != nil || n == 0 {
		return nil
	}
	p := make([]byte, n-1)
	if _, err := io.ReadFull(in.r, p); err != nil {
		in.fail(err)
		return nil
	}
	return p
}
