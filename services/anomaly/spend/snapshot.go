package spend

import (
	"io"
	"math"
	"slices"

	"muster.dev/services/anomaly/state"
)

// Snapshot writes the state.
func (f *Forecasts) Snapshot(w io.Writer) error {
	out := state.NewWriter(w)
	out.Head("forecasts", formForecasts)
	out.I64(f.hour)
	out.I64(f.step)
	out.U64(f.beyond)
	out.Len(len(f.names))
	for _, name := range f.names {
		out.Text(name)
		f.cohorts[name].write(out)
	}
	return out.Flush()
}

// Restore reads a state into Forecasts that know nothing. After an error they are not to be used.
func (f *Forecasts) Restore(r io.Reader) error {
	in := state.NewReader(r)
	in.Head("forecasts", formForecasts)
	f.hour, f.step, f.beyond = in.I64(), in.I64(), in.U64()
	if f.step < 0 || f.step > steps {
		in.Spoil("an hour has no step %d", f.step)
	}
	for n := in.Len(MaxCohorts); n > 0 && in.Err() == nil; n-- {
		name, c := in.Text(), &cohort{}
		c.read(in)
		f.names = append(f.names, name)
		f.cohorts[name] = c
		f.metrics += len(c.metrics)
	}
	if in.Err() == nil && (!slices.IsSorted(f.names) || len(f.cohorts) != len(f.names)) {
		in.Spoil("the cohorts are in no order")
	}
	return in.Err()
}

func (c *cohort) write(w *state.Writer) {
	w.U32(c.devices)
	w.U32(c.known)
	w.Bool(c.begun)
	w.Bool(c.sleeps)
	w.Bool(c.open)
	w.Text(c.told)
	w.I64(c.since)
	w.U8(c.calm)
	w.U32(c.hours)
	c.values.write(w)
	c.bytes.write(w)
	w.Len(len(c.metrics))
	for i := range c.metrics {
		w.Text(c.metrics[i].name)
		c.metrics[i].write(w)
	}
}

func (c *cohort) read(r *state.Reader) {
	c.devices = r.U32()
	c.known, c.begun, c.sleeps, c.open, c.told, c.since, c.calm, c.hours = r.U32(), r.Bool(), r.Bool(), r.Bool(), r.Text(), r.I64(), r.U8(), r.U32()
	c.values.read(r)
	c.bytes.read(r)
	for n := r.Len(most); n > 0 && r.Err() == nil; n-- {
		m := metric{name: r.Text()}
		m.read(r)
		if k := len(c.metrics); k > 0 && c.metrics[k-1].name >= m.name {
			r.Spoil("the metrics are in no order")
		}
		c.metrics = append(c.metrics, m)
	}
}

// tables are a line's small numbers.
func (l *line) tables() [][]float32 { return [][]float32{l.week[:], l.day[:], l.recent[:], l.part[:]} }

func (l *line) write(w *state.Writer) {
	for _, table := range l.tables() {
		for _, v := range table {
			w.U32(math.Float32bits(v))
		}
	}
	w.F64(l.parts)
	w.U32(math.Float32bits(l.noise))
	w.U8(l.lows)
	w.I64(l.was.hour)
	for _, v := range []float32{l.was.week, l.was.day, l.was.recent, l.was.noise} {
		w.U32(math.Float32bits(v))
	}
	w.F64(l.debt)
	w.F64(l.month)
	w.I64(l.at)
	w.F64(l.now)
	for _, v := range l.cum {
		w.F64(v)
	}
}

func (l *line) read(r *state.Reader) {
	for _, table := range l.tables() {
		for i := range table {
			table[i] = small(r)
		}
	}
	l.parts, l.noise, l.lows = large(r), small(r), r.U8()
	l.was = before{r.I64(), small(r), small(r), small(r), small(r)}
	l.debt, l.month, l.at, l.now = large(r), large(r), r.I64(), large(r)
	for i := range l.cum {
		l.cum[i] = large(r)
	}
}

func small(r *state.Reader) float32 {
	v := math.Float32frombits(r.U32())
	if v != v || v < 0 {
		r.Spoil("a volume is none")
		return 0
	}
	return v
}

func large(r *state.Reader) float64 {
	v := r.F64()
	if !(v >= 0) || math.IsInf(v, 0) {
		r.Spoil("a volume is none")
		return 0
	}
	return v
}
