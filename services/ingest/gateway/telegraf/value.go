package telegraf

import (
	"math"
	"strconv"

	"muster.dev/proto/batch"
)

type kind uint8

const (
	integer  kind = iota
	unsigned      // above what an integer holds
	double
	boolean
	text
)

func (v *value) set(b *batch.Builder, ts int64) {
	switch v.kind {
	case integer:
		b.SetInt(ts, v.metric, int64(v.bits))
	case unsigned:
		b.SetUint(ts, v.metric, v.bits)
	case double:
		b.SetNumber(ts, v.metric, math.Float64frombits(v.bits))
	case boolean:
		b.SetBool(ts, v.metric, v.bits != 0)
	case text:
		b.SetText(ts, v.metric, v.text)
	}
}

// number reads a number that may be whole. One that is too large for any type is infinite, which is a fault of its reader.
func number(s string, whole bool) (value, bool) {
	if whole {
		if n, err := strconv.ParseInt(s, 10, 64); err == nil {
			return value{kind: integer, bits: uint64(n)}, true
		}
		if n, err := strconv.ParseUint(s, 10, 64); err == nil {
			return value{kind: unsigned, bits: n}, true
		}
	}
	f, err := strconv.ParseFloat(s, 64)
	if err != nil && !math.IsInf(f, 0) {
		return value{}, false
	}
	return value{kind: double, bits: math.Float64bits(f)}, true
}

func truth(is bool) value {
	if is {
		return value{kind: boolean, bits: 1}
	}
	return value{kind: boolean}
}

// words is a text. Of one that is too long enough is kept for its reader to find that.
func words(s string) value { return value{kind: text, text: s[:min(len(s), batch.MaxText+1)]} }
