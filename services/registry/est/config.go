package est

import (
	"errors"
	"fmt"
	"net"
)

// Config is what an operator sets.
type Config struct {
	Listen   string `yaml:"listen"`    // host:port; empty is no EST
	CertFile string `yaml:"cert_file"` // the server's certificate and chain, PEM
	KeyFile  string `yaml:"key_file"`
	// Connections bounds those that are open, PerAddress those of one IPv4 address or IPv6 /64.
	Connections int `yaml:"connections"`
	PerAddress  int `yaml:"per_address"`
	// Rate is requests a second of one address, Burst how many at once: a whole factory may stand behind one.
	Rate  float64 `yaml:"rate"`
	Burst float64 `yaml:"burst"`
}

// DefaultConfig listens where the devices' side is documented to be, once it has a certificate.
func DefaultConfig() Config {
	return Config{Listen: "127.0.0.1:8444", Connections: 4096, PerAddress: 512, Rate: 500, Burst: 2000}
}

// Validate names the first key that cannot be used.
func (c Config) Validate() error {
	if c.Listen == "" {
		return nil
	}
	if _, _, err := net.SplitHostPort(c.Listen); err != nil {
		return fmt.Errorf("listen %q: want host:port, or nothing for no EST", c.Listen)
	}
	switch {
	case c.CertFile == "" || c.KeyFile == "":
		return errors.New("cert_file and key_file: want both; EST is HTTPS alone")
	case c.Connections < 1 || c.PerAddress < 1:
		return fmt.Errorf("connections %d, per_address %d: want 1 or more", c.Connections, c.PerAddress)
	case c.Rate <= 0 || c.Burst < 1:
		return fmt.Errorf("rate %v, burst %v: want more than 0, and 1 or more", c.Rate, c.Burst)
	}
	return nil
}
