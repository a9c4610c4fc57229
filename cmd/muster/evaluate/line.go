package evaluate

import (
	"math"
	"slices"
	"strconv"
	"time"

	"muster.dev/fleet/scenario"
	"muster.dev/fleet/simulator/truth"
	"muster.dev/proto/event"
)

// line is what one line of the truth asks for by itself.
func (w *wanting) line(l *truth.Line) {
	x := Want{Cohort: l.Cohort, At: int64(l.At), Until: int64(l.Until), Devices: setOf(l.IDs), Must: true, fault: l.Fault}
	if x.Until == 0 {
		x.Until = w.s.Begins.UnixMilli() + w.s.Lasts.Milliseconds()
	}
	lasts := time.Duration(x.Until-x.At) * time.Millisecond
	switch l.Kind {
	case "gateway-outage", "region-outage":
		region := text(l, "region")
		if slices.ContainsFunc(w.out, func(o Want) bool { return o.What == l.Kind && o.fault == l.Fault && o.At == x.At && o.Region == region }) {
			return // a line for each cohort, and one thing to tell
		}
		x.What, x.Kinds, x.Causes = l.Kind, []event.IncidentKind{event.SilentCohort, event.Pipeline}, []string{"region", "gateway"}
		x.Cohort, x.Region, x.Devices = "", region, nil
		x.Must = lasts >= max(ownOutage, w.quickest(region)*waveSlots)
	case "pipeline-stall":
		x.What, x.Kinds, x.Causes = l.Kind+" ("+text(l, "stage")+")", []event.IncidentKind{event.Pipeline}, []string{"log"}
		x.Cohort, x.Devices, x.Must = "", nil, text(l, "stage") == "log" && lasts >= ownOutage
	case "anomaly":
		w.anomaly(&x, l, lasts)
	case "cost-spike":
		metric := text(l, "metric")
		x.What, x.Kinds, x.Metric = l.Kind, []event.IncidentKind{event.Spend}, metric
		x.Also = []Want{{Kinds: []event.IncidentKind{event.TelemetryAnomaly}, Metric: metric, Devices: x.Devices}}
		x.Must = lasts >= time.Hour && w.costs(l, lasts)
		x.Devices = nil
	case "interval":
		// Nobody told the registry: for an interval or two the devices are silent, as far as anyone can know.
		x.What, x.Kinds, x.Must = l.Kind+" "+strconv.Itoa(l.Count), []event.IncidentKind{event.TelemetryAnomaly, event.Spend, event.SilentCohort}, false
	case "radio-loss":
		fades, _ := l.Detail["fades_ms"].(int64)
		x.What, x.Kinds, x.Causes, x.Must = l.Kind, []event.IncidentKind{event.SilentCohort, event.TelemetryAnomaly}, []string{"radio", "device", "peers"}, false
		x.From = x.At - fades
		x.Metrics = w.following(l.Cohort, "radio")
		for i := range w.out { // of a silence that is told as such, it is the sign before
			if o := &w.out[i]; o.fault == l.Fault && o.Cohort == l.Cohort {
				o.Also = append(o.Also, w.whole(x))
				return
			}
		}
	case truth.Leak, truth.Drain, truth.Shift:
		if w.rolledOut(l.Cohort, text(l, "firmware")) || w.joined(l) {
			return
		}
		x.What, x.Kinds, x.Must = l.Kind+" of "+text(l, "metric")+" by its firmware", []event.IncidentKind{event.TelemetryAnomaly}, false
		x.Metrics, x.Devices = w.shows(l), map[string]bool{l.Device: true}
	case "clone": // each is an identity of its own
		for _, device := range l.IDs {
			one := x
			one.What, one.Kinds, one.Causes, one.Devices = l.Kind+" of "+device, []event.IncidentKind{event.Security}, []string{"clone"}, map[string]bool{device: true}
			one.Also = []Want{{Kinds: []event.IncidentKind{event.TelemetryAnomaly}, Devices: one.Devices}}
			if 5*len(l.IDs) >= w.size(l.Cohort, x.At) {
				one.Also = append(one.Also, Want{Kinds: []event.IncidentKind{event.Spend}})
			}
			w.add(one)
		}
		return
	case "revoke":
		every, _ := l.Detail["knocks_ms"].(int64)
		if every == 0 {
			return
		}
		x.What, x.Kinds, x.Causes, x.Until = truth.Knocking, []event.IncidentKind{event.Security}, []string{truth.Knocking}, 0
		x.Devices = nil
		x.Must = int64(l.Count)*time.Hour.Milliseconds() >= knocksAnHour*every
	case "enrolment-burst":
		x.What, x.Kinds, x.Causes, x.Devices = l.Kind, []event.IncidentKind{event.Security}, []string{"enrolment-burst"}, nil
		x.Also = []Want{{Kinds: []event.IncidentKind{event.Spend}}}
		x.Until = max(x.Until, x.At+time.Hour.Milliseconds())
	default:
		return
	}
	w.add(x)
}

func (w *wanting) anomaly(x *Want, l *truth.Line, lasts time.Duration) {
	kind, name := text(l, "kind"), text(l, "metric")
	x.What, x.Kinds, x.Metric = kind+" of "+name, []event.IncidentKind{event.TelemetryAnomaly}, name
	x.Causes = []string{"device"}
	size := w.size(l.Cohort, x.At)
	all := l.Count > 1 && l.Count >= size
	switch {
	case all:
		x.Causes, x.Devices, x.What = []string{"peers"}, nil, x.What+" (all)"
	case l.Count > 1 && float64(l.Count) >= waveShare*float64(size):
		x.Causes = append(x.Causes, "peers")
	}
	c := w.cohorts[l.Cohort]
	i := slices.IndexFunc(c.Metrics, func(m scenario.Metric) bool { return m.Name == name })
	if i < 0 {
		return
	}
	m := &c.Metrics[i].Model
	usual := math.Hypot(m.Noise, m.Walk)
	if all {
		usual = math.Hypot(usual, m.Together)
	}
	by, _ := l.Detail["by"].(float64)
	x.Must = lasts >= max(anomalyLasts, anomalySlots*c.Interval)
	switch kind {
	case "jump", "drift":
		x.Must = x.Must && math.Abs(by) >= anomalyTimes*usual
	case "noise":
		x.Must = x.Must && m.Noise > 0 && by >= anomalyTimes
	case "flat-line":
		x.Must = x.Must && usual > 0
	}
}

// costs says whether a spike is one that somebody would pay for.
func (w *wanting) costs(l *truth.Line, lasts time.Duration) bool {
	c := w.cohorts[l.Cohort]
	rate, _ := l.Detail["rate_hz"].(float64)
	extra := rate * 3600 * float64(l.Count)
	usual := float64(w.size(l.Cohort, int64(l.At))) / c.Interval.Hours()
	return extra >= riseOfMetric*usual && extra >= riseOfCohort*usual*float64(len(c.Metrics)) && extra*lasts.Hours() >= riseOfValues
}

// quickest is the least interval of a region's cohorts.
func (w *wanting) quickest(region string) time.Duration {
	least := time.Duration(math.MaxInt64 / waveSlots)
	for i := range w.s.Cohorts {
		if c := &w.s.Cohorts[i]; region == "" || c.Region == region {
			least = min(least, c.Interval)
		}
	}
	return least
}

// following names the metrics of a cohort that show something of the device.
func (w *wanting) following(cohort, what string) map[string]bool {
	out := map[string]bool{}
	for i := range w.cohorts[cohort].Metrics {
		if m := &w.cohorts[cohort].Metrics[i]; m.Model.Follows == what {
			out[m.Name] = true
		}
	}
	return out
}

// shows names the metrics in which a fault of a firmware can be seen.
func (w *wanting) shows(l *truth.Line) map[string]bool {
	if l.Kind == truth.Drain {
		return w.following(l.Cohort, "battery")
	}
	return map[string]bool{text(l, "metric"): true}
}

func (w *wanting) rolledOut(cohort, version string) bool {
	return slices.ContainsFunc(w.s.Rollouts, func(r scenario.Rollout) bool { return r.Cohort == cohort && r.Firmware == version })
}

// joined adds a device to what is said already of the devices of its cohort.
func (w *wanting) joined(l *truth.Line) bool {
	i := slices.IndexFunc(w.out, func(o Want) bool {
		return o.Cohort == l.Cohort && o.What == l.Kind+" of "+text(l, "metric")+" by its firmware"
	})
	if i < 0 {
		return false
	}
	o := &w.out[i]
	o.Devices[l.Device] = true
	o.At, o.From, o.Until = min(o.At, int64(l.At)), min(o.From, int64(l.At)), max(o.Until, int64(l.Until))
	return true
}

// updates asks for a word on each rollout of a firmware that does harm.
func (w *wanting) updates(lines []truth.Line) {
	for n := range w.s.Rollouts {
		r := &w.s.Rollouts[n]
		i := slices.IndexFunc(w.s.Firmware, func(f scenario.Firmware) bool { return f.Version == r.Firmware })
		if i < 0 {
			continue
		}
		f := &w.s.Firmware[i]
		changes := f.Leaks != nil || f.Drains != nil || len(f.Shifts) > 0
		if !changes && f.Crashes == nil && f.Silent == nil && f.Errors == nil && f.Fails == 0 && f.RollsBack == 0 && f.Paper == 0 && f.Bricks == 0 {
			continue // a sound one: to say that it fails is false
		}
		h := w.harm(lines, r.Cohort, f)
		must := len(h.hits) >= hitsOfUpdate && float64(len(h.hits)) >= shareOfUpdate*float64(h.updated) || len(h.worn) >= devicesOfDrain
		if len(r.Stages) > 0 {
			must = must && r.Stages[0].Share <= mostOfStage
		}
		w.add(Want{
			What: "bad update of " + r.Cohort, Kinds: []event.IncidentKind{event.UpdateFailure}, Cohort: r.Cohort,
			At: w.s.Begins.Add(r.At).UnixMilli(), Must: must, Also: h.also,
		})
	}
}

// harmed is what a version did.
type harmed struct {
	hits    map[string]bool // devices that did not bear it
	worn    map[string]bool // whose battery or memory goes
	updated int             // that got it
	also    []Want          // what else it shows
}

func (w *wanting) harm(lines []truth.Line, cohort string, f *scenario.Firmware) harmed {
	h := harmed{hits: map[string]bool{}, worn: map[string]bool{}}
	silent, shown := map[string]bool{}, map[string]bool{}
	metrics := map[string]bool{}
	for i := range lines {
		l := &lines[i]
		if l.Cohort != cohort {
			continue
		}
		its := text(l, "firmware") == f.Version
		switch l.Kind {
		case truth.BootLoop, truth.Crash:
			// Devices crash by themselves too: of a version that makes none crash, that is no harm.
			if its && (f.Crashes != nil || f.Leaks != nil) {
				h.hits[l.Device] = true
			}
		case truth.OSErrors:
			if its && f.Errors != nil {
				h.hits[l.Device] = true
			}
		case truth.Silent:
			if text(l, "cause") == truth.CauseUpdate {
				h.hits[l.Device], silent[l.Device] = true, true
			}
		case truth.Leak, truth.Drain, truth.Shift:
			if !its {
				continue
			}
			if l.Kind != truth.Shift {
				h.worn[l.Device] = true
			}
			shown[l.Device] = true
			for m := range w.shows(l) {
				metrics[m] = true
			}
		case truth.Update:
			if text(l, "to") != f.Version {
				continue
			}
			h.updated++
			if text(l, "result") != "ok" {
				h.hits[l.Device] = true
			}
		}
	}
	if len(silent) > 0 {
		h.also = append(h.also, Want{Kinds: []event.IncidentKind{event.SilentCohort}, Devices: silent})
	}
	if len(shown) > 0 {
		h.also = append(h.also, Want{Kinds: []event.IncidentKind{event.TelemetryAnomaly}, Metrics: metrics, Devices: shown})
	}
	return h
}
