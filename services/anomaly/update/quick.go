package update

import (
	"cmp"
	"math"
	"math/rand/v2"
	"slices"
	"strings"

	"muster.dev/proto/event"
	"muster.dev/services/anomaly/page"
)

// change is what a device changes in what is told of its stratum at a tick.
type change struct {
	tick                   int64
	stratum                string
	riskT, riskC           int32
	drawnT, drawnC         int32
	failT, failC, enters   uint32
	drawnFailT, drawnFailC uint32
	soaked                 int64
	gone                   page.Gone
}

const tickMS = 60_000

// quick plays the cell once as run does, but makes the arms that Arms would tell from what happens to each device: ten
// thousand runs need it. A test holds it to run.
func (p *play) quick(r *rand.Rand) event.Verdict {
	fates := p.fates(r)
	judge := NewRollouts(DefaultSettings())
	for _, body := range p.events {
		judge.Registry(0, body)
	}
	var changes []change
	soaked := int64(0)
	for i := range fates {
		changes = p.changes(changes, i, &fates[i])
	}
	slices.SortStableFunc(changes, func(a, b change) int {
		return cmp.Or(cmp.Compare(a.tick, b.tick), strings.Compare(a.stratum, b.stratum), strings.Compare(a.gone.ID, b.gone.ID))
	})
	for _, c := range changes {
		soaked = max(soaked, c.soaked)
	}
	soaked = (soaked + tickMS - 1) / tickMS // the first tick at whose end all have soaked
	cut := func(tick int64, arms []page.Arm) (event.Verdict, bool) {
		verdicts, _ := judge.Cut(tick*tickMS, arms, nil)
		for _, v := range verdicts {
			if v.Final {
				return v, true
			}
		}
		return event.Verdict{}, false
	}
	for at := int64(0); len(changes) > 0 && changes[0].tick <= lifetime/tickMS; {
		tick := changes[0].tick
		if at < soaked && soaked < tick {
			if v, ok := cut(soaked, nil); ok {
				return v
			}
		}
		var arms []page.Arm
		for len(changes) > 0 && changes[0].tick == tick {
			arms, changes = join(arms, &changes[0]), changes[1:]
		}
		if v, ok := cut(tick, arms); ok {
			return v
		}
		if at = tick; len(changes) == 0 || changes[0].tick > lifetime/tickMS {
			if at < soaked && soaked <= lifetime/tickMS {
				if v, ok := cut(soaked, nil); ok {
					return v
				}
			}
		}
	}
	if v, ok := cut(lifetime/tickMS, nil); ok {
		return v
	}
	judge.Registry(lifetime, event.RolloutChanged{Rollout: "r", State: event.RolloutDone})
	v, _ := cut(lifetime/tickMS+1, nil)
	return v
}

// join adds a change to the arm of its stratum, which is the last one.
func join(arms []page.Arm, c *change) []page.Arm {
	if n := len(arms); n == 0 || arms[n-1].Stratum != c.stratum {
		arms = append(arms, page.Arm{Rollout: "r", Stage: 1, Stratum: c.stratum, At: c.tick * tickMS})
	}
	a := &arms[len(arms)-1]
	a.RiskT, a.RiskC = a.RiskT+uint32(c.riskT), a.RiskC+uint32(c.riskC)
	a.DrawnT, a.DrawnC = a.DrawnT+uint32(c.drawnT), a.DrawnC+uint32(c.drawnC)
	a.DrawnFailT, a.DrawnFailC = a.DrawnFailT+c.drawnFailT, a.DrawnFailC+c.drawnFailC
	a.FailT, a.FailC, a.Entered, a.SoakedUntil = a.FailT+c.failT, a.FailC+c.failC, a.Entered+c.enters, max(a.SoakedUntil, c.soaked)
	if c.gone.ID != "" {
		a.Failed = append(a.Failed, c.gone)
	}
	return arms
}

// tickOf is the number of the tick, from 1, in which something that is said at an instant is taken.
func tickOf(at int64) int64 { return at/tickMS + 1 }

// changes tells when a device comes to be at risk, and when it fails for the first time after that.
func (p *play) changes(out []change, i int, f *fate) []change {
	d := p.shards[p.of[i].shard].Device(p.of[i].device)
	drawnAt := f.heardFrom(0, false)
	if drawnAt >= lifetime {
		return out
	}
	drawnFails, drawnSince, drawnKind := f.fails(drawnAt)
	out = p.draws(out, i, tickOf(drawnAt)+1, drawnFails)
	alone := len(out) // the change that names a failure of the draw alone
	if drawnFails > tickOf(drawnAt) && drawnFails <= lifetime/tickMS {
		part := uint8(drawnPart)
		if p.treated[i] {
			part |= treatedPart
		}
		out = append(out, change{tick: drawnFails, stratum: d.Stratum, gone: page.Gone{ID: d.ID, No: d.No, Since: drawnSince, Kind: kinds[drawnKind], Part: part}})
	}
	begins := int64(0)
	if p.treated[i] {
		begins = f.enters
	}
	enters := f.heardFrom(begins, p.treated[i])
	if enters >= lifetime {
		return out
	}
	fails, since, k := f.fails(enters)
	in := change{tick: tickOf(enters), stratum: d.Stratum}
	over := change{tick: fails + 1, stratum: d.Stratum}
	fell := change{tick: fails, stratum: d.Stratum, gone: page.Gone{ID: d.ID, No: d.No, Since: since, Kind: kinds[k]}}
	if p.treated[i] {
		in.riskT, in.enters, in.soaked = 1, 1, (enters+1)/1000*1000+lifetime-rollsIn
		over.riskT, fell.failT, fell.gone.Part, fell.gone.Marks = -1, 1, treatedPart, page.MarkUpdated
	} else {
		in.tick++
		in.riskC, over.riskC, fell.failC = 1, -1, 1
		if fails < in.tick {
			return out // it failed before it was at risk
		}
	}
	out = append(out, in)
	if fails == drawnFails && len(out) > alone+1 {
		out[alone].gone = page.Gone{} // it is named as one that began
	}
	if fails <= lifetime/tickMS {
		out = append(out, fell, over)
	}
	return out
}

// draws tells when a device is at risk of the draw, and when it fails.
func (p *play) draws(out []change, i int, from, fails int64) []change {
	if fails < from {
		return out // it failed before it was at risk
	}
	stratum := p.shards[p.of[i].shard].Device(p.of[i].device).Stratum
	in, fell, over := change{tick: from, stratum: stratum}, change{tick: fails, stratum: stratum}, change{tick: fails + 1, stratum: stratum}
	if p.treated[i] {
		in.drawnT, fell.drawnFailT, over.drawnT = 1, 1, -1
	} else {
		in.drawnC, fell.drawnFailC, over.drawnC = 1, 1, -1
	}
	if out = append(out, in); fails <= lifetime/tickMS {
		out = append(out, fell, over)
	}
	return out
}

func (f *fate) hushed(at int64) bool {
	return at >= f.off && at < f.back || at >= f.out && at < f.outBack
}

// heardFrom is the first time from an instant on at which a device is heard.
func (f *fate) heardFrom(at int64, treated bool) int64 {
	best := int64(lifetime)
	for t := f.phase + max(0, at-f.phase+speaks-1)/speaks*speaks; t < lifetime; t += speaks {
		if !f.hushed(t) && (!treated || t > f.enters) {
			best = t
			break
		}
	}
	for _, t := range [...]int64{f.enters, f.crashes} {
		if t >= at && t < best && !f.hushed(t) {
			best = t
		}
	}
	return best
}

// heardBefore is the last time before an instant at which it was, -1 if it was not.
func (f *fate) heardBefore(at int64) int64 {
	best := int64(-1)
	for t := f.phase + (at-1-f.phase)/speaks*speaks; t >= 0; t -= speaks {
		if t < at && !f.hushed(t) {
			best = t
			break
		}
	}
	for _, t := range [...]int64{f.enters, f.crashes} {
		if t < at && t > best && !f.hushed(t) {
			best = t
		}
	}
	return best
}

// fails is the tick of the first failure after a device came to be at risk.
func (f *fate) fails(enters int64) (tick, since int64, k kind) {
	tick = math.MaxInt64 / 2
	if f.crashes >= enters && f.crashes < lifetime && !f.hushed(f.crashes) {
		tick, since, k = tickOf(f.crashes), f.crashes+1, crash
	}
	for _, gap := range [...]int64{f.off, f.out} {
		if gap >= lifetime || gap <= enters {
			continue
		}
		last := f.heardBefore(gap)
		if last < enters {
			continue
		}
		heard := (last + 1) / 1000 * 1000
		missed := (heard + DefaultSettings().SilentAtLeast + tickMS - 1) / tickMS
		if next := f.heardFrom(last+1, false); next >= missed*tickMS && missed < tick {
			tick, since, k = missed, heard, silence
		}
	}
	return tick, since, k
}
