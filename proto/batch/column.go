package batch

import (
	"math"
	"unsafe"

	"muster.dev/proto/internal/wire"
)

// A column has one kind; the samples of a metric may have several. The rules, as FORMAT.md has them:
//   - the kind that most samples have, of number, bool and text, is the column's; at a tie number before bool before text.
//     The others are written as they are: a reader finds them off type.
//   - numbers are scaled integers of the largest scale among them, unless one is a float: then all are floats.
//   - a number that the column cannot hold exactly is written as text in binary: a reader finds it out of range.

type columnKind struct {
	kind  Kind
	scale uint8
	delta bool
}

func (b *Builder) kindOf(own []uint32) columnKind {
	var numbers, bools, texts int
	k := columnKind{kind: Int}
	for _, i := range own {
		switch s := &b.samples[i]; s.form {
		case boolForm:
			bools++
		case textForm:
			texts++
		case floatForm:
			k.kind = Float
			numbers++
		default:
			k.scale = max(k.scale, s.scale)
			numbers++
		}
	}
	switch {
	case texts > max(numbers, bools):
		return columnKind{kind: Text}
	case bools > numbers:
		return columnKind{kind: Bool}
	case k.kind == Float:
		return columnKind{kind: Float}
	}
	k.delta = b.deltaIsSmaller(own, k.scale)
	return k
}

// deltaIsSmaller weighs the two ways to write integers, in bytes. A column with a value that is no integer is
// written plainly.
func (b *Builder) deltaIsSmaller(own []uint32, scale uint8) bool {
	plain, delta := 0, 0
	prev := int64(0)
	for _, i := range own {
		s := &b.samples[i]
		v, ok := rescale(s, scale)
		if !ok {
			return false
		}
		d := v - prev
		if (v < prev) != (d < 0) {
			return false
		}
		plain += wire.IntSize(v)
		delta += wire.IntSize(d)
		prev = v
	}
	return delta < plain
}

func rescale(s *sample, scale uint8) (int64, bool) {
	if s.form != scaledForm {
		return 0, false
	}
	n := int64(s.bits)
	if s.scale == scale {
		return n, true
	}
	ten := pow10[scale-s.scale]
	if n > math.MaxInt64/ten || n < math.MinInt64/ten {
		return 0, false
	}
	return n * ten, true
}

func (b *Builder) appendColumn(dst []byte, own []uint32) []byte {
	k := b.kindOf(own)
	switch {
	case k.kind == Float:
		dst = append(dst, encFloat)
	case k.kind == Bool:
		dst = append(dst, encBool)
	case k.kind == Text:
		dst = append(dst, encText)
	case k.delta:
		dst = append(dst, encDelta+k.scale)
	default:
		dst = append(dst, encScaled+k.scale)
	}
	dst = wire.AppendArrayHead(dst, len(b.times))
	next, prev := 0, int64(0)
	for _, i := range own {
		s := &b.samples[i]
		for ; next < int(s.step); next++ {
			dst = append(dst, 0xc0)
		}
		next++
		if v, ok := rescaleFor(s, k); ok {
			if k.delta {
				v, prev = v-prev, v
			}
			dst = wire.AppendInt(dst, v)
			continue
		}
		dst = b.appendCell(dst, s, k)
	}
	for ; next < len(b.times); next++ {
		dst = append(dst, 0xc0)
	}
	return dst
}

func rescaleFor(s *sample, k columnKind) (int64, bool) {
	if k.kind != Int {
		return 0, false
	}
	return rescale(s, k.scale)
}

// appendCell writes a value that is no integer of an integer column.
func (b *Builder) appendCell(dst []byte, s *sample, k columnKind) []byte {
	switch s.form {
	case boolForm:
		return append(dst, 0xc2|byte(s.bits))
	case textForm:
		return wire.AppendText(dst, b.textOf(s))
	case bigForm:
		return wire.AppendUint(dst, s.bits)
	case hugeForm:
		return wire.AppendBin(dst, b.textOf(s))
	case floatForm:
		return wire.AppendFloat(dst, math.Float64frombits(s.bits))
	}
	n := int64(s.bits)
	switch {
	case s.scale == 0 && k.kind != Int:
		return wire.AppendInt(dst, n)
	case k.kind == Int || n > 1<<53 || n < -1<<53:
		// Beyond int64 once scaled, or no double: its text, so that nothing is lost on the way to quarantine.
		return wire.AppendBin(dst, appendScaled(nil, n, s.scale))
	}
	return wire.AppendFloat(dst, Scaled(n, s.scale))
}

func bytesOf(s string) []byte { return unsafe.Slice(unsafe.StringData(s), len(s)) }
