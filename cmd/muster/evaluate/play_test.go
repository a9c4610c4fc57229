package evaluate

import (
	"context"
	"io/fs"
	"log/slog"
	"slices"
	"testing"

	"muster.dev/cmd/muster/stack"
	"muster.dev/fleet/scenario"
	"muster.dev/fleet/scenarios"
	"muster.dev/proto/event"
)

// played plays a scenario of the library with a seed.
func played(t *testing.T, name string, seed uint64) Outcome {
	t.Helper()
	text, err := fs.ReadFile(scenarios.Files, name+".yaml")
	if err != nil {
		t.Fatal(err)
	}
	s, err := scenario.Parse(name, text)
	if err != nil {
		t.Fatal(err)
	}
	s.Seed = seed
	dir, err := stack.OpenDir(t.TempDir() + "/log")
	if err != nil {
		t.Fatal(err)
	}
	o, err := Play(context.WithoutCancel(t.Context()), Settings{Dir: dir, Scenario: s, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	return o
}

// The full run is make eval. These are the shortest that show what the detectors are for: cohorts that fall silent, for causes
// of which each shows something else, a fault of our own, and a bad update beside a sound one.
func TestWhatBefallsAFleetIsToldOnceWithItsCause(t *testing.T) {
	for _, name := range []string{"power-cut", "silent-cohort-power", "silent-cohort-radio", "region-outage", "gateway-outage", "pipeline-stall", "paper-update", "dark-while-asleep", "stall-in-power-cut"} {
		t.Run(name, func(t *testing.T) {
			o := played(t, name, 7)
			for _, a := range o.Judgement.Answers {
				if a.Must && (len(a.Found) != 1 || !a.Cause) {
					t.Errorf("%s: told %d times, the right cause %t", a.What, len(a.Found), a.Cause)
				}
			}
			for _, i := range o.Judgement.False {
				// Single sensors have a bound of their own (make eval): here it is about whole cohorts.
				if f := &o.Judgement.Told[i]; f.Kind != event.TelemetryAnomaly {
					t.Errorf("false: %s %s: %s", f.Kind, f.Title, f.Why)
				}
			}
		})
	}
}

func TestTheSameLogIsToldInTheSameWords(t *testing.T) {
	first, again := played(t, "silent-cohort-unknown", 3), played(t, "silent-cohort-unknown", 3)
	if len(first.Judgement.Told) == 0 || !slices.EqualFunc(first.Judgement.Told, again.Judgement.Told, func(a, b Told) bool {
		x, _, err := a.Encode()
		y, _, err2 := b.Encode()
		return err == nil && err2 == nil && string(x) == string(y)
	}) {
		t.Errorf("%d incidents, and then %d", len(first.Judgement.Told), len(again.Judgement.Told))
	}
}

// With this seed one device is cloned for a day and then revoked, and knocks.
func TestWhoIsClonedAndThenRevokedIsToldOfBoth(t *testing.T) {
	if o := played(t, "clones", 100); o.Missed() != 0 {
		t.Errorf("%d missed", o.Missed())
	}
}
