package series

import "math"

const (
	weekBuckets = 2_016
	tailKeep    = 1 - 1./100
	tailGiven   = 15.  // peaks that are taken for granted, until there are others
	tailEven    = 1.75 // of these, the mean square in squared means: as a normal distribution has it
	tailShort   = -.25 // least and greatest shape: a tail that ends, and one that has hardly a variance
	tailLong    = .48
	tailFirst   = .02  // of the buckets begin a stretch, before it is known
	tailSeldom  = .002 // and at least
	usualOf     = .73  // the usual distance, as a gauge learns it, of a normal distribution of which the standard deviation is 1
	turnsMany   = 1e6
	seldomLeast = 2. // logarithm of the stretches between two incidents, at least
)

// shape of what is held against a tail: from where on it is one, and the mean excess that is taken for granted; normal
// says that a normal distribution is the least that is expected.
type shape struct {
	from, excess float64
	normal       bool
}

var (
	distances = shape{2, .7, true}     // of a level from its place, in usual ones
	swings    = shape{1.5, .15, false} // means of many
	paces     = shape{2, .7, false}
	stretches = shape{6, .5, false} // buckets of the same value
)

// tail is how far the distances of a gauge go beyond the usual: by the peaks of the stretches that lie beyond a threshold.
// It has the share of buckets with which a stretch begins, and the moments of the peaks' excesses. A peak counts when its
// stretch is over: what is under way is held against what was before.
type tail struct {
	n, over, square float32 // peaks, and their excesses' and squared excesses' sums, fading
	begins          float32 // share of the buckets with which a stretch begins
	peak            float32 // of the stretch that goes on; 0: there is none
}

// learn takes a distance, in usual ones.
func (t *tail) learn(z, weight float64, of shape) {
	if t.n == 0 {
		t.n, t.over, t.square, t.begins = tailGiven, float32(tailGiven*of.excess), float32(tailGiven*tailEven*of.excess*of.excess), tailFirst
	}
	begin := 0.
	switch {
	case z > of.from:
		if t.peak == 0 {
			begin = 1
		}
		t.peak = max(t.peak, float32(z))
	case t.peak > 0 && z < of.from/2 || !of.normal:
		e := float64(t.peak) - of.from
		t.n = float32(float64(tailKeep*float64(t.n))) + 1
		t.over = float32(float64(tailKeep*float64(t.over)) + e)
		t.square = float32(float64(tailKeep*float64(t.square)) + float64(e*e))
		t.peak = 0
	}
	t.begins += float32(float64(weight * (begin - float64(t.begins))))
}

// limit is the distance, in usual ones, that is reached once in so many weeks, given as their logarithm: by the generalised
// Pareto tail that has the excesses' moments, and at least by a normal distribution whose usual distance is as well known
// as from so many turns: Student's.
func (t *tail) limit(weeks, turns float64, of shape) float64 {
	far, least := max(seldomLeast, weeks+logarithm(max(float64(t.begins), tailSeldom)*weekBuckets)), 0.
	if of.normal {
		least = math.Sqrt(student(float64(of.from*of.from*usualOf*usualOf), far, turns)) / usualOf
	}
	mean, square := of.excess, tailEven*of.excess*of.excess
	if t.n > 0 {
		mean, square = float64(t.over)/float64(t.n), float64(t.square)/float64(t.n)
	}
	even := float64(mean * mean)
	bent := max(tailShort, min(tailLong, (1-even/max(square-even, 1e-9))/2))
	if math.Abs(bent) < .01 {
		return max(least, of.from+float64(mean*far))
	}
	return max(least, of.from+float64(mean*(1-bent)*(exponential(float64(bent*far))-1))/bent)
}

// student is the square of the distance that is reached e^far times as seldom as that with the square from, both in
// standard deviations, where these are known from so many distances. The density is followed, as far out it is of a normal
// distribution: from + 2 far is what many distances come to.
func student(from, far, turns float64) float64 {
	if turns >= turnsMany {
		return from + 2*far
	}
	turns = max(1, turns)
	return turns * (float64((1+from/turns)*exponential(2*far/(turns+1))) - 1)
}

// join adds one of so many peers' tails: they know sooner than each of them how far one goes.
func (t *tail) join(of *tail, n int) {
	t.n, t.over, t.square = t.n+of.n, t.over+of.over, t.square+of.square
	t.begins += of.begins / float32(n)
}

func (t *tail) fields(c codec) {
	c.float32(&t.n, &t.over, &t.square, &t.begins, &t.peak)
}
