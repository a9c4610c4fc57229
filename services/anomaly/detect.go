package anomaly

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"muster.dev/services/anomaly/judge"
	"muster.dev/services/anomaly/shard"
)

// Detect is what an operator sets of the detectors: the section `detect`. Whatever is changed in it makes another detector,
// which goes on in an epoch of its own.
type Detect struct {
	// Off names detectors that are not asked: silence, update, series, spend, security.
	Off []string `yaml:"off"`
	// Lateness is how long after an instant what happened before it is waited for.
	Lateness  time.Duration `yaml:"lateness"`
	Silence   Silence       `yaml:"silence"`
	Update    Update        `yaml:"update"`
	Series    Series        `yaml:"series"`
	Spend     Spend         `yaml:"spend"`
	Security  Security      `yaml:"security"`
	Incidents Incidents     `yaml:"incidents"`
}

// Silence is about cohorts that fall silent.
type Silence struct {
	// False is how many false incidents are borne in 1,000 weeks of a cohort: all limits follow from it.
	False float64 `yaml:"false_per_1000_weeks"`
	// Missed is how many intervals a device is silent before it counts as missing, and Grace the share of one that is waited for beyond.
	Missed int64   `yaml:"missed"`
	Grace  float64 `yaml:"grace"`
	// Reconnect is how long devices have to come back after an outage of ours.
	Reconnect time.Duration `yaml:"reconnect"`
	// PowerFor and UpdatedFor are how long before a silence a brown-out or an update may lie that explains it.
	PowerFor   time.Duration `yaml:"power_for"`
	UpdatedFor time.Duration `yaml:"updated_for"`
	// LowPercent and LowMillivolts are a battery that is low; WeakDBm a radio that is weak, FallenDB one that has fallen so far.
	LowPercent    float64 `yaml:"low_percent"`
	LowMillivolts float64 `yaml:"low_millivolts"`
	WeakDBm       float64 `yaml:"weak_dbm"`
	FallenDB      float64 `yaml:"fallen_db"`
	// StalledFor is how long an outage of ours lasts before it is an incident.
	StalledFor time.Duration `yaml:"stalled_for"`
}

// Update is about failures after an update. What a rollout is judged by is decided with the rollout.
type Update struct {
	// SilentIntervals, and at least SilentAtLeast, are a silence that is a failure.
	SilentIntervals int           `yaml:"silent_intervals"`
	SilentAtLeast   time.Duration `yaml:"silent_at_least"`
	// Rollouts are how many are followed at once.
	Rollouts int `yaml:"rollouts"`
}

// Series is about single devices' metrics.
type Series struct {
	// Budget is how many series a partition watches, of about 2 KiB each; the rest are counted.
	Budget int `yaml:"budget"`
	// Threshold is the score, 0 to 1, from which on a value is told.
	Threshold float64 `yaml:"threshold"`
	// False is how many false incidents are borne in 1,000 weeks of a cohort, as far as one partition has it.
	False float64 `yaml:"false_per_1000_weeks"`
}

// Spend is about volumes, and what they cost.
type Spend struct {
	Currency   string  `yaml:"currency"`
	PerMillion float64 `yaml:"per_million_values"`
	PerGB      float64 `yaml:"per_gb"`
	// Rise is the share of a cohort's monthly cost from which on a rise is told.
	Rise float64 `yaml:"rise"`
}

// Security is about identities.
type Security struct {
	// CloneSigns within an hour are a clone.
	CloneSigns uint64 `yaml:"clone_signs"`
	// Knocks of revoked devices and Attempts that the registry refused, within an hour, are an incident.
	Knocks   uint64 `yaml:"knocks"`
	Attempts uint64 `yaml:"attempts"`
	// Enrolments within an hour are a burst, if they are also Times what is usual.
	Enrolments uint64 `yaml:"enrolments"`
	Times      uint64 `yaml:"times"`
}

// Incidents is about what becomes of a finding.
type Incidents struct {
	// Runbooks stands before a page's name: a URL where people read docs/runbooks, with the slash at its end. The default is the
	// folder in the repository, which no receiver can open.
	Runbooks string `yaml:"runbooks"`
	// Quiet intervals end an incident; within Again more it opens again as the same.
	Quiet int64 `yaml:"quiet"`
	Again int64 `yaml:"again"`
	// MaxOpen bounds the open incidents of one kind; what is beyond is one incident more.
	MaxOpen int `yaml:"max_open"`
}

var detectors = []string{"silence", "update", "series", "spend", "security"}

func ms(d time.Duration) int64   { return d.Milliseconds() }
func dur(ms int64) time.Duration { return time.Duration(ms) * time.Millisecond }

func defaultDetect() Detect { return DetectOf(shard.DefaultSettings(), judge.DefaultSettings()) }

// Settings are the detectors' own, of the shards and of the judge.
func (d Detect) Settings() (shard.Settings, judge.Settings) {
	s, j := shard.DefaultSettings(), judge.DefaultSettings()
	s.Lateness = ms(d.Lateness)
	off := func(name string) bool { return slices.Contains(d.Off, name) }
	s.Off = shard.Off{Silence: off("silence"), Update: off("update"), Series: off("series"), Spend: off("spend"), Security: off("security")}
	si := &s.Silence
	si.False, si.Missed, si.GracePermille, si.Reconnect = d.Silence.False, d.Silence.Missed, int64(d.Silence.Grace*1000+0.5), ms(d.Silence.Reconnect)
	si.PowerFor, si.UpdatedFor, si.StalledFor = ms(d.Silence.PowerFor), ms(d.Silence.UpdatedFor), ms(d.Silence.StalledFor)
	si.LowPercent, si.LowMillivolts, si.WeakDBm, si.FallenDB = d.Silence.LowPercent, d.Silence.LowMillivolts, d.Silence.WeakDBm, d.Silence.FallenDB
	s.Update.SilentIntervals, s.Update.SilentAtLeast, s.Update.Rollouts = d.Update.SilentIntervals, ms(d.Update.SilentAtLeast), d.Update.Rollouts
	s.Series.Series, s.Series.Threshold, s.Series.False = d.Series.Budget, d.Series.Threshold, d.Series.False
	s.Spend.Currency, s.Spend.PerMillion, s.Spend.PerGB, s.Spend.Rise = d.Spend.Currency, d.Spend.PerMillion, d.Spend.PerGB, d.Spend.Rise
	sec := &s.Security
	sec.CloneSigns, sec.Knocks, sec.Attempts, sec.Enrolments, sec.Times = d.Security.CloneSigns, d.Security.Knocks, d.Security.Attempts, d.Security.Enrolments, d.Security.Times
	j.Silence, j.Update, j.Series, j.Spend, j.Security = s.Silence, s.Update, s.Series, s.Spend, s.Security
	j.Incident.Runbooks, j.Incident.Quiet, j.Incident.Again, j.Incident.MaxOpen = d.Incidents.Runbooks, d.Incidents.Quiet, d.Incidents.Again, d.Incidents.MaxOpen
	j.Silence.Quiet = int(d.Incidents.Quiet)
	s.Silence.Quiet = j.Silence.Quiet
	return s, j
}

// validate names the first key that cannot be used.
func (d Detect) validate() error {
	for _, name := range d.Off {
		if !slices.Contains(detectors, name) {
			return fmt.Errorf("off: %.40q: want some of %s", name, strings.Join(detectors, ", "))
		}
	}
	switch {
	case d.Update.SilentIntervals < 1 || d.Update.SilentIntervals > 1_000:
		return fmt.Errorf("update.silent_intervals %d: want 1 to 1000", d.Update.SilentIntervals)
	case d.Update.SilentAtLeast < 0 || d.Update.SilentAtLeast > 7*24*time.Hour:
		return fmt.Errorf("update.silent_at_least %v: want 0s to 168h", d.Update.SilentAtLeast)
	case d.Update.Rollouts < 1 || d.Update.Rollouts > 100_000:
		return fmt.Errorf("update.rollouts %d: want 1 to 100000", d.Update.Rollouts)
	case d.Series.Budget < 0 || d.Series.Budget > 10_000_000:
		return fmt.Errorf("series.budget %d: want 0 to 10000000 for each partition", d.Series.Budget)
	case !(d.Series.Threshold > 0 && d.Series.Threshold <= 1):
		return fmt.Errorf("series.threshold %v: want more than 0, at most 1", d.Series.Threshold)
	case !(d.Series.False >= .001 && d.Series.False <= 10_000):
		return fmt.Errorf("series.false_per_1000_weeks %v: want 0.001 to 10000", d.Series.False)
	case d.Security.CloneSigns == 0 || d.Security.Knocks == 0 || d.Security.Attempts == 0 || d.Security.Enrolments == 0:
		return fmt.Errorf("security: clone_signs %d, knocks %d, attempts %d, enrolments %d: want at least 1 each", d.Security.CloneSigns, d.Security.Knocks, d.Security.Attempts, d.Security.Enrolments)
	case d.Security.Times < 1 || d.Security.Times > 1_000_000:
		return fmt.Errorf("security.times %d: want 1 to 1000000", d.Security.Times)
	case d.Incidents.Runbooks != "" && !strings.HasSuffix(d.Incidents.Runbooks, "/") && !strings.HasSuffix(d.Incidents.Runbooks, "="):
		return fmt.Errorf("incidents.runbooks %.80q: a page's name, as silent-cohort.md, follows it: want a slash at its end, or = of a query", d.Incidents.Runbooks)
	case !(d.Silence.Grace >= 0 && d.Silence.Grace <= 10):
		return fmt.Errorf("silence.grace %v: want 0 to 10 intervals", d.Silence.Grace)
	}
	s, j := d.Settings()
	if err := s.Validate(); err != nil {
		return err
	}
	return j.Validate()
}
