package body

import (
	"errors"
	"fmt"
	"sync"

	"github.com/klauspost/compress/zstd"
)

// window is the largest zstd window taken. A frame that is one segment has none: its content is its window.
const window = 1 << 20

// decoder is the one zstd decoder of the process: DecodeAll may be called by many at once, and it runs as many as
// there are CPUs.
var decoder = sync.OnceValues(func() (*zstd.Decoder, error) {
	// DecodeAll has no window of its own, it looks back into its output: what bounds memory is the capacity it is given.
	return zstd.NewReader(nil, zstd.WithDecoderMaxWindow(64<<20), zstd.WithDecoderMaxMemory(64<<20), zstd.WithDecoderLowmem(true),
		zstd.WithDecodeAllCapLimit(true), zstd.WithDecoderConcurrency(0))
})

func (r *Reader) unzstd(l Limits) ([]byte, error) {
	limit, over := r.bound(l)
	size, err := frame(r.wire)
	if err != nil {
		return nil, err
	}
	dec, err := decoder()
	if err != nil {
		return nil, fmt.Errorf("zstd decoder: %w", err)
	}
	room := min(size, limit)
	out, err := r.grow(r.plain[:0], room)
	if err != nil {
		return nil, err
	}
	r.plain = out
	// The decoder writes no byte past the capacity: a frame that says less than it holds is stopped there.
	got, err := dec.DecodeAll(r.wire, out[:0:room])
	switch {
	case errors.Is(err, zstd.ErrDecoderSizeExceeded) && size >= limit:
		return nil, over
	case err != nil:
		return nil, fmt.Errorf("%w: zstd: %w", ErrDamaged, err)
	}
	return got, nil
}

// frame checks that p is exactly one zstd frame (RFC 8878, section 3.1.1), and returns how large its content can be at
// most. DecodeAll would take any number of frames.
func frame(p []byte) (int64, error) {
	var h zstd.Header
	if err := h.Decode(p); err != nil {
		return 0, fmt.Errorf("%w: zstd header: %w", ErrDamaged, err)
	}
	if h.Skippable {
		return 0, fmt.Errorf("%w: a skippable zstd frame holds nothing", ErrDamaged)
	}
	if h.DictionaryID != 0 {
		return 0, fmt.Errorf("%w: the zstd frame wants dictionary %d", ErrDamaged, h.DictionaryID)
	}
	if h.WindowSize > window && !h.SingleSegment {
		return 0, fmt.Errorf("%w: the zstd window has %d bytes, at most %d are taken", ErrTooLarge, h.WindowSize, window)
	}
	const block = 128 << 10
	at, content := h.HeaderSize, int64(0)
	for last := false; !last; {
		if at+3 > len(p) {
			return 0, fmt.Errorf("%w: the zstd frame is cut short", ErrDamaged)
		}
		head := uint32(p[at]) | uint32(p[at+1])<<8 | uint32(p[at+2])<<16
		last = head&1 != 0
		kind, size := head>>1&3, int(head>>3)
		at += 3
		switch kind {
		case 0: // raw
			content += int64(size)
		case 1: // one byte, size times
			content += int64(size)
			size = 1
		case 2:
			content += block
		default:
			return 0, fmt.Errorf("%w: a reserved zstd block", ErrDamaged)
		}
		at += size
	}
	if h.HasCheckSum {
		at += 4
	}
	if at != len(p) {
		return 0, fmt.Errorf("%w: the zstd frame has %d bytes and the body %d: one frame and nothing else is taken", ErrDamaged, at, len(p))
	}
	if h.HasFCS {
		return int64(min(h.FrameContentSize, 1<<40)), nil // any bound above every limit will do
	}
	return content, nil
}
