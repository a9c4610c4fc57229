package warehouse

import (
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"strings"
	"time"

	"muster.dev/platform/daemon"
)

// Config is what an operator sets.
type Config struct {
	// Addr is the HTTP interface, as in http://127.0.0.1:8123.
	Addr string `yaml:"addr"`
	// Database holds every table; it is created by Migrate.
	Database string `yaml:"database"`
	// User and SecretFile are the credentials. Without a user the engine
	// decides what an anonymous client may do: on Muster's stacks, read.
	User string `yaml:"user"`
	// SecretFile names a file that holds the user's secret. It is read by
	// Open, so that a rotated secret needs a restart and nothing else.
	SecretFile string `yaml:"secret_file"`
	// Timeout bounds one question; inserts have their own (MaxInsertTime).
	Timeout time.Duration `yaml:"timeout"`
}

// MaxInsertTime is how long the engine may work on one insert. An insert of
// unknown fate cannot land later than this after the query was killed.
const MaxInsertTime = 30 * time.Second

// DefaultConfig is the local stack's.
func DefaultConfig() Config {
	return Config{Addr: "http://127.0.0.1:8123", Database: "muster", Timeout: 30 * time.Second}
}

var identifier = regexp.MustCompile(`^[a-z_][a-z0-9_]{0,62}$`)

// Validate names the key at fault and its value.
func (c Config) Validate() error {
	u, err := url.Parse(c.Addr)
	switch {
	case err != nil:
		return fmt.Errorf("warehouse: addr %q: %w", c.Addr, err)
	case u.Scheme != "http" && u.Scheme != "https", u.Host == "":
		return fmt.Errorf("warehouse: addr %q: want http://host:port", c.Addr)
	case u.User != nil, u.RawQuery != "", strings.Trim(u.Path, "/") != "":
		return fmt.Errorf("warehouse: addr %q: want a scheme, a host and a port alone", u.Redacted())
	case !identifier.MatchString(c.Database):
		return fmt.Errorf("warehouse: database %q: want %s", c.Database, identifier)
	case c.SecretFile != "" && c.User == "":
		return errors.New("warehouse: user: a secret_file needs a user")
	case c.Timeout < time.Second || c.Timeout > time.Hour:
		return fmt.Errorf("warehouse: timeout %v: want 1s to 1h", c.Timeout)
	}
	return nil
}

// secret reads the secret file. An empty one is an error, since the engine would take the empty secret for an anonymous
// client's.
func (c Config) secret() (string, error) {
	if c.SecretFile == "" {
		return "", nil
	}
	s, err := daemon.ReadSecret(c.SecretFile)
	if err != nil {
		return "", fmt.Errorf("warehouse: secret_file: %w", err)
	}
	return s.Reveal(), nil
}
