package schema

import (
	"cmp"
	"math"
	"slices"

	"muster.dev/proto/batch"
	"muster.dev/services/registry/decide"
)

const (
	// maxTexts is how many values a text may have to be worth a dictionary.
	maxTexts = 100
	// maxDecimal is what Decimal(9, s) holds, as an integer.
	maxDecimal = 1_000_000_000
	// maxExact is the largest integer up to which a Float64 holds all.
	maxExact = 1 << 53
)

// seen is what was seen of one metric of one profile.
type seen struct {
	ints, floats, bools, texts uint64
	scale                      int8     // the largest of the ints
	magnitude                  float64  // the largest value of the ints, without its sign
	distinct                   uint64   // texts, at most maxTexts + 1
	devices                    []uint32 // that sent it, in order, at most maxSenders
}

func (s seen) rows() uint64 { return s.ints + s.floats + s.bools + s.texts }

func (s *seen) add(o seen) {
	s.ints += o.ints
	s.floats += o.floats
	s.bools += o.bools
	s.texts += o.texts
	s.scale = max(s.scale, o.scale)
	s.magnitude = max(s.magnitude, o.magnitude)
	s.distinct = max(s.distinct, o.distinct)
	all := slices.Concat(s.devices, o.devices)
	slices.Sort(all)
	all = slices.Compact(all)
	s.devices = all[:min(len(all), maxSenders)]
}

// before orders metrics by how many devices send them, then by how often they were seen.
func before(a, b seen) int {
	return cmp.Or(cmp.Compare(len(b.devices), len(a.devices)), cmp.Compare(b.rows(), a.rows()))
}

const (
	// openMetrics of a profile's columns are for whatever is seen. The rest are for what many devices send, so that
	// one that makes names up cannot take the columns of all.
	openMetrics = decide.MaxMetrics / 2
	// maxSenders is how many devices are told apart for one metric, and the most that is asked for.
	maxSenders = 16
)

// senders is how many devices must send a metric for it to have one of the later columns, in a profile of so many.
func senders(enrolled uint64) int { return int(min(max(enrolled/20, 2), maxSenders)) }

// judge says which column suits what was seen, if any does.
func judge(name string, s seen, minRows uint64) (decide.Metric, bool) {
	m := decide.Metric{Name: name}
	if s.rows() < minRows || !batch.MetricName(name) {
		return m, false
	}
	switch s.rows() {
	case s.texts:
		m.Kind = batch.Text
		return m, s.distinct <= maxTexts
	case s.bools:
		m.Kind = batch.Bool
		return m, true
	case s.ints:
		m.Kind, m.Scale = batch.Int, uint8(s.scale)
		// The scale is the largest that was seen; a value that does not fit it would go to the overflow for ever.
		return m, s.scale == 0 || s.magnitude*math.Pow10(int(s.scale)) < maxDecimal
	case s.floats, s.ints + s.floats:
		m.Kind = batch.Float
		return m, s.magnitude < maxExact
	}
	return m, false
}
