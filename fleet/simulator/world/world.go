package world

import (
	"fmt"
	"math"
	"sync"
	"time"

	"muster.dev/fleet/scenario"
	"muster.dev/fleet/simulator/truth"
	"muster.dev/proto/batch"
)

// World is a scenario under a seed. It is not changed after New, and may be used by many at once.
type World struct {
	s       *scenario.Scenario
	seed    uint64
	begins  int64 // Unix ms
	until   int64
	devices []Device
	numbers []int // by cohort: the last in an id

	cohorts  []cohort
	versions []version
	faults   []lot
	power    [][][]window // of site outages, by cohort and site
	rollouts []wave

	builders sync.Pool // of *batch.Builder
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

	cause string // for which it leaves
}

// Never is after all times.
const Never = math.MaxInt64

// New makes the world. The scenario is one that scenario.Parse has taken; it fails if that makes too many devices.
func New(s *scenario.Scenario, seed uint64) (*World, error) {
	if len(s.Cohorts) == 0 || s.Lasts <= 0 {
		return nil, fmt.Errorf("scenario %q has no cohort or no length", s.Name)
	}
	w := &World{s: s, seed: seed, begins: s.Begins.UnixMilli(), numbers: make([]int, len(s.Cohorts))}
	w.until = w.begins + s.Lasts.Milliseconds()
	w.builders.New = func() any { return batch.NewBuilder() }
	if err := w.people(); err != nil {
		return nil, err
	}
	w.lots()
	w.sites()
	w.waves()
	w.plan()
	return w, nil
}

// Scenario is what the world was made of.
func (w *World) Scenario() *scenario.Scenario { return w.s }

// Seed is what the world was made with.
func (w *World) Seed() uint64 { return w.seed }

// Begins is the first instant, in Unix ms.
func (w *World) Begins() int64 { return w.begins }

// Until is the instant after the last.
func (w *World) Until() int64 { return w.until }

// Devices lists all devices that there ever are, in order of index: those of the beginning first. It is the world's own.
func (w *World) Devices() []Device { return w.devices }

// Header is the truth file's.
func (w *World) Header() truth.Header {
	return truth.Header{Scenario: w.s.Name, SHA256: fmt.Sprintf("%x", w.s.SHA256), Seed: w.seed,
		Begins: truth.Time(w.begins), Until: truth.Time(w.until), Devices: len(w.devices)}
}

// Outage is a time in which our own side does not take part.
type Outage struct {
	Kind   OutageKind
	Region string // of a gateway's outage
	At     int64  // Unix ms
	Until  int64
}

// OutageKind says what stands still.
type OutageKind uint8

// Kinds of outages.
const (
	GatewayDown  OutageKind = iota // the region's gateway writes no watermark; lives deliver nothing
	LogStalled                     // no gateway can publish; lives deliver nothing
	SinkStalled                    // what is on the log is stored later; lives deliver as ever
	RegionCutOff                   // the region's gateway hears nobody and writes its watermarks; lives deliver nothing
)

// Day is the number of the scenario's day in which an instant lies, from 0. Days are counted from the beginning.
func (w *World) Day(at int64) int { return int((at - w.begins) / (24 * time.Hour).Milliseconds()) }
