package answer

import "strconv"

// Type is the media type of an answer that is no problem.
const Type = "application/json"

// MaxQuarantined bounds how many faults an answer names one by one; the count is always whole.
const MaxQuarantined = 100

// Quarantined is one value that was accepted with the message and will stand in quarantine instead of the samples.
type Quarantined struct {
	Metric string
	Step   int
	TS     int64
	Reason string
}

// Receipt is the answer for a message that is in the log.
type Receipt struct {
	Duplicate bool
	// Unkeyed tells the device that a retry of this message would be stored twice.
	Unkeyed bool
	// Regressed tells that the seq went back within one boot: a sign of a clone, or of a counter that was lost.
	Regressed bool
	// Values is how many values will be stored; those at fault are not among them.
	Values int
	// Faults is how many values are at fault, Quarantined the first of them.
	Faults      int
	Quarantined []Quarantined
}

// Append writes the receipt as JSON behind dst.
func (r *Receipt) Append(dst []byte) []byte {
	dst = append(dst, `{"status":"stored","values":`...)
	dst = strconv.AppendInt(dst, int64(r.Values), 10)
	if r.Duplicate {
		dst = append(dst, `,"duplicate":true`...)
	}
	if r.Unkeyed {
		dst = append(dst, `,"delivery":"at-least-once"`...)
	}
	if r.Regressed {
		dst = append(dst, `,"seq_regressed":true`...)
	}
	if r.Faults > 0 {
		dst = append(dst, `,"quarantined_values":`...)
		dst = strconv.AppendInt(dst, int64(r.Faults), 10)
		dst = append(dst, `,"quarantined":[`...)
		for i := range r.Quarantined[:min(len(r.Quarantined), MaxQuarantined)] {
			q := &r.Quarantined[i]
			if i > 0 {
				dst = append(dst, ',')
			}
			dst = append(dst, `{"metric":`...)
			dst = appendString(dst, q.Metric)
			dst = append(dst, `,"step":`...)
			dst = strconv.AppendInt(dst, int64(q.Step), 10)
			dst = append(dst, `,"ts":`...)
			dst = strconv.AppendInt(dst, q.TS, 10)
			dst = append(dst, `,"reason":`...)
			dst = appendString(dst, q.Reason)
			dst = append(dst, '}')
		}
		dst = append(dst, ']')
	}
	return append(dst, '}')
}
