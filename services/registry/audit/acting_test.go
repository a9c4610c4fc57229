package audit

import (
	"slices"
	"testing"

	"muster.dev/proto/event"
)

func TestAGrantIsAboutTheAgentAndAboutThoseItMaySpeakFor(t *testing.T) {
	bodies := []event.Body{enrolled(1), enrolled(2), enrolled(3), event.DeviceMoved{No: 3, Cohort: "south"},
		event.ActingGranted{Agent: 1, Devices: []uint32{2}},
		event.ActingGranted{Agent: 1, Devices: []uint32{2, 3}, Cohort: "east"},
		event.ActingGranted{Agent: 1, Cohort: "south"},
		event.ActingWithdrawn{Agent: 1},
	}
	subjects := []string{"for pump-2", "for 2 devices and cohort east", "for cohort south", "for nobody"}
	for follow, want := range map[string][]bool{
		"pump-1": {true, true, true, true},
		"pump-2": {true, true, false, false},
		"pump-3": {false, true, true, false},
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
			if i < 4 {
				continue
			}
			got = append(got, entry.Concerns())
			if entry.Device != "pump-1" || entry.Subject != subjects[i-4] {
				t.Errorf("%s: %q of %q", entry.Kind(), entry.Subject, entry.Device)
			}
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s is concerned by %v, want %v", follow, got, want)
		}
	}
}
