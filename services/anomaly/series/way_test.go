package series

import (
	"math"
	"math/rand/v2"
	"testing"

	"muster.dev/services/anomaly/page"
)

// counters lets eight devices count, and one of them be another.
func counters(days float64, step func(device int, at int64, dice *rand.Rand) (by float64, anew bool)) (told []page.Finding) {
	b, dice := NewBank(DefaultSettings(), testNames()), rand.New(rand.NewPCG(4, 4))
	var value [8]float64
	for at := begins; at < begins+int64(days*float64(day)); at += minute {
		for d := range value {
			by, anew := step(d, at, dice)
			if value[d] += by; anew {
				value[d] = 0
			}
			b.Row(int32(d), uint32(d), 0, []byte("uptime"), at, math.Round(value[d]))
		}
		told = append(told, b.Tick(at+minute)...)
	}
	return told
}

func TestACounterThatBeginsAgainIsNoFault(t *testing.T) {
	told := counters(6, func(d int, at int64, dice *rand.Rand) (float64, bool) {
		reboot := d == 1 && at == begins+3*day || d == 2 && at == begins+4*day || at == begins+5*day+hour || dice.Float64() < .3/1440
		return 60 + dice.Float64(), reboot
	})
	if n := of(told); len(n) > 0 {
		t.Errorf("%v", n)
	}
}

func TestACounterThatRunsFasterIsFound(t *testing.T) {
	from := begins + 4*day
	told := counters(4.5, func(d int, at int64, dice *rand.Rand) (float64, bool) {
		if d == 3 && at >= from {
			return 240 + dice.Float64(), false
		}
		return 60 + dice.Float64(), false
	})
	found := false
	for _, f := range told {
		if f.Kind == Series || f.ID == "" {
			continue
		}
		if f.ID != "d-0003" || f.At < from-hour {
			t.Errorf("%+v", f)
		}
		found = true
	}
	if !found {
		t.Error("a counter that runs four times as fast is not found")
	}
}

func TestADailyWaveIsNoCounter(t *testing.T) {
	var w way
	for i := range 600 {
		if _, _, skip := w.look(math.Sin(float64(i)*2*math.Pi/288), float64(i)); skip || w.goes != 0 {
			t.Fatal(i, w)
		}
	}
}
