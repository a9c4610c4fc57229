package stack

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"muster.dev/embedded/clickhouse"
	"muster.dev/embedded/kafka"
	"muster.dev/platform/daemon"
	"muster.dev/platform/eventlog"
	"muster.dev/platform/principals"
	"muster.dev/platform/warehouse"
)

// simulationFile marks a directory whose log was written by a simulation in fast time: its records are as old as the
// simulated time says, and none of them expires.
const simulationFile = "simulation.json"

// Simulation is what a simulation in fast time writes into.
type Simulation struct {
	Dir     Dir
	release func()
}

// ErrOccupied is in the error of whoever would simulate into a directory that holds something else.
var ErrOccupied = errors.New("the directory is not empty and holds no simulation")

// NewSimulation makes the directory as `muster up` would, empty but for the secrets, the authority and the configuration,
// and holds it until Close. What an earlier simulation left there is removed; anything else is refused.
func NewSimulation(dir Dir, about any) (*Simulation, error) {
	entries, err := os.ReadDir(string(dir))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("reading %s: %w", dir.Shown(), err)
	}
	if len(entries) > 0 && !dir.Simulated() {
		return nil, fmt.Errorf("%s: %w; name another with --out DIR", dir.Shown(), ErrOccupied)
	}
	if err := dir.create(); err != nil {
		return nil, err
	}
	release, err := dir.lock()
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		if e.Name() == "run" {
			continue // its lock is held
		}
		if err := os.RemoveAll(filepath.Join(string(dir), e.Name())); err != nil {
			release()
			return nil, fmt.Errorf("removing the simulation that was in %s: %w", dir.Shown(), err)
		}
	}
	s := &Simulation{Dir: dir, release: release}
	if err := s.prepare(about); err != nil {
		release()
		return nil, err
	}
	return s, nil
}

func (s *Simulation) prepare(about any) error {
	if err := writeJSON(s.Dir.in(simulationFile), about); err != nil {
		return err
	}
	if err := s.Dir.create(); err != nil {
		return err
	}
	ports, err := PortsAt(0)
	if err != nil {
		return err
	}
	return prepare(Site{Dir: s.Dir, Ports: ports})
}

// Close lets go of the directory.
func (s *Simulation) Close() { s.release() }

// Simulated says whether the directory holds what a simulation in fast time has written.
func (d Dir) Simulated() bool {
	_, err := os.Stat(d.in(simulationFile))
	return err == nil
}

// Broker is the configuration of the simulation's log: the stack's own users, and nothing is synced to the disk, since a
// simulation that was cut short is run again.
func (s *Simulation) Broker() (kafka.Config, error) {
	cfg := kafka.DefaultConfig()
	cfg.Listen, cfg.DataDir, cfg.Sync = Loopback(0), s.Dir.Kafka(), false
	secrets := map[string]daemon.Secret{}
	for _, name := range append(principals.Names(), principals.Admin) {
		secret, err := s.Dir.Secret("kafka-" + name)
		if err != nil {
			return cfg, err
		}
		secrets[name] = secret
	}
	cfg.Users = logUsers(secrets)
	return cfg, nil
}

// LogAs is how a principal reaches the log at an address.
func (s *Simulation) LogAs(principal, addr string) (eventlog.Config, error) {
	secret, err := s.Dir.Secret("kafka-" + principal)
	c := eventlog.DefaultConfig()
	c.Brokers, c.ClientID, c.User, c.Secret = []string{addr}, "muster-"+principal, principal, secret
	return c, err
}

// Engine is the configuration of the simulation's store.
func (s *Simulation) Engine() (clickhouse.Config, error) {
	cfg := clickhouse.DefaultConfig()
	secret, err := s.Dir.Secret(SecretClickHouse)
	cfg.Listen, cfg.DataDir, cfg.Sync = Loopback(0), s.Dir.ClickHouse(), false
	cfg.ServiceUser, cfg.ServiceSecret, cfg.Derived = serviceUser, secret.Reveal(), warehouse.IsDerived
	return cfg, err
}

// Store is how a service reaches the store at an address.
func (s *Simulation) Store(addr string) warehouse.Config {
	c := warehouse.DefaultConfig()
	c.Addr, c.User, c.SecretFile = "http://"+addr, serviceUser, s.Dir.SecretFile(SecretClickHouse)
	return c
}
