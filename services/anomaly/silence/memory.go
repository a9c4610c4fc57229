package silence

import (
	"io"
	"math"

	"muster.dev/services/anomaly/page"
	"muster.dev/services/anomaly/state"
)

const (
	form       = 3
	mostGroups = 1 << 24
)

// Snapshot writes what was learnt.
func (d *Devices) Snapshot(out io.Writer) error {
	w := state.NewWriter(out)
	w.Head("silence.devices", form)
	w.I64(d.cut)
	w.Len(len(d.ongoing))
	for _, o := range d.ongoing {
		w.Bool(o.All)
		w.Text(o.Region)
		w.I64(o.From)
	}
	w.Len(len(d.groups))
	for i := range d.groups {
		d.groups[i].write(w)
	}
	w.Len(len(d.devices))
	for i := range d.devices {
		d.devices[i].write(w)
	}
	return w.Flush()
}

// Restore reads it back, into the state before the first record. The census has been restored before.
func (d *Devices) Restore(in io.Reader) error {
	r := state.NewReader(in)
	r.Head("silence.devices", form)
	d.cut = r.I64()
	for range r.Len(mostGroups) {
		d.ongoing = append(d.ongoing, page.Outage{All: r.Bool(), Region: r.Text(), From: r.I64()})
		if r.Err() != nil {
			return r.Err()
		}
	}
	for range r.Len(mostGroups) {
		g := readGroup(r)
		if g.cohort < 0 || int(g.cohort) >= d.c.Cohorts() {
			r.Spoil("cohort %d is none of %d", g.cohort, d.c.Cohorts())
		}
		if r.Err() != nil {
			return r.Err()
		}
		g.out = d.out(g.region)
		d.groups = append(d.groups, g)
		d.at[place{g.cohort, g.region}] = uint32(len(d.groups))
	}
	for range r.Len(math.MaxInt32) {
		v := readDevice(r)
		if int64(v.group) > int64(len(d.groups)) || len(d.devices) >= d.c.Len() {
			r.Spoil("device %d of %d, in group %d of %d", len(d.devices), d.c.Len(), v.group, len(d.groups))
		}
		if r.Err() != nil {
			return r.Err()
		}
		d.devices = append(d.devices, v)
		if v.group != 0 {
			d.groups[v.group-1].members++
		}
	}
	return r.Err()
}

func (g *group) write(w *state.Writer) {
	w.Int(int64(g.cohort))
	w.Text(g.region)
	w.Int(g.interval)
	w.Text(g.home)
	w.Int(g.floor)
	w.Int(g.grace)
	w.Bool(g.last)
	w.Len(len(g.back))
	for _, no := range g.back {
		w.U32(no)
	}
	w.U32(g.gone.returned)
	w.U32(g.gone.left)
}

func readGroup(r *state.Reader) group {
	g := group{cohort: int32(min(r.Int(), math.MaxInt32)), region: r.Text(), interval: r.Int(), home: r.Text(), floor: r.Int(), grace: r.Int(), last: r.Bool()}
	for range r.Len(math.MaxInt32) {
		g.back = append(g.back, r.U32())
		if r.Err() != nil {
			return g
		}
	}
	g.gone = tally{r.U32(), r.U32()}
	return g
}

func (v *device) write(w *state.Writer) {
	w.I64(v.last)
	w.U32(math.Float32bits(v.slow))
	w.U32(v.every)
	w.U32(v.group)
	w.U16(uint16(v.fast))
	w.U16(v.power)
	w.U16(v.updated)
	w.U16(uint16(v.flags))
	w.U16(v.runs)
	w.U16(v.more)
	w.U32(v.gaps)
}

func readDevice(r *state.Reader) device {
	return device{
		last: r.I64(), slow: math.Float32frombits(r.U32()), every: max(1_000, r.U32()), group: r.U32(), fast: int16(r.U16()),
		power: r.U16(), updated: r.U16(), flags: flags(r.U16()), runs: r.U16(), more: r.U16(), gaps: r.U32(),
	}
}
