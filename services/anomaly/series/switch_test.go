package series

import (
	"math"
	"math/rand/v2"
	"testing"
)

// switches are kinds of states of which nothing is wrong: a function that is asked for each minute's in order.
var switches = []struct {
	name string
	make func(dice *rand.Rand) func(at int64) float64
}{
	{"a lamp that burns for hours", func(d *rand.Rand) func(int64) float64 { return turns(d, 300, 300) }},
	{"a door each few minutes", func(d *rand.Rand) func(int64) float64 { return turns(d, 8, 8) }},
	{"a door that is shut mostly", func(d *rand.Rand) func(int64) float64 { return turns(d, 3, 90) }},
	{"a valve that is open mostly", func(d *rand.Rand) func(int64) float64 { return turns(d, 400, 20) }},
	{"a lamp of the evening", func(d *rand.Rand) func(int64) float64 {
		from, lasts := int64(0), int64(0)
		return func(at int64) float64 {
			if at%day == 0 {
				from, lasts = 17*hour+int64(d.IntN(90))*minute, int64(150+d.IntN(150))*minute
			}
			return one(at%day >= from && at%day < from+lasts)
		}
	}},
	{"a door of an office", func(d *rand.Rand) func(int64) float64 {
		left := 0
		return func(at int64) float64 {
			if left--; left < 0 && weekend(at) == 0 && at%day > 8*hour && at%day < 18*hour && d.Float64() < 1./20 {
				left = 1 + int(2*d.ExpFloat64())
			}
			return one(left > 0)
		}
	}},
	{"somebody in a room", func(d *rand.Rand) func(int64) float64 {
		w := turns(d, 80, 30)
		return func(at int64) float64 {
			v := w(at)
			return one(v > 0 && weekend(at) == 0 && at%day > 8*hour && at%day < 18*hour)
		}
	}},
	{"a compressor", func(d *rand.Rand) func(int64) float64 {
		phase, size := d.IntN(40), 30+d.IntN(20)
		return func(at int64) float64 {
			phase++
			return one(float64(phase%size) < float64(size)*(.45+.15*sunny(at)))
		}
	}},
	{"a pump of the night", func(d *rand.Rand) func(int64) float64 {
		from, off := int64(d.IntN(120))*minute+hour, int64(0)
		return func(at int64) float64 {
			if at%day == 0 {
				off = int64(d.IntN(20)) * minute
			}
			return one(at%day >= from+off && at%day < from+off+2*hour)
		}
	}},
	{"a mode of four", func(d *rand.Rand) func(int64) float64 {
		v := float64(d.IntN(4))
		return func(int64) float64 {
			if d.Float64() < 1./420 {
				v = float64((int(v) + 1 + d.IntN(3)) % 4)
			}
			return v
		}
	}},
}

// turns is on and off for so many minutes in the mean.
func turns(d *rand.Rand, on, off float64) func(int64) float64 {
	v := one(d.Float64() < on/(on+off))
	return func(int64) float64 {
		if mean := off + v*(on-off); d.Float64() < 1/mean {
			v = 1 - v
		}
		return v
	}
}

func one(v bool) float64 {
	if v {
		return 1
	}
	return 0
}

func TestAStateIsNotToldForBeingAnotherOneThanItsPeersHave(t *testing.T) {
	for _, of := range switches {
		for _, each := range []int64{1, 5, 15} {
			for _, devices := range []int{1, 12} {
				verbs, n := map[string]int{}, 0
				for seed := range uint64(3) {
					n += toldOfStates(of.make, devices, 3, each, seed, verbs)
				}
				if n > 0 {
					t.Errorf("%s, %d devices, a reading in %d minutes: %d incidents: %v", of.name, devices, each, n, verbs)
				}
			}
		}
	}
}

// toldOfStates plays a cohort's states and counts what becomes an incident, by words.
func toldOfStates(of func(*rand.Rand) func(int64) float64, devices, weeks int, each int64, seed uint64, verbs map[string]int) int {
	dice := rand.New(rand.NewPCG(seed, 17))
	var all []func(int64) float64
	for range devices {
		all = append(all, of(rand.New(rand.NewPCG(dice.Uint64(), dice.Uint64()))))
	}
	return incidentsOf(devices, weeks*7, each, dice, verbs, func(i int, at int64) (v float64) {
		for m := at; m < at+each*minute; m += minute {
			if w := all[i](m); m == at {
				v = w
			}
		}
		return v
	})
}

func TestAStateThatSticksIsTold(t *testing.T) {
	const stuck = begins + 10*day
	for _, name := range []string{"a door each few minutes", "a compressor", "a lamp that burns for hours"} {
		for _, of := range switches {
			if of.name != name {
				continue
			}
			dice, verbs, within := rand.New(rand.NewPCG(4, 4)), map[string]int{}, 1
			if name == "a lamp that burns for hours" {
				within = 4 // a week's longest night is no time
			}
			var all []func(int64) float64
			for range 6 {
				all = append(all, of.make(rand.New(rand.NewPCG(dice.Uint64(), dice.Uint64()))))
			}
			incidentsOf(6, 10+within, 1, dice, verbs, func(i int, at int64) float64 {
				if v := all[i](at); i != 2 || at < stuck {
					return v
				}
				return 1
			})
			if len(verbs) != 1 || verbs["device flat-line"] != 1 {
				t.Errorf("%s: %v", name, verbs)
			}
		}
	}
}

func TestAFewValuesAreAStateUntilOneIsNew(t *testing.T) {
	var s states
	say := func(no int32, low, high float64) bool {
		s.see(&bucket{no: no, rows: 2, low: low, high: high})
		return s.known(no)
	}
	if (&states{}).known(1_000) {
		t.Error("what was never heard is a state")
	}
	for _, of := range []struct {
		no        int32
		low, high float64
		known     bool
	}{
		{1_000, 0, 1, true}, // no and yes
		{1_001, 1, 2, false},
		{1_000 + statesKnown, 0, 1, true},
		{1_000 + statesKnown, 2, 2, false}, // a day and one less ago
		{1_001 + statesKnown, 2, 2, true},
		{1_002 + statesKnown, 0, 7, false},
		{1_002 + 2*statesKnown, 0, 7, true},
		{1_003 + 2*statesKnown, 0, 7.5, false}, // the fifth
		{1_003 + 9*statesKnown, 0, 0, false},
	} {
		if got := say(of.no, of.low, of.high); got != of.known {
			t.Errorf("bucket %d, %v to %v: known is %v", of.no, of.low, of.high, got)
		}
	}
}

func TestWhatComesBackToItsBoundIsNoFlatLineForHalfADay(t *testing.T) {
	flatFrom := begins + 5*day/2
	for _, c := range []struct {
		name  string
		lasts int64
		value float64
		told  int
	}{
		{"a night at its bound", 9 * hour, 40, 0},
		{"a day at its bound", 15 * hour, 40, 1},
		{"within its bounds", 3 * hour, 50, 1},
	} {
		n := of(fed(float64(flatFrom+c.lasts-begins)/float64(day), func(d int, at int64, dice *rand.Rand) float64 {
			if d == 2 && at >= flatFrom {
				return c.value
			}
			return max(40, 50+float64(d)+8*dice.NormFloat64())
		}))["flat-line"]
		if n != c.told {
			t.Errorf("%s: told %d times", c.name, n)
		}
	}
}

func TestRainThatMostlyIsNoneIsWeather(t *testing.T) {
	for seed := range uint64(3) {
		dice, verbs := rand.New(rand.NewPCG(seed, 23)), map[string]int{}
		wet, at, alone := -1., int64(0), make([]float64, 8)
		n := incidentsOf(8, 28, 10, dice, verbs, func(i int, now int64) float64 {
			if now != at { // showers are shared, how much comes down is each gauge's own
				at, wet = now, wet+.004*(-.5-wet)+.06*dice.NormFloat64()
			}
			alone[i] += .02*-alone[i] + .03*dice.NormFloat64()
			return math.Round(10*max(0, wet+alone[i]+.1*dice.NormFloat64())) / 10
		})
		if n > 1 {
			t.Errorf("%d incidents in four weeks: %v", n, verbs)
		}
	}
}

func TestALimitKnowsHowLittleWasSeen(t *testing.T) {
	for _, turns := range []float64{1, 3, 10, 100, 1e5} {
		from, far := 2.13, 11.7
		z := student(from, far, turns)
		if seldom := (turns + 1) / 2 * math.Log((1+z/turns)/(1+from/turns)); math.Abs(seldom-far) > 1e-6*far {
			t.Errorf("of %v distances: the density falls to e^-%v and not to e^-%v", turns, seldom, far)
		}
	}
	if many, normal := student(2.13, 11.7, 1e5), student(2.13, 11.7, turnsMany); math.Abs(many-normal) > .02 || math.Abs(normal-25.53) > 1e-9 {
		t.Errorf("many distances come to %v, and not to a normal distribution's %v", many, normal)
	}
	if student(2, 12, 4) < student(2, 12, 5) || student(2, 12, 0) != student(2, 12, 1) {
		t.Error("who has seen less knows more")
	}
}
