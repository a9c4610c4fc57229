package api_test

import (
	"testing"

	"muster.dev/proto/event"
	"muster.dev/services/registry/client"

	v1 "muster.dev/services/registry/api/v1"
)

func TestAnAcknowledgementStandsInTheLogUnderTheNameOfWhoSaidIt(t *testing.T) {
	s := start(t)
	const incident = "iabcdefgh2345"
	made, err := s.client.MakeToken(t.Context(), v1.NewToken{Change: because, Name: "ann", Role: "operator"})
	if err != nil {
		t.Fatal(err)
	}
	got, err := client.New(s.base, made.Secret).AcknowledgeIncident(t.Context(), incident, "I am on it")
	if err != nil || got != (v1.Acknowledged{Incident: incident, By: "ann"}) {
		t.Fatalf("%+v, %v", got, err)
	}
	if got, err = s.client.AcknowledgeIncident(t.Context(), incident, "and I"); err != nil || got.By != "operator" {
		t.Errorf("%+v, %v", got, err)
	}
	events := s.events(t)
	for i, want := range []struct{ who, why string }{{"ann", "I am on it"}, {"operator", "and I"}} {
		e := events[len(events)-2+i]
		if e.Body != (event.IncidentAcknowledged{Incident: incident}) || e.Who != want.who || e.Why != want.why {
			t.Errorf("%+v, want %+v", e, want)
		}
	}
}
