package kafka

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"time"
)

// Mechanism is the SASL mechanism of every user.
const Mechanism = "SCRAM-SHA-256"

// Config is what the broker needs to know.
type Config struct {
	// Listen is the one address, loopback only. Port 0 takes a free one, for tests.
	Listen string
	// DataDir holds the log. Empty keeps everything in memory, for tests.
	DataDir string
	// Users may connect. A user without Super may do what its ACLs say and nothing else.
	Users []User
	// Sync fsyncs each batch before it is acknowledged.
	Sync bool
	// NoAuth admits everybody to everything, for tests.
	NoAuth bool
	// Partitions is the count for a topic created with -1.
	Partitions int
	// MaxMessageBytes bounds one record batch.
	MaxMessageBytes int
	// OffsetsRetention is how long a group without members keeps its commits, and with them the sink's plans.
	OffsetsRetention time.Duration
	// MinSession is the shortest session that a group's member may ask for; 0 is Kafka's default of six seconds.
	MinSession time.Duration
	// RetentionEvery is how often topics' retention is applied.
	RetentionEvery time.Duration
	// Caps bounds topics in bytes, by name, without eating what is young.
	Caps map[string]Cap
	// Unwritable is told that the log could not be written, before the request is answered; it ends the process, for what
	// is acknowledged after it returns may be lost. Nil panics.
	Unwritable func(error)
	// Log takes the broker's own words; nil drops them.
	Log *slog.Logger
}

// Cap bounds each partition of a topic to Bytes, but records younger than Keep stay whatever they weigh.
// retention.bytes, Kafka's own bound, has no such floor.
type Cap struct {
	Bytes int64
	Keep  time.Duration
}

// DefaultConfig is a durable broker on Kafka's usual port.
func DefaultConfig() Config {
	return Config{
		Listen:           "127.0.0.1:9092",
		Sync:             true,
		Partitions:       4,
		MaxMessageBytes:  8 << 20,
		OffsetsRetention: 30 * 24 * time.Hour,
		RetentionEvery:   time.Minute,
	}
}

// withDefaults fills what is zero, so that a test may set only what it is about.
func (c Config) withDefaults() Config {
	d := DefaultConfig()
	if c.Listen == "" {
		c.Listen = d.Listen
	}
	if c.Partitions == 0 {
		c.Partitions = d.Partitions
	}
	if c.MaxMessageBytes == 0 {
		c.MaxMessageBytes = d.MaxMessageBytes
	}
	if c.OffsetsRetention == 0 {
		c.OffsetsRetention = d.OffsetsRetention
	}
	if c.RetentionEvery == 0 {
		c.RetentionEvery = d.RetentionEvery
	}
	if c.Unwritable == nil {
		c.Unwritable = func(err error) { panic(err) }
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	return c
}

// Validate says what is wrong with the first bad field.
func (c Config) Validate() error {
	host, _, err := net.SplitHostPort(c.Listen)
	if err != nil {
		return fmt.Errorf("listen %q: %w", c.Listen, err)
	}
	if ip := net.ParseIP(host); ip == nil || !ip.IsLoopback() {
		return fmt.Errorf("listen %q: the embedded broker serves loopback only: use 127.0.0.1", c.Listen)
	}
	if c.Partitions < 1 {
		return fmt.Errorf("partitions %d: want at least 1", c.Partitions)
	}
	if c.MaxMessageBytes < 1<<10 {
		return fmt.Errorf("max message bytes %d: want at least 1024", c.MaxMessageBytes)
	}
	if c.OffsetsRetention < time.Hour {
		return fmt.Errorf("offsets retention %s: want at least 1h", c.OffsetsRetention)
	}
	if c.MinSession < 0 {
		return fmt.Errorf("min session %s: want more than 0s, or 0s for Kafka's default", c.MinSession)
	}
	if c.RetentionEvery < time.Millisecond {
		return fmt.Errorf("retention every %s: want at least 1ms", c.RetentionEvery)
	}
	if !c.NoAuth && len(c.Users) == 0 {
		return errors.New("users: none, so that nobody could connect: add one or set NoAuth")
	}
	seen := make(map[string]bool)
	for _, u := range c.Users {
		if u.Name == "" || u.Secret == "" {
			return fmt.Errorf("user %q: want a name and a secret", u.Name)
		}
		if u.Name == steward || seen[u.Name] {
			return fmt.Errorf("user %q: the name is taken", u.Name)
		}
		seen[u.Name] = true
	}
	for name, c := range c.Caps {
		if c.Bytes < 0 || c.Keep < 0 {
			return fmt.Errorf("cap of %s: %d bytes, keep %s: want neither below zero", name, c.Bytes, c.Keep)
		}
	}
	return nil
}
