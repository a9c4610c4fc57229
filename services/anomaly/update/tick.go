package update

import (
	"cmp"
	"slices"
	"strings"

	"muster.dev/services/anomaly/page"
)

// Outage tells of a time in which we heard nothing, before the Tick that it concerns. While it goes on no silence is
// recognised, and when it is over every device of it has as long to speak as if it had just spoken.
func (a *Arms) Outage(o page.Outage) {
	same := func(x page.Outage) bool { return x.All == o.All && x.Region == o.Region }
	if i := slices.IndexFunc(a.outages, same); i >= 0 {
		a.outages = slices.Delete(a.outages, i, i+1)
	}
	if o.Until == 0 {
		a.outages = append(a.outages, o)
		slices.SortFunc(a.outages, func(x, y page.Outage) int { return cmp.Compare(x.Region, y.Region) })
		return
	}
	for _, w := range a.rollouts {
		for i := range w.units {
			u := &w.units[i]
			if u.heard != 0 && (o.All || a.census.Device(u.device).Region == o.Region) {
				u.heard = max(u.heard, w.seconds(o.Until))
			}
		}
	}
}

// out says whether a device could not have been heard, whatever it did.
func (a *Arms) out(region string) bool {
	for _, o := range a.outages {
		if o.All || o.Region == region {
			return true
		}
	}
	return false
}

// Tick closes all ticks of rollouts that end by until, and tells what changed in them.
//
// The numbers of an arm are what was added to them since the stratum was told of last, in this shard and stage: the sum of
// all that was told is what is. What became less is told as a number modulo 2^32. SoakedUntil alone is the time itself.
//
// A page has room for so many arms. A stratum for which there is none is told of in a later tick, with its failures and all
// that was added until then: nothing is lost, and those with failures come first.
func (a *Arms) Tick(until int64) ([]page.Arm, []page.Rank) {
	var arms []page.Arm
	var ranks []page.Rank
	for k := range a.rollouts {
		w := a.rollouts[turn(k, until/minute, len(a.rollouts))] // none is the first one always
		tick := w.started.Design.TickMS
		for w.closed+tick <= until {
			end := w.closed + tick
			var alive bool
			if w.stage != 0 && end > w.begun {
				arms, alive = a.close(w, end, arms)
				ranks = a.ranks(w, end, ranks)
			}
			w.closed = end
			if !alive {
				w.closed = until - until%tick // nothing happens between two things that are heard
			}
		}
	}
	slices.SortStableFunc(arms, func(x, y page.Arm) int {
		return cmp.Or(cmp.Compare(x.At, y.At), strings.Compare(x.Rollout, y.Rollout), strings.Compare(x.Stratum, y.Stratum))
	})
	slices.SortStableFunc(ranks, func(x, y page.Rank) int {
		return cmp.Or(cmp.Compare(x.At, y.At), strings.Compare(x.Rollout, y.Rollout), strings.Compare(x.Metric, y.Metric), strings.Compare(x.Stratum, y.Stratum))
	})
	return arms, ranks
}

// close closes a tick. alive says whether any device is at risk after it.
func (a *Arms) close(w *watch, end int64, arms []page.Arm) (_ []page.Arm, alive bool) {
	now := w.now[:0]
	for i, was := range w.told {
		now = append(now, sums{exposure: w.exposed[i], soaked: was.soaked})
	}
	w.now = now
	for i := range w.units {
		if a.pass(w, i, end, &now[w.units[i].stratum]) {
			alive = true
		}
	}
	fell := a.fell(w)
	var waits map[uint16]bool // strata for which there is no room; looked up, never walked through
	for _, i := range inTurn(len(now), end/w.started.Design.TickMS, fell) {
		was := &w.told[i]
		w.exposed[i] = now[i].exposure
		same := *was
		same.exposure = now[i].exposure // it grows all the time, and is told with the rest
		var f fallen
		if fell != nil {
			f = fell[i]
		}
		if now[i] == same && len(f.failed) == 0 {
			continue
		}
		if len(arms) >= a.most {
			if waits == nil {
				waits = map[uint16]bool{}
			}
			waits[uint16(i)] = true
			continue
		}
		arm := page.Arm{Rollout: w.started.Rollout, Stage: w.stage, Stratum: w.strata[i], At: end, Failed: f.failed, SoakedUntil: now[i].soaked, FailT: f.t, FailC: f.c,
			DrawnT: now[i].drawnT - was.drawnT, DrawnC: now[i].drawnC - was.drawnC, DrawnFailT: f.drawnT, DrawnFailC: f.drawnC,
			RiskT: now[i].riskT - was.riskT, RiskC: now[i].riskC - was.riskC, ExposureMS: now[i].exposure - was.exposure,
			InstallOK: now[i].ok - was.ok, InstallBad: now[i].bad - was.bad, Paper: now[i].paper - was.paper,
			Postponed: now[i].postponed - was.postponed, Assigned: now[i].assigned - was.assigned, Entered: now[i].entered - was.entered}
		if len(arm.Failed) > page.MaxDevices {
			arm.Failed = arm.Failed[:page.MaxDevices]
		}
		*was = now[i]
		arms = append(arms, arm)
	}
	if w.stirred || end%hour == 0 {
		for i := range w.units {
			u := &w.units[i]
			u.flags &^= fresh | drawnFresh
			if !waits[u.stratum] {
				u.flags &^= falling | drawnFalling
			}
			if end%hour == 0 {
				u.errs = 0
			}
		}
	}
	w.failed = slices.DeleteFunc(w.failed, func(f failure) bool {
		i, ok := w.find(f.device, len(w.units))
		return !ok || !waits[w.units[i].stratum]
	})
	w.stirred = len(w.failed) > 0
	return arms, alive
}

// inTurn gives the strata in the order in which they are told of, as long as there is room: those with failures first, and of
// the others none always last.
func inTurn(n int, tick int64, fell []fallen) []int {
	order := make([]int, 0, n)
	for _, failing := range [...]bool{true, false} {
		for k := range n {
			if i := turn(k, tick, n); failing == (fell != nil && len(fell[i].failed) > 0) {
				order = append(order, i)
			}
		}
	}
	return order
}

// turn is the k-th of n, counted from one that moves with time.
func turn(k int, time int64, n int) int { return int((uint64(k) + uint64(time)) % uint64(n)) }

// What a failed device is a part of. One of the draw alone fails as what it was drawn for, and not as one that began its update.
const (
	treatedPart = 1
	drawnPart   = 2 // and the other two
)

// pass takes one unit through the end of a tick: whether it fell silent, and what it adds to its stratum. A unit that
// failed in this tick was still at risk in it.
func (a *Arms) pass(w *watch, place int, end int64, s *sums) (alive bool) {
	u := &w.units[place]
	treated := w.treated(u)
	if u.boots != [2]uint16{} {
		for i := range u.boots {
			if u.boots[i] != 0 && stepsSince(u.boots[i], w.bootTime(end)) > loop/bootStep {
				u.boots[i] = 0
			}
		}
	}
	if u.flags&(saidOK|runsNew) == saidOK && u.age < 255 {
		u.age++
	}
	if u.stage == w.stage {
		s.assigned++
		w.installs(u, s)
	}
	if u.entered == 0 && u.flags&drawn == 0 || u.flags&gone != 0 {
		return false
	}
	if u.flags&(drawn|drawnFailed) == drawn || u.entered != 0 && u.flags&failed == 0 {
		if a.hushed(w, u, end) {
			a.fail(w, place, silence, w.ms(u.heard))
		}
	}
	if u.flags&(drawn|drawnFresh) == drawn && u.flags&(drawnFailed|drawnFalling) != drawnFailed {
		if treated {
			s.drawnT++
		} else {
			s.drawnC++
		}
	}
	alive = u.flags&(drawn|drawnFailed) == drawn
	if u.entered == 0 {
		return alive
	}
	inTick := u.flags&(failed|falling) != failed
	switch {
	case inTick && treated:
		s.riskT++
	case inTick && u.flags&fresh == 0:
		s.riskC++
	}
	if u.flags&failed != 0 {
		return alive
	}
	if treated {
		s.exposure += min(end-w.ms(u.entered), w.started.Design.TickMS)
	}
	return true
}

func (w *watch) installs(u *unit, s *sums) {
	switch {
	case u.flags&updated != 0:
		s.entered++
		switch {
		case u.flags&bad != 0:
			s.bad++
		case u.flags&paper != 0 && u.flags&runsNew == 0:
			s.paper++
		case u.flags&runsNew != 0:
			s.ok++
		}
		if u.entered != 0 {
			s.soaked = max(s.soaked, w.ms(u.entered)+w.started.Stages[w.stage-1].SoakMS)
		}
	case u.flags&postponed != 0 && u.flags&gone == 0:
		s.postponed++
	}
}

// hushed recognises a silence: by the same rule and at the same instant in both arms.
func (a *Arms) hushed(w *watch, u *unit, end int64) bool {
	heard := w.ms(u.heard)
	if end-heard < a.set.SilentAtLeast {
		return false
	}
	d := a.census.Device(u.device)
	if a.out(d.Region) {
		return false
	}
	cohort := a.census.Cohort(d.Cohort)
	interval := cmp.Or(d.Interval, cohort.Interval)
	return end-heard-cohort.SleptBetween(heard, end) >= max(a.set.SilentAtLeast, int64(a.set.SilentIntervals)*interval)
}

// fallen is who failed in a stratum's tick.
type fallen struct {
	failed               []page.Gone
	t, c, drawnT, drawnC uint32
}

// fell gives the failures that count of the tick that is open, by stratum, in order of id.
func (a *Arms) fell(w *watch) []fallen {
	if len(w.failed) == 0 {
		return nil
	}
	out := make([]fallen, len(w.strata))
	for _, f := range w.failed {
		i, ok := w.find(f.device, len(w.units))
		if !ok || w.units[i].flags&gone != 0 {
			continue
		}
		u, d := &w.units[i], a.census.Device(f.device)
		g := page.Gone{ID: d.ID, No: d.No, Since: f.since, Kind: kinds[f.kind]}
		all := &out[u.stratum]
		if w.treated(u) {
			g.Part = treatedPart
			all.t, all.drawnT = all.t+one(f.counted), all.drawnT+one(f.drawn)
		} else {
			all.c, all.drawnC = all.c+one(f.counted), all.drawnC+one(f.drawn)
		}
		if !f.counted {
			g.Part |= drawnPart
		}
		if g.Part == treatedPart {
			g.Marks = page.MarkUpdated
		}
		all.failed = append(all.failed, g)
	}
	for _, f := range out {
		slices.SortFunc(f.failed, func(x, y page.Gone) int { return strings.Compare(x.ID, y.ID) })
	}
	return out
}

func one(yes bool) uint32 {
	if yes {
		return 1
	}
	return 0
}
