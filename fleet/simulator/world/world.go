package world

import (
	"sync"

	"muster.dev/fleet/scenario"
	"muster.dev/fleet/simulator/plan"
	"muster.dev/proto/batch"
)

// World is a scenario under a seed, to be lived. It is not changed after New, and may be used by many at once.
type World struct {
	*plan.Plan
	cohorts  []cohort
	builders sync.Pool // of *batch.Builder
}

// New makes the world. The scenario is one that scenario.Parse has taken; it fails if that makes too many devices.
func New(s *scenario.Scenario, seed uint64) (*World, error) {
	p, err := plan.New(s, seed)
	if err != nil {
		return nil, err
	}
	w := &World{Plan: p, cohorts: make([]cohort, len(s.Cohorts))}
	w.builders.New = func() any { return batch.NewBuilder() }
	for i := range w.cohorts {
		w.prepare(i)
	}
	return w, nil
}
