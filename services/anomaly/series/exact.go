package series

import "math"

// The standard library's logarithms and exponentials have assembly on some machines and differ there in the last bit,
// and a compiler may fuse x*y+z. A row at the margin would then be an alarm on one machine and none on the other, so
// these are written out, with products rounded by float64().

const (
	ln2   = 0.693147180559945309417232121458176568
	sqrt2 = 1.41421356237309504880168872420969808
)

// atanh2 is 2 atanh(s) for |s| <= 0.172: s + s^3/3 + s^5/5 ...
func atanh2(s float64) float64 {
	z := float64(s * s)
	p := 1. / 21
	for k := 19.; k >= 1; k -= 2 {
		p = float64(p*z) + 1/k
	}
	return 2 * float64(s*p)
}

// logarithm of a positive number.
func logarithm(v float64) float64 {
	m, e := math.Frexp(v)
	if m < sqrt2/2 {
		m, e = 2*m, e-1
	}
	return float64(float64(e)*ln2) + atanh2((m-1)/(m+1))
}

// asinh is linear near 0 and logarithmic far from it: percent and bytes are served alike.
func asinh(x float64) float64 {
	a := math.Abs(x)
	var y float64
	if a > 1<<28 {
		y = logarithm(a) + ln2
	} else {
		square := float64(a * a)
		if u := a + square/(1+math.Sqrt(1+square)); u < .4 {
			y = atanh2(u / (2 + u))
		} else {
			y = logarithm(1 + u)
		}
	}
	return math.Copysign(y, x)
}

// exponential of v, for |v| < 700.
func exponential(v float64) float64 {
	k := math.Round(v / ln2)
	r := v - float64(k*ln2)
	sum := 1.
	for i := 14.; i >= 1; i-- {
		sum = 1 + float64(r*sum)/i
	}
	return math.Ldexp(sum, int(k))
}

// sinh undoes asinh.
func sinh(y float64) float64 {
	if math.Abs(y) < 1e-5 {
		return y
	}
	y = max(-699, min(699, y))
	return (exponential(y) - exponential(-y)) / 2
}

// half is 2^(-1/life), for a life of some rows.
func half(life float64) float64 {
	r := -ln2 / life
	sum := 1.
	for i := 7.; i >= 1; i-- {
		sum = 1 + float64(r*sum)/i
	}
	return sum
}
