package send

import (
	"fmt"
	"net/url"
	"time"
)

// Kinds of messages in the ring.
const (
	Telemetry uint8 = 1 // a compact batch
	Events    uint8 = 2 // device events in MsgPack
)

// BacklogHeader says that the message lay in a store while later ones were sent: that its seq goes back is then no sign of
// a second device.
const BacklogHeader = "Muster-Backlog"

// Config is what an operator sets about the way to the gateway.
type Config struct {
	Gateway string        // as https://127.0.0.1:8443
	Timeout time.Duration // of one attempt
	// FirstPause follows the first failed attempt; each next one is twice as long, up to LastPause. What is waited is
	// between half of it and all, so that a fleet does not come back at one instant.
	FirstPause, LastPause time.Duration
	// HeldPause is waited when the device itself is refused.
	HeldPause time.Duration
}

// DefaultConfig is the local stack's gateway.
func DefaultConfig() Config {
	return Config{Gateway: "https://127.0.0.1:8443", Timeout: 20 * time.Second, FirstPause: 250 * time.Millisecond, LastPause: 30 * time.Second, HeldPause: 3 * time.Minute}
}

// Validate names the first key that cannot be used.
func (c Config) Validate() error {
	if !isGateway(c.Gateway) {
		return fmt.Errorf("gateway %q: want https://host:port", c.Gateway)
	}
	switch {
	case c.Timeout <= 0:
		return fmt.Errorf("timeout %v: want more than 0s", c.Timeout)
	case c.FirstPause <= 0 || c.LastPause < c.FirstPause || c.HeldPause < c.FirstPause:
		return fmt.Errorf("pauses %v, %v, %v: want 0s < first <= last, and held no shorter than first", c.FirstPause, c.LastPause, c.HeldPause)
	}
	return nil
}

func isGateway(s string) bool {
	u, err := url.Parse(s)
	return err == nil && u.Scheme == "https" && u.Host != "" && u.User == nil && len(s) <= 256
}
