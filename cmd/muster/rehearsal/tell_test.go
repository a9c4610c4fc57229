package rehearsal

import (
	"testing"

	"go.uber.org/goleak"

	"muster.dev/fleet/scenario"
	"muster.dev/fleet/simulator/report"
	"muster.dev/fleet/simulator/truth"
	"muster.dev/fleet/simulator/world"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const told = `
scenario: told
begins: 2026-01-05T00:00:00Z
lasts: 2d
cohorts:
  - name: north
    devices: 2
    region: eu
    metrics: [{name: temperature}]
    sleep: {from: "22:00", for: 5h}
faults:
  - {at: 1h, for: 1h, gateway-outage: {region: eu}}
  - {at: 3h, for: 1h, region-outage: {region: eu}}
  - {at: 5h, for: 1h, pipeline-stall: {stage: log}}
  - {at: 7h, for: 1h, pipeline-stall: {stage: sink}}
`

func TestTheTruthSaysWhoseASilenceIs(t *testing.T) {
	s, err := scenario.Parse("told.yaml", []byte(told))
	if err != nil {
		t.Fatal(err)
	}
	w, err := world.New(s, 1)
	if err != nil {
		t.Fatal(err)
	}
	id := w.Devices()[1].ID
	silent := func(cause string) truth.Line {
		return truth.Line{At: 10, Until: 20, Kind: truth.Silent, Device: id, Detail: map[string]any{"cause": cause}}
	}
	f := TellFacts(w, nil, []truth.Line{
		silent(truth.CausePower), silent(truth.CauseRadio), {At: 30, Kind: truth.Boot, Device: id},
		{At: 40, Kind: truth.Silent, Device: id, Detail: map[string]any{"cause": truth.CauseHang}},
		{At: 50, Kind: truth.Enrolled, Device: id}, {At: 60, Kind: truth.Silent, Device: "nobody"},
	})
	want := []struct {
		class  report.Class
		member int
		until  int64
	}{
		{report.Device, 1, 20}, {report.Radio, 1, 20}, {report.Device, 1, 30}, {report.Device, 1, w.Until()},
		{report.Pipeline, -1, w.Begins() + 2*3_600_000}, {report.Radio, -1, w.Begins() + 4*3_600_000}, {report.Pipeline, -1, w.Begins() + 6*3_600_000},
	}
	if len(f.Spells) != len(want) {
		t.Fatalf("%d spells, want %d: %+v", len(f.Spells), len(want), f.Spells)
	}
	for i, x := range want {
		if got := f.Spells[i]; got.Class != x.class || got.Member != x.member || got.Until != x.until {
			t.Errorf("spell %d is %+v, want %+v", i, got, x)
		}
	}
	if c := f.Cohorts[0].Sleep; c == nil || c.From.Hours() != 22 || c.For.Hours() != 5 {
		t.Errorf("the cohort sleeps %+v", c)
	}
}
