package series

import "math"

// Values far from zero move by little of themselves: 50 Hz that stay within .02, or 1013 hPa within .2, would never leave
// the floors of a series that goes from nothing to all. So floors shrink with what a series mostly moves.
const (
	grainTimes  = 6.   // of what three rows of four move at most are zFloor
	grainMost   = 3    // these three
	grainWeight = .002 // of a step
	grainFirst  = .05  // at most, while rows are few
	grainSpread = .005 // variance in the detector's measure, a tenth of the value: who spreads farther keeps the floors
	grainLeast  = .01  // of the floors: a ten-thousandth of a value is nothing to speak of
)

// grain is how far a series mostly moves from row to row, as a share of its floors: 1 leaves them as they are. A row that
// repeats the one before counts as one that moves far: who seldom moves keeps the floors, and who moves by whole steps has
// them at some of these.
type grain struct {
	last  float64
	share float32
}

// step takes row n, beside the running mean of |x| and the variance.
func (g *grain) step(x, scale, spread, n float64) {
	if n == 1 {
		g.last, g.share = x, 1
		return
	}
	weight := min(grainFirst, max(grainWeight, 2/n))
	moved := math.Abs(x-g.last) / (math.Abs(x) + scale + 1e-9)
	if moved > 0 && spread < grainSpread && grainTimes*moved < g.of(zFloor) {
		g.share = max(grainLeast, float32(float64(g.share)*(1-weight)))
	} else {
		g.share = min(1, float32(float64(g.share)*(1+float64(grainMost*weight))))
	}
	g.last = x
}

// of is what is left of a floor.
func (g *grain) of(floor float64) float64 { return floor * float64(g.share) }
