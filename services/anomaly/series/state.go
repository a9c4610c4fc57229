package series

import (
	"io"
	"maps"
	"math"
	"slices"

	"muster.dev/proto/event"
	"muster.dev/services/anomaly/page"
	"muster.dev/services/anomaly/state"
)

// form of a snapshot; another constant of the detector is another form.
const form = 8

// codec writes fields, or reads them: one list serves both.
type codec struct {
	w *state.Writer
	r *state.Reader
}

func code[T any](c codec, v *T, write func(*state.Writer, T), read func(*state.Reader) T) {
	if c.w != nil {
		write(c.w, *v)
	} else {
		*v = read(c.r)
	}
}

func (c codec) float64(vs ...*float64) {
	for _, v := range vs {
		code(c, v, (*state.Writer).F64, (*state.Reader).F64)
		if c.r != nil && (math.IsNaN(*v) || math.IsInf(*v, 0)) {
			c.r.Spoil("a number of a series is none")
			*v = 0
		}
	}
}

func (c codec) float32(vs ...*float32) {
	for _, v := range vs {
		bits := math.Float32bits(*v)
		c.uint32(&bits)
		*v = math.Float32frombits(bits)
		if c.r != nil && *v != *v {
			c.r.Spoil("a number of a series is none")
		}
	}
}

func (c codec) uint8(vs ...*uint8) {
	for _, v := range vs {
		code(c, v, (*state.Writer).U8, (*state.Reader).U8)
	}
}

func (c codec) uint16(v *uint16) { code(c, v, (*state.Writer).U16, (*state.Reader).U16) }

func (c codec) uint32(vs ...*uint32) {
	for _, v := range vs {
		code(c, v, (*state.Writer).U32, (*state.Reader).U32)
	}
}

func (c codec) uint64(vs ...*uint64) {
	for _, v := range vs {
		code(c, v, (*state.Writer).U64, (*state.Reader).U64)
	}
}

func (c codec) int32(vs ...*int32) {
	for _, v := range vs {
		u := uint32(*v)
		c.uint32(&u)
		*v = int32(u)
	}
}

func (c codec) int64(vs ...*int64) {
	for _, v := range vs {
		code(c, v, (*state.Writer).I64, (*state.Reader).I64)
	}
}

func (c codec) bool(v *bool) { code(c, v, (*state.Writer).Bool, (*state.Reader).Bool) }

func (c codec) text(vs ...*string) {
	for _, v := range vs {
		code(c, v, (*state.Writer).Text, (*state.Reader).Text)
	}
}

// len gives a list its length, most at most.
func (c codec) len(n, most int) int {
	if c.w != nil {
		c.w.Len(n)
		return n
	}
	return c.r.Len(most)
}

// ok says whether to go on: an error of a writer stays until the end, and one of a reader ends the reading.
func (c codec) ok() bool { return c.w != nil || c.r.Err() == nil }

func (d *Detector) fields(c codec) {
	c.float64(&d.scale, &d.level, &d.restVar, &d.mean, &d.levelVar)
	for _, f := range []*feature{&d.byLevel, &d.byValue, &d.byRest} {
		c.float32(&f.mean, &f.variance, &f.rare, &f.excess, &f.count)
	}
	c.float64(&d.peak, &d.hold, &d.grain.last)
	c.float32(&d.grain.share)
	c.int64(&d.day)
	c.uint32(&d.n)
	c.uint8(&d.quiet)
	for i := range bins {
		c.uint8(&d.visits[i])
		c.float32(&d.usual[i], &d.memory[i], &d.today[i])
	}
}

func (w *watch) fields(c codec) {
	for k := range w.found {
		f := &w.found[k]
		c.int32(&f.since, &f.until)
		c.float32(&f.score, &f.value, &f.usual)
	}
	c.uint8(&w.open, &w.told, &w.fresh)
	c.float64(&w.value, &w.y)
	c.uint32(&w.run, &w.longest, &w.absence, &w.lived)
	w.states.fields(c)
	w.bounds.fields(c)
	c.bool(&w.counts)
	c.float64(&w.weeks)
	w.runs.fields(c)
	c.int32(&w.hint.no)
	c.float32(&w.hint.score, &w.hint.value, &w.hint.usual, &w.hint.off)
	c.uint8(&w.hint.seen)
	c.bool(&w.hint.asked)
	c.int32(&w.from)
	c.float32(&w.changes, &w.swing, &w.often, &w.seldom, &w.off)
	c.float32(&w.place.fast, &w.place.slow, &w.place.usual)
	for _, a := range []*apart{&w.alone, &w.beside} {
		c.float32(&a.fast, &a.slow, &a.crest)
		c.uint16(&a.turns)
		c.uint8(&a.up, &a.down)
		c.bool(&a.drifts)
	}
	w.rise.fields(c)
	for _, g := range []*gauge{&w.swings, &w.rates, &w.far, &w.alone.gauge, &w.beside.gauge} {
		g.fields(c)
	}
}

func (g *gauge) fields(c codec) {
	c.float32(&g.usual, &g.memory, &g.today)
	c.int32(&g.near)
	g.tail.fields(c)
}

func (e *entry) fields(c codec) {
	e.det.fields(c)
	e.watch.fields(c)
	c.uint32(&e.no, &e.heard)
	c.int32(&e.device, &e.cohort, &e.last, &e.came)
	c.uint16(&e.metric)
	e.way.fields(c)
	e.wear.fields(c)
	if c.uint8(&e.waiting); e.waiting > openBuckets {
		c.r.Spoil("%d buckets wait", e.waiting)
		e.waiting = 0
	}
	for i := range e.waiting {
		b := &e.open[i]
		c.int32(&b.no)
		c.uint32(&b.rows)
		c.int64(&b.when)
		c.float64(&b.sum, &b.rest, &b.low, &b.high)
	}
}

func (w *way) fields(c codec) {
	c.float64(&w.value, &w.moment)
	c.uint16(&w.up)
	c.uint16(&w.down)
	c.uint16(&w.seen)
	u := uint8(w.goes)
	c.uint8(&u)
	w.goes = int8(u)
	c.bool(&w.leapt)
	c.bool(&w.anew)
}

func findingFields(c codec, f *page.Finding) {
	c.text(&f.Kind, &f.Cohort, &f.Metric, &f.ID)
	c.uint32(&f.No, &f.Reporting)
	c.int64(&f.At, &f.Score, &f.Value, &f.Usual)
	c.bool(&f.Over)
}

// AppendState and ReadState keep a Detector over a restart.
func (d *Detector) AppendState(w *state.Writer) {
	w.Head("detector", form)
	d.fields(codec{w: w})
}

// ReadState reads what AppendState wrote; the reader keeps an error.
func (d *Detector) ReadState(r *state.Reader) {
	r.Head("detector", form)
	d.fields(codec{r: r})
}

// Snapshot writes the state.
func (b *Bank) Snapshot(w io.Writer) error {
	out := state.NewWriter(w)
	out.Head("series", form)
	b.fields(codec{w: out})
	return out.Flush()
}

// Restore reads a state into a Bank that holds nothing. After an error the Bank is not to be used.
func (b *Bank) Restore(r io.Reader) error {
	in := state.NewReader(r)
	in.Head("series", form)
	b.fields(codec{r: in})
	if in.Err() == nil {
		b.join(in)
	}
	return in.Err()
}

// Bounds of a snapshot, far beyond any setting.
const (
	mostSeries   = 1 << 24
	mostFindings = mostSeries * int(kinds)
)

func (b *Bank) fields(c codec) {
	c.int32(&b.step, &b.newest)
	c.bool(&b.untold)
	c.uint64(&b.counts.Rows, &b.counts.Refused, &b.counts.Beyond, &b.counts.Late, &b.counts.Evicted)
	b.metricAt = list(c, b.metricAt, math.MaxUint16+1, func(m *metricName) { c.text(&m.text) })
	b.metricOff = list(c, b.metricOff, math.MaxUint16+1, func(m *uint16) { c.uint16(m) })
	b.leaving = list(c, b.leaving, mostFindings, func(f *page.Finding) { findingFields(c, f) })
	b.free = list(c, b.free, mostSeries, func(i *int32) { c.int32(i) })
	table(c, b.talkers, mostSeries, func(device *int32, t *talker) {
		c.int32(device, &t.last)
		c.uint32(&t.heard)
		if c.r != nil {
			t.first = -1
		}
	})
	table(c, b.groups, mostSeries, func(key *uint64, g *group) {
		c.uint64(key)
		c.uint32(&g.told)
		if c.r != nil {
			g.series = 0
		}
	})
	table(c, b.crowds, mostSeries, func(key *uint64, v **crowd) {
		if c.r != nil {
			*v = &crowd{}
		}
		c.uint64(key)
		c.uint32(&(*v).n, &(*v).told)
		(*v).watch.fields(c)
		(*v).week.fields(c)
		(*v).rise.fields(c)
		c.float32(&(*v).lag)
		c.int32(&(*v).last)
	})
	made := c.len(int(b.made), mostSeries)
	for i := 0; i < made && c.ok(); i++ {
		if c.r != nil {
			if i%chunkSize == 0 {
				b.chunks = append(b.chunks, make([]entry, chunkSize))
			}
			b.made++
		}
		e := b.at(int32(i))
		if c.bool(&e.used); e.used {
			e.fields(c)
		}
	}
}

// list writes a list, or reads one.
func list[T any](c codec, from []T, most int, each func(*T)) []T {
	n := c.len(len(from), most)
	for i := 0; i < n && c.ok(); i++ {
		if c.r != nil {
			var v T
			from = append(from, v)
		}
		each(&from[i])
	}
	return from
}

// table writes a map in order of its keys, or reads it.
func table[K int32 | uint64, V any](c codec, m map[K]V, most int, each func(*K, *V)) {
	n := c.len(len(m), most)
	if c.w != nil {
		for _, k := range slices.Sorted(maps.Keys(m)) {
			v := m[k]
			each(&k, &v)
		}
		return
	}
	for i := 0; i < n && c.ok(); i++ {
		var k K
		var v V
		each(&k, &v)
		m[k] = v
	}
}

// join makes what follows from the series: indexes, chains and counts.
func (b *Bank) join(in *state.Reader) {
	free := 0
	for i := range b.made {
		e := b.at(i)
		if !e.used {
			free++
			continue
		}
		t, talks := b.talkers[e.device]
		g, grouped := b.groups[pair(e.cohort, e.metric)]
		if _, twice := b.index[pair(e.device, e.metric)]; !talks || !grouped || twice || int(e.metric) >= len(b.metricAt) {
			in.Spoil("series %d is of no device or metric, or there twice", i)
			return
		}
		b.index[pair(e.device, e.metric)] = i
		e.next, t.first = t.first, i
		b.lead(e.device, i+1)
		t.has++
		b.talkers[e.device] = t
		g.series++
		b.sizes[e.cohort]++
		b.groups[pair(e.cohort, e.metric)] = g
	}
	places := map[int32]bool{}
	for _, i := range b.free {
		places[i] = true
		if i < 0 || i >= b.made || b.at(i).used {
			in.Spoil("place %d is not free", i)
			return
		}
	}
	if free != len(b.free) || free != len(places) {
		in.Spoil("%d places are free, and %d are listed", free, len(b.free))
		return
	}
	for key := range b.crowds {
		if g := b.groups[key]; g.series == 0 {
			in.Spoil("a crowd has no series")
			return
		}
	}
	for key := range b.groups {
		if int(uint16(key)) >= len(b.metricAt) {
			in.Spoil("a group is of no metric")
			return
		}
		b.metricAt[uint16(key)].groups++
	}
	off := map[uint16]bool{}
	for _, m := range b.metricOff {
		off[m] = true
	}
	for i, m := range b.metricAt {
		switch free := off[uint16(i)]; {
		case free != (m.groups == 0):
			in.Spoil("metric %d is of no series, or free and in use", i)
			return
		case !free:
			b.metrics[m.text] = uint16(i)
		}
	}
	for _, m := range b.metricOff {
		if int(m) >= len(b.metricAt) {
			in.Spoil("there is no metric %d", m)
		}
	}
	if len(off) != len(b.metricOff) || len(b.metrics)+len(off) != len(b.metricAt) {
		in.Spoil("a metric is there twice")
	}
}

// Snapshot writes the state.
func (p *Peers) Snapshot(w io.Writer) error {
	out := state.NewWriter(w)
	out.Head("peers", form)
	p.fields(codec{w: out})
	return out.Flush()
}

// Restore reads a state into Peers that know no finding. After an error they are not to be used.
func (p *Peers) Restore(r io.Reader) error {
	in := state.NewReader(r)
	in.Head("peers", form)
	p.fields(codec{r: in})
	return in.Err()
}

func (p *Peers) fields(c codec) {
	c.uint64(&p.lost)
	named(c, p.companies, MaxGroups, func(v **company) {
		if c.r != nil {
			*v = &company{}
		}
		of := *v
		c.uint32(&of.series)
		c.bool(&of.many)
		c.bool(&of.most)
		c.int64(&of.since)
		c.uint32(&of.top, &of.moved)
		c.bool(&of.dear)
		of.by.fields(c)
		of.members = list(c, of.members, MaxOpen, func(id *string) { c.text(id) })
	})
	named(c, p.suspects, MaxOpen, func(v **suspect) {
		if c.r != nil {
			*v = &suspect{}
		}
		d := *v
		c.uint32(&d.no)
		c.bool(&d.told)
		c.text(&d.metric, &d.with)
		d.joined = list(c, d.joined, event.MaxMembers, func(id *string) { c.text(id) })
		d.items = list(c, d.items, MaxOpen, func(i *item) { i.fields(c) })
	})
	named(c, p.waiting, MaxOpen, func(*struct{}) {})
	if c.r == nil {
		return
	}
	for w := range p.waiting {
		if p.suspects[w] == nil {
			c.r.Spoil("a device that is waited for is not known")
			return
		}
	}
	for key, d := range p.suspects {
		p.items += len(d.items)
		for _, id := range d.joined {
			if o := p.suspects[pairOf{key.cohort, id}]; o == nil || o.with != key.name {
				c.r.Spoil("a device that an incident names is not known")
				return
			}
		}
		if l := p.suspects[pairOf{key.cohort, d.with}]; d.with != "" && (l == nil || !slices.Contains(l.joined, key.name)) {
			c.r.Spoil("an incident that is to name a device is not known")
			return
		}
	}
	for key, of := range p.companies {
		for _, id := range of.members {
			d := p.suspects[pairOf{key.cohort, id}]
			if d == nil || !slices.ContainsFunc(d.items, func(i item) bool { return i.metric == key.name }) {
				c.r.Spoil("a device of a cohort's incident is not known")
				return
			}
		}
	}
}

func (i *item) fields(c codec) {
	c.text(&i.metric, &i.kind)
	c.int64(&i.since, &i.told, &i.score, &i.value, &i.usual)
	c.uint32(&i.peers)
	c.bool(&i.dear)
	c.bool(&i.along)
}

// named writes a map in order of its keys, or reads it.
func named[V any](c codec, m map[pairOf]V, most int, each func(*V)) {
	n := c.len(len(m), most)
	if c.w != nil {
		keys := slices.SortedFunc(maps.Keys(m), pairOf.compare)
		for _, k := range keys {
			c.text(&k.cohort, &k.name)
			v := m[k]
			each(&v)
		}
		return
	}
	for i := 0; i < n && c.ok(); i++ {
		var k pairOf
		var v V
		c.text(&k.cohort, &k.name)
		each(&v)
		m[k] = v
	}
}
