package event

import (
	"strconv"

	"muster.dev/proto/batch"
)

// The ce_types of rollouts, and of what people say of incidents.
const (
	TypeRolloutStarted       = "muster.registry.rollout-started.v1"
	TypeRolloutAssigned      = "muster.registry.rollout-assigned.v1"
	TypeRolloutStageStarted  = "muster.registry.rollout-stage-started.v1"
	TypeRolloutChanged       = "muster.registry.rollout-changed.v1"
	TypeIncidentAcknowledged = "muster.registry.incident-acknowledged.v1"
)

// Bounds of a rollout.
const (
	MaxStages      = 32     // after the control group, which is stage 0
	MaxAssigned    = 50_000 // devices of one event
	MaxHealth      = 16     // metrics that are watched
	MaxFirmware    = 64     // bytes
	MaxRolloutTick = 60 * 60 * 1_000
)

// States of a rollout.
const (
	RolloutRunning     = "running"
	RolloutHeld        = "held"
	RolloutPaused      = "paused"
	RolloutAborted     = "aborted"
	RolloutRollingBack = "rolling_back"
	RolloutRolledBack  = "rolled_back"
	RolloutDone        = "done"
)

// RolloutStarted says what is rolled out, to whom, and how it will be judged. It is running from then on.
type RolloutStarted struct {
	Rollout  string          `msgpack:"rollout"`
	Cohort   string          `msgpack:"cohort"`
	Firmware string          `msgpack:"firmware"` // the new one
	From     string          `msgpack:"from"`     // the one before; empty is any
	Stages   []RolloutStage  `msgpack:"stages"`
	BySite   bool            `msgpack:"by_site"` // a site's devices are all treated, or all control
	Design   RolloutDesign   `msgpack:"design"`
	Health   []RolloutHealth `msgpack:"health"`
}

// RolloutStage is one step: what share of the cohort has the new firmware at its end, and how long each device is watched.
type RolloutStage struct {
	SharePPM uint32 `msgpack:"share_ppm"` // more than the stage before it has
	SoakMS   int64  `msgpack:"soak_ms"`
}

// RolloutDesign is decided before the first device has the firmware, and never after.
type RolloutDesign struct {
	AlphaPPM       uint32 `msgpack:"alpha_ppm"`       // chance of a fail where there is no effect, over the rollout's whole life
	BetaPPM        uint32 `msgpack:"beta_ppm"`        // chance of a pass where the effect is the margin
	MarginPermille uint32 `msgpack:"margin_permille"` // odds of a failure that are still borne, times 1,000
	AbsolutePPM    uint32 `msgpack:"absolute_ppm"`    // share of devices whose failure is borne, whatever the odds; 0 = none
	InstallPPM     uint32 `msgpack:"install_ppm"`     // share of installs whose failure is borne
	TickMS         int64  `msgpack:"tick_ms"`         // devices that fail in one tick fail together
	MinExposureMS  int64  `msgpack:"min_exposure_ms"` // of treated devices, before a pass
}

// RolloutHealth is a metric that is compared too.
type RolloutHealth struct {
	Metric string `msgpack:"metric"`
	Worse  int8   `msgpack:"worse"` // 1: higher is worse; -1: lower is; 0: either
}

// RolloutAssigned puts devices into a stage, before it starts. A device has one stage for good.
type RolloutAssigned struct {
	Rollout string   `msgpack:"rollout"`
	Stage   uint8    `msgpack:"stage"`   // 0 = control: not updated while the rollout is judged
	Devices []uint32 `msgpack:"devices"` // numbers, ascending
}

// RolloutStageStarted says that a stage's devices are offered the firmware from now on.
type RolloutStageStarted struct {
	Rollout string `msgpack:"rollout"`
	Stage   uint8  `msgpack:"stage"`
}

// RolloutChanged says what state a rollout is in now.
type RolloutChanged struct {
	Rollout string `msgpack:"rollout"`
	State   string `msgpack:"state"`
	Why     string `msgpack:"why"`
}

// IncidentAcknowledged says that somebody has taken an incident on. Who, and why, are the link's.
type IncidentAcknowledged struct {
	Incident string `msgpack:"incident"`
}

// Type is the ce_type.
func (RolloutStarted) Type() string { return TypeRolloutStarted }

// Type is the ce_type.
func (RolloutAssigned) Type() string { return TypeRolloutAssigned }

// Type is the ce_type.
func (RolloutStageStarted) Type() string { return TypeRolloutStageStarted }

// Type is the ce_type.
func (RolloutChanged) Type() string { return TypeRolloutChanged }

// Type is the ce_type.
func (IncidentAcknowledged) Type() string { return TypeIncidentAcknowledged }

// DefaultRolloutDesign holds one rollout in a hundred for nothing, bears twice the odds and one install in twenty.
func DefaultRolloutDesign() RolloutDesign {
	return RolloutDesign{AlphaPPM: 10_000, BetaPPM: 50_000, MarginPermille: 2_000, InstallPPM: 50_000, TickMS: 60_000}
}

func (r RolloutStarted) validate() *batch.Error {
	if err := checkName("rollout", r.Rollout); err != nil {
		return err
	}
	if err := checkName("cohort", r.Cohort); err != nil {
		return err
	}
	switch {
	case r.Firmware == "":
		return bad("firmware", "is missing")
	case r.Firmware == r.From:
		return bad("from", "must be another firmware")
	case len(r.Stages) == 0 || len(r.Stages) > MaxStages:
		return refuse(batch.Unprocessable, "stages", "must be one or more", MaxStages)
	case len(r.Health) > MaxHealth:
		return refuse(batch.Unprocessable, "health", "has too many metrics", MaxHealth)
	}
	for _, fw := range []named{{"firmware", r.Firmware}, {"from", r.From}} {
		if err := fw.text(MaxFirmware); err != nil {
			return err
		}
	}
	var share uint32
	for _, s := range r.Stages {
		switch {
		case s.SharePPM <= share || s.SharePPM > 1_000_000:
			return refuse(batch.Unprocessable, "stages.share_ppm", "must grow from stage to stage, from 1", 1_000_000)
		case s.SoakMS < 0 || s.SoakMS > MaxInterval:
			return bad("stages.soak_ms", "must be 0 to a year")
		}
		share = s.SharePPM
	}
	for i, h := range r.Health {
		switch {
		case !batch.MetricName(h.Metric):
			return bad("health.metric", strconv.Quote(h.Metric[:min(len(h.Metric), 64)])+" must be a-z or _, then a-z, 0-9 or _, at most 63")
		case h.Worse < -1 || h.Worse > 1:
			return bad("health.worse", "must be -1, 0 or 1")
		case i > 0 && h.Metric <= r.Health[i-1].Metric:
			return bad("health", "must be in order of the metrics' names, each once")
		}
	}
	return r.Design.validate()
}

// normal makes what was left out and what was written as nothing the same.
func (r *RolloutStarted) normal() {
	if len(r.Health) == 0 {
		r.Health = nil
	}
}

func (d RolloutDesign) validate() *batch.Error {
	switch {
	case d.AlphaPPM == 0 || d.AlphaPPM > 500_000:
		return refuse(batch.Unprocessable, "design.alpha_ppm", "must be 1 or more", 500_000)
	case d.BetaPPM == 0 || d.BetaPPM > 500_000:
		return refuse(batch.Unprocessable, "design.beta_ppm", "must be 1 or more", 500_000)
	case d.MarginPermille <= 1_000 || d.MarginPermille > 1_000_000:
		return refuse(batch.Unprocessable, "design.margin_permille", "must be more than 1,000, which is no margin", 1_000_000)
	case d.AbsolutePPM >= 1_000_000:
		return refuse(batch.Unprocessable, "design.absolute_ppm", "must be less than all", 999_999)
	case d.InstallPPM == 0 || d.InstallPPM >= 1_000_000:
		return refuse(batch.Unprocessable, "design.install_ppm", "must be 1 or more, and less than all", 999_999)
	case d.TickMS < 1_000 || d.TickMS > MaxRolloutTick:
		return refuse(batch.Unprocessable, "design.tick_ms", "must be a second or more", MaxRolloutTick)
	case d.MinExposureMS < 0 || d.MinExposureMS > batch.MaxTime:
		return refuse(batch.Unprocessable, "design.min_exposure_ms", "must not be negative", batch.MaxTime)
	}
	return nil
}

func (r RolloutAssigned) validate() *batch.Error {
	switch {
	case r.Stage > MaxStages:
		return refuse(batch.Unprocessable, "stage", "is beyond the last", MaxStages)
	case len(r.Devices) == 0 || len(r.Devices) > MaxAssigned:
		return refuse(batch.Unprocessable, "devices", "must be one or more", MaxAssigned)
	}
	var before uint32
	for _, no := range r.Devices {
		if no <= before {
			return bad("devices", "must ascend, from 1")
		}
		before = no
	}
	return checkName("rollout", r.Rollout)
}

func (r RolloutStageStarted) validate() *batch.Error {
	if r.Stage == 0 || r.Stage > MaxStages {
		return refuse(batch.Unprocessable, "stage", "must count from 1", MaxStages)
	}
	return checkName("rollout", r.Rollout)
}

// RolloutState says whether s is a state that a rollout can be in.
func RolloutState(s string) bool {
	switch s {
	case RolloutRunning, RolloutHeld, RolloutPaused, RolloutAborted, RolloutRollingBack, RolloutRolledBack, RolloutDone:
		return true
	}
	return false
}

func (r RolloutChanged) validate() *batch.Error {
	if !RolloutState(r.State) {
		return bad("state", strconv.Quote(r.State[:min(len(r.State), 64)])+" must be running, held, paused, aborted, rolling_back, rolled_back or done")
	}
	if err := checkText("why", r.Why); err != nil {
		return err
	}
	return checkName("rollout", r.Rollout)
}

func (i IncidentAcknowledged) validate() *batch.Error { return checkIncident("incident", i.Incident) }
