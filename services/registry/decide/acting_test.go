package decide

import (
	"fmt"
	"slices"
	"testing"

	"muster.dev/platform/roster"
	"muster.dev/proto/event"
	"muster.dev/proto/identity"
)

// hall is an edge gateway and two devices of one cohort, and one of another.
func hall(t *testing.T) *State {
	t.Helper()
	s := NewState()
	for id, cohort := range map[string]string{"edge": "edges", "d1": "hall", "d2": "hall", "d3": "yard"} {
		c := enrolled(id, "k"+id)
		c.Cohort = cohort
		do(t, s, c)
	}
	return s
}

func TestAGrantReplacesWhatWasGrantedAndIsWrittenOnce(t *testing.T) {
	s := hall(t)
	edge, _ := s.Device("edge")
	for _, step := range []struct {
		grant GrantActing
		for_  []identity.Device
		said  bool
	}{
		{GrantActing{Agent: "edge"}, nil, false},
		{GrantActing{Agent: "edge", Devices: []identity.Device{"d3", "d1", "d3"}}, []identity.Device{"d1", "d3"}, true},
		{GrantActing{Agent: "edge", Devices: []identity.Device{"d1", "d3"}}, []identity.Device{"d1", "d3"}, false},
		{GrantActing{Agent: "edge", Devices: []identity.Device{"d3"}, Cohort: "hall"}, []identity.Device{"d1", "d2", "d3"}, true},
		{GrantActing{Agent: "edge", Cohort: "hall"}, []identity.Device{"d1", "d2"}, true},
		{GrantActing{Agent: "edge", Cohort: "hall"}, []identity.Device{"d1", "d2"}, false},
		{GrantActing{Agent: "edge"}, nil, true},
		{GrantActing{Agent: "edge"}, nil, false},
	} {
		out := do(t, s, step.grant)
		if (len(out.Events) > 0) != step.said || out.Device != "edge" || out.No != edge.No {
			t.Errorf("%+v: %+v", step.grant, out)
		}
		for _, id := range []identity.Device{"d1", "d2", "d3"} {
			if _, standing := s.ActFor(edge.No, id); (standing == roster.Good) != slices.Contains(step.for_, id) {
				t.Errorf("%+v: %s is %v", step.grant, id, standing)
			}
		}
	}
}

func TestWhatCannotBeGrantedIsRefused(t *testing.T) {
	s := hall(t)
	do(t, s, GrantActing{Agent: "edge", Devices: []identity.Device{"d1"}, Cohort: "yard"})
	many := make([]identity.Device, event.MaxActing+1)
	for i := range many {
		many[i] = identity.Device(fmt.Sprint("m", i))
	}
	refused(t, s, GrantActing{Agent: "ghost", Cohort: "hall"}, NotFound, "agent")
	refused(t, s, GrantActing{Agent: "edge", Devices: []identity.Device{"d1", "ghost"}}, NotFound, "devices")
	refused(t, s, GrantActing{Agent: "edge", Devices: []identity.Device{"edge"}}, Invalid, "devices")
	refused(t, s, GrantActing{Agent: "edge", Devices: many}, Invalid, "devices")
	refused(t, s, GrantActing{Agent: "edge", Cohort: "none"}, NotFound, "cohort")
	refused(t, s, GrantActing{Agent: "edge", Cohort: "Hall"}, NotFound, "cohort")

	do(t, s, RevokeDevice{"d1"})
	refused(t, s, GrantActing{Agent: "edge", Devices: []identity.Device{"d1"}}, Conflict, "devices")
	do(t, s, RevokeCohort{"yard"})
	refused(t, s, GrantActing{Agent: "edge", Cohort: "yard"}, Conflict, "cohort")
	// What was granted before they were revoked is so already.
	if out := do(t, s, GrantActing{Agent: "edge", Devices: []identity.Device{"d1"}, Cohort: "yard"}); len(out.Events) != 0 {
		t.Errorf("%+v", out)
	}
	do(t, s, RevokeDevice{"edge"})
	refused(t, s, GrantActing{Agent: "edge", Cohort: "hall"}, Conflict, "agent")
	if out := do(t, s, GrantActing{Agent: "edge"}); len(out.Events) != 0 {
		t.Errorf("a revoked agent speaks for nobody already: %+v", out)
	}
}

func TestAgentsAreNotWithoutNumber(t *testing.T) {
	s := hall(t)
	var last identity.Device
	for i := range MaxAgents + 1 {
		last = identity.Device(fmt.Sprint("a", i))
		s.apply(t, event.DeviceEnrolled{Device: string(last), No: uint32(5 + i), Cohort: "agents"})
		if i < MaxAgents {
			s.apply(t, event.ActingGranted{Agent: uint32(5 + i), Cohort: "hall"})
		}
	}
	refused(t, s, GrantActing{Agent: last, Cohort: "hall"}, Conflict, "agent")
	do(t, s, GrantActing{Agent: "a0", Cohort: "yard"})
	do(t, s, RevokeDevice{"a0"})
	do(t, s, GrantActing{Agent: last, Cohort: "hall"})
	// As many as there may be, each with as many as it may have, still have a snapshot.
	if restored := dumped(t, s); len(restored) == 0 {
		t.Error("none")
	}
}

// apply folds an event in as the log's readers do, without its bytes.
func (s *State) apply(t *testing.T, body event.Body) {
	t.Helper()
	n, prev := s.Link()
	if err := s.State.Apply(int64(n), event.Registry{N: n, Prev: prev, Body: body}); err != nil {
		t.Fatal(err)
	}
}
