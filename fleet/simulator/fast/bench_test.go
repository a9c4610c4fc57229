package fast

import (
	"testing"

	"muster.dev/fleet/scenario"
	"muster.dev/fleet/simulator/world"
	"muster.dev/platform/eventlog"
	"muster.dev/platform/eventlog/logtest"
)

const minutely = `
scenario: minutely
lasts: 10m
cohorts:
  - name: north
    devices: 20000
    id: north-%05d
    interval: 1m
    metrics:
      - {name: temperature, model: {base: 21, spread: 1, daily: 2, noise: 0.1, walk: 0.3}}
      - {name: humidity, decimals: 0, model: {base: 45, spread: 5, noise: 1}}
      - {name: rssi, decimals: 0, model: {base: -80, spread: 6, noise: 2, follows: radio}}
      - {name: uptime, kind: counter, model: {base: 60}}
    radio: {loss: 2%, duplicates: 0.5%}
`

// BenchmarkFastTime is 20,000 devices with a reading set a minute, onto a log in memory. A second of 83,333 records is what
// 100,000 devices at 50 times real time take.
func BenchmarkFastTime(b *testing.B) {
	s, err := scenario.Parse("bench.yaml", []byte(minutely))
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	var records int64
	for b.Loop() {
		w, err := world.New(s, 1)
		if err != nil {
			b.Fatal(err)
		}
		_, seeds := logtest.Fake(b, nil)
		cfg := eventlog.DefaultConfig()
		cfg.Brokers = seeds
		result, err := Run(b.Context(), Settings{World: w, Log: cfg})
		if err != nil {
			b.Fatal(err)
		}
		if result.Records < 190_000 {
			b.Fatalf("%d records", result.Records)
		}
		records += result.Records
	}
	b.ReportMetric(float64(records)/b.Elapsed().Seconds(), "records/s")
}
