package shard

import (
	"hash/crc32"
	"math"
	"slices"
	"unsafe"

	"muster.dev/proto/batch"
	"muster.dev/proto/event"
)

// form is what a record holds.
type form uint8

const (
	readings form = iota // a batch
	reports              // device events
	sign                 // a gateway's word about a device
	foreign              // something of a later release
)

// typeSign is the ce_type of a gateway's word about a device. The gateway's own package names it; a service learns of
// another's records from the log.
const typeSign = "muster.gateway.sign.v1"

func formOf(topic Topic, ceType string) form {
	switch {
	case topic == Telemetry && ceType == "":
		return readings
	case topic == Events && ceType == event.TypeDevice:
		return reports
	case topic == Events && ceType == typeSign:
		return sign
	}
	return foreign
}

func (f form) topic() Topic {
	if f == readings {
		return Telemetry
	}
	return Events
}

// A reading is a row of a series if its own time is near its record's.
const (
	rowPast   = day
	rowFuture = tenMinutes
)

// device finds the device of a record, if it counts.
func (s *State) device(key []byte) (i, cohort int32, ok bool) {
	if i, ok = s.census.Lookup(key); ok {
		cohort, ok = s.census.CohortOf(i)
	}
	if !ok {
		s.counts.Unknown++
	}
	return i, cohort, ok
}

// late takes a record whose time is closed: it shows that a device lives, and moves nothing else.
func (s *State) late(h *held) {
	s.counts.Late++
	if h.form == sign || h.form == foreign || s.set.Off.Silence {
		return
	}
	if i, _, ok := s.device(h.key); ok {
		s.silence.Heard(i, h.at)
	}
}

func (s *State) apply(h *held) {
	i, cohort, ok := s.device(h.key)
	switch {
	case !ok:
	case h.form == sign:
		if !s.set.Off.Security {
			s.watch.Sign(i, h.at, h.value)
		}
	case h.form == readings:
		s.alive(i, h.at)
		s.readings(i, cohort, h)
	case h.form == reports:
		s.alive(i, h.at)
		s.reports(i, cohort, h)
	}
}

func (s *State) alive(i int32, at int64) {
	if !s.set.Off.Silence {
		s.silence.Heard(i, at)
	}
}

// runs takes the firmware that a device names.
func (s *State) runs(i int32, at int64, firmware []byte) {
	if !s.set.Off.Update {
		s.arms.Heard(i, at, firmware)
	}
	if len(firmware) == 0 || s.set.Off.Silence {
		return
	}
	for int(i) >= len(s.firmware) {
		s.firmware = append(s.firmware, 0)
	}
	sum := max(crc32.ChecksumIEEE(firmware), 1)
	if was := s.firmware[i]; was != sum {
		s.firmware[i] = sum
		if was != 0 {
			s.silence.Updated(i, at)
		}
	}
}

func (s *State) readings(i, cohort int32, h *held) {
	if err := s.batch.Decode(h.value); err != nil {
		s.counts.Malformed++
		return
	}
	b := &s.batch
	if n := len(b.Times); b.Keyed && n > 0 && !s.set.Off.Security {
		s.watch.Message(i, h.at, b.Boot, b.Seq, b.Times[n-1])
	}
	s.runs(i, h.at, b.Firmware)
	if !s.set.Off.Spend {
		s.count(cohort, 0, "", b.Values, len(h.value))
	}
	var names []string
	if b.Schema != 0 {
		if names = s.schemas[b.Schema]; names == nil {
			s.counts.Unnamed++
		}
	}
	s.allFaults = b.Judge(s.allFaults[:0], h.at, true)
	s.faults = s.allFaults
	no := s.census.No(i)
	for c := range b.Columns {
		col := &b.Columns[c]
		name := col.Name
		if name == nil {
			if int(col.Index) >= len(names) {
				continue
			}
			name = bytesOf(names[col.Index])
		}
		s.column(i, no, cohort, name, c, h.at)
	}
}

// fault says whether a value cannot be one. It is asked in the order of columns and steps.
func (s *State) fault(column, step int) bool {
	for len(s.faults) > 0 && (s.faults[0].Column < column || s.faults[0].Column == column && s.faults[0].Step < step) {
		s.faults = s.faults[1:]
	}
	return len(s.faults) > 0 && s.faults[0].Column == column && s.faults[0].Step == step
}

// column takes one metric's readings.
func (s *State) column(i int32, no uint32, cohort int32, name []byte, c int, at int64) {
	col := &s.batch.Columns[c]
	m := s.metric(c, name)
	if !s.set.Off.Spend {
		s.count(cohort, m.id, m.name, len(col.Ints), 0)
	}
	if col.Kind == batch.Text || m.trait == 0 && !m.wanted && s.set.Off.Series {
		return
	}
	var floats []float64
	if col.Kind == batch.Float {
		floats = col.Floats()
	}
	word := 0
	for step, ts := range s.batch.Times {
		if !col.Has(step) {
			continue
		}
		var x float64
		if floats != nil {
			x = floats[word]
		} else {
			x = batch.Scaled(col.Ints[word], col.Scale)
		}
		word++
		if s.fault(c, step) || math.IsNaN(x) || math.IsInf(x, 0) {
			continue
		}
		s.tellTrait(i, at, name, x, m.trait)
		if m.wanted {
			s.arms.Metric(i, at, name, x)
		}
		if s.set.Off.Series {
			continue
		}
		if ts < at-rowPast || ts > at+rowFuture {
			s.counts.Stale++
			continue
		}
		s.counts.Rows++
		s.series.Row(i, no, cohort, name, ts, x)
	}
}

func (s *State) tellTrait(i int32, at int64, name []byte, x float64, t trait) {
	if s.set.Off.Silence {
		return
	}
	if t&battery != 0 {
		s.silence.Battery(i, at, x, string(name))
	}
	if t&radio != 0 {
		s.silence.Radio(i, at, x)
	}
}

func (s *State) reports(i, cohort int32, h *held) {
	m, err := event.DecodeMessage(h.value)
	if err != nil {
		s.counts.Malformed++
		return
	}
	firmware := bytesOf(m.Firmware)
	s.runs(i, h.at, firmware)
	if !s.set.Off.Spend {
		s.count(cohort, 0, "", len(m.Events), len(h.value))
	}
	for k := range m.Events {
		e := &m.Events[k]
		if reason, is := e.Fields["reason"].(string); is && e.Type == event.Boot && !s.set.Off.Silence {
			s.silence.Boot(i, h.at, reason)
		}
		if !s.set.Off.Update {
			s.arms.Event(i, h.at, e, m.Firmware)
		}
		s.fields(i, h.at, e)
	}
}

// fields finds a battery or a radio in what an event tells beside itself.
func (s *State) fields(i int32, at int64, e *event.Device) {
	var found []string
	for name := range e.Fields {
		if traitOf(name) != 0 {
			found = append(found, name)
		}
	}
	slices.Sort(found)
	for _, name := range found {
		switch v := e.Fields[name].(type) {
		case int64:
			s.tellTrait(i, at, bytesOf(name), float64(v), traitOf(name))
		case float64:
			s.tellTrait(i, at, bytesOf(name), v, traitOf(name))
		}
	}
}

// bytesOf gives a text's bytes themselves, to be read.
func bytesOf(s string) []byte { return unsafe.Slice(unsafe.StringData(s), len(s)) }
