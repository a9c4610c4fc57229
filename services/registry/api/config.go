package api

import (
	"errors"
	"fmt"
	"net"

	"muster.dev/platform/daemon"
)

// Config is what an operator sets.
type Config struct {
	Listen    string        `yaml:"listen"`     // host:port
	Token     daemon.Secret `yaml:"token"`      // what operators carry as Authorization: Bearer
	TokenFile string        `yaml:"token_file"` // read into Token
	// CertFile and KeyFile make it HTTPS; without them the token crosses the network in the clear, so listening
	// beyond loopback without them takes the word of Plain.
	CertFile string `yaml:"cert_file"`
	KeyFile  string `yaml:"key_file"`
	Plain    bool   `yaml:"plain"` // HTTP beyond loopback, e.g. inside a container's own network
}

// DefaultConfig listens where interfaces of the local stack are documented to be.
func DefaultConfig() Config { return Config{Listen: "127.0.0.1:8080"} }

const minToken = 16

// Validate names the first key that cannot be used.
func (c Config) Validate() error {
	host, _, err := net.SplitHostPort(c.Listen)
	if err != nil {
		return fmt.Errorf("listen %q: want host:port", c.Listen)
	}
	if len(c.Token) < minToken {
		return fmt.Errorf("token: want at least %d characters, in token or token_file", minToken)
	}
	if (c.CertFile == "") != (c.KeyFile == "") {
		return errors.New("cert_file and key_file: want both or none")
	}
	ip := net.ParseIP(host)
	loopback := host == "localhost" || ip != nil && ip.IsLoopback()
	if !loopback && c.CertFile == "" && !c.Plain {
		return fmt.Errorf("listen %q: beyond loopback want cert_file and key_file, or plain: true", c.Listen)
	}
	return nil
}
