package agent

import (
	"errors"
	"fmt"
	"time"

	"muster.dev/fleet/agent/est"
	"muster.dev/fleet/agent/health"
	"muster.dev/fleet/agent/ring"
	"muster.dev/fleet/agent/send"
	"muster.dev/proto/batch"
)

// Config is what an operator sets.
type Config struct {
	Identity string // directory of ca.pem, cert.pem and key.pem
	State    string // directory of the ring, the boot counter and the record of the last start
	Send     send.Config
	EST      string // where the certificate is renewed; "" is nowhere
	Ring     ring.Config

	BatchAge    time.Duration // a reading waits at most this long for others
	BatchValues int           // and for at most so many
	BatchBytes  int           // and a message is about as large at most

	Heartbeat time.Duration  // 0: none
	Machine   health.Machine // where the device's own files are
	Crashes   string         // directory that crash reports are dropped into; "": none
	Errors    string         // log whose errors are told, /dev/kmsg or a file; "": none
}

// DefaultConfig is for a device beside a local stack.
func DefaultConfig() Config {
	return Config{
		Identity: "identity", State: "state", Send: send.DefaultConfig(), Ring: ring.DefaultConfig(),
		BatchAge: 10 * time.Second, BatchValues: 1000, BatchBytes: 32 << 10,
		Heartbeat: time.Minute, Machine: health.Machine{Root: "/"}, Errors: health.Kmsg,
	}
}

// room is what a message may need beyond what its size is guessed at.
const room = 4 << 10

// Validate names the first key that cannot be used.
func (c Config) Validate() error {
	if err := c.Ring.Validate(); err != nil {
		return fmt.Errorf("ring: %w", err)
	}
	segment := c.Ring.Segment
	if segment == 0 {
		segment = max(c.Ring.Bytes/16, 16<<10)
	}
	switch {
	case c.Identity == "":
		return errors.New("identity: want a directory")
	case c.State == "":
		return errors.New("state: want a directory")
	case c.BatchAge <= 0 || c.BatchAge > time.Hour:
		return fmt.Errorf("batch_age %v: want more than 0s, at most 1h", c.BatchAge)
	case c.BatchValues < 1 || c.BatchValues > batch.MaxValues:
		return fmt.Errorf("batch_values %d: want from 1 to %d", c.BatchValues, batch.MaxValues)
	case c.BatchBytes < 1<<10 || c.BatchBytes > 1<<20 || int64(c.BatchBytes)+room > segment:
		return fmt.Errorf("batch_bytes %d: want from 1 KiB to 1 MiB, and %d less than a segment of the ring, which has %d", c.BatchBytes, room, segment)
	case c.Heartbeat < 0 || c.Heartbeat > 0 && c.Heartbeat < time.Second:
		return fmt.Errorf("heartbeat %v: want 0s for none, or at least 1s", c.Heartbeat)
	}
	return c.Send.Validate()
}

func (c Config) est() est.Config {
	return est.Config{URL: c.EST, Dir: c.Identity, Timeout: time.Minute}
}
