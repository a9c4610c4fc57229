package shard

import (
	"errors"
	"fmt"

	"muster.dev/services/anomaly/security"
	"muster.dev/services/anomaly/series"
	"muster.dev/services/anomaly/silence"
	"muster.dev/services/anomaly/spend"
	"muster.dev/services/anomaly/update"
)

// Settings of a shard. All shards of a log have the same.
type Settings struct {
	// Lateness is how long (ms) after an instant the shard waits for what happened before it.
	Lateness int64
	// Hold is how many records wait for the instant that they belong to at most; more are taken as late.
	Hold int

	// Off are detectors that are not asked.
	Off Off

	Silence  silence.Settings
	Update   update.Settings
	Series   series.Settings
	Spend    spend.Settings
	Security security.Settings
}

// Off are detectors that are not asked.
type Off struct{ Silence, Update, Series, Spend, Security bool }

// DefaultSettings ask all detectors.
func DefaultSettings() Settings {
	return Settings{
		Lateness: 15_000, Hold: 500_000,
		Silence: silence.DefaultSettings(), Update: update.DefaultSettings(), Series: series.DefaultSettings(),
		Spend: spend.DefaultSettings(), Security: security.DefaultSettings(),
	}
}

// Validate says what cannot be.
func (s Settings) Validate() error {
	var errs []error
	if s.Lateness < 0 || s.Lateness > tenMinutes {
		errs = append(errs, fmt.Errorf("lateness is %d ms: it must be 0 to 600000, ten minutes", s.Lateness))
	}
	if s.Hold < 1 {
		errs = append(errs, fmt.Errorf("hold is %d: it must be 1 or more records", s.Hold))
	}
	return errors.Join(append(errs, s.Silence.Validate(), s.Update.Validate(), s.Series.Validate(), s.Spend.Validate(), s.Security.Validate())...)
}
