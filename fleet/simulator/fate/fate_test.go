package fate_test

import (
	"io/fs"
	"testing"
	"time"

	"muster.dev/fleet/scenario"
	"muster.dev/fleet/scenarios"
	"muster.dev/fleet/simulator/chance"
	"muster.dev/fleet/simulator/fate"
	"muster.dev/fleet/simulator/plan"
	"muster.dev/fleet/simulator/truth"
)

// TestAFateIsWhatItTells plays fates of every scenario of the library to their end.
func TestAFateIsWhatItTells(t *testing.T) {
	files, err := fs.Glob(scenarios.Files, "*.yaml")
	if err != nil {
		t.Fatal(err)
	}
	boots := 0
	for _, name := range files {
		text, err := fs.ReadFile(scenarios.Files, name)
		if err != nil {
			t.Fatal(err)
		}
		s, err := scenario.Parse(name, text)
		if err != nil {
			t.Fatal(err)
		}
		p, err := plan.New(s, 3)
		if err != nil {
			t.Fatal(err)
		}
		for i := 0; i < len(p.Devices()); i += 1 + len(p.Devices())/100 {
			boots += play(t, p, i)
			if t.Failed() {
				t.Fatalf("%s: device %d", name, i)
			}
		}
	}
	if boots < 1_000 {
		t.Errorf("only %d boots", boots)
	}
}

// play holds the moments of one device to their order and to its truth.
func play(t *testing.T, p *plan.Plan, device int) (boots int) {
	f := fate.New(p, device)
	f.Begin()
	first, up := uint32(0), p.Devices()[device].Joins == p.Begins()
	if up { // and was before: it is in some boot already
		first, _ = f.Boot()
	}
	last, reported := p.Devices()[device].Joins, 0
	for {
		for len(f.Known()) > 0 {
			if f.Known()[0].At >= f.Horizon() {
				t.Errorf("a moment of %d is known, the horizon is %d", f.Known()[0].At, f.Horizon())
			}
			m := f.Take()
			if m.At < last {
				t.Errorf("a moment of %d after one of %d", m.At, last)
			}
			last = m.At
			switch {
			case m.Kind == fate.Boots && m.At < f.End():
				boots++
				fallthrough
			case m.Kind == fate.Resumes:
				if up {
					t.Errorf("it is up at %d, and comes up", m.At)
				}
			case m.Kind == fate.Reports && m.OTA == fate.Nothing:
				t.Error("a report of nothing")
			}
			up = m.Up(up)
		}
		if f.Horizon() == chance.Never {
			break
		}
		f.Step()
	}
	for l, ok := f.Told(); ok; l, ok = f.Told() {
		if l.Device != p.Devices()[device].ID || l.Until != 0 && (l.Until < l.At || int64(l.Until) > f.End()) {
			t.Errorf("%+v", l)
		}
		if l.Kind == truth.Boot {
			reported++
		}
	}
	if now, _ := f.Boot(); reported != boots || int(now-first) != boots {
		t.Errorf("%d boots, %d in the truth, numbers from %d to %d", boots, reported, first, now)
	}
	return boots
}

func TestABatteryRunsEmptyWhenItsLifeIsOver(t *testing.T) {
	s, err := scenario.Parse("b.yaml", []byte(`
scenario: b
lasts: 30d
cohorts: [{name: a, devices: 1, metrics: [{name: x}], battery: {lasts: 10d, spread: 0%, brown-outs: 2, renewed: 2d}}]
`))
	if err != nil {
		t.Fatal(err)
	}
	p, err := plan.New(s, 1)
	if err != nil {
		t.Fatal(err)
	}
	f := fate.New(p, 0)
	for f.Begin(); f.Horizon() != chance.Never; {
		f.Step()
	}
	var silent []truth.Line
	for l, ok := f.Told(); ok; l, ok = f.Told() {
		if l.Kind == truth.Silent {
			silent = append(silent, l)
		}
	}
	if len(silent) < 2 || silent[0].Detail["cause"] != truth.CauseBattery {
		t.Fatalf("%+v", silent)
	}
	at := time.Duration(int64(silent[0].At)-p.Begins()) * time.Millisecond
	away := time.Duration(silent[0].Until-silent[0].At) * time.Millisecond
	if at.Round(time.Minute) != 240*time.Hour || away < 24*time.Hour || away > 72*time.Hour {
		t.Errorf("empty after %v, renewed after %v", at, away)
	}
}
