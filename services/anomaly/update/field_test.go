package update

import (
	"fmt"
	"testing"

	"muster.dev/proto/event"
	"muster.dev/services/anomaly/census"
	"muster.dev/services/anomaly/incident"
	"muster.dev/services/anomaly/page"
	"muster.dev/services/anomaly/state/statetest"
)

const minutes = 60_000

// field is one shard and the judge, cut each minute. Devices 0 to treated-1 are of stage 1, all of one cohort; device i
// is at site i modulo sites, and in region r0 or r1.
type field struct {
	t        testing.TB
	census   *census.State
	arms     *Arms
	judge    *Rollouts
	now      int64
	devices  int
	mute     map[int]bool
	runs     map[int]string
	verdicts []event.Verdict
	signals  []incident.Signal
	pages    []page.Arm
	fork     bool
}

type plan struct {
	treated, devices, sites int
	bySite                  bool
	soak                    int64
	health                  []event.RolloutHealth
	stages                  int
	design                  func(*event.RolloutDesign)
}

func lay(t testing.TB, p plan) *field {
	t.Helper()
	f := &field{t: t, census: census.New(0, 1), devices: p.devices, mute: map[int]bool{}, runs: map[int]string{}}
	var prev [32]byte
	for i := range p.devices {
		d := event.DeviceEnrolled{Device: fmt.Sprintf("d%04d", i), No: uint32(i + 1), Cohort: "c", Interval: 5 * minutes, Region: fmt.Sprint("r", i%2),
			Attributes: map[string]string{"site": fmt.Sprint(i % max(p.sites, 1)), "model": "m"}}
		v, headers, err := event.Registry{N: uint64(i + 1), Prev: prev, Body: d}.Encode()
		if err != nil {
			t.Fatal(err)
		}
		prev = event.Chain(v)
		if _, err := f.census.Apply(census.Record{Offset: int64(i), Headers: headers, Value: v}); err != nil {
			t.Fatal(err)
		}
	}
	f.arms, f.judge = NewArms(f.census, DefaultSettings()), NewRollouts(DefaultSettings())
	started := event.RolloutStarted{Rollout: "r", Cohort: "c", Firmware: "2", From: "1", BySite: p.bySite, Design: event.DefaultRolloutDesign(), Health: p.health}
	for i := range max(p.stages, 1) {
		started.Stages = append(started.Stages, event.RolloutStage{SharePPM: uint32(i + 1), SoakMS: max(p.soak, 1)})
	}
	if p.design != nil {
		p.design(&started.Design)
	}
	f.say(started)
	var of [3][]uint32
	for i := range p.devices {
		stage := 0
		switch {
		case p.bySite && i%p.sites < p.treated || !p.bySite && i < p.treated:
			stage = 1
		case p.stages > 1 && i < 2*p.treated:
			stage = 2
		}
		of[stage] = append(of[stage], uint32(i+1))
	}
	for stage, devices := range of {
		if len(devices) > 0 {
			f.say(event.RolloutAssigned{Rollout: "r", Stage: uint8(stage), Devices: devices})
		}
	}
	f.say(event.RolloutStageStarted{Rollout: "r", Stage: 1})
	return f
}

func (f *field) say(body event.Body) {
	f.arms.Registry(f.now, body)
	f.judge.Registry(f.now, body)
}

// pass plays minutes: all that are not mute speak once in five.
func (f *field) pass(n int, do func(at int64)) {
	for range n {
		for i := range f.devices {
			if !f.mute[i] && (f.now/minutes)%5 == int64(i%5) {
				f.arms.Heard(int32(i), f.now+1+int64(i), []byte(max(f.runs[i], "1")))
			}
		}
		if do != nil {
			do(f.now + 30_000)
		}
		if f.fork {
			f.again()
		}
		f.now += minutes
		arms, ranks := f.arms.Tick(f.now)
		f.pages = append(f.pages, arms...)
		verdicts, signals := f.judge.Cut(f.now, arms, ranks)
		f.verdicts, f.signals = append(f.verdicts, verdicts...), append(f.signals, signals...)
	}
}

func (f *field) again() {
	f.t.Helper()
	a, j := NewArms(f.census, f.arms.set), NewRollouts(f.judge.set)
	statetest.Copy(f.t, f.arms, a)
	statetest.Copy(f.t, f.judge, j)
	f.arms, f.judge = a, j
}

func (f *field) event(i int, at int64, e event.Device) {
	f.arms.Heard(int32(i), at, []byte(max(f.runs[i], "1")))
	f.arms.Event(int32(i), at, &e, "")
}

func (f *field) ota(i int, at int64, result string) {
	f.event(i, at, event.Device{Type: event.OTA, Fields: map[string]any{"to": "2", "from": "1", "result": result}})
}

// update makes devices from up to until run the new firmware, and say so.
func (f *field) update(from, until int, at int64) {
	for i := from; i < until; i++ {
		f.ota(i, at, "started")
		f.runs[i] = "2"
		f.ota(i, at+1, "ok")
	}
}

func (f *field) crash(i int, at int64) {
	f.event(i, at, event.Device{Type: event.Crash, Fields: map[string]any{"reason": "panic"}})
}

// total adds up what was told of the failures.
func (f *field) total() (treated, control uint32) {
	for _, a := range f.pages {
		treated, control = treated+a.FailT, control+a.FailC
	}
	return treated, control
}

// risk is who is at risk by all that was told of the stage.
func (f *field) risk(stage uint8) (treated, control uint32) {
	for _, a := range f.pages {
		if a.Stage == stage {
			treated, control = treated+a.RiskT, control+a.RiskC
		}
	}
	return treated, control
}

func (f *field) last() event.Verdict {
	f.t.Helper()
	if len(f.verdicts) == 0 {
		f.t.Fatal("there is no verdict")
	}
	return f.verdicts[len(f.verdicts)-1]
}
