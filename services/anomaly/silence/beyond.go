package silence

import (
	"cmp"
	"math"
	"slices"

	"muster.dev/services/anomaly/page"
)

// Which of the missing devices are an incident's. In a cohort that loses messages some are missing at every look, and others
// the next time: those are not gone, and who is sent to look for one finds it well. So a device is named by how improbable its
// own run of misses is, the least probable first, and not more are named than are missing beyond the usual, but for those
// whose run is out of all proportion.

const (
	// sure is how many of those that usually miss are borne to miss for as long as one that is named for its own run alone.
	sure = .01
	// half is how many slots teach the baseline until half of what it knows is of them.
	half = 1_386
)

// odd is how improbable a device's run of misses is beyond those that make it missing, in micronats: of runs that go on with a
// chance of phi each interval, a part of phi^k goes on for k.
func (l *lost) odd() int64 {
	phi := min(max(float64(l.phi)/1e6, .05), .98)
	return int64(math.Round(-1e6 * math.Log(phi) * (float64(l.waits) / float64(l.every))))
}

// usually says whether a device has been missing for so long that the baseline counts it in: it is nobody's news.
func (b *baseline) usually(l *lost) bool {
	return b.k > tepid && b.k-l.learn >= min(b.k/2, half)
}

// excursion gives the missing devices beyond the usual, those first that are the least likely to be of the usual ones, and how
// many they are in all.
func (c *cohort) excursion() (some []*lost, count uint32) {
	never := 0
	for i := range c.gone {
		switch g := &c.gone[i]; {
		case c.now.members < few:
			some = append(some, g)
		case page.Marks(g.Marks)&page.MarkNever != 0:
			if c.enrol {
				some = append(some, g)
				never++
			}
		case !c.b.usually(g):
			some = append(some, g)
		}
	}
	if c.now.members < few {
		return some, uint32(len(some))
	}
	slices.SortFunc(some, func(a, b *lost) int {
		return cmp.Or(cmp.Compare(page.Marks(b.Marks)&page.MarkNever, page.Marks(a.Marks)&page.MarkNever), cmp.Compare(b.odd(), a.odd()), cmp.Compare(a.Since, b.Since), cmp.Compare(a.No, b.No))
	})
	beyond, usual := c.beyond()
	most := never + int(beyond)
	for most < len(some) && float64(max(usual, 1)*math.Exp(-float64(some[most].odd())/1e6)) <= sure {
		most++
	}
	if count = uint32(most); len(some) < page.MaxDevices {
		count = min(count, uint32(len(some))) // all are known by name
	}
	return some[:min(most, len(some))], count
}

// beyond is how many devices are missing beyond the usual ones, and how many of those that may be news are usual.
func (c *cohort) beyond() (n uint32, usual float64) {
	all, u := c.now.heard()
	usual = float64(float64(all) * c.b.p)
	n = uint32(max(0, math.Round(c.b.lasting(u, all)-usual)))
	for i := range c.gone {
		if c.b.usually(&c.gone[i]) {
			usual--
		}
	}
	return n, max(usual, 0)
}
