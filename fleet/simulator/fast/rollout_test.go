package fast

import (
	"fmt"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"muster.dev/fleet/scenario"
	"muster.dev/fleet/simulator/world"
	"muster.dev/proto/event"
	"muster.dev/proto/record"
)

func updated(devices int) *scenario.Scenario {
	s := calm(devices, 2*time.Hour)
	s.Cohorts[0].Model = "mk2"
	s.Cohorts[0].Metrics = append(s.Cohorts[0].Metrics, scenario.Metric{Name: "heap_used", Kind: "gauge", Model: scenario.Model{Base: 180, Noise: 4}},
		scenario.Metric{Name: "battery", Kind: "gauge", Model: scenario.Model{Follows: "battery"}})
	s.Rollouts = []scenario.Rollout{
		{Firmware: "1.1.0", Cohort: "north-east", At: 30 * time.Minute, Takes: 5 * time.Minute,
			Stages: []scenario.Stage{{Share: 0.1, Soak: 20 * time.Minute}, {Share: 0.5, Soak: 30 * time.Minute}}},
		{Firmware: "1.1.0", Cohort: "south", At: 0, WholeSites: true, Stages: []scenario.Stage{{Share: 1, Soak: 24 * time.Hour}}},
		{Firmware: "1.2.0", Cohort: "south", At: 3 * time.Hour, Stages: []scenario.Stage{{Share: 1}}},
	}
	return s
}

func registryOf(t *testing.T, log map[string][]*kgo.Record) (out []event.Registry) {
	t.Helper()
	for _, r := range log[record.TopicRegistry+"/0"] {
		var headers []event.Header
		for _, h := range r.Headers {
			headers = append(headers, event.Header{Key: h.Key, Value: h.Value})
		}
		e, err := event.DecodeRegistry(headers, r.Value)
		if err != nil {
			t.Fatal(err)
		}
		if e.Time != r.Timestamp.UnixMilli() {
			t.Errorf("event %d of %d is written at %d", e.N, e.Time, r.Timestamp.UnixMilli())
		}
		out = append(out, e)
	}
	return out
}

func TestARolloutIsToldAsItsEngineWould(t *testing.T) {
	s := updated(100)
	_, log := play(t, s, 2)
	begins := s.Begins.UnixMilli()
	minute := time.Minute.Milliseconds()
	devices := map[uint32]event.DeviceEnrolled{}
	arms := map[string]map[uint8][]uint32{}
	var said []string
	for _, e := range registryOf(t, log) {
		after := fmt.Sprint((e.Time - begins) / minute)
		switch b := e.Body.(type) {
		case event.DeviceEnrolled:
			devices[b.No] = b
		case event.RolloutStarted:
			said = append(said, fmt.Sprint(after, " ", b.Rollout, " ", b.Cohort, " ", b.From, ">", b.Firmware, " ", b.Stages, b.BySite, b.Health))
			arms[b.Rollout] = map[uint8][]uint32{}
		case event.RolloutAssigned:
			arms[b.Rollout][b.Stage] = append(arms[b.Rollout][b.Stage], b.Devices...)
			for _, no := range b.Devices {
				if d, ok := devices[no]; !ok || d.Attributes["site"] == "" || (d.Attributes["model"] == "mk2") != (d.Cohort == "north-east") {
					t.Errorf("device %d is assigned, and known as %+v", no, d)
				}
			}
		case event.RolloutStageStarted:
			said = append(said, fmt.Sprint(after, " ", b.Rollout, " stage ", b.Stage))
		case event.RolloutChanged:
			said = append(said, fmt.Sprint(after, " ", b.Rollout, " ", b.State))
		}
	}
	want := []string{
		"0 rollout-2 south 1.0.0>1.1.0 [{1000000 86400000}] true []",
		"0 rollout-2 stage 1",
		"29 rollout-1 north-east 1.0.0>1.1.0 [{100000 1200000} {500000 1800000}] false [{battery -1} {heap_used 1}]",
		"30 rollout-1 stage 1",
		"50 rollout-1 stage 2",
		"80 rollout-1 done",
	}
	if fmt.Sprint(said) != fmt.Sprint(want) {
		t.Errorf("said\n%q, want\n%q", said, want)
	}
	if a := arms["rollout-1"]; len(a[0]) != 50 || len(a[1]) != 10 || len(a[2]) != 40 {
		t.Errorf("arms %v", a)
	}
	if a := arms["rollout-2"]; len(a) != 1 || len(a[1]) != 50 {
		t.Errorf("arms %v", a)
	}
}

func TestAnAssignmentOfManyIsCutIntoEventsThatTheLogTakes(t *testing.T) {
	s := updated(event.MaxAssigned*3 + 10)
	w, err := world.New(s, 7)
	if err != nil {
		t.Fatal(err)
	}
	f, err := newFleet(w, 4, nil)
	if err != nil {
		t.Fatal(err)
	}
	control, n := 0, 0
	for _, c := range f.due {
		if b, ok := c.body.(event.RolloutAssigned); ok && b.Rollout == "rollout-1" && b.Stage == 0 {
			control, n = control+len(b.Devices), n+1
			if _, _, err := (event.Registry{N: 1, Body: b}).Encode(); err != nil {
				t.Fatal(err)
			}
		}
	}
	if control != 75_005 || n != 2 {
		t.Errorf("%d devices of the control in %d events", control, n)
	}
}
