package silence

import (
	"math"
	"math/big"
	"strings"
	"testing"
)

func TestATailIsTheSumOfItsChances(t *testing.T) {
	for _, c := range []struct {
		n, u int
		p    float64
	}{{50, 5, .01}, {5, 3, .002}, {200, 40, .1}, {10, 10, .3}} {
		exact := new(big.Float).SetPrec(200)
		for x := c.u; x <= c.n; x++ {
			term := new(big.Float).SetPrec(200).SetInt(new(big.Int).Binomial(int64(c.n), int64(x)))
			for range x {
				term.Mul(term, big.NewFloat(c.p))
			}
			for range c.n - x {
				term.Mul(term, big.NewFloat(1-c.p))
			}
			exact.Add(exact, term)
		}
		want, _ := exact.Float64()
		if got := tail(c.n, c.u, c.p, 0); math.Abs(got/want-1) > 1e-6 {
			t.Errorf("%d of %d at %g: %g, want %g", c.u, c.n, c.p, got, want)
		}
		if wide := tail(c.n, c.u, c.p, .1); wide <= want {
			t.Errorf("%d of %d at %g: devices that are missing together make it less likely: %g, alone %g", c.u, c.n, c.p, wide, want)
		}
	}
	for _, rho := range []float64{0, 1e-3, .05, .5} {
		if got := tail(30, 0, .2, rho); got != 1 {
			t.Errorf("at least none: %g", got)
		}
		if one := tail(30, 1, .2, rho); one <= tail(30, 2, .2, rho) || one > 1 {
			t.Errorf("at least one: %g", one)
		}
	}
	if got := tail(1_000_000, 1_000_000, .5, 0); got != 0 {
		t.Errorf("what cannot be is %g", got)
	}
}

func TestTheBudgetSetsTheLimits(t *testing.T) {
	s := DefaultSettings()
	l := s.limits(5 * minute)
	if math.Abs(l.h-14.7) > .05 || math.Abs(l.alpha/5e-8-1) > .05 {
		t.Errorf("five minutes: h %.2f, alpha %g", l.h, l.alpha)
	}
	s.False = 250
	if more := s.limits(5 * minute); more.h >= l.h || more.alpha <= l.alpha {
		t.Error("who bears more false incidents has no lower limits")
	}
	if fast := s.limits(10 * 1_000); fast.h <= s.limits(hourMS).h {
		t.Error("a cohort of more slots a week has no higher limits")
	}
}

func TestSlotsDivideTheTimeSince1970(t *testing.T) {
	for _, c := range []struct{ interval, sub, whole int64 }{
		{1, 5_000, 5_000}, {5_000, 5_000, 5_000}, {10_000, 5_000, 10_000}, {30_000, 10_000, 30_000}, {45_000, 15_000, 45_000},
		{60_000, 15_000, 60_000}, {300_000, 75_000, 300_000}, {3_600_000, 900_000, 3_600_000}, {math.MaxInt64, weekMS / 4, weekMS},
	} {
		sub, whole := Grid(c.interval)
		if sub != c.sub || whole != c.whole {
			t.Errorf("%d: slots of %d and %d, want %d and %d", c.interval, sub, whole, c.sub, c.whole)
		}
	}
}

func TestSettingsThatCannotBeAreNamed(t *testing.T) {
	if err := DefaultSettings().Validate(); err != nil {
		t.Error(err)
	}
	err := Settings{False: math.NaN(), Quiet: -1}.Validate()
	for _, name := range []string{"false", "quiet", "missed", "power_for"} {
		if err == nil || !strings.Contains(err.Error(), "silence: "+name+" is") {
			t.Errorf("%q is not named in %v", name, err)
		}
	}
}

func TestABaselineIsNotTaughtByASilence(t *testing.T) {
	s := DefaultSettings()
	l := s.limits(minute)
	var b baseline
	for i := range 100 {
		b.whole(uint32(i%20/19), 50, l, false)
	}
	before := b.p
	for range 200 {
		b.whole(30, 50, l, b.look(30, 50, l, false).fires)
	}
	if b.p > before+.005 {
		t.Errorf("the share that is usual went from %g to %g", before, b.p)
	}
}

func TestADeviceLearnsHowItsLossesRun(t *testing.T) {
	v := device{every: uint32(minute)}
	first := v.phi()
	for range 200 { // one message in ten is lost, never two in a row
		for range 8 {
			v.gap(minute, minute)
		}
		v.gap(2*minute, minute)
	}
	if alone := v.phi(); alone >= first || alone > 20_000 {
		t.Errorf("losses never go on, and phi is %d", alone)
	}
	for range 200 { // four in a row are lost
		v.gap(minute, minute)
		v.gap(5*minute, minute)
	}
	if runs := v.phi(); runs < 400_000 {
		t.Errorf("losses come in fours half of the time, and phi is %d", runs)
	}
	if v.every != uint32(minute) {
		t.Errorf("its interval is taken for %d", v.every)
	}
}
