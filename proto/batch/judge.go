package batch

import "muster.dev/proto/record"

// Reasons of a fault, as they stand in answers, in metrics and in the quarantine table.
const (
	ReasonNaN        = "nan"          // a float that is no number
	ReasonInfinity   = "infinity"     // a float without bound
	ReasonTimePast   = "time_past"    // the step is too old for this device
	ReasonTimeFuture = "time_future"  // the step is ahead of the record's time
	ReasonOffType    = "off_type"     // not of the column's kind
	ReasonOutOfRange = "out_of_range" // a number that neither int64 nor float64 can hold as it was said
	ReasonTooLong    = "too_long"     // a text beyond MaxText
	ReasonNotUTF8    = "not_utf8"     // a text that is none
)

// Reasons lists all of them, for whoever declares a metric.
func Reasons() []string {
	return []string{ReasonNaN, ReasonInfinity, ReasonTimePast, ReasonTimeFuture, ReasonOffType, ReasonOutOfRange, ReasonTooLong, ReasonNotUTF8}
}

type reason uint8

const (
	offType reason = iota + 1
	outOfRange
	tooLong
	notUTF8
)

func (r reason) String() string {
	switch r {
	case offType:
		return ReasonOffType
	case outOfRange:
		return ReasonOutOfRange
	case tooLong:
		return ReasonTooLong
	default:
		return ReasonNotUTF8
	}
}

// MaxTime is the last instant that a DateTime64(3) of the store holds: 2299-12-31 23:59:59.999 UTC, in Unix ms.
const MaxTime = 10_413_791_999_999

// Fault is a value that is not to be stored, and why. Metric is empty when the message uses a schema: the reader
// has the name by Columns[Column].Index.
type Fault struct {
	Column, Step int
	Metric       string
	Reason       string
}

// Judge appends the faults of a decoded batch to dst, by column and then by step. It is pure: bytes, record time and
// history decide, no clock does. recordTimeMS is the Kafka record's CreateTime. A step out of time faults all its values.
// Without faults it neither allocates nor reads integers.
func (b *Batch) Judge(dst []Fault, recordTimeMS int64, history bool) []Fault {
	oldest, newest := Bounds(recordTimeMS, history)
	inTime := len(b.Times) == 0 || b.Times[0] >= oldest && b.Times[len(b.Times)-1] <= newest
	for ci := range b.Columns {
		c := &b.Columns[ci]
		if inTime && !b.faulty && (c.Kind != Float || allFinite(c.Floats())) {
			continue
		}
		dst = b.judgeColumn(dst, ci, oldest, newest)
	}
	return dst
}

// Bounds are the first and last Unix ms that a reading of a record may have.
func Bounds(recordTimeMS int64, history bool) (oldest, newest int64) {
	newest = min(recordTimeMS, MaxTime) + record.MaxSkewFuture.Milliseconds()
	if !history {
		oldest = max(recordTimeMS, 0) - record.MaxSkewPast.Milliseconds()
	}
	return max(oldest, 0), min(newest, MaxTime)
}

func allFinite(fs []float64) bool {
	for _, f := range fs {
		if !finite(f) {
			return false
		}
	}
	return true
}

func (b *Batch) judgeColumn(dst []Fault, ci int, oldest, newest int64) []Fault {
	c := &b.Columns[ci]
	var metric string // made at the first fault, and once
	word := 0
	for step, at := range b.Times {
		if !c.Has(step) {
			continue
		}
		if why := b.why(c, word, at, oldest, newest); why != "" {
			if metric == "" {
				metric = string(c.Name)
			}
			dst = append(dst, Fault{Column: ci, Step: step, Metric: metric, Reason: why})
		}
		word++
	}
	return dst
}

func (b *Batch) why(c *Column, word int, at, oldest, newest int64) string {
	switch {
	case at < oldest:
		return ReasonTimePast
	case at > newest:
		return ReasonTimeFuture
	case b.isBad(c, word):
		r, _ := badWord(c.Ints[word])
		return r.String()
	}
	if c.Kind == Float {
		if f := c.Floats()[word]; f != f {
			return ReasonNaN
		} else if !finite(f) {
			return ReasonInfinity
		}
	}
	return ""
}

// Mask answers, column by column, which steps are withheld from the store. The zero value is ready, and Set reuses
// its memory.
type Mask struct {
	words int
	bits  []uint64
	any   [MaxColumns]bool
}

// Set makes m the mask of these faults of b.
func (m *Mask) Set(b *Batch, faults []Fault) {
	m.any = [MaxColumns]bool{}
	if len(faults) == 0 {
		return
	}
	m.words = (len(b.Times) + 63) / 64
	need := m.words * len(b.Columns)
	if cap(m.bits) < need {
		m.bits = make([]uint64, need)
	}
	m.bits = m.bits[:need]
	clear(m.bits)
	for _, f := range faults {
		m.bits[f.Column*m.words+f.Step>>6] |= 1 << (f.Step & 63)
		m.any[f.Column] = true
	}
}

// Column is a bitmap over steps, set where the value is at fault; nil when the column has none.
func (m *Mask) Column(i int) []uint64 {
	if !m.any[i] {
		return nil
	}
	return m.bits[i*m.words : (i+1)*m.words]
}
