package world

import (
	"math"

	"muster.dev/fleet/scenario"
	"muster.dev/fleet/simulator/chance"
	"muster.dev/proto/batch"
)

// signal is where one metric of one device stands.
type signal struct {
	base  float64 // of this device
	walk  float64
	last  float64 // value, or what a counter has reached
	until int64   // of a state
	index int32
}

// moment of measuring: what is the same for all metrics of it.
type instant struct {
	at      int64 // true time
	says    int64 // the device's clock
	wave    float64
	weekend float64
	count   int64 // intervals since the boot
	active  bool  // some effect may be in force
}

func (l *Life) beginSignals() {
	l.signals = make([]signal, len(l.c.metrics))
	for i := range l.signals {
		m, s := &l.c.metrics[i], &l.signals[i]
		s.base = m.Model.Base
		if m.Model.Spread > 0 {
			s.base += float64(m.Model.Spread * l.draw.Norm())
		}
		if m.Model.Walk > 0 {
			s.walk = float64(m.Model.Walk * l.draw.Norm())
		}
		s.last = s.base
		switch m.kind {
		case counter:
			s.last = math.Floor(max(0, s.base) * float64(l.w.Begins()-l.booted) / 60_000)
		case state:
			s.index = int32(l.draw.Below(max(1, len(m.Of))))
		}
	}
}

// rebooted begins again what a boot begins again.
func (l *Life) rebooted() {
	for i := range l.signals {
		if l.c.metrics[i].kind == counter {
			l.signals[i].last = 0
		}
	}
}

func (l *Life) instant(at int64) instant {
	// Highest at three in the afternoon. The 1st of January 1970 was a Thursday.
	out := instant{at: at, says: l.clock(at), wave: math.Sin(2 * math.Pi * float64(at%chance.DayMS-9*chance.DayMS/24) / chance.DayMS), count: l.count, active: l.effect(at)}
	if day := (at/chance.DayMS + 4) % 7; day == 0 || day == 6 {
		out.weekend = 1
	}
	return out
}

// measure adds one value of a metric.
func (l *Life) measure(b *batch.Builder, i int, t *instant) {
	m, s := &l.c.metrics[i], &l.signals[i]
	switch m.kind {
	case counter:
		step := float64(s.base*float64(l.interval)*float64(m.each)/60_000) / float64(m.steps)
		s.last += max(0, step+float64(m.Model.Noise*l.draw.Norm()))
		b.SetInt(t.says, m.Name, int64(min(s.last, batch.MaxSeq)))
		return
	case toggle, state:
		if t.at >= s.until {
			if s.until != 0 {
				l.turn(m, s)
			}
			s.until = l.draw.After(t.at, m.stays)
		}
		if m.kind == toggle {
			b.SetBool(t.says, m.Name, s.index != 0)
		} else if int(s.index) < len(m.Of) {
			b.SetText(t.says, m.Name, m.Of[s.index])
		}
		return
	}
	v, there := l.value(i, t)
	if !there {
		return
	}
	v = min(m.max, max(m.min, v))
	s.last = v
	if m.kind == float {
		b.SetFloat(t.says, m.Name, v)
		return
	}
	b.SetScaled(t.says, m.Name, int64(math.Round(min(1e15, max(-1e15, v*m.pow)))), m.scale)
}

// turn goes to another state.
func (l *Life) turn(m *metric, s *signal) {
	n := 2
	if m.kind == state {
		n = len(m.Of)
	}
	if n > 1 {
		s.index = (s.index + 1 + int32(l.draw.Below(n-1))) % int32(n)
	}
}

// value is the sum of a model's parts, of what the firmware does to it and of what befalls it.
func (l *Life) value(i int, t *instant) (v float64, there bool) {
	m, s := &l.c.metrics[i], &l.signals[i]
	noise := 0.0
	if m.Model.Noise > 0 {
		noise = m.Model.Noise * l.draw.Norm()
	}
	v = s.base + float64(m.Model.Daily*t.wave) + float64(m.Model.Weekly*t.weekend) + float64(m.drift*float64(t.at-l.w.Begins()))
	if m.grow > 0 {
		s.walk = float64(m.keep*s.walk) + float64(m.grow*l.draw.Norm())
		v += s.walk
	}
	if m.shared != nil {
		k, rest := (t.at-l.w.Begins())/l.w.grid(), (t.at-l.w.Begins())%l.w.grid()
		part := float64(rest) / float64(l.w.grid())
		v += float64(m.shared[k]*(1-part)) + float64(m.shared[k+1]*part)
	}
	switch m.follows {
	case followsRadio:
		v -= l.fading(t.at)
	case followsBattery:
		v += float64(100 * max(0, l.level-float64(float64(t.at-l.levelAt)*l.perMS)))
	case followsUptime:
		v += float64(t.at-l.booted) / 1000
	}
	if fw := l.w.Version(l.version).Is; fw != nil {
		v += l.altered(fw, m, t)
	}
	if t.active {
		for k := range l.effects {
			e := &l.effects[k]
			if e.what != anomalous || e.metric != i || t.at < e.from || t.at >= e.until {
				continue
			}
			a := l.w.Scenario().Faults[e.fault].Anomaly
			switch a.Kind {
			case "flat-line":
				return s.last, true
			case "jump":
				v += a.By
			case "drift":
				v += a.By * float64(t.at-e.from) / float64(e.until-e.from)
			case "noise":
				noise *= a.By
			case "missing":
				return 0, false
			case "slow":
				if t.count%int64(a.By) != 0 {
					return 0, false
				}
			}
		}
	}
	return v + noise, true
}

// altered is what the firmware does to a metric.
func (l *Life) altered(fw *scenario.Firmware, m *metric, t *instant) (by float64) {
	if l.traits.Leaks && fw.Leaks.Metric == m.Name {
		by += float64(fw.Leaks.Per) * float64(t.at-max(l.booted, l.since)) / chance.DayMS
	}
	for i := range fw.Shifts {
		if l.traits.Shifts&(1<<i) != 0 && fw.Shifts[i].Metric == m.Name {
			by += fw.Shifts[i].By
		}
	}
	return by
}
