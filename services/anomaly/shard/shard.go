package shard

import (
	"fmt"
	"math"

	"muster.dev/proto/batch"
	"muster.dev/proto/event"
	"muster.dev/proto/record"
	"muster.dev/services/anomaly/census"
	"muster.dev/services/anomaly/page"
	"muster.dev/services/anomaly/security"
	"muster.dev/services/anomaly/series"
	"muster.dev/services/anomaly/silence"
	"muster.dev/services/anomaly/spend"
	"muster.dev/services/anomaly/update"
)

// State is the fold. It is for one goroutine.
type State struct {
	part, parts int32
	set         Settings

	streams  [topics]stream
	registry []census.Record // not applied
	end      int64           // of the registry's log, as it was answered
	asking   bool
	answered bool

	clock clock
	start int64 // the first instant: 0 as long as there is no clock
	until int64 // the last cut
	due   int64 // the next one
	n     uint64
	slots []int64 // ms: lengths of slots that some cohort has
	stale bool    // they are to be found anew

	held  hold
	pages []*page.Page

	census   *census.State
	schemas  map[uint32][]string
	names    map[string]int32 // of metrics, since the last cut: 1 + the place in known
	known    []metric
	columns  []metric // of the last batch
	tallies  []tally
	tallied  tallied
	firmware []uint32 // by device: a sum of what it runs; 0 is not known
	silence  *silence.Devices
	arms     *update.Arms
	series   *series.Bank
	meter    *spend.Meter
	watch    *security.Watch

	batch             batch.Batch
	faults, allFaults []batch.Fault
	counts            Counts
}

// Counts is what became of records, since the shard began.
type Counts struct {
	Records   uint64 // taken, without watermarks
	Marks     uint64 // watermarks
	Late      uint64 // their time was closed, or there was no room to wait for it
	Unknown   uint64 // of no device that counts
	Malformed uint64 // values that cannot be read
	Unnamed   uint64 // batches whose schema is not known here
	Moved     uint64 // at a time that cannot be, and taken at the clock's
	Rows      uint64 // readings that were given to the detector of series
	Stale     uint64 // readings too far from their record's time for that
}

// New is the shard of partition part of parts, before the first record.
func New(part, parts int32, s Settings) (*State, error) {
	if part < 0 || part >= parts {
		return nil, fmt.Errorf("shard %d of %d: there is no such partition", part, parts)
	}
	if err := s.Validate(); err != nil {
		return nil, fmt.Errorf("settings of the shards: %w", err)
	}
	st := &State{part: part, parts: parts, set: s, census: census.New(part, parts), schemas: map[uint32][]string{}, names: map[string]int32{}}
	st.held.known = st.census
	for t := range st.streams {
		st.streams[t].known = math.MinInt64
	}
	names := series.Names{
		Device: func(i int32) string { return st.census.Device(i).ID },
		Cohort: func(c int32) string { return st.census.Cohort(c).Name },
	}
	st.silence = silence.NewDevices(st.census, s.Silence)
	st.arms = update.NewArms(st.census, s.Update)
	if !s.Off.Silence {
		st.arms.Remember(st.silence.LastHeard)
	}
	st.series = series.NewBank(s.Series, names)
	st.meter = spend.NewMeter(s.Spend, names.Cohort)
	st.watch = security.NewWatch(st.census, s.Security)
	return st, nil
}

// Registry takes the next record of the registry's log. It is applied at the cut that its time belongs to.
func (s *State) Registry(r census.Record) {
	if r.Offset < s.census.Next() || len(s.registry) > 0 && r.Offset <= s.registry[len(s.registry)-1].Offset {
		return // it was read before
	}
	s.registry = append(s.registry, r)
	if s.asking && r.Offset < s.end && r.Time <= s.due {
		s.applyRegistry(s.due)
	}
}

// Asks says that the shard goes on only when it is told where the registry's log ends now.
func (s *State) Asks() bool { return s.asking }

// Expect says what the answer will be, before all records are told that belong to it: a shard that knows it need not keep
// a long log's records until the answer. Nobody has to say it.
func (s *State) Expect(end int64) {
	if s.asking {
		s.end = end
		s.applyRegistry(s.due)
	}
}

// Answer says that all records of the registry's log before end were told. A page that was cut before from the same
// records had read up to its Registry: who answers with that gets the same page.
func (s *State) Answer(end int64) {
	if !s.asking {
		return
	}
	s.end, s.asking, s.answered = end, false, true
	s.run()
}

// Pages gives the pages that were cut since the last call, in order.
func (s *State) Pages() []*page.Page {
	out := s.pages
	s.pages = nil
	return out
}

// Position is where reading goes on, and the number of the last page.
func (s *State) Position() (telemetry, events, registry int64, n uint64) {
	return s.streams[Telemetry].next, s.streams[Events].next, s.census.Next(), s.n
}

// Clock is the shard's, Unix ms; 0 is not known yet.
func (s *State) Clock() int64 { return s.clock.now }

// Until is the instant of the last cut, Unix ms.
func (s *State) Until() int64 { return s.until }

// Counts is what became of records.
func (s *State) Counts() Counts { return s.counts }

// Held is how many records wait for the instant that they belong to.
func (s *State) Held() int { return len(s.held.all) }

// Census is the shard's, to be read.
func (s *State) Census() *census.State { return s.census }

// Gateways is how many gateways are known, and how many of these are heard.
func (s *State) Gateways() (known, heard int) {
	for i := range s.clock.gateways {
		if s.clock.alive(&s.clock.gateways[i]) {
			heard++
		}
	}
	return len(s.clock.gateways), heard
}

// take folds a record in.
func (s *State) take(topic Topic, h Heard) {
	if record.IsControl(h.Type) {
		s.mark(topic, h)
		return
	}
	s.counts.Records++
	rec := held{at: h.Time, offset: h.Offset, form: formOf(topic, h.Type), key: h.Key, value: h.Value}
	if s.clock.now == 0 { // nothing can be said of a time before the first watermark
		s.counts.Late++
		return
	}
	var moved bool
	if rec.at, moved = s.clock.sane(h.Time); moved {
		s.counts.Moved++
	}
	if rec.at <= s.until || !s.held.room(&rec, s.set.Hold) {
		s.late(&rec)
		return
	}
	s.held.add(rec)
}

func (s *State) mark(topic Topic, h Heard) {
	w, err := event.DecodeWatermark(h.Value)
	if err != nil {
		s.counts.Malformed++
		return
	}
	s.counts.Marks++
	s.clock.mark(w)
	if !s.set.Off.Security && topic == Telemetry {
		s.watch.Mark(min(w.Time, s.clock.now), w)
	}
	s.advance()
}

// advance cuts what is due, until the registry has to be asked.
func (s *State) advance() {
	if s.clock.now == 0 || s.asking {
		return
	}
	if s.n == 0 && (s.start == 0 || s.clock.now < s.start || s.clock.now > s.due+tenMinutes) { // the clock may still be put right
		s.start = floor(s.clock.now, minute)
		s.until, s.due = s.start, s.start+minute
	}
	for s.clock.now-s.set.Lateness >= s.due {
		s.leap()
		if !s.answered {
			s.asking, s.end = true, 0
			return
		}
		s.answered = false
		s.cut()
	}
}

// leap passes over the instants in a long outage of ours: there is nothing to say of each of them.
func (s *State) leap() {
	for i := range s.clock.outages {
		o := &s.clock.outages[i]
		if o.All && o.Until-o.From > tenMinutes && s.due > o.From && s.due < o.Until {
			s.due = max(s.due, floor(min(o.Until, s.clock.now-s.set.Lateness), minute))
		}
	}
}

func floor(at, step int64) int64 {
	if rest := at % step; rest < 0 {
		return at - rest - step
	} else {
		return at - rest
	}
}
