package evaluate

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"muster.dev/fleet/scenario"
	"muster.dev/fleet/simulator/truth"
	"muster.dev/proto/event"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// pumps is a scenario of one cohort of ten with an interval of a minute.
func pumps() *scenario.Scenario {
	return &scenario.Scenario{
		Name: "pumps", Begins: time.UnixMilli(0), Lasts: 48 * time.Hour,
		Cohorts: []scenario.Cohort{{Name: "pumps", Devices: 10, Interval: time.Minute}},
	}
}

func enrolled(n int) (out []truth.Line) {
	for i := range n {
		out = append(out, truth.Line{Kind: truth.Enrolled, Cohort: "pumps", Device: fmt.Sprintf("pump-%d", i)})
	}
	return out
}

func hour(h float64) truth.Time { return truth.Time(h * 3_600_000) }

func silent(device int, from, until float64, cause string) truth.Line {
	return truth.Line{Kind: truth.Silent, Cohort: "pumps", Device: fmt.Sprintf("pump-%d", device), At: hour(from), Until: hour(until), Detail: map[string]any{"cause": cause}}
}

func told(kind event.IncidentKind, cause string, at, until float64, devices ...int) Told {
	t := Told{Incident: event.Incident{Kind: kind, Cause: cause, Subject: event.Subject{Cohort: "pumps"}, Since: int64(hour(at)), At: int64(hour(at)), ResolvedAt: int64(hour(until))}, OpenedAt: int64(hour(at))}
	for _, d := range devices {
		t.Devices = append(t.Devices, event.Member{ID: fmt.Sprintf("pump-%d", d), Since: int64(hour(at))})
	}
	t.spans = [][2]int64{{t.OpenedAt, t.ResolvedAt}}
	return t
}

func TestThreeOfTenSilentMustBeToldAndTwoNeedNot(t *testing.T) {
	lines := append(enrolled(10), silent(0, 1, 3, "power"), silent(1, 1.1, 3, "battery"))
	if w := Wants(pumps(), lines); len(w) != 0 {
		t.Errorf("two of ten: %+v", w)
	}
	lines = append(lines, silent(2, 1.5, 2.5, "power"))
	w := Wants(pumps(), lines)
	if len(w) != 1 || !w[0].Must || w[0].At != int64(hour(1.5)) || w[0].Until != int64(hour(2.5)) || w[0].Causes[0] != "power" || len(w[0].Devices) != 3 {
		t.Fatalf("three of ten: %+v", w)
	}
	j := Judge(w, []Told{told(event.SilentCohort, "power", 1.55, 3, 0, 1, 2)}, lines, int64(hour(48)))
	if a := j.Answers[0]; len(a.Found) != 1 || !a.Cause || a.Delay != 3*time.Minute || len(j.False) != 0 {
		t.Errorf("the right incident: %+v, false %v", a, j.False)
	}
}

func TestASilenceTooShortToBeToldIsNoMissAndNotFalse(t *testing.T) {
	lines := append(enrolled(10), silent(0, 1, 1.08, "power"), silent(1, 1, 1.08, "power"), silent(2, 1, 1.08, "power"))
	w := Wants(pumps(), lines)
	if len(w) != 1 || w[0].Must {
		t.Fatalf("five minutes of silence: %+v", w)
	}
	if j := Judge(w, []Told{told(event.SilentCohort, "", 1.05, 1.2, 0, 1, 2)}, lines, int64(hour(48))); len(j.False) != 0 {
		t.Error("it was true, if not asked for")
	}
}

func TestAnIncidentThatNothingExplainsIsFalse(t *testing.T) {
	lines := append(enrolled(10), silent(0, 1, 3, "power"), silent(1, 1, 3, "power"), silent(2, 1, 3, "power"))
	all := []Told{
		told(event.SilentCohort, "power", 1.1, 3, 0, 1, 2),
		told(event.SilentCohort, "radio", 10, 11, 5, 6, 7), // nobody was silent then
		told(event.Spend, "", 1.1, 3),
		told(event.SilentCohort, "power", 1.2, 3, 0, 1), // the same once more
	}
	j := Judge(Wants(pumps(), lines), all, lines, int64(hour(48)))
	if fmt.Sprint(j.False) != "[1 2]" || fmt.Sprint(j.Answers[0].Found) != "[0 3]" {
		t.Errorf("false %v, found %v", j.False, j.Answers[0].Found)
	}
	var b bytes.Buffer
	o := Outcome{Scenario: "pumps", Judgement: j, CohortWeeks: 2}
	if err := Table(&b, []Outcome{o}); err != nil || o.Missed() != 0 {
		t.Fatal(err, o.Missed())
	}
	for _, want := range []string{"3 of 10 silent (power)", "1 must be told", "6m", "1.00"} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("the table lacks %q:\n%s", want, b.String())
		}
	}
}

func TestADeviceThatWasSilentAloneIsNoFalseIncident(t *testing.T) {
	lines := append(enrolled(10), silent(4, 5, 30, "hang"))
	j := Judge(Wants(pumps(), lines), []Told{told(event.SilentCohort, "unknown", 6, 30, 4)}, lines, int64(hour(48)))
	if len(j.False) != 0 {
		t.Error("the device was silent indeed")
	}
}

func TestASoundUpdateAsksForNothingAndABadOneForOneWord(t *testing.T) {
	s := pumps()
	s.Rollouts = []scenario.Rollout{{Firmware: "2.0.0", Cohort: "pumps", At: 10 * time.Hour}}
	s.Firmware = []scenario.Firmware{{Version: "2.0.0"}}
	lines := enrolled(10)
	for d := range 8 { // crashes that the new version is not to blame for
		lines = append(lines, truth.Line{Kind: truth.Crash, Cohort: "pumps", Device: fmt.Sprintf("pump-%d", d), At: hour(12), Detail: map[string]any{"firmware": "2.0.0"}})
	}
	if w := Wants(s, lines); len(w) != 0 {
		t.Errorf("a sound firmware: %+v", w)
	}
	s.Firmware[0].Crashes = &scenario.Crashes{}
	for d := range 10 {
		lines = append(lines, truth.Line{Kind: truth.Update, Cohort: "pumps", Device: fmt.Sprintf("pump-%d", d), At: hour(11), Detail: map[string]any{"to": "2.0.0", "result": "ok"}})
	}
	w := Wants(s, lines)
	if len(w) != 1 || !w[0].Must || w[0].Kinds[0] != event.UpdateFailure {
		t.Errorf("a bad firmware: %+v", w)
	}
}

func TestAnOutageOfARegionIsOneThingForAllItsCohorts(t *testing.T) {
	s := pumps()
	s.Cohorts = append(s.Cohorts, scenario.Cohort{Name: "fans", Devices: 3, Interval: time.Minute})
	lines := append(enrolled(10),
		truth.Line{Kind: "region-outage", Cohort: "fans", At: hour(3), Until: hour(5), Detail: map[string]any{"region": "west"}},
		truth.Line{Kind: "region-outage", Cohort: "pumps", At: hour(3), Until: hour(5), Detail: map[string]any{"region": "west"}})
	if w := Wants(s, lines); len(w) != 1 || w[0].Region != "west" {
		t.Errorf("%+v", w)
	}
}

func TestAnIncidentIsItsLastRecordAndTheDevicesThatItNamedLast(t *testing.T) {
	all := Gather([]event.Incident{
		{ID: "a", State: event.IncidentOpen, At: 1, Cause: "unknown", Devices: []event.Member{{ID: "pump-1"}}},
		{ID: "b", State: event.IncidentOpen, At: 2},
		{ID: "a", State: event.IncidentOpen, At: 3, Cause: "power", Devices: []event.Member{{ID: "pump-1"}, {ID: "pump-2"}}},
		{ID: "a", State: event.IncidentResolved, At: 4, Cause: "power", ResolvedAt: 4},
	})
	if len(all) != 2 || all[0].OpenedAt != 1 || all[0].ResolvedAt != 4 || len(all[0].Devices) != 2 || fmt.Sprint(all[0].Causes) != "[unknown power]" {
		t.Errorf("%+v", all)
	}
}

func TestEachCloneIsToBeToldAndOnlyByItsOwnCause(t *testing.T) {
	lines := append(enrolled(10), truth.Line{Kind: "clone", Cohort: "pumps", At: hour(3), Until: hour(5), Count: 2, IDs: []string{"pump-1", "pump-2"}})
	w := Wants(pumps(), lines)
	if len(w) != 2 {
		t.Fatalf("%+v", w)
	}
	one, other := told(event.Security, "clone", 3.1, 5, 1), told(event.Security, "knocking", 3.1, 5)
	j := Judge(w, []Told{one, other}, lines, int64(hour(48)))
	if len(j.Answers[0].Found) != 1 || len(j.Answers[1].Found) != 0 || fmt.Sprint(j.False) != "[1]" {
		t.Errorf("%+v, false %v", j.Answers, j.False)
	}
}

// One incident of a region tells of each of its cohorts, by the devices of that cohort which it names.
func TestAnIncidentOfARegionTellsOfEachCohortThatItNames(t *testing.T) {
	s := pumps()
	lines := enrolled(10)
	of := func(cohort string, l truth.Line) truth.Line {
		l.Cohort, l.Device = cohort, strings.Replace(l.Device, "pump", cohort, 1)
		return l
	}
	s.Cohorts = append(s.Cohorts, scenario.Cohort{Name: "fans", Devices: 10, Interval: time.Minute}, scenario.Cohort{Name: "doors", Devices: 10, Interval: time.Minute})
	for _, l := range enrolled(10) {
		lines = append(lines, of("fans", l), of("doors", l))
	}
	region := told(event.SilentCohort, "region", 1.1, 3)
	region.Subject = event.Subject{Region: "west"}
	for d := range 4 {
		one := silent(d, 1, 3, "radio")
		for _, l := range []truth.Line{one, of("fans", one), of("doors", one)} { // of no cohort it names a half
			lines = append(lines, l)
			region.Devices = append(region.Devices, event.Member{ID: l.Device, Since: int64(hour(1))})
		}
	}
	wants := Wants(s, lines)
	j := Judge(wants, []Told{region}, lines, int64(hour(48)))
	if len(j.Answers) != 3 || fmt.Sprint(j.Answers[0].Found, j.Answers[1].Found, j.Answers[2].Found, j.False) != "[0] [0] [0] []" || j.Answers[0].Delay != 6*time.Minute {
		t.Fatalf("%+v, false %v", j.Answers, j.False)
	}
	region.Devices = region.Devices[:0]
	for d := range 4 { // of the others it names none
		region.Devices = append(region.Devices, event.Member{ID: fmt.Sprintf("pump-%d", d), Since: int64(hour(1))})
	}
	j = Judge(wants, []Told{region}, lines, int64(hour(48)))
	for _, a := range j.Answers {
		if told := len(a.Found) > 0; told != (a.Cohort == "pumps") {
			t.Errorf("%s: %v", a.Cohort, a.Found)
		}
	}
}

func TestDevicesNeverHeardAreAShareOfAllThatCame(t *testing.T) {
	lines := enrolled(10)
	for d := range 30 {
		lines = append(lines, truth.Line{Kind: truth.Enrolled, Cohort: "pumps", Device: fmt.Sprintf("late-%d", d), At: hour(5)})
	}
	mute := func(d int) truth.Line {
		return truth.Line{Kind: truth.NeverHeard, Cohort: "pumps", Device: fmt.Sprintf("late-%d", d), At: hour(5)}
	}
	lines = append(lines, mute(0), mute(1), mute(2), mute(3))
	if w := Wants(pumps(), lines); len(w) != 0 {
		t.Errorf("four of forty: %+v", w)
	}
	for d := 4; d < 12; d++ {
		lines = append(lines, mute(d))
	}
	if w := Wants(pumps(), lines); len(w) != 1 || w[0].What != "12 of 40 never heard" {
		t.Errorf("twelve of forty: %+v", w)
	}
}
