package silence

import (
	"testing"
	"time"
)

// BenchmarkAMillionDevices is a minute of devices that are heard once in it, with the looks that fall into it. One core
// must do the minute in much less than one.
func BenchmarkAMillionDevices(b *testing.B) {
	const n = 1_000_000
	w := newWorld(Cell{Devices: n, Interval: minute, Shards: 1}, 1)
	d := w.shards[0]
	d.Cut(w.now)
	b.ReportAllocs()
	for b.Loop() {
		for look := range int64(4) {
			for i := int32(look) * n / 4; i < int32(look+1)*n/4; i++ {
				d.Heard(i, w.now+int64(i)%15_000)
			}
			w.now += 15_000
			slots := d.Cut(w.now)
			if len(slots) != 1 || slots[0].Members != n {
				b.Fatalf("%d slots", len(slots))
			}
			w.cohorts.Cut(w.now, slots, nil)
		}
	}
	if b.Elapsed() > time.Duration(b.N)*time.Minute {
		b.Error("it takes longer than it lasts")
	}
}
