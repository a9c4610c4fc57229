package batch_test

import (
	"math"
	"math/rand/v2"
	"testing"

	"go.uber.org/goleak"

	"muster.dev/proto/batch"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m)
}

// at is a time of the fixtures.
const at int64 = 1_795_341_850_123

// signal is one metric of the fixtures: something a real device measures, quantised as its firmware would.
type signal struct {
	name  string
	scale uint8
	value func(step int, r *rand.Rand) int64
}

func wave(mean, swing, noise float64) func(int, *rand.Rand) int64 {
	return func(step int, r *rand.Rand) int64 {
		return int64(math.Round(mean + swing*math.Sin(float64(step)/140) + noise*r.NormFloat64()))
	}
}

func counter(start, each, jitter int64) func(int, *rand.Rand) int64 {
	return func(step int, r *rand.Rand) int64 { return start + int64(step)*each + r.Int64N(jitter+1) }
}

var signals = []signal{
	{"temp_c", 1, wave(215, 40, 1)},
	{"humidity_pct", 1, wave(480, 60, 3)},
	{"battery_mv", 0, wave(3810, 5, 2)},
	{"rssi_dbm", 0, wave(-70, 2, 3)},
	{"heap_free", 0, wave(142_336, 900, 700)},
	{"uptime_s", 0, counter(86_437, 10, 0)},
	{"cpu_pct", 1, wave(123, 30, 20)},
	{"pressure_pa", 0, wave(101_325, 60, 4)},
	{"tx_bytes", 0, counter(1_234_567, 4_100, 900)},
	{"rx_bytes", 0, counter(345_678, 620, 300)},
	{"errors", 0, counter(3, 0, 0)},
	{"voltage_v", 2, wave(1203, 3, 2)},
	{"current_a", 3, wave(412, 30, 9)},
	{"lux", 0, wave(300, 280, 12)},
	{"co2_ppm", 0, wave(640, 90, 6)},
	{"vibration_mm_s", 2, wave(83, 6, 7)},
	{"wifi_channel", 0, counter(11, 0, 0)},
	{"loop_us", 0, wave(910, 10, 40)},
	{"disk_free_kb", 0, counter(2_345_678, -3, 1)},
	{"flow_l_min", 1, wave(142, 9, 4)},
}

func names(metrics int) []string {
	out := make([]string, metrics)
	for i := range out {
		out[i] = signals[i].name
	}
	return out
}

// fleetBatch is what a simulated device sends.
func fleetBatch(tb testing.TB, steps, metrics int, schema uint32, seed uint64) []byte {
	tb.Helper()
	b := batch.NewBuilder()
	b.SetKey(7, 90_000+seed)
	b.SetFirmware("2.4.1")
	if schema != 0 {
		b.SetSchema(schema, names(metrics))
	}
	r := rand.New(rand.NewPCG(seed, 1))
	for step := range steps {
		ts := at + int64(step)*10_000 + r.Int64N(41) - 20
		for _, s := range signals[:metrics] {
			b.SetScaled(ts, s.name, s.value(step, r), s.scale)
		}
	}
	p, err := b.AppendTo(nil)
	if err != nil {
		tb.Fatal(err)
	}
	return p
}

func TestABatchIsSmallOnTheWire(t *testing.T) {
	for _, c := range []struct {
		steps, metrics int
		schema         uint32
		limit          float64
	}{{5, 20, 12, 4}, {20, 5, 12, 4}, {5, 11, 0, 6}, {11, 5, 0, 6}} {
		const devices = 200
		total := 0
		for seed := range uint64(devices) {
			total += len(fleetBatch(t, c.steps, c.metrics, c.schema, seed))
		}
		each := float64(total) / float64(devices*c.steps*c.metrics)
		t.Logf("%2d steps of %2d metrics, schema %2d: %.2f bytes a sample (limit %.0f)", c.steps, c.metrics, c.schema, each, c.limit)
		if each > c.limit {
			t.Errorf("%.2f bytes a sample, the limit is %.0f", each, c.limit)
		}
	}
}
