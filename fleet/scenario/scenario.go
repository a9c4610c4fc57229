package scenario

import (
	"slices"
	"time"
)

// Scenario is a fleet of simulated devices and what befalls it.
type Scenario struct {
	// What the scenario is called.
	Name string `yaml:"scenario" need:"yes" form:"name"`
	// About is a sentence that says what the scenario shows.
	About string `yaml:"about" want:"0..1000"`
	// Seed of everything that is left to chance. The same scenario and seed give the same bytes.
	Seed uint64 `yaml:"seed" default:"1"`
	// Begins is the first instant in fast time. In real time a scenario begins when it is started.
	Begins time.Time `yaml:"begins" default:"2026-01-05T00:00:00Z" want:"1990-01-01T00:00:00Z..2100-01-01T00:00:00Z"`
	// Lasts is how long it goes on.
	Lasts time.Duration `yaml:"lasts" need:"yes" want:"1m..520w"`
	// Cohorts are groups of like devices.
	Cohorts []Cohort `yaml:"cohorts" need:"yes" want:"1..1000"`
	// Firmware lists the versions that rollouts bring, and how they misbehave. One of which nothing more is said behaves.
	Firmware []Firmware `yaml:"firmware" want:"0..64"`
	// Rollouts bring firmware to cohorts, stage by stage.
	Rollouts []Rollout `yaml:"rollouts" want:"0..64"`
	// Faults are what happens at a given time.
	Faults []Fault `yaml:"faults" want:"0..1000"`

	// SHA256 of the text.
	SHA256 [32]byte `yaml:"-"`
}

// Cohort is a group of like devices.
type Cohort struct {
	// Name of the cohort.
	Name string `yaml:"name" need:"yes" form:"name"`
	// Devices is their number at the beginning.
	Devices int `yaml:"devices" need:"yes" want:"1..1000000"`
	// ID is the pattern of the devices' ids: text around one %d, which counts from 1. It is the cohort's name and four digits
	// unless told, as north-%04d.
	ID string `yaml:"id" form:"pattern"`
	// Interval between two messages, each with a set of readings.
	Interval time.Duration `yaml:"interval" default:"1m" want:"1s..1d"`
	// Jitter by which a message comes earlier or later, as a share of the interval.
	Jitter Share `yaml:"jitter" default:"1%" want:"0..0.4"`
	// Heartbeat is the time between two heartbeat events; 0s is none.
	Heartbeat time.Duration `yaml:"heartbeat" default:"0s" want:"0s..1w"`
	// Region whose gateway the devices talk to.
	Region string `yaml:"region" default:"local" form:"name"`
	// Sites over which the devices are dealt in turn: what happens to a site happens to its devices together.
	Sites int `yaml:"sites" default:"1" want:"1..10000"`
	// Model of the device, an attribute of its enrolment.
	Model string `yaml:"model" want:"0..128"`
	// Hardware revision, an attribute of its enrolment.
	Hardware string `yaml:"hardware" want:"0..128"`
	// Profile under which its metrics are kept; the cohort's name unless told.
	Profile string `yaml:"profile" form:"name"`
	// Class of retention.
	Class string `yaml:"class" default:"standard" form:"standard|debug|audit|cold"`
	// History lifts the lower bound of the readings' times.
	History bool `yaml:"history"`
	// Firmware at the beginning.
	Firmware string `yaml:"firmware" default:"1.0.0" form:"version"`
	// Metrics that each device measures.
	Metrics []Metric `yaml:"metrics" need:"yes" want:"1..64"`
	// Sleep that is planned; none unless told.
	Sleep *Sleep `yaml:"sleep"`
	// Battery that runs empty; on the mains unless told.
	Battery *Battery `yaml:"battery"`
	// Radio between the devices and the gateway.
	Radio Radio `yaml:"radio"`
	// Clock of the devices.
	Clock Clock `yaml:"clock"`
	// Reboots of one device that nothing is wrong with.
	Reboots Rate `yaml:"reboots" default:"0/d" want:"0/d..1000/d"`
	// Mishaps that befall devices whatever they run.
	Mishaps Mishaps `yaml:"mishaps"`
	// Churn of the cohort.
	Churn Churn `yaml:"churn"`
	// NeverHeard is the share of the devices that are enrolled and never say a word.
	NeverHeard Share `yaml:"never-heard"`
	// SiteOutages take the power of a whole site.
	SiteOutages SiteOutages `yaml:"site-outages"`
}

// Metric is one thing that a device measures.
type Metric struct {
	// Name of the metric, as it goes over the wire.
	Name string `yaml:"name" need:"yes" form:"metric"`
	// Kind of its values: gauge (a decimal number), float (a double), counter (an integer that grows and begins at 0 with a boot),
	// switch (true or false) or state (one of a list of texts).
	Kind string `yaml:"kind" default:"gauge" form:"gauge|float|counter|switch|state"`
	// Unit of the values, for the reader of the file.
	Unit string `yaml:"unit" want:"0..32"`
	// Decimals of a gauge.
	Decimals int `yaml:"decimals" default:"1" want:"0..9"`
	// Every is the time between two of its values, if the device measures more often than it sends.
	Every time.Duration `yaml:"every" default:"0s" want:"0s..1d"`
	// Model of the values of a gauge or a float. Of a counter, base is what it grows by in a minute and noise how much that varies.
	Model Model `yaml:"model"`
	// Min that the sensor can show.
	Min *float64 `yaml:"min" want:"-1e12..1e12"`
	// Max that the sensor can show.
	Max *float64 `yaml:"max" want:"-1e12..1e12"`
	// Of lists the texts of a state, at most 128 bytes each.
	Of []string `yaml:"of" want:"0..64"`
	// Stays is the mean time that a state or a switch stays as it is.
	Stays time.Duration `yaml:"stays" default:"10m" want:"1s..520w"`
}

// Model of a signal: the sum of its parts.
type Model struct {
	// Base is its mean.
	Base float64 `yaml:"base" want:"-1e12..1e12"`
	// Spread of the base between devices, as a standard deviation.
	Spread float64 `yaml:"spread" want:"0..1e12"`
	// Daily is the amplitude of a day's wave, highest at three in the afternoon UTC.
	Daily float64 `yaml:"daily" want:"-1e12..1e12"`
	// Weekly is what is added on Saturday and Sunday.
	Weekly float64 `yaml:"weekly" want:"-1e12..1e12"`
	// Noise is the standard deviation of one value.
	Noise float64 `yaml:"noise" want:"0..1e12"`
	// Walk is the standard deviation of a wandering that is forgotten within a day.
	Walk float64 `yaml:"walk" want:"0..1e12"`
	// Together is the same for a wandering that all devices of a cohort share.
	Together float64 `yaml:"together" want:"0..1e12"`
	// Drift of the mean.
	Drift Rate `yaml:"drift" want:"-1e12/d..1e12/d"`
	// Follows adds what the device is: radio (dB that the radio has lost), battery (per cent that are left) or uptime (seconds
	// since the boot).
	Follows string `yaml:"follows" form:"|radio|battery|uptime"`
}

// Sleep is when devices are silent because they were told to.
type Sleep struct {
	// Every is the period, counted from a Thursday's midnight UTC, as Unix time is. The registry is told of one of whole minutes that divides a
	// week, with at most 24 times of the day; any other a detector takes for silence.
	Every time.Duration `yaml:"every" default:"1d" want:"1m..1w"`
	// From is when in the period sleep begins.
	From Clocktime `yaml:"from" default:"22:00"`
	// For is how long it lasts.
	For time.Duration `yaml:"for" need:"yes" want:"1s..6d"`
}

// Battery that runs empty. Before its end the voltage drops, and the device resets now and then.
type Battery struct {
	// Lasts is the life of a full battery.
	Lasts time.Duration `yaml:"lasts" need:"yes" want:"1h..1000w"`
	// Spread of that life between devices, as a standard deviation.
	Spread Share `yaml:"spread" default:"10%" want:"0..0.5"`
	// Full is the least charge at the beginning; devices lie between it and a full battery.
	Full Share `yaml:"full" default:"100%"`
	// BrownOuts is how many resets come in the last two per cent.
	BrownOuts int `yaml:"brown-outs" default:"3" want:"0..20"`
	// Renewed is the time after which somebody changes an empty battery; 0s is never.
	Renewed time.Duration `yaml:"renewed" default:"0s" want:"0s..520w"`
}

// Radio is how messages fare between the device and the gateway.
type Radio struct {
	// Loss is the share of the sendings that get nowhere.
	Loss Share `yaml:"loss" want:"0..0.99"`
	// Burst is the mean number of intervals for which loss goes on. 1 is independent loss.
	Burst float64 `yaml:"burst" default:"1" want:"1..10000"`
	// Duplicates is the share of the messages whose answer is lost, so that they are sent again.
	Duplicates Share `yaml:"duplicates" want:"0..0.5"`
	// Reordered is the share of the messages that arrive after the one that was made next.
	Reordered Share `yaml:"reordered" want:"0..0.5"`
	// Late messages lie about on their way.
	Late Late `yaml:"late"`
	// Keeps is for how long a device keeps what could not be sent and sends it later, oldest first. 0s: it is lost for good.
	Keeps time.Duration `yaml:"keeps" default:"0s" want:"0s..52w"`
	// Latency is the mean time on the way.
	Latency time.Duration `yaml:"latency" default:"150ms" want:"0s..1m"`
	// Reconnect is the time over which devices come back after an outage.
	Reconnect time.Duration `yaml:"reconnect" default:"1m" want:"0s..1d"`
}

// Late says which messages lie about on their way.
type Late struct {
	// Share of the messages.
	Share Share `yaml:"share" want:"0..0.5"`
	// By is the mean delay.
	By time.Duration `yaml:"by" default:"5m" want:"1s..4w"`
}

// Clock is what the devices take for the time.
type Clock struct {
	// Skew is the standard deviation of the devices' clocks at a boot.
	Skew time.Duration `yaml:"skew" default:"0s" want:"0s..1d"`
	// Drift is the standard deviation of the clocks' speed. A boot sets the clock.
	Drift PPM `yaml:"drift" default:"0ppm" want:"0ppm..100000ppm"`
	// Wrong clocks were never set.
	Wrong Wrong `yaml:"wrong"`
}

// Wrong says whose clock is wrong, and by how much.
type Wrong struct {
	// Share of the devices.
	Share Share `yaml:"share"`
	// By is what is added to the right time, as -3y for a clock that is three years late.
	By time.Duration `yaml:"by" default:"0s" want:"-50y..50y"`
}

// Mishaps befall a device whatever it runs: what an update is measured against.
type Mishaps struct {
	// Crashes of one device.
	Crashes Rate `yaml:"crashes" default:"0/d" want:"0/d..100/d"`
	// Silences of one device.
	Silences Rate `yaml:"silences" default:"0/d" want:"0/d..100/d"`
	// Lasts is the mean length of a silence.
	Lasts time.Duration `yaml:"lasts" default:"2h" want:"1m..52w"`
	// Errors that its operating system reports, of one device.
	Errors Rate `yaml:"errors" default:"0/d" want:"0/d..100/d"`
}

// Churn is the coming and going of devices, of the whole cohort.
type Churn struct {
	// Joins are new devices.
	Joins Rate `yaml:"joins" default:"0/w" want:"0/w..100000/w"`
	// Leaves are devices that are taken down.
	Leaves Rate `yaml:"leaves" default:"0/w" want:"0/w..100000/w"`
	// Replaced are devices that another takes the place of.
	Replaced Rate `yaml:"replaced" default:"0/w" want:"0/w..100000/w"`
}

// SiteOutages take the power of whole sites, each on its own.
type SiteOutages struct {
	// Rate of one site.
	Rate Rate `yaml:"rate" default:"0/w" want:"0/w..1000/w"`
	// Lasts is the mean length.
	Lasts time.Duration `yaml:"lasts" default:"1h" want:"1m..4w"`
}

// CohortNamed finds a cohort; -1 is none.
func (s *Scenario) CohortNamed(name string) int {
	for i := range s.Cohorts {
		if s.Cohorts[i].Name == name {
			return i
		}
	}
	return -1
}

// FirmwareNamed finds how a version behaves; nil is a version that behaves.
func (s *Scenario) FirmwareNamed(version string) *Firmware {
	for i := range s.Firmware {
		if s.Firmware[i].Version == version {
			return &s.Firmware[i]
		}
	}
	return nil
}

// MetricNamed finds a metric of a cohort; -1 is none.
func (c *Cohort) MetricNamed(name string) int {
	for i := range c.Metrics {
		if c.Metrics[i].Name == name {
			return i
		}
	}
	return -1
}

// Regions lists the regions of the cohorts, each once, in order of first mention.
func (s *Scenario) Regions() []string {
	var out []string
	for i := range s.Cohorts {
		r := s.Cohorts[i].Region
		if r != "" && !slices.Contains(out, r) {
			out = append(out, r)
		}
	}
	return out
}
