package registry

import (
	"errors"
	"fmt"

	"muster.dev/platform/daemon"
	"muster.dev/platform/eventlog"
	"muster.dev/platform/warehouse"
	"muster.dev/services/registry/api"
	"muster.dev/services/registry/schema"
	"muster.dev/services/registry/topics"
)

// Config is what an operator sets.
type Config struct {
	Ops       daemon.Config    `yaml:"ops"`
	Log       eventlog.Config  `yaml:"log"`
	Warehouse warehouse.Config `yaml:"warehouse"`
	// CA is the directory of the certificate authority, as `muster up` or the bootstrap made it.
	CA     string        `yaml:"ca"`
	API    api.Config    `yaml:"api"`
	Topics topics.Config `yaml:"topics"`
	Schema schema.Config `yaml:"schema"`
}

// DefaultConfig is the local stack's.
func DefaultConfig() Config {
	ops := daemon.DefaultConfig()
	ops.Listen = "127.0.0.1:9102"
	return Config{
		Ops: ops, Log: eventlog.DefaultConfig(), Warehouse: warehouse.DefaultConfig(), API: api.DefaultConfig(),
		Topics: topics.DefaultConfig(), Schema: schema.DefaultConfig(),
	}
}

// Validate names the first key that cannot be used.
func (c Config) Validate() error {
	if c.CA == "" {
		return errors.New("ca: want the directory of the certificate authority")
	}
	for _, section := range []struct {
		key   string
		check func() error
	}{
		{"log", c.Log.Validate}, {"warehouse", c.Warehouse.Validate}, {"api", c.API.Validate},
		{"topics", c.Topics.Validate}, {"schema", c.Schema.Validate},
	} {
		if err := section.check(); err != nil {
			return fmt.Errorf("%s.%w", section.key, err)
		}
	}
	return nil
}
