package fate

import (
	"cmp"
	"slices"

	"muster.dev/fleet/simulator/chance"
	"muster.dev/fleet/simulator/truth"
)

// enter runs another version from an instant on.
func (f *Fate) enter(v uint16, at int64) {
	f.settle(at)
	f.previous, f.version, f.since = f.version, v, at
	f.traits = f.plan.TraitsOf(f.no, v)
	fw := f.plan.Version(v).Is
	f.next[bCrash], f.next[bSilent], f.next[bLeak] = chance.Never, chance.Never, chance.Never
	if f.traits.Crashes {
		f.next[bCrash] = f.After(at, float64(fw.Crashes.Within.Milliseconds()))
	}
	if f.traits.Silent {
		f.next[bSilent] = f.After(at, float64(fw.Silent.After.Milliseconds()))
	}
	f.leak(at)
	f.charge()
}

// leak sets when the memory is full.
func (f *Fate) leak(at int64) {
	f.next[bLeak] = chance.Never
	if !f.traits.Leaks {
		return
	}
	if l := f.plan.Version(f.version).Is.Leaks; l.Room > 0 && l.Per != 0 {
		f.next[bLeak] = chance.Later(at, l.Room/abs(float64(l.Per))*chance.DayMS)
	}
}

func abs(x float64) float64 { return max(x, -x) }

// leaveVersion says what the version did while it ran.
func (f *Fate) leaveVersion(at int64) {
	v := f.plan.Version(f.version)
	say := func(there bool, kind string, detail map[string]any) {
		if there && at > f.since {
			detail["firmware"] = v.Name
			f.fact(truth.Line{At: truth.Time(f.since), Until: truth.Time(at), Kind: kind, Detail: detail})
		}
	}
	if f.traits.Leaks {
		say(f.c.MetricNamed(v.Is.Leaks.Metric) >= 0, truth.Leak, map[string]any{"metric": v.Is.Leaks.Metric, "per_day": float64(v.Is.Leaks.Per)})
	}
	if f.traits.Drains {
		say(f.c.Battery != nil, truth.Drain, map[string]any{"factor": v.Is.Drains.Factor})
	}
	if f.traits.Errors {
		say(true, truth.OSErrors, map[string]any{"code": v.Is.Errors.Code, "per_day": float64(v.Is.Errors.Per)})
	}
	for i := range 64 {
		if f.traits.Shifts&(1<<i) != 0 {
			s := &v.Is.Shifts[i]
			say(f.c.MetricNamed(s.Metric) >= 0, truth.Shift, map[string]any{"metric": s.Metric, "by": s.By})
		}
	}
}

func (f *Fate) crashLoop(at int64) {
	c := f.plan.Version(f.version).Is.Crashes
	first := at
	for n := 1; n < c.BootLoop && f.now < f.end; n++ {
		f.crash(at, panicked)
		at = f.now + f.Between(10_000, 40_000)
	}
	if at >= f.end {
		f.stop()
		f.now = f.end
		return
	}
	if c.BootLoop > 1 {
		f.fact(truth.Line{At: truth.Time(first), Until: truth.Time(at), Kind: truth.BootLoop,
			Detail: map[string]any{"crashes": c.BootLoop, "firmware": f.plan.Version(f.version).Name}})
	}
	switch c.Then {
	case "silent":
		f.crashed(at, panicked)
		f.brick(at)
	case "rolls-back":
		f.crashed(at, panicked)
		f.goBack(at + f.Between(5_000, 30_000))
	default:
		f.crash(at, panicked)
		f.next[bCrash] = f.After(f.now, float64(c.Within.Milliseconds()))
	}
}

func (f *Fate) fallSilent(at int64) {
	s := f.plan.Version(f.version).Is.Silent
	if s.Lasts == 0 {
		f.push(Moment{At: at, Kind: Hangs})
		f.brick(at)
		return
	}
	f.hang(at, at+s.Lasts.Milliseconds(), truth.CauseUpdate, -1)
	f.next[bSilent] = f.After(f.now, float64(s.After.Milliseconds()))
}

// brick is the end: nothing wakes the device again.
func (f *Fate) brick(at int64) {
	f.silent(at, f.end, truth.CauseUpdate, -1)
	f.now = f.end
	f.stop()
}

// goBack boots what ran before and says so.
func (f *Fate) goBack(at int64) {
	bad := f.version
	f.leaveVersion(at)
	f.enter(f.previous, at)
	f.boot(at, rollback, Moment{OTA: otaRolledBack, From: f.version, To: bad})
}

// update is one that is planned for the device.
type update struct {
	at      int64
	wait    int64 // by which it is postponed first
	rollout int
	stage   int
}

func (f *Fate) planUpdates() {
	for i := range f.plan.Scenario().Rollouts {
		v, r := f.plan.Rollout(i), &f.plan.Scenario().Rollouts[i]
		stage, part := v.Stage(f.no)
		if !part || v.Begins[0] >= f.plan.Until() {
			continue
		}
		arm := "treated"
		if stage == 0 {
			arm = "control"
		}
		f.fact(truth.Line{At: truth.Time(v.Begins[0]), Kind: truth.Assigned, Detail: map[string]any{"rollout": i, "arm": arm, "stage": stage}})
		if stage == 0 {
			continue
		}
		u := update{at: f.After(v.Begins[stage-1], float64(r.Takes.Milliseconds())), rollout: i, stage: stage}
		if f.Chance(float64(r.Postponed.Share)) {
			u.wait = f.After(0, float64(r.Postponed.By.Milliseconds()))
		}
		f.updates = append(f.updates, u)
	}
	slices.SortStableFunc(f.updates, func(a, b update) int { return cmp.Compare(a.at, b.at) })
	f.nextUpdate()
}

func (f *Fate) nextUpdate() {
	f.next[bUpdate] = chance.Never
	if len(f.updates) > 0 {
		f.next[bUpdate] = f.updates[0].at
	}
}

// update plays an update from its start to its last Word.
func (f *Fate) update(at int64) {
	u := &f.updates[0]
	to := f.plan.Rollout(u.rollout).Brings
	from := f.version
	if u.wait > 0 {
		f.push(Moment{At: at, Kind: Reports, OTA: Postponed, From: from, To: to})
		f.fact(truth.Line{At: truth.Time(at), Until: truth.Time(at + u.wait), Kind: truth.Postponed,
			Detail: map[string]any{"rollout": u.rollout, "stage": u.stage, "to": f.plan.Version(to).Name}})
		u.at, u.wait, f.now = at+u.wait, 0, at
		f.nextUpdate()
		return
	}
	fw := f.plan.Version(to).Is
	if fw != nil && f.Chance(float64(fw.Bricks)) {
		f.push(Moment{At: at, Kind: GoesDown})
		f.fact(truth.Line{At: truth.Time(at), Until: truth.Time(at), Kind: truth.Update, Detail: map[string]any{"rollout": u.rollout, "stage": u.stage,
			"from": f.plan.Version(from).Name, "to": f.plan.Version(to).Name, "result": "bricked"}})
		f.brick(at)
		return
	}
	f.push(Moment{At: at, Kind: Reports, OTA: otaStarted, From: from, To: to})
	loaded := at + f.Between(20_000, 600_000)
	f.push(Moment{At: loaded, Kind: Reports, OTA: otaDownloaded, From: from, To: to, Took: loaded - at})
	booted := loaded + f.Between(20_000, 60_000)
	result := "ok"
	x := f.Unit()
	done := Moment{OTA: otaOK, From: from, To: to, Took: booted - at}
	switch {
	case fw != nil && x < float64(fw.Fails):
		result = "failed"
		f.push(Moment{At: booted, Kind: Reports, OTA: otaFailed, From: from, To: to, Took: booted - at})
		f.now = booted
	case fw != nil && x < float64(fw.Fails+fw.RollsBack):
		result = "rolled_back"
		f.leaveVersion(booted)
		f.push(Moment{At: loaded + 1, Kind: GoesDown})
		f.enter(to, booted)
		f.boot(booted, byOTA, Moment{})
		back := booted + f.Between(60_000, 600_000)
		f.push(Moment{At: back, Kind: GoesDown})
		f.goBack(back + f.Between(20_000, 60_000))
	case fw != nil && x < float64(fw.Fails+fw.RollsBack+fw.Paper):
		result = "paper"
		f.push(Moment{At: loaded + 1, Kind: GoesDown})
		f.boot(booted, byOTA, done)
	default:
		f.push(Moment{At: loaded + 1, Kind: GoesDown})
		f.leaveVersion(booted)
		f.enter(to, booted)
		f.boot(booted, byOTA, done)
	}
	f.fact(truth.Line{At: truth.Time(at), Until: truth.Time(f.now), Kind: truth.Update, Detail: map[string]any{"rollout": u.rollout, "stage": u.stage,
		"from": f.plan.Version(from).Name, "to": f.plan.Version(to).Name, "result": result}})
	f.updates = f.updates[1:]
	if f.now < f.end {
		f.nextUpdate()
	}
}
