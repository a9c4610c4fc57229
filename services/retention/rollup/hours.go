package rollup

import (
	"iter"
	"maps"
	"math/bits"
	"slices"
	"strconv"
	"strings"
)

const hoursPerDay = 24

// hours is a set of hours, counted from 1970: a mask of 24 bits for each day.
type hours map[int64]uint32

// add puts in the hours from first to last, both included, that lie before limit.
func (h hours) add(first, last, limit int64) {
	last = min(last, limit-1)
	for hour := max(first, 0); hour <= last; {
		day := hour / hoursPerDay
		end := min(last, day*hoursPerDay+hoursPerDay-1)
		var mask uint32 = 1<<(end-hour+1) - 1
		h[day] |= mask << (hour % hoursPerDay)
		hour = end + 1
	}
}

func (h hours) len() (n int) {
	for _, mask := range h {
		n += bits.OnesCount32(mask)
	}
	return n
}

// days are the days of the set, the oldest first.
func (h hours) days() []int64 { return slices.Sorted(maps.Keys(h)) }

// of are the hours of a day in the set.
func (h hours) of(day int64) iter.Seq[int64] {
	return func(yield func(int64) bool) {
		for mask := h[day]; mask != 0; mask &= mask - 1 {
			if !yield(day*hoursPerDay + int64(bits.TrailingZeros32(mask))) {
				return
			}
		}
	}
}

// list writes the hours of days as Unix seconds with commas.
func (h hours) list(days []int64) string {
	var out []string
	for _, day := range days {
		for hour := range h.of(day) {
			out = append(out, strconv.FormatInt(hour*3600, 10))
		}
	}
	return strings.Join(out, ", ")
}

// merge puts in what another set has.
func (h hours) merge(other hours) {
	for day, mask := range other {
		h[day] |= mask
	}
}

// before takes out the days before one, as a set of their own.
func (h hours) before(day int64) hours {
	out := hours{}
	for d, mask := range h {
		if d < day {
			out[d] = mask
			delete(h, d)
		}
	}
	return out
}

// drop takes a day out, and says how many hours it had.
func (h hours) drop(day int64) int {
	defer delete(h, day)
	return bits.OnesCount32(h[day])
}

// newest are the last days of the set, the newest first, that are computed together: no more than a day's worth of hours,
// so that none is more work than a day of the whole fleet.
func (h hours) newest() (days []int64) {
	n := 0
	for _, day := range slices.Backward(h.days()) {
		if n += bits.OnesCount32(h[day]); n > hoursPerDay {
			break
		}
		days = append(days, day)
	}
	return days
}

// keep drops the days that are not in the sorted list.
func (h hours) keep(days []int64) {
	maps.DeleteFunc(h, func(day int64, _ uint32) bool {
		_, found := slices.BinarySearch(days, day)
		return !found
	})
}
