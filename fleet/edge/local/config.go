package local

import (
	"errors"
	"fmt"
	"net"
	"net/netip"

	"muster.dev/proto/event"
)

// Config is what an operator sets about the listener.
type Config struct {
	// Listen is host:port; a missing host is loopback.
	Listen string `yaml:"listen"`
	// PlainBeyondLoopback lets it listen on a network without TLS: passwords and readings can then be read by whoever is on it.
	PlainBeyondLoopback bool `yaml:"plain_beyond_loopback"`
	// AnybodyBeyondLoopback lets it listen on a network without knowing who speaks.
	AnybodyBeyondLoopback bool  `yaml:"anybody_beyond_loopback"`
	TLS                   Files `yaml:"tls"`
	// Passwords is a file with a line name:hash for each client, as mosquitto_passwd and `muster edge password` write it.
	Passwords string `yaml:"passwords"`
	// Speakers are the names that may speak for devices of other names.
	Speakers []string `yaml:"speakers,omitempty"`

	Connections int `yaml:"connections"`
	// InFlight is how many messages of one connection may wait for their PUBACK.
	InFlight int `yaml:"in_flight"`
	// Memory bounds the bytes of all messages that have come and are not answered for.
	Memory int64 `yaml:"memory"`
}

// Files are paths of PEM files. They are read again when they change.
type Files struct {
	Certificate string `yaml:"certificate"`
	Key         string `yaml:"key"`
	// ClientCA signs the certificates of clients; empty asks for none.
	ClientCA string `yaml:"client_ca"`
}

// DefaultConfig listens for this machine's clients, whoever they are.
func DefaultConfig() Config {
	return Config{Listen: "127.0.0.1:1883", Connections: 1_000, InFlight: 64, Memory: 64 << 20}
}

// Validate names the first key that cannot be used.
func (c Config) Validate() error {
	host, port, err := net.SplitHostPort(c.Listen)
	if err != nil {
		return fmt.Errorf("listen %q: want host:port: %w", c.Listen, err)
	}
	if host == "" && port == "" {
		return fmt.Errorf("listen %q: want a port", c.Listen)
	}
	if (c.TLS.Certificate == "") != (c.TLS.Key == "") {
		return errors.New("tls.certificate, tls.key: want both or none")
	}
	if c.TLS.ClientCA != "" && !c.tls() {
		return errors.New("tls.client_ca: want tls.certificate and tls.key with it")
	}
	if !loopback(host) {
		if !c.tls() && !c.PlainBeyondLoopback {
			return fmt.Errorf("listen %q: beyond this machine it wants tls.certificate, or plain_beyond_loopback: true", c.Listen)
		}
		if !c.asks() && !c.AnybodyBeyondLoopback {
			return fmt.Errorf("listen %q: beyond this machine it wants tls.client_ca or passwords, or anybody_beyond_loopback: true", c.Listen)
		}
	}
	for i, s := range c.Speakers {
		if !event.Name(s) {
			return fmt.Errorf("speakers[%d] %q: want the name of a client", i, s)
		}
	}
	if len(c.Speakers) > 0 && !c.asks() {
		return errors.New("speakers: want tls.client_ca or passwords with it; where nobody is asked who he is, all may speak for all")
	}
	if c.Connections < 1 {
		return fmt.Errorf("connections %d: want at least 1", c.Connections)
	}
	if c.InFlight < 1 || c.InFlight > 1_000 {
		return fmt.Errorf("in_flight %d: want 1 to 1000", c.InFlight)
	}
	if c.Memory < 1<<20 {
		return fmt.Errorf("memory %d: want at least 1 MiB", c.Memory)
	}
	return nil
}

func (c Config) tls() bool { return c.TLS.Certificate != "" }

// asks says whether clients have to say who they are.
func (c Config) asks() bool { return c.TLS.ClientCA != "" || c.Passwords != "" }

// loopback says whether a host is this machine alone; a missing one is taken for it.
func loopback(host string) bool {
	if host == "" || host == "localhost" {
		return true
	}
	a, err := netip.ParseAddr(host)
	return err == nil && a.IsLoopback()
}

func (c Config) address() string {
	host, port, _ := net.SplitHostPort(c.Listen)
	if host == "" {
		host = "127.0.0.1"
	}
	return net.JoinHostPort(host, port)
}
