package security

import (
	"muster.dev/proto/batch"
)

// The kinds of a gateway's sign. The gateway's own package names them; a service learns of another's records from the log.
const (
	twoAddresses    = "two-addresses"
	twoCertificates = "two-certificates"
	seqBack         = "seq-back"
	keyConflict     = "key-conflict"
	otherName       = "other-name"
)

const (
	signVersion = 1
	signEvent   = "clone-sign"
	maxMore     = 1 << 20 // more is as good as that
)

// said is what a gateway's sign says here.
type said struct {
	kind string
	more uint64
}

// decode reads a sign's value: a map of v and one event. What it does not know it skips. ok is false for anything else.
func decode(p []byte) (s said, ok bool) {
	if batch.Scan(p, batch.DefaultLimits()) != nil { // then lengths are within p, and keys are unique
		return said{}, false
	}
	r := reader{p: p}
	version, events := int64(0), 0
	typed := false
	for range r.head(0x80, 0xde, 0xdf) {
		switch string(r.text()) {
		case "v":
			version = r.integer()
		case "events":
			if events = r.head(0x90, 0xdc, 0xdd); events != 1 {
				return said{}, false
			}
			s, typed = r.event()
		default:
			r.skip()
		}
	}
	if r.bad || version != signVersion || events != 1 || !typed {
		return said{}, false
	}
	switch s.kind {
	case twoAddresses, twoCertificates, seqBack, keyConflict, otherName:
		return s, true
	}
	return said{}, false
}

func (r *reader) event() (s said, typed bool) {
	for range r.head(0x80, 0xde, 0xdf) {
		switch string(r.text()) {
		case "type":
			typed = string(r.text()) == signEvent
		case "sign":
			s.kind = string(r.text())
		case "more":
			s.more = uint64(min(max(r.integer(), 0), maxMore))
		default:
			r.skip()
		}
	}
	return s, typed
}

// reader walks through MsgPack that was scanned. After something that does not fit, bad is set and all is zero.
type reader struct {
	p   []byte
	bad bool
}

func (r *reader) take(n int) []byte {
	if r.bad || n < 0 || n > len(r.p) {
		r.bad, r.p = true, nil
		return nil
	}
	out := r.p[:n]
	r.p = r.p[n:]
	return out
}

func (r *reader) number(n int) (v uint64) {
	for _, b := range r.take(n) {
		v = v<<8 | uint64(b)
	}
	return v
}

func (r *reader) byte() byte { return byte(r.number(1)) }

// head reads how many things a map or an array has, by its three forms.
func (r *reader) head(short, mid, long byte) int {
	switch b := r.byte(); {
	case r.bad:
	case b&0xf0 == short:
		return int(b & 0x0f)
	case b == mid:
		return int(r.number(2))
	case b == long:
		return int(r.number(4))
	default:
		r.bad = true
	}
	return 0
}

// text reads a text; of anything else it is none, and skipped.
func (r *reader) text() []byte {
	if len(r.p) == 0 {
		r.bad = true
		return nil
	}
	n := 0
	switch b := r.p[0]; {
	case b&0xe0 == 0xa0:
		r.take(1)
		n = int(b & 0x1f)
	case b >= 0xd9 && b <= 0xdb:
		r.take(1)
		n = int(r.number(1 << (b - 0xd9)))
	default:
		r.skip()
		return nil
	}
	return r.take(n)
}

// integer reads an integer; of anything else it is 0, and skipped.
func (r *reader) integer() int64 {
	if len(r.p) == 0 {
		r.bad = true
		return 0
	}
	switch b := r.p[0]; {
	case b < 0x80:
		return int64(r.byte())
	case b >= 0xe0:
		return int64(int8(r.byte()))
	case b >= 0xcc && b <= 0xcf:
		r.take(1)
		return int64(min(r.number(1<<(b-0xcc)), 1<<62))
	case b >= 0xd0 && b <= 0xd3:
		r.take(1)
		n := 1 << (b - 0xd0)
		return int64(r.number(n)<<(64-8*n)) >> (64 - 8*n)
	}
	r.skip()
	return 0
}

// skip passes over one thing, whatever is in it. The scan has bounded how deep that goes; here it is counted.
func (r *reader) skip() {
	for left := 1; left > 0 && !r.bad; left-- {
		switch b := r.byte(); {
		case b < 0x80 || b >= 0xe0 || b == 0xc0 || b == 0xc2 || b == 0xc3:
		case b&0xf0 == 0x80:
			left += 2 * int(b&0x0f)
		case b&0xf0 == 0x90:
			left += int(b & 0x0f)
		case b&0xe0 == 0xa0:
			r.take(int(b & 0x1f))
		case b >= 0xc4 && b <= 0xc6:
			r.take(int(r.number(1 << (b - 0xc4))))
		case b == 0xca, b == 0xce, b == 0xd2:
			r.take(4)
		case b == 0xcb, b == 0xcf, b == 0xd3:
			r.take(8)
		case b == 0xcc, b == 0xd0:
			r.take(1)
		case b == 0xcd, b == 0xd1:
			r.take(2)
		case b >= 0xd9 && b <= 0xdb:
			r.take(int(r.number(1 << (b - 0xd9))))
		case b == 0xdc:
			left += int(r.number(2))
		case b == 0xdd:
			left += int(r.number(4))
		case b == 0xde:
			left += 2 * int(r.number(2))
		case b == 0xdf:
			left += 2 * int(r.number(4))
		default:
			r.bad = true
		}
	}
}
