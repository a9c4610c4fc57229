package evaluate

import (
	"cmp"
	"math"
	"slices"
	"time"

	"muster.dev/fleet/simulator/truth"
	"muster.dev/proto/event"
)

// Told is an incident as it stands in the end, with the instant at which it was first told.
type Told struct {
	event.Incident
	OpenedAt int64
	Causes   []string   // that it ever had, the last one is the present one
	spans    [][2]int64 // in which it was open; of one that is open, the last has no end
}

// Gather makes one of each incident's records.
func Gather(records []event.Incident) []Told {
	var out []Told
	at := map[string]int{}
	for _, r := range records {
		i, known := at[r.ID]
		if !known {
			i = len(out)
			at[r.ID] = i
			out = append(out, Told{OpenedAt: r.At})
		}
		t := &out[i]
		if r.Count < t.Count || len(r.Devices) == 0 {
			r.Devices, r.Count = t.Devices, t.Count // when it was worst: who it was about does not go with its end
		}
		open := len(t.spans) > 0 && t.spans[len(t.spans)-1][1] == 0
		switch {
		case r.State == event.IncidentOpen && !open:
			t.spans = append(t.spans, [2]int64{r.At})
		case r.State == event.IncidentResolved && open:
			t.spans[len(t.spans)-1][1] = max(r.ResolvedAt, t.spans[len(t.spans)-1][0])
		}
		t.Incident = r
		if len(t.Causes) == 0 || t.Causes[len(t.Causes)-1] != r.Cause {
			t.Causes = append(t.Causes, r.Cause)
		}
	}
	return out
}

// Answer is what was made of one Want.
type Answer struct {
	Want
	Found []int // incidents that tell it, the first one first
	// Beside are incidents of the same cause that tell something else of it, or tell it when it is long over.
	Beside []int
	// Cause says whether the first one's cause is right in the end.
	Cause bool
	Delay time.Duration // until it was told, of event time
}

// TooMany is how many incidents there were beyond one.
func (a *Answer) TooMany() int { return max(0, len(a.Found)+len(a.Beside)-1) }

// Judgement is what a scenario came to.
type Judgement struct {
	Answers []Answer
	// Small are incidents of devices that were silent indeed, if too few of them to be asked for.
	Small []int
	False []int // incidents that nothing explains
	Told  []Told
}

// grace is how long after its end something may still be told.
func (w *Want) grace() int64 { return max(12*w.Interval, time.Hour.Milliseconds()) }

// ahead is how long before its beginning: a slot that was open.
func (w *Want) ahead() int64 { return max(2*w.Interval, 10*time.Minute.Milliseconds()) }

// Chance below which it is no chance that an incident names devices of a cause.
const byChance = 1e-3

// concerns says whether an incident is of the kind, and about the devices, of a Want, whenever it was.
func (w *Want) concerns(t *Told, where places) bool {
	s := &t.Subject
	switch {
	case !slices.Contains(w.Kinds, t.Kind):
		return false
	case t.Kind == event.Security && !slices.Contains(w.Causes, t.Cause):
		return false // the kind alone says nothing
	case w.Cohort != "" && s.Cohort != "" && s.Cohort != w.Cohort:
		return false
	case w.Region != "" && cmp.Or(s.Region, where.region[s.Cohort], w.Region) != w.Region:
		return false
	case w.Metric != "" && s.Metric != "" && s.Metric != w.Metric:
		return false
	case w.Metrics != nil && s.Metric != "" && !w.Metrics[s.Metric]:
		return false
	case w.Devices != nil && s.Device != "" && !w.Devices[s.Device]:
		return false
	}
	if w.Devices == nil {
		return true
	}
	if len(t.Devices) == 0 { // it says no names: then it is about the cohort
		return s.Device != "" || t.Kind != event.TelemetryAnomaly || float64(len(w.Devices)) >= waveShare*float64(w.Of)
	}
	about, named := 0, 0
	for _, m := range t.Devices {
		if s.Cohort == "" && w.Cohort != "" && where.cohort[m.ID] != w.Cohort {
			continue // what it says of other cohorts of a region is no word on this one
		}
		if named++; w.Devices[m.ID] {
			about++
		}
	}
	return about > 0 && (2*about >= named || 2*about >= len(w.Devices) && chance(w.Of, len(w.Devices), named, about) < byChance)
}

// explains says whether an incident tells a Want, in its time.
func (w *Want) explains(t *Told, until int64, where places) bool {
	ends := cmp.Or(t.ResolvedAt, until)
	return w.concerns(t, where) && t.OpenedAt >= w.From-w.ahead() && t.OpenedAt <= w.Until+w.grace() && ends >= w.From
}

// beside says whether an incident comes of the same cause: another sign of it, or the same when it is over, which a series
// shows once more when it goes back.
func (w *Want) beside(t *Told, until int64, where places) bool {
	for i := range w.Also {
		if w.Also[i].explains(t, until, where) {
			return true
		}
	}
	return t.Kind == event.TelemetryAnomaly && w.concerns(t, where) && t.OpenedAt > w.Until && t.OpenedAt <= w.Until+3*w.grace()
}

// Judge holds what was told against what was to be told, as Wants gives it.
func Judge(wants []Want, told []Told, lines []truth.Line, until int64) Judgement {
	j := Judgement{Told: told, Answers: make([]Answer, len(wants))}
	where := placesOf(lines)
	for k := range wants {
		j.Answers[k].Want = wants[k]
	}
	silent := silencesOf(lines)
	for i := range told {
		t := &told[i]
		// Of several causes it is the last that had begun: what is told early in one is not the late word on another.
		if k := nearest(wants, t.OpenedAt, func(w *Want) bool { return w.explains(t, until, where) }); k >= 0 {
			j.Answers[k].Found = append(j.Answers[k].Found, i)
		} else if k := nearest(wants, t.OpenedAt, func(w *Want) bool { return w.beside(t, until, where) }); k >= 0 {
			j.Answers[k].Beside = append(j.Answers[k].Beside, i)
		} else if silent.explain(t, until) {
			j.Small = append(j.Small, i)
		} else {
			j.False = append(j.False, i)
		}
	}
	for k := range j.Answers {
		a := &j.Answers[k]
		slices.SortStableFunc(a.Found, func(x, y int) int { return cmp.Compare(told[x].OpenedAt, told[y].OpenedAt) })
		at := int64(0)
		if len(a.Found) > 0 {
			at = told[a.Found[0]].OpenedAt
		} else if i, when := j.going(&a.Want, until, where); i >= 0 {
			a.Found, at = []int{i}, when
		} else {
			continue
		}
		first := &told[a.Found[0]]
		a.Delay = time.Duration(max(0, at-a.At)) * time.Millisecond
		a.Cause = len(a.Causes) == 0 || slices.Contains(a.Causes, first.Cause)
	}
	return j
}

// nearest gives the Want that an incident opened at an instant tells, of those that explain it: the last that had begun by
// then, else the first that is to come; -1 where there is none. Wants are in the order of At.
func nearest(wants []Want, at int64, explains func(*Want) bool) int {
	begun, coming := -1, -1
	for k := range wants {
		switch w := &wants[k]; {
		case !explains(w):
		case w.At <= at:
			begun = k
		case coming < 0:
			coming = k
		}
	}
	if begun >= 0 {
		return begun
	}
	return coming
}

// going finds an incident of another cause, or of a silence that began small, that was open when a Want began or was opened
// again in its time, and is about it: who is told already is not told twice.
func (j *Judgement) going(w *Want, until int64, where places) (int, int64) {
	for i := range j.Told {
		t := &j.Told[i]
		if slices.Contains(j.False, i) || !w.concerns(t, where) || t.OpenedAt > w.Until+w.grace() {
			continue
		}
		for _, span := range t.spans {
			if span[0] >= w.From && span[0] <= w.Until+w.grace() {
				return i, span[0]
			}
			if span[0] <= w.At && cmp.Or(span[1], until) > w.At {
				return i, w.At
			}
		}
	}
	return -1, 0
}

// places are the regions of the cohorts, and the cohorts of the devices.
type places struct{ region, cohort map[string]string }

func placesOf(lines []truth.Line) places {
	out := places{region: map[string]string{}, cohort: map[string]string{}}
	for i := range lines {
		l := &lines[i]
		if l.Kind != truth.Enrolled {
			continue
		}
		out.cohort[l.Device] = l.Cohort
		if region := text(l, "region"); region != "" {
			out.region[l.Cohort] = region
		}
	}
	return out
}

// silences are those of the devices, by cohort, and how many devices there were.
type silences struct {
	of      map[string][][2]int64 // of a device
	devices map[string][]string   // of a cohort, those that ever were silent
	size    map[string]int
}

func silencesOf(lines []truth.Line) silences {
	out := silences{of: map[string][][2]int64{}, devices: map[string][]string{}, size: map[string]int{}}
	for i := range lines {
		l := &lines[i]
		switch {
		case l.Device == "":
		case l.Kind == truth.Enrolled:
			out.size[l.Cohort]++
		case l.Kind == truth.Silent || l.Kind == truth.NeverHeard:
			if out.of[l.Device] == nil {
				out.devices[l.Cohort] = append(out.devices[l.Cohort], l.Device)
			}
			out.of[l.Device] = append(out.of[l.Device], [2]int64{int64(l.At), int64(l.Until)})
		}
	}
	return out
}

// explain says whether an incident of silence names devices that were silent indeed, if fewer than must be told of: most
// of those that it names, or two and more that fell silent while it began, and more of them than chance would name.
func (s silences) explain(t *Told, until int64) bool {
	until = cmp.Or(t.ResolvedAt, until)
	if t.Kind != event.SilentCohort || len(t.Devices) == 0 {
		return false
	}
	right, fresh := 0, 0
	fell := func(device string) bool {
		return slices.ContainsFunc(s.of[device], func(x [2]int64) bool {
			return x[0] >= t.Since-hourMS && x[0] <= t.OpenedAt && (x[1] == 0 || x[1] >= t.Since)
		})
	}
	for _, m := range t.Devices {
		if slices.ContainsFunc(s.of[m.ID], func(x [2]int64) bool { return x[0] <= until && (x[1] == 0 || x[1] >= m.Since) }) {
			right++
		}
		if fell(m.ID) {
			fresh++
		}
	}
	if 2*right > len(t.Devices) {
		return true
	}
	all := 0
	for _, device := range s.devices[t.Subject.Cohort] {
		if fell(device) {
			all++
		}
	}
	return fresh >= 2 && chance(s.size[t.Subject.Cohort], all, len(t.Devices), fresh) < byChance
}

const hourMS = int64(time.Hour / time.Millisecond)

// chance that of n devices drawn from a cohort of size, in which some are marked, hits and more are.
func chance(size, marked, n, hits int) float64 {
	if size < marked || size < n {
		size = max(marked, n)
	}
	choose := func(n, k int) float64 {
		a, _ := math.Lgamma(float64(n + 1))
		b, _ := math.Lgamma(float64(k + 1))
		c, _ := math.Lgamma(float64(n - k + 1))
		return a - b - c
	}
	sum := 0.
	for k := hits; k <= min(marked, n); k++ {
		if n-k <= size-marked {
			sum += math.Exp(choose(marked, k) + choose(size-marked, n-k) - choose(size, n))
		}
	}
	return sum
}
