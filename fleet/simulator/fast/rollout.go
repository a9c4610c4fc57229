package fast

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"muster.dev/fleet/scenario"
	"muster.dev/proto/event"
)

// announced is how long before its first stage a rollout is told of, as far as its devices are there by then.
const announced = time.Minute

// RolloutName is what the registry's log calls the rollout of a scenario by its place.
func RolloutName(i int) string { return fmt.Sprintf("rollout-%d", i+1) }

// rollOut says what an engine of rollouts would: the design and who is in which arm before anything is updated, then each stage
// as it starts. The simulated one has made up its mind beforehand, and stops for no verdict.
func (f *fleet) rollOut() {
	s := f.world.Scenario()
	for i := range s.Rollouts {
		r, dealt := &s.Rollouts[i], f.world.Rollout(i)
		if dealt.Begins[0] >= f.world.Until() {
			continue
		}
		name := RolloutName(i)
		arms := make([][]uint32, len(r.Stages)+1)
		at := max(f.world.Begins(), dealt.Begins[0]-announced.Milliseconds())
		for d := range f.members {
			if stage, part := dealt.Stage(d); part {
				arms[stage] = append(arms[stage], f.members[d].no)
				at = max(at, f.world.Devices()[d].Joins)
			}
		}
		say := func(at int64, body event.Body) { f.due = append(f.due, change{at, body, "rollout of the scenario"}) }
		say(at, started(s, i))
		for stage, devices := range arms {
			slices.Sort(devices)
			for part := range slices.Chunk(devices, event.MaxAssigned) {
				say(at, event.RolloutAssigned{Rollout: name, Stage: uint8(stage), Devices: part})
			}
		}
		for j, begins := range dealt.Begins {
			if begins < f.world.Until() {
				say(begins, event.RolloutStageStarted{Rollout: name, Stage: uint8(j + 1)})
			}
		}
		if end := dealt.Ends(); end < f.world.Until() {
			say(end, event.RolloutChanged{Rollout: name, State: event.RolloutDone, Why: "all its stages have soaked"})
		}
	}
}

func started(s *scenario.Scenario, i int) event.RolloutStarted {
	r := &s.Rollouts[i]
	cohort := &s.Cohorts[s.CohortNamed(r.Cohort)]
	out := event.RolloutStarted{
		Rollout: RolloutName(i), Cohort: r.Cohort, Firmware: r.Firmware, From: cohort.Firmware, BySite: r.WholeSites,
		Design: event.DefaultRolloutDesign(), Health: healthOf(cohort),
	}
	sameCohort := func(before scenario.Rollout) bool { return before.Cohort == r.Cohort }
	if out.From == out.Firmware || slices.ContainsFunc(s.Rollouts[:i], sameCohort) {
		out.From = "" // they run several
	}
	var share uint32
	for j := range r.Stages {
		share = max(share+1, uint32(math.Round(float64(r.Stages[j].Share)*1e6)))
		out.Stages = append(out.Stages, event.RolloutStage{SharePPM: share, SoakMS: r.Stages[j].Soak.Milliseconds()})
	}
	return out
}

// healthOf are the metrics that whoever rolls out would have watched: what the battery, the radio and the memory show.
func healthOf(c *scenario.Cohort) []event.RolloutHealth {
	var out []event.RolloutHealth
	for i := range c.Metrics {
		m := &c.Metrics[i]
		switch {
		case m.Kind != "gauge" && m.Kind != "float":
		case m.Model.Follows == "battery", m.Model.Follows == "radio":
			out = append(out, event.RolloutHealth{Metric: m.Name, Worse: -1})
		case strings.HasPrefix(m.Name, "heap"), strings.HasPrefix(m.Name, "memory"):
			out = append(out, event.RolloutHealth{Metric: m.Name, Worse: 1})
		}
	}
	slices.SortFunc(out, func(a, b event.RolloutHealth) int { return strings.Compare(a.Metric, b.Metric) })
	return out[:min(len(out), event.MaxHealth)]
}
