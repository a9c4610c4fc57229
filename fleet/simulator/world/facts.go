package world

import (
	"cmp"
	"slices"

	"muster.dev/fleet/simulator/truth"
)

// Truth is what happened that is no single device's own: faults, rollouts, outages of sites, planned sleep. The caller adds
// what lives say.
func (w *World) Truth() []truth.Line {
	out := w.plannedSleep(nil)
	for i := range w.s.Faults {
		out = w.faultTruth(out, i)
	}
	for i := range w.rollouts {
		out = w.rolloutTruth(out, i)
	}
	for ci := range w.power {
		for site := range w.power[ci] {
			for _, o := range w.power[ci][site] {
				ids := w.ids(func(d *Device) bool {
					return d.Cohort == ci && d.Site == site && d.Joins < o.until && o.from < d.Leaves
				})
				out = append(out, w.group(truth.Line{At: truth.Time(o.from), Until: truth.Time(o.until), Kind: truth.SiteOutage,
					Cohort: w.s.Cohorts[ci].Name, Detail: map[string]any{"site": site + 1}}, ids))
			}
		}
	}
	truth.Sort(out)
	return out
}

// group puts names into a line.
func (w *World) group(l truth.Line, devices []int32) truth.Line {
	l.Count = len(devices)
	if len(devices) <= truth.MostIDs {
		for _, d := range devices {
			l.IDs = append(l.IDs, w.devices[d].ID)
		}
	}
	return l
}

func (w *World) ids(is func(*Device) bool) (out []int32) {
	for i := range w.devices {
		if is(&w.devices[i]) {
			out = append(out, int32(i))
		}
	}
	return out
}

// faultTruth adds a line for each cohort that a fault befalls.
func (w *World) faultTruth(out []truth.Line, i int) []truth.Line {
	f, lot := &w.s.Faults[i], &w.faults[i]
	if lot.at >= w.until { // whoever plays a part of a scenario has no such fault
		return out
	}
	l := truth.Line{At: truth.Time(lot.at), Until: truth.Time(min(lot.until, w.until)), Kind: f.Kind(), Fault: i + 1}
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
	for ci := range w.s.Cohorts {
		var ids []int32
		if f.Target() != nil {
			ids = slices.DeleteFunc(slices.Clone(lot.members), func(d int32) bool { return w.devices[d].Cohort != ci })
		} else if region == "" || region == w.s.Cohorts[ci].Region {
			ids = w.ids(func(d *Device) bool { return d.Cohort == ci && d.Joins < lot.until && lot.at < d.Leaves })
		}
		if len(ids) > 0 {
			one := l
			one.Cohort = w.s.Cohorts[ci].Name
			out = append(out, w.group(one, ids))
		}
	}
	return out
}

func (w *World) rolloutTruth(out []truth.Line, i int) []truth.Line {
	r, v := &w.s.Rollouts[i], &w.rollouts[i]
	if v.begins[0] >= w.until {
		return out
	}
	out = append(out, truth.Line{At: truth.Time(v.begins[0]), Until: truth.Time(v.end), Kind: truth.Rollout, Cohort: r.Cohort, Count: v.group,
		Detail: map[string]any{"rollout": i, "firmware": r.Firmware, "stages": len(r.Stages), "whole_sites": r.WholeSites}})
	for j := range r.Stages {
		if v.begins[j] >= w.until {
			break
		}
		ids := w.ids(func(d *Device) bool { return int(v.stage[d.Index]) == j+1 })
		until := min(w.until, v.begins[j]+r.Stages[j].Soak.Milliseconds())
		out = append(out, w.group(truth.Line{At: truth.Time(v.begins[j]), Until: truth.Time(until), Kind: truth.Stage, Cohort: r.Cohort,
			Detail: map[string]any{"rollout": i, "stage": j + 1, "firmware": r.Firmware, "share": float64(r.Stages[j].Share)}}, ids))
	}
	slices.SortStableFunc(out, func(a, b truth.Line) int { return cmp.Compare(a.At, b.At) })
	return out
}
