package roster

import (
	"cmp"
	"crypto/sha256"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/twmb/franz-go/pkg/kgo"

	"muster.dev/proto/event"
	"muster.dev/proto/identity"
)

// Reason is why an event was ignored.
type Reason string

// The reasons. After Decode and Chain the chain stands where it stood: the record is not part of it. After the others
// the record is a link, only what it says is ignored.
const (
	Decode   Reason = "decode"   // no event: its bytes are refused
	Chain    Reason = "chain"    // not the successor of the last event
	Later    Reason = "later"    // a type of a later release
	Number   Reason = "number"   // a number that is not the next one
	Conflict Reason = "conflict" // contradicts what is known
	Missing  Reason = "missing"  // speaks of what is not known
	Name     Reason = "name"     // would become an identifier, and is not fit for one
)

var reasons = []Reason{Decode, Chain, Later, Number, Conflict, Missing, Name}

// Ignored is the error of an event that was not folded in.
type Ignored struct {
	Reason Reason
	Err    error
}

// Error says the reason and the particulars.
func (e *Ignored) Error() string { return string(e.Reason) + ": " + e.Err.Error() }

// Unwrap gives the particulars.
func (e *Ignored) Unwrap() error { return e.Err }

func ignore(reason Reason, format string, args ...any) error {
	return &Ignored{reason, fmt.Errorf(format, args...)}
}

func reasonOf(err error) Reason {
	var ignored *Ignored
	if errors.As(err, &ignored) {
		return ignored.Reason
	}
	return Decode
}

// State is the fold of the registry's log: a pure function of the records and their offsets. It is for one goroutine
// at a time.
type State struct {
	n       uint64   // of the last link
	prev    [32]byte // SHA-256 of the last link's value
	rev     uint64
	devices devices
	ids     map[identity.Device]uint32
	serials map[string]uint32 // device by certificate
	revoked int
	names   map[string]string // what many devices have in common: one copy for all of them
	cohorts []Cohort          // the first has no name; devices refer to them by place
	places  map[string]uint32 // of cohorts
	groups  map[string]Selector
	regions map[string]string  // gateway by region
	acting  map[uint32]*acting // by agent; of revoked ones there is none
	issuers []Issuer           // in the order in which they were defined
	taken   event.SnapshotTaken
	// What the profiles, schemas and topics hold is only ever appended to, never changed: readers keep slices of it.
	profiles map[uint16]*Profile
	schemas  map[uint32]Schema
	topics   map[[16]byte]Topic
	ignored  map[Reason]uint64
}

// NewState is the state before the first event.
func NewState() *State {
	return &State{
		ids:      map[identity.Device]uint32{},
		serials:  map[string]uint32{},
		names:    map[string]string{},
		cohorts:  []Cohort{{}},
		places:   map[string]uint32{"": 0},
		groups:   map[string]Selector{},
		regions:  map[string]string{},
		acting:   map[uint32]*acting{},
		profiles: map[uint16]*Profile{},
		schemas:  map[uint32]Schema{},
		topics:   map[[16]byte]Topic{},
		ignored:  map[Reason]uint64{},
	}
}

// ApplyRecord folds in a record as it was read. Its error is an *Ignored, and counted.
func (s *State) ApplyRecord(rec *kgo.Record) (Change, error) {
	headers := make([]event.Header, len(rec.Headers))
	for i, h := range rec.Headers {
		headers[i] = event.Header{Key: h.Key, Value: h.Value}
	}
	e, err := event.DecodeRegistry(headers, rec.Value)
	if err != nil {
		return Change{}, s.count(&Ignored{Decode, err})
	}
	return s.link(rec.Offset, e, sha256.Sum256(rec.Value))
}

// Apply folds in an event that the log took at this offset: the writer's own way in, who has just encoded it. Its
// error is an *Ignored, and counted.
func (s *State) Apply(offset int64, e event.Registry) error {
	value, _, err := e.Encode()
	if err != nil {
		return s.count(&Ignored{Decode, err})
	}
	_, err = s.link(offset, e, event.Chain(value))
	return err
}

// Check says what Apply would find wrong with an event's body now, and changes nothing.
func (s *State) Check(body event.Body) error {
	_, err := s.fold(0, event.Registry{Body: body}, true)
	return err
}

// Link is what the next event must carry: its number, and the SHA-256 of the last one's value.
func (s *State) Link() (n uint64, prev [32]byte) { return s.n + 1, s.prev }

func (s *State) link(offset int64, e event.Registry, sum [32]byte) (Change, error) {
	if e.N != s.n+1 {
		return Change{}, s.count(ignore(Chain, "event %d follows event %d", e.N, s.n))
	}
	if e.Prev != s.prev {
		return Change{}, s.count(ignore(Chain, "event %d names another predecessor: %x, not %x", e.N, e.Prev, s.prev))
	}
	s.n, s.prev = e.N, sum
	change, err := s.fold(offset, e, false)
	if err != nil {
		return Change{}, s.count(err)
	}
	change.Offset, change.Type, change.Time, change.Body = offset, e.Body.Type(), e.Time, e.Body
	return change, nil
}

func (s *State) count(err error) error {
	s.ignored[reasonOf(err)]++
	return err
}

// Ignored is how many records were ignored, by reason.
func (s *State) Ignored() map[Reason]uint64 { return maps.Clone(s.ignored) }

// Last is the number of the last link: how many events the log holds that count.
func (s *State) Last() uint64 { return s.n }

// Rev is the revision of what the tables look like: the offset of the last event that changed it, plus 1; 0 is none.
func (s *State) Rev() uint64 { return s.rev }

// Device finds a device by its id.
func (s *State) Device(id identity.Device) (Device, bool) { return s.DeviceByNo(s.ids[id]) }

// DeviceByNo finds a device by its number.
func (s *State) DeviceByNo(no uint32) (Device, bool) {
	if d := s.devices.at(no); d != nil {
		return s.seen(d), true
	}
	return Device{}, false
}

// DeviceBySerial finds the device that was given the certificate, unless that is forgotten.
func (s *State) DeviceBySerial(serial string) (Device, bool) { return s.DeviceByNo(s.serials[serial]) }

// Devices yields all devices in the order of their numbers.
func (s *State) Devices(yield func(Device) bool) {
	for no := uint32(1); no <= s.devices.n; no++ {
		if !yield(s.seen(s.devices.at(no))) {
			return
		}
	}
}

// ProfileAt is a profile as it was at a revision: with just the metrics that it had then.
func (s *State) ProfileAt(no uint16, rev uint64) (Profile, bool) {
	p, ok := s.profiles[no]
	if !ok || p.Since > rev {
		return Profile{}, false
	}
	at := *p
	had, _ := slices.BinarySearchFunc(p.Metrics, rev, func(m Metric, rev uint64) int {
		if m.Since <= rev {
			return -1
		}
		return 1
	})
	at.Metrics = p.Metrics[:had:had]
	return at, true
}

// Profiles is every profile as it is now, by number.
func (s *State) Profiles() []Profile {
	out := make([]Profile, 0, len(s.profiles))
	for no := range s.profiles {
		p, _ := s.ProfileAt(no, s.rev)
		out = append(out, p)
	}
	slices.SortFunc(out, func(a, b Profile) int { return cmp.Compare(a.No, b.No) })
	return out
}

// Schema finds a schema.
func (s *State) Schema(id uint32) (Schema, bool) {
	schema, ok := s.schemas[id]
	return schema, ok
}

// Topics is every topic that there ever was, by generation.
func (s *State) Topics() []Topic {
	return slices.SortedFunc(maps.Values(s.topics), func(a, b Topic) int { return cmp.Compare(a.Gen, b.Gen) })
}

// TopicGen is the generation of a topic's id.
func (s *State) TopicGen(id [16]byte) (uint16, bool) {
	t, ok := s.topics[id]
	return t.Gen, ok
}

// Counts is how much there is.
func (s *State) Counts() Counts {
	return Counts{int(s.devices.n), s.revoked, len(s.profiles), len(s.schemas), len(s.topics)}
}

// Schemas yields all schemas, by id.
func (s *State) Schemas(yield func(Schema) bool) {
	for _, no := range slices.Sorted(maps.Keys(s.schemas)) {
		if !yield(s.schemas[no]) {
			return
		}
	}
}
