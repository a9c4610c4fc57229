package health

import (
	"hash/fnv"
	"strconv"
	"strings"
	"time"

	"muster.dev/proto/batch"
	"muster.dev/proto/event"
)

// Bounds of what is told of an operating system's complaints.
const (
	perHour    = 30
	maxKinds   = 256       // kinds of complaints that are remembered
	repeatedIn = time.Hour // alike complaints within this time are one event
	worst      = 3         // kernel levels above it (warning, notice, ...) are no errors
)

// sieve lets few complaints through and counts the others.
type sieve struct {
	kinds      map[uint64]*kind
	tokens     float64
	filled     time.Time
	suppressed int64
}

type kind struct {
	told  time.Time
	count int64 // since it was told
}

func newSieve(now time.Time) *sieve {
	return &sieve{kinds: map[uint64]*kind{}, tokens: perHour, filled: now}
}

// complaint is one line of an operating system's log.
type complaint struct{ code, source, message string }

// pass says whether the complaint is told now, and how many it then stands for: of its kind, and of others that were not
// told at all.
func (s *sieve) pass(c complaint, now time.Time) (count, suppressed int64, ok bool) {
	s.tokens = min(perHour, s.tokens+now.Sub(s.filled).Hours()*perHour)
	s.filled = now
	key := c.kind()
	k := s.kinds[key]
	if k == nil {
		if len(s.kinds) == maxKinds {
			s.forget(now)
		}
		if len(s.kinds) == maxKinds {
			s.suppressed++
			return 0, 0, false
		}
		k = &kind{}
		s.kinds[key] = k
	}
	k.count++
	if !k.told.IsZero() && now.Sub(k.told) < repeatedIn || s.tokens < 1 {
		return 0, 0, false
	}
	s.tokens--
	count, suppressed = k.count, s.suppressed
	k.told, k.count, s.suppressed = now, 0, 0
	return count, suppressed, true
}

// forget makes room: what was told long ago and has not come again.
func (s *sieve) forget(now time.Time) {
	for key, k := range s.kinds {
		if now.Sub(k.told) >= repeatedIn {
			s.suppressed += k.count
			delete(s.kinds, key)
		}
	}
}

// kind is the same for complaints that differ in their numbers only.
func (c complaint) kind() uint64 {
	h := fnv.New64a()
	digits := false
	for _, b := range []byte(c.code + "\x00" + c.source + "\x00" + c.message) {
		was := digits
		if digits = '0' <= b && b <= '9'; digits {
			b = '0'
		}
		if !digits || !was {
			_, _ = h.Write([]byte{b})
		}
	}
	return h.Sum64()
}

func (c complaint) event(now time.Time, count, suppressed int64) event.Device {
	fields := map[string]any{"code": c.code, "message": text(c.message, batch.MaxText), "count": count}
	if c.source != "" {
		fields["source"] = text(c.source, 64)
	}
	if suppressed > 0 {
		fields["suppressed"] = suppressed
	}
	return Event(event.OSError, now.UnixMilli(), fields)
}

var levels = [...]string{"kernel_emerg", "kernel_alert", "kernel_crit", "kernel_err"}

// parseKmsg reads a record of /dev/kmsg: "level,seq,time,flags;message" and lines of its properties (Linux,
// Documentation/ABI/testing/dev-kmsg).
func parseKmsg(record string) (complaint, bool) {
	head, rest, ok := strings.Cut(record, ";")
	first, _, _ := strings.Cut(head, ",")
	level, err := strconv.ParseUint(first, 10, 16)
	if !ok || err != nil || level&7 > worst {
		return complaint{}, false
	}
	message, _, _ := strings.Cut(rest, "\n")
	return complaint{code: levels[level&7], source: sourceOf(message), message: message}, message != ""
}

// parseLine takes a line of a log for an error; where it comes from is what stands before its first colon.
func parseLine(line string) (complaint, bool) {
	line = strings.TrimSpace(line)
	if head, _, ok := strings.Cut(line, ";"); ok && strings.Count(head, ",") >= 3 {
		if c, ok := parseKmsg(line); ok {
			return c, true
		}
	}
	return complaint{code: "log", source: sourceOf(line), message: line}, line != ""
}

func sourceOf(message string) string {
	source, _, ok := strings.Cut(message, ": ")
	if !ok || len(source) > 64 {
		return ""
	}
	return source
}
