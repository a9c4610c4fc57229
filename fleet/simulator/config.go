package simulator

import (
	"fmt"
	"time"

	"muster.dev/fleet/device"
)

// Config is what an operator sets.
type Config struct {
	Gateway device.Config `yaml:"gateway"`
	// Identities holds one directory a device, named as the device: ca.pem, cert.pem, key.pem, and boot, which
	// the simulator writes.
	Identities string `yaml:"identities"`
	// Devices are the names; empty is every directory in Identities.
	Devices []string `yaml:"devices"`
	Seed    uint64   `yaml:"seed"`
	// Step is the time between two samples of a device, Post that between two messages. Each is spread by a
	// tenth, up or down.
	Step time.Duration `yaml:"step"`
	Post time.Duration `yaml:"post"`
	// Reboot is the mean time between two reboots of a device; 0 is never.
	Reboot time.Duration `yaml:"reboot"`
	// Resend is the share of accepted messages whose answer a device takes for lost and sends again, 0 to 1.
	Resend float64 `yaml:"resend"`
	// Outbox is how many messages a device keeps while nobody answers; at 10 s a message 1,000 are 3 hours.
	Outbox int `yaml:"outbox"`
	// Journal is a file for the producer's journal; empty is none.
	Journal string `yaml:"journal"`
}

// DefaultConfig is a calm fleet on the local stack.
func DefaultConfig() Config {
	return Config{
		Gateway: device.DefaultConfig(), Seed: 1, Step: 2 * time.Second, Post: 10 * time.Second,
		Reboot: 6 * time.Hour, Resend: 0.01, Outbox: 1000,
	}
}

// Validate names the first key that cannot be used.
func (c Config) Validate() error {
	if err := c.Gateway.Validate(); err != nil {
		return fmt.Errorf("gateway: %w", err)
	}
	if c.Identities == "" {
		return fmt.Errorf("identities: want a directory")
	}
	if c.Step < time.Millisecond {
		return fmt.Errorf("step %v: want at least 1ms, the wire's finest time", c.Step)
	}
	if c.Post < c.Step || c.Post > 900*c.Step {
		return fmt.Errorf("post %v: want from one step (%v) to 900, so that a message holds its steps", c.Post, c.Step)
	}
	if c.Reboot < 0 {
		return fmt.Errorf("reboot %v: want 0s or more", c.Reboot)
	}
	if !(c.Resend >= 0 && c.Resend <= 1) {
		return fmt.Errorf("resend %v: want 0 to 1", c.Resend)
	}
	if c.Outbox < 2 {
		return fmt.Errorf("outbox %d: want at least 2", c.Outbox)
	}
	return nil
}
