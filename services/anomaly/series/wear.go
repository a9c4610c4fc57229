package series

import "math"

const (
	wearBlock = 72  // buckets: six hours; a day's fall is told by two of the same hours
	wearDays  = 4   // blocks of a day
	wearAfter = 12  // falls of a day, one a block, that make a consumable: three days after the first
	wearLeast = 12  // buckets that make a block's mean
	wearEven  = 4.  // times the usual fall, or that part of it, is the same fall
	wearLeap  = 2.  // falls of a day the other way, at once: it was filled up
	wearEnds  = 8   // falls that are none, after which it is no consumable
	wearFew   = .01 // of what the series is usually
	wearApart = 6.  // times what the peers' falls scatter, or
	wearShare = .25 // of their fall, or
	wearTwice = 2   // blocks
)

// wear is whether a series falls, or rises, day by day, as what is used up does: a battery, a tank. No value of it is
// unusual then, and to be filled up is no jump; it is judged by how fast it goes, beside its peers.
type wear struct {
	block int32 // of the newest bucket
	rows  uint16
	sum   float64
	means [wearDays]float64 // of the last blocks, by number
	of    [wearDays]int32   // the number and one
	fall  float32           // of the last day, as far as it is known
	fresh int32             // block of the fall and one
	usual float32           // fall of a day
	same  uint8             // falls on end that are the usual one's like
	other uint8             // that are not, of a consumable
	wears bool
	fast  uint8 // blocks on end that stand out among peers
}

// look takes a bucket's mean. It says whether the series has become a consumable, or is none any longer.
func (w *wear) look(no int32, x, last float64, settled bool) (changed bool) {
	if w.wears && float64(w.usual)*(x-last) < 0 && math.Abs(x-last) > wearLeap*math.Abs(float64(w.usual)) {
		w.of, w.rows, w.sum, w.same, w.other = [wearDays]int32{}, 0, 0, 0, 0
	}
	block := no / wearBlock
	if block != w.block {
		changed = w.turn(settled)
		w.block, w.rows, w.sum = block, 0, 0
	}
	w.rows++
	w.sum += x
	return changed
}

// turn ends a block.
func (w *wear) turn(settled bool) (changed bool) {
	if w.rows < wearLeast {
		return false
	}
	mean, k := w.sum/float64(w.rows), w.block%wearDays
	there, before := w.of[k] == w.block-wearDays+1, w.means[k]
	w.means[k], w.of[k] = mean, w.block+1
	if !there {
		return false
	}
	fall := mean - before
	w.fall, w.fresh = float32(fall), w.block+1
	usual := float64(w.usual)
	like := fall*usual > 0 && math.Abs(fall) < wearEven*math.Abs(usual) && math.Abs(fall)*wearEven > math.Abs(usual)
	switch {
	case like:
		w.usual += float32((fall - usual) / wearDays)
		w.same, w.other = min(w.same+1, wearAfter), 0
	case !w.wears:
		w.usual, w.same = float32(fall), 0
	case fall*usual < 0 || math.Abs(fall) < math.Abs(usual):
		w.other++
	default:
		w.other = 0 // faster than usual: that is judged
	}
	switch {
	case !w.wears && w.same >= wearAfter && settled:
		w.wears, w.other = true, 0
		return true
	case w.wears && w.other >= wearEnds:
		w.wears, w.same, w.fast = false, 0, 0
		return true
	}
	return false
}

func (w *wear) fields(c codec) {
	c.int32(&w.block, &w.fresh)
	c.uint16(&w.rows)
	c.float64(&w.sum)
	for i := range w.means {
		c.float64(&w.means[i])
		c.int32(&w.of[i])
	}
	c.float32(&w.fall, &w.usual)
	c.uint8(&w.same, &w.other, &w.fast)
	c.bool(&w.wears)
}

// wearing judges a consumable's last day by those of its peers: their middle one, and how far they are from it.
func (e *entry) wearing(middle, scatter float64) {
	v := &e.wear
	limit := wearApart * max(scatter, wearShare*math.Abs(middle), wearFew*e.det.scale)
	off := math.Abs(float64(v.fall) - middle)
	switch {
	case off > limit:
		v.fast = min(v.fast+1, wearTwice)
	case off < limit/2:
		v.fast = 0
	}
	no := v.fresh * wearBlock
	switch on := e.watch.is(unlike); {
	case !on && v.fast >= wearTwice:
		e.watch.begin(unlike, no-wearTwice*wearBlock, strength(off, 1, limit), e.watch.value, e.watch.value+middle-float64(v.fall))
	case on && v.fast == 0:
		e.watch.end(unlike, no)
	}
}
