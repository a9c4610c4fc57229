package gateway

import (
	"errors"
	"fmt"
	"net"
	"os"
	"regexp"
	"time"

	"muster.dev/platform/daemon"
	"muster.dev/platform/eventlog"
	"muster.dev/platform/mqtt/session"
	"muster.dev/services/ingest/gateway/admit"
	"muster.dev/services/ingest/gateway/body"
	"muster.dev/services/ingest/gateway/door"
)

// Config is what an operator sets.
type Config struct {
	Ops daemon.Config   `yaml:"ops"`
	Log eventlog.Config `yaml:"log"`

	// Name tells this gateway from others in the watermarks it writes; empty is the host's name.
	Name string `yaml:"name"`
	// Listen is where devices connect; a missing host is loopback.
	Listen      string     `yaml:"listen"`
	TrustDomain string     `yaml:"trust_domain"`
	TLS         door.Files `yaml:"tls"`
	// Region is the one whose devices this gateway takes, and those of no region; empty takes all.
	Region string `yaml:"region"`
	// MQTT is the other way in.
	MQTT MQTT `yaml:"mqtt"`
	// ReloadEvery is how often the TLS files are looked at.
	ReloadEvery time.Duration `yaml:"reload_every"`

	// AckTimeout is how long a request waits for the log before it is told that nobody knows.
	AckTimeout time.Duration `yaml:"ack_timeout"`
	// StallAfter is for how long the log may owe an answer until requests are told so before they are read.
	StallAfter time.Duration `yaml:"stall_after"`
	// RosterMaxAge is how old the roster may be before nobody is let in: a revocation could be missing.
	RosterMaxAge time.Duration `yaml:"roster_max_age"`
	// WatermarkEvery is the time between two watermarks of each partition.
	WatermarkEvery time.Duration `yaml:"watermark_every"`
	// DrainTimeout is how long the log is waited for at the end, when open requests have been answered.
	DrainTimeout time.Duration `yaml:"drain_timeout"`

	Limits Limits `yaml:"limits"`
}

// MQTT is how devices come in by MQTT. What bounds messages and devices is in Limits, for both ways together.
type MQTT struct {
	// Listen is where they connect; a missing host is loopback, and nothing is no MQTT.
	Listen                string        `yaml:"listen"`
	Connections           int           `yaml:"connections"`
	ConnectionsPerAddress int           `yaml:"connections_per_address"`
	Packet                int           `yaml:"packet"`          // bytes
	ReceiveMaximum        int           `yaml:"receive_maximum"` // messages of one connection that are not answered yet
	KeepAlive             time.Duration `yaml:"keep_alive"`      // of one that asks for none
	KeepAliveMost         time.Duration `yaml:"keep_alive_most"` // and of one that asks for more
}

// Limits bound what clients can make the gateway do.
type Limits struct {
	Connections           int           `yaml:"connections"`
	ConnectionsPerAddress int           `yaml:"connections_per_address"`
	ConnectionsPerDevice  int           `yaml:"connections_per_device"`
	Handshakes            int           `yaml:"handshakes"`
	HandshakesPerAddress  int           `yaml:"handshakes_per_address"`
	HandshakeTimeout      time.Duration `yaml:"handshake_timeout"`
	HeaderTimeout         time.Duration `yaml:"header_timeout"`
	BodyTimeout           time.Duration `yaml:"body_timeout"`
	IdleTimeout           time.Duration `yaml:"idle_timeout"`
	HeaderBytes           int           `yaml:"header_bytes"`
	Streams               int           `yaml:"streams"` // HTTP/2, per connection

	Requests      int64         `yaml:"requests"`        // at work at once
	BytesInFlight int64         `yaml:"bytes_in_flight"` // of bodies, from their first byte to the log's answer
	Compressed    int64         `yaml:"compressed"`      // bytes of a compressed body
	Body          int64         `yaml:"body"`            // bytes of a body
	Ratio         int64         `yaml:"ratio"`           // a body may be this many times its compressed bytes
	MinRate       int64         `yaml:"min_rate"`        // bytes a second of a body, after Grace
	Grace         time.Duration `yaml:"grace"`

	DeviceMessages      float64 `yaml:"device_messages"` // a second
	DeviceMessagesBurst float64 `yaml:"device_messages_burst"`
	DeviceBytes         float64 `yaml:"device_bytes"` // a second
	DeviceBytesBurst    float64 `yaml:"device_bytes_burst"`
	AgentFactor         float64 `yaml:"agent_factor"` // so many times a device's, for all that one sends who speaks for others
	Devices             int     `yaml:"devices"`      // whose rates are remembered
	RecentKeys          int     `yaml:"recent_keys"`

	BufferedRecords int `yaml:"buffered_records"` // that wait for the log
	BufferedBytes   int `yaml:"buffered_bytes"`
}

// DefaultConfig is the local stack's; the TLS files have no default.
func DefaultConfig() Config {
	ops := daemon.DefaultConfig()
	ops.Listen = "127.0.0.1:9105"
	return Config{
		Ops:         ops,
		Log:         eventlog.DefaultConfig(),
		Listen:      "127.0.0.1:8443",
		TrustDomain: "muster.local",
		MQTT: MQTT{
			Listen: "127.0.0.1:8883", Connections: 60_000, ConnectionsPerAddress: 10_000,
			Packet: 256 << 10, ReceiveMaximum: 64, KeepAlive: time.Minute, KeepAliveMost: 5 * time.Minute,
		},
		ReloadEvery:    10 * time.Second,
		AckTimeout:     8 * time.Second,
		StallAfter:     eventlog.DefaultProducerSettings().StallAfter,
		RosterMaxAge:   2 * time.Second,
		WatermarkEvery: 5 * time.Second,
		DrainTimeout:   10 * time.Second,
		Limits: Limits{
			Connections: 20_000, ConnectionsPerAddress: 10_000, ConnectionsPerDevice: 8,
			Handshakes: 8_192, HandshakesPerAddress: 2_048, HandshakeTimeout: 5 * time.Second,
			HeaderTimeout: 5 * time.Second, BodyTimeout: 15 * time.Second, IdleTimeout: time.Minute, HeaderBytes: 16 << 10, Streams: 64,
			Requests: 8_192, BytesInFlight: 64 << 20,
			Compressed: 1 << 20, Body: 4 << 20, Ratio: 50, MinRate: 256, Grace: 3 * time.Second,
			DeviceMessages: 100, DeviceMessagesBurst: 200, DeviceBytes: 1 << 20, DeviceBytesBurst: 8 << 20, AgentFactor: 16,
			Devices: 1 << 17, RecentKeys: 1 << 17,
			BufferedRecords: 20_000, BufferedBytes: 64 << 20,
		},
	}
}

var regions = regexp.MustCompile(`^[a-z0-9][a-z0-9._-]{0,62}$`)

var trustDomains = regexp.MustCompile(`^[a-z0-9][a-z0-9.-]{0,252}$`)

// Validate names the first key that cannot be used.
func (c Config) Validate() error {
	if err := c.Ops.Validate(); err != nil {
		return fmt.Errorf("ops.%w", err)
	}
	if err := c.Log.Validate(); err != nil {
		return fmt.Errorf("log.%w", err)
	}
	if _, _, err := net.SplitHostPort(c.Listen); err != nil {
		return fmt.Errorf("listen %q: want host:port: %w", c.Listen, err)
	}
	if !trustDomains.MatchString(c.TrustDomain) {
		return fmt.Errorf("trust_domain %q: want a host name in lower case", c.TrustDomain)
	}
	if c.Region != "" && !regions.MatchString(c.Region) {
		return fmt.Errorf("region %q: want a-z, 0-9, '.', '_' or '-', from a letter or digit, at most 63, or nothing", c.Region)
	}
	for _, f := range []struct{ key, path string }{
		{"tls.certificate", c.TLS.Certificate}, {"tls.key", c.TLS.Key}, {"tls.client_ca", c.TLS.ClientCA},
	} {
		if f.path == "" {
			return fmt.Errorf("%s: want the path of a PEM file", f.key)
		}
	}
	for _, d := range []struct {
		key string
		d   time.Duration
	}{
		{"reload_every", c.ReloadEvery}, {"ack_timeout", c.AckTimeout}, {"stall_after", c.StallAfter}, {"roster_max_age", c.RosterMaxAge},
		{"watermark_every", c.WatermarkEvery}, {"drain_timeout", c.DrainTimeout},
	} {
		if d.d <= 0 {
			return fmt.Errorf("%s %v: want more than 0s", d.key, d.d)
		}
	}
	if err := c.Limits.validate(); err != nil {
		return err
	}
	if err := c.MQTT.validate(c); err != nil {
		return fmt.Errorf("mqtt.%w", err)
	}
	return nil
}

func (m MQTT) validate(c Config) error {
	if m.Listen == "" {
		return nil
	}
	if _, _, err := net.SplitHostPort(m.Listen); err != nil {
		return fmt.Errorf("listen %q: want host:port, or nothing: %w", m.Listen, err)
	}
	for _, n := range []struct {
		key string
		n   int
	}{{"connections", m.Connections}, {"connections_per_address", m.ConnectionsPerAddress}} {
		if n.n <= 0 {
			return fmt.Errorf("%s %d: want more than 0", n.key, n.n)
		}
	}
	return m.session(c).Validate()
}

// session is what one connection may take.
func (m MQTT) session(c Config) session.Limits {
	l := session.DefaultLimits()
	// What a packet brings is a body, and is held to their limits.
	l.Packet = int(min(int64(m.Packet), c.Limits.Body, c.Limits.BytesInFlight/2))
	l.ConnectBytes = min(l.ConnectBytes, l.Packet)
	l.ReceiveMaximum, l.Body = m.ReceiveMaximum, c.Limits.BodyTimeout
	l.KeepAliveDefault, l.KeepAliveMost, l.Silence = m.KeepAlive, m.KeepAliveMost, m.KeepAliveMost
	l.KeepAliveLeast = min(l.KeepAliveLeast, m.KeepAlive)
	l.Drain = c.AckTimeout + time.Second
	return l
}

func (l Limits) validate() error {
	for _, n := range []struct {
		key string
		n   float64
	}{
		{"connections", float64(l.Connections)}, {"connections_per_address", float64(l.ConnectionsPerAddress)},
		{"connections_per_device", float64(l.ConnectionsPerDevice)}, {"handshakes", float64(l.Handshakes)},
		{"handshakes_per_address", float64(l.HandshakesPerAddress)}, {"handshake_timeout", float64(l.HandshakeTimeout)}, {"header_timeout", float64(l.HeaderTimeout)},
		{"body_timeout", float64(l.BodyTimeout)}, {"idle_timeout", float64(l.IdleTimeout)}, {"header_bytes", float64(l.HeaderBytes)},
		{"streams", float64(l.Streams)}, {"requests", float64(l.Requests)}, {"compressed", float64(l.Compressed)}, {"body", float64(l.Body)},
		{"ratio", float64(l.Ratio)}, {"device_messages", l.DeviceMessages}, {"device_bytes", l.DeviceBytes}, {"device_bytes_burst", l.DeviceBytesBurst}, {"agent_factor", l.AgentFactor},
		{"devices", float64(l.Devices)}, {"recent_keys", float64(l.RecentKeys)}, {"buffered_records", float64(l.BufferedRecords)},
		{"buffered_bytes", float64(l.BufferedBytes)},
	} {
		if !(n.n > 0) {
			return fmt.Errorf("limits.%s %v: want more than 0", n.key, n.n)
		}
	}
	if l.DeviceMessagesBurst < 1 {
		return fmt.Errorf("limits.device_messages_burst %v: want at least 1", l.DeviceMessagesBurst)
	}
	if l.BytesInFlight < 2*l.Body {
		return fmt.Errorf("limits.bytes_in_flight %d: want at least twice limits.body (%d)", l.BytesInFlight, l.Body)
	}
	if l.MinRate < 0 || l.Grace < 0 {
		return errors.New("limits.min_rate and limits.grace: want 0 or more")
	}
	return nil
}

func (l Limits) door() door.Limits {
	return door.Limits{
		Connections: l.Connections, PerAddress: l.ConnectionsPerAddress, PerDevice: l.ConnectionsPerDevice,
		Handshakes: l.Handshakes, HandshakesPerAddress: l.HandshakesPerAddress, HandshakeTimeout: l.HandshakeTimeout,
	}
}

func (l Limits) body() body.Limits {
	return body.Limits{Compressed: l.Compressed, Output: l.Body, Ratio: l.Ratio, MinRate: l.MinRate, Grace: l.Grace}
}

func (l Limits) rate() admit.Rate {
	return admit.Rate{Messages: l.DeviceMessages, MessagesBurst: l.DeviceMessagesBurst, Bytes: l.DeviceBytes, BytesBurst: l.DeviceBytesBurst}
}

func (l Limits) agentRate() admit.Rate {
	r, f := l.rate(), l.AgentFactor
	return admit.Rate{Messages: f * r.Messages, MessagesBurst: f * r.MessagesBurst, Bytes: f * r.Bytes, BytesBurst: f * r.BytesBurst}
}

func (c Config) producer() eventlog.ProducerSettings {
	s := eventlog.DefaultProducerSettings()
	s.MaxBufferedRecords, s.MaxBufferedBytes, s.StallAfter = c.Limits.BufferedRecords, c.Limits.BufferedBytes, c.StallAfter
	return s
}

// writeTimeout counts from the end of a request's headers: its body, the log's answer, and the writing of ours.
func (c Config) writeTimeout() time.Duration {
	return c.Limits.BodyTimeout + c.AckTimeout + 5*time.Second
}

// name is the gateway's name in its watermarks.
func (c Config) name() string {
	if c.Name != "" {
		return c.Name
	}
	if host, err := os.Hostname(); err == nil && host != "" {
		return host
	}
	return "gateway"
}

// listenAddress makes loopback the meaning of a missing host: a service is opened to a network in words only.
func listenAddress(listen string) string {
	host, port, err := net.SplitHostPort(listen)
	if err != nil || host != "" {
		return listen
	}
	return net.JoinHostPort("127.0.0.1", port)
}
