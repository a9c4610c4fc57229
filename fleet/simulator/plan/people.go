package plan

import (
	"cmp"
	"fmt"
	"slices"

	"muster.dev/fleet/scenario"
	"muster.dev/fleet/simulator/chance"
)

// maxDevices bounds how many there ever are, churn included.
const maxDevices = 2_000_000

// people lists who there is, and when.
func (p *Plan) people() error {
	for ci := range p.s.Cohorts {
		c := &p.s.Cohorts[ci]
		for n := range c.Devices {
			p.join(ci, n%max(1, c.Sites), p.begins)
		}
	}
	for ci := range p.s.Cohorts {
		if err := p.churn(ci); err != nil {
			return err
		}
	}
	return nil
}

// join adds a device; numbers go on from cohort to cohort in the order of the calls.
func (p *Plan) join(cohort, site int, at int64) *Device {
	c := &p.s.Cohorts[cohort]
	p.numbers[cohort]++
	p.devices = append(p.devices, Device{Index: len(p.devices), ID: fmt.Sprintf(c.ID, p.numbers[cohort]), Cohort: cohort, Site: site,
		Firmware: c.Firmware, Joins: at, Leaves: chance.Never})
	return &p.devices[len(p.devices)-1]
}

type coming struct {
	at   int64
	what uint8 // 0 joins, 1 leaves, 2 replaced, 3 joins by a burst
}

// churn plays a cohort's coming and going, in order of time.
func (p *Plan) churn(cohort int) error {
	c := &p.s.Cohorts[cohort]
	d := chance.Roll(p.seed, chance.ForPlans, cohort, 1)
	var all []coming
	for what, rate := range []scenario.Rate{c.Churn.Joins, c.Churn.Leaves, c.Churn.Replaced} {
		for at := d.Next(p.begins, float64(rate)); at < p.until; at = d.Next(at, float64(rate)) {
			all = append(all, coming{at, uint8(what)})
			if len(all) > maxDevices {
				return fmt.Errorf("cohorts[%d].churn: more than %d devices come and go", cohort, maxDevices)
			}
		}
	}
	for i := range p.s.Faults {
		f := &p.s.Faults[i]
		if b := f.EnrolmentBurst; b != nil && b.Cohort == c.Name {
			from := p.begins + f.At.Milliseconds()
			for range b.Devices {
				if at := d.Between(from, from+f.For.Milliseconds()); at < p.until {
					all = append(all, coming{at, 3})
				}
			}
		}
	}
	slices.SortStableFunc(all, func(a, b coming) int { return cmp.Compare(a.at, b.at) })
	var there []int
	for i := range p.devices {
		if p.devices[i].Cohort == cohort {
			there = append(there, i)
		}
	}
	for _, e := range all {
		if len(p.devices) >= maxDevices {
			return fmt.Errorf("cohort %s: there are more than %d devices", c.Name, maxDevices)
		}
		if e.what == 0 || e.what == 3 {
			there = append(there, p.join(cohort, d.Below(max(1, c.Sites)), e.at).Index)
			continue
		}
		if len(there) == 0 {
			continue
		}
		k := d.Below(len(there))
		old := &p.devices[there[k]]
		old.Leaves, old.Cause = e.at, "churn"
		there = slices.Delete(there, k, k+1)
		if e.what == 2 {
			old.Cause = "replaced"
			site, id := old.Site, old.ID
			fresh := p.join(cohort, site, e.at)
			fresh.Replaces = id
			there = append(there, fresh.Index)
		}
	}
	return nil
}
