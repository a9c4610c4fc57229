package plan

import (
	"cmp"
	"math"
	"slices"

	"muster.dev/fleet/scenario"
	"muster.dev/fleet/simulator/chance"
)

// Lot is whom a fault befalls, and when.
type Lot struct {
	At, Until int64
	members   []int32 // sorted
}

// Has says whether the fault befalls a device.
func (l *Lot) Has(device int) bool {
	_, ok := slices.BinarySearch(l.members, int32(device))
	return ok
}

// Lot is that of a fault, by its place in the scenario.
func (p *Plan) Lot(fault int) *Lot { return &p.lots[fault] }

// chooseLots chooses for each fault whom it befalls, among those who are there when it begins.
func (p *Plan) chooseLots() {
	p.lots = make([]Lot, len(p.s.Faults))
	for _, i := range p.inTime() {
		f := &p.s.Faults[i]
		l := Lot{At: p.begins + f.At.Milliseconds(), Until: p.until}
		if f.For > 0 {
			l.Until = l.At + f.For.Milliseconds()
		}
		if t := f.Target(); t != nil {
			l.members = p.choose(i, t, l.At)
		}
		for _, m := range l.members {
			if f.Retire != nil || f.Revoke != nil {
				p.retire(&p.devices[m], l.At, f.Revoke != nil)
			}
		}
		p.lots[i] = l
	}
}

// retire ends a device before its time. Who would have replaced it later comes as any other.
func (p *Plan) retire(d *Device, at int64, revoked bool) {
	if d.Cause == "replaced" {
		i := slices.IndexFunc(p.devices, func(o Device) bool { return o.Replaces == d.ID })
		p.devices[i].Replaces = ""
	}
	d.Leaves, d.Revoked, d.Cause = at, revoked, "retired"
	if revoked {
		d.Cause = "revoked"
	}
}

// inTime orders the faults by when they begin: who has left is befallen no more.
func (p *Plan) inTime() []int {
	order := make([]int, len(p.s.Faults))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(p.s.Faults[a].At, p.s.Faults[b].At) })
	return order
}

func (p *Plan) choose(fault int, t *scenario.Target, at int64) []int32 {
	var all []int32
	for i := range p.devices {
		d := &p.devices[i]
		if (t.Cohort == "" || p.s.Cohorts[d.Cohort].Name == t.Cohort) && (t.Site == 0 || d.Site == t.Site-1) && d.Joins <= at && at < d.Leaves {
			all = append(all, int32(i))
		}
	}
	n := int(math.Round(float64(t.Share) * float64(len(all))))
	if t.Devices > 0 {
		n = min(t.Devices, len(all))
	}
	if n < len(all) {
		d := chance.Roll(p.seed, chance.ForPlans, fault, 2)
		for i := range n {
			j := i + d.Below(len(all)-i)
			all[i], all[j] = all[j], all[i]
		}
		all = all[:n]
		slices.Sort(all)
	}
	return all
}
