package update

import (
	"io"
	"math"

	"muster.dev/proto/event"
	"muster.dev/proto/record"
	"muster.dev/services/anomaly/page"
	"muster.dev/services/anomaly/state"
)

const (
	roomArms     = "update.arms"
	roomRollouts = "update.rollouts"
	version      = 2

	maxRollouts = 1 << 16
	maxDesign   = 1 << 16
)

// writeStarted writes a rollout's first event as a link of the log would have it, so that it is read by the same door.
func writeStarted(w *state.Writer, s *event.RolloutStarted) {
	p, _, err := event.Registry{N: 1, Body: *s}.Encode()
	if err != nil { // the log has said it
		panic("update: " + err.Error())
	}
	w.Bytes(p)
}

func readStarted(r *state.Reader) event.RolloutStarted {
	p := r.Bytes(maxDesign)
	if r.Err() != nil {
		return event.RolloutStarted{}
	}
	e, err := event.DecodeRegistry([]event.Header{{Key: record.HeaderType, Value: []byte(event.TypeRolloutStarted)}}, p)
	if err != nil {
		r.Spoil("a rollout: %w", err)
		return event.RolloutStarted{}
	}
	return e.Body.(event.RolloutStarted) // the type said so
}

// Snapshot writes the state.
func (a *Arms) Snapshot(to io.Writer) error {
	w := state.NewWriter(to)
	w.Head(roomArms, version)
	w.Uint(a.late)
	w.Uint(a.early)
	w.Uint(a.refused)
	w.Len(len(a.outages))
	for _, o := range a.outages {
		w.Bool(o.All)
		w.Text(o.Region)
		w.I64(o.From)
	}
	w.Len(len(a.rollouts))
	for _, x := range a.rollouts {
		x.write(w)
	}
	return w.Flush()
}

func (x *watch) write(w *state.Writer) {
	writeStarted(w, &x.started)
	w.I64(x.zero)
	w.U8(x.stage)
	w.I64(x.begun)
	w.I64(x.closed)
	w.Bool(x.stirred)
	w.Len(len(x.strata))
	for i, name := range x.strata {
		w.Text(name)
		w.I64(x.exposed[i])
		t := &x.told[i]
		for _, n := range [...]uint32{t.riskT, t.riskC, t.drawnT, t.drawnC, t.ok, t.bad, t.paper, t.postponed, t.assigned, t.entered} {
			w.Uint(uint64(n))
		}
		w.I64(t.exposure)
		w.I64(t.soaked)
	}
	w.Len(len(x.units))
	for i := range x.units {
		u := &x.units[i]
		w.U32(uint32(u.device))
		w.U32(u.heard)
		w.U32(u.entered)
		w.U16(u.boots[0])
		w.U16(u.boots[1])
		w.U16(u.stratum)
		w.U16(uint16(u.flags))
		w.U8(u.stage)
		w.U8(u.errs)
		w.U8(u.usual)
		w.U8(u.age)
	}
	w.Len(len(x.failed))
	for _, f := range x.failed {
		w.U32(uint32(f.device))
		w.I64(f.since)
		w.U8(uint8(f.kind))
		w.Bool(f.counted)
		w.Bool(f.drawn)
	}
	for _, n := range x.dealt {
		w.Uint(uint64(n))
	}
	x.health.write(w, x.units)
}

func (h *health) write(w *state.Writer, units []unit) {
	w.I64(h.until)
	w.Len(len(h.members))
	for i := range units { // in order of the census, not of the map
		m := h.members[units[i].device]
		if m == nil {
			continue
		}
		w.U32(uint32(units[i].device))
		for k, sum := range m.sum {
			w.F64(sum)
			w.U32(m.n[k])
		}
	}
}

// Restore reads a state that Snapshot wrote, over a census that is as it was then. After an error the state is to be
// thrown away.
func (a *Arms) Restore(from io.Reader) error {
	r := state.NewReader(from)
	r.Head(roomArms, version)
	last := a.last
	*a = *NewArms(a.census, a.set)
	a.last = last
	a.late, a.early, a.refused = r.Uint(), r.Uint(), r.Uint()
	for range r.Len(maxRollouts) {
		a.outages = append(a.outages, page.Outage{All: r.Bool(), Region: r.Text(), From: r.I64()})
		if r.Err() != nil {
			return r.Err()
		}
	}
	a.in = make([]uint8, a.census.Len())
	for range r.Len(maxRollouts) {
		x := &watch{place: map[string]uint16{}}
		a.read(r, x)
		if r.Err() != nil {
			return r.Err()
		}
		if n := len(a.rollouts); n > 0 && a.rollouts[n-1].started.Rollout >= x.started.Rollout {
			r.Spoil("rollout %.80q stands out of order", x.started.Rollout)
			return r.Err()
		}
		a.rollouts = append(a.rollouts, x)
	}
	return r.Err()
}

func (a *Arms) read(r *state.Reader, x *watch) {
	x.started, x.zero, x.stage, x.begun, x.closed, x.stirred = readStarted(r), r.I64(), r.U8(), r.I64(), r.I64(), r.Bool()
	if r.Err() == nil && int(x.stage) > len(x.started.Stages) {
		r.Spoil("stage %d is none", x.stage)
	}
	for range r.Len(maxStrata + buckets) {
		name, exposed := r.Text(), r.I64()
		if _, twice := x.place[name]; twice {
			r.Spoil("stratum %q is there twice", name)
		}
		x.place[name] = uint16(len(x.strata))
		x.strata, x.exposed, x.told = append(x.strata, name), append(x.exposed, exposed), append(x.told, readSums(r))
		if r.Err() != nil {
			return
		}
	}
	for range r.Len(math.MaxInt32) {
		u := unit{device: int32(r.U32()), heard: r.U32(), entered: r.U32(), boots: [2]uint16{r.U16(), r.U16()}, stratum: r.U16(), flags: flags(r.U16()),
			stage: r.U8(), errs: r.U8(), usual: r.U8(), age: r.U8()}
		n := len(x.units)
		if r.Err() == nil && (u.device < 0 || int(u.device) >= len(a.in) || int(u.stratum) >= len(x.strata) || n > 0 && x.units[n-1].device >= u.device || a.in[u.device] == 255) {
			r.Spoil("a device of rollout %.80q is none", x.started.Rollout)
		}
		if r.Err() != nil {
			return
		}
		a.in[u.device]++
		x.units = append(x.units, u)
	}
	for range r.Len(math.MaxInt32) {
		f := failure{device: int32(r.U32()), since: r.I64(), kind: kind(r.U8()), counted: r.Bool(), drawn: r.Bool()}
		if int(f.kind) >= len(kinds) {
			r.Spoil("a failure of kind %d", f.kind)
		}
		if r.Err() != nil {
			return
		}
		x.failed = append(x.failed, f)
	}
	for i := range x.dealt {
		x.dealt[i] = uint32(r.Uint())
	}
	x.health.read(r, x)
}

func readSums(r *state.Reader) (t sums) {
	for _, n := range [...]*uint32{&t.riskT, &t.riskC, &t.drawnT, &t.drawnC, &t.ok, &t.bad, &t.paper, &t.postponed, &t.assigned, &t.entered} {
		*n = uint32(r.Uint())
	}
	t.exposure, t.soaked = r.I64(), r.I64()
	return t
}

func (h *health) read(r *state.Reader, x *watch) {
	h.until = r.I64()
	for range r.Len(mostWatched) {
		if h.members == nil {
			h.members = map[int32]*member{}
		}
		d := int32(r.U32())
		m := &member{}
		for range spans * len(x.started.Health) {
			m.sum, m.n = append(m.sum, r.F64()), append(m.n, r.U32())
		}
		_, ok := x.find(d, len(x.units))
		if _, twice := h.members[d]; !ok || twice || len(m.sum) == 0 {
			r.Spoil("a device whose health is watched is none")
		}
		if r.Err() != nil {
			return
		}
		h.members[d] = m
	}
}
