package plan

import (
	"fmt"
	"time"

	"muster.dev/fleet/scenario"
	"muster.dev/fleet/simulator/truth"
)

// Plan is a scenario under a seed, as far as it is settled before the first instant. It is not changed after New, and may be used by
// many at once.
type Plan struct {
	s       *scenario.Scenario
	seed    uint64
	begins  int64 // Unix ms
	until   int64
	devices []Device
	numbers []int // by cohort: the last in an id

	versions []Version
	lots     []Lot        // by fault
	power    [][][]Window // of site outages, by cohort and site
	rollouts []Rollout    // by their place in the scenario
}

// Device is one device that there is at some time.
type Device struct {
	Index    int
	ID       string
	Cohort   int // in Scenario.Cohorts
	Site     int // in the cohort, from 0
	Firmware string
	Joins    int64  // Unix ms at which it is enrolled: World.Begins, or later
	Leaves   int64  // Unix ms from which it is no more; Never is to the end
	Revoked  bool   // it leaves because its identity is revoked, and may go on knocking
	Replaces string // id of the device whose place it takes
	Cause    string // for which it leaves
}

// New makes the plan. The scenario is one that scenario.Parse has taken; it fails if that makes too many devices.
func New(s *scenario.Scenario, seed uint64) (*Plan, error) {
	if len(s.Cohorts) == 0 || s.Lasts <= 0 {
		return nil, fmt.Errorf("scenario %q has no cohort or no length", s.Name)
	}
	p := &Plan{s: s, seed: seed, begins: s.Begins.UnixMilli(), numbers: make([]int, len(s.Cohorts))}
	p.until = p.begins + s.Lasts.Milliseconds()
	if err := p.people(); err != nil {
		return nil, err
	}
	p.chooseLots()
	p.drawOutages()
	p.dealRollouts()
	p.listVersions()
	return p, nil
}

// Scenario is what the world was made of.
func (p *Plan) Scenario() *scenario.Scenario { return p.s }

// Seed is what the world was made with.
func (p *Plan) Seed() uint64 { return p.seed }

// Begins is the first instant, in Unix ms.
func (p *Plan) Begins() int64 { return p.begins }

// Until is the instant after the last.
func (p *Plan) Until() int64 { return p.until }

// Devices lists all devices that there ever are, in order of index: those of the beginning first. It is the world's own.
func (p *Plan) Devices() []Device { return p.devices }

// Header is the truth file's.
func (p *Plan) Header() truth.Header {
	return truth.Header{Scenario: p.s.Name, SHA256: fmt.Sprintf("%x", p.s.SHA256), Seed: p.seed,
		Begins: truth.Time(p.begins), Until: truth.Time(p.until), Devices: len(p.devices)}
}

// Day is the number of the scenario's day in which an instant lies, from 0. Days are counted from the beginning.
func (p *Plan) Day(at int64) int { return int((at - p.begins) / (24 * time.Hour).Milliseconds()) }
