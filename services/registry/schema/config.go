package schema

import (
	"fmt"
	"time"
)

// Config is what an operator sets.
type Config struct {
	// Interval between looks at the overflow table.
	Interval time.Duration `yaml:"interval"`
	// MinRows is how often a metric is seen before it gets a column.
	MinRows uint64 `yaml:"min_rows"`
}

// DefaultConfig promotes what is no accident.
func DefaultConfig() Config { return Config{Interval: 5 * time.Second, MinRows: 20} }

// Validate names the first key that cannot be used.
func (c Config) Validate() error {
	switch {
	case c.Interval < 10*time.Millisecond || c.Interval > time.Hour:
		return fmt.Errorf("interval %v: want 10ms to 1h", c.Interval)
	case c.MinRows < 1:
		return fmt.Errorf("min_rows %d: want 1 or more", c.MinRows)
	}
	return nil
}
