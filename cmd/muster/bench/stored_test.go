//go:build linux

package bench

import (
	"fmt"
	"log/slog"
	"math"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"muster.dev/platform/warehouse"
	"muster.dev/proto/batch"
	"muster.dev/proto/record"
	"muster.dev/services/retention/rollup"
)

// The simulated fleet's signals and rhythm (fleet/simulator), in a time that does not pass: hours of it in seconds.
const (
	fleetStep    = 2 * time.Second
	fleetSteps   = 5 // a message
	batteryEvery = 5
)

var fleetMetrics = warehouse.Profile{Name: "simulated", Metrics: []warehouse.Metric{
	{Name: "temp_c", Kind: batch.Int, Scale: 1}, {Name: "rssi_dbm", Kind: batch.Int}, {Name: "heap_free_bytes", Kind: batch.Int},
	{Name: "uptime_s", Kind: batch.Int}, {Name: "door_open", Kind: batch.Bool}, {Name: "mode", Kind: batch.Text}, {Name: "battery_pct", Kind: batch.Int},
}}

// unit is one simulated device.
type unit struct {
	rng                                  *rand.Rand
	climate, swing, phase, drain, range_ float64
	drift, fading                        float64
	heap                                 int64
	booted, at, doorUntil                time.Time
	steps                                int
	seq                                  uint64
}

func newUnit(no int, began time.Time) *unit {
	r := rand.New(rand.NewPCG(uint64(no), 9))
	return &unit{
		rng: r, climate: 17 + 8*r.Float64(), swing: 2 + 5*r.Float64(), phase: 0.1 * r.Float64(), drain: 1 + 3*r.Float64(), range_: -60 - 25*r.Float64(),
		heap: 180_000, booted: began.Add(-time.Duration(r.Int64N(int64(6 * time.Hour)))), at: began.Add(time.Duration(r.Int64N(int64(fleetStep)))),
	}
}

// step measures, and moves on to the next step, which is spread by a tenth.
func (u *unit) step(b *batch.Builder) {
	const day = 24 * 60 * 60.0
	of := float64(u.at.Unix()%int64(day))/day + u.phase
	u.drift = 0.995*u.drift + 0.03*u.rng.NormFloat64()
	u.fading = 0.9*u.fading + 1.2*u.rng.NormFloat64()
	turn := 2 * math.Pi * (of - 0.375)
	celsius := u.climate + u.swing*(math.Sin(turn)+0.25*math.Sin(2*turn)) + u.drift + 0.05*u.rng.NormFloat64()
	if u.heap -= 16 * u.rng.Int64N(64); u.heap < 120_000 {
		u.heap = 178_000 + 16*u.rng.Int64N(128)
	}
	clock := of - math.Floor(of)
	if u.at.After(u.doorUntil) && clock > 0.29 && clock < 0.79 && u.rng.Float64() < 0.0015 {
		u.doorUntil = u.at.Add(time.Duration(20+u.rng.ExpFloat64()*60) * time.Second)
	}
	mode := "idle"
	if celsius < u.climate-1.5 {
		mode = "heat"
	} else if celsius > u.climate+u.swing-0.5 {
		mode = "cool"
	}
	at := u.at.UnixMilli()
	b.SetScaled(at, "temp_c", int64(math.Round(celsius*10)), 1)
	b.SetInt(at, "rssi_dbm", min(-30, max(-110, int64(math.Round(u.range_+u.fading)))))
	b.SetInt(at, "heap_free_bytes", u.heap)
	b.SetInt(at, "uptime_s", int64(u.at.Sub(u.booted)/time.Second))
	b.SetBool(at, "door_open", u.at.Before(u.doorUntil))
	b.SetText(at, "mode", mode)
	if u.steps%batteryEvery == 0 {
		used := math.Mod(u.drain*float64(u.at.Unix())/day+1000*u.phase, 80)
		b.SetInt(at, "battery_pct", 100-int64(used))
	}
	u.steps++
	u.at = u.at.Add(fleetStep + time.Duration((u.rng.Float64()-0.5)*0.2*float64(fleetStep)))
}

// fillFleet writes a fleet's messages into the log in the order of their times, and says how many they are and how many
// samples.
func (s *site) fillFleet(devices int, span time.Duration) (messages, samples int) {
	s.b.Helper()
	began := time.Now().Add(-span)
	units := make([]*unit, devices)
	for i := range units {
		units[i] = newUnit(i, began)
	}
	b := batch.NewBuilder()
	for slot := began; slot.Before(began.Add(span)); slot = slot.Add(fleetSteps * fleetStep) {
		for i, u := range units {
			b.Reset()
			b.SetKey(1, u.seq)
			b.SetFirmware("sim-1.0.0")
			for range fleetSteps {
				u.step(b)
			}
			samples += b.Len()
			value, err := b.AppendTo(nil)
			if err != nil {
				s.b.Fatal(err)
			}
			u.seq++
			s.produce(telemetry(fmt.Sprintf("sim-%04d", i+1), record.Device{No: uint32(i + 1), Profile: 1}, value, u.at.Truncate(time.Millisecond)))
			messages++
		}
	}
	s.flush()
	return messages, samples
}

// measureStored says how many bytes a sample of the simulated fleet takes once its day is merged.
func measureStored(b testing.TB, r *report, sc scale, e *engineProcess) {
	s := newSite(b)
	defer s.end()
	h := e.house("stored")
	s.define(1, fleetMetrics, h.Warehouse)
	messages, samples := s.fillFleet(sc.devices, sc.fleet)
	p := s.sink(h)
	eventually(b, 2*time.Minute, func() (bool, string) {
		n := h.messages()
		return n >= uint64(messages), fmt.Sprintf("%d of %d messages are stored", n, messages)
	})
	p.end()
	hours, err := rollup.New(rollup.Settings{Config: rollup.DefaultConfig(), Store: h.Warehouse, Log: slog.New(slog.DiscardHandler), Metrics: prometheus.NewRegistry()})
	if err != nil {
		b.Fatal(err)
	}
	if err := hours.Pass(b.Context()); err != nil {
		b.Fatal(err)
	}
	h.quiet()
	bytes := func(tables string) float64 {
		return float64(h.count("SELECT sum(bytes_on_disk) FROM system.parts WHERE active AND database = '%s' AND table IN (%s)", h.Database(), tables)) / float64(samples)
	}
	const sampleTables = "'w_simulated', 's_other'"
	fresh := bytes(sampleTables)
	h.optimize("w_simulated", "s_other", "ledger", "samples_1h")
	h.quiet()
	if n := h.count("SELECT sum(n) FROM %s.ledger", h.Database()); n != uint64(samples) {
		b.Errorf("%d samples are stored, want %d", n, samples)
	}
	f := r.add(figure{Name: "stored, samples, each day merged", Value: bytes(sampleTables), Unit: "B/sample"})
	f.atMost(1.5)
	r.add(figure{Name: "stored, samples, as background merges leave them", Value: fresh, Unit: "B/sample"})
	r.add(figure{Name: fmt.Sprintf("stored, ledger, %.0f samples a message", float64(samples)/float64(messages)), Value: bytes("'ledger'"), Unit: "B/sample"})
	r.add(figure{Name: "stored, hourly roll-ups", Value: bytes("'samples_1h'"), Unit: "B/sample"})
	h.drop()
}
