package series

const (
	statesMost  = 4   // values of a state; what has more is a quantity
	statesKnown = 288 // buckets, a day, after which a value is no news
)

// states are the few values that a series has, if it has few: of a door, a lamp, a mode. It says which of them is, and not
// how much of something; to be another one than its peers' is no distance.
type states struct {
	n     uint8 // beyond statesMost: a quantity
	value [statesMost]float32
	since [statesMost]int32 // bucket in which it was first seen
	now   int32             // bucket in which the newest of the last one's values was first seen
}

// see takes a bucket's values.
func (s *states) see(b *bucket) {
	if s.n > statesMost {
		return
	}
	s.now = s.add(float32(b.low), b.no)
	if b.high != b.low {
		s.now = max(s.now, s.add(float32(b.high), b.no))
	}
}

// add gives the bucket in which a value was first seen.
func (s *states) add(v float32, no int32) int32 {
	for i := range min(s.n, statesMost) {
		if s.value[i] == v {
			return s.since[i]
		}
	}
	if s.n < statesMost {
		s.value[s.n], s.since[s.n] = v, no
	}
	s.n = min(s.n+1, statesMost+1)
	return no
}

// known says whether a series has few values, and those of the newest bucket are none that are new. No and yes never are.
func (s *states) known(no int32) bool {
	return s.n > 0 && s.n <= statesMost && (no-s.now >= statesKnown || s.yesNo())
}

func (s *states) yesNo() bool {
	for _, v := range s.value[:min(s.n, statesMost)] {
		if v != 0 && v != 1 {
			return false
		}
	}
	return s.n > 0
}

func (s *states) fields(c codec) {
	for i := range s.value {
		c.float32(&s.value[i])
		c.int32(&s.since[i])
	}
	c.uint8(&s.n)
	c.int32(&s.now)
}

const (
	boundAgain = 2     // stretches at the least or greatest value that make it a bound, the one that goes on among them
	boundFlat  = 144   // buckets, half a day, for what is flat at a bound
	boundLong  = 2_016 // a week, where it often is
	boundOften = .1    // share of buckets at a bound, from which on how it swings says how often it is off it
)

// bounds are the least and the greatest value that a series has said, and how often it came back to them: where it does,
// what it measures goes on beyond what it can say, and is no flat line for some hours.
type bounds struct {
	low, high   float32
	lows, highs uint8
	there       bool
	share       float32 // of the buckets that were at one, by and by
}

// see takes a bucket's mean; same says that the one before had it, too.
func (b *bounds) see(v float32, same bool) {
	if !b.there {
		*b = bounds{v, v, 1, 1, true, 0}
		return
	}
	at := 0.
	if v <= b.low || v >= b.high {
		at = 1
	}
	b.share += float32(float64(scaleWeight * (at - float64(b.share))))
	if v < b.low {
		b.low, b.lows = v, 1
	} else if v == b.low && !same && b.lows < boundAgain {
		b.lows++
	}
	if v > b.high {
		b.high, b.highs = v, 1
	} else if v == b.high && !same && b.highs < boundAgain {
		b.highs++
	}
}

// bounded says whether a quantity is at a bound to which it came before.
func (w *watch) bounded(x float64) bool {
	b, v := &w.bounds, float32(x)
	return w.states.n > statesMost && (v == b.low && b.lows >= boundAgain || v == b.high && b.highs >= boundAgain)
}

// often says whether a series is at a bound so often that how far it goes from row to row says how often it is off it: rain
// mostly is none.
func (b *bounds) often() bool { return b.share >= boundOften }

// waits is for how many buckets what is at a bound is no flat line, of which it has been there for so many.
func (b *bounds) waits(run int32) int32 {
	before := 1 - float64((1-float64(b.share))*exponential(float64(scaleWeight*float64(min(run, boundLong)))))
	if before >= boundOften {
		return boundLong
	}
	return boundFlat
}

func (b *bounds) fields(c codec) {
	c.float32(&b.low, &b.high)
	c.uint8(&b.lows, &b.highs)
	c.bool(&b.there)
	c.float32(&b.share)
}
