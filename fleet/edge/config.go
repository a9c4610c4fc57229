package edge

import (
	"errors"
	"fmt"
	"time"

	"muster.dev/fleet/agent/est"
	"muster.dev/fleet/agent/ring"
	"muster.dev/fleet/edge/intake"
	"muster.dev/fleet/edge/local"
	"muster.dev/fleet/edge/uplink"
	"muster.dev/platform/daemon"
)

// Config is what an operator sets.
type Config struct {
	Ops daemon.Config `yaml:"ops"`
	// Identity is a directory with the edge's ca.pem, cert.pem and key.pem, as `muster device enroll` writes it. It is read again
	// when it changes.
	Identity string `yaml:"identity"`
	// Renew is where the edge's certificate is renewed.
	Renew Renew `yaml:"renew"`
	// Data is the directory of what is kept.
	Data string `yaml:"data"`
	// Heartbeat is the time between two heartbeats of the edge itself.
	Heartbeat time.Duration `yaml:"heartbeat"`

	MQTT   local.Config  `yaml:"mqtt"`
	Intake intake.Config `yaml:"intake"`
	Store  Store         `yaml:"store"`
	Uplink uplink.Config `yaml:"uplink"`
}

// Renew is what an operator sets about the renewal of the edge's certificate.
type Renew struct {
	// Registry is its base URL on the devices' side, as https://registry.example:8444; empty leaves it to somebody else.
	Registry string `yaml:"registry"`
	// Line is the product line's label; empty for none.
	Line string `yaml:"line"`
}

func (c Config) est() est.Config {
	return est.Config{URL: c.Renew.Registry, Line: c.Renew.Line, Dir: c.Identity, Timeout: 30 * time.Second}
}

// Store is what an operator sets about what is kept.
type Store struct {
	// Bytes bounds it on the disk. When it is full, the oldest gives way.
	Bytes int64 `yaml:"bytes"`
	// Order is oldest-first, or newest-first: then what is said now goes up now, and what was left behind after it.
	Order string `yaml:"order"`
}

// DefaultConfig is for a site beside a local stack.
func DefaultConfig() Config {
	ops := daemon.DefaultConfig()
	ops.Listen = "127.0.0.1:9120"
	return Config{
		Ops: ops, Identity: "identity", Data: "data", Heartbeat: time.Minute,
		MQTT: local.DefaultConfig(), Intake: intake.DefaultConfig(), Store: Store{Bytes: 1 << 30, Order: ring.OldestFirst.String()}, Uplink: uplink.DefaultConfig(),
	}
}

// Validate names the first key that cannot be used.
func (c Config) Validate() error {
	if c.Identity == "" {
		return errors.New("identity: want the directory of the edge's certificate")
	}
	if c.Data == "" {
		return errors.New("data: want a directory")
	}
	if c.Heartbeat < time.Second {
		return fmt.Errorf("heartbeat %v: want at least 1s", c.Heartbeat)
	}
	if c.Renew.Registry != "" {
		if err := c.est().Validate(); err != nil {
			return fmt.Errorf("renew: %w", err)
		}
	}
	for _, part := range []struct {
		key string
		err error
	}{{"ops", c.Ops.Validate()}, {"mqtt", c.MQTT.Validate()}, {"intake", c.Intake.Validate()}, {"uplink", c.Uplink.Validate()}} {
		if part.err != nil {
			return fmt.Errorf("%s.%w", part.key, part.err)
		}
	}
	if _, err := ring.ParseOrder(c.Store.Order); err != nil {
		return fmt.Errorf("store.%w", err)
	}
	if err := c.ring().Validate(); err != nil {
		return fmt.Errorf("store.%w", err)
	}
	if most := c.ring().Bytes / 2; int64(c.Intake.Body) > most/2 {
		return fmt.Errorf("store.bytes %d: want at least four messages of intake.body (%d)", c.Store.Bytes, c.Intake.Body)
	}
	return nil
}

func (c Config) ring() ring.Config {
	order, _ := ring.ParseOrder(c.Store.Order)
	return ring.Config{Bytes: c.Store.Bytes, Order: order}
}
