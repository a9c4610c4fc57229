package wire

import (
	"encoding/binary"
	"fmt"
	"math"
	"sync"
	"unicode/utf8"
)

// MsgPack reads one MsgPack document.
type MsgPack struct {
	p        []byte
	pos      int
	limits   Limits
	elements int
	depth    int
	stack    [maxDepth]frame
	keys     keys
}

type frame struct {
	left  int // elements still to come, keys and values apart
	isMap bool
	base  int // of the keys
}

// NewMsgPack gives a reader of p.
func NewMsgPack(p []byte, l Limits) *MsgPack {
	r := &MsgPack{}
	r.Reset(p, l)
	return r
}

// Reset makes r read p.
func (r *MsgPack) Reset(p []byte, l Limits) {
	l.Depth = min(l.Depth, maxDepth)
	l.Keys = min(l.Keys, 1024)
	r.p, r.pos, r.limits, r.elements, r.depth = p, 0, l, 0, 0
	r.keys.spans = r.keys.spans[:0]
}

var readers = sync.Pool{New: func() any { return new(MsgPack) }}

// ScanMsgPack reads the whole document and keeps nothing.
func ScanMsgPack(p []byte, l Limits) *Error {
	r := readers.Get().(*MsgPack)
	r.Reset(p, l)
	defer func() {
		r.p = nil
		if cap(r.keys.spans) > 4096 {
			r.keys.spans = nil
		}
		readers.Put(r)
	}()
	for {
		t, err := r.Next()
		if err != nil {
			return err
		}
		if t.Kind == End && r.depth == 0 && (r.pos == len(p) || l.Prefix) {
			return nil
		}
	}
}

// Offset is the byte at which the next token begins.
func (r *MsgPack) Offset() int { return r.pos }

func (r *MsgPack) fail(code Code, field string, limit int, format string, args ...any) (Token, *Error) {
	return Token{}, &Error{Code: code, Field: field, Detail: fmt.Sprintf(format, args...), Limit: int64(limit), Offset: r.pos}
}

// Next gives the next token.
func (r *MsgPack) Next() (Token, *Error) {
	isKey := false
	if r.depth > 0 {
		f := &r.stack[r.depth-1]
		if f.left == 0 {
			return r.end(f)
		}
		isKey = f.isMap && f.left&1 == 0
		f.left--
	} else if r.elements > 0 {
		if r.pos < len(r.p) && !r.limits.Prefix {
			return r.fail(Malformed, "body", 0, "%d bytes follow the end of the document: send one document a message", len(r.p)-r.pos)
		}
		return Token{Kind: End}, nil
	}
	if r.limits.Body > 0 && len(r.p) > r.limits.Body {
		return r.fail(TooLarge, "body", r.limits.Body, "has %d bytes: send several messages", len(r.p))
	}
	if r.elements++; r.elements > r.limits.Elements {
		return r.fail(TooLarge, "body", r.limits.Elements, "has more elements than allowed: send several messages")
	}
	if r.pos >= len(r.p) {
		return r.fail(Malformed, "body", 0, "ends within the document: send it whole")
	}
	c := r.p[r.pos]
	if isKey && !(c&0xe0 == 0xa0 || c == 0xd9 || c == 0xda || c == 0xdb) {
		return r.fail(Malformed, "key", 0, "a map's key is no text (0x%02x): use text keys", c)
	}
	t, err := r.element(c)
	if err != nil {
		return t, err
	}
	if isKey {
		if !utf8.Valid(t.Bytes) {
			return r.fail(Unprocessable, "key", 0, "%q is not valid UTF-8: use UTF-8", clip(t.Bytes))
		}
		t.Kind = Key
		r.keys.push(r.pos-len(t.Bytes), r.pos)
	}
	return t, nil
}

func (r *MsgPack) end(f *frame) (Token, *Error) {
	if f.isMap {
		if twice, ok := r.keys.pop(f.base, r.p); ok {
			return r.fail(Malformed, "key", 0, "%q is there twice in one map: send each key once", clip(r.p[twice.from:twice.to]))
		}
	}
	r.depth--
	return Token{Kind: End}, nil
}

func clip(b []byte) []byte { return b[:min(len(b), 64)] }

func (r *MsgPack) element(c byte) (Token, *Error) {
	switch {
	case c < 0x80:
		r.pos++
		return Token{Kind: Int, Int: int64(c)}, nil
	case c >= 0xe0:
		r.pos++
		return Token{Kind: Int, Int: int64(int8(c))}, nil
	case c < 0x90:
		return r.open(1, uint64(c&0x0f), true)
	case c < 0xa0:
		return r.open(1, uint64(c&0x0f), false)
	case c < 0xc0:
		return r.bytes(Text, 1, uint64(c&0x1f))
	}
	switch c {
	case 0xc0:
		r.pos++
		return Token{Kind: Null}, nil
	case 0xc2, 0xc3:
		r.pos++
		return Token{Kind: Bool, Int: int64(c & 1)}, nil
	case 0xc1:
		return r.fail(Malformed, "body", 0, "the byte 0xc1 is not used in MsgPack: send a valid document")
	case 0xc7, 0xc8, 0xc9, 0xd4, 0xd5, 0xd6, 0xd7, 0xd8:
		return r.fail(Malformed, "body", 0, "has an extension type (0x%02x): send times as integers of Unix ms and no extensions", c)
	}
	width := 1 << (c & 3) // of ints; the rest by table below
	switch c {
	case 0xc4, 0xd9:
		width = 1
	case 0xc5, 0xda, 0xdc, 0xde:
		width = 2
	case 0xc6, 0xdb, 0xdd, 0xdf, 0xca:
		width = 4
	case 0xcb:
		width = 8
	}
	if len(r.p)-r.pos-1 < width {
		return r.fail(Malformed, "body", 0, "ends within an element: send it whole")
	}
	n := bigEndian(r.p[r.pos+1:], width)
	head := 1 + width
	switch c {
	case 0xc4, 0xc5, 0xc6:
		return r.bytes(Bin, head, n)
	case 0xd9, 0xda, 0xdb:
		return r.bytes(Text, head, n)
	case 0xdc, 0xdd:
		return r.open(head, n, false)
	case 0xde, 0xdf:
		return r.open(head, n, true)
	}
	r.pos += head
	switch c {
	case 0xca:
		return Token{Kind: Float, Float: float64(math.Float32frombits(uint32(n)))}, nil
	case 0xcb:
		return Token{Kind: Float, Float: math.Float64frombits(n)}, nil
	case 0xd0:
		return Token{Kind: Int, Int: int64(int8(n))}, nil
	case 0xd1:
		return Token{Kind: Int, Int: int64(int16(n))}, nil
	case 0xd2:
		return Token{Kind: Int, Int: int64(int32(n))}, nil
	case 0xcf:
		if n > math.MaxInt64 {
			return Token{Kind: Uint, Int: int64(n)}, nil
		}
	}
	return Token{Kind: Int, Int: int64(n)}, nil
}

func bigEndian(p []byte, width int) uint64 {
	switch width {
	case 1:
		return uint64(p[0])
	case 2:
		return uint64(binary.BigEndian.Uint16(p))
	case 4:
		return uint64(binary.BigEndian.Uint32(p))
	default:
		return binary.BigEndian.Uint64(p)
	}
}

func (r *MsgPack) bytes(kind Kind, head int, n uint64) (Token, *Error) {
	if left := len(r.p) - r.pos - head; n > uint64(left) {
		return r.fail(Malformed, "body", left, "an element claims %d bytes and %d are left: send it whole", n, left)
	}
	b := r.p[r.pos+head : r.pos+head+int(n)]
	if kind == Text && !r.limits.AnyText && !utf8.Valid(b) {
		return r.fail(Unprocessable, "body", 0, "a text is not valid UTF-8: use UTF-8")
	}
	r.pos += head + int(n)
	return Token{Kind: kind, Bytes: b}, nil
}

func (r *MsgPack) open(head int, n uint64, isMap bool) (Token, *Error) {
	kind, each := List, 1
	if isMap {
		kind, each = Map, 2
	}
	if left := (len(r.p) - r.pos - head) / each; n > uint64(left) {
		return r.fail(Malformed, "body", left, "%s claims %d entries and the bytes left hold at most %d: send it whole", kind, n, left)
	}
	if isMap && n > uint64(r.limits.Keys) {
		return r.fail(TooLarge, "body", r.limits.Keys, "a map has %d keys: use fewer", n)
	}
	if r.depth >= r.limits.Depth {
		return r.fail(Malformed, "body", r.limits.Depth, "is nested too deeply: use fewer levels")
	}
	r.stack[r.depth] = frame{left: int(n) * each, isMap: isMap, base: len(r.keys.spans)}
	r.depth++
	r.pos += head
	return Token{Kind: kind}, nil
}
