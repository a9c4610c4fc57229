package security

import "fmt"

// Settings are the thresholds.
type Settings struct {
	// CloneSigns is how many signs that no network explains (two certificates, a used key with another payload, a counter
	// far back, another device's name) within an hour make a clone. A restored backup or a swapped board gives one or two.
	CloneSigns uint64
	// CloneTurns is in how many of the twelve ten minutes of two hours a device has to be at two addresses in turns, for
	// nothing but that. One with two networks does so too, but from the first day: who began within Settled of its
	// enrolment is known for it, and never told.
	CloneTurns int
	Settled    int64 // ms
	// Knocks is how many requests of revoked devices a region's gateways refuse within an hour, in KnockMinutes different
	// minutes of it at least, to make an incident. A device that was sold with its key knocks a few times and is switched
	// off; one that goes on does so at its interval.
	Knocks       uint64
	KnockMinutes int
	// Attempts is the same for what the registry refused, however it is spread: a script needs a minute.
	Attempts uint64
	// Enrolments is how many of one cohort within an hour make a burst at least, and Times how many times the most of an
	// hour of the last four weeks. The first day of a cohort is no burst: it is being filled.
	Enrolments uint64
	Times      uint64
}

// DefaultSettings give few false ones.
func DefaultSettings() Settings {
	return Settings{
		CloneSigns: 3, CloneTurns: 9, Settled: 3 * hour, Knocks: 10, KnockMinutes: 5, Attempts: 20, Enrolments: 20, Times: 3,
	}
}

// Validate says what cannot be.
func (s Settings) Validate() error {
	if min(s.CloneSigns, s.Knocks, s.Attempts, s.Enrolments) == 0 {
		return fmt.Errorf("security: clone_signs %d, knocks %d, attempts %d, enrolments %d: want at least 1 each", s.CloneSigns, s.Knocks, s.Attempts, s.Enrolments)
	}
	if s.Times < 1 || s.Times > 1_000_000 {
		return fmt.Errorf("security: times is %d: it must be 1 to 1000000", s.Times)
	}
	return nil
}

const (
	minute = 60_000
	hour   = 60 * minute
	day    = 24 * hour
)
