package plan

import (
	"cmp"
	"math"
	"slices"

	"muster.dev/fleet/simulator/chance"
)

// Rollout is who is taken by which stage of a rollout, and when.
type Rollout struct {
	Begins []int64 // of each stage
	Brings uint16  // the version

	stage []uint8 // by device: 0 is the control, else the stage from 1
	group int     // how many devices take part, the control included
	end   int64
}

const noPart = 255 // of another cohort, or not there when the rollout began

// Rollout is that of the scenario by its place.
func (p *Plan) Rollout(i int) *Rollout { return &p.rollouts[i] }

// Stage is the one that takes a device, from 1, or 0 for the control; part is false for a device that the rollout is not about.
func (r *Rollout) Stage(device int) (stage int, part bool) {
	return int(r.stage[device]), r.stage[device] != noPart
}

// Ends is the instant at which its last stage has soaked, or the world ends.
func (r *Rollout) Ends() int64 { return r.end }

// dealRollouts deals the devices of each rollout's cohort to its stages. It is drawn before anything happens: an assignment that
// looks at the devices would make the control another kind of device.
func (p *Plan) dealRollouts() {
	p.rollouts = make([]Rollout, len(p.s.Rollouts))
	for i := range p.s.Rollouts {
		r, v := &p.s.Rollouts[i], &p.rollouts[i]
		at := p.begins + r.At.Milliseconds()
		for j := range r.Stages {
			v.Begins = append(v.Begins, at)
			at += r.Stages[j].Soak.Milliseconds()
		}
		v.end = min(at, p.until)
		v.stage = slices.Repeat([]uint8{noPart}, len(p.devices))
		order := p.deal(i)
		v.group = len(order)
		from := 0
		for j := range r.Stages {
			to := max(from, int(math.Round(float64(r.Stages[j].Share)*float64(len(order)))))
			for _, d := range order[from:to] {
				v.stage[d] = uint8(j + 1)
			}
			from = to
		}
		for _, d := range order[from:] {
			v.stage[d] = 0
		}
	}
}

// deal puts a cohort's devices in the order in which stages take them. Inside a site the order is by lot, and every site
// is spread evenly over the whole; whole sites follow each other instead if the rollout says so.
func (p *Plan) deal(rollout int) []int32 {
	r := &p.s.Rollouts[rollout]
	cohort := p.s.CohortNamed(r.Cohort)
	at := p.begins + r.At.Milliseconds()
	sites := make([][]int32, max(1, p.s.Cohorts[cohort].Sites))
	for i := range p.devices {
		if d := &p.devices[i]; d.Cohort == cohort && d.Joins <= at && at < d.Leaves {
			sites[d.Site] = append(sites[d.Site], int32(i))
		}
	}
	type place struct {
		rank   float64
		device int32
	}
	var all []place
	d := chance.Roll(p.seed, chance.ForPlans, rollout, 4)
	for _, site := range sites {
		for i := len(site) - 1; i > 0; i-- {
			j := d.Below(i + 1)
			site[i], site[j] = site[j], site[i]
		}
		offset := d.Unit()
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
