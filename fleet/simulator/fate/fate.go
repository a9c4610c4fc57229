package fate

import (
	"muster.dev/fleet/scenario"
	"muster.dev/fleet/simulator/chance"
	"muster.dev/fleet/simulator/plan"
	"muster.dev/fleet/simulator/truth"
)

// Fate is one device's. It is for one goroutine at a time.
type Fate struct {
	plan *plan.Plan
	c    *scenario.Cohort
	no   int
	chance.Dice

	horizon int64 // all moments before are in the queue
	end     int64 // of the device, or of the scenario
	now     int64
	next    [sources]int64
	windows []befalling // in order of time; f.i is the next
	i       int
	updates []update
	queue   []Moment
	facts   []truth.Line

	version  uint16
	previous uint16
	since    int64 // of the version
	traits   plan.Traits
	boots    uint32
	booted   int64

	level, perMS float64 // of the battery, at an instant
	levelAt      int64
	low          bool
	browns       []int64
}

// sources of what may happen next.
const (
	bWindow = iota
	bUpdate
	bReboot
	bMishap
	bHang
	bCrash
	bSilent
	bLeak
	bLow
	bBrown
	bEmpty
	sources
)

// New is the fate of a device, which has not begun.
func New(p *plan.Plan, device int) Fate {
	d := &p.Devices()[device]
	return Fate{plan: p, c: &p.Scenario().Cohorts[d.Cohort], no: device, Dice: chance.Roll(p.Seed(), chance.ForFate, device, 0), end: min(d.Leaves, p.Until())}
}

// End is when the device is no more.
func (f *Fate) End() int64 { return f.end }

// Horizon is the instant before which all moments are known; chance.Never when there are no more than are known.
func (f *Fate) Horizon() int64 { return f.horizon }

// Known are the moments that are known and were not taken yet, in order of time, until the next call.
func (f *Fate) Known() []Moment { return f.queue }

// Take gives the first of the known moments.
func (f *Fate) Take() Moment {
	m := f.queue[0]
	copy(f.queue, f.queue[1:])
	f.queue = f.queue[:len(f.queue)-1]
	return m
}

// Told gives the next line of the device's truth, in the order in which it was decided.
func (f *Fate) Told() (l truth.Line, ok bool) {
	n := len(f.facts)
	if n == 0 {
		return l, false
	}
	l = f.facts[0]
	if f.facts = f.facts[1:]; n == 1 {
		f.facts = nil
	}
	return l, true
}

// Tell adds a line about the device that was decided elsewhere.
func (f *Fate) Tell(l truth.Line) {
	l.Cohort, l.Device = f.c.Name, f.plan.Devices()[f.no].ID
	f.facts = append(f.facts, l)
}

// fact tells what lasts until the device's end at most.
func (f *Fate) fact(l truth.Line) {
	l.Until = min(l.Until, truth.Time(f.end))
	f.Tell(l)
}

// CutOff tells that a fault lets nothing of the device through.
func (f *Fate) CutOff(from, until int64, fault int) {
	if from < f.end {
		f.silent(from, until, truth.CauseRadio, fault)
	}
}

// BeNeverHeard ends a fate that has not begun: the device is enrolled, and that was all.
func (f *Fate) BeNeverHeard() {
	joins := f.plan.Devices()[f.no].Joins
	f.horizon = chance.Never
	f.fact(truth.Line{At: truth.Time(joins), Kind: truth.NeverHeard})
	f.silent(joins, f.end, truth.CauseNever, -1)
}

// Boot is the number of the boot that the device is in, and when it was.
func (f *Fate) Boot() (no uint32, at int64) { return f.boots, f.booted }

// Battery is its level, of 1, and what goes of it in a millisecond.
func (f *Fate) Battery() (level, perMS float64) { return f.level, f.drain() }

// Begin sets going what may happen. A device of the beginning has been up for a while; another boots.
func (f *Fate) Begin() {
	d := &f.plan.Devices()[f.no]
	f.befallen()
	f.now = d.Joins
	for i := range f.next {
		f.next[i] = chance.Never
	}
	t := chance.Roll(f.plan.Seed(), chance.ForTraits, f.no, 0)
	f.level, f.levelAt = 1, d.Joins
	if b := f.c.Battery; b != nil {
		if d.Joins == f.plan.Begins() {
			f.level = float64(b.Full) + float64((1-float64(b.Full))*t.Unit())
		}
		life := float64(b.Lasts.Milliseconds()) * max(0.1, 1+float64(float64(b.Spread)*t.Norm()))
		f.perMS = 1 / life
	}
	f.next[bReboot] = f.Next(f.now, float64(f.c.Reboots))
	f.next[bMishap] = f.Next(f.now, float64(f.c.Mishaps.Crashes))
	f.next[bHang] = f.Next(f.now, float64(f.c.Mishaps.Silences))
	f.enter(f.plan.VersionNo(f.c.Firmware), f.now)
	f.previous = f.version
	f.planUpdates()
	f.nextWindow()
	if d.Joins > f.plan.Begins() {
		f.boot(d.Joins+f.Between(1_000, 30_000), powerOn, Moment{})
	} else {
		f.boots = 1 + uint32(t.Below(5))
		f.booted = d.Joins - t.Between(0, 7*chance.DayMS)
		f.settle(f.now)
	}
	f.see()
}

// see sets how far the queue is complete.
func (f *Fate) see() {
	at := f.end
	for _, t := range f.next {
		at = min(at, max(t, f.now))
	}
	f.horizon = at
	if at >= f.end {
		f.finish()
	}
}

// finish ends the device.
func (f *Fate) finish() {
	if f.horizon == chance.Never {
		return
	}
	f.leaveVersion(f.end)
	d := &f.plan.Devices()[f.no]
	if d.Leaves < f.plan.Until() {
		f.fact(truth.Line{At: truth.Time(d.Leaves), Kind: truth.Left, Detail: map[string]any{"cause": d.Cause}})
	}
	f.horizon = chance.Never
}

// Step plays what comes next.
func (f *Fate) Step() {
	which := 0
	for i, t := range f.next {
		if t < f.next[which] {
			which = i
		}
	}
	at := max(f.next[which], f.now)
	f.next[which] = chance.Never
	switch which {
	case bWindow:
		f.befall(at)
	case bUpdate:
		f.update(at)
	case bReboot:
		f.restart(at, software)
		f.next[bReboot] = f.Next(f.now, float64(f.c.Reboots))
	case bMishap:
		f.crash(at, panicked)
		f.next[bMishap] = f.Next(f.now, float64(f.c.Mishaps.Crashes))
	case bHang:
		f.hang(at, f.After(at, float64(f.c.Mishaps.Lasts.Milliseconds())), truth.CauseHang, -1)
		f.next[bHang] = f.Next(f.now, float64(f.c.Mishaps.Silences))
	case bCrash:
		f.crashLoop(at)
	case bSilent:
		f.fallSilent(at)
	case bLeak:
		f.crash(at, noMemory)
	case bLow:
		f.runLow(at)
	case bBrown:
		f.restart(at, brownout)
		f.nextBrown()
	case bEmpty:
		f.runEmpty(at)
	}
	f.see()
}
