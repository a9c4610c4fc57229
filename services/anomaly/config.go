package anomaly

import (
	"fmt"

	"muster.dev/platform/daemon"
	"muster.dev/platform/eventlog"
	"muster.dev/platform/warehouse"
	"muster.dev/services/anomaly/deliver"
	"muster.dev/services/anomaly/follow"
)

// Config is what an operator sets.
type Config struct {
	Ops daemon.Config `yaml:"ops"`
	// Memory is what the process is to stay below, in MiB: the collector works the more, the nearer it comes. GOMEMLIMIT is
	// the stronger word, and 0 none. A fleet that needs more gets it.
	Memory    int64            `yaml:"memory_mib"`
	Log       eventlog.Config  `yaml:"log"`
	Warehouse warehouse.Config `yaml:"warehouse"`
	Detect    Detect           `yaml:"detect"`
	Follow    follow.Config    `yaml:"follow"`
	Deliver   deliver.Config   `yaml:"deliver"`
}

// DefaultConfig is the local stack's.
func DefaultConfig() Config {
	ops := daemon.DefaultConfig()
	ops.Listen = "127.0.0.1:9107"
	return Config{Ops: ops, Memory: 900, Log: eventlog.DefaultConfig(), Warehouse: warehouse.DefaultConfig(), Detect: defaultDetect(), Follow: follow.DefaultConfig(), Deliver: deliver.DefaultConfig()}
}

// Validate names the first key that cannot be used.
func (c Config) Validate() error {
	if c.Memory < 0 || c.Memory > 1<<20 {
		return fmt.Errorf("memory_mib %d: want 0 for no limit, or up to 1048576", c.Memory)
	}
	if err := c.Log.Validate(); err != nil {
		return fmt.Errorf("log.%w", err)
	}
	if err := c.Warehouse.Validate(); err != nil {
		return err
	}
	if err := c.Detect.validate(); err != nil {
		return fmt.Errorf("detect.%w", err)
	}
	if err := c.Follow.Validate(); err != nil {
		return fmt.Errorf("follow.%w", err)
	}
	if err := c.Deliver.Validate(); err != nil {
		return fmt.Errorf("deliver.%w", err)
	}
	return nil
}
