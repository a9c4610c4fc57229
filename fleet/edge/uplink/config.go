package uplink

import (
	"fmt"
	"net/url"
	"time"
)

// Config is what an operator sets about the way to the gateway.
type Config struct {
	// Gateway is the base URL, as https://gateway.example:8443.
	Gateway string `yaml:"gateway"`
	// Timeout is how long one attempt may take.
	Timeout time.Duration `yaml:"timeout"`
	// Parallel is for how many devices a message is on its way at once.
	Parallel int `yaml:"parallel"`
	// FirstPause follows the first failure; each next one is twice as long, up to LastPause. What is waited is between half of
	// it and all, so that edges do not come back at one instant.
	FirstPause time.Duration `yaml:"first_pause"`
	LastPause  time.Duration `yaml:"last_pause"`
	// Grace is how long messages are kept of a device that the gateway does not let the edge speak for.
	Grace time.Duration `yaml:"grace"`
	// AskAgain is the time between two messages that ask whether it does now.
	AskAgain time.Duration `yaml:"ask_again"`
	// InHand bounds the messages that are held in memory to be sent.
	InHand int `yaml:"in_hand"`
}

// DefaultConfig is the local stack's gateway.
func DefaultConfig() Config {
	return Config{
		Gateway: "https://127.0.0.1:8443", Timeout: 15 * time.Second, Parallel: 16, FirstPause: 250 * time.Millisecond, LastPause: 30 * time.Second,
		Grace: 15 * time.Minute, AskAgain: time.Minute, InHand: 512,
	}
}

// Validate names the first key that cannot be used.
func (c Config) Validate() error {
	if u, err := url.Parse(c.Gateway); err != nil || u.Scheme != "https" || u.Host == "" || u.Path != "" && u.Path != "/" {
		return fmt.Errorf("gateway %q: want https://host:port", c.Gateway)
	}
	for _, d := range []struct {
		key string
		d   time.Duration
	}{{"timeout", c.Timeout}, {"first_pause", c.FirstPause}, {"ask_again", c.AskAgain}} {
		if d.d <= 0 {
			return fmt.Errorf("%s %v: want more than 0s", d.key, d.d)
		}
	}
	switch {
	case c.LastPause < c.FirstPause:
		return fmt.Errorf("last_pause %v: want at least first_pause (%v)", c.LastPause, c.FirstPause)
	case c.Grace < 0:
		return fmt.Errorf("grace %v: want 0s or more", c.Grace)
	case c.Parallel < 1 || c.Parallel > 64:
		return fmt.Errorf("parallel %d: want 1 to 64, what the gateway takes on a connection", c.Parallel)
	case c.InHand < c.Parallel:
		return fmt.Errorf("in_hand %d: want at least parallel (%d)", c.InHand, c.Parallel)
	}
	return nil
}
