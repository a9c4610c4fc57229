package scenario

import "time"

// Firmware is how a version misbehaves.
type Firmware struct {
	// Version as devices report it.
	Version string `yaml:"version" need:"yes" form:"version"`
	// Crashes soon after the update.
	Crashes *Crashes `yaml:"crashes"`
	// Silent devices are on and say nothing.
	Silent *Silent `yaml:"silent"`
	// Drains the battery.
	Drains *Drains `yaml:"drains"`
	// Leaks memory until the device crashes.
	Leaks *Leaks `yaml:"leaks"`
	// Errors that the operating system reports.
	Errors *ErrorsOf `yaml:"errors"`
	// Shifts are metrics that the version changes.
	Shifts []Shift `yaml:"shifts" want:"0..64"`
	// Bricks is the share of the updates that kill the device while it fetches them: it says nothing of it, and nothing ever again.
	Bricks Share `yaml:"bricks"`
	// Fails is the share of the updates that fail; the device says so and stays on what it ran.
	Fails Share `yaml:"fails"`
	// RollsBack is the share of the updates after which the device goes back by itself, within ten minutes, and says so.
	RollsBack Share `yaml:"rolls-back"`
	// Paper is the share of the updates that succeed on paper only: the device says ok, and runs what it ran.
	Paper Share `yaml:"paper"`
}

// Crashes of a firmware.
type Crashes struct {
	// Chance that a device does.
	Chance Share `yaml:"chance" need:"yes"`
	// Within is the mean time from the update to the first crash.
	Within time.Duration `yaml:"within" default:"1h" want:"1s..52w"`
	// BootLoop is how often it crashes in a row, some seconds after each boot.
	BootLoop int `yaml:"boot-loop" default:"1" want:"1..100"`
	// Then is what follows: recovers (until the next crash, after as long again), silent (it never boots again) or rolls-back
	// (to what it ran before).
	Then string `yaml:"then" default:"recovers" form:"recovers|silent|rolls-back"`
}

// Silent firmware.
type Silent struct {
	// Chance that a device falls silent.
	Chance Share `yaml:"chance" need:"yes"`
	// After is the mean time from the update.
	After time.Duration `yaml:"after" default:"1h" want:"0s..52w"`
	// Lasts is how long the silence is; 0s is for ever.
	Lasts time.Duration `yaml:"lasts" default:"0s" want:"0s..52w"`
}

// Drains of a firmware.
type Drains struct {
	// Factor by which the battery goes faster.
	Factor float64 `yaml:"factor" need:"yes" want:"1..1000"`
	// Chance that a device does.
	Chance Share `yaml:"chance" default:"100%"`
}

// Leaks of a firmware.
type Leaks struct {
	// Metric that shows it, a gauge or a float. It falls back with each boot.
	Metric string `yaml:"metric" need:"yes" form:"metric"`
	// Per is what the metric changes by.
	Per Rate `yaml:"per" need:"yes" want:"-1e12/d..1e12/d"`
	// Room is the change at which the device crashes; 0 is never.
	Room float64 `yaml:"room" want:"0..1e12"`
	// Chance that a device does.
	Chance Share `yaml:"chance" default:"100%"`
}

// ErrorsOf a firmware.
type ErrorsOf struct {
	// Per device.
	Per Rate `yaml:"per" need:"yes" want:"0/d..1000/d"`
	// Code that they carry.
	Code string `yaml:"code" default:"EIO" want:"1..64"`
	// Chance that a device has them.
	Chance Share `yaml:"chance" default:"100%"`
}

// Shift of a metric under a firmware.
type Shift struct {
	// Metric, a gauge or a float.
	Metric string `yaml:"metric" need:"yes" form:"metric"`
	// By is what is added to its values.
	By float64 `yaml:"by" need:"yes" want:"-1e12..1e12"`
	// Chance that a device does.
	Chance Share `yaml:"chance" default:"100%"`
}

// Rollout brings a firmware to a cohort. The stages take devices by lot, from each site alike.
type Rollout struct {
	// Firmware that is brought.
	Firmware string `yaml:"firmware" need:"yes" form:"version"`
	// Cohort that it is brought to.
	Cohort string `yaml:"cohort" need:"yes" form:"name"`
	// At is when the first stage begins, from the scenario's beginning.
	At time.Duration `yaml:"at" need:"yes" want:"0s..520w"`
	// Stages, each of which ends when its soak time is over. Devices that no stage takes are the control to the end.
	Stages []Stage `yaml:"stages" need:"yes" want:"1..32"`
	// Takes is the mean time from a stage's beginning to a device's update.
	Takes time.Duration `yaml:"takes" default:"30m" want:"0s..4w"`
	// Postponed updates wait, because the device is busy or low on charge. It is no failure.
	Postponed Postponed `yaml:"postponed"`
	// WholeSites gives each site to one stage, instead of dealing its devices to all of them.
	WholeSites bool `yaml:"whole-sites"`
}

// Stage of a rollout.
type Stage struct {
	// Share of the cohort that has been offered the update by the end of the stage, those of earlier stages included.
	Share Share `yaml:"share" need:"yes"`
	// Soak is how long the stage lasts.
	Soak time.Duration `yaml:"soak" default:"1d" want:"0s..52w"`
}

// Postponed says which updates wait.
type Postponed struct {
	// Share of the devices.
	Share Share `yaml:"share"`
	// By is the mean time.
	By time.Duration `yaml:"by" default:"6h" want:"1m..4w"`
}

// Fault happens at a given time. It has one of the kinds.
type Fault struct {
	// At is when it begins, from the scenario's beginning.
	At time.Duration `yaml:"at" need:"yes" want:"0s..520w"`
	// For is how long it lasts; 0s is to the end.
	For time.Duration `yaml:"for" default:"0s" want:"0s..520w"`

	// GatewayOutage stops the gateway of a region: nobody answers, and it writes no watermark.
	GatewayOutage *RegionFault `yaml:"gateway-outage" kind:"yes"`
	// RegionOutage cuts the network of a region: its gateway is well and hears nobody.
	RegionOutage *RegionFault `yaml:"region-outage" kind:"yes"`
	// PipelineStall stops our own pipeline behind the gateways.
	PipelineStall *PipelineStall `yaml:"pipeline-stall" kind:"yes"`
	// PowerLoss takes the power of devices.
	PowerLoss *PowerLoss `yaml:"power-loss" kind:"yes"`
	// RadioLoss makes the radio of devices worse.
	RadioLoss *RadioLoss `yaml:"radio-loss" kind:"yes"`
	// Silence stops devices for a cause that nobody can see.
	Silence *Target `yaml:"silence" kind:"yes"`
	// Restart restarts devices at once.
	Restart *Target `yaml:"restart" kind:"yes"`
	// Clone sends under the devices' identity from elsewhere, with counters of its own.
	Clone *Target `yaml:"clone" kind:"yes"`
	// ClockStep moves the clock of devices until their next boot, or for the fault's time.
	ClockStep *ClockStep `yaml:"clock-step" kind:"yes"`
	// Interval makes devices send at another interval, as after a change of their configuration.
	Interval *Interval `yaml:"interval" kind:"yes"`
	// CostSpike makes devices send a metric far more often.
	CostSpike *CostSpike `yaml:"cost-spike" kind:"yes"`
	// Anomaly changes what a metric of devices shows.
	Anomaly *Anomaly `yaml:"anomaly" kind:"yes"`
	// Retire takes devices down and ends their enrolment.
	Retire *Target `yaml:"retire" kind:"yes"`
	// Revoke ends the identity of devices, which may go on knocking.
	Revoke *Revoke `yaml:"revoke" kind:"yes"`
	// EnrolmentBurst enrols many new devices over the fault's time.
	EnrolmentBurst *EnrolmentBurst `yaml:"enrolment-burst" kind:"yes"`
}

// Target says which devices.
type Target struct {
	// Cohort of the devices; all unless told.
	Cohort string `yaml:"cohort" form:"name"`
	// Site of the cohort, from 1; 0 is all.
	Site int `yaml:"site" want:"0..10000"`
	// Share of these devices, chosen by lot.
	Share Share `yaml:"share" default:"100%"`
	// Devices is their number instead of a share.
	Devices int `yaml:"devices" want:"0..1000000"`
}

// RegionFault befalls a region.
type RegionFault struct {
	// Region, as cohorts name it; all unless told.
	Region string `yaml:"region" form:"name"`
}

// PipelineStall befalls our own pipeline.
type PipelineStall struct {
	// Stage that stands still: log (gateways cannot publish, and answer that they could not) or sink (what is accepted is stored later).
	Stage string `yaml:"stage" default:"sink" form:"log|sink"`
}

// PowerLoss befalls devices.
type PowerLoss struct {
	Target `yaml:",inline"`
	// BrownOuts is how many resets each device has in the hour before.
	BrownOuts int `yaml:"brown-outs" want:"0..20"`
}

// RadioLoss befalls devices.
type RadioLoss struct {
	Target `yaml:",inline"`
	// Loss is the share of the sendings that get nowhere.
	Loss Share `yaml:"loss" default:"100%"`
	// Fades is the time before, in which the radio grows worse. A metric that follows the radio shows it.
	Fades time.Duration `yaml:"fades" default:"0s" want:"0s..4w"`
	// By is how many dB are lost at the end of that time.
	By float64 `yaml:"by" default:"20" want:"0..200"`
}

// ClockStep befalls devices.
type ClockStep struct {
	Target `yaml:",inline"`
	// By is what is added to the time.
	By time.Duration `yaml:"by" need:"yes" want:"-50y..50y"`
}

// Interval befalls devices.
type Interval struct {
	Target `yaml:",inline"`
	// To is the new interval.
	To time.Duration `yaml:"to" need:"yes" want:"1s..1d"`
}

// CostSpike befalls devices.
type CostSpike struct {
	Target `yaml:",inline"`
	// Metric that is sent more often.
	Metric string `yaml:"metric" need:"yes" form:"metric"`
	// Rate at which it is.
	Rate Hertz `yaml:"rate" need:"yes" want:"0.001Hz..1000Hz"`
}

// Anomaly befalls a metric of devices.
type Anomaly struct {
	Target `yaml:",inline"`
	// Metric, a gauge or a float.
	Metric string `yaml:"metric" need:"yes" form:"metric"`
	// Kind of it: flat-line (the last value for ever), jump (by at once), drift (by at the fault's end, bit by bit), noise (by times as much),
	// missing (no value) or slow (only each by-th value comes).
	Kind string `yaml:"kind" need:"yes" form:"flat-line|jump|drift|noise|missing|slow"`
	// By is how much.
	By float64 `yaml:"by" want:"-1e12..1e12"`
}

// Revoke ends identities.
type Revoke struct {
	Target `yaml:",inline"`
	// Knocks is the time between two tries of a device that does not know; 0s is none.
	Knocks time.Duration `yaml:"knocks" default:"0s" want:"0s..1w"`
}

// EnrolmentBurst enrols many devices.
type EnrolmentBurst struct {
	// Cohort that they enrol into.
	Cohort string `yaml:"cohort" need:"yes" form:"name"`
	// Devices is their number.
	Devices int `yaml:"devices" need:"yes" want:"1..100000"`
}
