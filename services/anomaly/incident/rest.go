package incident

import (
	"encoding/binary"
	"math"

	"muster.dev/proto/event"
)

// maxRest bounds the subjects of a kind that are counted and not told one by one.
const maxRest = 1 << 16

// rest are the causes of one kind that got no incident, for there are too many open. They are one incident together.
type rest struct {
	seen     map[uint64]int64 // hash of the subject -> last seen
	since    int64
	severity string
	period   int64
	swept    int64
	told     bool // its summary has been opened
}

func (s *Signal) hash() uint64 {
	sum := digest(s.Kind, s.Subject, "")
	return binary.BigEndian.Uint64(sum[:])
}

func (r *rest) remember(s *Signal) {
	h := s.hash()
	if r.seen == nil {
		r.seen = map[uint64]int64{}
	}
	if len(r.seen) == 0 {
		r.since, r.severity, r.period = math.MaxInt64, "", 0
	}
	if _, ok := r.seen[h]; !ok && len(r.seen) >= maxRest {
		return
	}
	r.seen[h] = s.At
	r.since, r.period = min(r.since, s.At), max(r.period, s.Period)
	severity := s.Severity
	if severity == "" {
		severity = Severity(s.Kind, s.Cause)
	}
	if rank(severity) > rank(r.severity) {
		r.severity = severity
	}
}

func (r *rest) forget(s *Signal) {
	if len(r.seen) > 0 {
		delete(r.seen, s.hash())
	}
}

// sweep forgets what is not said any more, now and then.
func (r *rest) sweep(at int64) {
	stale := max(10*minute, 2*r.period)
	if len(r.seen) == 0 || at < r.swept+stale {
		return
	}
	r.swept = at
	for h, last := range r.seen { // each for itself: the order decides nothing
		if last+stale < at {
			delete(r.seen, h)
		}
	}
}

// signal is what the summary's incident is told, if there is one.
func (r *rest) signal(kind event.IncidentKind, at int64) (Signal, bool) {
	s := Signal{Kind: kind, Cause: CauseMany, Severity: r.severity, Since: r.since, At: at, Period: max(r.period, minute)}
	if len(r.seen) == 0 {
		s.Over, s.Since = true, at
		told := r.told
		return s, told
	}
	r.told = true
	s.Count = uint32(len(r.seen))
	s.Why = "as many incidents of this kind are open as are told one by one; the rest are counted here"
	s.Numbers = []event.Number{{Name: "not_told", Micro: int64(len(r.seen)) * 1e6, Unit: "incidents"}}
	return s, true
}
