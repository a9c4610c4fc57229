package shard

import "math"

// Heard is a record of telemetry or of device events. The shard keeps key and value until their time is closed.
type Heard struct {
	Time       int64 // Unix ms, the record's own
	Offset     int64
	Key, Value []byte
	Type       string // ce_type; telemetry of devices has none
}

// Topic is one of the two that are merged.
type Topic uint8

// The topics, in the order in which records of one time are taken.
const (
	Telemetry Topic = iota
	Events
	topics
)

// stream is what of one topic was read.
type stream struct {
	next  int64 // offset of the first record that was not taken
	known int64 // nothing before this time will come
	queue []Heard
	taken int // of the queue
}

func (t *stream) head() *Heard {
	if t.taken == len(t.queue) {
		return nil
	}
	return &t.queue[t.taken]
}

func (t *stream) add(h Heard) {
	if h.Offset < t.next || len(t.queue) > t.taken && h.Offset <= t.queue[len(t.queue)-1].Offset {
		return // it was read before
	}
	if t.taken > 0 && (t.taken == len(t.queue) || t.taken > 1_024 && 2*t.taken > len(t.queue)) {
		n := copy(t.queue, t.queue[t.taken:])
		clear(t.queue[n:])
		t.queue, t.taken = t.queue[:n], 0
	}
	t.queue = append(t.queue, h)
}

func (t *stream) take() Heard {
	h := t.queue[t.taken]
	t.queue[t.taken] = Heard{}
	t.taken++
	t.next = h.Offset + 1
	return h
}

// Telemetry takes the next record of the partition of telemetry.
func (s *State) Telemetry(h Heard) {
	s.streams[Telemetry].add(h)
	s.run()
}

// Events takes the next record of the partition of device events.
func (s *State) Events(h Heard) {
	s.streams[Events].add(h)
	s.run()
}

// Known says that no record of a topic that was not told yet has a time before until. Who reads a log that goes on has no
// need of it: watermarks come on both topics. The end of a stored one is Known(topic, math.MaxInt64).
func (s *State) Known(topic Topic, until int64) {
	s.streams[topic].known = max(s.streams[topic].known, until)
	s.run()
}

// Queued is how many records of a topic wait for the other one: reading on it may rest when there are many.
func (s *State) Queued(topic Topic) int { return len(s.streams[topic].queue) - s.streams[topic].taken }

// run takes all records that can be taken.
func (s *State) run() {
	s.advance()
	for !s.asking {
		topic, ok := s.pick()
		if !ok {
			return
		}
		s.take(topic, s.streams[topic].take())
	}
}

// pick says which topic's next record is the next one of all.
func (s *State) pick() (Topic, bool) {
	t, e := s.streams[Telemetry].head(), s.streams[Events].head()
	switch {
	case t == nil && e == nil:
		return 0, false
	case t == nil:
		return Events, s.streams[Telemetry].known == math.MaxInt64 || e.Time < s.streams[Telemetry].known
	case e == nil:
		return Telemetry, s.streams[Events].known == math.MaxInt64 || t.Time <= s.streams[Events].known
	}
	// A record far ahead of the clock is of a gateway whose own is wrong. It says nothing about order, and must not hold
	// up what is behind it until the clock comes there.
	switch wrongT, wrongE := s.clock.ahead(t.Time), s.clock.ahead(e.Time); {
	case wrongT && !wrongE:
		return Telemetry, true
	case wrongE && !wrongT:
		return Events, true
	case e.Time < t.Time:
		return Events, true
	}
	return Telemetry, true
}
