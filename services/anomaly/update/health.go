package update

import (
	"hash/fnv"
	"math"

	"muster.dev/services/anomaly/page"
)

const (
	// Devices of a stage that are watched, in all shards together: more would say little more.
	mostTreated  = 500
	mostControls = 2_000
	mostWatched  = 4 * (mostTreated + mostControls) // in one shard, whatever the lot does

	// toTell is how long before the end of a stage its numbers are told: the shards and the registry's log may differ by a tick.
	toTell = 2 * 60_000
)

// health is what the metrics of a stage's devices come to, treated and control, all watched over the same time: from the stage's
// beginning nearly to its end, whenever a device takes the update. Which ones they are is drawn by their names' hashes,
// so it depends on nothing that they do.
type health struct {
	until   int64
	members map[int32]*member // looked up, never walked through
}

// member adds up the readings of a device, of each of the rollout's metrics: over the whole stage, its first quarter and its
// last. A battery that goes faster has a mean like others for long, and changes by more from the beginning.
type member struct {
	sum []float64 // of metric k at spans*k
	n   []uint32
}

const (
	whole = iota
	early
	late
	spans
)

// number is what a device's metric came to: its mean, or its change.
func (m *member) number(k int, trend bool) (x float64, ok bool) {
	mean := func(span int) float64 { return m.sum[spans*k+span] / float64(m.n[spans*k+span]) }
	if !trend {
		return mean(whole), m.n[spans*k+whole] > 0
	}
	return mean(late) - mean(early), m.n[spans*k+early] > 0 && m.n[spans*k+late] > 0
}

// watched draws the devices of the stage that begins.
func (a *Arms) watched(w *watch) health {
	h := health{until: w.begun + w.started.Stages[w.stage-1].SoakMS - toTell}
	if len(w.started.Health) == 0 || h.until <= w.begun {
		return h
	}
	var treated, controls uint32
	for stage, n := range w.dealt {
		switch {
		case stage == int(w.stage):
			treated = n
		case stage == 0 || stage > int(w.stage):
			controls += n
		}
	}
	h.members = map[int32]*member{}
	for i := range w.units {
		u := &w.units[i]
		drawn := !w.treated(u) && byLot(a.census.Device(u.device).ID, mostControls, controls) ||
			u.stage == w.stage && byLot(a.census.Device(u.device).ID, mostTreated, treated)
		if drawn && u.flags&gone == 0 && len(h.members) < mostWatched {
			h.members[u.device] = &member{sum: make([]float64, spans*len(w.started.Health)), n: make([]uint32, spans*len(w.started.Health))}
		}
	}
	return h
}

// byLot draws about so many of all, by their names.
func byLot(id string, most, of uint32) bool {
	return of <= most || hash(id)%uint64(of) < uint64(most)
}

func hash(s string) uint64 {
	h := fnv.New64a()
	_, _ = h.Write([]byte(s)) // never fails
	return h.Sum64()
}

// Wants says whether a metric is watched by any rollout.
func (a *Arms) Wants(metric []byte) bool {
	for _, w := range a.rollouts {
		if len(w.health.members) > 0 && w.metric(metric) >= 0 {
			return true
		}
	}
	return false
}

func (w *watch) metric(name []byte) int {
	for i := range w.started.Health {
		if w.started.Health[i].Metric == string(name) {
			return i
		}
	}
	return -1
}

// Metric is a reading of a metric that is wanted.
func (a *Arms) Metric(i int32, at int64, metric []byte, v float64) {
	if math.IsNaN(v) || math.IsInf(v, 0) {
		return
	}
	a.each(i, func(w *watch, _ *unit, _ int) {
		m := w.health.members[i]
		if m == nil || at < w.begun || at >= w.health.until {
			return
		}
		if k := w.metric(metric); k >= 0 {
			m.add(spans*k+whole, v)
			switch quarter := (w.health.until - w.begun) / 4; {
			case at < w.begun+quarter:
				m.add(spans*k+early, v)
			case at >= w.health.until-quarter:
				m.add(spans*k+late, v)
			}
		}
	})
}

func (m *member) add(at int, v float64) {
	m.sum[at] += v
	m.n[at]++
}

// ranks tells the numbers of a stage that is about to end, once.
func (a *Arms) ranks(w *watch, end int64, out []page.Rank) []page.Rank {
	h := &w.health
	if len(h.members) == 0 || h.until > end {
		return out
	}
	for i := range w.units { // in order of the census, not of the map
		u := &w.units[i]
		m := h.members[u.device]
		if m == nil || u.flags&gone != 0 {
			continue
		}
		for k := range 2 * len(w.started.Health) {
			metric, trend := k/2, k%2 == 1
			if x, ok := m.number(metric, trend); ok {
				out = append(out, page.Rank{Rollout: w.started.Rollout, Stage: w.stage, Stratum: w.strata[u.stratum], Metric: w.started.Health[metric].Metric,
					ID: a.census.Device(u.device).ID, Treated: w.treated(u), At: end, Micro: micro(x), Trend: trend})
			}
		}
	}
	h.members = nil
	return out
}

// micro is x times 1e6, rounded and saturated.
func micro(x float64) int64 {
	switch x = math.Round(x * 1e6); {
	case x >= 1<<62:
		return 1 << 62
	case x <= -1<<62:
		return -1 << 62
	}
	return int64(x)
}
