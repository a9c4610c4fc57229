package batch

import (
	"encoding/binary"
	"sync"

	"muster.dev/proto/internal/wire"
)

// The readers below give what stands at p[i:], where the next element begins, and whether it is there whole and of
// the type asked for. If it is not, the position is i. They never look past p.

var readers = sync.Pool{New: func() any { return new(wire.MsgPack) }}

// arrayHead reads an array's head. The number of elements is at most that of the bytes that follow.
func arrayHead(p []byte, i int) (n, next int, ok bool) {
	if i >= len(p) {
		return 0, i, false
	}
	var claim uint32 // not int, which has 32 bits on small machines
	switch h := p[i]; {
	case h&0xf0 == 0x90:
		claim, next = uint32(h&0x0f), i+1
	case h == 0xdc && len(p)-i >= 3:
		claim, next = uint32(binary.BigEndian.Uint16(p[i+1:])), i+3
	case h == 0xdd && len(p)-i >= 5:
		claim, next = binary.BigEndian.Uint32(p[i+1:]), i+5
	default:
		return 0, i, false
	}
	if uint64(claim) > uint64(len(p)-next) {
		return 0, i, false
	}
	return int(claim), next, true
}

// intAt reads an integer of any width that int64 holds.
func intAt(p []byte, i int) (v int64, next int, ok bool) {
	if i >= len(p) {
		return 0, i, false
	}
	h := p[i]
	if h < 0x80 || h >= 0xe0 {
		return int64(int8(h)), i + 1, true
	}
	rest := p[i+1:]
	switch h {
	case 0xcc:
		if len(rest) >= 1 {
			return int64(rest[0]), i + 2, true
		}
	case 0xcd:
		if len(rest) >= 2 {
			return int64(binary.BigEndian.Uint16(rest)), i + 3, true
		}
	case 0xce:
		if len(rest) >= 4 {
			return int64(binary.BigEndian.Uint32(rest)), i + 5, true
		}
	case 0xcf:
		if len(rest) >= 8 && rest[0] < 0x80 {
			return int64(binary.BigEndian.Uint64(rest)), i + 9, true
		}
	case 0xd0:
		if len(rest) >= 1 {
			return int64(int8(rest[0])), i + 2, true
		}
	case 0xd1:
		if len(rest) >= 2 {
			return int64(int16(binary.BigEndian.Uint16(rest))), i + 3, true
		}
	case 0xd2:
		if len(rest) >= 4 {
			return int64(int32(binary.BigEndian.Uint32(rest))), i + 5, true
		}
	case 0xd3:
		if len(rest) >= 8 {
			return int64(binary.BigEndian.Uint64(rest)), i + 9, true
		}
	}
	return 0, i, false
}

// optionalInt reads nil, or an integer of 0 to limit.
func optionalInt(p []byte, i int, field string, limit int64) (v int64, next int, has bool, err *Error) {
	if i < len(p) && p[i] == 0xc0 {
		return 0, i + 1, false, nil
	}
	v, next, ok := intAt(p, i)
	if ok && v >= 0 && v <= limit {
		return v, next, true, nil
	}
	if ok || len(p)-i >= 9 && p[i] == 0xcf {
		return 0, i, false, refuse(Unprocessable, field, limit, i, "is out of range: send 0 to %d, or nil", limit)
	}
	return 0, i, false, refuse(Malformed, field, 0, i, "must be an integer or nil, and whole")
}

// textAt reads a text. It does not look whether it is UTF-8.
func textAt(p []byte, i int) (text []byte, next int, ok bool) {
	if i >= len(p) {
		return nil, i, false
	}
	claim, head := uint32(0), 1
	switch h := p[i]; {
	case h&0xe0 == 0xa0:
		claim = uint32(h & 0x1f)
	case h == 0xd9 && len(p)-i >= 2:
		claim, head = uint32(p[i+1]), 2
	case h == 0xda && len(p)-i >= 3:
		claim, head = uint32(binary.BigEndian.Uint16(p[i+1:])), 3
	case h == 0xdb && len(p)-i >= 5:
		claim, head = binary.BigEndian.Uint32(p[i+1:]), 5
	default:
		return nil, i, false
	}
	if uint64(claim) > uint64(len(p)-i-head) {
		return nil, i, false
	}
	next = i + head + int(claim)
	return p[i+head : next : next], next, true
}
