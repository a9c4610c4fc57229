package wire

import (
	"math"
	"strconv"
)

// MaxScale is the number of decimal places that a Decimal has at most.
const MaxScale = 9

var pow10 = [...]float64{1, 10, 100, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9}

// number reads a JSON number. A text without fraction and exponent is an integer and stays one: Int, or Uint or Huge
// beyond int64. Any other is a Decimal if its digits and at most nine places say the same double as the text, which
// 21.5 does; else a Float; Huge if no finite double is near.
func (r *JSON) number() (Token, *Error) {
	start, i, p := r.pos, r.pos, r.p
	neg := p[i] == '-'
	if neg {
		i++
	}
	digits := func() int {
		from := i
		for i < len(p) && '0' <= p[i] && p[i] <= '9' {
			i++
		}
		return i - from
	}
	whole := i
	n := digits()
	if n == 0 || n > 1 && p[whole] == '0' {
		return r.fail(Malformed, "body", 0, "a number has no digit, or a leading zero: send valid JSON")
	}
	frac, exp, plain := 0, 0, true
	fracFrom := i
	if i < len(p) && p[i] == '.' {
		plain = false
		i++
		fracFrom = i
		if frac = digits(); frac == 0 {
			return r.fail(Malformed, "body", 0, "a number has no digit after its point: send valid JSON")
		}
	}
	fracTo := i
	if i < len(p) && p[i]|0x20 == 'e' {
		plain = false
		i++
		expNeg := i < len(p) && p[i] == '-'
		if expNeg || i < len(p) && p[i] == '+' {
			i++
		}
		from := i
		if digits() == 0 {
			return r.fail(Malformed, "body", 0, "a number has no digit in its exponent: send valid JSON")
		}
		for _, c := range p[from:i] {
			exp = min(exp*10+int(c-'0'), 1<<20)
		}
		if expNeg {
			exp = -exp
		}
	}
	r.pos = i
	text := p[start:i]
	for frac > MaxScale && p[fracTo-1] == '0' {
		frac--
		fracTo--
	}
	mantissa, ok := accumulate(0, p[whole:whole+n])
	if ok && frac > 0 {
		mantissa, ok = accumulate(mantissa, p[fracFrom:fracTo])
	}
	if plain {
		return integer(text, neg, mantissa, ok), nil
	}
	scale := frac - exp
	for ok && scale < 0 && scale >= -18 {
		mantissa, ok = accumulate(mantissa, []byte{'0'})
		scale++
	}
	double, err := 0.0, error(nil)
	exact := ok && scale >= 0 && scale <= MaxScale && mantissa <= math.MaxInt64
	if exact && mantissa <= 1<<53 {
		// Both are exact doubles, so their quotient is the double nearest to the text.
		double = float64(mantissa) / pow10[scale]
	} else {
		double, err = strconv.ParseFloat(string(text), 64)
		if err != nil { // the grammar held, so it is the range
			return Token{Kind: Huge, Bytes: text}, nil
		}
		if neg {
			double = -double
		}
		exact = exact && float64(mantissa)/pow10[scale] == double
	}
	m := int64(mantissa)
	if neg {
		m, double = -m, -double
	}
	if !exact {
		return Token{Kind: Float, Float: double}, nil
	}
	return Token{Kind: Decimal, Int: m, Scale: uint8(scale), Float: double}, nil
}

func integer(text []byte, neg bool, mantissa uint64, ok bool) Token {
	switch {
	case !ok || neg && mantissa > 1<<63:
		return Token{Kind: Huge, Bytes: text}
	case neg:
		return Token{Kind: Int, Int: int64(-mantissa)}
	case mantissa > math.MaxInt64:
		return Token{Kind: Uint, Int: int64(mantissa)}
	default:
		return Token{Kind: Int, Int: int64(mantissa)}
	}
}

func accumulate(n uint64, digits []byte) (uint64, bool) {
	for _, c := range digits {
		d := uint64(c - '0')
		if n > (math.MaxUint64-d)/10 {
			return n, false
		}
		n = n*10 + d
	}
	return n, true
}

// FloatDecimal gives a double the form of a Decimal, if at most nine places say it exactly and its digits are
// within 2^53: so that 21.5 is stored alike whether it came as JSON or as a MsgPack float.
func FloatDecimal(f float64) (n int64, scale uint8, ok bool) {
	if !(math.Abs(f) <= 1<<53) {
		return 0, 0, false
	}
	for s, p := range pow10 {
		m := math.Round(f * p)
		if math.Abs(m) > 1<<53 {
			return 0, 0, false
		}
		if m/p == f {
			return int64(m), uint8(s), true
		}
	}
	return 0, 0, false
}
