package series

import (
	"bytes"
	"fmt"
	"math"
	"math/rand/v2"
	"testing"
)

// A device names its metrics itself: one that invents names takes none of the others' places, and fills no page.
func TestADeviceOfManyNamesLeavesPlaceForOthers(t *testing.T) {
	b := NewBank(DefaultSettings(), testNames())
	told := 0
	for n := range 60_000 {
		b.Row(7, 8, 0, fmt.Appendf(nil, "n%d", n), begins, 1)
		if n%10_000 == 0 {
			told += len(b.Tick(begins + int64(n/10_000)*bucketMS))
		}
	}
	if b.Len() != mostOfOne || len(b.metrics) != mostOfOne {
		t.Fatalf("%d series of %d names", b.Len(), len(b.metrics))
	}
	at := begins + hour
	for d := range int32(9_500) {
		if b.Row(100+d, uint32(d), 1, []byte("temperature"), at, 1); b.Counts().Beyond != 60_000-mostOfOne {
			t.Fatalf("device %d finds no place", d)
		}
	}
	var back Bank = *NewBank(DefaultSettings(), testNames())
	if err := back.Restore(bytes.NewReader(bankBytes(t, b))); err != nil || back.talkers[7] != b.talkers[7] {
		t.Errorf("%+v after a restart, and %+v before: %v", back.talkers[7], b.talkers[7], err)
	}
	b.Leave(7)
	b.Row(7, 8, 0, []byte("again"), at, 1)
	if b.talkers[7].has != 1 {
		t.Errorf("%+v", b.talkers[7])
	}
	// Twenty of them: their numbers of series are told over several ticks.
	for d := range int32(40) {
		for n := range mostOfOne {
			b.Row(d, uint32(d), d, fmt.Appendf(nil, "n%d", n), at, 1)
		}
	}
	for range 20 {
		at += bucketMS
		if told := len(b.Tick(at)); told > MaxFindings {
			t.Errorf("%d findings in one tick", told)
		}
	}
	for _, g := range b.groups {
		if g.moved() {
			t.Fatalf("%+v is not told", g)
		}
	}
}

// Whatever numbers a device says, its series can be written and read again, and its peers are judged as if it were not there.
func TestNumbersAtTheirEndsPoisonNothing(t *testing.T) {
	ends := []float64{0, math.Copysign(0, -1), 1, -1, MaxValue, -MaxValue, math.SmallestNonzeroFloat64, -1e-300, 1e15, 1e290, math.Nextafter(1, 2), 1e-290, 2e289, -3}
	for seed := range uint64(6) {
		rng := rand.New(rand.NewPCG(seed, 9))
		b := NewBank(DefaultSettings(), testNames())
		from := 0
		for at := begins; at < begins+4*day; at += bucketMS {
			if at%day == 0 {
				from = rng.IntN(len(ends))
			}
			for d := range int32(6) {
				b.Row(d, uint32(d), 0, []byte("temperature"), at, 20+float64(d)+rng.NormFloat64())
			}
			for n := range 3 {
				x := ends[rng.IntN(len(ends))]
				if seed%2 == 0 {
					x = ends[(from+n)%len(ends)] * float64(1+rng.IntN(2))
				}
				b.Row(6, 7, 0, []byte("temperature"), at+int64(n)*10*minute-day*int64(rng.IntN(2)), x)
			}
			for _, f := range b.Tick(at + 6*minute) {
				if f.ID != testNames().Device(6) && f.Kind != Series && f.Kind != "unusual" {
					t.Errorf("seed %d: %+v", seed, f)
				}
				if f.Score < 0 || f.Score > 1e6 || f.Value == math.MinInt64 || f.Usual == math.MinInt64 {
					t.Errorf("seed %d: %+v", seed, f)
				}
			}
		}
		if err := NewBank(DefaultSettings(), testNames()).Restore(bytes.NewReader(bankBytes(t, b))); err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
	}
	if micro(math.NaN()) != 0 || micro(math.Inf(1)) != 9e18 {
		t.Error("what is no number is told as one")
	}
}
