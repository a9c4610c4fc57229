package fate

import (
	"slices"

	"muster.dev/fleet/simulator/chance"
	"muster.dev/fleet/simulator/truth"
)

// lowCharge is from where on the voltage drops now and then.
const lowCharge = 0.02

// drain is how fast the battery goes under the version that runs.
func (f *Fate) drain() float64 {
	if f.traits.Drains {
		return f.perMS * f.plan.Version(f.version).Is.Drains.Factor
	}
	return f.perMS
}

// settle takes what was used up to an instant.
func (f *Fate) settle(at int64) {
	if at > f.levelAt {
		f.level = max(0, f.level-float64(float64(at-f.levelAt)*f.drain()))
		f.levelAt = at
	}
}

// charge sets when the battery is low and empty, as it goes now.
func (f *Fate) charge() {
	if f.perMS == 0 {
		return
	}
	f.next[bLow], f.next[bEmpty] = chance.Never, chance.Later(f.levelAt, f.level/f.drain())
	if !f.low {
		f.next[bLow] = chance.Later(f.levelAt, max(0, f.level-lowCharge)/f.drain())
	}
}

func (f *Fate) runLow(at int64) {
	f.low = true
	empty := min(f.next[bEmpty], f.end)
	f.fact(truth.Line{At: truth.Time(at), Until: truth.Time(empty), Kind: truth.BatteryLow})
	f.browns = f.browns[:0]
	for range f.c.Battery.BrownOuts {
		f.browns = append(f.browns, f.Between(at, f.next[bEmpty]))
	}
	slices.Sort(f.browns)
	f.nextBrown()
}

func (f *Fate) nextBrown() {
	f.next[bBrown] = chance.Never
	if len(f.browns) > 0 {
		f.next[bBrown] = f.browns[0]
		f.browns = f.browns[1:]
	}
}

func (f *Fate) runEmpty(at int64) {
	until := f.end
	if r := f.c.Battery.Renewed.Milliseconds(); r > 0 {
		until = at + r/2 + f.Between(0, r)
	}
	f.settle(at)
	f.down(at, until, truth.CauseBattery, -1)
	f.level, f.levelAt, f.low, f.browns = 1, f.now, false, nil
	f.next[bBrown] = chance.Never
	f.charge()
	f.boot(f.now, powerOn, Moment{})
}
