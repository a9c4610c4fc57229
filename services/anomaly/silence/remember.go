package silence

import (
	"io"

	"muster.dev/proto/event"
	"muster.dev/services/anomaly/state"
)

const (
	mostCohorts = 1 << 24
	cohortsForm = 5
)

// Snapshot writes what was learnt.
func (c *Cohorts) Snapshot(out io.Writer) error {
	w := state.NewWriter(out)
	w.Head("silence.cohorts", cohortsForm)
	w.Len(len(c.sorted))
	for _, k := range c.sorted {
		k.write(w)
	}
	w.Len(len(c.joints))
	for _, j := range c.joints {
		j.write(w)
	}
	w.Len(len(c.outages))
	for _, s := range c.outages {
		w.Text(s.region)
		w.I64(s.from)
		w.Bool(s.opened)
	}
	return w.Flush()
}

// Restore reads it back, into the state before the first slot.
func (c *Cohorts) Restore(in io.Reader) error {
	r := state.NewReader(in)
	r.Head("silence.cohorts", cohortsForm)
	for range r.Len(mostCohorts) {
		k := readCohort(r)
		if n := len(c.sorted); n > 0 && c.sorted[n-1].name >= k.name {
			r.Spoil("cohort %q stands after %q", k.name, c.sorted[n-1].name)
		}
		if r.Err() != nil {
			return r.Err()
		}
		c.sorted = append(c.sorted, k)
		c.byName[k.name] = k
	}
	for range r.Len(mostCohorts) {
		j := readJoint(r)
		for i, name := range j.cohort {
			if c.byName[name] == nil || i > 0 && j.cohort[i-1] >= name {
				r.Spoil("cohort %q of region %q is not known, or out of order", name, j.region)
			}
		}
		if r.Err() != nil {
			return r.Err()
		}
		c.joints = append(c.joints, j)
	}
	for range r.Len(mostCohorts) {
		c.outages = append(c.outages, stall{region: r.Text(), from: r.I64(), opened: r.Bool()})
		if r.Err() != nil {
			return r.Err()
		}
	}
	return r.Err()
}

func (j *joint) write(w *state.Writer) {
	w.Text(j.region)
	w.Len(len(j.cohort))
	for _, name := range j.cohort {
		w.Text(name)
	}
	w.I64(j.since)
	w.I64(j.opened)
	w.I64(j.period)
	w.I64(j.quiet)
	w.U32(j.count)
}

func readJoint(r *state.Reader) *joint {
	j := &joint{region: r.Text()}
	for range r.Len(mostCohorts) {
		if j.cohort = append(j.cohort, r.Text()); r.Err() != nil {
			return j
		}
	}
	j.since, j.opened, j.period, j.quiet, j.count = r.I64(), r.I64(), r.I64(), r.I64(), r.U32()
	return j
}

func (c *cohort) write(w *state.Writer) {
	w.Text(c.name)
	w.I64(c.interval)
	c.now.write(w)
	w.Len(len(c.where))
	for _, h := range c.where {
		w.Text(h.region)
		w.U32(h.expected)
		w.U32(h.missing)
		w.U32(h.heard)
	}
	c.b.write(w)
	w.Bool(c.v.fires)
	w.Bool(c.v.weak)
	w.F64(c.v.tail)
	w.F64(c.v.cusum)
	w.I64(c.calm)
	w.U32(c.low)
	w.I64(c.fired)
	w.F64(c.usual)
	w.Int(int64(c.unseen))
	w.Bool(c.enrol)
	w.U8(uint8(c.in))
	w.I64(c.since)
	w.I64(c.opened)
	w.Int(int64(c.quiet))
	w.Text(c.cause)
	w.Text(c.why)
	w.U32(c.count)
	w.U32(c.peak)
	w.U32(c.back.returned)
	w.U32(c.back.left)
	w.U32(c.power)
	w.Len(len(c.came))
	for _, no := range c.came {
		w.U32(no)
	}
	w.U32(c.again)
	w.Len(len(c.gone))
	for i := range c.gone {
		c.gone[i].write(w)
	}
}

func readCohort(r *state.Reader) *cohort {
	c := &cohort{name: r.Text(), interval: r.I64(), now: readSums(r)}
	for range r.Len(mostCohorts) {
		c.where = append(c.where, here{r.Text(), r.U32(), r.U32(), r.U32()})
		if r.Err() != nil {
			return c
		}
	}
	c.b = readBaseline(r)
	c.v = verdict{r.Bool(), r.Bool(), r.F64(), r.F64()}
	c.calm, c.low, c.fired = r.I64(), r.U32(), r.I64()
	c.usual, c.unseen, c.enrol = r.F64(), int(r.Int()), r.Bool()
	c.in, c.since, c.opened, c.quiet = home(r.U8()), r.I64(), r.I64(), int(r.Int())
	c.cause, c.why, c.count, c.peak = r.Text(), r.Text(), r.U32(), r.U32()
	c.back, c.power = tally{r.U32(), r.U32()}, r.U32()
	for range r.Len(mostNamed) {
		if c.came = append(c.came, r.U32()); r.Err() != nil {
			return c
		}
	}
	c.again = r.U32()
	for range r.Len(mostNamed) {
		g := readLost(r)
		if n := len(c.gone); n > 0 && c.gone[n-1].No >= g.No {
			r.Spoil("device %d stands after %d", g.No, c.gone[n-1].No)
		}
		if r.Err() != nil {
			return c
		}
		c.gone = append(c.gone, g)
	}
	return c
}

func (s *sums) fields() []*uint32 {
	return []*uint32{&s.expected, &s.missing, &s.never, &s.talking, &s.asleep, &s.members, &s.power, &s.radio, &s.updated, &s.powerAll, &s.radioAll, &s.updatedAll}
}

func (s *sums) write(w *state.Writer) {
	w.I64(s.at)
	w.Bool(s.whole)
	w.Bool(s.decided)
	for _, f := range s.fields() {
		w.U32(*f)
	}
}

func readSums(r *state.Reader) sums {
	s := sums{at: r.I64(), whole: r.Bool(), decided: r.Bool()}
	for _, f := range s.fields() {
		*f = r.U32()
	}
	return s
}

func (b *baseline) fields() []*float64 {
	return []*float64{&b.p, &b.rho, &b.cov, &b.vari, &b.prev, &b.seen, &b.lasts, &b.s[0], &b.s[1], &b.s[2]}
}

func (b *baseline) write(w *state.Writer) {
	w.Int(int64(b.slots))
	w.Int(int64(b.k))
	for _, f := range b.fields() {
		w.F64(*f)
	}
	w.Len(len(b.late))
	for _, l := range b.late {
		w.U32(l.missing)
		w.U32(l.expected)
	}
}

func readBaseline(r *state.Reader) baseline {
	b := baseline{slots: int(r.Int()), k: int(r.Int())}
	for _, f := range b.fields() {
		*f = r.F64()
	}
	for range r.Len(behind) {
		b.late = append(b.late, pair{r.U32(), r.U32()})
	}
	return b
}

func (l *lost) write(w *state.Writer) {
	w.Text(l.ID)
	w.U32(l.No)
	w.I64(l.Since)
	w.U8(l.Marks)
	w.I64(l.at)
	w.I64(l.every)
	w.U32(l.phi)
	w.U32(l.runs)
	w.U32(l.more)
	w.U32(l.gaps)
	w.I64(l.waits)
	w.Int(int64(l.learn))
}

func readLost(r *state.Reader) lost {
	return lost{Member: event.Member{ID: r.Text(), No: r.U32(), Since: r.I64(), Marks: r.U8()}, at: r.I64(), every: max(1_000, r.I64()), phi: r.U32(), runs: r.U32(), more: r.U32(), gaps: r.U32(), waits: r.I64(), learn: int(r.Int())}
}
