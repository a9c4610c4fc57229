package silence

import (
	"fmt"
	"math"

	"muster.dev/services/anomaly/incident"
	"muster.dev/services/anomaly/page"
)

// sign is how many of the silent devices, and of the others, showed something before.
type sign struct {
	cause            string
	of, silent       uint32 // with the sign, of the silent
	other, otherwise uint32 // with the sign, of the others
	what             string
}

// signs are in the order in which an engineer looks, after our own side and the region.
func (c *cohort) signs(some []*lost, count uint32) [3]sign {
	n := &c.now
	out := [3]sign{
		{cause: incident.CausePower, of: n.power, other: n.powerAll, what: "had a low battery, or lost power, before"},
		{cause: incident.CauseRadio, of: n.radio, other: n.radioAll, what: "had a weak or falling signal before"},
		{cause: incident.CauseUpdate, of: n.updated, other: n.updatedAll, what: "were updated within the day before"},
	}
	named := uint32(len(some)) == count
	for i := range out {
		out[i].silent, out[i].otherwise = n.missing, n.talking
		if named { // then they are counted without those that were missing all along
			out[i].silent, out[i].of = count, 0
			for _, g := range some {
				if page.Marks(g.Marks)>>i&1 != 0 {
					out[i].of++
				}
			}
		}
	}
	return out
}

// strong says whether a sign is far more common among the silent: in half of them, and with a likelihood ratio of 20.
// The base has two devices more than there are, that showed it by a chance of 1 in 50: a cohort of one has no others.
func (s *sign) strong() bool {
	if s.of == 0 || 2*s.of < s.silent {
		return false
	}
	base := (float64(s.other) + .04) / (float64(s.otherwise) + 2)
	share := min(float64(s.of)/float64(s.silent), .999)
	if share <= base {
		return false
	}
	ratio := float64(float64(s.of)*math.Log(share/base)) + float64(float64(s.silent-s.of)*math.Log((1-share)/(1-base)))
	return ratio >= 3
}

// mark is the cause that a cohort's silence bears a sign of, empty where there is none. A sign sets some apart from others:
// where hardly anybody is heard, the region's own devices may all be so.
func (c *cohort) mark() string {
	if c.now.talking < few || 10*c.now.talking <= c.now.expected {
		return ""
	}
	signs := c.signs(c.excursion())
	for i := range signs {
		if signs[i].strong() {
			return signs[i].cause
		}
	}
	return ""
}

func (s *sign) said() string {
	return fmt.Sprintf("%d of the %d silent devices %s, and %d of the %d that are heard", s.of, s.silent, s.what, s.other, s.otherwise)
}

// likely gives a cohort's own cause, and the sentence for it.
func (c *cohort) likely(some []*lost, count uint32) (cause, why string) {
	// Who came more than once may have said so each time.
	if r, p := c.back.returned-min(c.back.returned, c.back.left+c.again), c.power-min(c.power, c.again); p > 0 && 2*p >= r && p >= min(3, max(1, c.peak/2)) {
		return incident.CausePower, fmt.Sprintf("%d of the %d devices that came back say that their power had been gone", p, max(p, r))
	}
	signs := c.signs(some, count)
	for i := range signs {
		if signs[i].strong() {
			return signs[i].cause, signs[i].said()
		}
	}
	if c.enrol && !c.v.fires {
		return incident.CauseUnknown, fmt.Sprintf("%d of %d devices were enrolled and never heard", c.now.never, c.now.expected)
	}
	return incident.CauseUnknown, "neither the region, nor power, radio or an update stands out"
}
