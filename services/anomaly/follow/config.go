package follow

import (
	"errors"
	"fmt"
	"time"
)

// Config is what an operator sets.
type Config struct {
	// Group is the consumer group that says who owns which partition. Nothing is committed in it.
	Group string `yaml:"group"`
	// SessionTimeout is how long the group waits for a member that says nothing before it moves its partitions.
	SessionTimeout time.Duration `yaml:"session_timeout"`
	// Back is how far back a detector begins that has no state: its baselines are learned from there on. 0 is all that the
	// log holds.
	Back time.Duration `yaml:"back"`
	// SnapshotEvery and SnapshotRecords say when a state is kept: after so much event time, or so many records.
	SnapshotEvery   time.Duration `yaml:"snapshot_every"`
	SnapshotRecords int64         `yaml:"snapshot_records"`
	// SnapshotPause is the least time between two snapshots of one partition while a long log is read.
	SnapshotPause time.Duration `yaml:"snapshot_pause"`
	// Epoch is an operator's word by which the detectors go on where the log and they differ: a new word begins a new epoch.
	Epoch string `yaml:"epoch"`
	// CrashAt kills the process at a point of the protocol, as in `written:3`: for the torture alone.
	CrashAt string `yaml:"crash_at"`
}

// DefaultConfig is the local stack's.
func DefaultConfig() Config {
	return Config{
		Group:           "muster-anomaly",
		SessionTimeout:  6 * time.Second, // the least that Kafka grants by default
		Back:            7 * 24 * time.Hour,
		SnapshotEvery:   10 * time.Minute,
		SnapshotRecords: 1_000_000,
		SnapshotPause:   30 * time.Second,
	}
}

// Validate names the first key that cannot be used.
func (c Config) Validate() error {
	switch {
	case c.Group == "":
		return errors.New("group: want a name")
	case c.SessionTimeout < 100*time.Millisecond || c.SessionTimeout > time.Minute:
		return fmt.Errorf("session_timeout %v: want 100ms to 1m", c.SessionTimeout)
	case c.Back < 0:
		return fmt.Errorf("back %v: want 0s for all that the log holds, or more", c.Back)
	case c.SnapshotEvery < time.Second || c.SnapshotEvery > 24*time.Hour:
		return fmt.Errorf("snapshot_every %v: want 1s to 24h", c.SnapshotEvery)
	case c.SnapshotRecords < 1:
		return fmt.Errorf("snapshot_records %d: want at least 1", c.SnapshotRecords)
	case c.SnapshotPause < 0:
		return fmt.Errorf("snapshot_pause %v: want 0s or more", c.SnapshotPause)
	case len(c.Epoch) > 64:
		return fmt.Errorf("epoch: %d bytes, the limit is 64", len(c.Epoch))
	}
	if _, err := parseCrash(c.CrashAt); err != nil {
		return fmt.Errorf("crash_at %w", err)
	}
	return nil
}
