package shard

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"runtime"
	"syscall"
	"testing"
	"time"

	"muster.dev/platform/eventlog"
	"muster.dev/proto/batch"
	"muster.dev/proto/event"
	"muster.dev/proto/record"
	"muster.dev/services/anomaly/census"
)

var fleetSize = flag.Int("devices", 20_000, "devices of BenchmarkFleet, each heard once a minute")

// crowd is a fleet over some shards.
type crowd struct {
	shards []*State
	ids    [][][]byte // by shard
	values [][]byte
	at     int64
	offset int64

	rng     *rand.Rand
	builder *batch.Builder
}

func gather(tb testing.TB, devices, parts int, s Settings) *crowd {
	tb.Helper()
	c := &crowd{at: t0, ids: make([][][]byte, parts)}
	for part := range parts {
		c.shards = append(c.shards, fresh(tb, int32(part), int32(parts), s))
	}
	c.rng, c.builder = rand.New(rand.NewPCG(1, 1)), batch.NewBuilder()
	for c.shards[0].Clock() < t0+minute+s.Lateness { // until the registry is asked for
		c.marks(c.at)
		c.at += 5_000
	}
	var prev [32]byte
	for _, st := range c.shards {
		st.Expect(int64(devices))
	}
	for n := range devices {
		id := fmt.Sprintf("device-%08d", n)
		part := eventlog.PartitionOf([]byte(id), int32(parts))
		c.ids[part] = append(c.ids[part], []byte(id))
		e := event.Registry{N: uint64(n + 1), Prev: prev, Time: t0, Who: "bench", Body: event.DeviceEnrolled{
			Device: id, No: uint32(n + 1), Cohort: fmt.Sprintf("cohort-%04d", n%max(10, devices/1_000)), Region: fmt.Sprintf("region-%d", n%5),
			Interval: minute, Method: "password", Attributes: map[string]string{"site": fmt.Sprintf("site-%d", n%200), "model": "m1"},
		}}
		value, headers, err := e.Encode()
		if err != nil {
			tb.Fatal(err)
		}
		prev = event.Chain(value)
		for _, st := range c.shards {
			st.Registry(census.Record{Offset: int64(n), Time: t0, Headers: headers, Value: value})
		}
	}
	c.answer(devices)
	for i, st := range c.shards {
		if st.Census().Len() != len(c.ids[i]) {
			tb.Fatalf("shard %d knows %d devices, not %d", i, st.Census().Len(), len(c.ids[i]))
		}
	}
	return c
}

func (c *crowd) answer(end int) {
	for _, st := range c.shards {
		for st.Asks() {
			st.Answer(int64(end))
		}
	}
}

func (c *crowd) marks(at int64) {
	value, _, err := event.Watermark{Gateway: "gw", Time: at, Region: "region-1"}.Encode()
	if err != nil {
		panic(err)
	}
	for _, st := range c.shards {
		h := Heard{Time: at, Offset: c.offset, Type: record.TypeWatermark, Value: value}
		st.Telemetry(h)
		st.Events(h)
	}
	c.offset++
}

// measure makes what devices say in this minute: ten values.
func (c *crowd) measure() {
	c.values = c.values[:0]
	for range 64 {
		c.builder.Reset()
		c.builder.SetKey(7, uint64(c.at/1_000))
		c.builder.SetFirmware("2.4.1")
		for m := range 10 {
			c.builder.SetScaled(c.at, fmt.Sprintf("metric_%d", m), 2_000+c.rng.Int64N(500), 2)
		}
		value, err := c.builder.AppendTo(nil)
		if err != nil {
			panic(err)
		}
		c.values = append(c.values, value)
	}
}

// minute has each device heard once, in slices of a second, with marks each five. What each record holds is its own, as
// from a log.
func (c *crowd) minute(end int) (pages, missing int) {
	c.measure()
	for sec := range int64(60) {
		if sec%5 == 0 {
			c.marks(c.at)
			c.answer(end)
		}
		for i, st := range c.shards {
			ids := c.ids[i]
			from, to := len(ids)*int(sec)/60, len(ids)*int(sec+1)/60
			offset := c.offset
			for k := from; k < to; k++ {
				value := c.values[k%len(c.values)]
				room := make([]byte, len(ids[k])+len(value))
				copy(room, ids[k])
				copy(room[len(ids[k]):], value)
				st.Telemetry(Heard{Time: c.at + int64(k-from)*1_000/int64(to-from), Offset: offset, Key: room[:len(ids[k])], Value: room[len(ids[k]):]})
				offset++
			}
		}
		c.offset += int64(len(c.ids[0])) // more than there were in any slice
		c.at += second
	}
	for _, st := range c.shards {
		for _, p := range st.Pages() {
			pages++
			for _, s := range p.Slots {
				missing += int(s.Missing)
			}
		}
	}
	return pages, missing
}

func cpu() time.Duration {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func heap() float64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return float64(m.HeapAlloc) / (1 << 20)
}

// BenchmarkDay is minutes of 10,000 devices with all detectors: a day of it is to be replayed within a minute on two cores.
func BenchmarkDay(b *testing.B) {
	c := gather(b, 10_000, 4, DefaultSettings())
	for range 30 { // until the budget of series is spent
		c.minute(10_000)
	}
	from, before := cpu(), c.at
	var rows, counted uint64
	for _, st := range c.shards {
		rows -= st.Counts().Rows
	}
	for b.Loop() {
		c.minute(10_000)
	}
	minutes := float64(c.at-before) / minute
	for _, st := range c.shards {
		rows += st.Counts().Rows
		counted += st.Counts().Stale + st.Counts().Unknown + st.Counts().Late
	}
	spent := (cpu() - from).Seconds()
	b.ReportMetric(spent/minutes*24*60/2, "s/day-on-2-cores")
	b.ReportMetric(spent*1e9/float64(rows), "ns/row")
	b.ReportMetric(heap(), "MiB-heap")
	if want := 100_000 * minutes; counted != 0 || float64(rows) < 0.98*want || float64(rows) > 1.02*want {
		b.Errorf("%d rows of %.0f, %d not taken", rows, want, counted)
	}
	runtime.KeepAlive(c)
}

// BenchmarkFleet is minutes of a fleet of which each device is heard once a minute: silence and rollouts alone.
// -devices 1000000 is what is promised: a core and a gibibyte at most.
func BenchmarkFleet(b *testing.B) {
	s := DefaultSettings()
	s.Off = Off{Series: true, Spend: true, Security: true}
	c := gather(b, *fleetSize, 4, s)
	for range 3 {
		c.minute(*fleetSize)
	}
	from, before := cpu(), c.at
	missing := 0
	for b.Loop() {
		_, m := c.minute(*fleetSize)
		missing += m
	}
	minutes := float64(c.at-before) / minute
	b.ReportMetric((cpu()-from).Seconds()/minutes, "cpu-s/min")
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	b.ReportMetric(float64(m.Sys)/(1<<20), "MiB-sys")
	b.ReportMetric(heap(), "MiB-heap")
	held := 0
	for _, st := range c.shards {
		held += st.Held()
	}
	b.ReportMetric(float64(held), "held")
	if missing != 0 {
		b.Errorf("%d devices are missing of a fleet that is well", missing)
	}
	runtime.KeepAlive(c)
}
