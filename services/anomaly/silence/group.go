package silence

import (
	"cmp"
	"slices"

	"muster.dev/services/anomaly/page"
)

// group is the devices of one cohort in one region, of which slots are told.
type group struct {
	cohort   int32
	region   string
	interval int64  // of its cohort
	home     string // the same
	members  uint32
	floor    int64 // silence counts from here: an outage of ours, or planned sleep, has ended
	grace    int64 // nothing is decided before it
	out      bool  // an outage of ours goes on
	last     bool  // one more slot is to be told, of nobody

	grid           int64 // the interval of which the next two are
	subSlot, whole int64 // Grid of it

	back []uint32 // to be told with the next slot
	gone tally    // of those that left
}

// slots is the Grid of the group's interval.
func (g *group) slots() (sub, whole int64) {
	if g.grid != g.interval || g.subSlot == 0 {
		g.grid = g.interval
		g.subSlot, g.whole = Grid(g.interval)
	}
	return g.subSlot, g.whole
}

// tally is what happened to devices that were missing.
type tally struct{ returned, left uint32 }

// slot is one that is being counted.
type slot struct {
	page.Slot
	due    bool
	asleep bool
	owed   bool
	floor  int64
	naps   bool // the cohort has planned sleep
	gone   []int32
}

// over is the end of an outage: devices have some time to come back.
func (g *group) over(until int64, s *Settings) {
	wait := s.Missed * g.interval
	g.floor = max(g.floor, until+max(0, s.Reconnect-wait))
	g.grace = max(g.grace, g.floor+wait)
}

// first keeps the devices with the least ids, of which there may be very many, in order.
func (d *Devices) first(gone []int32, most int) []int32 {
	byID := func(a, b int32) int { return cmp.Compare(d.c.Device(a).ID, d.c.Device(b).ID) }
	if len(gone) > 4*most {
		// Blocks of four times what is kept: each keeps its least, and those are sorted again.
		var kept []int32
		for block := range slices.Chunk(gone, 4*most) {
			kept = append(kept, d.first(block, most)...)
			if len(kept) >= 3*most {
				kept = d.first(kept, most)
			}
		}
		gone = kept
	}
	slices.SortFunc(gone, byID)
	return gone[:min(len(gone), most)]
}
