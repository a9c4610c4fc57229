package audit

import (
	"slices"
	"testing"

	"muster.dev/proto/event"
)

func TestARolloutIsAboutItsCohortAndAboutWhoeverIsAssigned(t *testing.T) {
	bodies := []event.Body{enrolled(1), enrolled(2), event.DeviceMoved{No: 2, Cohort: "south"},
		event.RolloutStarted{Rollout: "pump-2.4", Cohort: "north", Firmware: "2.4.0", Stages: []event.RolloutStage{{SharePPM: 500_000}}, Design: event.DefaultRolloutDesign()},
		event.RolloutAssigned{Rollout: "pump-2.4", Devices: []uint32{2}},
		event.RolloutAssigned{Rollout: "pump-2.4", Stage: 1, Devices: []uint32{1, 3}},
		event.RolloutStageStarted{Rollout: "pump-2.4", Stage: 1},
		event.RolloutChanged{Rollout: "pump-2.4", State: event.RolloutDone},
		event.IncidentAcknowledged{Incident: "iabcdefgh2345"},
	}
	subjects := []string{
		"rollout pump-2.4 of 2.4.0", "rollout pump-2.4, control: 1 devices", "rollout pump-2.4, stage 1: 2 devices", "rollout pump-2.4: stage 1",
		"rollout pump-2.4: done", "incident iabcdefgh2345",
	}
	for follow, want := range map[string][]bool{
		"pump-1": {true, false, true, false, false, false},
		"pump-2": {false, true, false, false, false, false},
		"":       {false, false, false, false, false, false},
	} {
		v, r := NewVerifier(), NewReader()
		r.Follow(follow)
		var got []bool
		for i, rec := range chain(t, bodies...) {
			e, linked, err := v.Add(rec)
			if err != nil {
				t.Fatal(err)
			}
			entry := r.Entry(rec, e, linked, err)
			if i < 3 {
				continue
			}
			got = append(got, entry.Concerns())
			if entry.Subject != subjects[i-3] || len(entry.Body) < 3 {
				t.Errorf("%s: %q, %s", entry.Kind(), entry.Subject, entry.Body)
			}
		}
		if !slices.Equal(got, want) {
			t.Errorf("%q is concerned by %v, want %v", follow, got, want)
		}
	}
}
