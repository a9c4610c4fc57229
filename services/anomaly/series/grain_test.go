package series

import (
	"math"
	"math/rand/v2"
	"testing"
)

// toldOfFirst plays a metric of some devices, a reading every five minutes, and says whether the first device is told, which
// falls by something on the first Friday for half a day, and of how many others.
func toldOfFirst(devices int, by float64, value func(dice *rand.Rand, at int64) float64) (first bool, others int) {
	dice := rand.New(rand.NewPCG(50, uint64(devices)))
	b := NewBank(DefaultSettings(), testNames())
	metric, falls := []byte("of-it"), begins+4*day+9*hour
	for at := begins; at < falls+2*day; at += 5 * minute {
		for d := range devices {
			v := value(dice, at)
			if d == 0 && at >= falls && at < falls+12*hour {
				v -= by
			}
			b.Row(int32(d), uint32(d)+1, 0, metric, at+int64(d), v)
		}
		for _, f := range b.Tick(at + 5*minute) {
			switch {
			case f.Kind == Series || f.Kind == "flat-line" || f.Over:
			case f.ID == "d-0000" && f.At >= falls-10*minute && f.At < falls+12*hour:
				first = true
			default:
				others++
			}
		}
	}
	return first, others
}

func rounded(v, to float64) float64 { return math.Round(v/to) * to }

func TestValuesFarFromZeroAreJudgedByWhatTheyMostlyMove(t *testing.T) {
	for name, of := range map[string]struct{ base, noise, to, by float64 }{
		"line frequency, Hz": {50, .02, .01, 1},
		"air pressure, hPa":  {1013, .2, .1, 10},
		"temperature, K":     {293, .2, .1, 10},
		"line voltage, V":    {230, .5, .1, 25},
		"carbon dioxide":     {420, 2, 1, 100},
		"line frequency":     {50, .02, 1e-9, 1},
	} {
		for _, devices := range []int{1, 6} {
			value := func(dice *rand.Rand, _ int64) float64 { return rounded(of.base+of.noise*dice.NormFloat64(), of.to) }
			if first, others := toldOfFirst(devices, of.by, value); !first || others > 0 {
				t.Errorf("%s of %d devices that falls by %v, of a noise of %v: told is %v, and %d others", name, devices, of.by, of.noise, first, others)
			}
			if first, others := toldOfFirst(devices, 2*of.noise, value); first || others > 0 {
				t.Errorf("%s of %d devices that falls by twice its noise: told is %v, and %d others", name, devices, first, others)
			}
		}
	}
}

func TestWhoSeldomMovesIsNoReasonToShoutAtAStep(t *testing.T) {
	for name, of := range map[string]struct {
		by    float64
		value func(dice *rand.Rand, at int64) float64
	}{
		"steps of a tenth beyond the noise": {.1, func(d *rand.Rand, _ int64) float64 { return rounded(50+.02*d.NormFloat64(), .1) }},
		"steps of a tenth within the noise": {.1, func(d *rand.Rand, _ int64) float64 { return rounded(50+.06*d.NormFloat64(), .1) }},
		"one value":                         {.01, func(*rand.Rand, int64) float64 { return 50 }},
		"one of fifty readings is another": {.02, func(d *rand.Rand, _ int64) float64 {
			return rounded(50+.01*float64(d.IntN(50)/49), .01)
		}},
	} {
		for _, devices := range []int{1, 6} {
			if first, others := toldOfFirst(devices, of.by, of.value); first || others > 0 {
				t.Errorf("%s: %d devices: told is %v, and %d others", name, devices, first, others)
			}
		}
	}
}

func TestTheFloorsFollowWhatASeriesMostlyMoves(t *testing.T) {
	dice := rand.New(rand.NewPCG(3, 3))
	for name, of := range map[string]struct {
		value       func() float64
		least, most float64
	}{
		"hertz":           {func() float64 { return 50 + .02*dice.NormFloat64() }, .06, .13},
		"a constant":      {func() float64 { return 50 }, 1, 1},
		"half repeat":     {func() float64 { return 50 + .1*float64(dice.IntN(2)) }, .9, 1},
		"about zero":      {func() float64 { return dice.NormFloat64() }, .9, 1},
		"it spreads far":  {func() float64 { return 100*float64(dice.IntN(10)/9) + .001*dice.Float64() }, .9, 1},
		"hardly anything": {func() float64 { return 50 + 1e-7*dice.NormFloat64() }, .009, .011},
	} {
		var d Detector
		for i := range int64(4_000) {
			d.Row(begins+i*5*minute, of.value())
		}
		if s := float64(d.grain.share); s < of.least || s > of.most {
			t.Errorf("%s: %v of the floors are left, and not %v to %v", name, s, of.least, of.most)
		}
	}
}
