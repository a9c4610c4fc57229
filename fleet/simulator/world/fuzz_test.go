package world_test

import (
	"errors"
	"strings"
	"testing"

	"muster.dev/fleet/scenario"
	"muster.dev/fleet/scenarios"
	"muster.dev/fleet/simulator/world"
	"muster.dev/proto/batch"
	"muster.dev/proto/event"
)

// FuzzScenario reads any text, and plays some lives of what is a scenario: no text may end the process, each problem has
// a place, and each message is one that a gateway takes.
func FuzzScenario(f *testing.F) {
	f.Add([]byte(everything))
	f.Add([]byte("a: &a [*a]"))
	f.Add([]byte("cohorts: [{name: a, id: a%d, devices: 1e9}]"))
	for _, name := range []string{"first-rehearsal.yaml", "churn.yaml", "drift-and-jump.yaml"} {
		text, err := scenarios.Files.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		s, err := scenario.Parse("f.yaml", text)
		var p *scenario.Problems
		if err != nil {
			if s != nil || !errors.As(err, &p) || len(p.List) == 0 {
				t.Fatalf("%v", err)
			}
			lines := 2
			for _, end := range []string{"\n", "\r", "\u0085", "\u2028", "\u2029"} { // as YAML ends lines
				lines += strings.Count(string(text), end)
			}
			for _, one := range p.List {
				if one.Line < 1 || one.Line > lines || one.Column < 1 || one.What == "" || len(one.String()) > 4096 {
					t.Fatalf("%+v", one)
				}
			}
			return
		}
		devices := 0
		for i := range s.Cohorts {
			devices += s.Cohorts[i].Devices
			if s.Cohorts[i].Churn.Joins+s.Cohorts[i].Churn.Replaced > 100 {
				return
			}
		}
		for i := range s.Faults {
			if b := s.Faults[i].EnrolmentBurst; b != nil {
				devices += b.Devices
			}
		}
		if devices > 1_000 {
			return
		}
		play(t, s)
	})
}

func play(t *testing.T, s *scenario.Scenario) {
	w, err := world.New(s, 1)
	if err != nil {
		return
	}
	w.Truth()
	var h world.Happening
	var b batch.Batch
	for i := range min(3, len(w.Devices())) {
		l := w.Life(i)
		last := w.Begins()
		for n := 0; n < 1_000 && l.Next(&h); n++ {
			if h.At < last || h.At >= w.Until() {
				t.Fatalf("%d after %d", h.At, last)
			}
			last = h.At
			if h.Kind != world.Deliver {
				continue
			}
			if h.Message.Stream == world.Events {
				_, err = event.DecodeMessage(h.Message.Body)
			} else {
				err = b.Decode(h.Message.Body)
			}
			if err != nil {
				t.Fatal(err)
			}
		}
	}
}
