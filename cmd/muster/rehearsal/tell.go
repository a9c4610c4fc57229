package rehearsal

import (
	"muster.dev/fleet/simulator/plan"
	"muster.dev/fleet/simulator/report"
	"muster.dev/fleet/simulator/truth"
	"muster.dev/fleet/simulator/world"
)

// TellFacts is the world's side of the facts.
func TellFacts(w *world.World, told []report.Told, lines []truth.Line) report.Facts {
	s := w.Scenario()
	f := report.Facts{Scenario: s.Name, Seed: w.Seed(), Begins: w.Begins(), Until: w.Until()}
	for i := range s.Cohorts {
		c := report.Cohort{Name: s.Cohorts[i].Name, Interval: s.Cohorts[i].Interval}
		if sleep := s.Cohorts[i].Sleep; sleep != nil {
			c.Sleep = &report.Sleep{Every: sleep.Every, From: timeOf(sleep), For: sleep.For}
		}
		f.Cohorts = append(f.Cohorts, c)
	}
	devices := w.Devices()
	index := make(map[string]int, len(devices))
	for i := range devices {
		d := &devices[i]
		index[d.ID] = i
		m := report.Member{ID: d.ID, Cohort: d.Cohort, Region: s.Cohorts[d.Cohort].Region, From: max(d.Joins, w.Begins()), Until: min(d.Leaves, w.Until())}
		if i < len(told) {
			m.Told = told[i]
		}
		f.Members = append(f.Members, m)
	}
	for i := range lines {
		if spell, ok := spellOf(&lines[i], index, w.Until()); ok {
			f.Spells = append(f.Spells, spell)
		}
	}
	for _, o := range w.Outages() {
		spell := report.Spell{Member: -1, Region: o.Region, From: o.At, Until: o.Until, Class: report.Pipeline}
		switch o.Kind {
		case plan.GatewayDown:
			spell.Kind = "the gateway is out"
		case plan.LogStalled:
			spell.Kind = "the log stands still"
		case plan.RegionCutOff:
			spell.Class, spell.Kind = report.Radio, "the region's network is cut"
		default:
			continue // what is on the log is stored later, and no device is silent for it
		}
		f.Spells = append(f.Spells, spell)
	}
	return f
}

// spellOf is what a line of truth says about one device's silence.
func spellOf(l *truth.Line, index map[string]int, end int64) (report.Spell, bool) {
	i, ok := index[l.Device]
	if !ok {
		return report.Spell{}, false
	}
	s := report.Spell{Member: i, From: int64(l.At), Until: int64(max(l.At, l.Until)), Class: report.Device, Kind: l.Kind}
	switch l.Kind {
	case truth.Silent:
		cause, _ := l.Detail["cause"].(string)
		s.Kind = "silent: " + cause
		if cause == truth.CauseRadio {
			s.Class = report.Radio
		}
		if l.Until == 0 {
			s.Until = end
		}
	case truth.NeverHeard:
		s.Until = end
	case truth.Boot, truth.Crash, truth.BootLoop, truth.Update, truth.BatteryLow, truth.ClockWrong:
	default:
		return report.Spell{}, false
	}
	return s, true
}
