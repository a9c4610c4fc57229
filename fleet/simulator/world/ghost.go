package world

import (
	"cmp"
	"math"
	"slices"

	"muster.dev/fleet/simulator/truth"
	"muster.dev/proto/batch"
)

// ghost sends under the device's identity and is not the device as it should be: a clone with counters of its own, or the
// device itself after its identity was revoked.
type ghost struct {
	dice
	next, until, every int64
	clone              bool
	boots              uint32
	seq                uint64
}

func (l *Life) haunted(g ghost) {
	if l.ghost != nil && l.ghost.clone == g.clone {
		return // one clone is enough
	}
	if l.ghost != nil && !g.clone {
		l.ghost.until = min(l.ghost.until, g.next) // who was cloned and is revoked knocks
	}
	g.dice = roll(l.w.seed, forClone, l.no, 0)
	g.next += g.between(0, g.every)
	l.ghost = &g
	if !g.clone {
		l.fate.fact(truth.Line{At: truth.Time(g.next), Until: truth.Time(l.w.until), Kind: truth.Knocking, Detail: map[string]any{"every_ms": g.every}})
	}
}

// haunt sends one message.
func (l *Life) haunt(at int64) {
	g := l.ghost
	l.at = max(l.at, at)
	g.next += g.every
	if g.next >= g.until {
		g.next = Never
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
			b.SetScaled(at, m.Name, int64(math.Round(min(1e15, max(-1e15, (m.Model.Base+float64(m.Model.Noise*g.norm()))*m.pow)))), m.scale)
		}
	}
	body, err := b.AppendTo(p.Body[:0])
	if err != nil {
		panic("world: " + err.Error())
	}
	p.Message = Message{Boot: boots, Seq: seq, Made: at, Values: b.Len(), Clone: g.clone, Revoked: !g.clone, Body: body}
	if p.at = at + g.between(50, 500); p.at < l.w.until {
		l.dispatch()
	}
}

// cutOff says that a radio gets nothing through.
func (l *Life) cutOff(lot *lot, fault int) {
	d := &l.w.devices[l.no]
	if end := min(d.Leaves, l.w.until); lot.at < end {
		l.fate.silent(lot.at, min(lot.until, end), truth.CauseRadio, fault)
	}
}

// sitePower adds the outages of the device's site, and puts all in order.
func (l *Life) sitePower() {
	f, d := &l.fate, &l.w.devices[l.no]
	if sites := l.w.power[d.Cohort]; sites != nil {
		for _, o := range sites[d.Site] {
			f.windows = append(f.windows, befalling{o.from, o.until, losesPower, -1})
		}
	}
	f.windows = slices.DeleteFunc(f.windows, func(b befalling) bool { return b.until <= d.Joins || b.until == math.MaxInt64 && b.from < d.Joins })
	slices.SortStableFunc(f.windows, func(a, b befalling) int { return cmp.Compare(a.from, b.from) })
}
