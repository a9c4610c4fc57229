package intake

import (
	"fmt"
	"time"

	"muster.dev/fleet/edge/rule"
)

// Config is what an operator sets about what is taken from devices.
type Config struct {
	// Window is how long the readings of a device that does not count are gathered into one message. Their answers wait
	// for it. 0 makes each a message of its own.
	Window time.Duration `yaml:"window"`
	// Devices bounds how many devices one run speaks for: a name costs memory.
	Devices int `yaml:"devices"`
	// Messages and Burst bound what one device may send, a second and at once. They lie below what the gateway takes of a
	// device: more would wait here for ever.
	Messages float64 `yaml:"messages"`
	Burst    float64 `yaml:"burst"`
	// Body bounds a message's bytes.
	Body int `yaml:"body"`
	// Queue bounds the bytes of all devices that wait for the disk.
	Queue int64 `yaml:"queue"`
	// Rules are applied in order to the readings of devices that do not count.
	Rules []rule.Config `yaml:"rules,omitempty"`
}

// DefaultConfig is for a few hundred devices.
func DefaultConfig() Config {
	return Config{Window: 200 * time.Millisecond, Devices: 1_000, Messages: 50, Burst: 100, Body: 256 << 10, Queue: 16 << 20}
}

// Validate names the first key that cannot be used.
func (c Config) Validate() error {
	switch {
	case c.Window < 0 || c.Window > time.Minute:
		return fmt.Errorf("window %v: want 0s to 1m", c.Window)
	case c.Devices < 1:
		return fmt.Errorf("devices %d: want at least 1", c.Devices)
	case !(c.Messages > 0):
		return fmt.Errorf("messages %v: want more than 0", c.Messages)
	case !(c.Burst >= 1):
		return fmt.Errorf("burst %v: want at least 1", c.Burst)
	case c.Body < 1<<10 || c.Body > 4<<20:
		return fmt.Errorf("body %d: want 1 KiB to 4 MiB", c.Body)
	case c.Queue < 2*int64(c.Body):
		return fmt.Errorf("queue %d: want at least twice body (%d)", c.Queue, c.Body)
	}
	for i, r := range c.Rules {
		if err := r.Validate(); err != nil {
			return fmt.Errorf("rules[%d].%w", i, err)
		}
	}
	return nil
}
