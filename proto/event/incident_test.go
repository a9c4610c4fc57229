package event_test

import (
	"bytes"
	"reflect"
	"strings"
	"testing"

	"muster.dev/proto/batch"
	"muster.dev/proto/event"
	"muster.dev/proto/record"
)

func opened() event.Incident {
	return event.Incident{
		N: 7, ID: "iabcdefgh2345", State: event.IncidentOpen, Kind: event.SilentCohort, Severity: event.SeverityCritical,
		Title: "15 of 50 devices of canary are silent", Cause: "power", Subject: event.Subject{Cohort: "canary", Region: "eu"},
		Since: at, At: at + 120_000, Revision: 1, Count: 15,
		Devices:    []event.Member{{ID: "pump-17", No: 1, Since: at - 60_000, Marks: 5}, {ID: "pump-18", No: 2, Since: at}},
		Numbers:    []event.Number{{Name: "missing", Micro: 15_000_000}, {Name: "usual-share", Micro: 50_000, Unit: "1"}},
		Thresholds: []event.Number{{Name: "tail", Micro: 0, Unit: "1"}},
		Evidence:   []event.Range{{Topic: record.TopicTelemetry, Part: 3, From: 1_000, To: 70_000}},
		Detector:   "silence-1-0a1b2c3d", Runbook: "https://muster.dev/runbooks/silent-cohort", Why: "15 of 50 are missing where 2 are usual.",
	}
}

func judged() event.Verdict {
	return event.Verdict{
		N: 9, Rollout: "pump-2.4", Stage: 1, Verdict: event.VerdictFail, At: at, Final: true, Effect: 8_000_000, Low: 3_000_000, High: 21_000_000,
		EFail: 2_100_000, EPass: -1_000_000, EAbsolute: 0, EInstall: -300_000, Treated: 50, Control: 400, FailedTreated: 11, FailedControl: 4,
		ExposureMS: 90_000_000, Kinds: []event.KindCount{{Kind: "crash", Treated: 9, Control: 3}, {Kind: "silence", Treated: 2, Control: 1}}, Smallest: 2_500_000,
		Devices:  []event.Member{{ID: "pump-17", No: 1, Since: at}},
		Evidence: []event.Range{{Topic: record.TopicEvents, From: 5, To: 5}}, Design: event.DefaultRolloutDesign(), Incident: "iabcdefgh2345",
		Detector: "update-1-0a1b2c3d", Why: "11 of 50 failed, and 4 of 400 without the update.",
	}
}

func TestIncidentsAndVerdictsComeBack(t *testing.T) {
	acked := opened()
	acked.N, acked.Revision, acked.Acked, acked.Devices = 8, 2, event.Ack{Who: "ann", At: at}, nil
	resolved := acked
	resolved.N, resolved.Revision, resolved.Reopened, resolved.State, resolved.ResolvedAt = 9, 3, 1, event.IncidentResolved, at+600_000
	for want, ceType := range map[*event.Incident]string{
		new(opened()): event.TypeIncidentOpened, &acked: event.TypeIncidentUpdated, &resolved: event.TypeIncidentResolved,
	} {
		value, headers, err := want.Encode()
		if err != nil {
			t.Fatal(err)
		}
		got, err := event.DecodeIncident(headers, value)
		if err != nil || !reflect.DeepEqual(got, *want) || event.TypeOf(headers) != ceType {
			t.Errorf("%s: %+v, %v, want %+v", ceType, got, err, want)
		}
		if _, err := event.DecodeVerdict(headers, value); err == nil {
			t.Error("an incident was read as a verdict")
		}
		other := []event.Header{{Key: record.HeaderType, Value: []byte(event.TypeIncidentResolved)}}
		if _, err := event.DecodeIncident(other, value); (err == nil) != (ceType == event.TypeIncidentResolved) {
			t.Errorf("%s under another header: %v", ceType, err)
		}
		if _, err := event.DecodeIncident(nil, value); err == nil {
			t.Error("a record without a type was read")
		}
	}
	value, headers, err := judged().Encode()
	if err != nil {
		t.Fatal(err)
	}
	if got, err := event.DecodeVerdict(headers, value); err != nil || !reflect.DeepEqual(got, judged()) {
		t.Errorf("%+v, %v", got, err)
	}
	if _, err := event.DecodeIncident(headers, value); err == nil {
		t.Error("a verdict was read as an incident")
	}
}

func TestGoldenIncidentsAndVerdictsDecodeForEver(t *testing.T) {
	frozen, means := golden(t, "opened.incident")
	_, headers, _ := opened().Encode()
	if got, err := event.DecodeIncident(headers, frozen); err != nil || !reflect.DeepEqual(got, opened()) || means != event.TypeIncidentOpened+"\n" {
		t.Errorf("%+v, %v", got, err)
	}
	if value, _, err := opened().Encode(); err != nil || !bytes.Equal(value, frozen) {
		t.Errorf("an incident is written otherwise now: % x, %v", value, err)
	}
	frozen, means = golden(t, "fail.verdict")
	_, headers, _ = judged().Encode()
	if got, err := event.DecodeVerdict(headers, frozen); err != nil || !reflect.DeepEqual(got, judged()) || means != event.TypeVerdict+"\n" {
		t.Errorf("%+v, %v", got, err)
	}
	if value, _, err := judged().Encode(); err != nil || !bytes.Equal(value, frozen) {
		t.Errorf("a verdict is written otherwise now: % x, %v", value, err)
	}
}

func TestAVerdictSaysWhatBefellAllThatWereDrawn(t *testing.T) {
	v := judged()
	v.EDrawn, v.DrawnTreated, v.DrawnControl, v.DrawnFailedTreated, v.DrawnFailedControl = 3_000_000, 60, 410, 17, 4
	v.EHealth, v.ComparedTreated, v.ComparedControl = -200_000, 48, 390
	value, headers, err := v.Encode()
	if err != nil {
		t.Fatal(err)
	}
	if got, err := event.DecodeVerdict(headers, value); err != nil || !reflect.DeepEqual(got, v) {
		t.Errorf("%+v, %v", got, err)
	}
}

func TestNumbersAreWrittenInOrderOfName(t *testing.T) {
	i := opened()
	i.Numbers = []event.Number{{Name: "b"}, {Name: "a", Micro: 1}}
	value, headers, err := i.Encode()
	if err != nil {
		t.Fatal(err)
	}
	got, err := event.DecodeIncident(headers, value)
	if err != nil || got.Numbers[0].Name != "a" || got.Numbers[1].Name != "b" || i.Numbers[0].Name != "b" {
		t.Errorf("%+v, %v", got.Numbers, err)
	}
}

func TestABadIncidentIsRefused(t *testing.T) {
	long := strings.Repeat("x", 2_000)
	for name, spoil := range map[string]func(*event.Incident){
		"number 0":             func(i *event.Incident) { i.N = 0 },
		"id":                   func(i *event.Incident) { i.ID = "i1" },
		"id of another letter": func(i *event.Incident) { i.ID = "jabcdefgh2345" },
		"state":                func(i *event.Incident) { i.State = "closed" },
		"resolved at no time":  func(i *event.Incident) { i.State = event.IncidentResolved },
		"open and resolved":    func(i *event.Incident) { i.ResolvedAt = at },
		"kind":                 func(i *event.Incident) { i.Kind = "" },
		"severity":             func(i *event.Incident) { i.Severity = "page" },
		"no title":             func(i *event.Incident) { i.Title = "" },
		"long title":           func(i *event.Incident) { i.Title = long[:event.MaxTitle+1] },
		"title of two lines":   func(i *event.Incident) { i.Title = "a\nb" },
		"cause":                func(i *event.Incident) { i.Cause = "The power" },
		"since":                func(i *event.Incident) { i.Since = -1 },
		"at":                   func(i *event.Incident) { i.At = batch.MaxTime + 1 },
		"revision 0":           func(i *event.Incident) { i.Revision = 0 },
		"acked by nobody":      func(i *event.Incident) { i.Acked.At = at },
		"subject":              func(i *event.Incident) { i.Subject.Metric = "\x00" },
		"runbook":              func(i *event.Incident) { i.Runbook = long },
		"why":                  func(i *event.Incident) { i.Why = long },
		"detector":             func(i *event.Incident) { i.Detector = "" },
		"long detector":        func(i *event.Incident) { i.Detector = long },
		"device":               func(i *event.Incident) { i.Devices = []event.Member{{ID: "A"}} },
		"device's time":        func(i *event.Incident) { i.Devices = []event.Member{{ID: "a", Since: -1}} },
		"devices":              func(i *event.Incident) { i.Devices = make([]event.Member, event.MaxMembers+1) },
		"number's name":        func(i *event.Incident) { i.Numbers = []event.Number{{}} },
		"number's unit":        func(i *event.Incident) { i.Numbers = []event.Number{{Name: "a", Unit: long[:event.MaxUnit+1]}} },
		"thresholds":           func(i *event.Incident) { i.Thresholds = make([]event.Number, event.MaxNumbers+1) },
		"evidence of nothing":  func(i *event.Incident) { i.Evidence = []event.Range{{From: 1, To: 2}} },
		"evidence backwards":   func(i *event.Incident) { i.Evidence = []event.Range{{Topic: "a", From: 2, To: 1}} },
		"evidence's partition": func(i *event.Incident) { i.Evidence = []event.Range{{Topic: "a", Part: -1}} },
		"evidence":             func(i *event.Incident) { i.Evidence = make([]event.Range, event.MaxEvidence+1) },
	} {
		i := opened()
		spoil(&i)
		if _, _, err := i.Encode(); err == nil {
			t.Errorf("%s was written", name)
		} else if _, ok := batch.AsError(err); !ok {
			t.Errorf("%s: %#v", name, err)
		}
	}
}

func TestABadVerdictIsRefused(t *testing.T) {
	for name, spoil := range map[string]func(*event.Verdict){
		"number 0":      func(v *event.Verdict) { v.N = 0 },
		"rollout":       func(v *event.Verdict) { v.Rollout = "" },
		"of control":    func(v *event.Verdict) { v.Stage = 0 },
		"verdict":       func(v *event.Verdict) { v.Verdict = "good" },
		"time":          func(v *event.Verdict) { v.At = -1 },
		"exposure":      func(v *event.Verdict) { v.ExposureMS = -1 },
		"kind":          func(v *event.Verdict) { v.Kinds = []event.KindCount{{}} },
		"kinds twice":   func(v *event.Verdict) { v.Kinds = []event.KindCount{{Kind: "a"}, {Kind: "a"}} },
		"kinds":         func(v *event.Verdict) { v.Kinds = make([]event.KindCount, event.MaxNumbers+1) },
		"incident":      func(v *event.Verdict) { v.Incident = "x" },
		"detector":      func(v *event.Verdict) { v.Detector = "" },
		"why":           func(v *event.Verdict) { v.Why = "a\nb" },
		"design of old": func(v *event.Verdict) { v.Design = event.RolloutDesign{} },
		"device":        func(v *event.Verdict) { v.Devices = []event.Member{{}} },
	} {
		v := judged()
		spoil(&v)
		if _, _, err := v.Encode(); err == nil {
			t.Errorf("%s was written", name)
		} else if _, ok := batch.AsError(err); !ok {
			t.Errorf("%s: %#v", name, err)
		}
	}
}

func TestOnlyTheFormOfAnIncidentsIDIsAnID(t *testing.T) {
	for id, want := range map[string]bool{
		"iabcdefgh2345": true, "i234567abcdef": true, "": false, "i": false, "iabcdefgh234": false, "iabcdefgh23456": false, "iABCDEFGH2345": false,
		"iabcdefgh0189": false, "iabcdefg/2345": false, "../../../etc/x": false,
	} {
		if event.IncidentID(id) != want {
			t.Errorf("%q: %v", id, !want)
		}
	}
}

func FuzzIncidents(f *testing.F) {
	value, headers, err := opened().Encode()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(event.TypeOf(headers), value)
	if value, headers, err = judged().Encode(); err != nil {
		f.Fatal(err)
	}
	f.Add(event.TypeOf(headers), value)
	f.Add(event.TypeIncidentUpdated, []byte{0xdf, 0xff, 0xff, 0xff, 0xff})
	f.Fuzz(func(t *testing.T, ceType string, value []byte) {
		headers := []event.Header{{Key: record.HeaderType, Value: []byte(ceType)}}
		if i, err := event.DecodeIncident(headers, value); err == nil {
			again, headers, err := i.Encode()
			if err != nil {
				t.Fatalf("%+v cannot be written: %v", i, err)
			}
			if got, err := event.DecodeIncident(headers, again); err != nil || !reflect.DeepEqual(got, i) {
				t.Fatalf("%+v became %+v, %v", i, got, err)
			}
		} else if _, ok := batch.AsError(err); !ok {
			t.Fatalf("refused by %#v", err)
		}
		if v, err := event.DecodeVerdict(headers, value); err == nil {
			again, headers, err := v.Encode()
			if err != nil {
				t.Fatalf("%+v cannot be written: %v", v, err)
			}
			if got, err := event.DecodeVerdict(headers, again); err != nil || !reflect.DeepEqual(got, v) {
				t.Fatalf("%+v became %+v, %v", v, got, err)
			}
		} else if _, ok := batch.AsError(err); !ok {
			t.Fatalf("refused by %#v", err)
		}
	})
}
