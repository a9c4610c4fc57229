package silence

import (
	"slices"
	"strings"

	"muster.dev/services/anomaly/page"
)

// Cut gives the slots that end after the last cut and not after until, sorted by end, cohort and region.
func (d *Devices) Cut(until int64) []page.Slot {
	until = until / step * step
	if d.cut == 0 || until-d.cut > minute { // a shard cuts each minute: it has leapt over an outage of ours
		d.cut = max(d.cut, until-step)
	}
	var out []page.Slot
	for d.cut < until {
		d.cut += step
		out = d.slotsAt(d.cut, out)
	}
	d.owed = d.owed[:0]
	return out
}

// slotsAt appends the slots that end at an instant.
func (d *Devices) slotsAt(at int64, out []page.Slot) []page.Slot {
	for i := range d.groups { // to which elsewhere may add
		if g := &d.groups[i]; g.home != d.c.Cohort(g.cohort).Region {
			d.elsewhere(uint32(i+1), d.c.Cohort(g.cohort).Region)
		}
	}
	d.slots = slices.Grow(d.slots[:0], len(d.groups))[:len(d.groups)]
	due := false
	for i := range d.groups {
		due = d.begin(i, at) || due
	}
	if !due {
		return out
	}
	for i := range d.devices {
		v := &d.devices[i]
		if v.group == 0 {
			continue
		}
		if s := &d.slots[v.group-1]; s.due {
			d.count(int32(i), v, s)
		}
	}
	from := len(out)
	out = slices.Grow(out, len(d.groups))
	for _, i := range d.inOrder() {
		if d.slots[i].due {
			out = append(out, d.end(int(i)))
		}
	}
	sortSlots(out[from:])
	return out
}

// begin makes a slot ready if one of the group ends at an instant.
func (d *Devices) begin(i int, at int64) bool {
	g, s := &d.groups[i], &d.slots[i]
	*s = slot{gone: s.gone[:0]}
	if g.members == 0 && !g.last {
		return false
	}
	c := d.c.Cohort(g.cohort)
	if c.Interval != g.interval {
		d.another(uint32(i+1), c.Interval)
	}
	sub, whole := g.slots()
	if at%sub != 0 {
		return false
	}
	s.due, s.asleep, s.naps = true, c.Asleep(at), len(c.Sleep) > 0
	s.owed = g.region != "" && slices.Contains(d.owed, g.region)
	if s.asleep || g.out {
		g.floor = max(g.floor, at)
	}
	s.floor = g.floor
	s.Slot = page.Slot{
		Cohort: c.Name, Region: g.region, At: at, Interval: g.interval, Whole: at%whole == 0, Members: g.members,
		Ours: g.out || s.owed || at < g.grace, Returned: g.gone.returned, Left: g.gone.left,
	}
	return true
}

// another interval of the cohort: its devices are on probation, unless they were told one of their own.
func (d *Devices) another(group uint32, interval int64) {
	d.groups[group-1].interval = interval
	for i := range d.devices {
		if v := &d.devices[i]; v.group == group {
			d.expect(v, d.told(int32(i)))
		}
	}
}

// elsewhere is another region of the cohort: that of its devices that have none of their own.
func (d *Devices) elsewhere(group uint32, region string) {
	d.groups[group-1].home = strings.Clone(region)
	for i := range d.devices {
		if v := &d.devices[i]; v.group == group {
			d.Describe(int32(i), v.last)
		}
	}
}

// count adds one device to its slot.
func (d *Devices) count(i int32, v *device, s *slot) {
	if v.last > s.At+farFuture { // a gateway's clock was wrong
		v.last = s.At
	}
	if v.is(heard) {
		v.set(settled)
	}
	if v.is(missing) && v.is(spoke) {
		d.comeBack(i, v, s)
	}
	if v.is(powered) {
		v.clear(powered)
		s.PowerBack++
	}
	if s.asleep {
		s.Asleep++
		return
	}
	base := max(v.last, s.floor)
	silent := s.At - base
	every := int64(v.every)
	if !v.is(missing) {
		if v.probation() > 0 && silent < 2*reports*every || !v.is(heard) && silent < d.s.Missed*every {
			return // not expected yet
		}
		limit := d.s.Missed*every + every*d.s.GracePermille/1_000
		if silent >= limit && s.naps {
			silent -= d.c.Cohort(d.groups[v.group-1].cohort).SleptBetween(base, s.At)
		}
		if silent >= limit && !s.owed {
			v.set(missing)
			v.watch(0)
			s.Fresh++
			s.gone = append(s.gone, i)
		}
	}
	s.add(v.marks(&d.s), v.is(missing), v.is(heard) && s.At-v.last <= every)
}

func (d *Devices) comeBack(i int32, v *device, s *slot) {
	s.Returned++
	if v.is(named) {
		g := &d.groups[v.group-1]
		g.back = append(g.back, d.c.Device(i).No)
	}
	v.clear(missing | spoke | named)
	if !v.is(powered) {
		v.set(returned)
	}
}

// add counts a device that is expected, and what marks it.
func (s *slot) add(m page.Marks, missing, heard bool) {
	s.Expected++
	switch {
	case missing:
		s.Missing++
		if m&page.MarkNever != 0 {
			s.Never++
		}
		s.Power, s.Radio, s.Updated = s.Power+has(m, page.MarkPower), s.Radio+has(m, page.MarkRadio), s.Updated+has(m, page.MarkUpdated)
	case heard:
		s.Heard++
		s.PowerAll, s.RadioAll, s.UpdatedAll = s.PowerAll+has(m, page.MarkPower), s.RadioAll+has(m, page.MarkRadio), s.UpdatedAll+has(m, page.MarkUpdated)
	}
}

func has(m, mark page.Marks) uint32 {
	if m&mark != 0 {
		return 1
	}
	return 0
}

// end closes a slot.
func (d *Devices) end(i int) page.Slot {
	g, s := &d.groups[i], &d.slots[i]
	g.last, g.gone = false, tally{}
	slices.Sort(g.back)
	n := min(len(g.back), page.MaxDevices)
	if n > 0 {
		s.Back = slices.Clone(g.back[:n])
		g.back = slices.Delete(g.back, 0, n)
		g.last = g.members == 0 && len(g.back) > 0
	}
	for _, i := range d.first(s.gone, page.MaxDevices) {
		v, dev := &d.devices[i], d.c.Device(i)
		v.set(named)
		s.Gone = append(s.Gone, page.Gone{ID: strings.Clone(dev.ID), No: dev.No, Since: v.last, Marks: v.marks(&d.s), Every: int64(v.every), Phi: v.phi(), Runs: uint32(v.runs), More: uint32(v.more), Gaps: v.gaps})
	}
	return s.Slot
}
