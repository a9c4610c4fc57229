package page

import (
	"encoding/binary"
	"fmt"
)

// MaxMembers is more devices than a slot can be of.
const MaxMembers = 1 << 27

// counts says what cannot be: whoever judges a page takes time by its counts.
func (p *Page) counts() error {
	for i := range p.Slots {
		s := &p.Slots[i]
		if n := max(s.Expected, s.Missing, s.Heard, s.Never, s.Asleep, s.Members, s.Returned, s.Left); n > MaxMembers {
			return fmt.Errorf("a slot of %.80q counts %d devices, above the limit of %d", s.Cohort, n, MaxMembers)
		}
	}
	for i := range p.Arms {
		if a := &p.Arms[i]; max(a.FailT, a.FailC, a.DrawnFailT, a.DrawnFailC) > MaxMembers {
			return fmt.Errorf("an arm of %.80q counts %d treated and %d control failures, %d and %d of the draw, above the limit of %d",
				a.Rollout, a.FailT, a.FailC, a.DrawnFailT, a.DrawnFailC, MaxMembers)
		}
	}
	return nil
}

// containers is how many maps and arrays a value has that was scanned: its tokens follow each other, whatever is in what.
func containers(p []byte) (n int) {
	for len(p) > 0 {
		b, size := p[0], 1
		sized := func(width int) {
			if size += width; len(p) < size {
				return
			}
			switch width {
			case 1:
				size += int(p[1])
			case 2:
				size += int(binary.BigEndian.Uint16(p[1:]))
			default:
				size += int(binary.BigEndian.Uint32(p[1:]))
			}
		}
		switch {
		case b >= 0x80 && b <= 0x9f:
			n++
		case b >= 0xa0 && b <= 0xbf:
			size += int(b & 0x1f)
		case b >= 0xc4 && b <= 0xc6:
			sized(1 << (b - 0xc4))
		case b >= 0xd9 && b <= 0xdb:
			sized(1 << (b - 0xd9))
		case b == 0xcc || b == 0xd0:
			size = 2
		case b == 0xcd || b == 0xd1:
			size = 3
		case b == 0xca || b == 0xce || b == 0xd2:
			size = 5
		case b == 0xcb || b == 0xcf || b == 0xd3:
			size = 9
		case b == 0xdc || b == 0xde:
			n, size = n+1, 3
		case b == 0xdd || b == 0xdf:
			n, size = n+1, 5
		}
		p = p[min(size, len(p)):]
	}
	return n
}
