package api_test

import (
	"net/http"
	"reflect"
	"slices"
	"testing"

	"muster.dev/proto/event"
	"muster.dev/services/registry/client"
	"muster.dev/services/registry/decide"

	v1 "muster.dev/services/registry/api/v1"
)

func TestAnAgentIsLetSpeakForOthersAndIsShown(t *testing.T) {
	s := start(t)
	for id, cohort := range map[string]string{"edge": "edges", "pump-1": "hall", "pump-2": "hall", "fan-1": "yard"} {
		s.enrol(t, id, cohort, nil)
	}
	ctx, edge, seen := t.Context(), "edge", v1.Acting{Device: "edge"}
	if got, err := s.client.Acting(ctx, edge); err != nil || !reflect.DeepEqual(got, seen) {
		t.Errorf("before: %+v, %v", got, err)
	}
	got := twice(t, s, "grant", func() (v1.Acting, error) {
		return s.client.GrantActing(ctx, edge, v1.ActingGrant{Change: because, Devices: []string{"fan-1"}, Cohort: "hall"})
	})
	seen.ActsFor = v1.ActsFor{Devices: []string{"fan-1"}, Cohort: "hall"}
	if again, err := s.client.Acting(ctx, edge); err != nil || !reflect.DeepEqual(got, seen) || !reflect.DeepEqual(again, seen) {
		t.Errorf("%+v, then %+v, %v", got, again, err)
	}
	last := s.events(t)[s.last(t)-1]
	if _, ok := last.Body.(event.ActingGranted); !ok || last.Why != because.Why || last.Who != "operator" {
		t.Errorf("%+v", last)
	}
	if d, err := s.client.Device(ctx, edge); err != nil || d.ActsFor == nil || !reflect.DeepEqual(*d.ActsFor, seen.ActsFor) || d.SpokenForBy != nil {
		t.Errorf("%+v, %v", d, err)
	}
	if page, err := s.client.Find(ctx, client.Filter{Acting: true}, 0, 10); err != nil || len(page.Devices) != 1 || page.Devices[0].Device != edge || !reflect.DeepEqual(*page.Devices[0].ActsFor, seen.ActsFor) {
		t.Errorf("%+v, %v", page, err)
	}
	for _, id := range []string{"pump-1", "fan-1"} {
		if d, err := s.client.Device(ctx, id); err != nil || d.ActsFor != nil || !slices.Equal(d.SpokenForBy, []string{edge}) {
			t.Errorf("%+v, %v", d, err)
		}
	}
	if _, err := s.client.MoveDevice(ctx, "pump-1", "yard", "moved"); err != nil {
		t.Fatal(err)
	}
	if d, err := s.client.Device(ctx, "pump-1"); err != nil || d.SpokenForBy != nil {
		t.Errorf("it left the cohort: %+v, %v", d, err)
	}

	gone := twice(t, s, "withdraw", func() (v1.Acting, error) { return s.client.WithdrawActing(ctx, edge, "taken down") })
	if !reflect.DeepEqual(gone, v1.Acting{Device: edge}) {
		t.Errorf("%+v", gone)
	}
	if last := s.events(t)[s.last(t)-1]; last.Why != "taken down" || last.Body != (event.ActingWithdrawn{Agent: number(t, s, edge)}) {
		t.Errorf("%+v", last)
	}
	// A grant of nobody is a withdrawal.
	for range 2 {
		if got, err := s.client.GrantActing(ctx, edge, v1.ActingGrant{Change: because}); err != nil || !reflect.DeepEqual(got, gone) {
			t.Errorf("%+v, %v", got, err)
		}
	}
}

func number(t *testing.T, s stack, id string) (no uint32) {
	t.Helper()
	d, err := s.client.Device(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	return d.No
}

func TestAGrantThatCannotBeIsRefusedByName(t *testing.T) {
	s := start(t)
	s.enrol(t, "edge", "edges", nil)
	before := s.last(t)
	for name, tc := range map[string]struct {
		agent  string
		grant  v1.ActingGrant
		status int
	}{
		"of a device that is none":  {"edge", v1.ActingGrant{Change: because, Devices: []string{"ghost"}}, http.StatusNotFound},
		"of a name that is none":    {"edge", v1.ActingGrant{Change: because, Devices: []string{"Edge"}}, http.StatusUnprocessableEntity},
		"of itself":                 {"edge", v1.ActingGrant{Change: because, Devices: []string{"edge"}}, http.StatusUnprocessableEntity},
		"of a cohort that is none":  {"edge", v1.ActingGrant{Change: because, Cohort: "ghosts"}, http.StatusNotFound},
		"to a device that is none":  {"ghost", v1.ActingGrant{Change: because, Cohort: "edges"}, http.StatusNotFound},
		"for no reason":             {"edge", v1.ActingGrant{Cohort: "edges"}, http.StatusUnprocessableEntity},
		"of more than may be named": {"edge", v1.ActingGrant{Change: because, Devices: slices.Repeat([]string{"a"}, event.MaxActing+1)}, http.StatusUnprocessableEntity},
	} {
		if _, err := s.client.GrantActing(t.Context(), tc.agent, tc.grant); status(err) != tc.status {
			t.Errorf("%s: %v, want %d", name, err, tc.status)
		}
	}
	if _, err := s.client.WithdrawActing(t.Context(), "edge", ""); status(err) != http.StatusUnprocessableEntity {
		t.Errorf("withdrawn for no reason: %v", err)
	}
	if _, err := s.client.WithdrawActing(t.Context(), "ghost", "x"); status(err) != http.StatusNotFound {
		t.Errorf("withdrawn of nobody: %v", err)
	}
	if _, err := s.client.Acting(t.Context(), "ghost"); status(err) != http.StatusNotFound {
		t.Errorf("nobody's: %v", err)
	}
	err := s.writer.View(t.Context(), func(st *decide.State) {
		if st.Agents() != 0 || st.Last() != before {
			t.Errorf("%d agents", st.Agents())
		}
	})
	if err != nil {
		t.Fatal(err)
	}
}
