package fate

import (
	"cmp"
	"slices"

	"muster.dev/fleet/simulator/chance"
	"muster.dev/fleet/simulator/truth"
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

const hourMS = 60 * 60 * 1000

// befallen collects what is known in advance for the device, in order of time.
func (f *Fate) befallen() {
	d := &f.plan.Devices()[f.no]
	faults := f.plan.Scenario().Faults
	for i := range faults {
		lot := f.plan.Lot(i)
		if !lot.Has(f.no) {
			continue
		}
		switch s := &faults[i]; {
		case s.PowerLoss != nil:
			for range s.PowerLoss.BrownOuts {
				f.windows = append(f.windows, befalling{f.Between(lot.At-hourMS, lot.At), chance.Never, brownsOut, i})
			}
			f.windows = append(f.windows, befalling{lot.At, lot.Until, losesPower, i})
		case s.Silence != nil:
			f.windows = append(f.windows, befalling{lot.At, lot.Until, hangs, i})
		case s.Restart != nil:
			f.windows = append(f.windows, befalling{lot.At, chance.Never, restarts, i})
		}
	}
	for _, o := range f.plan.SiteOutages(d.Cohort, d.Site) {
		f.windows = append(f.windows, befalling{o.From, o.Until, losesPower, -1})
	}
	f.windows = slices.DeleteFunc(f.windows, func(b befalling) bool {
		return b.until <= d.Joins || b.until == chance.Never && b.from < d.Joins
	})
	slices.SortStableFunc(f.windows, func(a, b befalling) int { return cmp.Compare(a.from, b.from) })
}

func (f *Fate) nextWindow() {
	f.next[bWindow] = chance.Never
	if f.i < len(f.windows) {
		f.next[bWindow] = f.windows[f.i].from
	}
}

// befall plays what was known in advance.
func (f *Fate) befall(at int64) {
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
		f.boot(f.now, powerOn, Moment{})
	case b.what == hangs:
		f.hang(at, b.until, truth.CauseHang, b.fault)
	}
	f.nextWindow()
}

// down takes the power until an instant, or for longer if by then it is gone for another reason. What would have begun in
// between does not.
func (f *Fate) down(at, until int64, cause string, fault int) {
	f.push(Moment{At: at, Kind: GoesDown})
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

func (f *Fate) silent(at, until int64, cause string, fault int) {
	f.fact(truth.Line{At: truth.Time(at), Until: truth.Time(until), Kind: truth.Silent, Fault: fault + 1, Detail: map[string]any{"cause": cause}})
}

func (f *Fate) push(m Moment) { f.queue = append(f.queue, m) }

// boot starts the device again, if there is a time at which it would. What it says about it stands in with.
func (f *Fate) boot(at int64, reason Word, with Moment) {
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
			f.next[s.source] = f.Next(at, s.rate)
		}
	}
	with.At, with.Kind, with.Reason, with.Version, with.Level, with.PerMS = at, Boots, reason, f.version, f.level, f.drain()
	f.push(with)
	f.fact(truth.Line{At: truth.Time(at), Kind: truth.Boot, Detail: map[string]any{"reason": reason.String(), "boot": f.boots, "firmware": f.plan.Version(f.version).Name}})
}

// stop is the end of all that happens to the device.
func (f *Fate) stop() {
	for i := range f.next {
		f.next[i] = chance.Never
	}
}

// restart is down for some seconds.
func (f *Fate) restart(at int64, reason Word) {
	f.push(Moment{At: at, Kind: GoesDown})
	f.boot(at+f.Between(2_000, 10_000), reason, Moment{})
}

// crash is a restart that the device reports.
func (f *Fate) crash(at int64, reason Word) {
	f.crashed(at, reason)
	f.boot(at+f.Between(5_000, 30_000), watchdog, Moment{Crash: reason, Crashed: at})
}

func (f *Fate) crashed(at int64, reason Word) {
	f.push(Moment{At: at, Kind: GoesDown})
	f.fact(truth.Line{At: truth.Time(at), Kind: truth.Crash, Detail: map[string]any{"reason": reason.String(), "firmware": f.plan.Version(f.version).Name}})
}

// hang is on and says nothing. Losing the power ends it.
func (f *Fate) hang(at, until int64, cause string, fault int) {
	for i := f.i; i < len(f.windows); i++ {
		if f.windows[i].what == losesPower && f.windows[i].from < until {
			until = max(at, f.windows[i].from)
			break
		}
	}
	f.push(Moment{At: at, Kind: Hangs})
	f.silent(at, until, cause, fault)
	f.now = until
	if until >= f.end {
		f.stop()
		return
	}
	f.push(Moment{At: until, Kind: Resumes})
}
