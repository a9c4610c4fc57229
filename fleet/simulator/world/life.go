package world

import (
	"math/rand/v2"

	"muster.dev/proto/batch"
)

// Life is one device's life, an iterator. It is for one goroutine at a time; different lives are independent.
type Life struct {
	w    *World
	no   int
	rng  *rand.Rand
	next int64
	boot uint32
	seq  uint64
}

// Life begins the life of a device.
func (w *World) Life(i int) *Life {
	l := &Life{w: w, no: i, rng: rand.New(rand.NewPCG(w.seed, uint64(i))), boot: 1}
	l.next = w.begins + l.rng.Int64N(w.s.Cohorts[w.devices[i].Cohort].Interval.Milliseconds())
	return l
}

// Next gives what happens next, in order of At. It returns false when the life is over.
func (l *Life) Next(h *Happening) bool { return l.Before(Never, h) }

// Before gives what happens next if it does before an instant. It returns false if nothing does.
func (l *Life) Before(limit int64, h *Happening) bool {
	c := &l.w.s.Cohorts[l.w.devices[l.no].Cohort]
	if l.next >= limit || l.next >= l.w.until {
		return false
	}
	b := batch.NewBuilder()
	b.SetKey(l.boot, l.seq)
	b.SetFirmware(c.Firmware)
	for m := range c.Metrics {
		b.SetScaled(l.next, c.Metrics[m].Name, int64(10*(c.Metrics[m].Model.Base+c.Metrics[m].Model.Noise*l.rng.NormFloat64())), 1)
	}
	body, err := b.AppendTo(h.Message.Body[:0])
	if err != nil {
		return false
	}
	*h = Happening{At: l.next, Device: l.no, Message: Message{Boot: l.boot, Seq: l.seq, Made: l.next, Values: len(c.Metrics), Body: body}}
	l.seq++
	l.next += c.Interval.Milliseconds()
	return true
}
