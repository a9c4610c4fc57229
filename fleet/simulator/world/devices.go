package world

import (
	"cmp"
	"fmt"
	"math"
	"slices"

	"muster.dev/fleet/scenario"
)

// maxDevices bounds how many there ever are, churn included.
const maxDevices = 2_000_000

// people lists who there is, and when.
func (w *World) people() error {
	for ci := range w.s.Cohorts {
		c := &w.s.Cohorts[ci]
		for n := range c.Devices {
			w.join(ci, n%max(1, c.Sites), w.begins)
		}
	}
	for ci := range w.s.Cohorts {
		if err := w.churn(ci); err != nil {
			return err
		}
	}
	return nil
}

// join adds a device; numbers go on from cohort to cohort in the order of the calls.
func (w *World) join(cohort, site int, at int64) *Device {
	c := &w.s.Cohorts[cohort]
	w.numbers[cohort]++
	w.devices = append(w.devices, Device{Index: len(w.devices), ID: fmt.Sprintf(c.ID, w.numbers[cohort]), Cohort: cohort, Site: site,
		Firmware: c.Firmware, Joins: at, Leaves: Never})
	return &w.devices[len(w.devices)-1]
}

type coming struct {
	at   int64
	what uint8 // 0 joins, 1 leaves, 2 replaced, 3 joins by a burst
}

// churn plays a cohort's coming and going, in order of time.
func (w *World) churn(cohort int) error {
	c := &w.s.Cohorts[cohort]
	d := roll(w.seed, forPlans, cohort, 1)
	var all []coming
	for what, rate := range []scenario.Rate{c.Churn.Joins, c.Churn.Leaves, c.Churn.Replaced} {
		for at := d.next(w.begins, float64(rate)); at < w.until; at = d.next(at, float64(rate)) {
			all = append(all, coming{at, uint8(what)})
			if len(all) > maxDevices {
				return fmt.Errorf("cohorts[%d].churn: more than %d devices come and go", cohort, maxDevices)
			}
		}
	}
	for i := range w.s.Faults {
		f := &w.s.Faults[i]
		if b := f.EnrolmentBurst; b != nil && b.Cohort == c.Name {
			from := w.begins + f.At.Milliseconds()
			for range b.Devices {
				if at := d.between(from, from+f.For.Milliseconds()); at < w.until {
					all = append(all, coming{at, 3})
				}
			}
		}
	}
	slices.SortStableFunc(all, func(a, b coming) int { return cmp.Compare(a.at, b.at) })
	var there []int
	for i := range w.devices {
		if w.devices[i].Cohort == cohort {
			there = append(there, i)
		}
	}
	for _, e := range all {
		if len(w.devices) >= maxDevices {
			return fmt.Errorf("cohort %s: there are more than %d devices", c.Name, maxDevices)
		}
		if e.what == 0 || e.what == 3 {
			there = append(there, w.join(cohort, d.below(max(1, c.Sites)), e.at).Index)
			continue
		}
		if len(there) == 0 {
			continue
		}
		k := d.below(len(there))
		old := &w.devices[there[k]]
		old.Leaves, old.cause = e.at, "churn"
		there = slices.Delete(there, k, k+1)
		if e.what == 2 {
			old.cause = "replaced"
			site, id := old.Site, old.ID
			fresh := w.join(cohort, site, e.at)
			fresh.Replaces = id
			there = append(there, fresh.Index)
		}
	}
	return nil
}

// lot is whom a fault befalls.
type lot struct {
	at, until int64
	members   []int32 // sorted
}

func (l *lot) has(device int) bool {
	_, ok := slices.BinarySearch(l.members, int32(device))
	return ok
}

// lots chooses for each fault whom it befalls, among those who are there when it begins.
func (w *World) lots() {
	w.faults = make([]lot, len(w.s.Faults))
	for _, i := range w.inTime() {
		f := &w.s.Faults[i]
		l := lot{at: w.begins + f.At.Milliseconds(), until: w.until}
		if f.For > 0 {
			l.until = l.at + f.For.Milliseconds()
		}
		if t := f.Target(); t != nil {
			l.members = w.choose(i, t, l.at)
		}
		for _, m := range l.members {
			if f.Retire != nil || f.Revoke != nil {
				w.retire(&w.devices[m], l.at, f.Revoke != nil)
			}
		}
		w.faults[i] = l
	}
}

// retire ends a device before its time. Who would have replaced it later comes as any other.
func (w *World) retire(d *Device, at int64, revoked bool) {
	if d.cause == "replaced" {
		i := slices.IndexFunc(w.devices, func(o Device) bool { return o.Replaces == d.ID })
		w.devices[i].Replaces = ""
	}
	d.Leaves, d.Revoked, d.cause = at, revoked, "retired"
	if revoked {
		d.cause = "revoked"
	}
}

// inTime orders the faults by when they begin: who has left is befallen no more.
func (w *World) inTime() []int {
	order := make([]int, len(w.s.Faults))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(w.s.Faults[a].At, w.s.Faults[b].At) })
	return order
}

func (w *World) choose(fault int, t *scenario.Target, at int64) []int32 {
	var all []int32
	for i := range w.devices {
		d := &w.devices[i]
		if (t.Cohort == "" || w.s.Cohorts[d.Cohort].Name == t.Cohort) && (t.Site == 0 || d.Site == t.Site-1) && d.Joins <= at && at < d.Leaves {
			all = append(all, int32(i))
		}
	}
	n := int(math.Round(float64(t.Share) * float64(len(all))))
	if t.Devices > 0 {
		n = min(t.Devices, len(all))
	}
	if n < len(all) {
		d := roll(w.seed, forPlans, fault, 2)
		for i := range n {
			j := i + d.below(len(all)-i)
			all[i], all[j] = all[j], all[i]
		}
		all = all[:n]
		slices.Sort(all)
	}
	return all
}

// window is a time with a number: a fault's, or a site's outage.
type window struct {
	from, until int64
	fault       int // -1 is a site's outage
}

// sites draws when the power of a site goes.
func (w *World) sites() {
	w.power = make([][][]window, len(w.s.Cohorts))
	for ci := range w.s.Cohorts {
		c := &w.s.Cohorts[ci]
		if c.SiteOutages.Rate == 0 {
			continue
		}
		w.power[ci] = make([][]window, max(1, c.Sites))
		for site := range w.power[ci] {
			d := roll(w.seed, forPlans, ci<<20|site, 3)
			for at := d.next(w.begins, float64(c.SiteOutages.Rate)); at < w.until; {
				end := min(w.until, d.after(at, float64(c.SiteOutages.Lasts.Milliseconds())))
				w.power[ci][site] = append(w.power[ci][site], window{at, end, -1})
				at = d.next(end, float64(c.SiteOutages.Rate))
			}
		}
	}
}
