package plan

import (
	"cmp"
	"slices"
	"time"

	"muster.dev/fleet/simulator/truth"
)

// Truth is what happened that is no single device's own: faults, rollouts, outages of sites, planned sleep. The caller adds
// what lives say.
func (p *Plan) Truth() []truth.Line {
	out := p.plannedSleep(nil)
	for i := range p.s.Faults {
		out = p.faultTruth(out, i)
	}
	for i := range p.rollouts {
		out = p.rolloutTruth(out, i)
	}
	for ci := range p.power {
		for site := range p.power[ci] {
			for _, o := range p.power[ci][site] {
				ids := p.ids(func(d *Device) bool {
					return d.Cohort == ci && d.Site == site && d.Joins < o.Until && o.From < d.Leaves
				})
				out = append(out, p.group(truth.Line{At: truth.Time(o.From), Until: truth.Time(o.Until), Kind: truth.SiteOutage,
					Cohort: p.s.Cohorts[ci].Name, Detail: map[string]any{"site": site + 1}}, ids))
			}
		}
	}
	truth.Sort(out)
	return out
}

// group puts names into a line.
func (p *Plan) group(l truth.Line, devices []int32) truth.Line {
	l.Count = len(devices)
	if len(devices) <= truth.MostIDs {
		for _, d := range devices {
			l.IDs = append(l.IDs, p.devices[d].ID)
		}
	}
	return l
}

func (p *Plan) ids(is func(*Device) bool) (out []int32) {
	for i := range p.devices {
		if is(&p.devices[i]) {
			out = append(out, int32(i))
		}
	}
	return out
}

// faultTruth adds a line for each cohort that a fault befalls.
func (p *Plan) faultTruth(out []truth.Line, i int) []truth.Line {
	f, lot := &p.s.Faults[i], &p.lots[i]
	if lot.At >= p.until { // whoever plays a part of a scenario has no such fault
		return out
	}
	l := truth.Line{At: truth.Time(lot.At), Until: truth.Time(min(lot.Until, p.until)), Kind: f.Kind(), Fault: i + 1}
	region := ""
	switch {
	case f.GatewayOutage != nil:
		region = f.GatewayOutage.Region
		l.Detail = map[string]any{"region": region}
	case f.RegionOutage != nil:
		region = f.RegionOutage.Region
		l.Detail = map[string]any{"region": region}
	case f.PipelineStall != nil:
		l.Detail = map[string]any{"stage": f.PipelineStall.Stage}
		return append(out, l)
	case f.EnrolmentBurst != nil:
		l.Cohort, l.Count = f.EnrolmentBurst.Cohort, f.EnrolmentBurst.Devices
		return append(out, l)
	case f.PowerLoss != nil:
		l.Detail = map[string]any{"brown_outs": f.PowerLoss.BrownOuts}
	case f.RadioLoss != nil:
		l.Detail = map[string]any{"loss": float64(f.RadioLoss.Loss), "fades_ms": f.RadioLoss.Fades.Milliseconds(), "by": f.RadioLoss.By}
	case f.ClockStep != nil:
		l.Detail = map[string]any{"by_ms": f.ClockStep.By.Milliseconds()}
	case f.Interval != nil:
		l.Detail = map[string]any{"to_ms": f.Interval.To.Milliseconds()}
	case f.CostSpike != nil:
		l.Detail = map[string]any{"metric": f.CostSpike.Metric, "rate_hz": float64(f.CostSpike.Rate)}
	case f.Anomaly != nil:
		l.Detail = map[string]any{"metric": f.Anomaly.Metric, "kind": f.Anomaly.Kind, "by": f.Anomaly.By}
	case f.Revoke != nil:
		l.Detail = map[string]any{"knocks_ms": f.Revoke.Knocks.Milliseconds()}
	}
	if f.Restart != nil || f.Retire != nil || f.Revoke != nil {
		l.Until = 0
	}
	for ci := range p.s.Cohorts {
		var ids []int32
		if f.Target() != nil {
			ids = slices.DeleteFunc(slices.Clone(lot.members), func(d int32) bool { return p.devices[d].Cohort != ci })
		} else if region == "" || region == p.s.Cohorts[ci].Region {
			ids = p.ids(func(d *Device) bool { return d.Cohort == ci && d.Joins < lot.Until && lot.At < d.Leaves })
		}
		if len(ids) > 0 {
			one := l
			one.Cohort = p.s.Cohorts[ci].Name
			out = append(out, p.group(one, ids))
		}
	}
	return out
}

func (p *Plan) rolloutTruth(out []truth.Line, i int) []truth.Line {
	r, v := &p.s.Rollouts[i], &p.rollouts[i]
	if v.Begins[0] >= p.until {
		return out
	}
	out = append(out, truth.Line{At: truth.Time(v.Begins[0]), Until: truth.Time(v.end), Kind: truth.Rollout, Cohort: r.Cohort, Count: v.group,
		Detail: map[string]any{"rollout": i, "firmware": r.Firmware, "stages": len(r.Stages), "whole_sites": r.WholeSites}})
	for j := range r.Stages {
		if v.Begins[j] >= p.until {
			break
		}
		ids := p.ids(func(d *Device) bool { return int(v.stage[d.Index]) == j+1 })
		until := min(p.until, v.Begins[j]+r.Stages[j].Soak.Milliseconds())
		out = append(out, p.group(truth.Line{At: truth.Time(v.Begins[j]), Until: truth.Time(until), Kind: truth.Stage, Cohort: r.Cohort,
			Detail: map[string]any{"rollout": i, "stage": j + 1, "firmware": r.Firmware, "share": float64(r.Stages[j].Share)}}, ids))
	}
	slices.SortStableFunc(out, func(a, b truth.Line) int { return cmp.Compare(a.At, b.At) })
	return out
}

// plannedSleep adds a line for each cohort that sleeps because it was told to.
func (p *Plan) plannedSleep(out []truth.Line) []truth.Line {
	for i := range p.s.Cohorts {
		if c := &p.s.Cohorts[i]; c.Sleep != nil {
			out = append(out, truth.Line{At: truth.Time(p.begins), Until: truth.Time(p.until), Kind: truth.SleepPlanned, Cohort: c.Name,
				Detail: map[string]any{"every_ms": c.Sleep.Every.Milliseconds(), "from_ms": time.Duration(c.Sleep.From).Milliseconds(), "for_ms": c.Sleep.For.Milliseconds()}})
		}
	}
	return out
}
