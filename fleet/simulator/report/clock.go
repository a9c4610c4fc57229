package report

import "sort"

// Readings with times beyond these, against the time of their arrival, count as of their arrival.
const (
	tooOld = -30 * day
	toCome = 10 * 60_000
)

// Clock is by how much a device's clock was off in the course of time. The store knows a message by the device's clock alone,
// and one that runs away by a minute a week has a silence seem to be where there was none. The zero value is a clock that is right.
type Clock struct{ changes []change }

// change is the true time of a message, and by how much its time was off.
type change struct{ made, off int64 }

// See takes note of the clock at the true time of a message, if it is off by another time than before. What the clock does within
// a twentieth of the device's interval is no change.
func (c *Clock) See(made, off, interval int64) {
	if off < tooOld || off > toCome {
		off = 0
	}
	var last change
	if n := len(c.changes); n > 0 {
		last = c.changes[n-1]
	}
	if made < last.made {
		return // it came late
	}
	if by := off - last.off; max(by, -by) >= max(interval/20, 100) {
		c.changes = append(c.changes, change{made, off})
	}
}

// True is the true time at which the clock showed a time.
func (c *Clock) True(shown int64) int64 {
	at := shown
	for range 3 { // what it was off by at about that time leads to the time, and to what it was off by then
		at = shown - c.off(at)
	}
	return at
}

// off is by how much the clock was off at a true time.
func (c *Clock) off(at int64) int64 {
	n := sort.Search(len(c.changes), func(i int) bool { return c.changes[i].made > at })
	if n == 0 {
		return 0
	}
	return c.changes[n-1].off
}
