package registry

import (
	"errors"
	"fmt"
	"time"

	"muster.dev/platform/daemon"
	"muster.dev/platform/eventlog"
	"muster.dev/platform/warehouse"
	"muster.dev/proto/event"
	"muster.dev/services/registry/api"
	"muster.dev/services/registry/authority"
	"muster.dev/services/registry/est"
	"muster.dev/services/registry/schema"
	"muster.dev/services/registry/topics"
)

// Config is what an operator sets.
type Config struct {
	Ops       daemon.Config    `yaml:"ops"`
	Log       eventlog.Config  `yaml:"log"`
	Warehouse warehouse.Config `yaml:"warehouse"`
	// Name is this registry's among those that take each other's place: one decides, the others follow and stand by.
	Name string `yaml:"name"`
	// CA is the directory of the certificate authority, as `muster up` or the bootstrap made it, CASeal the identity by
	// which its keys are sealed (AGE-SECRET-KEY-1...).
	CA         string        `yaml:"ca"`
	CASeal     daemon.Secret `yaml:"ca_seal"`
	CASealFile string        `yaml:"ca_seal_file"`
	// DeviceLife is how long devices' certificates live. They are to be renewed in the last third of it.
	DeviceLife time.Duration `yaml:"device_life"`
	API        api.Config    `yaml:"api"`
	EST        est.Config    `yaml:"est"`
	Topics     topics.Config `yaml:"topics"`
	Schema     schema.Config `yaml:"schema"`
}

// DefaultConfig is the local stack's.
func DefaultConfig() Config {
	ops := daemon.DefaultConfig()
	ops.Listen = "127.0.0.1:9102"
	return Config{
		Ops: ops, Log: eventlog.DefaultConfig(), Warehouse: warehouse.DefaultConfig(), API: api.DefaultConfig(),
		EST: est.DefaultConfig(), Topics: topics.DefaultConfig(), Schema: schema.DefaultConfig(),
		Name: "registry", DeviceLife: authority.DefaultDeviceLife,
	}
}

// A certificate that lives shorter than a device may be out of reach is lost; one that lives longer than this is no
// short-lived one.
const (
	minLife = 10 * time.Minute
	maxLife = 2 * 366 * 24 * time.Hour
)

// Validate names the first key that cannot be used.
func (c Config) Validate() error {
	if c.CA == "" {
		return errors.New("ca: want the directory of the certificate authority")
	}
	if !event.Name(c.Name) {
		return fmt.Errorf("name %.80q: want [a-z0-9][a-z0-9._-]{0,62}", c.Name)
	}
	if c.DeviceLife < minLife || c.DeviceLife > maxLife {
		return fmt.Errorf("device_life %v: want %v to %v", c.DeviceLife, minLife, maxLife)
	}
	for _, section := range []struct {
		key   string
		check func() error
	}{
		{"log", c.Log.Validate}, {"warehouse", c.Warehouse.Validate}, {"api", c.API.Validate}, {"est", c.EST.Validate},
		{"topics", c.Topics.Validate}, {"schema", c.Schema.Validate},
	} {
		if err := section.check(); err != nil {
			return fmt.Errorf("%s.%w", section.key, err)
		}
	}
	return nil
}
