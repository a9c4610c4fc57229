package series

import (
	"encoding/binary"
	"hash/crc32"
	"math"

	"muster.dev/proto/batch"
)

// maxScale is the finest decimal grid that the wire knows.
const maxScale = 9

// maxExact bounds a scaled integer so that it is exact as a float64, which is what analysts read it as.
const maxExact = 1 << 53

// Part is one message: the rows From to To (exclusive) under the key (boot, Seq).
type Part struct {
	Seq      uint64
	From, To int
}

// Cut makes messages of at most steps rows, no time twice in one.
func (s *Series) Cut(steps int) []Part {
	steps = min(steps, batch.MaxSteps)
	var parts []Part
	seen := make(map[int64]struct{}, steps)
	from := 0
	close := func(to int) {
		parts = append(parts, Part{Seq: uint64(len(parts)), From: from, To: to})
		from = to
		clear(seen)
	}
	for i, at := range s.Times {
		if _, twice := seen[at]; twice || i-from == steps {
			close(i)
		}
		seen[at] = struct{}{}
	}
	close(len(s.Times))
	return parts
}

// Boot is the key's first half for this series cut into messages of at most steps: the same rows always give the
// same, other rows (or another cut, whose messages would differ) another. It is never 0, where real boots begin.
func (s *Series) Boot(steps int) uint32 {
	table := crc32.MakeTable(crc32.Castagnoli)
	sum := crc32.Update(0, table, []byte(s.Metric))
	var row [16]byte
	binary.BigEndian.PutUint64(row[:], uint64(steps))
	sum = crc32.Update(sum, table, row[:8])
	for i, at := range s.Times {
		binary.BigEndian.PutUint64(row[:], uint64(at))
		binary.BigEndian.PutUint64(row[8:], math.Float64bits(s.Values[i]))
		sum = crc32.Update(sum, table, row[:])
	}
	return sum | 1<<31
}

// Scale finds the coarsest grid of 10^-scale on which every value lies exactly: n/10^scale is the value again, bit
// for bit. False says that there is none, and the values are floats.
func (s *Series) Scale() (scale uint8, ok bool) {
	for _, v := range s.Values {
		for !onGrid(v, scale) {
			if scale++; scale > maxScale {
				return 0, false
			}
		}
	}
	// A later value may have moved the scale past what an earlier, large one can be written at.
	for _, v := range s.Values {
		if !onGrid(v, scale) {
			return 0, false
		}
	}
	return scale, true
}

func onGrid(v float64, scale uint8) bool {
	n := math.Round(v * pow10[scale])
	return math.Abs(n) < maxExact && n/pow10[scale] == v && !(v == 0 && math.Signbit(v))
}

// Scaled is a value of a series whose Scale is scale.
func Scaled(v float64, scale uint8) int64 { return int64(math.Round(v * pow10[scale])) }

var pow10 = [maxScale + 1]float64{1, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9}

// Put adds a part's rows to a message. All messages of a series write their values in one way, exactly.
func (s *Series) Put(b *batch.Builder, p Part) {
	if !s.graded {
		s.scale, s.exact = s.Scale()
		s.graded = true
	}
	for i := p.From; i < p.To; i++ {
		if s.exact {
			b.SetScaled(s.Times[i], s.Metric, Scaled(s.Values[i], s.scale), s.scale)
		} else {
			b.SetFloat(s.Times[i], s.Metric, s.Values[i])
		}
	}
}
