package roster

import (
	"fmt"
	"slices"
	"testing"

	"muster.dev/proto/event"
	"muster.dev/proto/identity"
)

// site is an edge gateway (1) that acts for a named device (2) and for a cohort (3 and 4 are in it), and a stranger (5).
func site(t testing.TB, more ...event.Body) *State {
	t.Helper()
	in := func(no uint32, id, cohort string) event.Body {
		return event.DeviceEnrolled{Device: id, No: no, Cohort: cohort, SPKI: hash(id), Serial: fmt.Sprintf("%x", 16+no)}
	}
	s := told(t, NewState(), in(1, "edge", "edges"), in(2, "named", "north"), in(3, "hall-1", "hall"), in(4, "hall-2", "hall"), in(5, "stranger", "north"),
		event.ActingGranted{Agent: 1, Devices: []uint32{2}, Cohort: "hall"})
	return told(t, s, more...)
}

// for whom the agent may speak, by every way of asking.
func actsFor(t *testing.T, s *State, agent uint32) (may []string) {
	t.Helper()
	for d := range s.Devices {
		found, standing := s.ActFor(agent, d.ID)
		if got := s.MayActFor(agent, &d); got != (standing == Good) {
			t.Errorf("%d for %s: %v, and %v", agent, d.ID, got, standing)
		}
		if standing == Unknown && found.No != 0 || standing != Unknown && found.No != d.No {
			t.Errorf("%d for %s is %v, and of %+v", agent, d.ID, standing, found)
		}
		if standing == Good {
			may = append(may, string(d.ID))
		}
	}
	return may
}

func TestAnAgentSpeaksForThoseThatItWasGrantedAndForNoOther(t *testing.T) {
	for name, tc := range map[string]struct {
		then []event.Body
		want []string
	}{
		"as granted":               {nil, []string{"edge", "named", "hall-1", "hall-2"}},
		"one comes to the cohort":  {[]event.Body{event.DeviceMoved{No: 5, Cohort: "hall"}}, []string{"edge", "named", "hall-1", "hall-2", "stranger"}},
		"one leaves the cohort":    {[]event.Body{event.DeviceMoved{No: 3, Cohort: "north"}}, []string{"edge", "named", "hall-2"}},
		"the named one moves":      {[]event.Body{event.DeviceMoved{No: 2, Cohort: "west"}}, []string{"edge", "named", "hall-1", "hall-2"}},
		"one is held off":          {[]event.Body{event.DeviceQuarantined{No: 2, On: true}}, []string{"edge", "hall-1", "hall-2"}},
		"the cohort is held off":   {[]event.Body{event.CohortQuarantined{Cohort: "hall", On: true}}, []string{"edge", "named"}},
		"one is revoked":           {[]event.Body{event.DeviceRevoked{No: 4}}, []string{"edge", "named", "hall-1"}},
		"the cohort is revoked":    {[]event.Body{event.CohortRevoked{Cohort: "hall"}}, []string{"edge", "named"}},
		"the agent is held off":    {[]event.Body{event.DeviceQuarantined{No: 1, On: true}}, nil},
		"its cohort is held off":   {[]event.Body{event.CohortQuarantined{Cohort: "edges", On: true}}, nil},
		"it is let in again":       {[]event.Body{event.DeviceQuarantined{No: 1, On: true}, event.DeviceQuarantined{No: 1}}, []string{"edge", "named", "hall-1", "hall-2"}},
		"the agent is revoked":     {[]event.Body{event.DeviceRevoked{No: 1}}, nil},
		"the agent is replaced":    {[]event.Body{event.DeviceReplaced{Old: 1, New: 5}}, nil},
		"the grant is another":     {[]event.Body{event.ActingGranted{Agent: 1, Devices: []uint32{5}}}, []string{"edge", "stranger"}},
		"the grant is of a cohort": {[]event.Body{event.ActingGranted{Agent: 1, Cohort: "north"}}, []string{"edge", "named", "stranger"}},
		"the grant is withdrawn":   {[]event.Body{event.ActingWithdrawn{Agent: 1}, event.ActingWithdrawn{Agent: 1}}, []string{"edge"}},
	} {
		t.Run(name, func(t *testing.T) {
			s := site(t, tc.then...)
			again, err := restored(dump(t, s))
			if err != nil {
				t.Fatal(err)
			}
			for _, s := range []*State{s, again} {
				if got := actsFor(t, s, 1); !slices.Equal(got, tc.want) {
					t.Errorf("it speaks for %v, want %v", got, tc.want)
				}
			}
		})
	}
	s := site(t)
	for _, agent := range []uint32{0, 2, 5, 9} {
		if got := actsFor(t, s, agent); len(got) > 1 {
			t.Errorf("%d speaks for %v", agent, got)
		}
	}
	if got := actsFor(t, told(t, s, event.DeviceReplaced{Old: 1, New: 5}), 5); !slices.Equal(got, []string{"stranger"}) {
		t.Errorf("an agent's successor speaks for %v without being granted it", got)
	}
}

func TestWhoHasNoRightToADeviceLearnsNothingOfIt(t *testing.T) {
	s := site(t, event.DeviceRevoked{No: 2}, event.DeviceQuarantined{No: 3, On: true}, event.DeviceQuarantined{No: 5, On: true})
	for id, want := range map[identity.Device]Standing{
		"named": DeviceRevoked, "hall-1": Quarantined, "hall-2": Good, // it has a right to these
		"stranger": Unknown, "nobody": Unknown, "": Unknown,
	} {
		if d, got := s.ActFor(1, id); got != want || got == Unknown && d.ID != "" {
			t.Errorf("%q is %v, %+v, want %v", id, got, d, want)
		}
	}
	// An agent that is held off has no right to anything, itself not either.
	told(t, s, event.DeviceQuarantined{No: 1, On: true})
	for _, id := range []identity.Device{"edge", "named", "hall-2"} {
		if _, got := s.ActFor(1, id); got != Unknown {
			t.Errorf("held off, it finds %s %v", id, got)
		}
	}
}

func TestWhatWasGrantedCanBeRead(t *testing.T) {
	s := site(t)
	if got, ok := s.Acting(1); !ok || got.Agent != 1 || got.Cohort != "hall" || !slices.Equal(got.Devices, []uint32{2}) || s.Agents() != 1 {
		t.Errorf("%+v, %v, %d agents", got, ok, s.Agents())
	}
	if got, ok := s.Acting(2); ok {
		t.Errorf("%+v", got)
	}
	if told(t, s, event.DeviceRevoked{No: 1}); s.Agents() != 0 {
		t.Error("a revoked agent is still one")
	}
}

// A frozen state keeps the grants that it had.
func TestAGrantThatChangesLeavesAFrozenStateAsItWas(t *testing.T) {
	s := site(t)
	before, frozen := dump(t, s), s.Freeze()
	told(t, s, event.ActingGranted{Agent: 1, Devices: []uint32{3, 5}}, event.ActingGranted{Agent: 2, Cohort: "hall"}, event.ActingWithdrawn{Agent: 1})
	if written(t, frozen) != before {
		t.Error("it moved on")
	}
}

func TestAskingForWhomAnAgentMaySpeakAllocatesNothing(t *testing.T) {
	r := &Roster{state: site(t)}
	d, _ := r.Device("hall-2")
	if n := testing.AllocsPerRun(100, func() {
		if _, standing := r.ActFor(1, "named"); standing != Good || !r.MayActFor(1, &d) {
			t.Fatal("it may not")
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkMayActFor(b *testing.B) {
	var bodies []event.Body
	var named []uint32
	for no := uint32(1); no <= event.MaxActing+1; no++ {
		bodies = append(bodies, event.DeviceEnrolled{Device: fmt.Sprint("d", no), No: no, Cohort: "c", SPKI: hash(fmt.Sprint(no)), Serial: fmt.Sprintf("%x", no)})
		if no > 1 {
			named = append(named, no)
		}
	}
	r := &Roster{state: told(b, NewState(), append(bodies, event.ActingGranted{Agent: 1, Devices: named})...)}
	d, _ := r.Device("d777")
	b.ReportAllocs()
	for b.Loop() {
		if !r.MayActFor(1, &d) {
			b.Fatal("it may not")
		}
	}
}
