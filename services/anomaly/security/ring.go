package security

import (
	"muster.dev/services/anomaly/state"
)

const (
	step  = 10 * minute
	steps = 12 // two hours
	inAnH = 6
)

// ring is counts of the last two hours, ten minutes each, the newest first.
type ring struct {
	slot   int64 // that of the first
	counts [steps]uint64
}

// turn moves on to the slot of an instant.
func (r *ring) turn(at int64) {
	n := min(at/step-r.slot, steps)
	if n <= 0 {
		return
	}
	copy(r.counts[n:], r.counts[:steps-n])
	clear(r.counts[:n])
	r.slot = at / step
}

// add counts what happened at an instant: something late counts as if it were now.
func (r *ring) add(at int64, n uint64) {
	r.turn(at)
	r.counts[0] = sum(r.counts[0], n)
}

// lastHour is the sum of the last hour.
func (r *ring) lastHour() (n uint64) {
	for _, c := range r.counts[:inAnH] {
		n = sum(n, c)
	}
	return n
}

// busy is in how many slots there was something.
func (r *ring) busy() (n int) {
	for _, c := range r.counts {
		if c > 0 {
			n++
		}
	}
	return n
}

func (r *ring) write(w *state.Writer) {
	w.I64(r.slot)
	for _, c := range r.counts {
		w.Uint(c)
	}
}

func readRing(in *state.Reader) (r ring) {
	r.slot = in.I64()
	for i := range r.counts {
		r.counts[i] = in.Uint()
	}
	return r
}
