package judge

import (
	"fmt"

	"muster.dev/proto/event"
	"muster.dev/services/anomaly/census"
	"muster.dev/services/anomaly/incident"
	"muster.dev/services/anomaly/page"
	"muster.dev/services/anomaly/security"
	"muster.dev/services/anomaly/series"
	"muster.dev/services/anomaly/silence"
	"muster.dev/services/anomaly/spend"
	"muster.dev/services/anomaly/update"
)

// State is the fold. It is for one goroutine.
type State struct {
	settings Settings
	hash     string
	parts    []part
	registry registry

	silence  *silence.Cohorts
	update   *update.Rollouts
	security *security.Judge
	series   *series.Peers
	spend    *spend.Forecasts
	detect   func(at int64, t *told) ([]event.Verdict, []incident.Signal) // asks the five
	book     *incident.Book
	pins     []pin

	slots []page.Slot // room for those of a cut

	at     int64  // of the last cut
	n      uint64 // of the last record
	cuts   uint64
	anew   []event.IncidentKind // detectors that start anew at the next cut
	out    []Out
	faults uint64
	fault  error
}

// part is what is known of a partition's pages.
type part struct {
	n     uint64 // of the last page that was judged
	until int64
	dark  bool // nothing is heard, and it is our own fault
	now   position
	ring  ring
	queue []queued
}

type queued struct {
	page   *page.Page
	offset int64
}

// Out is a record for muster.incidents.v1.
type Out struct {
	N       uint64
	At      int64 // event time of the cut
	Key     []byte
	Headers []event.Header
	Value   []byte
}

// New is the state before the first page of so many partitions.
func New(parts int32, s Settings) (*State, error) {
	if parts < 1 || parts > 1<<16 {
		return nil, fmt.Errorf("judge %d partitions: there must be 1 to 65536", parts)
	}
	if err := s.Validate(); err != nil {
		return nil, err
	}
	hash, err := s.Hash()
	if err != nil {
		return nil, err
	}
	state := &State{
		settings: s, hash: hash, parts: make([]part, parts),
		silence: silence.NewCohorts(s.Silence), update: update.NewRollouts(s.Update), security: security.NewJudge(s.Security),
		series: series.NewPeers(s.Series), spend: spend.NewForecasts(s.Spend),
	}
	state.detect = state.judge
	state.book = incident.NewBook(s.Incident, state.ranges)
	return state, nil
}

// Page takes a page, which lies at an offset of its partition of muster.cohorts.v1. One that was taken before is passed
// over. An error is for good: the log holds no stream of pages.
func (s *State) Page(p *page.Page, offset int64) error {
	if p.Part < 0 || int(p.Part) >= len(s.parts) {
		return fmt.Errorf("a page of partition %d, and there are %d", p.Part, len(s.parts))
	}
	at := &s.parts[p.Part]
	n, until := at.n, at.until
	if len(at.queue) > 0 {
		last := at.queue[len(at.queue)-1].page
		n, until = last.N, last.Until
	}
	switch {
	case p.N <= n:
		return nil
	case p.N != n+1:
		return fmt.Errorf("partition %d: page %d follows page %d", p.Part, p.N, n)
	case p.N > 1 && p.Until <= until:
		return fmt.Errorf("partition %d: page %d ends at %d, the one before it at %d", p.Part, p.N, p.Until, until)
	}
	at.queue = append(at.queue, queued{p, offset})
	s.advance()
	return nil
}

// Recall tells a State before its first page which incidents its topic has open, in any order, and after which instant what it
// says is written.
func (s *State) Recall(after int64, open []event.Incident) { s.book.Recall(after, open) }

// Waiting is how many pages of a partition are there and not judged: who reads them may pause where others are behind.
func (s *State) Waiting(part int32) int { return len(s.parts[part].queue) }

// Registry takes the next record of the registry's log.
func (s *State) Registry(r census.Record) {
	s.registry.add(r)
	s.advance()
}

// Known says that all records of the registry's log below an offset were given: what has an offset and is no record, a
// transaction's end, is not waited for.
func (s *State) Known(next int64) {
	s.registry.known = max(s.registry.known, next)
	s.advance()
}

// Wants is the offset below which it needs the registry's log for its next cut, if all pages of that are there.
func (s *State) Wants() int64 {
	_, registry, _ := s.next()
	return max(registry, s.registry.next)
}

// Out gives the records that were made and not taken yet, in order.
func (s *State) Out() []Out {
	out := s.out
	s.out = nil
	return out
}

// Position is where each partition's pages, and the registry's log, go on after the last cut.
func (s *State) Position() (pages []int64, registry int64) {
	for i := range s.parts {
		pages = append(pages, s.parts[i].now.page)
	}
	return pages, s.registry.next
}

// Cuts is how many cuts it has judged, At when the last one was, Last the number of the last record.
func (s *State) Cuts() uint64 { return s.cuts }

// At is the event time of the last cut.
func (s *State) At() int64 { return s.at }

// Last is the number of the last record.
func (s *State) Last() uint64 { return s.n }

// Open is the number of open incidents of a kind.
func (s *State) Open(kind event.IncidentKind) int { return s.book.OpenOf(kind) }

// Faults is how many records could not be written, and why the last one could not: a detector told what no record holds.
func (s *State) Faults() (uint64, error) { return s.faults, s.fault }

// next is the instant of the next cut, and how far any shard had read the registry's log by then: one that begins a stage
// a cut before the others tells of it at once.
func (s *State) next() (at, registry int64, complete bool) {
	for i := range s.parts {
		if len(s.parts[i].queue) == 0 {
			return 0, 0, false
		}
		switch p := s.parts[i].queue[0].page; {
		case i == 0 || p.Until < at:
			at, registry = p.Until, p.Registry
		case p.Until == at:
			registry = max(registry, p.Registry)
		}
	}
	return at, registry, true
}

// advance judges all cuts that are complete.
func (s *State) advance() {
	for {
		at, registry, complete := s.next()
		if !complete || registry > s.registry.known {
			return
		}
		s.cut(at, registry)
	}
}
