package judge

import (
	"slices"

	"muster.dev/proto/event"
	"muster.dev/proto/record"
)

// position is where a shard's three logs, and its pages, went on at a cut.
type position struct {
	until                             int64
	page, telemetry, events, registry int64
}

// ring remembers the positions of a partition, one a minute of event time for two days. What began before that has
// evidence from then on.
type ring struct{ kept []position }

const (
	ringStep = 60_000
	ringLen  = 2 * 24 * 60
	ringMost = ringLen + ringLen/8
)

func (r *ring) add(p position) {
	if n := len(r.kept); n > 0 && p.until < r.kept[n-1].until+ringStep {
		return
	}
	if len(r.kept) >= ringMost {
		r.kept = append(r.kept[:0], r.kept[len(r.kept)-ringLen:]...)
	}
	r.kept = append(r.kept, p)
}

// before is the last position not after an instant; or the first that is known.
func (r *ring) before(at int64) (p position, ok bool) {
	i, found := slices.BinarySearchFunc(r.kept, at, func(p position, at int64) int {
		switch {
		case p.until < at:
			return -1
		case p.until > at:
			return 1
		}
		return 0
	})
	if !found && i > 0 {
		i--
	}
	if i >= len(r.kept) {
		return p, false
	}
	return r.kept[i], true
}

// early is how much evidence begins before what it is of: a shard has read beyond the end of a slot when it cuts.
const early = 2 * 60_000

// ranges are the stretches of the log that hold what was said from an instant until now.
func (s *State) ranges(from, _ int64) []event.Range {
	all := make([]event.Range, 0, 3*len(s.parts)+1)
	add := func(topic string, part int, from, to int64) {
		all = append(all, event.Range{Topic: topic, Part: int32(part), From: from, To: to}) // an empty one may grow
	}
	for i := range s.parts {
		p := &s.parts[i]
		was, ok := p.ring.before(from - early)
		if !ok {
			continue
		}
		add(record.TopicTelemetry, i, was.telemetry, p.now.telemetry)
		add(record.TopicEvents, i, was.events, p.now.events)
		add(record.TopicCohorts, i, was.page, p.now.page)
		if i == 0 {
			add(record.TopicRegistry, 0, was.registry, max(p.now.registry, s.registry.next))
		}
	}
	return all
}

// pin is where the evidence of a rollout begins, which may be long before the ring.
type pin struct {
	rollout string
	from    []event.Range
}

const maxPins = 256

// begin pins a rollout's begin at the cut that sees it.
func (s *State) begin(rollout string, at int64) {
	if slices.ContainsFunc(s.pins, func(p pin) bool { return p.rollout == rollout }) {
		return
	}
	if len(s.pins) == maxPins {
		s.pins = slices.Delete(s.pins, 0, 1)
	}
	s.pins = append(s.pins, pin{rollout, s.ranges(at, at)})
}

// since are the ranges from a rollout's begin until now.
func (s *State) since(rollout string) []event.Range {
	all := s.ranges(s.at, s.at)
	for _, p := range s.pins {
		if p.rollout != rollout {
			continue
		}
		for i := range all {
			for _, was := range p.from {
				if was.Topic == all[i].Topic && was.Part == all[i].Part {
					all[i].From = min(all[i].From, was.From)
				}
			}
		}
	}
	return all
}
