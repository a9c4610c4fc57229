package world

import (
	"math"

	"muster.dev/fleet/simulator/chance"
	"muster.dev/fleet/simulator/truth"
	"muster.dev/proto/batch"
)

// ghost sends under the device's identity and is not the device as it should be: a clone with counters of its own, or the
// device itself after its identity was revoked.
type ghost struct {
	chance.Dice
	next, until, every int64
	clone              bool
	boots              uint32
	seq                uint64
	then               *ghost // when this one is over
}

func (l *Life) haunted(g ghost) {
	if l.ghost != nil && l.ghost.clone == g.clone {
		return // one clone is enough
	}
	if l.ghost != nil && !g.clone {
		l.ghost.until = min(l.ghost.until, g.next) // who was cloned and is revoked knocks
	}
	g.Dice = chance.Roll(l.w.Seed(), chance.ForClone, l.no, 0)
	g.next += g.Between(0, g.every)
	if was := l.ghost; was != nil && !g.clone && was.next < was.until {
		was.then = &g
	} else {
		l.ghost = &g
	}
	if !g.clone {
		l.fate.Tell(truth.Line{At: truth.Time(g.next), Until: truth.Time(l.w.Until()), Kind: truth.Knocking, Detail: map[string]any{"every_ms": g.every}})
	}
}

// haunt sends one message.
func (l *Life) haunt(at int64) {
	g := l.ghost
	l.at = max(l.at, at)
	g.next += g.every
	if g.next >= g.until {
		g.next = chance.Never
		if g.then != nil {
			l.ghost = g.then
		}
	}
	if _, cut := within(l.c.cuts, at); cut {
		return
	}
	boots, seq := g.boots, g.seq
	if !g.clone {
		boots, seq = l.boots, l.seq
		l.seq++
	}
	g.seq++
	p := l.slot()
	b := l.w.builders.Get().(*batch.Builder)
	defer l.w.builders.Put(b)
	b.Reset()
	b.SetKey(boots, seq)
	b.SetFirmware(l.c.Firmware)
	for i := range l.c.metrics {
		switch m := &l.c.metrics[i]; m.kind {
		case counter:
			b.SetInt(at, m.Name, int64(g.seq))
		case toggle:
			b.SetBool(at, m.Name, false)
		case state:
			if len(m.Of) > 0 {
				b.SetText(at, m.Name, m.Of[0])
			}
		case float:
			b.SetFloat(at, m.Name, m.Model.Base)
		case gauge:
			b.SetScaled(at, m.Name, int64(math.Round(min(1e15, max(-1e15, (m.Model.Base+float64(m.Model.Noise*g.Norm()))*m.pow)))), m.scale)
		}
	}
	body, err := b.AppendTo(p.Body[:0])
	if err != nil {
		panic("world: " + err.Error())
	}
	p.Message = Message{Boot: boots, Seq: seq, Made: at, Values: b.Len(), Clone: g.clone, Revoked: !g.clone, Body: body}
	if p.at = at + g.Between(50, 500); p.at < l.w.Until() {
		l.dispatch()
	}
}
