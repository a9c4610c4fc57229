package census

import (
	"errors"
	"fmt"

	"muster.dev/proto/event"
)

// DefaultInterval is expected between two signs of life of a device of which nothing else is known, in ms.
const DefaultInterval = 60_000

// ErrIgnored is in every error of a record that changed nothing.
var ErrIgnored = errors.New("ignored")

// Record is a record of the registry's log.
type Record struct {
	Offset  int64
	Time    int64 // Unix ms, the record's own
	Headers []event.Header
	Value   []byte
}

// Kind is what became of a device or a cohort.
type Kind uint8

// The kinds of changes. A device counts while it is active: enrolled, and neither revoked nor held off.
const (
	Joined        Kind = iota + 1 // it counts from now on
	Left                          // it counts no longer: revoked, replaced or held off
	Moved                         // it counts in another cohort
	Described                     // something else about it may be new: its region, interval, stratum
	CohortChanged                 // a cohort's interval, region or sleep
	Other                         // an event of which the census keeps nothing
)

// Change is what an event did. An event may do much: a cohort's revocation makes each of its devices leave.
type Change struct {
	Kind   Kind
	Device int32 // -1: none
	Cohort int32 // the device's, after the event; -1: none
	Was    int32 // the cohort that it was in before; -1: none
	At     int64 // the record's time
	Body   event.Body
}

// State is the fold.
type State struct {
	part, parts int32
	next        int64 // offset
	n           uint64
	prev        [32]byte
	ignored     uint64

	devices   []device // of this shard
	ids       index
	arena     arena
	fleet     []uint32 // by number: see place
	kinds     []kind
	kindOf    map[kindKey]uint32
	cohorts   []Cohort
	places    map[string]int32
	successor map[uint32]uint32 // by number of who was replaced
	successes map[uint32]bool   // by number of who replaced one
	regions   names
	strata    names

	changes []Change
}

// New is the state before the first event. It keeps the devices whose ids belong to partition part of parts.
func New(part, parts int32) *State {
	s := &State{
		part: part, parts: max(parts, 1),
		fleet:     []uint32{unknown}, // there is no device 0
		kindOf:    map[kindKey]uint32{},
		places:    map[string]int32{},
		successor: map[uint32]uint32{},
		successes: map[uint32]bool{},
	}
	s.regions.add("")
	s.strata.add("")
	s.place("")
	return s
}

// Apply folds a record in. The changes are good until the next call. An error has ErrIgnored and is no reason to stop: the log is what it is.
func (s *State) Apply(r Record) ([]Change, error) {
	if r.Offset < s.next {
		return nil, s.ignore("offset %d was read before", r.Offset)
	}
	s.next = r.Offset + 1
	e, err := event.DecodeRegistry(r.Headers, r.Value)
	if err != nil {
		return nil, s.ignore("offset %d: %w", r.Offset, err)
	}
	if e.N != s.n+1 || e.Prev != s.prev {
		return nil, s.ignore("offset %d: event %d is not the successor of event %d", r.Offset, e.N, s.n)
	}
	s.n, s.prev = e.N, event.Chain(r.Value)
	s.changes = s.changes[:0]
	if err := s.fold(r.Time, e.Body); err != nil {
		return nil, err
	}
	for i := range s.changes {
		s.changes[i].At, s.changes[i].Body = r.Time, e.Body
	}
	return s.changes, nil
}

func (s *State) ignore(format string, args ...any) error {
	s.ignored++
	return fmt.Errorf("%w: %w", ErrIgnored, fmt.Errorf(format, args...))
}

// Next is the offset of the first record that was not read.
func (s *State) Next() int64 { return s.next }

// Last is the number of the last link.
func (s *State) Last() uint64 { return s.n }

// Ignored is how many records, or what they said, were ignored.
func (s *State) Ignored() uint64 { return s.ignored }

// Fleet is how many devices were ever enrolled, in all shards.
func (s *State) Fleet() int { return len(s.fleet) - 1 }

func (s *State) tell(k Kind, device, cohort, was int32) {
	s.changes = append(s.changes, Change{Kind: k, Device: device, Cohort: cohort, Was: was})
}
