package verbs

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"muster.dev/cmd/muster/evaluate"
	"muster.dev/proto/event"
)

func TestWhatCameOfAScenarioIsPrintedWithItsUnits(t *testing.T) {
	const at = 1_790_000_100_000
	told := func(id string, since int64) evaluate.Told {
		return evaluate.Told{
			Incident: event.Incident{ID: id, State: event.IncidentOpen, Kind: event.SilentCohort, Cause: "power", Since: since, At: since + 60_000, Count: 2, Subject: event.Subject{Cohort: "pumps"}},
			OpenedAt: since + 30_000, Causes: []string{"unknown", "power"},
		}
	}
	want := evaluate.Want{
		What: "2 of 4 silent (power)", Kinds: []event.IncidentKind{event.SilentCohort}, Causes: []string{"power"}, Cohort: "pumps", Devices: map[string]bool{"pump-2": true, "pump-1": true},
		From: at - 1_000, At: at, Until: at + 3_600_000, Interval: 60_000, Of: 4, Must: true,
	}
	outcome := evaluate.Outcome{
		Scenario: "power-cut", Seed: 7, Records: 1_234, Took: 1500 * time.Millisecond, CohortWeeks: .25,
		Judgement: evaluate.Judgement{
			Answers: []evaluate.Answer{{Want: want, Found: []int{1}, Cause: true, Delay: 90 * time.Second}, {Want: evaluate.Want{What: "a leak", Metric: "heap_free", At: at, Must: true}}},
			False:   []int{0}, Told: []evaluate.Told{told("ifalse", at), told("ifound", at)},
		},
	}
	var out bytes.Buffer
	f := frame{World: World{Out: &out}}
	if err := f.printJSON(outcomesShown([]evaluate.Outcome{outcome})); err != nil {
		t.Fatal(err)
	}
	var got bytes.Buffer
	if err := json.Compact(&got, out.Bytes()); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		`[{"scenario":"power-cut","seed":7,"records":1234,"took_ms":1500,"cohort_weeks":0.25,"missed":1,"answers":[{"what":"2 of 4 silent (power)","must":true,"kinds":["silent-cohort"],"causes":["power"],` +
			`"cohort":"pumps","devices":["pump-1","pump-2"],"cohort_size":4,"from":"2026-09-21T14:14:59Z","at":"2026-09-21T14:15:00Z","until":"2026-09-21T15:15:00Z","interval_ms":60000,` +
			`"found":["ifound"],"beside":[],"delay_ms":90000,"cause_right":true},{"what":"a leak","must":true,"kinds":[],"metrics":["heap_free"],`,
		`"found":[],"beside":[]}],"small":[],"false":["ifalse"],"told":[{"id":"ifalse",`,
		`"since":"2026-09-21T14:15:00Z","at":"2026-09-21T14:16:00Z",`,
		`"opened_at":"2026-09-21T14:15:30Z","causes":["unknown","power"]}]}]`,
	} {
		if !strings.Contains(got.String(), want) {
			t.Errorf("%s is not in\n%s", want, got.String())
		}
	}
}

func TestTheHelpOfSeedsSaysNoEmptyDefault(t *testing.T) {
	code, out, _ := muster(t, "evaluate", "--help")
	if code != 0 || !strings.Contains(out, "--seed SEEDS   play each with these SEEDS, as 11,12, and not with its own\n") {
		t.Errorf("exit %d: %s", code, out)
	}
}
