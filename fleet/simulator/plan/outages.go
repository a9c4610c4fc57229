package plan

import (
	"cmp"
	"slices"

	"muster.dev/fleet/simulator/chance"
)

// Outage is a time in which our own side does not take part.
type Outage struct {
	Kind   OutageKind
	Region string // of a gateway's outage
	At     int64  // Unix ms
	Until  int64
}

// OutageKind says what stands still.
type OutageKind uint8

// Kinds of outages.
const (
	GatewayDown  OutageKind = iota // the region's gateway writes no watermark; lives deliver nothing
	LogStalled                     // no gateway can publish; lives deliver nothing
	SinkStalled                    // what is on the log is stored later; lives deliver as ever
	RegionCutOff                   // the region's gateway hears nobody and writes its watermarks; lives deliver nothing
)

// Outages lists what of our own side stands still, by time, for drivers that write watermarks or stop sinks.
func (p *Plan) Outages() []Outage {
	var out []Outage
	for i := range p.s.Faults {
		f := &p.s.Faults[i]
		o := Outage{At: p.begins + f.At.Milliseconds(), Until: p.until}
		if f.For > 0 {
			o.Until = min(p.until, o.At+f.For.Milliseconds())
		}
		switch {
		case f.GatewayOutage != nil:
			o.Kind, o.Region = GatewayDown, f.GatewayOutage.Region
		case f.RegionOutage != nil:
			o.Kind, o.Region = RegionCutOff, f.RegionOutage.Region
		case f.PipelineStall != nil && f.PipelineStall.Stage == "log":
			o.Kind = LogStalled
		case f.PipelineStall != nil:
			o.Kind = SinkStalled
		default:
			continue
		}
		if o.At < p.until {
			out = append(out, o)
		}
	}
	slices.SortStableFunc(out, func(a, b Outage) int { return cmp.Compare(a.At, b.At) })
	return out
}

// Window is a time in which a site is without power.
type Window struct{ From, Until int64 }

// SiteOutages lists when a site of a cohort is without power, in order of time.
func (p *Plan) SiteOutages(cohort, site int) []Window {
	if p.power[cohort] == nil {
		return nil
	}
	return p.power[cohort][site]
}

// drawOutages draws when the power of a site goes.
func (p *Plan) drawOutages() {
	p.power = make([][][]Window, len(p.s.Cohorts))
	for ci := range p.s.Cohorts {
		c := &p.s.Cohorts[ci]
		if c.SiteOutages.Rate == 0 {
			continue
		}
		p.power[ci] = make([][]Window, max(1, c.Sites))
		for site := range p.power[ci] {
			d := chance.Roll(p.seed, chance.ForPlans, ci<<20|site, 3)
			for at := d.Next(p.begins, float64(c.SiteOutages.Rate)); at < p.until; {
				end := min(p.until, d.After(at, float64(c.SiteOutages.Lasts.Milliseconds())))
				p.power[ci][site] = append(p.power[ci][site], Window{at, end})
				at = d.Next(end, float64(c.SiteOutages.Rate))
			}
		}
	}
}
