package decide

import (
	"cmp"
	"fmt"
	"iter"
	"maps"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"muster.dev/platform/roster"
	"muster.dev/proto/event"
	"muster.dev/proto/identity"
	"muster.dev/proto/record"
)

// State is what decisions are made against: the fold that every reader of the log has, and beside it what only its
// writer needs. It is not for concurrent use.
type State struct {
	*roster.State
	// offset is that of the next record as far as is known here. A transaction's end takes an offset too and is not seen
	// at once, so revisions may lag behind those that readers of the log have; no decision looks at them.
	offset  int64
	holders map[key]uint32    // device by key, for all certificates that are not forgotten
	dead    map[key]struct{}  // revoked keys of forgotten certificates
	schemas map[string]uint32 // schema by content

	lines         map[string]Line
	passwords     map[string]Password
	secrets       map[[32]byte]string // password's id by hash
	manufacturers map[string]Manufacturer
	claims        map[claimKey]Claimed
	claimed       map[identity.Device]claimKey
	tokens        map[string]Token
	bearers       map[[32]byte]string // token's id by hash
}

// key is what is kept of the SHA-256 of a public key: as hard to meet by chance or by work as it has to be.
type key [16]byte

func keyOf(spki [32]byte) key { return key(spki[:16]) }

type claimKey struct{ manufacturer, serial string }

// Line is a product line: what a device becomes that enrols by its label.
type Line struct {
	Label, Profile, Cohort string
	Class                  uint8
	History                bool
	Interval               time.Duration
	Region                 string
}

// Password lets devices enrol, for a time and so many times.
type Password struct {
	ID       string
	Hash     [32]byte // SHA-256 of the secret
	Label    string
	Device   identity.Device // the one that it is for, or else
	Prefix   string          // of those that it is for
	NotAfter time.Time
	Uses     uint32
	Used     uint32
	// Withdrawn is one that was ended before its time.
	Withdrawn bool
}

// Manufacturer is one whose devices may enrol with the certificates that they left its factory with.
type Manufacturer struct {
	Name         string
	Certificates [][]byte // DER; not to be written to
}

// Claimed is what one of a manufacturer's devices is to us.
type Claimed struct {
	Device identity.Device
	Label  string
}

// Token lets its bearer in as an operator.
type Token struct {
	ID, Name, Role string
	Hash           [32]byte // SHA-256 of the token
	NotAfter       time.Time
	Withdrawn      bool
}

// NewState is the state before the first event.
func NewState() *State { return over(roster.NewState()) }

func over(base *roster.State) *State {
	return &State{
		State: base, holders: map[key]uint32{}, dead: map[key]struct{}{}, schemas: map[string]uint32{},
		lines: map[string]Line{}, passwords: map[string]Password{}, secrets: map[[32]byte]string{},
		manufacturers: map[string]Manufacturer{}, claims: map[claimKey]Claimed{}, claimed: map[identity.Device]claimKey{},
		tokens: map[string]Token{}, bearers: map[[32]byte]string{},
	}
}

// Apply folds a record of the log. An error says that it was ignored, as every reader of the log ignores it.
func (s *State) Apply(rec *kgo.Record) error {
	s.offset = max(s.offset, rec.Offset+1)
	change, err := s.ApplyRecord(rec)
	if err != nil {
		return err
	}
	s.follow(change)
	return nil
}

// Offset is that of the next record, as far as is known here.
func (s *State) Offset() int64 { return s.offset }

// Pass says that the log was read up to an offset: what lies there may be no event.
func (s *State) Pass(offset int64) { s.offset = max(s.offset, offset) }

// Stand says where the next record is, once the log has told: what was folded before it was written had its offset guessed.
func (s *State) Stand(offset int64) { s.offset = offset }

// follow keeps what stands beside the roster up with it.
func (s *State) follow(change roster.Change) {
	switch b := change.Body.(type) {
	case event.DeviceEnrolled:
		s.forget(change.Device, change.Forgotten)
		s.holders[keyOf(change.Device.SPKI)] = b.No
	case event.CertificateIssued:
		s.forget(change.Device, change.Forgotten)
		s.holders[key(b.SPKI[:16])] = b.No
		if p, ok := s.passwords[b.Via]; ok && b.Method == MethodPassword {
			p.Used++
			s.passwords[b.Via] = p
		}
	case event.SchemaDefined:
		if schema, ok := s.Schema(change.Schema); ok {
			s.schemas[content(schema.Metrics)] = schema.No
		}
	case event.LineDefined:
		s.lines[b.Label] = Line{
			Label: b.Label, Profile: b.Profile, Cohort: b.Cohort, Class: b.Class, History: b.History,
			Interval: time.Duration(b.Interval) * time.Millisecond, Region: b.Region,
		}
	case event.PasswordMade:
		p := Password{
			ID: b.ID, Hash: [32]byte(b.Hash), Label: b.Label, Device: identity.Device(b.Device), Prefix: b.Prefix,
			NotAfter: time.UnixMilli(b.NotAfter), Uses: b.Uses,
		}
		if _, again := s.passwords[b.ID]; !again {
			s.passwords[b.ID], s.secrets[p.Hash] = p, b.ID
		}
	case event.PasswordWithdrawn:
		if p, ok := s.passwords[b.ID]; ok {
			p.Withdrawn = true
			s.passwords[b.ID] = p
		}
	case event.ManufacturerTrusted:
		s.manufacturers[b.Name] = Manufacturer{b.Name, b.Certificates}
	case event.ManufacturerDistrusted:
		delete(s.manufacturers, b.Name)
	case event.SerialsClaimed:
		for _, c := range b.Claims {
			s.release(claimKey{b.Manufacturer, c.Serial})
			if other, ok := s.claimed[identity.Device(c.Device)]; ok {
				s.release(other)
			}
			s.claims[claimKey{b.Manufacturer, c.Serial}] = Claimed{identity.Device(c.Device), b.Label}
			s.claimed[identity.Device(c.Device)] = claimKey{b.Manufacturer, c.Serial}
		}
	case event.SerialsReleased:
		for _, serial := range b.Serials {
			s.release(claimKey{b.Manufacturer, serial})
		}
	case event.TokenMade:
		if _, again := s.tokens[b.ID]; !again {
			s.tokens[b.ID] = Token{ID: b.ID, Name: b.Name, Role: b.Role, Hash: [32]byte(b.Hash), NotAfter: time.UnixMilli(b.NotAfter)}
			s.bearers[[32]byte(b.Hash)] = b.ID
		}
	case event.TokenWithdrawn:
		if t, ok := s.tokens[b.ID]; ok {
			t.Withdrawn = true
			s.tokens[b.ID] = t
		}
	}
}

func (s *State) release(k claimKey) {
	if c, ok := s.claims[k]; ok {
		delete(s.claims, k)
		delete(s.claimed, c.Device)
	}
}

// forget lets go of the key of a certificate that a device has no more, unless it has another of that key. A revoked one
// is kept for ever.
func (s *State) forget(d roster.Device, c roster.Certificate) {
	if c.SPKI == [32]byte{} {
		return
	}
	if c.Revoked {
		s.dead[keyOf(c.SPKI)] = struct{}{}
	}
	if slices.ContainsFunc(d.Certificates, func(has roster.Certificate) bool { return has.SPKI == c.SPKI }) {
		return
	}
	if s.holders[keyOf(c.SPKI)] == d.No {
		delete(s.holders, keyOf(c.SPKI))
	}
}

// Extend folds a new event in and gives the record that says it: the next link of the chain.
func (s *State) Extend(now time.Time, who, why string, body event.Body) (*kgo.Record, error) {
	n, prev := s.Link()
	e := event.Registry{N: n, Prev: prev, Time: now.UnixMilli(), Who: who, Why: why, Body: body}
	value, headers, err := e.Encode()
	if err != nil {
		return nil, fmt.Errorf("encode %s: %w", body.Type(), err)
	}
	rec := &kgo.Record{Topic: record.TopicRegistry, Value: value, Timestamp: now, Offset: s.offset}
	for _, h := range headers {
		rec.Headers = append(rec.Headers, kgo.RecordHeader{Key: h.Key, Value: h.Value})
	}
	if err := s.Apply(rec); err != nil {
		return nil, fmt.Errorf("fold %s: %w", body.Type(), err)
	}
	return rec, nil
}

// After are the devices whose numbers come after no, in their order.
func (s *State) After(no uint32) iter.Seq[roster.Device] {
	return func(yield func(roster.Device) bool) {
		for no++; no != 0; no++ {
			if d, ok := s.DeviceByNo(no); !ok || !yield(d) {
				return
			}
		}
	}
}

// Profile finds a profile by its number.
func (s *State) Profile(no uint16) (roster.Profile, bool) { return s.ProfileAt(no, s.Rev()) }

// ProfileNamed finds a profile by its name.
func (s *State) ProfileNamed(name string) (roster.Profile, bool) {
	for _, p := range s.Profiles() {
		if p.Name == name {
			return p, true
		}
	}
	return roster.Profile{}, false
}

// Line finds a product line.
func (s *State) Line(label string) (Line, bool) {
	line, ok := s.lines[label]
	return line, ok
}

// Lines is every product line, by label.
func (s *State) Lines() []Line { return sorted(s.lines, func(l Line) string { return l.Label }) }

// Password finds a password, ended and withdrawn ones too.
func (s *State) Password(id string) (Password, bool) {
	p, ok := s.passwords[id]
	return p, ok
}

// Passwords is every password that there ever was, by id.
func (s *State) Passwords() []Password {
	return sorted(s.passwords, func(p Password) string { return p.ID })
}

// Manufacturers is every manufacturer that is trusted, by name.
func (s *State) Manufacturers() []Manufacturer {
	return sorted(s.manufacturers, func(m Manufacturer) string { return m.Name })
}

// Manufacturer finds a manufacturer.
func (s *State) Manufacturer(name string) (Manufacturer, bool) {
	m, ok := s.manufacturers[name]
	return m, ok
}

// Claim finds what one of a manufacturer's devices is to us.
func (s *State) Claim(manufacturer, serial string) (Claimed, bool) {
	c, ok := s.claims[claimKey{manufacturer, serial}]
	return c, ok
}

// Claims is how many serials of a manufacturer are claimed.
func (s *State) Claims(manufacturer string) (n int) {
	for k := range s.claims {
		if k.manufacturer == manufacturer {
			n++
		}
	}
	return n
}

// Serial is a serial number of a manufacturer, and what its device is to us.
type Serial struct {
	Serial string
	Claimed
}

// ClaimsAfter are the first n serials of a manufacturer that come after one, in their order. It looks at each claim that
// there is, and keeps n.
func (s *State) ClaimsAfter(manufacturer, serial string, n int) []Serial {
	page := make([]Serial, 0, n+1)
	for k, c := range s.claims {
		if k.manufacturer != manufacturer || k.serial <= serial || len(page) == n && (n == 0 || k.serial > page[n-1].Serial) {
			continue
		}
		at, _ := slices.BinarySearchFunc(page, k.serial, func(has Serial, want string) int { return cmp.Compare(has.Serial, want) })
		page = slices.Insert(page, at, Serial{k.serial, c})
		page = page[:min(len(page), n)]
	}
	return page
}

// Token finds a token that was not withdrawn by its hash. Whether its time is over is for the caller's clock to say.
func (s *State) Token(hash [32]byte) (Token, bool) {
	t, ok := s.tokens[s.bearers[hash]]
	return t, ok && !t.Withdrawn
}

// Tokens is every token that there ever was, by id.
func (s *State) Tokens() []Token { return sorted(s.tokens, func(t Token) string { return t.ID }) }

func sorted[K comparable, V any](m map[K]V, by func(V) string) []V {
	return slices.SortedFunc(maps.Values(m), func(a, b V) int { return cmp.Compare(by(a), by(b)) })
}

// content is a schema's identity. The order counts: messages refer to metrics by their place.
func content(metrics []roster.SchemaMetric) string {
	var key []byte
	for _, m := range metrics {
		key = append(append(key, m.Name...), 0, byte(m.Kind), m.Scale)
	}
	return string(key)
}
