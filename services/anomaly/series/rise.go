package series

import "math"

const (
	lagWeight = .04 // of the mean that a rise is held against: two hours
	leapStays = 12  // buckets after a leap in which the place need not be known better
)

// rise is how far the distance from its peers goes within an hour or two. How far a series wanders in half a day is not
// known before it did so a few times, and how fast it goes is known much sooner: who goes faster than it ever does has
// leapt, and did not wander.
type rise struct {
	gauge
	lag   float32
	turns uint16
	above bool
	leapt int32 // newest bucket in which it went faster
}

// rises takes the distance of a bucket and where it was of late, fast. turns are those of all peers.
func (w *watch) rises(e, fast, times, least, weeks, turns float64, d *Detector, no int32) {
	r := &w.rise
	r.lag += float32(float64(max(lagWeight, 1/float64(d.n)) * (e - float64(r.lag))))
	off := fast - float64(r.lag)
	above := r.above
	r.above = off > 0
	if d.n <= warmLevel || w.is(unlike) {
		return
	}
	v, own := math.Abs(off), float64(r.turns)
	if d.n > warmTold && r.high(v, times, least, weeks, own+min(turnsOthers, turns-own), distances) {
		r.leapt = no
	}
	if above != r.above && r.turns < math.MaxUint16 {
		r.turns++
	}
	r.learn(v, least, float64(d.n-warmLevel), distances)
}

// leapt says whether the series went so fast not long ago.
func (w *watch) leapt(no int32) bool { return w.rise.leapt > 0 && no-w.rise.leapt <= leapStays }

func (r *rise) fields(c codec) {
	r.gauge.fields(c)
	c.float32(&r.lag)
	c.uint16(&r.turns)
	c.bool(&r.above)
	c.int32(&r.leapt)
}
