package incident

import (
	"strings"
	"testing"

	"muster.dev/proto/event"
)

func TestWhatTheLogHasOpenIsFoundAgainOrResolved(t *testing.T) {
	old := NewBook(DefaultSettings(), offsets)
	cut(t, old, start, silent("boilers", start, 12), silent("pumps", start, 9), silent("valves", start, 5))
	old.Acknowledge(ID(event.SilentCohort, silent("boilers", start, 1).Subject, silent("boilers", start, 1).Since), "ada", start, start)
	var open []event.Incident
	for _, e := range old.entries {
		open = append(open, e.now)
	}
	b := NewBook(DefaultSettings(), offsets)
	b.Recall(start+3*slot, open)
	b = again(t, b)
	// Of the boilers it reads a part of the log, and dates their silence otherwise. Of the meters it finds what nobody had told.
	at := start + 2*slot
	boilers := silent("boilers", at, 12)
	boilers.Since = at
	_ = append(b.Take(at, []Signal{boilers, silent("meters", at, 8)}), b.Tick(at, false)...) // of a time that was judged: not written
	b = again(t, b)

	at = start + 4*slot
	got := cut(t, b, at, boilers, silent("meters", at, 8))
	if len(got) != 1 || got[0].Subject.Cohort != "meters" || got[0].Type() != event.TypeIncidentOpened {
		t.Fatalf("%+v", got)
	}
	at += slot
	got = cut(t, b, at, silent("boilers", at, 30), silent("pumps", at, 9))
	if len(got) != 1 || got[0].ID != open[0].ID || got[0].Since != open[0].Since || got[0].Revision != open[0].Revision+1 || got[0].Acked.Who != "ada" {
		t.Fatalf("%+v, was %+v", got, open[0])
	}
	var ended []event.Incident
	for until := at + 12*recalled; at < until && len(ended) == 0; {
		at += slot
		for _, r := range cut(t, b, at, silent("boilers", at, 30), silent("pumps", at, 9), silent("meters", at, 8)) {
			if r.State == event.IncidentResolved {
				ended = append(ended, r)
			}
		}
	}
	if len(ended) != 1 || ended[0].ID != open[2].ID || !strings.HasPrefix(ended[0].Why, "the detector lost what it knew") || ended[0].Revision != open[2].Revision+1 {
		t.Errorf("%+v", ended)
	}
	if b.Open() != 3 {
		t.Errorf("%d are open", b.Open())
	}
}

func TestABookThatIsToldNothingOfTheLogClaimsNothing(t *testing.T) {
	b := NewBook(DefaultSettings(), offsets)
	b.Recall(start, nil)
	if got := cut(t, b, start+slot, silent("boilers", start+slot, 3)); len(got) != 1 || got[0].Type() != event.TypeIncidentOpened {
		t.Errorf("%+v", got)
	}
}
