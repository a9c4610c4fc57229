package silence

const (
	step      = 5_000 // ms: no slot is shorter
	looks     = 4     // in an interval
	minute    = 60_000
	tenMin    = 10 * minute
	weekMS    = 7 * 24 * hourMS
	hourMS    = 60 * minute
	farFuture = tenMin // a sign of life later than that after the cut is taken for one at the cut
)

// Grid gives the slots of a cohort whose devices are heard from each interval (ms): a look each sub, and a whole slot each
// whole, at the multiples of both since 1970. Looks let a silence be told within a quarter of an interval; a whole slot
// moves baselines and sums.
func Grid(interval int64) (sub, whole int64) {
	interval = min(max(interval, step), weekMS)
	sub = (interval/looks + step - 1) / step * step
	return sub, sub * max(1, (interval+sub/2)/sub)
}
