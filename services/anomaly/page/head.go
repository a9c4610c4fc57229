package page

import (
	"bytes"
	"encoding/binary"
	"fmt"

	"muster.dev/proto/event"
	"muster.dev/proto/record"
)

// Head is what a page says of itself. Who has the page already, and holds it against what was written, needs no more.
type Head struct {
	Part     int32
	N        uint64
	Until    int64
	Registry int64
	Snapshot Snapshot
}

// DecodeHead reads the head of a record and passes over the rest, of which it does not say whether it can be read. An error has
// ErrRefused.
func DecodeHead(headers []event.Header, value []byte) (Head, error) {
	for _, h := range headers {
		if h.Key == record.HeaderType && string(h.Value) != Type {
			return Head{}, fmt.Errorf("%w: its ce_type is %.80q", ErrRefused, h.Value)
		}
	}
	s := scanner{rest: value}
	var h Head
	whole := false
	for n := s.fields(); n > 0 && !s.lost; n-- {
		switch string(s.text()) {
		case "V":
			whole = s.number() == formVersion
		case "Page":
			s.head(&h)
		default:
			s.skip()
		}
	}
	if sum := len(h.Snapshot.SHA256); !s.lost && whole && h.N > 0 && h.Part >= 0 && h.Registry >= 0 && (sum == 0 || sum == 32) {
		return h, nil
	}
	p, err := Decode(headers, value) // it is written as arrays, or by another hand
	if err != nil {
		return Head{}, err
	}
	return Head{p.Part, p.N, p.Until, p.Registry, p.Snapshot}, nil
}

// scanner goes over MsgPack as this package writes it. It is lost where it finds anything else.
type scanner struct {
	rest []byte
	lost bool
}

func (s *scanner) head(h *Head) {
	for n := s.fields(); n > 0 && !s.lost; n-- {
		switch string(s.text()) {
		case "Part":
			h.Part = int32(s.number())
		case "N":
			h.N = s.number()
		case "Until":
			h.Until = int64(s.number())
		case "Registry":
			h.Registry = int64(s.number())
		case "Snapshot":
			s.snapshot(&h.Snapshot)
		default:
			s.skip()
		}
	}
}

func (s *scanner) snapshot(of *Snapshot) {
	for n := s.fields(); n > 0 && !s.lost; n-- {
		switch string(s.text()) {
		case "N":
			of.N = s.number()
		case "Telemetry":
			of.Telemetry = int64(s.number())
		case "Events":
			of.Events = int64(s.number())
		case "Registry":
			of.Registry = int64(s.number())
		case "SHA256":
			if s.code() != 0xc4 {
				s.lost = true
				return
			}
			of.SHA256 = bytes.Clone(s.take(int(s.big(1))))
		default:
			s.skip()
		}
	}
}

// take gives the next bytes, or none where there are fewer.
func (s *scanner) take(n int) []byte {
	if n < 0 || n > len(s.rest) {
		s.lost, s.rest = true, nil
		return nil
	}
	got := s.rest[:n]
	s.rest = s.rest[n:]
	return got
}

// big is a number of so many bytes.
func (s *scanner) big(width int) uint64 {
	switch p := s.take(width); len(p) {
	case 1:
		return uint64(p[0])
	case 2:
		return uint64(binary.BigEndian.Uint16(p))
	case 4:
		return uint64(binary.BigEndian.Uint32(p))
	case 8:
		return binary.BigEndian.Uint64(p)
	}
	return 0
}

func (s *scanner) code() byte {
	if p := s.take(1); len(p) > 0 {
		return p[0]
	}
	return 0xc1 // which nothing has
}

func (s *scanner) fields() int {
	switch b := s.code(); {
	case b >= 0x80 && b <= 0x8f:
		return int(b & 0x0f)
	case b == 0xde:
		return int(s.big(2))
	}
	s.lost = true
	return 0
}

func (s *scanner) text() []byte {
	if b := s.code(); b >= 0xa0 && b <= 0xbf {
		return s.take(int(b & 0x1f))
	}
	s.lost = true
	return nil
}

// number is one that is not below zero: none of a head is.
func (s *scanner) number() uint64 {
	switch b := s.code(); {
	case b <= 0x7f:
		return uint64(b)
	case b >= 0xcc && b <= 0xcf:
		return s.big(1 << (b - 0xcc))
	}
	s.lost = true
	return 0
}

// skip passes over one thing and all that is in it.
func (s *scanner) skip() {
	for left := 1; left > 0 && !s.lost; left-- {
		switch b := s.code(); {
		case b <= 0x7f, b >= 0xe0, b == 0xc0, b == 0xc2, b == 0xc3:
		case b <= 0x8f:
			left += 2 * int(b&0x0f)
		case b <= 0x9f:
			left += int(b & 0x0f)
		case b <= 0xbf:
			s.take(int(b & 0x1f))
		case b >= 0xc4 && b <= 0xc6:
			s.take(int(s.big(1 << (b - 0xc4))))
		case b >= 0xcc && b <= 0xcf:
			s.take(1 << (b - 0xcc))
		case b >= 0xd0 && b <= 0xd3:
			s.take(1 << (b - 0xd0))
		case b >= 0xd9 && b <= 0xdb:
			s.take(int(s.big(1 << (b - 0xd9))))
		case b == 0xdc:
			left += int(s.big(2))
		case b == 0xdd:
			left += int(s.big(4))
		case b == 0xde:
			left += 2 * int(s.big(2))
		case b == 0xdf:
			left += 2 * int(s.big(4))
		default:
			s.lost = true
		}
	}
}
