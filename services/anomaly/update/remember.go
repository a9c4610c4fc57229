package update

import (
	"io"
	"math"

	"muster.dev/proto/event"
	"muster.dev/services/anomaly/state"
)

// Snapshot writes the state. It is to be taken between two cuts.
func (r *Rollouts) Snapshot(to io.Writer) error {
	w := state.NewWriter(to)
	w.Head(roomRollouts, version)
	w.Uint(r.late)
	w.Uint(r.refused)
	w.Len(len(r.rollouts))
	for _, x := range r.rollouts {
		writeStarted(w, &x.started)
		w.U8(x.stage)
		w.I64(x.won)
		w.Bool(x.open)
		w.I64(x.since)
		w.Bool(x.over)
		w.Text(x.closing)
		w.U8(x.lost.stage)
		w.Text(x.lost.why)
		w.U32(x.lost.count)
		writeMembers(w, x.lost.devices)
		w.Len(len(x.waiting))
		for i := range x.waiting {
			writeWaiting(w, &x.waiting[i])
		}
		x.on.write(w)
	}
	return w.Flush()
}

// writeWaiting writes a last word that was not told yet. Its design is the rollout's.
func writeWaiting(w *state.Writer, v *event.Verdict) {
	w.U8(v.Stage)
	w.Text(v.Verdict)
	for _, n := range [...]int64{v.Effect, v.Low, v.High, v.EFail, v.EPass, v.EAbsolute, v.EInstall, v.ExposureMS, v.Smallest, v.EDrawn, v.EHealth} {
		w.I64(n)
	}
	for _, n := range [...]uint32{v.Treated, v.Control, v.FailedTreated, v.FailedControl, v.DrawnTreated, v.DrawnControl, v.DrawnFailedTreated, v.DrawnFailedControl, v.ComparedTreated, v.ComparedControl} {
		w.U32(n)
	}
	w.Len(len(v.Kinds))
	for _, k := range v.Kinds {
		w.Text(k.Kind)
		w.U32(k.Treated)
		w.U32(k.Control)
	}
	writeMembers(w, v.Devices)
	w.Text(v.Why)
}

func readWaiting(r *state.Reader, s *event.RolloutStarted) event.Verdict {
	v := event.Verdict{Rollout: s.Rollout, Stage: r.U8(), Verdict: r.Text(), Final: true, Design: s.Design}
	for _, n := range [...]*int64{&v.Effect, &v.Low, &v.High, &v.EFail, &v.EPass, &v.EAbsolute, &v.EInstall, &v.ExposureMS, &v.Smallest, &v.EDrawn, &v.EHealth} {
		*n = r.I64()
	}
	for _, n := range [...]*uint32{&v.Treated, &v.Control, &v.FailedTreated, &v.FailedControl, &v.DrawnTreated, &v.DrawnControl, &v.DrawnFailedTreated, &v.DrawnFailedControl, &v.ComparedTreated, &v.ComparedControl} {
		*n = r.U32()
	}
	for range r.Len(len(kinds)) {
		v.Kinds = append(v.Kinds, event.KindCount{Kind: r.Text(), Treated: r.U32(), Control: r.U32()})
	}
	v.Devices = readMembers(r)
	v.Why = r.Text()
	return v
}

func writeMembers(w *state.Writer, list []event.Member) {
	w.Len(len(list))
	for _, m := range list {
		w.Text(m.ID)
		w.U32(m.No)
		w.I64(m.Since)
		w.U8(m.Marks)
	}
}

func readMembers(r *state.Reader) (list []event.Member) {
	for range r.Len(event.MaxMembers) {
		if r.Err() != nil {
			return nil
		}
		list = append(list, event.Member{ID: r.Text(), No: r.U32(), Since: r.I64(), Marks: r.U8()})
	}
	return list
}

// counts are the numbers of a stage in the order in which they are written.
func (s *stage) counts() []*uint32 {
	return []*uint32{&s.compared[0], &s.compared[1], &s.ok, &s.bad, &s.paper, &s.late, &s.offered, &s.entered, &s.failT, &s.failC, &s.told, &s.fell[0], &s.fell[1],
		&s.drawnFail[0], &s.drawnFail[1], &s.drawnFell[0], &s.drawnFell[1]}
}

func (s *stage) times() []*int64 {
	return []*int64{&s.begun, &s.at, &s.soaked, &s.first, &s.timeT, &s.timeC, &s.heldAt, &s.found.over, &s.found.under, &s.drawn.over, &s.drawn.under}
}

// orderLogs are the numbers of all orders in the order in which they are written.
func (s *stage) orderLogs() (out []*int64) {
	for k := range s.orders {
		for side := range s.orders[k] {
			for depth := range s.orders[k][side] {
				for i := range s.orders[k][side][depth] {
					out = append(out, &s.orders[k][side][depth][i])
				}
			}
		}
	}
	return out
}

func (s *stage) write(w *state.Writer) {
	for _, n := range s.counts() {
		w.Uint(uint64(*n))
	}
	for _, n := range s.times() {
		w.I64(*n)
	}
	w.Bool(s.unsure)
	w.Bool(s.final)
	for _, e := range [...]*evidence{&s.found, &s.drawn} {
		for _, n := range e.log {
			w.I64(n)
		}
	}
	for _, k := range s.kinds {
		w.U32(k[0])
		w.U32(k[1])
	}
	w.Len(len(s.orders))
	for _, n := range s.orderLogs() {
		w.I64(*n)
	}
	w.Len(len(s.strata))
	for _, t := range s.strata {
		w.Text(t.name)
		w.U32(t.riskT)
		w.U32(t.riskC)
		w.U32(t.drawnT)
		w.U32(t.drawnC)
		w.I64(t.rests[0])
		w.I64(t.rests[1])
	}
	writeMembers(w, s.devices)
}

// Restore reads a state that Snapshot wrote. After an error the state is to be thrown away.
func (r *Rollouts) Restore(from io.Reader) error {
	in := state.NewReader(from)
	in.Head(roomRollouts, version)
	*r = *NewRollouts(r.set)
	r.late, r.refused = in.Uint(), in.Uint()
	for range in.Len(maxRollouts) {
		x := &rollout{started: readStarted(in)}
		x.stage, x.won, x.open, x.since, x.over, x.closing = in.U8(), in.I64(), in.Bool(), in.I64(), in.Bool(), in.Text()
		x.lost = lost{stage: in.U8(), why: in.Text(), count: in.U32(), devices: readMembers(in)}
		for range in.Len(event.MaxStages) {
			x.waiting = append(x.waiting, readWaiting(in, &x.started))
			if in.Err() != nil {
				return in.Err()
			}
		}
		if x.stage > 0 {
			x.on = newStage(0, &x.started)
		}
		x.on.read(in)
		if n := len(r.rollouts); in.Err() == nil && (int(x.stage) > len(x.started.Stages) || n > 0 && r.rollouts[n-1].started.Rollout >= x.started.Rollout) {
			in.Spoil("rollout %.80q cannot be", x.started.Rollout)
		}
		if in.Err() != nil {
			return in.Err()
		}
		r.rollouts = append(r.rollouts, x)
	}
	return in.Err()
}

func (s *stage) read(r *state.Reader) {
	for _, n := range s.counts() {
		*n = uint32(r.Uint())
	}
	for _, n := range s.times() {
		*n = r.I64()
	}
	s.unsure, s.final = r.Bool(), r.Bool()
	for _, e := range [...]*evidence{&s.found, &s.drawn} {
		for i := range e.log {
			e.log[i] = r.I64()
		}
	}
	for i := range s.kinds {
		s.kinds[i] = [2]uint32{r.U32(), r.U32()}
	}
	if n := r.Len(event.MaxHealth); r.Err() == nil && n != len(s.orders) {
		r.Spoil("%d metrics are compared", n)
	}
	for _, n := range s.orderLogs() {
		*n = r.I64()
	}
	for range r.Len(math.MaxInt32) {
		t := stratum{name: r.Text(), riskT: r.U32(), riskC: r.U32(), drawnT: r.U32(), drawnC: r.U32(), rests: [2]int64{r.I64(), r.I64()}}
		if n := len(s.strata); r.Err() == nil && n > 0 && s.strata[n-1].name >= t.name {
			r.Spoil("stratum %q stands out of order", t.name)
		}
		if r.Err() != nil {
			return
		}
		s.strata = append(s.strata, t)
	}
	s.devices = readMembers(r)
}
