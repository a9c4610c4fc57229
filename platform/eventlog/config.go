package eventlog

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/sasl/scram"

	"muster.dev/platform/daemon"
)

const dialTimeout = 2 * time.Second

// Config is how a client finds the log and who it is there.
type Config struct {
	Brokers []string `yaml:"brokers"` // host:port of one broker or more
	// User and its secret log in by SCRAM-SHA-256; an empty user is no login.
	User       string        `yaml:"user"`
	Secret     daemon.Secret `yaml:"secret"`
	SecretFile string        `yaml:"secret_file"`
	ClientID   string        `yaml:"client_id"` // as brokers log it

	// Dialer replaces the network, for tests; nil dials TCP.
	Dialer func(ctx context.Context, network, address string) (net.Conn, error) `yaml:"-"`
	// Log hears of the client's warnings; nil is silence.
	Log *slog.Logger `yaml:"-"`
}

// DefaultConfig is the local stack's broker.
func DefaultConfig() Config {
	return Config{Brokers: []string{"127.0.0.1:9092"}, ClientID: "muster"}
}

// Validate names the first key that cannot be used.
func (c Config) Validate() error {
	if len(c.Brokers) == 0 {
		return errors.New("brokers: want at least one host:port")
	}
	for _, b := range c.Brokers {
		if host, port, err := net.SplitHostPort(b); err != nil || host == "" || port == "" {
			return fmt.Errorf("brokers: %q: want host:port", b)
		}
	}
	if c.User == "" && c.Secret != "" {
		return errors.New("secret: set without a user")
	}
	if c.User != "" && c.Secret == "" {
		return fmt.Errorf("user %q: secret or secret_file is missing", c.User)
	}
	return nil
}

// Options are what every client of the log has in common; a consumer adds its own.
func (c Config) Options() []kgo.Opt {
	opts := []kgo.Opt{
		kgo.SeedBrokers(c.Brokers...),
		kgo.DialTimeout(dialTimeout),
		// A topic is made by EnsureTopics with its retention, never by the first record.
		kgo.MetadataMinAge(250 * time.Millisecond),
	}
	if c.ClientID != "" {
		opts = append(opts, kgo.ClientID(c.ClientID))
	}
	if c.User != "" {
		opts = append(opts, kgo.SASL(scram.Auth{User: c.User, Pass: c.Secret.Reveal()}.AsSha256Mechanism()))
	}
	if c.Dialer != nil {
		opts = append(opts, kgo.Dialer(c.Dialer))
	}
	if c.Log != nil {
		opts = append(opts, kgo.WithLogger(logger{c.Log}))
	}
	return opts
}

// logger passes the client's warnings on; what it says at info is of use to its own authors only.
type logger struct{ *slog.Logger }

func (l logger) Level() kgo.LogLevel { return kgo.LogLevelWarn }

func (l logger) Log(level kgo.LogLevel, msg string, keyvals ...any) {
	at := slog.LevelWarn
	if level == kgo.LogLevelError {
		at = slog.LevelError
	}
	l.Logger.Log(context.Background(), at, "kafka: "+msg, keyvals...)
}
