package world_test

import (
	"testing"

	"muster.dev/fleet/scenario"
	"muster.dev/fleet/simulator/world"
)

func parse(t testing.TB, text string) *scenario.Scenario {
	t.Helper()
	s, err := scenario.Parse("test.yaml", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func newWorld(t testing.TB, text string, seed uint64) *world.World {
	t.Helper()
	w, err := world.New(parse(t, text), seed)
	if err != nil {
		t.Fatal(err)
	}
	return w
}

const sixMetrics = `
scenario: six
lasts: 4w
cohorts:
  - name: north
    devices: 100000
    metrics:
      - {name: temperature, decimals: 1, model: {base: 21, daily: 3, weekly: 1, noise: 0.2, walk: 0.5}}
      - {name: humidity, decimals: 0, model: {base: 50, daily: 10, noise: 2}}
      - {name: rssi, decimals: 0, model: {base: -70, spread: 5, noise: 3, follows: radio}}
      - {name: uptime, kind: counter, model: {base: 60}}
      - {name: battery, decimals: 1, model: {follows: battery, noise: 0.2}}
      - {name: state, kind: state, of: [idle, run]}
    battery: {lasts: 90d}
    radio: {loss: 5%, burst: 4, duplicates: 1%, reordered: 1%, late: {share: 1%}, keeps: 1d}
    reboots: 1/w
    site-outages: {rate: 0.1/w}
    clock: {skew: 10s, drift: 20ppm}
`

func BenchmarkLife(b *testing.B) {
	w := newWorld(b, sixMetrics, 1)
	var h world.Happening
	messages, bytes, no := 0, 0, 0
	l := w.Life(0)
	b.ReportAllocs()
	for b.Loop() {
		for {
			if !l.Next(&h) {
				no++
				l = w.Life(no)
				continue
			}
			if h.Kind == world.Deliver {
				bytes += len(h.Message.Body)
				messages++
				break
			}
		}
	}
	if messages > 0 {
		b.ReportMetric(float64(messages)/b.Elapsed().Seconds(), "messages/s")
		b.ReportMetric(float64(bytes)/float64(messages), "B/message")
	}
}
