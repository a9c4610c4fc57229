package world

import "muster.dev/fleet/simulator/chance"

// radio is what lies between a device and the gateway: what gets through, and when.
type radio struct {
	chance.Dice
	bad   bool  // nothing gets through until flip
	flip  int64 // 0: not begun
	free  int64 // devices with a store send in order: not before
	ended int64 // the outage that the device came back from last
	back  int64 // when it did
	last  int64 // arrival of the latest message that came straight
}

// backlogged is how long a message lies in a store until it counts as one that did. A sending that was tried again does not.
const backlogged = 30_000

// lost is the arrival of what never does.
const lost = int64(-1)

// send gives the arrival of a message that was made at an instant. late says that it lay in the device's
// store.
func (l *Life) send(made int64) (arrival int64, late bool) {
	r, c := &l.radio, l.c
	store := c.keeps > 0
	at := max(made, r.free)
	waited := at > made
	for at < l.w.Until() {
		again := at
		if store {
			if again = l.alive(at); again == chance.Never {
				return lost, false
			}
			again = c.wakes(again)
		}
		if again == at {
			if again = l.attempt(at); again != at && !store {
				return lost, false
			}
		}
		if again == at {
			break
		}
		at, waited = again, true
	}
	if store {
		if at-made > c.keeps {
			return lost, false // newer ones took its place
		}
		if r.free = at; waited {
			r.free += r.Between(20, 50) // what lay about is sent bit by bit
		}
	}
	return l.travel(at, store), waited && at-made >= backlogged
}

// attempt gives the instant itself if a sending gets through, or when to try again.
func (l *Life) attempt(at int64) int64 {
	r, c := &l.radio, l.c
	if until, cut := within(c.cuts, at); cut {
		return l.comeback(until)
	}
	for i := range l.effects {
		e := &l.effects[i]
		if e.what != radioLoss || at < e.from || at >= e.until {
			continue
		}
		if p := float64(l.w.Scenario().Faults[e.fault].RadioLoss.Loss); p >= 1 {
			return l.comeback(e.until)
		} else if r.Chance(p) {
			return at + r.Between(20_000, 60_000)
		}
	}
	p := float64(c.Radio.Loss)
	switch {
	case p == 0:
	case c.Radio.Burst <= 1:
		if r.Chance(p) {
			return at + r.Between(2_000, 10_000)
		}
	case l.burst(at, p):
		return r.flip + r.Between(1, 2_000)
	}
	return at
}

// burst moves the two-state chain to an instant and says whether it stands on loss. Gilbert, Bell System Technical
// Journal 39, 1960.
func (l *Life) burst(at int64, p float64) bool {
	r, c := &l.radio, l.c
	if r.flip == 0 {
		r.bad = r.Chance(p)
		r.flip = at - int64(r.Unit()*float64(c.interval)) // somewhere in a run
		r.flip += l.run(p) * c.interval
	}
	for r.flip <= at {
		r.bad = !r.bad
		r.flip += l.run(p) * c.interval
	}
	return r.bad
}

func (l *Life) run(p float64) int64 {
	mean := l.c.Radio.Burst
	if !l.radio.bad {
		mean *= (1 - p) / p
	}
	return l.radio.Runs(mean)
}

// comeback is when the device is connected again after an outage. It draws once an outage.
func (l *Life) comeback(until int64) int64 {
	r := &l.radio
	if r.ended != until {
		r.ended, r.back = until, until+r.Between(0, l.c.reconnect)
	}
	return max(until, r.back)
}

// travel is the way from a sending that gets through to its arrival.
func (l *Life) travel(at int64, store bool) int64 {
	r, c := &l.radio, l.c
	at = max(at+int64(c.latency*(0.4+float64(0.6*r.Exp()))), r.last+1) // one connection keeps the order
	r.last = at
	if r.Chance(float64(c.Radio.Late.Share)) {
		at = r.After(at, float64(c.Radio.Late.By.Milliseconds()))
	}
	if r.Chance(float64(c.Radio.Reordered)) {
		at += c.interval + int64(r.Unit()*float64(c.interval)/2)
	}
	for until, cut := within(c.cuts, at); cut; until, cut = within(c.cuts, at) {
		if !store {
			return lost
		}
		at = l.comeback(until) + r.Between(0, 1_000)
	}
	return at
}

// copyOf is when a second copy arrives; Never is none.
func (l *Life) copyOf(arrival int64) int64 {
	r := &l.radio
	if !r.Chance(float64(l.c.Radio.Duplicates)) {
		return chance.Never
	}
	at := arrival + r.Between(1_000, 30_000)
	if _, cut := within(l.c.cuts, at); cut {
		return chance.Never
	}
	return at
}

// alive gives the first instant from at on at which the device can send; chance.Never is none.
func (l *Life) alive(at int64) int64 {
	f := &l.fate
	for f.Horizon() <= at {
		f.Step()
	}
	if at >= f.End() {
		return chance.Never
	}
	up, i := l.up, 0
	for ; i < len(f.Known()) && f.Known()[i].At <= at; i++ {
		up = f.Known()[i].Up(up)
	}
	if up {
		return at
	}
	for {
		for ; i < len(f.Known()); i++ {
			if f.Known()[i].Up(false) {
				return f.Known()[i].At + 1
			}
		}
		if f.Horizon() == chance.Never {
			return chance.Never
		}
		f.Step()
	}
}
