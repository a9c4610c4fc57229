package stack

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"

	"muster.dev/fleet/simulator/world"
	"muster.dev/platform/daemon"
)

// The processes of a local stack.
const (
	Kafka      = "kafka"
	ClickHouse = "clickhouse"
	Registry   = "registry"
	Sink       = "sink"
	Retention  = "retention"
	Anomaly    = "anomaly"
	Gateway    = "gateway"
	Fleet      = "fleet"
)

// Site is where and how large a stack is: all that its configuration files depend on.
type Site struct {
	Dir     Dir
	Ports   Ports
	Devices int    // simulated; 0 is none
	Region  string // of the gateway
	// Alertmanager is the URL of one that is told of incidents; empty tells nobody.
	Alertmanager string
	// World is of the scenario that the simulated devices live; nil is none: they send by the clock.
	World *world.World
	// TrustDomain is the authority's; prepare finds it.
	TrustDomain string
}

// Part is one process: what it is told, and what it runs. Its configuration is the service's own type, so that a
// local stack and a production one are configured in the same words.
type Part struct {
	Name string
	// Purpose is said when it is ready.
	Purpose string
	write   func(Site) ([]byte, error)
	load    func() (cfg any, run daemon.RunFunc)
}

// part makes a Part of a service: its defaults, what a local stack sets, and its Run.
func part[C any](name, purpose string, defaults func() C, set func(*C, Site), run func(context.Context, *daemon.Process, C) error) Part {
	return Part{
		Name: name, Purpose: purpose,
		write: func(site Site) ([]byte, error) {
			cfg := defaults()
			set(&cfg, site)
			var out bytes.Buffer
			if err := daemon.Dump(&out, cfg); err != nil {
				return nil, err
			}
			return out.Bytes(), nil
		},
		load: func() (any, daemon.RunFunc) {
			cfg := defaults()
			return &cfg, func(ctx context.Context, p *daemon.Process) error { return run(ctx, p, cfg) }
		},
	}
}

// ErrUnknownProcess is in the error for a name that is no part of a stack.
var ErrUnknownProcess = errors.New("no such process")

// Run is what the process of a part does: it reads its configuration file and serves until ctx ends. It returns
// the exit code.
func Run(ctx context.Context, name, config, version string) (int, error) {
	for _, p := range parts() {
		if p.Name != name {
			continue
		}
		cfg, run := p.load()
		prog := daemon.Program{Name: name, Version: version, Config: cfg, Run: run}
		return daemon.Execute(ctx, prog, []string{"--config", config}, os.Stdout, os.Stderr), nil
	}
	return 0, fmt.Errorf("%w: %q", ErrUnknownProcess, name)
}
