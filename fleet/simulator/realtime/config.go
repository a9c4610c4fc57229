package realtime

import (
	"fmt"
	"log/slog"
	"net/url"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"muster.dev/fleet/device"
	"muster.dev/fleet/scenario"
	"muster.dev/fleet/simulator/plan"
	"muster.dev/fleet/simulator/world"
)

// Config is what an operator sets.
type Config struct {
	Gateway string  `yaml:"gateway"` // base URL, as https://127.0.0.1:8443
	MQTT    string  `yaml:"mqtt"`    // host:port; empty is none
	Share   float64 `yaml:"share"`   // of the devices that send by MQTT
	Workers int     `yaml:"workers"` // messages on their way at once
	Queue   int     `yaml:"queue"`   // messages that a device keeps; the oldest gives way
}

// DefaultConfig is the local stack's gateway, by HTTPS.
func DefaultConfig() Config {
	return Config{Gateway: "https://127.0.0.1:8443", Workers: 64, Queue: 1024}
}

// Validate names the first key that cannot be used.
func (c Config) Validate() error {
	if u, err := url.Parse(c.Gateway); err != nil || u.Scheme != "https" || u.Host == "" {
		return fmt.Errorf("gateway %q: want https://host:port", c.Gateway)
	}
	switch {
	case c.Share < 0 || c.Share > 1:
		return fmt.Errorf("share %v: want 0 to 1", c.Share)
	case c.Share > 0 && c.MQTT == "":
		return fmt.Errorf("share %v: want mqtt, the address of the gateway's MQTT", c.Share)
	case c.Workers < 1 || c.Workers > 4096:
		return fmt.Errorf("workers %d: want 1 to 4096", c.Workers)
	case c.Queue < 2:
		return fmt.Errorf("queue %d: want 2 or more", c.Queue)
	}
	return nil
}

// Settings is what code passes to Run.
type Settings struct {
	World    *world.World
	Identity func(id string) (device.Identity, error)
	// Boots is added to the number of each boot: it must rise from run to run, or a device would use a key twice.
	Boots uint32
	Log   *slog.Logger
	// Metrics takes the counters while Run runs. Nil is nobody.
	Metrics prometheus.Registerer
	// Progress is called every now and then. Nil is nothing.
	Progress func(Counts)
}

// Counts is what the devices were answered.
type Counts struct {
	Devices                     int64
	Dials                       int64 // handshakes
	Stored, Duplicates, Refused int64
	Retries, Dropped, Waiting   int64
	Behind                      time.Duration // the most that a message was sent after its time
	Slowest                     time.Duration // answer
	Answered                    time.Duration // mean time to an answer
}

// Unplayed says, a sentence each, what of a scenario is not played as it stands.
func Unplayed(s *scenario.Scenario, w *world.World) []string {
	var out []string
	begins := w.Begins()
	at := func(ms int64) string { return scenario.FormatSpan(time.Duration(ms-begins) * time.Millisecond) }
	for _, o := range w.Outages() {
		switch o.Kind {
		case plan.GatewayDown:
			out = append(out, fmt.Sprintf("the outage of gateway %s at %s: its devices are silent, but the stack's gateway lives and writes its watermarks", o.Region, at(o.At)))
		case plan.LogStalled:
			out = append(out, fmt.Sprintf("the stall of the log at %s: the devices are silent, but the stack's log lives (stop it with kill -STOP to see it)", at(o.At)))
		case plan.SinkStalled:
			out = append(out, fmt.Sprintf("the stall of the sink at %s is not played: the stack's sink lives (stop it with kill -STOP to see it)", at(o.At)))
		}
	}
	late, revoked := 0, 0
	for _, d := range w.Devices() {
		if d.Joins > begins {
			late++
		}
		if d.Leaves < w.Until() {
			revoked++
		}
	}
	if late > 0 {
		out = append(out, fmt.Sprintf("%d devices join later: they are enrolled at the beginning and silent until then", late))
	}
	if revoked > 0 {
		out = append(out, fmt.Sprintf("%d devices leave: they fall silent, and the stack's registry is not told", revoked))
	}
	return out
}
