package security

import (
	"io"

	"muster.dev/services/anomaly/state"
)

const judgeForm = 1

// Snapshot writes the state.
func (j *Judge) Snapshot(to io.Writer) error {
	w := state.NewWriter(to)
	w.Head("security.judge", judgeForm)
	w.I64(j.slot)
	w.Uint(j.over)
	w.Len(len(j.suspects))
	for i := range j.suspects {
		x := &j.suspects[i]
		w.Text(x.id)
		w.Text(x.cohort)
		w.U32(x.no)
		x.write(w)
		x.strong.write(w)
		x.turns.write(w)
		w.I64(x.first)
		w.I64(x.last)
		w.Bool(x.shared)
	}
	w.Len(len(j.places))
	for i := range j.places {
		x := &j.places[i]
		w.Text(x.name)
		x.write(w)
		x.knocks.write(w)
		w.I64(x.minute)
		w.U64(x.minutes)
		w.I64(x.first)
		w.I64(x.last)
	}
	w.Len(len(j.cohorts))
	for i := range j.cohorts {
		x := &j.cohorts[i]
		w.Text(x.name)
		x.write(w)
		x.many.write(w)
		w.I64(x.first)
		x.hours.write(w)
		w.I64(x.began)
		w.I64(x.day)
		for _, n := range x.most {
			w.Uint(n)
		}
	}
	return w.Flush()
}

func (c *cause) write(w *state.Writer) {
	w.Bool(c.open)
	w.Bool(c.quiet)
	w.I64(c.since)
}

func readCause(r *state.Reader) cause { return cause{r.Bool(), r.Bool(), r.I64()} }

// Restore reads a state that Snapshot wrote. After an error the state is to be thrown away.
func (j *Judge) Restore(from io.Reader) error {
	r := state.NewReader(from)
	r.Head("security.judge", judgeForm)
	*j = *NewJudge(j.set)
	j.slot, j.over = r.I64(), r.Uint()
	last := ""
	inOrder := func(i int, name string) bool {
		if r.Err() == nil && i > 0 && name <= last {
			r.Spoil("%.80q stands out of order", name)
		}
		last = name
		return r.Err() == nil
	}
	for i := range r.Len(maxSuspects) {
		x := suspect{id: r.Text(), cohort: r.Text(), no: r.U32(), cause: readCause(r), strong: readRing(r), turns: readRing(r), first: r.I64(), last: r.I64(), shared: r.Bool()}
		if !inOrder(i, x.id) {
			return r.Err()
		}
		j.suspects = append(j.suspects, x)
	}
	for i := range r.Len(maxPlaces) {
		x := place{name: r.Text(), cause: readCause(r), knocks: readRing(r), minute: r.I64(), minutes: r.U64(), first: r.I64(), last: r.I64()}
		if !inOrder(i, x.name) {
			return r.Err()
		}
		j.places = append(j.places, x)
	}
	for i := range r.Len(maxCohorts) {
		x := cohort{name: r.Text(), cause: readCause(r), many: readCause(r), first: r.I64(), hours: readRing(r), began: r.I64(), day: r.I64()}
		for k := range x.most {
			x.most[k] = r.Uint()
		}
		if !inOrder(i, x.name) {
			return r.Err()
		}
		j.cohorts = append(j.cohorts, x)
	}
	return r.Err()
}
