//go:build linux

package bench

import (
	"fmt"
	"math/rand/v2"
	"strconv"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"muster.dev/platform/warehouse"
	"muster.dev/proto/batch"
	"muster.dev/proto/record"
	"muster.dev/services/ingest/sink/rows"
)

// A plant's devices report 20 metrics in messages of five steps: quantised walks, counters, switches, a mode and one
// number with a full mantissa.
const (
	plantSteps   = 5
	plantGauges  = 13
	plantDevices = 2000
	plantSamples = plantSteps * 20
	plantStep    = 10 * time.Second
)

var plant = func() warehouse.Profile {
	p := warehouse.Profile{Name: "plant"}
	for i := range plantGauges {
		p.Metrics = append(p.Metrics, warehouse.Metric{Name: fmt.Sprint("gauge_", i), Kind: batch.Int, Scale: uint8(1 + i%2)})
	}
	for i := range 3 {
		p.Metrics = append(p.Metrics, warehouse.Metric{Name: fmt.Sprint("counter_", i), Kind: batch.Int})
	}
	p.Metrics = append(p.Metrics, warehouse.Metric{Name: "door", Kind: batch.Bool}, warehouse.Metric{Name: "alarm", Kind: batch.Bool},
		warehouse.Metric{Name: "mode", Kind: batch.Text}, warehouse.Metric{Name: "drift", Kind: batch.Float})
	return p
}()

// plantCatalog is the plant without a registry.
type plantCatalog struct{}

func (plantCatalog) Profile(uint16, uint64) (rows.Profile, bool) {
	p := rows.Profile{Name: plant.Name}
	for _, m := range plant.Metrics {
		p.Metrics = append(p.Metrics, rows.Metric{Name: m.Name, Kind: m.Kind, Scale: m.Scale})
	}
	return p, true
}

func (plantCatalog) Schema(uint32) ([]string, bool) { return nil, false }

// fillPlant writes n messages into the log as a gateway would, every device in turn.
func (s *site) fillPlant(n int) {
	s.b.Helper()
	type walk struct{ gauges, counters [plantGauges]int64 }
	devices := make([]walk, plantDevices)
	r := rand.New(rand.NewPCG(1, 2))
	b := batch.NewBuilder()
	rounds := (n + plantDevices - 1) / plantDevices
	began := time.Now().Add(-time.Duration(rounds*plantSteps) * plantStep).UnixMilli()
	for i := range n {
		no, round := i%plantDevices, i/plantDevices
		d := &devices[no]
		b.Reset()
		b.SetKey(1, uint64(round))
		b.SetFirmware("1.4.2")
		for step := range plantSteps {
			at := began + int64(round*plantSteps+step)*plantStep.Milliseconds() + r.Int64N(40)
			for g := range plantGauges {
				if r.IntN(3) == 0 {
					d.gauges[g] += r.Int64N(5) - 2
				}
				m := &plant.Metrics[g]
				b.SetScaled(at, m.Name, 2000+d.gauges[g], m.Scale)
			}
			for c := range 3 {
				d.counters[c] += r.Int64N(int64(10 + 100*c))
				b.SetInt(at, plant.Metrics[plantGauges+c].Name, d.counters[c])
			}
			b.SetBool(at, "door", r.IntN(50) == 0)
			b.SetBool(at, "alarm", false)
			b.SetText(at, "mode", []string{"auto", "eco", "off"}[round/40%3])
			b.SetFloat(at, "drift", r.NormFloat64())
		}
		value, err := b.AppendTo(nil)
		if err != nil {
			s.b.Fatal(err)
		}
		s.produce(telemetry("plant-"+strconv.Itoa(no), record.Device{No: uint32(no + 1), Profile: 1}, value, time.UnixMilli(began+int64((round+1)*plantSteps)*plantStep.Milliseconds())))
	}
	s.flush()
}

// telemetry is a record as the gateway writes it.
func telemetry(name string, d record.Device, value []byte, at time.Time) *kgo.Record {
	return &kgo.Record{
		Topic: record.TopicTelemetry, Key: []byte(name), Value: value, Timestamp: at,
		Headers: []kgo.RecordHeader{{Key: record.HeaderDevice, Value: d.Append(nil)}},
	}
}
