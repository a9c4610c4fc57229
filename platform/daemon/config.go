package daemon

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"time"
)

// Config is what an operator sets about the process itself: the section `ops` of every service's configuration.
type Config struct {
	// Listen is where /livez, /readyz and /metrics are served; a missing host is loopback, port 0 is any.
	Listen string `yaml:"listen"`
	// LogLevel is debug, info, warn or error.
	LogLevel slog.Level `yaml:"log_level"`
	// OTLPEndpoint is the base URL of an OTLP/HTTP collector, as http://127.0.0.1:4318; empty is no tracing.
	OTLPEndpoint string `yaml:"otlp_endpoint"`
	// TraceRatio is the share of traces begun here that are kept, 0 to 1; a caller's own decision is followed.
	TraceRatio float64 `yaml:"trace_ratio"`
	// Pprof serves /debug/pprof/ beside the metrics.
	Pprof bool `yaml:"pprof"`
	// StopTimeout is how long the whole stop may take.
	StopTimeout time.Duration `yaml:"stop_timeout"`
}

// DefaultConfig listens on a free port of the loopback interface and traces nothing.
func DefaultConfig() Config {
	return Config{Listen: "127.0.0.1:0", TraceRatio: 0.01, StopTimeout: 30 * time.Second}
}

// Validate names the first key that cannot be used.
func (c Config) Validate() error {
	if _, _, err := net.SplitHostPort(c.Listen); err != nil {
		return fmt.Errorf("listen %q: want host:port: %w", c.Listen, err)
	}
	if c.OTLPEndpoint != "" {
		u, err := url.Parse(c.OTLPEndpoint)
		if err != nil || u.Host == "" || (u.Scheme != "http" && u.Scheme != "https") {
			return fmt.Errorf("otlp_endpoint %q: want an http or https URL", c.OTLPEndpoint)
		}
	}
	if !(c.TraceRatio >= 0 && c.TraceRatio <= 1) {
		return fmt.Errorf("trace_ratio %v: want 0 to 1", c.TraceRatio)
	}
	if c.StopTimeout <= 0 {
		return fmt.Errorf("stop_timeout %v: %w", c.StopTimeout, errors.New("want more than 0s"))
	}
	return nil
}

// listenAddress makes loopback the meaning of a missing host: a service is opened to a network in words only.
func (c Config) listenAddress() string {
	host, port, err := net.SplitHostPort(c.Listen)
	if err != nil || host != "" {
		return c.Listen
	}
	return net.JoinHostPort("127.0.0.1", port)
}
