package fast

import (
	"muster.dev/fleet/simulator/report"
	"muster.dev/fleet/simulator/truth"
	"muster.dev/fleet/simulator/world"
	"muster.dev/proto/record"
)

// lotSize is how many lives a lot has. It is fixed: what a lot is may not depend on who works it.
const lotSize = 256

// lot is some lives of one partition, worked by one worker at a time.
type lot struct {
	partition int32
	members   []int // by index
	lives     []*world.Life
	turns     []turns // of each with its clone
	happening world.Happening
	lines     []truth.Line
	days      []truth.Count // by cohort, then by day
}

// entry is a record to be.
type entry struct {
	key        uint64 // by which the slot is sorted: time, device, place in the device's life
	member     int32
	boot       uint32
	seq        uint64
	from, till int32 // of the value, in the lot's bytes of the slot
	stream     world.Stream
	sign       bool // the gateway's, and not the device's
}

// The parts of an entry's key. A watermark sorts before the devices of the same millisecond, by its gateway.
const (
	orderBits  = 20
	deviceBits = 20
	timeBits   = 24 // ms: a slot is at most four hours
	maxDevices = 1<<deviceBits - 1
)

func keyOf(ms int64, device, order int) uint64 {
	return uint64(ms)<<(deviceBits+orderBits) | uint64(device)<<orderBits | uint64(order)
}

// harvest is what a lot gave for a slot. It is used again for a later one.
type harvest struct {
	entries  []entry
	bytes    []byte
	accepted []uint32 // by beat of the slot, of the lot's region: taken before the next one
	refused  []uint32
}

// work plays the lot's lives up to a slot's end.
func (r *run) work(l *lot, s *slot, h *harvest) {
	h.entries, h.bytes = h.entries[:0], h.bytes[:0]
	beats := len(s.beats) * len(r.fleet.regions)
	h.accepted, h.refused = zeroed(h.accepted, beats), zeroed(h.refused, beats)
	cohorts := r.World.Scenario().Cohorts
	for i, life := range l.lives {
		device := l.members[i]
		told := &r.told[device]
		cohort := r.devices[device].Cohort
		interval := cohorts[cohort].Interval.Milliseconds()
		order := 0
		for life.Before(s.until, &l.happening) {
			x := &l.happening
			switch x.Kind {
			case world.Fact:
				l.lines = append(l.lines, x.Truth)
			case world.Tally:
				l.count(r, cohort, x)
				told.Made += uint64(x.Count.Made)
			case world.Lost:
				if x.Message.Stream == world.Telemetry {
					told.Lost++
					r.lost(device, x.Message.Made)
				}
			case world.Held:
				r.held(device, x.Message.Made)
			case world.Deliver:
				m := &x.Message
				beat := s.beat(x.At)*len(r.fleet.regions) + r.fleet.region[cohort]
				if m.Revoked {
					told.Refused++
					h.refused[beat]++
					continue
				}
				h.accepted[beat]++
				told.Arrive(report.Arrival{
					Events: m.Stream == world.Events, Copy: m.Copy, Clone: m.Clone, Boot: m.Boot, Seq: m.Seq, Hash: record.Hash(m.Body),
				})
				if r.Losses && m.Stream == world.Telemetry && !m.Clone && !m.Copy {
					told.Clock.See(m.Made, m.Off, interval)
				}
				from := len(h.bytes)
				h.bytes = append(h.bytes, m.Body...)
				h.entries = append(h.entries, entry{
					key: keyOf(x.At-s.from, device+1, order), member: int32(device), boot: m.Boot, seq: m.Seq, from: int32(from), till: int32(len(h.bytes)), stream: m.Stream,
				})
				order++
				if l.turns[i].came(m.Clone, x.At) {
					l.sign(r, s, h, i, x.At, order, m.Clone)
					order++
				}
			}
		}
	}
}

// sign writes what the gateway thinks of a message that has just come.
func (l *lot) sign(r *run, s *slot, h *harvest, life int, at int64, order int, clone bool) {
	device := l.members[life]
	gateway := gatewayName(r.fleet.regions[r.fleet.region[r.devices[device].Cohort]])
	from := len(h.bytes)
	var err error
	if h.bytes, err = appendSign(h.bytes, gateway, clone, at); err != nil {
		s.fail(err)
		return
	}
	h.entries = append(h.entries, entry{
		key: keyOf(at-s.from, device+1, order), member: int32(device), from: int32(from), till: int32(len(h.bytes)), stream: world.Events, sign: true,
	})
}

func zeroed(list []uint32, n int) []uint32 {
	if cap(list) < n {
		return make([]uint32, n)
	}
	list = list[:n]
	clear(list)
	return list
}
