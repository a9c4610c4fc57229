package series

import (
	"math/rand/v2"
	"testing"
)

const saturday = begins + 5*day

func TestAFaultOnTheFirstSaturdayIsToldAfterHours(t *testing.T) {
	for _, c := range []struct {
		name, kind string
		from       int64
		lasts      int64 // until it must be told
		early      int64 // until it is not
		fault      func(v float64) float64
	}{
		{"a jump at once", "unlike-peers", saturday, 4 * hour, 2 * hour, func(v float64) float64 { return v + 12 }},
		{"a jump by day", "unlike-peers", saturday + 9*hour, 4 * hour, 2 * hour, func(v float64) float64 { return v + 12 }},
		{"a jump that lasts over midnight", "unlike-peers", saturday + 22*hour, 4 * hour, 2 * hour, func(v float64) float64 { return v - 12 }},
		{"a value that stays", "flat-line", saturday + 2*hour, 13 * hour, 11 * hour, func(float64) float64 { return 50 }},
		{"a value that stays over midnight", "flat-line", saturday + 20*hour, 13 * hour, 11 * hour, func(float64) float64 { return 50 }},
	} {
		t.Run(c.name, func(t *testing.T) {
			until := func(end int64) (n int) {
				for _, f := range fed(float64(end-begins)/float64(day), func(d int, at int64, dice *rand.Rand) float64 {
					if v := 50 + float64(d) + dice.NormFloat64(); d != 2 || at < c.from {
						return v
					} else {
						return c.fault(v)
					}
				}) {
					if f.ID == "d-0002" && f.Kind == c.kind && f.At >= c.from-hour {
						n++
					}
				}
				return n
			}
			if n := until(c.from + c.early); n != 0 {
				t.Error("told before it is known what its peers do")
			}
			if n := until(c.from + c.lasts); n != 1 {
				t.Errorf("told %d times", n)
			}
		})
	}
}

func TestWhatIsFlatInManyOnTheFirstWeekendIsNotTold(t *testing.T) {
	closed := func(flat int) int {
		return of(fed(7, func(d int, at int64, dice *rand.Rand) float64 {
			if at >= saturday+int64(d)*10*minute && d < flat {
				return 0
			}
			return 50 + float64(d) + dice.NormFloat64()
		}))["flat-line"]
	}
	if n := closed(6); n != 0 {
		t.Errorf("%d of 6 are told", n)
	}
	if n := closed(2); n != 2 {
		t.Errorf("%d of 2 are told", n)
	}
}

func TestWhoLeavesForTheFirstWeekendBeforeItsPeersIsNotTold(t *testing.T) {
	told := fed(7, func(d int, at int64, dice *rand.Rand) float64 {
		v := 50 + float64(d) + dice.NormFloat64()
		if at >= saturday+int64(d)*12*minute {
			v -= 20
		}
		return v
	})
	if n := of(told); n["unlike-peers"] != 0 {
		t.Errorf("%v", n)
	}
}

// A series of which there is a reading each half hour knows its weekend after the first one, as any other does.
func TestAFirstWeekendIsCountedInTimeAndNotInReadings(t *testing.T) {
	const second = saturday + 7*day
	for _, lasts := range []int64{9 * hour, 30 * hour} {
		told := 0
		dice := rand.New(rand.NewPCG(9, 9))
		b := NewBank(DefaultSettings(), testNames())
		for at := begins; at < second+lasts; at += 30 * minute {
			for d := range int32(2) {
				v := 50 + float64(d) + dice.NormFloat64()
				if d == 1 && at >= second+2*hour {
					v = 50
				}
				b.Row(d, uint32(d)+1, 0, []byte("of-it"), at+int64(d), v)
			}
			for _, f := range b.Tick(at + 5*minute) {
				if f.Kind == "flat-line" && !f.Over {
					told++
				}
			}
		}
		if want := map[int64]int{9 * hour: 0, 30 * hour: 1}[lasts]; told != want {
			t.Errorf("a flat line of the second Saturday is told %d times within %d hours", told, lasts/hour)
		}
	}
}
