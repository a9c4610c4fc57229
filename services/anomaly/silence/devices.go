package silence

import (
	"cmp"
	"math"
	"slices"
	"strings"

	"muster.dev/services/anomaly/census"
	"muster.dev/services/anomaly/page"
)

// Devices is the part of a shard.
type Devices struct {
	c *census.State
	s Settings

	devices []device // by the census' index
	groups  []group
	at      map[place]uint32 // 1 + index
	ongoing []page.Outage    // of ours
	cut     int64            // the last one
	slots   []slot           // by group; only during a cut
	order   []int32          // of groups, as their slots are told
	owed    []string         // regions, until the next cut
}

type place struct {
	cohort int32
	region string
}

// NewDevices is the state before the first record. The census is the shard's, and is told a change before Devices is.
func NewDevices(c *census.State, s Settings) *Devices {
	return &Devices{c: c, s: s, at: map[place]uint32{}}
}

// device gives a device that counts, or nil.
func (d *Devices) device(i int32) *device {
	if i < 0 || int(i) >= len(d.devices) || d.devices[i].group == 0 {
		return nil
	}
	return &d.devices[i]
}

// enter puts a device into its group, and makes that if there is none.
func (d *Devices) enter(i int32) {
	dev := d.c.Device(i)
	at := place{dev.Cohort, dev.Region}
	g, ok := d.at[at]
	if !ok {
		of := d.c.Cohort(dev.Cohort)
		fresh := group{cohort: dev.Cohort, region: strings.Clone(dev.Region), interval: of.Interval, home: strings.Clone(of.Region)}
		fresh.out = d.out(fresh.region)
		d.groups = append(d.groups, fresh)
		g = uint32(len(d.groups))
		at.region = d.groups[g-1].region
		d.at[at] = g
	}
	d.groups[g-1].members++
	d.devices[i].group = g
}

// leave takes a device out of its group.
func (d *Devices) leave(i int32) {
	v := &d.devices[i]
	g := &d.groups[v.group-1]
	v.group = 0
	g.members--
	g.last = g.members == 0
	if v.is(missing) {
		g.gone.returned++
		g.gone.left++
		if v.is(named) {
			g.back = append(g.back, d.c.Device(i).No)
		}
	}
	v.clear(missing | spoke | named | returned | powered)
}

// told is the interval of a device as the registry has it, or else its cohort's.
func (d *Devices) told(i int32) int64 {
	dev := d.c.Device(i)
	return max(cmp.Or(dev.Interval, d.c.Cohort(dev.Cohort).Interval), 1_000)
}

// Join makes a device count from now on.
func (d *Devices) Join(i int32, at int64) {
	if i < 0 {
		return
	}
	if grow := int(i) + 1 - len(d.devices); grow > 0 {
		d.devices = append(d.devices, make([]device, grow)...)
	}
	v := &d.devices[i]
	if v.group != 0 {
		d.leave(i)
	}
	v.fresh(at, d.told(i))
	d.enter(i)
}

// Leave makes it count no longer.
func (d *Devices) Leave(i int32, at int64) {
	if d.device(i) != nil {
		d.leave(i)
	}
}

// Move makes it count in another cohort, where its silence begins anew.
func (d *Devices) Move(i, was, is int32, at int64) {
	v := d.device(i)
	if v == nil {
		return
	}
	d.leave(i)
	v.fresh(at, d.told(i))
	v.watch(reports)
	d.enter(i)
}

// Describe says that its interval or region may be another.
func (d *Devices) Describe(i int32, at int64) {
	v := d.device(i)
	if v == nil {
		return
	}
	if g := &d.groups[v.group-1]; d.c.Device(i).Region != g.region {
		d.leave(i)
		v.fresh(at, d.told(i))
		d.enter(i)
	}
	d.expect(v, d.told(i))
}

// expect takes over an interval. A device that is missing stays so: it has not said that it is well.
func (d *Devices) expect(v *device, told int64) {
	if told = min(told, math.MaxUint32); told == int64(v.every) {
		return
	}
	v.every = uint32(told)
	v.put(oddAt, 2, 0)
	v.watch(reports)
}

// LastHeard says when a device was heard last, if it counts and ever was.
func (d *Devices) LastHeard(i int32) (at int64, ok bool) {
	v := d.device(i)
	if v == nil || !v.is(heard) {
		return 0, false
	}
	return v.last, true
}

// Heard is a sign of life. One that came late is a sign, too: it never counts as one before the last.
func (d *Devices) Heard(i int32, at int64) {
	v := d.device(i)
	if v == nil || v.is(heard) && at <= v.last {
		return
	}
	if v.is(missing) {
		v.set(spoke)
	}
	if v.is(heard) && v.last >= d.groups[v.group-1].floor {
		v.gap(at-v.last, d.least(i, v))
	}
	v.set(heard)
	v.last = max(v.last, at)
	v.forget(&d.s)
}

// least is what a device was told, asked only where it matters: the census is far away.
func (d *Devices) least(i int32, v *device) int64 {
	if odd := v.field(oddAt, 2); odd < reports-1 && v.field(likeAt, 4) == 0 {
		return min(int64(v.every), d.groups[v.group-1].interval)
	}
	return d.told(i)
}

// Boot is a boot's reason, as the device put it.
func (d *Devices) Boot(i int32, at int64, reason string) {
	v := d.device(i)
	if v == nil {
		return
	}
	brown, on := powerless(reason)
	if v.is(missing|returned) && (brown || on) {
		v.set(powered)
	}
	v.clear(returned)
	if brown || on && v.is(settled) { // all devices are switched on once
		v.power = coarse(at)
	}
}

// powerless reads a boot's reason: was it a brown-out, or the power that came back?
func powerless(reason string) (brown, on bool) {
	word := strings.Map(func(r rune) rune {
		if r == '_' || r == '-' || r == ' ' {
			return -1
		}
		return r
	}, strings.ToLower(reason[:min(len(reason), 64)]))
	switch word {
	case "brownout", "brownoutreset", "bor", "undervoltage", "lowvoltage", "lowbattery":
		return true, false
	case "poweron", "poweronreset", "por", "power", "powerup", "powerloss", "powerfail", "powerfailure", "coldboot", "coldstart":
		return false, true
	}
	return false, false
}

// Battery is a reading of a metric that IsBattery.
func (d *Devices) Battery(i int32, at int64, value float64, metric string) {
	v := d.device(i)
	if v == nil || math.IsNaN(value) {
		return
	}
	limit := d.s.LowPercent
	switch {
	case strings.HasSuffix(metric, "_mv"):
		limit = d.s.LowMillivolts
	case strings.HasSuffix(metric, "_v") || metric == "vbat":
		limit = d.s.LowMillivolts / 1_000
	}
	if value <= limit {
		v.set(lowPower)
	} else {
		v.clear(lowPower)
	}
}

// Radio is a reading of a metric that IsRadio.
func (d *Devices) Radio(i int32, at int64, dBm float64) {
	if v := d.device(i); v != nil {
		v.signal(dBm, d.sinceCut(at, v))
	}
}

// sinceCut bounds the weight of a reading: a device's last sign of life may be this very message.
func (d *Devices) sinceCut(at int64, v *device) int64 {
	if since := at - v.last; since > 0 {
		return min(since, hourMS)
	}
	return min(int64(v.every), hourMS)
}

// Updated says that a device runs another firmware than before.
func (d *Devices) Updated(i int32, at int64) {
	if v := d.device(i); v != nil {
		v.updated = coarse(at)
	}
}

// Outage is told before the first cut that it concerns, and again when it is over.
func (d *Devices) Outage(o page.Outage) {
	d.ongoing = slices.DeleteFunc(d.ongoing, func(other page.Outage) bool { return other.All == o.All && other.Region == o.Region })
	if o.Until == 0 {
		d.ongoing = append(d.ongoing, o)
	}
	for i := range d.groups {
		g := &d.groups[i]
		if !o.All && o.Region != g.region {
			continue
		}
		g.out = d.out(g.region)
		if o.Until != 0 {
			g.over(o.Until, &d.s)
		}
	}
}

// Owed names the regions whose gateways owe a sign of life, so that an outage of ours may be found to have begun: the next
// cut decides nothing there, and takes no device for missing.
func (d *Devices) Owed(regions []string) { d.owed = append(d.owed[:0], regions...) }

// out says whether an outage of ours goes on that concerns a region.
func (d *Devices) out(region string) bool {
	return slices.ContainsFunc(d.ongoing, func(o page.Outage) bool { return o.All || o.Region == region })
}

// IsBattery says whether a metric of this name tells a battery's charge (per cent) or voltage.
func IsBattery(metric string) bool {
	switch metric {
	case "battery", "battery_pct", "battery_percent", "battery_level", "battery_mv", "battery_v", "vbat", "vbat_mv":
		return true
	}
	return false
}

// IsRadio says whether a metric of this name tells a signal's strength in dBm.
func IsRadio(metric string) bool {
	switch metric {
	case "rssi", "rssi_dbm", "rsrp", "rsrp_dbm", "signal_dbm":
		return true
	}
	return false
}

// Members is how many devices count.
func (d *Devices) Members() (n int) {
	for i := range d.groups {
		n += int(d.groups[i].members)
	}
	return n
}

func bySlot(a, b *page.Slot) int {
	if a.At != b.At {
		return cmp.Compare(a.At, b.At)
	}
	if by := strings.Compare(a.Cohort, b.Cohort); by != 0 {
		return by
	}
	return strings.Compare(a.Region, b.Region)
}

// inOrder are the groups by cohort and region: slots that are told in their order are as good as sorted.
func (d *Devices) inOrder() []int32 {
	if len(d.order) == len(d.groups) {
		return d.order
	}
	d.order = d.order[:0]
	for i := range d.groups {
		d.order = append(d.order, int32(i))
	}
	slices.SortFunc(d.order, func(a, b int32) int {
		x, y := &d.groups[a], &d.groups[b]
		return cmp.Or(cmp.Compare(d.c.Cohort(x.cohort).Name, d.c.Cohort(y.cohort).Name), cmp.Compare(x.region, y.region))
	})
	return d.order
}

// sortSlots looks first: they are sorted nearly always, and a slot is large.
func sortSlots(s []page.Slot) {
	for i := 1; i < len(s); i++ {
		if bySlot(&s[i-1], &s[i]) > 0 {
			slices.SortFunc(s, func(a, b page.Slot) int { return bySlot(&a, &b) })
			return
		}
	}
}
