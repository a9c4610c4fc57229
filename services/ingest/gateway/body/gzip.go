package body

import (
	"fmt"
	"io"

	"github.com/klauspost/compress/gzip"
)

func (r *Reader) gunzip(l Limits) ([]byte, error) {
	limit, over := r.bound(l)
	// A bytes.Reader is an io.ByteReader, so the decoder takes not one byte more than the member has.
	r.src.Reset(r.wire)
	var err error
	if r.gz == nil {
		r.gz, err = gzip.NewReader(&r.src)
	} else {
		err = r.gz.Reset(&r.src)
	}
	if err != nil {
		return nil, fmt.Errorf("%w: gzip header: %w", ErrDamaged, err)
	}
	r.gz.Multistream(false)
	out := r.plain[:0]
	defer func() { r.plain = out }()
	room := int64(0)
	for {
		if room == 0 {
			if int64(len(out)) >= limit {
				var one [1]byte
				switch n, err := io.ReadFull(r.gz, one[:]); {
				case n > 0:
					return nil, over
				case err != io.EOF:
					return nil, fmt.Errorf("%w: gzip: %w", ErrDamaged, err)
				}
				break
			}
			room = min(max(int64(len(out)), 4*int64(len(r.wire)), firstRead), limit-int64(len(out)))
			if out, err = r.grow(out, room); err != nil {
				return nil, err
			}
		}
		n, err := r.gz.Read(out[len(out) : int64(len(out))+room])
		out, room = out[:len(out)+n], room-int64(n)
		if err == io.EOF {
			break
		}
		if err != nil {
			return nil, fmt.Errorf("%w: gzip: %w", ErrDamaged, err)
		}
	}
	if left := r.src.Len(); left > 0 {
		return nil, fmt.Errorf("%w: %d bytes behind the first gzip member", ErrDamaged, left)
	}
	return out, nil
}
