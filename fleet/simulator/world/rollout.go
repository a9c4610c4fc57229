package world

import (
	"cmp"
	"math"
	"slices"
)

// wave is a rollout: who is taken by which stage.
type wave struct {
	stage   []uint8 // by device: 0 is the control, else the stage from 1; empty if nobody is taken
	begins  []int64 // of each stage
	sizes   []int
	group   int // how many devices take part, the control included
	end     int64
	version uint16
}

const noPart = 255 // of another cohort, or not there when the rollout began

// waves deals the devices of each rollout's cohort to its stages. It is drawn before anything happens: an assignment that
// looks at the devices would make the control another kind of device.
func (w *World) waves() {
	w.rollouts = make([]wave, len(w.s.Rollouts))
	for i := range w.s.Rollouts {
		r, v := &w.s.Rollouts[i], &w.rollouts[i]
		at := w.begins + r.At.Milliseconds()
		for j := range r.Stages {
			v.begins = append(v.begins, at)
			at += r.Stages[j].Soak.Milliseconds()
		}
		v.end = min(at, w.until)
		v.stage = slices.Repeat([]uint8{noPart}, len(w.devices))
		order := w.deal(i)
		v.group = len(order)
		from := 0
		for j := range r.Stages {
			to := max(from, int(math.Round(float64(r.Stages[j].Share)*float64(len(order)))))
			for _, d := range order[from:to] {
				v.stage[d] = uint8(j + 1)
			}
			v.sizes = append(v.sizes, to-from)
			from = to
		}
		for _, d := range order[from:] {
			v.stage[d] = 0
		}
	}
}

// deal puts a cohort's devices in the order in which stages take them. Inside a site the order is by lot, and every site
// is spread evenly over the whole; whole sites follow each other instead if the rollout says so.
func (w *World) deal(rollout int) []int32 {
	r := &w.s.Rollouts[rollout]
	cohort := w.s.CohortNamed(r.Cohort)
	at := w.begins + r.At.Milliseconds()
	sites := make([][]int32, max(1, w.s.Cohorts[cohort].Sites))
	for i := range w.devices {
		if d := &w.devices[i]; d.Cohort == cohort && d.Joins <= at && at < d.Leaves {
			sites[d.Site] = append(sites[d.Site], int32(i))
		}
	}
	type place struct {
		rank   float64
		device int32
	}
	var all []place
	d := roll(w.seed, forPlans, rollout, 4)
	for _, site := range sites {
		for i := len(site) - 1; i > 0; i-- {
			j := d.below(i + 1)
			site[i], site[j] = site[j], site[i]
		}
		offset := d.unit()
		for k, device := range site {
			rank := (float64(k) + offset) / float64(len(site))
			if r.WholeSites {
				rank = offset
			}
			all = append(all, place{rank, device})
		}
	}
	slices.SortStableFunc(all, func(a, b place) int { return cmp.Or(cmp.Compare(a.rank, b.rank), cmp.Compare(a.device, b.device)) })
	out := make([]int32, len(all))
	for i := range all {
		out[i] = all[i].device
	}
	return out
}
