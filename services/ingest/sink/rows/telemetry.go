package rows

import (
	"math/bits"
	"slices"

	"muster.dev/proto/batch"
)

// putTelemetry adds the samples of a batch: those that the device's profile has a column for to its wide table, the
// others to the overflow, those that were old when they came to a table of their own, those at fault to quarantine.
func (s *Sheet) putTelemetry(m *Message) ledgerRow {
	b := &m.batch
	row := ledgerRow{outcome: Stored}
	if len(b.Times) > 0 {
		row.t0, row.t1 = b.Times[0], b.Times[len(b.Times)-1]
	}
	s.faults = b.Judge(s.faults[:0], m.Time, m.Device.History)
	for i, f := range s.faults {
		s.text = b.AppendValue(s.text[:0], f.Column, f.Step)
		s.putFault(m, fault{idx: uint32(i), ts: b.Times[f.Step], metric: m.metric(&b.Columns[f.Column]), reason: f.Reason, payload: s.text})
	}
	row.faults = uint32(len(s.faults))
	row.n = uint32(b.Values - len(s.faults))
	s.mask.Set(b, s.faults)
	old := oldSteps(m)
	if s.keepSteps(m, byDay, old, len(b.Times)) {
		s.putRecent(m)
	}
	if old > 0 && s.keepSteps(m, byYear, 0, old) {
		for ci := range b.Columns {
			c := &b.Columns[ci]
			s.putNarrow(s.old, m, c, s.choose(m, c, s.mask.Column(ci), nil))
		}
	}
	return row
}

// putRecent adds what is kept by day.
func (s *Sheet) putRecent(m *Message) {
	w := s.wideOf(m.Device.Profile)
	s.route(m, w)
	if w != nil {
		s.putWide(m, w)
	}
	for ci := range m.batch.Columns {
		c := &m.batch.Columns[ci]
		switch {
		case s.from[ci] == nil:
			s.putNarrow(s.other, m, c, s.choose(m, c, s.mask.Column(ci), nil))
		case s.misfit[ci] != nil:
			s.putNarrow(s.other, m, c, s.choose(m, c, s.mask.Column(ci), s.misfit[ci]))
		}
	}
}

// oldSteps is how many of the batch's steps, which are in the order of time, lie before what a device without history
// may send. It is a function of the record alone, so that a replay sends them to the same table.
func oldSteps(m *Message) int {
	if !m.Device.History {
		return 0
	}
	oldest, _ := batch.Bounds(m.Time, false)
	n, _ := slices.BinarySearch(m.batch.Times, oldest)
	return n
}

// keepSteps marks the steps to skip: those that are not from first up to end (excluded), and those that Only leaves
// out. It says whether any is left.
func (s *Sheet) keepSteps(m *Message, by partitioning, first, end int) bool {
	s.skip = s.skip[:0]
	o, times := s.set.Only, m.batch.Times
	if o == nil && first == 0 && end == len(times) {
		return end > 0
	}
	for range (len(times) + 63) / 64 {
		s.skip = append(s.skip, 0)
	}
	left := false
	for i, at := range times {
		if i < first || i >= end || o != nil && (at < 0 || !o.Parts[by.id(by.key(m.Device.Class, at))]) {
			s.skip[i>>6] |= 1 << (i & 63)
		} else {
			left = true
		}
	}
	return left
}

// choose finds the values of a column that are to be written: present, not withheld, and among the wanted ones if
// there are any. It says true, and leaves the lists alone, when that is every step.
func (s *Sheet) choose(m *Message, c *batch.Column, withheld, wanted []uint64) bool {
	if c.Missing == nil && withheld == nil && wanted == nil && len(s.skip) == 0 {
		return true
	}
	s.steps, s.words = s.steps[:0], s.words[:0]
	steps := len(m.batch.Times)
	word := 0
	for base := 0; base < steps; base += 64 {
		i := base >> 6
		n := min(64, steps-base)
		present := ^uint64(0) >> (64 - n)
		if c.Missing != nil {
			present &^= c.Missing[i]
		}
		take := present
		if withheld != nil {
			take &^= withheld[i]
		}
		if wanted != nil {
			take &= wanted[i]
		}
		if len(s.skip) > 0 {
			take &^= s.skip[i]
		}
		for rest := take; rest != 0; rest &= rest - 1 {
			bit := bits.TrailingZeros64(rest)
			s.steps = append(s.steps, int32(base+bit))
			s.words = append(s.words, int32(word+bits.OnesCount64(present&(1<<bit-1))))
		}
		word += bits.OnesCount64(present)
	}
	return false
}
