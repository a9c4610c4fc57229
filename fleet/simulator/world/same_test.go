package world_test

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"hash"
	"runtime"
	"sync"
	"testing"

	"muster.dev/fleet/simulator/world"
)

const everything = `
scenario: everything
about: A little of all that there is.
lasts: 3d
cohorts:
  - name: north
    devices: 12
    sites: 3
    heartbeat: 1h
    firmware: 1.0.0
    metrics:
      - {name: temperature, model: {base: 21, spread: 1, daily: 3, weekly: 1, noise: 0.2, walk: 0.5, together: 1, drift: 0.1/d}}
      - {name: light, kind: float, model: {base: 100, noise: 5}}
      - {name: battery, model: {follows: battery}}
      - {name: rssi, decimals: 0, model: {base: -70, follows: radio}}
      - {name: clicks, kind: counter, model: {base: 6, noise: 1}}
      - {name: door, kind: switch}
      - {name: mode, kind: state, of: [idle, run, rest]}
      - {name: fast, every: 10s, model: {base: 1, noise: 1}}
      - {name: slow, every: 10m, model: {base: 1, noise: 1}}
    battery: {lasts: 6d, full: 20%, renewed: 3h}
    radio: {loss: 5%, burst: 4, duplicates: 2%, reordered: 2%, late: {share: 2%}, keeps: 2h}
    clock: {skew: 10s, drift: 100ppm, wrong: {share: 20%, by: -3y}}
    reboots: 0.5/d
    mishaps: {crashes: 0.2/d, silences: 0.2/d, errors: 2/d}
    churn: {joins: 3/w, leaves: 3/w, replaced: 3/w}
    site-outages: {rate: 2/w}
  - name: south
    devices: 4
    interval: 5m
    sleep: {for: 6h}
    metrics: [{name: temperature}]
    radio: {loss: 20%}
firmware:
  - version: 2.0.0
    crashes: {chance: 40%, boot-loop: 3, then: rolls-back}
    leaks: {metric: temperature, per: 1/h, room: 10}
    drains: {factor: 2}
    errors: {per: 5/d}
    paper: 10%
rollouts: [{firmware: 2.0.0, cohort: north, at: 1d, postponed: {share: 30%, by: 1h}, stages: [{share: 20%, soak: 6h}, {share: 60%}]}]
faults:
  - {at: 6h, for: 1h, region-outage: {}}
  - {at: 12h, for: 4h, radio-loss: {cohort: north, share: 30%, loss: 80%, fades: 2h}}
  - {at: 18h, for: 4h, power-loss: {cohort: north, site: 2, brown-outs: 2}}
  - {at: 1d12h, for: 2h, cost-spike: {cohort: north, metric: light, rate: 10Hz, devices: 1}}
  - {at: 1d18h, for: 6h, clone: {cohort: south, devices: 1}}
  - {at: 2d, for: 6h, anomaly: {cohort: north, metric: temperature, kind: drift, by: 4, share: 50%}}
  - {at: 2d6h, revoke: {cohort: north, devices: 1, knocks: 10m}}
  - {at: 2d12h, for: 5m, enrolment-burst: {cohort: south, devices: 5}}
`

// digest is what a life says, as a hash.
func digest(t testing.TB, w *world.World, i int) [32]byte {
	sum := sha256.New()
	l := w.Life(i)
	var h world.Happening
	for l.Next(&h) {
		say(t, sum, &h)
	}
	return [32]byte(sum.Sum(nil))
}

func say(t testing.TB, sum hash.Hash, h *world.Happening) {
	fmt.Fprintln(sum, h.At, h.Device, h.Kind)
	var err error
	var p []byte
	switch h.Kind {
	case world.Fact:
		p, err = json.Marshal(h.Truth)
	case world.Tally:
		p, err = json.Marshal(h.Count)
	default:
		m := &h.Message
		fmt.Fprintln(sum, m.Stream, m.Boot, m.Seq, m.Made, m.Values, m.Copy, m.Backlog, m.Clone, m.Revoked)
		p = m.Body
		if h.Kind == world.Lost {
			p = nil
		}
	}
	if err != nil {
		t.Error(err)
	}
	sum.Write(p)
}

func whole(t testing.TB, w *world.World, workers int) string {
	all := make([][32]byte, len(w.Devices()))
	var wg sync.WaitGroup
	for k := range workers {
		wg.Go(func() {
			for i := len(all) - 1 - k; i >= 0; i -= workers {
				all[i] = digest(t, w, i)
			}
		})
	}
	wg.Wait()
	sum := sha256.New()
	for i := range all {
		sum.Write(all[i][:])
	}
	p, err := json.Marshal(w.Truth())
	if err != nil {
		t.Fatal(err)
	}
	sum.Write(p)
	return hex.EncodeToString(sum.Sum(nil))
}

// golden changes only with what a world is; whoever changes it says so where scenarios are compared over versions.
const golden = "6ac2344976505e210d10d7f9d74c4c8cefba32336b9a17bd92b7851f2ab56f64"

func TestTheSameSeedGivesTheSameBytes(t *testing.T) {
	w := newWorld(t, everything, 7)
	one := whole(t, w, 1)
	if again := whole(t, newWorld(t, everything, 7), 5); again != one {
		t.Error("five workers make another world than one does")
	}
	if other := whole(t, newWorld(t, everything, 8), 2); other == one {
		t.Error("another seed makes the same world")
	}
	if one != golden && runtime.GOARCH == "amd64" {
		t.Errorf("the world is %s, it was %s", one, golden)
	}
}

// TestPiecesMakeTheWhole holds Before, which drivers call for a slot of time, to Next.
func TestPiecesMakeTheWhole(t *testing.T) {
	w := newWorld(t, everything, 7)
	for i := range w.Devices() {
		sum := sha256.New()
		l := w.Life(i)
		var h world.Happening
		for slot := w.Begins(); slot < w.Until()+90_000; slot += 90_000 {
			for l.Before(slot, &h) {
				if h.At >= slot {
					t.Fatalf("device %d: %d is not before %d", i, h.At, slot)
				}
				say(t, sum, &h)
			}
		}
		if [32]byte(sum.Sum(nil)) != digest(t, w, i) {
			t.Errorf("device %d lives another life in slots", i)
		}
	}
}

// TestALifeIsSmall measures what lives weigh under way.
func TestALifeIsSmall(t *testing.T) {
	const lives, most = 3_000, 2 << 10
	w := newWorld(t, sixMetrics, 1)
	before := heap()
	all := make([]*world.Life, lives)
	var h world.Happening
	for i := range all {
		all[i] = w.Life(i)
		for all[i].Before(w.Begins()+3_600_000, &h) {
		}
	}
	if each := (heap() - before) / lives; each > most {
		t.Errorf("a life weighs %d bytes, want at most %d", each, most)
	} else {
		t.Logf("a life weighs %d bytes", each)
	}
	runtime.KeepAlive(all)
}

func heap() int64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}
