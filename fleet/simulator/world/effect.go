package world

// effect is something in force for a time on this device.
type effect struct {
	from, until int64
	what        effectKind
	fault       int
	metric      int
}

type effectKind uint8

const (
	radioLoss effectKind = iota
	clockStep
	costSpike
	anomalous
	otherInterval
)

// befallen collects what is known in advance of what the device makes and of what gets through. Power and the like are its fate's.
func (l *Life) befallen() {
	faults := l.w.Scenario().Faults
	for i := range faults {
		lot := l.w.Lot(i)
		if !lot.Has(l.no) {
			continue
		}
		takes := func(what effectKind, metric int) {
			l.effects = append(l.effects, effect{lot.At, lot.Until, what, i, metric})
		}
		switch s := &faults[i]; {
		case s.RadioLoss != nil:
			takes(radioLoss, -1)
			if s.RadioLoss.Loss >= 1 {
				l.fate.CutOff(lot.At, lot.Until, i)
			}
		case s.ClockStep != nil:
			takes(clockStep, -1)
		case s.Interval != nil:
			takes(otherInterval, -1)
		case s.CostSpike != nil:
			takes(costSpike, l.c.MetricNamed(s.CostSpike.Metric))
		case s.Anomaly != nil:
			takes(anomalous, l.c.MetricNamed(s.Anomaly.Metric))
		case s.Clone != nil:
			l.haunted(ghost{next: lot.At, until: lot.Until, every: l.c.interval, clone: true, boots: 1})
		case s.Revoke != nil && s.Revoke.Knocks > 0:
			l.haunted(ghost{next: lot.At, until: l.w.Until(), every: s.Revoke.Knocks.Milliseconds()})
		}
	}
}

// pace gives the interval at an instant.
func (l *Life) pace(at int64) int64 {
	for i := len(l.effects) - 1; i >= 0; i-- { // the latest that began
		if e := &l.effects[i]; e.what == otherInterval && e.from <= at && at < e.until {
			return l.w.Scenario().Faults[e.fault].Interval.To.Milliseconds()
		}
	}
	return l.c.interval
}

// effect says whether any may be in force.
func (l *Life) effect(at int64) bool {
	for i := range l.effects {
		if l.effects[i].from <= at && at < l.effects[i].until {
			return true
		}
	}
	return false
}

// fading is what the radio has lost, in dB.
func (l *Life) fading(at int64) (by float64) {
	for i := range l.effects {
		e := &l.effects[i]
		if e.what != radioLoss || at >= e.until {
			continue
		}
		r := l.w.Scenario().Faults[e.fault].RadioLoss
		fades := r.Fades.Milliseconds()
		switch {
		case at >= e.from:
			by = max(by, r.By)
		case fades > 0 && at > e.from-fades:
			by = max(by, r.By*float64(at-e.from+fades)/float64(fades))
		}
	}
	return by
}

// clock is what the device takes for the time.
func (l *Life) clock(at int64) int64 {
	says := at + l.skew + l.wrong
	if l.drift != 0 {
		says += int64(l.drift * float64(at-l.booted))
	}
	for i := range l.effects {
		if e := &l.effects[i]; e.what == clockStep && e.from <= at && at < e.until && l.booted < e.from {
			says += l.w.Scenario().Faults[e.fault].ClockStep.By.Milliseconds()
		}
	}
	return says
}
