package world

import (
	"cmp"
	"math"
	"slices"

	"muster.dev/fleet/scenario"
	"muster.dev/fleet/simulator/chance"
	"muster.dev/fleet/simulator/plan"
)

// cohort is what all lives of a cohort read and none writes.
type cohort struct {
	*scenario.Cohort
	interval  int64
	jitter    int64
	version   uint16
	metrics   []metric
	messages  int64    // in an interval, unless something befalls a device
	cuts      []outage // of the region, in order of time
	sleep     struct{ every, from, length int64 }
	latency   float64
	keeps     int64
	reconnect int64
}

// outage of the far side, as a cohort's devices meet it.
type outage struct {
	from, until int64
}

type metricKind uint8

const (
	gauge metricKind = iota
	float
	counter
	toggle
	state
)

var metricKinds = map[string]metricKind{"": gauge, "gauge": gauge, "float": float, "counter": counter, "switch": toggle, "state": state}

// metric is a metric's model in the form in which it is computed.
type metric struct {
	*scenario.Metric
	kind     metricKind
	steps    int   // values in an interval
	each     int64 // only each so many intervals
	pow      float64
	scale    uint8
	min, max float64
	drift    float64 // a ms
	stays    float64 // ms
	keep     float64 // of the walk, from one value to the next
	grow     float64
	shared   []float64
	follows  follow
}

type follow uint8

const (
	followsNothing follow = iota
	followsRadio
	followsBattery
	followsUptime
)

var follows = map[string]follow{"": followsNothing, "radio": followsRadio, "battery": followsBattery, "uptime": followsUptime}

// Bounds of a message, well under the wire's.
const (
	maxSteps  = 900
	maxValues = 9_000
)

// parts is how many messages a set of readings needs, whose metrics have so many values at most and in all.
func parts(most, sum int) int {
	return max(1, (most+maxSteps-1)/maxSteps, (sum+maxValues-1)/maxValues)
}

// prepare puts a cohort into the form in which it is lived.
func (w *World) prepare(i int) {
	c := &w.cohorts[i]
	c.Cohort = &w.Scenario().Cohorts[i]
	c.interval = max(1, c.Interval.Milliseconds())
	c.jitter = int64(float64(c.Jitter) * float64(c.interval))
	c.version = w.VersionNo(c.Firmware)
	c.latency = float64(c.Radio.Latency.Milliseconds())
	c.keeps, c.reconnect = c.Radio.Keeps.Milliseconds(), c.Radio.Reconnect.Milliseconds()
	if s := c.Sleep; s != nil {
		c.sleep.every, c.sleep.from, c.sleep.length = s.Every.Milliseconds(), int64(s.From)/1e6, s.For.Milliseconds()
	}
	c.metrics = make([]metric, len(c.Metrics))
	most, sum := 0, 0
	for j := range c.metrics {
		c.metrics[j] = w.metric(i, j)
		most, sum = max(most, c.metrics[j].steps), sum+c.metrics[j].steps
	}
	c.messages = int64(parts(most, sum))
	for _, o := range w.Outages() {
		if o.Kind != plan.SinkStalled && (o.Region == "" || o.Region == c.Region) {
			c.cuts = append(c.cuts, outage{o.At, o.Until})
		}
	}
	c.cuts = merge(c.cuts)
}

// merge makes one of outages that touch.
func merge(in []outage) (out []outage) {
	slices.SortFunc(in, func(a, b outage) int { return cmp.Compare(a.from, b.from) })
	for _, o := range in {
		if n := len(out); n > 0 && o.from <= out[n-1].until {
			out[n-1].until = max(out[n-1].until, o.until)
			continue
		}
		out = append(out, o)
	}
	return out
}

// within gives the end of the outage in which an instant lies.
func within(all []outage, at int64) (until int64, is bool) {
	for i := range all {
		if at < all[i].from {
			return 0, false
		}
		if at < all[i].until {
			return all[i].until, true
		}
	}
	return 0, false
}

func (w *World) metric(ci, mi int) metric {
	c, m := w.Scenario().Cohorts[ci], &w.Scenario().Cohorts[ci].Metrics[mi]
	out := metric{Metric: m, kind: metricKinds[m.Kind], steps: 1, each: 1, scale: uint8(m.Decimals), min: math.Inf(-1), max: math.Inf(1)}
	if every := m.Every; every > 0 && every < c.Interval {
		out.steps = int(c.Interval / every)
	} else if every > 0 {
		out.each = int64(every / c.Interval)
	}
	out.pow = math.Pow10(m.Decimals)
	out.drift, out.stays = float64(m.Model.Drift)/chance.DayMS, float64(m.Stays.Milliseconds())
	out.follows = follows[m.Model.Follows]
	if m.Model.Walk > 0 {
		out.keep = math.Exp(-float64(int64(c.Interval.Milliseconds())*out.each/int64(out.steps)) / walkMS)
		out.grow = m.Model.Walk * math.Sqrt(1-float64(out.keep*out.keep))
	}
	if m.Min != nil {
		out.min = *m.Min
	}
	if m.Max != nil {
		out.max = *m.Max
	}
	if m.Model.Together > 0 {
		d := chance.Roll(w.Seed(), chance.ForShared, ci, mi)
		out.shared = make([]float64, (w.Until()-w.Begins())/w.grid()+3)
		keep := math.Exp(-float64(w.grid()) / chance.DayMS)
		grow := m.Model.Together * math.Sqrt(1-float64(keep*keep))
		x := m.Model.Together * d.Norm()
		for i := range out.shared {
			out.shared[i] = x
			x = float64(keep*x) + float64(grow*d.Norm())
		}
	}
	return out
}

// walkMS is how soon a walk forgets: e-fold in six hours.
const walkMS = chance.DayMS / 4

// grid is the time between two points of what devices share: ten minutes, or more in scenarios of years.
func (w *World) grid() int64 { return max(10*60*1000, (w.Until()-w.Begins())/100_000) }

// due is how many messages a device would have made from a time to another at its interval, outside planned sleep.
func (c *cohort) due(from, until int64) int64 {
	if until <= from {
		return 0
	}
	return (until - from - c.asleep(from, until)) / c.interval * c.messages
}

// asleep is how much of a time is planned sleep.
func (c *cohort) asleep(from, until int64) int64 {
	if c.sleep.length == 0 {
		return 0
	}
	upTo := func(at int64) int64 {
		k, rest := at/c.sleep.every, at%c.sleep.every
		// Sleep that goes over the period's end is the next period's beginning.
		over := max(0, c.sleep.from+c.sleep.length-c.sleep.every)
		return k*c.sleep.length + min(rest, over) + max(0, min(rest, c.sleep.from+c.sleep.length)-max(c.sleep.from, over))
	}
	return upTo(until) - upTo(from)
}

// wakes gives when a sleep ends; it is at itself if there is none.
func (c *cohort) wakes(at int64) int64 {
	if c.sleep.length == 0 {
		return at
	}
	begin := at - at%c.sleep.every + c.sleep.from
	if begin > at {
		begin -= c.sleep.every
	}
	if end := begin + c.sleep.length; at < end {
		return end
	}
	return at
}
