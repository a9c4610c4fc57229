package decide

import (
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"muster.dev/platform/roster"
	"muster.dev/platform/snapshot"
	"muster.dev/proto/identity"
)

// The sections of what stands beside the roster; they come before its own, whose end is the end of all.
const (
	tagDead          = 'k'
	tagLines         = 'l'
	tagPasswords     = 'p'
	tagManufacturers = 'm'
	tagClaims        = 'c'
	tagTokens        = 't'
)

// Frozen is a State as it was, to be written while the State goes on.
type Frozen struct {
	base          *roster.Frozen
	dead          []key
	lines         []Line
	passwords     []Password
	manufacturers []Manufacturer
	claims        map[claimKey]Claimed
	tokens        []Token
}

// Freeze keeps the state as it is now. It costs little: the devices are not copied.
func (s *State) Freeze() *Frozen {
	return &Frozen{
		base:  s.State.Freeze(),
		dead:  slices.SortedFunc(maps.Keys(s.dead), func(a, b key) int { return slices.Compare(a[:], b[:]) }),
		lines: s.Lines(), passwords: s.Passwords(), manufacturers: s.Manufacturers(), claims: maps.Clone(s.claims), tokens: s.Tokens(),
	}
}

// Last is the number of the last event that is in it.
func (f *Frozen) Last() uint64 { return f.base.Last() }

// How many small things go into one section, and how many manufacturers, of which each may have 128 KB of certificates: a
// section has 16 MiB at most.
const (
	smallOfSection         = 10_000
	manufacturersOfSection = 100
)

// Write writes the state as a snapshot's stream. Equal states have equal bytes.
func (f *Frozen) Write(out io.Writer) error {
	w := snapshot.NewWriter(out)
	write(w, tagDead, smallOfSection, f.dead, func(b *snapshot.Buffer, k key) { b.Raw(k[:]) })
	write(w, tagLines, smallOfSection, f.lines, func(b *snapshot.Buffer, l Line) {
		b.Text(l.Label)
		b.Text(l.Profile)
		b.Text(l.Cohort)
		b.Uint(uint64(l.Class))
		b.Bool(l.History)
		b.Int(int64(l.Interval))
		b.Text(l.Region)
	})
	write(w, tagPasswords, smallOfSection, f.passwords, func(b *snapshot.Buffer, p Password) {
		b.Text(p.ID)
		b.Raw(p.Hash[:])
		b.Text(p.Label)
		b.Text(string(p.Device))
		b.Text(p.Prefix)
		b.Int(p.NotAfter.UnixMilli())
		b.Uint(uint64(p.Uses))
		b.Uint(uint64(p.Used))
		b.Bool(p.Withdrawn)
	})
	write(w, tagManufacturers, manufacturersOfSection, f.manufacturers, func(b *snapshot.Buffer, m Manufacturer) {
		b.Text(m.Name)
		b.Uint(uint64(len(m.Certificates)))
		for _, der := range m.Certificates {
			b.Bytes(der)
		}
	})
	keys := slices.SortedFunc(maps.Keys(f.claims), func(a, b claimKey) int {
		if c := strings.Compare(a.manufacturer, b.manufacturer); c != 0 {
			return c
		}
		return strings.Compare(a.serial, b.serial)
	})
	write(w, tagClaims, smallOfSection, keys, func(b *snapshot.Buffer, k claimKey) {
		b.Text(k.manufacturer)
		b.Text(k.serial)
		b.Text(string(f.claims[k].Device))
		b.Text(f.claims[k].Label)
	})
	write(w, tagTokens, smallOfSection, f.tokens, func(b *snapshot.Buffer, t Token) {
		b.Text(t.ID)
		b.Text(t.Name)
		b.Text(t.Role)
		b.Raw(t.Hash[:])
		b.Int(t.NotAfter.UnixMilli())
		b.Bool(t.Withdrawn)
	})
	f.base.Write(w)
	return w.Err()
}

func write[T any](w *snapshot.Writer, tag byte, most int, all []T, one func(*snapshot.Buffer, T)) {
	for part := range slices.Chunk(all, most) {
		w.Section(tag, func(b *snapshot.Buffer) {
			b.Uint(uint64(len(part)))
			for _, v := range part {
				one(b, v)
			}
		})
	}
}

// ReadState reads what Frozen.Write wrote. Whether it is to be believed, the caller finds out. It never panics, whatever
// it reads.
func ReadState(in io.Reader) (*State, error) {
	s := over(nil)
	base, err := roster.ReadState(snapshot.NewReader(in), func(tag byte, c *snapshot.Cursor) error {
		switch tag {
		case tagDead:
			for range c.Count(16) {
				var k key
				copy(k[:], c.Raw(16))
				s.dead[k] = struct{}{}
			}
		case tagLines:
			for range c.Count(7) {
				l := Line{Label: c.Text(), Profile: c.Text(), Cohort: c.Text(), Class: uint8(c.Uint()), History: c.Bool(), Interval: time.Duration(c.Int()), Region: c.Text()}
				s.lines[l.Label] = l
			}
		case tagPasswords:
			for range c.Count(40) {
				p := Password{
					ID: c.Text(), Hash: c.Hash(), Label: c.Text(), Device: identity.Device(c.Text()), Prefix: c.Text(),
					NotAfter: time.UnixMilli(c.Int()), Uses: uint32(c.Uint()), Used: uint32(c.Uint()), Withdrawn: c.Bool(),
				}
				s.passwords[p.ID], s.secrets[p.Hash] = p, p.ID
			}
		case tagManufacturers:
			for range c.Count(2) {
				m := Manufacturer{Name: c.Text()}
				for range c.Count(1) {
					m.Certificates = append(m.Certificates, c.Bytes())
				}
				s.manufacturers[m.Name] = m
			}
		case tagClaims:
			for range c.Count(4) {
				k := claimKey{c.Text(), c.Text()}
				claimed := Claimed{identity.Device(c.Text()), c.Text()}
				s.claims[k], s.claimed[claimed.Device] = claimed, k
			}
		case tagTokens:
			for range c.Count(37) {
				t := Token{ID: c.Text(), Name: c.Text(), Role: c.Text(), Hash: c.Hash(), NotAfter: time.UnixMilli(c.Int()), Withdrawn: c.Bool()}
				s.tokens[t.ID], s.bearers[t.Hash] = t, t.ID
			}
		default:
			return nil // of a later release, which an older one can do without
		}
		return c.Done()
	})
	if err != nil {
		return nil, err
	}
	s.State = base
	s.holders = make(map[key]uint32, base.Counts().Devices)
	for d := range s.Devices {
		for _, c := range slices.Backward(d.Certificates) {
			s.holders[keyOf(c.SPKI)] = d.No
		}
	}
	for schema := range s.Schemas {
		s.schemas[content(schema.Metrics)] = schema.No
	}
	return s, nil
}

// Fold folds a record in, as Apply, for who goes on from a snapshot: its error says that the record is no link of the
// chain.
func (s *State) Fold(rec *kgo.Record) error { return roster.NoLink(s.Apply(rec)) }
