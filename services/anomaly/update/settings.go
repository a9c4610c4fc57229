package update

import "fmt"

// Settings are what an operator may change. What a rollout is judged by is in the rollout's first event.
type Settings struct {
	SilentIntervals int   // a device is silent after so many of its intervals,
	SilentAtLeast   int64 // and after so long, in ms
	Rollouts        int   // that are followed at once; more are counted
}

// DefaultSettings are those that were measured.
func DefaultSettings() Settings {
	return Settings{SilentIntervals: 6, SilentAtLeast: 30 * 60_000, Rollouts: 1_000}
}

// Validate says what cannot be.
func (s Settings) Validate() error {
	const week = 7 * 24 * hour
	if s.SilentIntervals < 1 || s.SilentIntervals > 1_000 || s.SilentAtLeast < 0 || s.SilentAtLeast > week {
		return fmt.Errorf("update: silent after %d intervals and %d ms: it must be 1 to 1000, and 0 to a week", s.SilentIntervals, s.SilentAtLeast)
	}
	if s.Rollouts < 1 || s.Rollouts > 100_000 {
		return fmt.Errorf("update: rollouts is %d: it must be 1 to 100000", s.Rollouts)
	}
	return nil
}
