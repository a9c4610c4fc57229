package series

import (
	"math"
	"math/rand/v2"
	"testing"

	"muster.dev/services/anomaly/page"
)

// fed feeds eight devices' metric, a row each five minutes, and gives what is told of it, without ends.
func fed(days float64, value func(device int, at int64, dice *rand.Rand) float64) (told []page.Finding) {
	b, dice := NewBank(DefaultSettings(), testNames()), rand.New(rand.NewPCG(9, 1))
	for at := begins; at < begins+int64(days*float64(day)); at += 5 * minute {
		for d := range 8 {
			b.Row(int32(d), uint32(d), 0, []byte("m"), at+int64(d), value(d, at, dice))
		}
		for _, f := range b.Tick(at + 6*minute) {
			if f.Kind != Series && !f.Over {
				told = append(told, f)
			}
		}
	}
	return told
}

// tank falls by so much a day, is filled up each week, on another day in each device, and is read with some noise.
func tank(d int, at int64, dice *rand.Rand, daily float64) float64 {
	since := float64((at-begins+int64(d)*6*hour)%(7*day)) / float64(day)
	return math.Round(10*(95-daily*since+.3*dice.NormFloat64())) / 10
}

func TestATankThatIsFilledUpIsNoFault(t *testing.T) {
	told := fed(24, func(d int, at int64, dice *rand.Rand) float64 { return tank(d, at, dice, 8+.4*float64(d)) })
	if len(told) > 0 {
		t.Errorf("%+v", told)
	}
}

func TestAConsumableThatGoesMuchFasterThanItsPeersIsFound(t *testing.T) {
	from := begins + 8*day
	told := fed(12, func(d int, at int64, dice *rand.Rand) float64 {
		v := 95 - 2*float64(at-begins)/float64(day)
		if d == 3 && at > from {
			v -= 8 * float64(at-from) / float64(day)
		}
		return math.Round(10*(v+.3*dice.NormFloat64())) / 10
	})
	if len(told) != 1 || told[0].ID != "d-0003" || told[0].Kind != "unlike-peers" || told[0].At > from+2*day {
		t.Errorf("%+v", told)
	}
}

func TestWhatOnlyWandersIsNoConsumable(t *testing.T) {
	dice := rand.New(rand.NewPCG(2, 2))
	for range 20 {
		var w wear
		v := 0.
		for no := int32(1000); no < 1000+30*288; no++ {
			v += .006*(0-v) + .1*dice.NormFloat64()
			if w.look(no, v+5*math.Sin(float64(no)*2*math.Pi/288), v, true); w.wears {
				t.Fatal(no, w)
			}
		}
	}
}

func TestAWeekendIsToldOnceAtMost(t *testing.T) {
	told := fed(28, func(d int, at int64, dice *rand.Rand) float64 {
		v := 300 + 10*float64(d) + 100*math.Sin(float64(at%day)*2*math.Pi/float64(day)) + 10*dice.NormFloat64()
		if weekday := (at/day + 4) % 7; weekday == 0 || weekday == 6 {
			v -= 120
		}
		return math.Round(v)
	})
	p, open := NewPeers(DefaultSettings()), map[string]bool{}
	p.Cut(begins, []page.Finding{{Kind: Series, Cohort: "cohort-0", Metric: "m", Reporting: 8}})
	for _, f := range told {
		for _, s := range p.Cut(f.At, []page.Finding{f}) {
			open[s.Title] = true
		}
	}
	if len(open) > 1 {
		t.Errorf("%v", open)
	}
}

func TestAThermostatOfTwoLevelsIsNoFault(t *testing.T) {
	var on [8]bool
	told := fed(14, func(d int, _ int64, dice *rand.Rand) float64 {
		if dice.Float64() < .12 {
			on[d] = !on[d]
		}
		if on[d] {
			return 22
		}
		return 18
	})
	if len(told) > 0 {
		t.Errorf("%+v", told)
	}
}

func TestACounterOfADeviceThatBootsAgainAndAgainIsNoFault(t *testing.T) {
	told := counters(6, func(d int, at int64, dice *rand.Rand) (float64, bool) {
		return 60 + dice.Float64(), d == 3 && at > begins+4*day && dice.Float64() < 1./25
	})
	if n := of(told); len(n) > 0 {
		t.Errorf("%v", n)
	}
}

func TestOneUnusualValueIsNoFinding(t *testing.T) {
	for _, lasts := range []int64{1, 6} {
		told := fed(5, func(d int, at int64, dice *rand.Rand) float64 {
			v := 50 + dice.NormFloat64()
			if from := begins + 4*day; d == 2 && at >= from && at < from+lasts*5*minute {
				v += 60
			}
			return v
		})
		if found := of(told)["unusual"] > 0; found != (lasts > 1) {
			t.Errorf("%d buckets: %+v", lasts, told)
		}
	}
}

func TestWhoStaysWherePeersGoIsNotTold(t *testing.T) {
	from := begins + 4*day
	told := fed(5, func(d int, at int64, dice *rand.Rand) float64 {
		v := -70 + 2*float64(d) + dice.NormFloat64()
		if d < 5 && at > from {
			v -= min(25, 4*float64(at-from)/float64(hour))
		}
		return math.Round(v)
	})
	for _, f := range told {
		if f.Kind == "unlike-peers" && f.ID > "d-0004" {
			t.Errorf("%+v", f)
		}
	}
}
