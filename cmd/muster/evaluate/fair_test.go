package evaluate

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"time"

	"muster.dev/fleet/scenario"
	"muster.dev/fleet/simulator/truth"
	"muster.dev/proto/event"
)

func TestAnIncidentOfAnotherRegionIsNotExplainedByAnOutage(t *testing.T) {
	s := pumps()
	s.Cohorts[0].Region = "west"
	s.Cohorts = append(s.Cohorts, scenario.Cohort{Name: "fans", Devices: 3, Interval: time.Minute, Region: "east"})
	lines := append(enrolled(10), truth.Line{Kind: "region-outage", Cohort: "fans", Fault: 1, At: hour(3), Until: hour(5), Detail: map[string]any{"region": "east"}})
	for i := range lines[:10] {
		lines[i].Detail = map[string]any{"region": "west"}
	}
	east := told(event.SilentCohort, "region", 3.1, 5)
	east.Subject = event.Subject{Region: "east"}
	j := Judge(Wants(s, lines), []Told{told(event.SilentCohort, "unknown", 3.1, 5, 1, 2, 3), east}, lines, int64(hour(48)))
	if fmt.Sprint(j.False) != "[0]" || fmt.Sprint(j.Answers[0].Found) != "[1]" {
		t.Errorf("false %v, found %v", j.False, j.Answers[0].Found)
	}
	two := append(lines, truth.Line{Kind: "region-outage", Cohort: "pumps", Fault: 2, At: hour(3), Until: hour(5), Detail: map[string]any{"region": "west"}})
	if w := Wants(s, two); len(w) != 2 {
		t.Errorf("two regions out at the same time: %+v", w)
	}
	short := append(enrolled(10), truth.Line{Kind: "region-outage", Cohort: "fans", At: hour(3), Until: hour(3.05), Detail: map[string]any{"region": "east"}})
	if w := Wants(s, short); len(w) != 1 || w[0].Must {
		t.Errorf("three minutes: %+v", w)
	}
}

func TestWhatWasOpenForOtherReasonsDoesNotTellOfWhatCameLater(t *testing.T) {
	s := pumps()
	s.Cohorts[0].Metrics = []scenario.Metric{{Name: "level", Model: scenario.Model{Noise: .1}}}
	lines := append(enrolled(10), truth.Line{Kind: "anomaly", Cohort: "pumps", At: hour(20), Until: hour(30), Count: 1, IDs: []string{"pump-1"}, Detail: map[string]any{"metric": "level", "kind": "jump", "by": 2.}})
	before := told(event.TelemetryAnomaly, "peers", 4, 0, 0, 1, 2, 3)
	before.ResolvedAt, before.Subject.Metric = 0, "level"
	right := told(event.TelemetryAnomaly, "device", 20.5, 31, 1)
	right.Subject.Metric, right.Subject.Device = "level", "pump-1"
	back := told(event.TelemetryAnomaly, "device", 31.5, 33, 1)
	back.Subject = right.Subject
	j := Judge(Wants(s, lines), []Told{before, right, back}, lines, int64(hour(48)))
	a := j.Answers[0]
	if !a.Must || fmt.Sprint(j.False) != "[0]" || fmt.Sprint(a.Found) != "[1]" || fmt.Sprint(a.Beside) != "[2]" || a.TooMany() != 1 {
		t.Errorf("%+v, false %v", a, j.False)
	}
	var b bytes.Buffer
	if err := Table(&b, []Outcome{{Scenario: "pumps", Judgement: j, CohortWeeks: 1}}); err != nil || !strings.Contains(b.String(), "1 too many") {
		t.Error(err, b.String())
	}
	lines[10].Detail["by"] = .2
	if w := Wants(s, lines); w[0].Must {
		t.Error("a jump by two standard deviations had to be told")
	}
}

func TestOneIncidentTellsOfASilenceThatComesBack(t *testing.T) {
	lines := enrolled(10)
	for d := range 5 {
		lines = append(lines, silent(d, 10, 12, "power"), silent(d, 12.1, 14, "power"))
	}
	one := told(event.SilentCohort, "power", 10.05, 14, 0, 1, 2, 3, 4)
	one.spans = [][2]int64{{one.OpenedAt, int64(hour(12))}, {int64(hour(12.15)), one.ResolvedAt}}
	j := Judge(Wants(pumps(), lines), []Told{one}, lines, int64(hour(48)))
	if len(j.Answers) != 2 || len(j.Answers[0].Found) != 1 || len(j.Answers[1].Found) != 1 || j.Answers[1].Delay != 3*time.Minute {
		t.Errorf("%+v", j.Answers)
	}
	if j := Judge(Wants(pumps(), lines), []Told{told(event.SilentCohort, "power", 10.05, 11.9, 0, 1, 2, 3, 4)}, lines, int64(hour(48))); len(j.Answers[1].Found) != 0 {
		t.Error("it was over before the second one began")
	}
}

func TestAnIncidentThatWasOpenedAgainTellsWhatBeganWhileItWasOpen(t *testing.T) {
	record := func(at float64, state string, resolved float64) event.Incident {
		return event.Incident{ID: "i1", Kind: event.Pipeline, Cause: "gateway", Subject: event.Subject{Region: "west"}, Since: int64(hour(10)), At: int64(hour(at)), State: state, ResolvedAt: int64(hour(resolved))}
	}
	one := Gather([]event.Incident{
		record(10.05, event.IncidentOpen, 0), record(10.1, event.IncidentResolved, 10.1),
		record(10.25, event.IncidentOpen, 0), record(11.3, event.IncidentResolved, 11), // told when it had been quiet
	})
	var wants []Want
	for _, at := range []float64{10, 10.2, 10.4, 10.9, 12.5} {
		wants = append(wants, Want{Kinds: []event.IncidentKind{event.Pipeline}, Region: "west", At: int64(hour(at)), From: int64(hour(at)), Until: int64(hour(at + .1))})
	}
	j := Judge(wants, one, nil, int64(hour(48)))
	for k, minutes := range []int{3, 3, 0, 0, -1} {
		a := &j.Answers[k]
		if found := len(a.Found) == 1; found != (minutes >= 0) || found && a.Delay != time.Duration(minutes)*time.Minute {
			t.Errorf("outage %d: found %v after %s", k, a.Found, a.Delay)
		}
	}
}

func TestAnIncidentIsOfTheLastCauseThatHadBegunElseOfTheNext(t *testing.T) {
	wants := []Want{{At: 10}, {At: 20}, {At: 20}, {At: 25, Cohort: "other"}, {At: 30}}
	mine := func(w *Want) bool { return w.Cohort == "" }
	for opened, tells := range map[int64]int{9: 0, 10: 0, 19: 0, 20: 2, 26: 2, 30: 4, 99: 4} {
		if k := nearest(wants, opened, mine); k != tells {
			t.Errorf("opened at %d, it is of the one at %d, want %d", opened, k, tells)
		}
	}
	if k := nearest(wants[1:], 9, mine); k != 0 {
		t.Errorf("of two that are to come it is the one at %d, want the first", k)
	}
	if k := nearest(wants[3:4], 40, mine); k != -1 {
		t.Errorf("nothing explains it: %d", k)
	}
}

func TestFewSilentDevicesExplainAnIncidentOnlyBeyondChance(t *testing.T) {
	s := pumps()
	s.Cohorts[0].Devices = 300
	lines := enrolled(300)
	for d := range 3 {
		lines = append(lines, silent(d, 10, 11, "battery"))
	}
	for d := 100; d < 120; d++ {
		lines = append(lines, silent(d, 1, 40, "battery")) // for long: whoever is told now says nothing new
	}
	j := Judge(Wants(s, lines), []Told{
		told(event.SilentCohort, "", 10.2, 11, 0, 1, 2, 50, 51, 52, 53),
		told(event.SilentCohort, "", 10.2, 11, 0, 50, 51, 52, 53),
		told(event.SilentCohort, "", 20, 21, 100, 101, 50, 51, 52, 53, 54, 55),
	}, lines, int64(hour(48)))
	if fmt.Sprint(j.Small, j.False) != "[0] [1 2]" {
		t.Errorf("small %v, false %v", j.Small, j.False)
	}
}

func TestSleepersCanBeMissedFromWhenTheyWake(t *testing.T) {
	s := pumps()
	s.Cohorts[0].Sleep = &scenario.Sleep{Every: 24 * time.Hour, From: scenario.Clocktime(18 * time.Hour), For: 14 * time.Hour}
	lines := enrolled(10)
	for d := range 5 {
		lines = append(lines, silent(d, 3, 12, "power"))
	}
	if w := Wants(s, lines); len(w) != 1 || !w[0].Must || w[0].At != int64(hour(8)) {
		t.Errorf("%+v", w)
	}
	for d := range 5 {
		lines[10+d].Until = hour(7)
	}
	if w := Wants(s, lines); len(w) != 1 || w[0].Must {
		t.Errorf("they slept all the while: %+v", w)
	}
}

func TestWhoIsTakenDownInTheDarkLeavesNoTraceOfTheCause(t *testing.T) {
	s := pumps()
	s.Faults = []scenario.Fault{{PowerLoss: &scenario.PowerLoss{}}}
	lines := enrolled(10)
	for d := range 10 {
		l := silent(d, 3, 12, "power")
		l.Fault = 1
		lines = append(lines, l)
	}
	if w := Wants(s, lines); len(w) != 1 || fmt.Sprint(w[0].Causes) != "[power]" {
		t.Errorf("they come back and say so: %+v", w)
	}
	for d := range 10 {
		lines = append(lines, truth.Line{Kind: truth.Left, Cohort: "pumps", Device: fmt.Sprintf("pump-%d", d), At: hour(12)})
	}
	if w := Wants(s, lines); len(w) != 1 || fmt.Sprint(w[0].Causes) != "[power unknown]" {
		t.Errorf("nobody comes back: %+v", w)
	}
	s.Faults[0].PowerLoss.BrownOuts = 1
	if w := Wants(s, lines); len(w) != 1 || fmt.Sprint(w[0].Causes) != "[power]" {
		t.Errorf("they browned out: %+v", w)
	}
}

func TestCrashesByThemselvesAreNoHarmOfAVersion(t *testing.T) {
	s := pumps()
	s.Rollouts = []scenario.Rollout{{Firmware: "2.0.0", Cohort: "pumps", At: 10 * time.Hour, Stages: []scenario.Stage{{Share: .5}}}}
	s.Firmware = []scenario.Firmware{{Version: "2.0.0", Shifts: []scenario.Shift{{Metric: "level", By: 1}}}}
	lines := enrolled(10)
	for d := range 8 {
		lines = append(lines, truth.Line{Kind: truth.Crash, Cohort: "pumps", Device: fmt.Sprintf("pump-%d", d), At: hour(12), Detail: map[string]any{"firmware": "2.0.0"}})
	}
	if w := Wants(s, lines); len(w) != 1 || w[0].Must {
		t.Errorf("it only moves a metric: %+v", w)
	}
	s.Firmware[0].Crashes = &scenario.Crashes{}
	if w := Wants(s, lines); len(w) != 1 || !w[0].Must {
		t.Errorf("it crashes: %+v", w)
	}
	s.Rollouts[0].Stages[0].Share = 1
	if w := Wants(s, lines); len(w) != 1 || w[0].Must {
		t.Errorf("there is nobody to hold it against: %+v", w)
	}
}

func TestChanceIsTheHypergeometricTail(t *testing.T) {
	if p := chance(10, 5, 4, 0); p < .999999 || p > 1.000001 {
		t.Error(p)
	}
	if p := chance(10, 5, 2, 2); p < .2222 || p > .2223 { // 5/10 of 4/9
		t.Error(p)
	}
}
