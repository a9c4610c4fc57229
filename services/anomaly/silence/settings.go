package silence

import (
	"errors"
	"fmt"
)

// Settings are what a detector of silence is made with. They are part of a detector's name: other settings, other incidents.
type Settings struct {
	// False is how many false incidents are borne in 1,000 weeks of a cohort. The limits of the tests come from it.
	False float64
	// Missed is how many intervals a device is silent before it counts as missing.
	Missed int64
	// GracePermille of an interval is waited for beyond that.
	GracePermille int64
	// Reconnect is how long (ms) devices are given to come back after an outage of ours; at least Missed intervals.
	Reconnect int64
	// Quiet is how many whole slots without a sign of it end an incident.
	Quiet int
	// PowerFor, UpdatedFor are how long (ms) before a silence a brown-out or an update may lie that explains it.
	PowerFor, UpdatedFor int64
	// LowPercent, LowMillivolts are a battery that is low.
	LowPercent, LowMillivolts float64
	// WeakDBm is a radio that is weak; FallenDB one that has fallen that far below what was usual.
	WeakDBm, FallenDB float64
	// StalledFor is how long (ms) an outage of ours lasts before it is an incident.
	StalledFor int64
}

// DefaultSettings are those with which the figures in the docs were measured.
func DefaultSettings() Settings {
	return Settings{
		False: 2.5, Missed: 2, GracePermille: 250, Reconnect: 2 * 60_000, Quiet: 6,
		PowerFor: 6 * hourMS, UpdatedFor: 24 * hourMS,
		LowPercent: 10, LowMillivolts: 3_300, WeakDBm: -105, FallenDB: 8,
		StalledFor: 60_000,
	}
}

// Validate says what cannot be.
func (s Settings) Validate() error {
	var errs []error
	check := func(ok bool, what string, got any, want string) {
		if !ok {
			errs = append(errs, fmt.Errorf("silence: %s is %v: it must be %s", what, got, want))
		}
	}
	check(s.False >= 0.001 && s.False <= 1_000, "false", s.False, "0.001 to 1000 in 1,000 weeks of a cohort")
	check(s.Missed >= 1 && s.Missed <= 100, "missed", s.Missed, "1 to 100 intervals")
	check(s.GracePermille >= 0 && s.GracePermille <= 10_000, "grace_permille", s.GracePermille, "0 to 10000")
	check(s.Reconnect >= 0 && s.Reconnect <= 24*hourMS, "reconnect", s.Reconnect, "0 to a day, in ms")
	check(s.Quiet >= 1 && s.Quiet <= 1_000, "quiet", s.Quiet, "1 to 1000 slots")
	check(s.PowerFor >= tenMin && s.PowerFor <= 4*weekMS, "power_for", s.PowerFor, "10 minutes to 4 weeks, in ms")
	check(s.UpdatedFor >= tenMin && s.UpdatedFor <= 4*weekMS, "updated_for", s.UpdatedFor, "10 minutes to 4 weeks, in ms")
	check(s.LowPercent >= 0 && s.LowPercent <= 100, "low_percent", s.LowPercent, "0 to 100")
	check(s.LowMillivolts >= 0 && s.LowMillivolts <= 1e6, "low_millivolts", s.LowMillivolts, "0 to 1000000")
	check(s.WeakDBm >= -200 && s.WeakDBm <= 0, "weak_dbm", s.WeakDBm, "-200 to 0")
	check(s.FallenDB >= 1 && s.FallenDB <= 100, "fallen_db", s.FallenDB, "1 to 100")
	check(s.StalledFor >= 0 && s.StalledFor <= 24*hourMS, "stalled_for", s.StalledFor, "0 to a day, in ms")
	return errors.Join(errs...)
}
