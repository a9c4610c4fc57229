//go:build linux

package bench

import (
	"fmt"
	"testing"
	"time"
)

// measureSink has the sink and its floor drain the same log in turn, each into a database of its own.
func measureSink(b testing.TB, r *report, sc scale, e *engineProcess) {
	s := newSite(b)
	defer s.end()
	samples := float64(sc.plant*plantSamples) / 1e6
	var own, floor, rate, peak, engineOwn, engineMerged, engineFloor []float64
	for round := range sc.rounds {
		h, bare := e.house(fmt.Sprint("sink_", round)), e.house(fmt.Sprint("floor_", round))
		if round == 0 {
			s.define(1, plant, h.Warehouse, bare.Warehouse)
			s.fillPlant(sc.plant)
		} else {
			for _, w := range []*house{h, bare} {
				if err := w.EnsureProfile(b.Context(), plant); err != nil {
					b.Fatal(err)
				}
			}
		}

		before := e.cpu()
		p := start(b, "drain", order{Dir: e.secret, Addr: s.addr, Store: e.url, Database: bare.Database(), Messages: sc.plant})
		if err := p.cmd.Wait(); err != nil {
			b.Fatalf("the floor: %v: %s", err, p.said)
		}
		p.fin.Do(func() {})
		floor = append(floor, p.whole()/samples)
		engineFloor = append(engineFloor, (e.cpu()-before)/samples)
		bare.quiet()

		before = e.cpu()
		p = s.sink(h)
		first, firstAt, all, at := uint64(0), time.Time{}, uint64(0), time.Time{}
		eventually(b, 3*time.Minute, func() (bool, string) {
			at, all = time.Now(), h.messages()
			if first == 0 && all > 0 {
				first, firstAt = all, at
			}
			return all >= uint64(sc.plant), fmt.Sprintf("%d of %d messages are stored", all, sc.plant)
		})
		peak = append(peak, p.peak())
		p.end()
		own = append(own, p.whole()/samples)
		if all > first {
			rate = append(rate, float64(all-first)*plantSamples/at.Sub(firstAt).Seconds()/1e6)
		}
		h.quiet()
		steady := (e.cpu() - before) / samples
		engineOwn = append(engineOwn, p.whole()/samples+steady)
		before = e.cpu()
		h.optimize("w_plant", "ledger")
		h.quiet()
		engineMerged = append(engineMerged, p.whole()/samples+steady+(e.cpu()-before)/samples)
		if rows := h.count("SELECT count() FROM %s.w_plant", h.Database()); rows != uint64(sc.plant*plantSteps) {
			b.Errorf("%d rows, want %d", rows, sc.plant*plantSteps)
		}
		b.Logf("sink %.3f, floor %.3f, with the engine %.3f, merged to one part a day %.3f CPU-s/M, %.2f M samples/s, peak %.0f MiB",
			own[round], floor[round], engineOwn[round], engineMerged[round], rate[len(rate)-1], peak[round])
		h.drop()
		bare.drop()
	}
	if len(rate) == 0 {
		b.Fatal("everything was stored at once: too few messages to tell a rate")
	}
	perM := "CPU-s/M"
	r.rounds("sink / fetch + decode + prebuilt blocks, same table", perM, own, floor).ratioAtMost(2)
	r.rounds("sink with the engine, ledger and background merges", perM, engineOwn, nil).atMost(0.30)
	r.rounds("sink with the engine, each day merged to one part", perM, engineMerged, nil).atMost(0.30)
	r.rounds("engine alone under the floor's blocks", perM, engineFloor, nil)
	r.rounds("sink drains, engine and log beside it", "M samples/s", rate, nil).atLeast(2)
	r.rounds("sink peak resident", "MiB", peak, nil).atMost(400)
}

func (h *house) drop() {
	h.exec("DROP DATABASE %s", h.Database())
}
