package evaluate

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"muster.dev/fleet/scenario"
	"muster.dev/fleet/simulator/truth"
	"muster.dev/proto/event"
)

// Want is something that befell a fleet, and that somebody should be told of once.
type Want struct {
	What    string
	Kinds   []event.IncidentKind // any of these tells it
	Causes  []string             // any of these is right; none: the cause is not judged
	Cohort  string               // empty: any
	Region  string
	Metric  string
	Metrics map[string]bool // any of these; nil: any
	Devices map[string]bool // who it is about; nil: not judged
	At      int64           // Unix ms
	Until   int64
	// Interval is the cohort's, the unit of delays; 0 where there is none.
	Interval int64
	// From is the first instant at which something of it can be seen, where that is before At.
	From int64
	// Of is the size of the cohort when it began.
	Of int
	// Must says that not to tell it is a miss. What need not be told is no false incident either.
	Must bool
	// Also is what else the same cause shows. An incident of that is not false, and does not tell the cause.
	Also []Want

	fault int // of the scenario, from 1; 0 for none
}

// Shares and lengths from which a silence must be told: what the promise about silent cohorts is made for.
const (
	waveShare  = .3
	waveSlots  = 6  // intervals, of a cohort of five or more
	loneSlots  = 40 // intervals, of fewer
	fewDevices = 5
	// A bad firmware must be found once it has hit so many of the updated devices, and such a share of them.
	hitsOfUpdate  = 5
	shareOfUpdate = .15
	// A battery that goes faster, or a leak, must be found once so many devices have it. That a metric is another one may be
	// what the update is for.
	devicesOfDrain = 20
	// There must be somebody to hold the updated devices against.
	mostOfStage = .85
	// Nobody can be asked to see a sensor's fault that is shorter, or smaller than what the sensor does by itself.
	anomalyLasts = 2 * time.Hour
	anomalySlots = 24
	anomalyTimes = 4
	// Refused requests an hour from which knocking must be told, and how long our own side must be out.
	knocksAnHour = 15
	ownOutage    = 5 * time.Minute
	// A rise of so much of a metric, and of a cohort's cost, and of so many values in all, must be told.
	riseOfMetric = 1.
	riseOfCohort = .25
	riseOfValues = 2_000
)

// Wants reads the truth of a scenario.
func Wants(s *scenario.Scenario, lines []truth.Line) []Want {
	lines = slices.Clone(lines)
	truth.Sort(lines)
	w := &wanting{s: s, intervals: map[string]int64{}, sizes: map[string][]step{}, cohorts: map[string]*scenario.Cohort{}}
	for i := range s.Cohorts {
		c := &s.Cohorts[i]
		w.intervals[c.Name], w.cohorts[c.Name] = c.Interval.Milliseconds(), c
	}
	w.members(lines)
	w.silences(lines)
	w.mute(lines)
	for i := range lines {
		w.line(&lines[i])
	}
	w.updates(lines)
	slices.SortStableFunc(w.out, func(a, b Want) int { return cmp.Or(cmp.Compare(a.At, b.At), cmp.Compare(a.What, b.What)) })
	return w.out
}

type step struct {
	at int64
	n  int
}

type wanting struct {
	s         *scenario.Scenario
	intervals map[string]int64
	cohorts   map[string]*scenario.Cohort
	sizes     map[string][]step // members of a cohort from an instant on
	out       []Want
}

func (w *wanting) add(x Want) {
	if x.Until == 0 {
		x.Until = w.s.Begins.UnixMilli() + w.s.Lasts.Milliseconds()
	}
	w.out = append(w.out, w.whole(x))
}

// whole fills in what a Want has from its cohort.
func (w *wanting) whole(x Want) Want {
	x.Interval, x.Of = w.intervals[x.Cohort], w.size(x.Cohort, x.At)
	if x.From == 0 {
		x.From = x.At
	}
	for i := range x.Also {
		a := &x.Also[i]
		a.Cohort, a.Region = x.Cohort, x.Region
		a.At, a.Until = cmp.Or(a.At, x.At), cmp.Or(a.Until, x.Until)
		*a = w.whole(*a)
	}
	return x
}

// members counts who is enrolled when.
func (w *wanting) members(lines []truth.Line) {
	for i := range lines {
		l, by := &lines[i], 0
		switch l.Kind {
		case truth.Enrolled:
			by = 1
		case truth.Left:
			by = -1
		default:
			continue
		}
		now := step{at: int64(l.At), n: by}
		if before := w.sizes[l.Cohort]; len(before) > 0 {
			now.n += before[len(before)-1].n
		}
		w.sizes[l.Cohort] = append(w.sizes[l.Cohort], now)
	}
}

func (w *wanting) size(cohort string, at int64) int {
	n := 0
	for _, s := range w.sizes[cohort] {
		if s.at > at {
			break
		}
		n = s.n
	}
	return n
}

// edge is an end of a device's silence.
type edge struct {
	at     int64
	by     int
	device string
	cause  string
	fault  int
}

// silences finds the stretches in which a good part of a cohort is silent at once, whatever made it so.
func (w *wanting) silences(lines []truth.Line) {
	edges := map[string][]edge{}
	for i := range lines {
		l := &lines[i]
		if l.Kind != truth.Silent || l.Device == "" || l.Detail["cause"] == truth.CauseNever {
			continue
		}
		if until := int64(l.Until); until == 0 || until-int64(l.At) > 3*w.intervals[l.Cohort] {
			cause, _ := l.Detail["cause"].(string)
			edges[l.Cohort] = append(edges[l.Cohort], edge{int64(l.At), 1, l.Device, cause, l.Fault})
			if until != 0 {
				edges[l.Cohort] = append(edges[l.Cohort], edge{until, -1, l.Device, cause, l.Fault})
			}
		}
	}
	for _, c := range w.s.Cohorts {
		w.waves(c.Name, edges[c.Name])
	}
}

func (w *wanting) waves(cohort string, edges []edge) {
	slices.SortStableFunc(edges, func(a, b edge) int { return cmp.Compare(a.at, b.at) })
	silent := map[string]edge{}
	var wave *Want
	causes, faults := map[string]int{}, map[int]int{}
	joins := func(e edge) {
		wave.Devices[e.device] = true
		wave.From = min(wave.From, e.at)
		causes[causeOf(e.cause)]++
		faults[e.fault]++
	}
	end := func(at int64) {
		wave.Until = at
		n, least := w.size(cohort, wave.At), int64(waveSlots)
		if n < fewDevices {
			least = loneSlots
		}
		wave.Causes, wave.fault = []string{most(causes)}, most(faults)
		wave.What = fmt.Sprintf("%d of %d silent (%s)", len(wave.Devices), n, wave.Causes[0])
		if w.traceless(wave, at) {
			wave.Causes = append(wave.Causes, "unknown")
		}
		from := w.wakes(cohort, wave.At) // before, nobody expects them
		wave.At = min(from, at)
		wave.Must = from < at && at-from >= least*w.intervals[cohort] && w.wakes(cohort, from+least*w.intervals[cohort]) == from+least*w.intervals[cohort]
		if wave.Causes[0] != "update" || !w.updated(cohort) { // else it is told of the update
			w.add(*wave)
		}
		wave = nil
	}
	for _, e := range edges {
		if e.by > 0 {
			silent[e.device] = e
		} else {
			delete(silent, e.device)
		}
		large := len(silent) > 0 && float64(len(silent)) >= waveShare*float64(w.size(cohort, e.at))
		switch {
		case large && wave == nil:
			wave = &Want{Kinds: []event.IncidentKind{event.SilentCohort}, Cohort: cohort, At: e.at, From: e.at, Devices: map[string]bool{}}
			clear(causes)
			clear(faults)
			for _, x := range silent {
				joins(x)
			}
		case large && e.by > 0 && !wave.Devices[e.device]:
			joins(e)
		case !large && wave != nil:
			end(e.at)
		}
	}
	if wave != nil {
		end(w.s.Begins.UnixMilli() + w.s.Lasts.Milliseconds())
	}
}

// traceless says whether a silence for want of power shows nothing that it could be known by: no brown-out and no battery
// before it, and nobody who comes back and says so.
func (w *wanting) traceless(wave *Want, ends int64) bool {
	if wave.Causes[0] != "power" || wave.fault < 1 || wave.fault > len(w.s.Faults) {
		return false
	}
	f := w.s.Faults[wave.fault-1].PowerLoss
	last := ends >= w.s.Begins.UnixMilli()+w.s.Lasts.Milliseconds()
	return f != nil && f.BrownOuts == 0 && len(w.following(wave.Cohort, "battery")) == 0 && (last || w.size(wave.Cohort, ends) <= w.size(wave.Cohort, wave.At)-len(wave.Devices))
}

// wakes is when a cohort's planned sleep ends that it is in, or at itself.
func (w *wanting) wakes(cohort string, at int64) int64 {
	s := w.cohorts[cohort].Sleep
	if s == nil || s.Every <= 0 {
		return at
	}
	every, from := s.Every.Milliseconds(), time.Duration(s.From).Milliseconds()
	begin := at - at%every + from%every
	if begin > at {
		begin -= every
	}
	if end := begin + s.For.Milliseconds(); at < end {
		return end
	}
	return at
}

// updated says whether a cohort has a rollout.
func (w *wanting) updated(cohort string) bool {
	return slices.ContainsFunc(w.s.Rollouts, func(r scenario.Rollout) bool { return r.Cohort == cohort })
}

// mute asks for a word on devices that were enrolled and never heard, where they are as many as a silence must be told of.
func (w *wanting) mute(lines []truth.Line) {
	never, last := map[string]map[string]bool{}, map[string]int64{}
	for i := range lines {
		if l := &lines[i]; l.Kind == truth.NeverHeard {
			if never[l.Cohort] == nil {
				never[l.Cohort] = map[string]bool{}
			}
			never[l.Cohort][l.Device] = true
			last[l.Cohort] = max(last[l.Cohort], int64(l.At)) // they may have come later, and others with them
		}
	}
	for _, c := range w.s.Cohorts {
		begins := w.s.Begins.UnixMilli()
		n, of := len(never[c.Name]), w.size(c.Name, max(begins, last[c.Name]))
		if n == 0 || float64(n) < waveShare*float64(of) {
			continue
		}
		w.add(Want{What: fmt.Sprintf("%d of %d never heard", n, of), Kinds: []event.IncidentKind{event.SilentCohort}, Cohort: c.Name, Devices: never[c.Name], At: begins,
			Must: of >= fewDevices && w.s.Lasts >= 2*24*time.Hour})
	}
}

// most gives what was counted most often, of equals the least.
func most[K cmp.Ordered](counts map[K]int) (best K) {
	most := 0
	for k, n := range counts {
		if n > most || n == most && k < best {
			best, most = k, n
		}
	}
	return best
}

// causeOf is what a detector can know of a device's silence.
func causeOf(cause string) string {
	switch cause {
	case truth.CausePower, truth.CauseBattery:
		return "power"
	case truth.CauseRadio:
		return "radio"
	case truth.CauseUpdate:
		return "update"
	}
	return "unknown"
}

func setOf(ids []string) map[string]bool {
	if len(ids) == 0 {
		return nil
	}
	out := map[string]bool{}
	for _, id := range ids {
		out[id] = true
	}
	return out
}

func text(l *truth.Line, key string) string { s, _ := l.Detail[key].(string); return s }
