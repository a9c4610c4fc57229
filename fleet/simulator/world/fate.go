package world

import (
	"muster.dev/fleet/simulator/truth"
)

// fate is what happens to a device, whatever it measures and whatever the radio does: power, firmware, crashes, updates,
// the battery. It runs ahead of the device's messages: what was kept through an outage is sent only if the device still
// lives when the outage ends.
type fate struct {
	w  *World
	c  *cohort
	no int
	dice

	horizon int64 // all moments before are in the queue
	end     int64 // of the device, or of the world
	now     int64
	next    [sources]int64
	windows []befalling // in order of time; w.i is the next
	i       int
	updates []update
	queue   []moment
	facts   []truth.Line

	version  uint16
	previous uint16
	since    int64 // of the version
	traits   traits
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

// moment changes what a device does.
type moment struct {
	at       int64
	crashed  int64 // of the crash that a boot comes from; 0 is none
	took     int64 // of an update, so far
	level    float64
	perMS    float64 // level and this: the battery from a boot on
	kind     momentKind
	reason   word   // of a boot
	crash    word   // reason of the crash
	ota      word   // result that is reported
	version  uint16 // that runs from a boot on
	from, to uint16
}

type momentKind uint8

const (
	mBoot momentKind = iota
	mDown
	mHang
	mResume
	mOTA
)

// befalling is what is known in advance.
type befalling struct {
	from, until int64
	what        befallen
	fault       int
}

type befallen uint8

const (
	losesPower befallen = iota
	brownsOut
	hangs
	restarts
)

// word is what devices report: reasons of boots and crashes, results of updates.
type word uint8

const (
	nothing word = iota
	powerOn
	brownout
	watchdog
	software
	panicked
	byOTA
	rollback
	noMemory
	otaStarted
	otaDownloaded
	otaOK
	otaFailed
	otaRolledBack
	otaPostponed
)

var words = [...]string{"", "power_on", "brownout", "watchdog", "software", "panic", "ota", "rollback", "out_of_memory",
	"started", "downloaded", "ok", "failed", "rolled_back", "postponed"}

func (w word) String() string { return words[w] }

func (f *fate) fact(l truth.Line) {
	l.Cohort, l.Device = f.c.Name, f.w.devices[f.no].ID
	if l.Until > truth.Time(f.end) {
		l.Until = truth.Time(f.end)
	}
	f.facts = append(f.facts, l)
}

func (f *fate) push(m moment) { f.queue = append(f.queue, m) }

// begin sets the sources going. A device of the beginning has been up for a while; another boots.
func (f *fate) begin() {
	d := &f.w.devices[f.no]
	f.now, f.end = d.Joins, min(d.Leaves, f.w.until)
	for i := range f.next {
		f.next[i] = Never
	}
	t := roll(f.w.seed, forTraits, f.no, 0)
	f.level, f.levelAt = 1, d.Joins
	if b := f.c.Battery; b != nil {
		if d.Joins == f.w.begins {
			f.level = float64(b.Full) + float64((1-float64(b.Full))*t.unit())
		}
		life := float64(b.Lasts.Milliseconds()) * max(0.1, 1+float64(float64(b.Spread)*t.norm()))
		f.perMS = 1 / life
	}
	f.next[bReboot] = f.dice.next(f.now, float64(f.c.Reboots))
	f.next[bMishap] = f.dice.next(f.now, float64(f.c.Mishaps.Crashes))
	f.next[bHang] = f.dice.next(f.now, float64(f.c.Mishaps.Silences))
	f.enter(f.c.version, f.now)
	f.previous = f.version
	f.planUpdates()
	f.nextWindow()
	if d.Joins > f.w.begins {
		f.boot(d.Joins+f.between(1_000, 30_000), powerOn, moment{})
	} else {
		f.boots = 1 + uint32(t.below(5))
		f.booted = d.Joins - t.between(0, 7*dayMS)
		f.settle(f.now)
	}
	f.see()
}

// see sets how far the queue is complete.
func (f *fate) see() {
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
func (f *fate) finish() {
	if f.horizon == Never {
		return
	}
	f.leaveVersion(f.end)
	d := &f.w.devices[f.no]
	if d.Leaves < f.w.until {
		f.fact(truth.Line{At: truth.Time(d.Leaves), Kind: truth.Left, Detail: map[string]any{"cause": d.cause}})
	}
	f.horizon = Never
}

// step plays what comes next.
func (f *fate) step() {
	which := 0
	for i, t := range f.next {
		if t < f.next[which] {
			which = i
		}
	}
	at := max(f.next[which], f.now)
	f.next[which] = Never
	switch which {
	case bWindow:
		f.befall(at)
	case bUpdate:
		f.update(at)
	case bReboot:
		f.restart(at, software)
		f.next[bReboot] = f.dice.next(f.now, float64(f.c.Reboots))
	case bMishap:
		f.crash(at, panicked)
		f.next[bMishap] = f.dice.next(f.now, float64(f.c.Mishaps.Crashes))
	case bHang:
		f.hang(at, f.after(at, float64(f.c.Mishaps.Lasts.Milliseconds())), truth.CauseHang, -1)
		f.next[bHang] = f.dice.next(f.now, float64(f.c.Mishaps.Silences))
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

func (f *fate) nextWindow() {
	f.next[bWindow] = Never
	if f.i < len(f.windows) {
		f.next[bWindow] = f.windows[f.i].from
	}
}

// befall plays what was known in advance.
func (f *fate) befall(at int64) {
	b := f.windows[f.i]
	f.i++
	switch {
	case b.what == brownsOut:
		f.restart(at, brownout)
	case b.what == restarts:
		f.restart(at, software)
	case at >= b.until: // over before it could begin
	case b.what == losesPower:
		f.down(at, b.until, truth.CausePower, b.fault)
		f.boot(f.now, powerOn, moment{})
	case b.what == hangs:
		f.hang(at, b.until, truth.CauseHang, b.fault)
	}
	f.nextWindow()
}

// down takes the power until an instant, or for longer if by then it is gone for another reason. What would have begun in
// between does not.
func (f *fate) down(at, until int64, cause string, fault int) {
	f.push(moment{at: at, kind: mDown})
	for f.i < len(f.windows) && f.windows[f.i].from <= until {
		b := &f.windows[f.i]
		if b.what == losesPower {
			until = max(until, b.until)
		} else if b.what == hangs && b.until > until {
			b.from = until + 1
			break
		}
		f.i++
	}
	f.nextWindow()
	f.silent(at, until, cause, fault)
	f.now = until
}

func (f *fate) silent(at, until int64, cause string, fault int) {
	f.fact(truth.Line{At: truth.Time(at), Until: truth.Time(until), Kind: truth.Silent, Fault: fault + 1, Detail: map[string]any{"cause": cause}})
}

// boot starts the device again, if there is a time at which it would. What it says about it stands in with.
func (f *fate) boot(at int64, reason word, with moment) {
	f.now = at
	if at >= f.end {
		f.stop()
		return
	}
	f.boots++
	f.booted = at
	f.settle(at)
	f.leak(at)
	for _, s := range []struct {
		source int
		rate   float64
	}{{bReboot, float64(f.c.Reboots)}, {bMishap, float64(f.c.Mishaps.Crashes)}, {bHang, float64(f.c.Mishaps.Silences)}} {
		if f.next[s.source] < at { // it was off when that would have happened
			f.next[s.source] = f.dice.next(at, s.rate)
		}
	}
	with.at, with.kind, with.reason, with.version, with.level, with.perMS = at, mBoot, reason, f.version, f.level, f.drain()
	f.push(with)
	f.fact(truth.Line{At: truth.Time(at), Kind: truth.Boot, Detail: map[string]any{"reason": reason.String(), "boot": f.boots, "firmware": f.w.versions[f.version].name}})
}

// stop is the end of all that happens to the device.
func (f *fate) stop() {
	for i := range f.next {
		f.next[i] = Never
	}
}

// restart is down for some seconds.
func (f *fate) restart(at int64, reason word) {
	f.push(moment{at: at, kind: mDown})
	f.boot(at+f.between(2_000, 10_000), reason, moment{})
}

// crash is a restart that the device reports.
func (f *fate) crash(at int64, reason word) {
	f.crashed(at, reason)
	f.boot(at+f.between(5_000, 30_000), watchdog, moment{crash: reason, crashed: at})
}

func (f *fate) crashed(at int64, reason word) {
	f.push(moment{at: at, kind: mDown})
	f.fact(truth.Line{At: truth.Time(at), Kind: truth.Crash, Detail: map[string]any{"reason": reason.String(), "firmware": f.w.versions[f.version].name}})
}

// hang is on and says nothing. Losing the power ends it.
func (f *fate) hang(at, until int64, cause string, fault int) {
	for i := f.i; i < len(f.windows); i++ {
		if f.windows[i].what == losesPower && f.windows[i].from < until {
			until = max(at, f.windows[i].from)
			break
		}
	}
	f.push(moment{at: at, kind: mHang})
	f.silent(at, until, cause, fault)
	f.now = until
	if until >= f.end {
		f.stop()
		return
	}
	f.push(moment{at: until, kind: mResume})
}
