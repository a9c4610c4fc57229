package world

import (
	"cmp"
	"slices"

	"muster.dev/fleet/simulator/truth"
)

// traits are what a version does to one device. They are a function of seed, device and version, so that whoever asks
// gets the same answer.
type traits struct {
	crashes, silent, leaks, drains, errors bool
	shifts                                 uint64
}

func (w *World) traitsOf(device int, v uint16) (t traits) {
	f := w.versions[v].f
	if f == nil {
		return t
	}
	var p [5]float64
	if f.Crashes != nil {
		p[0] = float64(f.Crashes.Chance)
	}
	if f.Silent != nil {
		p[1] = float64(f.Silent.Chance)
	}
	if f.Leaks != nil {
		p[2] = float64(f.Leaks.Chance)
	}
	if f.Drains != nil {
		p[3] = float64(f.Drains.Chance)
	}
	if f.Errors != nil {
		p[4] = float64(f.Errors.Chance)
	}
	d := roll(w.seed, forVersion, device, int(v))
	for i, has := range []*bool{&t.crashes, &t.silent, &t.leaks, &t.drains, &t.errors} {
		*has = d.unit() < p[i] // each draws, so that one more changes no other
	}
	for i := range f.Shifts {
		if d.unit() < float64(f.Shifts[i].Chance) {
			t.shifts |= 1 << i
		}
	}
	return t
}

// enter runs another version from an instant on.
func (f *fate) enter(v uint16, at int64) {
	f.settle(at)
	f.previous, f.version, f.since = f.version, v, at
	f.traits = f.w.traitsOf(f.no, v)
	fw := f.w.versions[v].f
	f.next[bCrash], f.next[bSilent], f.next[bLeak] = Never, Never, Never
	if f.traits.crashes {
		f.next[bCrash] = f.after(at, float64(fw.Crashes.Within.Milliseconds()))
	}
	if f.traits.silent {
		f.next[bSilent] = f.after(at, float64(fw.Silent.After.Milliseconds()))
	}
	f.leak(at)
	f.charge()
}

// leak sets when the memory is full.
func (f *fate) leak(at int64) {
	f.next[bLeak] = Never
	if !f.traits.leaks {
		return
	}
	if l := f.w.versions[f.version].f.Leaks; l.Room > 0 && l.Per != 0 {
		f.next[bLeak] = later(at, l.Room/abs(float64(l.Per))*dayMS)
	}
}

func abs(x float64) float64 { return max(x, -x) }

// leaveVersion says what the version did while it ran.
func (f *fate) leaveVersion(at int64) {
	v := &f.w.versions[f.version]
	say := func(there bool, kind string, detail map[string]any) {
		if there && at > f.since {
			detail["firmware"] = v.name
			f.fact(truth.Line{At: truth.Time(f.since), Until: truth.Time(at), Kind: kind, Detail: detail})
		}
	}
	if f.traits.leaks {
		say(f.c.MetricNamed(v.f.Leaks.Metric) >= 0, truth.Leak, map[string]any{"metric": v.f.Leaks.Metric, "per_day": float64(v.f.Leaks.Per)})
	}
	if f.traits.drains {
		say(f.c.Battery != nil, truth.Drain, map[string]any{"factor": v.f.Drains.Factor})
	}
	if f.traits.errors {
		say(true, truth.OSErrors, map[string]any{"code": v.f.Errors.Code, "per_day": float64(v.f.Errors.Per)})
	}
	for i := range 64 {
		if f.traits.shifts&(1<<i) != 0 {
			s := &v.f.Shifts[i]
			say(f.c.MetricNamed(s.Metric) >= 0, truth.Shift, map[string]any{"metric": s.Metric, "by": s.By})
		}
	}
}

func (f *fate) crashLoop(at int64) {
	c := f.w.versions[f.version].f.Crashes
	first := at
	for n := 1; n < c.BootLoop && f.now < f.end; n++ {
		f.crash(at, panicked)
		at = f.now + f.between(10_000, 40_000)
	}
	if at >= f.end {
		f.stop()
		f.now = f.end
		return
	}
	if c.BootLoop > 1 {
		f.fact(truth.Line{At: truth.Time(first), Until: truth.Time(at), Kind: truth.BootLoop,
			Detail: map[string]any{"crashes": c.BootLoop, "firmware": f.w.versions[f.version].name}})
	}
	switch c.Then {
	case "silent":
		f.crashed(at, panicked)
		f.brick(at)
	case "rolls-back":
		f.crashed(at, panicked)
		f.goBack(at + f.between(5_000, 30_000))
	default:
		f.crash(at, panicked)
		f.next[bCrash] = f.after(f.now, float64(c.Within.Milliseconds()))
	}
}

func (f *fate) fallSilent(at int64) {
	s := f.w.versions[f.version].f.Silent
	if s.Lasts == 0 {
		f.push(moment{at: at, kind: mHang})
		f.brick(at)
		return
	}
	f.hang(at, at+s.Lasts.Milliseconds(), truth.CauseUpdate, -1)
	f.next[bSilent] = f.after(f.now, float64(s.After.Milliseconds()))
}

// brick is the end: nothing wakes the device again.
func (f *fate) brick(at int64) {
	f.silent(at, f.end, truth.CauseUpdate, -1)
	f.now = f.end
	f.stop()
}

// goBack boots what ran before and says so.
func (f *fate) goBack(at int64) {
	bad := f.version
	f.leaveVersion(at)
	f.enter(f.previous, at)
	f.boot(at, rollback, moment{ota: otaRolledBack, from: f.version, to: bad})
}

// update is one that is planned for the device.
type update struct {
	at      int64
	wait    int64 // by which it is postponed first
	rollout int
	stage   int
}

func (f *fate) planUpdates() {
	for i := range f.w.rollouts {
		v, r := &f.w.rollouts[i], &f.w.s.Rollouts[i]
		stage := int(v.stage[f.no])
		if stage == noPart || v.begins[0] >= f.w.until {
			continue
		}
		arm := "treated"
		if stage == 0 {
			arm = "control"
		}
		f.fact(truth.Line{At: truth.Time(v.begins[0]), Kind: truth.Assigned, Detail: map[string]any{"rollout": i, "arm": arm, "stage": stage}})
		if stage == 0 {
			continue
		}
		u := update{at: f.after(v.begins[stage-1], float64(r.Takes.Milliseconds())), rollout: i, stage: stage}
		if f.chance(float64(r.Postponed.Share)) {
			u.wait = f.after(0, float64(r.Postponed.By.Milliseconds()))
		}
		f.updates = append(f.updates, u)
	}
	slices.SortStableFunc(f.updates, func(a, b update) int { return cmp.Compare(a.at, b.at) })
	f.nextUpdate()
}

func (f *fate) nextUpdate() {
	f.next[bUpdate] = Never
	if len(f.updates) > 0 {
		f.next[bUpdate] = f.updates[0].at
	}
}

// update plays an update from its start to its last word.
func (f *fate) update(at int64) {
	u := &f.updates[0]
	to := f.w.rollouts[u.rollout].version
	from := f.version
	if u.wait > 0 {
		f.push(moment{at: at, kind: mOTA, ota: otaPostponed, from: from, to: to})
		f.fact(truth.Line{At: truth.Time(at), Until: truth.Time(at + u.wait), Kind: truth.Postponed,
			Detail: map[string]any{"rollout": u.rollout, "stage": u.stage, "to": f.w.versions[to].name}})
		u.at, u.wait, f.now = at+u.wait, 0, at
		f.nextUpdate()
		return
	}
	f.push(moment{at: at, kind: mOTA, ota: otaStarted, from: from, to: to})
	loaded := at + f.between(20_000, 600_000)
	f.push(moment{at: loaded, kind: mOTA, ota: otaDownloaded, from: from, to: to, took: loaded - at})
	booted := loaded + f.between(20_000, 60_000)
	result := "ok"
	fw, x := f.w.versions[to].f, f.unit()
	done := moment{ota: otaOK, from: from, to: to, took: booted - at}
	switch {
	case fw != nil && x < float64(fw.Fails):
		result = "failed"
		f.push(moment{at: booted, kind: mOTA, ota: otaFailed, from: from, to: to, took: booted - at})
		f.now = booted
	case fw != nil && x < float64(fw.Fails+fw.RollsBack):
		result = "rolled_back"
		f.leaveVersion(booted)
		f.push(moment{at: loaded + 1, kind: mDown})
		f.enter(to, booted)
		f.boot(booted, byOTA, moment{})
		back := booted + f.between(60_000, 600_000)
		f.push(moment{at: back, kind: mDown})
		f.goBack(back + f.between(20_000, 60_000))
	case fw != nil && x < float64(fw.Fails+fw.RollsBack+fw.Paper):
		result = "paper"
		f.push(moment{at: loaded + 1, kind: mDown})
		f.boot(booted, byOTA, done)
	default:
		f.push(moment{at: loaded + 1, kind: mDown})
		f.leaveVersion(booted)
		f.enter(to, booted)
		f.boot(booted, byOTA, done)
	}
	f.fact(truth.Line{At: truth.Time(at), Until: truth.Time(f.now), Kind: truth.Update, Detail: map[string]any{"rollout": u.rollout, "stage": u.stage,
		"from": f.w.versions[from].name, "to": f.w.versions[to].name, "result": result}})
	f.updates = f.updates[1:]
	if f.now < f.end {
		f.nextUpdate()
	}
}
