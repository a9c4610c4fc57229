package verbs

import (
	"maps"
	"slices"
	"time"

	"muster.dev/cmd/muster/evaluate"
	"muster.dev/proto/event"
)

// outcomeShown is what came of a scenario as --json prints it. Incidents are named by their ids, and stand in told.
type outcomeShown struct {
	Scenario    string        `json:"scenario"`
	Seed        uint64        `json:"seed"`
	Records     int64         `json:"records"`
	TookMS      int64         `json:"took_ms"`
	CohortWeeks float64       `json:"cohort_weeks"`
	Missed      int           `json:"missed"`
	Answers     []answerShown `json:"answers"`
	Small       []string      `json:"small"` // of devices that were silent indeed, too few to be asked for
	False       []string      `json:"false"` // nothing explains them
	Told        []toldShown   `json:"told"`
}

// answerShown is one thing that befell the fleet, and what told it.
type answerShown struct {
	What       string    `json:"what"`
	Must       bool      `json:"must"`
	Kinds      []string  `json:"kinds"`
	Causes     []string  `json:"causes,omitempty"`
	Cohort     string    `json:"cohort,omitempty"`
	Region     string    `json:"region,omitempty"`
	Metrics    []string  `json:"metrics,omitempty"`
	Devices    []string  `json:"devices,omitempty"`
	CohortSize int       `json:"cohort_size,omitempty"`
	From       time.Time `json:"from"`
	At         time.Time `json:"at"`
	Until      time.Time `json:"until"`
	IntervalMS int64     `json:"interval_ms,omitempty"`
	Found      []string  `json:"found"`
	Beside     []string  `json:"beside"`
	DelayMS    *int64    `json:"delay_ms,omitempty"`    // until it was told; of what was found
	CauseRight *bool     `json:"cause_right,omitempty"` // of the first that was found
}

// toldShown is an incident as it stands in the end, with its devices at worst.
type toldShown struct {
	incidentShown
	OpenedAt time.Time `json:"opened_at"`
	Causes   []string  `json:"causes"` // that it ever had, the last one is the present one
}

func outcomesShown(all []evaluate.Outcome) []outcomeShown {
	out := make([]outcomeShown, len(all))
	for i := range all {
		o := &all[i]
		ids := func(numbers []int) []string {
			ids := make([]string, len(numbers))
			for k, n := range numbers {
				ids[k] = o.Judgement.Told[n].ID
			}
			return ids
		}
		s := outcomeShown{
			Scenario: o.Scenario, Seed: o.Seed, Records: o.Records, TookMS: o.Took.Milliseconds(), CohortWeeks: o.CohortWeeks, Missed: o.Missed(),
			Answers: []answerShown{}, Small: ids(o.Judgement.Small), False: ids(o.Judgement.False), Told: []toldShown{},
		}
		for k := range o.Judgement.Answers {
			s.Answers = append(s.Answers, answerOf(&o.Judgement.Answers[k], ids))
		}
		for k := range o.Judgement.Told {
			t := &o.Judgement.Told[k]
			s.Told = append(s.Told, toldShown{shownOf(&t.Incident), milliTime(t.OpenedAt), t.Causes})
		}
		out[i] = s
	}
	return out
}

func answerOf(a *evaluate.Answer, ids func([]int) []string) answerShown {
	s := answerShown{
		What: a.What, Must: a.Must, Kinds: namesOfKinds(a.Kinds), Causes: a.Causes, Cohort: a.Cohort, Region: a.Region,
		Metrics: slices.Sorted(maps.Keys(a.Metrics)), Devices: slices.Sorted(maps.Keys(a.Devices)), CohortSize: a.Of,
		From: milliTime(a.From), At: milliTime(a.At), Until: milliTime(a.Until), IntervalMS: a.Interval, Found: ids(a.Found), Beside: ids(a.Beside),
	}
	if a.Metric != "" {
		s.Metrics = []string{a.Metric}
	}
	if len(a.Found) > 0 {
		delay, right := a.Delay.Milliseconds(), a.Cause
		s.DelayMS, s.CauseRight = &delay, &right
	}
	return s
}

func namesOfKinds(kinds []event.IncidentKind) []string {
	out := make([]string, len(kinds))
	for i, kind := range kinds {
		out[i] = string(kind)
	}
	return out
}
