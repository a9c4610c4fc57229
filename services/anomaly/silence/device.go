package silence

import (
	"math"

	"muster.dev/services/anomaly/page"
)

// device is what is kept of one device: 40 bytes, of a million of them.
type device struct {
	last    int64   // ms: its last sign of life; before the first one, when it joined
	slow    float32 // dBm: the signal that is usual for it
	every   uint32  // ms expected between two signs of life: as told, or as learnt if that is longer
	group   uint32  // 1 + the place of its group; 0: it does not count
	fast    int16   // dBm/64: the signal now
	power   uint16  // when it last showed a lack of power, in units of 10 minutes; 0: never
	updated uint16  // when its firmware last changed, the same
	flags   flags
	runs    uint16 // runs of missed intervals that it had
	more    uint16 // intervals by which runs went on after their first
	gaps    uint32 // between two signs of life, of which so many were runs; of those without one no more than countGaps says
}

type flags uint16

const (
	heard    flags = 1 << iota // at least once
	settled                    // before the last cut
	missing                    // for so long that it counts
	spoke                      // since it was missing
	named                      // as gone
	lowPower                   // its last reading of the battery
	returned                   // from missing, and its first boot after that was not told
	powered                    // that boot said that the power had been gone
	// Two bits: reports until a new interval is believed. Two bits: gaps in a row that do not go with the interval.
	// Four bits: how much longer they were.
	probationAt = 8
	oddAt       = 10
	likeAt      = 12
)

func (v *device) is(f flags) bool { return v.flags&f != 0 }
func (v *device) set(f flags)     { v.flags |= f }
func (v *device) clear(f flags)   { v.flags &^= f }

func (v *device) field(at, bits int) int { return int(v.flags>>at) & (1<<bits - 1) }
func (v *device) put(at, bits, n int) {
	mask := flags(1<<bits-1) << at
	v.flags = v.flags&^mask | flags(n)<<at&mask
}

func (v *device) probation() int   { return v.field(probationAt, 2) }
func (v *device) watch(report int) { v.put(probationAt, 2, report) }

// coarse is a time in units of 10 minutes. It comes round after 15 months: what is older than a window is forgotten long before.
func coarse(at int64) uint16 { return max(1, uint16(at/tenMin)) }

// within says whether a coarse time lies at most a window before another, or hardly after it.
func within(when uint16, at, window int64) bool {
	before := int64(int16(coarse(at) - when))
	return when != 0 && before >= -1 && before <= window/tenMin
}

const (
	reports  = 3  // with another gap than expected: then that is its interval
	outage   = 64 // intervals: a longer silence says nothing of how losses run
	shorter  = 15 // of the field like: the gaps are back to what was told
	mostLike = 14
)

// gap learns from the time between two signs of life; told is the interval that is the least.
func (v *device) gap(gap, told int64) {
	every := int64(v.every)
	if gap < every/8 {
		return // two messages of one report
	}
	if n := v.probation(); n > 0 {
		v.watch(n - 1)
	}
	missed := (gap+every/2)/every - 1
	if missed >= 1 && missed <= outage {
		v.runs++
		v.more += uint16(missed - 1)
		if v.runs >= 1_000 || v.more >= 60_000 {
			v.runs, v.more, v.gaps = v.runs/2, v.more/2, v.gaps/2
		}
	}
	if missed <= outage && v.gaps < countGaps(v.runs) {
		v.gaps++
	}
	like := 0
	switch {
	case 2*gap >= 3*every:
		like = min(mostLike, 1+int(4*math.Log2(float64(gap)/float64(every))))
	case every > told && 3*gap <= 2*every:
		like = shorter
	default:
		v.put(oddAt, 2, 0)
		return
	}
	odd, was := v.field(oddAt, 2), v.field(likeAt, 4)
	if odd == 0 || like-was > 1 || was-like > 1 {
		odd = 0
		v.put(likeAt, 4, like)
	}
	if odd++; odd < reports {
		v.put(oddAt, 2, odd)
		return
	}
	v.put(oddAt, 2, 0)
	v.watch(0)
	v.every = uint32(min(max(told, min(gap, 16*told)), math.MaxUint32))
}

// phi is the chance, in millionths, that a run of missed intervals goes on. Of a device of which nothing is known it is
// taken for high, as if it was seen to go on in 1.2 of 2 cases: who has one on a bad radio waits before he is told.
func (v *device) phi() uint32 {
	return uint32((1_000_000*int64(v.more) + 1_200_000) / (int64(v.runs) + int64(v.more) + 2))
}

// signal takes in a reading of the radio.
func (v *device) signal(dBm float64, since int64) {
	if !(dBm >= -200 && dBm <= 100) {
		return
	}
	if v.slow == 0 {
		v.slow, v.fast = float32(dBm), int16(64*dBm)
		return
	}
	w := min(0.25, float64(max(since, 0))/(12*hourMS))
	v.slow += float32(w * (dBm - float64(v.slow)))
	v.fast += int16((64*dBm - float64(v.fast)) / 4)
}

// marks is what may explain that nothing was heard after the last sign of life.
func (v *device) marks(s *Settings) (m page.Marks) {
	if v.is(lowPower) || within(v.power, v.last, s.PowerFor) {
		m |= page.MarkPower
	}
	if now := float64(v.fast) / 64; v.slow != 0 && (now <= s.WeakDBm || now <= float64(v.slow)-s.FallenDB) {
		m |= page.MarkRadio
	}
	if within(v.updated, v.last, s.UpdatedFor) {
		m |= page.MarkUpdated
	}
	if !v.is(heard) {
		m |= page.MarkNever
	}
	return m
}

// forget drops signs that are older than a window, before coarse times come round.
func (v *device) forget(s *Settings) {
	if v.power != 0 && !within(v.power, v.last, s.PowerFor) {
		v.power = 0
	}
	if v.updated != 0 && !within(v.updated, v.last, s.UpdatedFor) {
		v.updated = 0
	}
}

// fresh is a device that has just joined, moved or been told another interval.
func (v *device) fresh(at int64, every int64) {
	v.last = max(v.last, at)
	v.every = uint32(min(every, math.MaxUint32))
	v.clear(missing | spoke | named | returned | powered)
	v.put(oddAt, 2, 0)
}
