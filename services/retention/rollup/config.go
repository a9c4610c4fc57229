package rollup

import (
	"fmt"
	"time"
)

// Config is what an operator sets.
type Config struct {
	// Interval between passes; a late value is in its hour after two at most.
	Interval time.Duration `yaml:"interval"`
}

// DefaultConfig keeps stored hours a minute or two behind the ledger, where five are promised.
func DefaultConfig() Config { return Config{Interval: time.Minute} }

// Validate names the first key that cannot be used.
func (c Config) Validate() error {
	if c.Interval < 100*time.Millisecond || c.Interval > 5*time.Minute {
		return fmt.Errorf("interval %v: want 100ms to 5m", c.Interval)
	}
	return nil
}
