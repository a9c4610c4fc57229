package rows

import (
	"math/bits"

	"muster.dev/proto/batch"
)

// putTelemetry adds the samples of a batch: those that the device's profile has a column for to its wide table, the
// others to the overflow, those at fault to quarantine.
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
	s.skipSteps(m)

	w := s.wideOf(m.Device.Profile)
	s.route(m, w)
	if w != nil {
		s.putWide(m, w)
	}
	for ci := range b.Columns {
		c := &b.Columns[ci]
		switch {
		case s.from[ci] == nil:
			s.putOther(m, c, s.choose(m, c, s.mask.Column(ci), nil))
		case s.misfit[ci] != nil:
			s.putOther(m, c, s.choose(m, c, s.mask.Column(ci), s.misfit[ci]))
		}
	}
	return row
}

// skipSteps marks the steps that Only leaves out.
func (s *Sheet) skipSteps(m *Message) {
	s.skip = s.skip[:0]
	o := s.set.Only
	if o == nil {
		return
	}
	for range (len(m.batch.Times) + 63) / 64 {
		s.skip = append(s.skip, 0)
	}
	for i, at := range m.batch.Times {
		if at < 0 || !o.Parts[dayID(dayKey(m.Device.Class, at))] {
			s.skip[i>>6] |= 1 << (i & 63)
		}
	}
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
