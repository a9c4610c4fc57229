package retention

import (
	"fmt"

	"muster.dev/platform/daemon"
	"muster.dev/platform/warehouse"
	"muster.dev/services/retention/rollup"
)

// Config is what an operator sets.
type Config struct {
	Ops       daemon.Config    `yaml:"ops"`
	Warehouse warehouse.Config `yaml:"warehouse"`
	Rollup    rollup.Config    `yaml:"rollup"`
}

// DefaultConfig is the local stack's.
func DefaultConfig() Config {
	ops := daemon.DefaultConfig()
	ops.Listen = "127.0.0.1:9104"
	return Config{Ops: ops, Warehouse: warehouse.DefaultConfig(), Rollup: rollup.DefaultConfig()}
}

// Validate names the first key that cannot be used.
func (c Config) Validate() error {
	if err := c.Warehouse.Validate(); err != nil {
		return err
	}
	if err := c.Rollup.Validate(); err != nil {
		return fmt.Errorf("rollup.%w", err)
	}
	return nil
}

// store is the warehouse as the roll-up needs it: the client's timeout bounds the wait for the first byte of an answer,
// and a day that is computed has none before it is over.
func (c Config) store() warehouse.Config {
	w := c.Warehouse
	w.Timeout = max(w.Timeout, rollup.StatementTime)
	return w
}
