package series

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"testing"
)

// A guess is never more than that: whatever devices say, in which order, and who leaves, a row is of the series that it names.
func TestASeriesIsFoundAsTheIndexHasIt(t *testing.T) {
	const devices, metrics = 9, 7
	s := DefaultSettings()
	s.Series = 40
	b, rng := NewBank(s, testNames()), rand.New(rand.NewPCG(1, 1))
	name := func(m int) []byte { return []byte(fmt.Sprintf("metric_%d", m)) }
	who := func(i int) int32 { // the last one's number is beyond those that are found without a map
		if i == devices-1 {
			return mostLeads + 3
		}
		return int32(i)
	}
	found := 0
	for step := range 40_000 {
		device := who(rng.IntN(devices))
		switch rng.IntN(200) {
		case 0:
			b.Leave(device)
		case 1:
			var kept bytes.Buffer
			if err := b.Snapshot(&kept); err != nil {
				t.Fatal(err)
			}
			b = NewBank(s, testNames())
			if err := b.Restore(&kept); err != nil {
				t.Fatal(err)
			}
		default: // a record: some metrics of a device, mostly in order
			first, order := rng.IntN(metrics), 1+rng.IntN(10)/9
			for m := range 1 + rng.IntN(metrics) {
				metric := name((first + order*m) % metrics)
				want, was := b.look(device, metric), b.Len()
				if want >= 0 && device < mostLeads && b.leads[device] == 0 {
					t.Fatalf("step %d: a device of which there are series has none to begin with", step)
				}
				b.Row(device, 1, 1, metric, begins+int64(step)*1_000, 1)
				got := b.look(device, metric)
				if want >= 0 {
					if found++; got != want || b.latest != want+1 {
						t.Fatalf("step %d: %s of device %d is series %d, the row was of %d", step, metric, device, want, b.latest-1)
					}
				}
				if want < 0 && b.Len() > was && b.latest != got+1 {
					t.Fatalf("step %d: %s of device %d is a new series, %d, the row was of %d", step, metric, device, got, b.latest-1)
				}
			}
		}
		for i := range devices {
			for m := range metrics {
				if got, want := b.find(who(i), name(m)), b.look(who(i), name(m)); got != want {
					t.Fatalf("step %d: metric %d of device %d is found as series %d, not %d", step, m, i, got, want)
				}
			}
		}
	}
	if found < 10_000 {
		t.Errorf("%d rows were of a series that there was: this tests nothing", found)
	}
}
