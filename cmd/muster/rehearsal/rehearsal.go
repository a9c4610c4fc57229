package rehearsal

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"muster.dev/cmd/muster/stack"
	"muster.dev/embedded/clickhouse"
	"muster.dev/embedded/kafka"
	"muster.dev/fleet/simulator/fast"
	"muster.dev/platform/eventlog"
	"muster.dev/platform/principals"
	"muster.dev/platform/roster"
	"muster.dev/platform/warehouse"
	"muster.dev/proto/record"
	"muster.dev/services/ingest/sink"
	"muster.dev/services/registry/projector"
)

// Settings is what code passes to Open.
type Settings struct {
	Dir   stack.Dir
	Store bool // the store too, and what fills it
	About any  // is kept beside the data, as JSON
	Log   *slog.Logger
	// Failed is told that the log cannot be written, as when the disk is full: what is simulated then is void. It returns at once.
	Failed func(error)
}

// Rehearsal is a running log, and a store.
type Rehearsal struct {
	settings Settings
	place    *stack.Simulation
	broker   *kafka.Broker
	engine   *clickhouse.Server
	house    *warehouse.Warehouse

	stop context.CancelFunc // of what Follow began
	work sync.WaitGroup
}

// Open starts the log and the store. Close it.
func Open(ctx context.Context, s Settings) (*Rehearsal, error) {
	r := &Rehearsal{settings: s}
	if err := r.open(ctx); err != nil {
		return nil, errors.Join(err, r.Close())
	}
	return r, nil
}

func (r *Rehearsal) open(ctx context.Context) (err error) {
	if r.settings.Store {
		if _, err := clickhouse.FindLibrary(); err != nil {
			return fmt.Errorf("%w (or simulate with --no-store)", err)
		}
	}
	if r.place, err = stack.NewSimulation(r.settings.Dir, r.settings.About); err != nil {
		return err
	}
	broker, err := r.place.Broker()
	if err != nil {
		return err
	}
	broker.Log = r.settings.Log
	broker.Unwritable = r.settings.Failed
	if r.broker, err = kafka.Start(broker); err != nil {
		return err
	}
	if !r.settings.Store {
		return nil
	}
	engine, err := r.place.Engine()
	if err != nil {
		return err
	}
	engine.Log = r.settings.Log
	if r.engine, err = clickhouse.Start(engine); err != nil {
		return err
	}
	if r.house, err = warehouse.Open(r.place.Store(r.engine.Addr())); err != nil {
		return err
	}
	return r.house.Migrate(ctx, func(string) {})
}

// Log is how the simulation writes: as the administrator, since it makes topics and speaks as registry and gateways.
func (r *Rehearsal) Log() (eventlog.Config, error) {
	return r.place.LogAs(principals.Admin, r.broker.Addr())
}

// Follow makes the tables of the profiles and starts what brings the log into the store: the sink and the projection of devices.
// The topics must be there. It does nothing where there is no store.
func (r *Rehearsal) Follow(ctx context.Context, profiles []fast.Profile) error {
	if r.house == nil {
		return nil
	}
	for _, p := range profiles {
		table := warehouse.Profile{Name: p.Name}
		for _, m := range p.Metrics {
			table.Metrics = append(table.Metrics, warehouse.Metric{Name: m.Name, Kind: m.Kind, Scale: m.Scale})
		}
		if err := r.house.EnsureProfile(ctx, table); err != nil {
			return err
		}
	}
	return r.follow()
}

func (r *Rehearsal) follow() error {
	ctx, cancel := context.WithCancel(context.Background()) // of what runs until Close, and not of who began it
	r.stop = cancel
	as := func(principal string) (eventlog.Config, error) {
		c, err := r.place.LogAs(principal, r.broker.Addr())
		c.Log = r.settings.Log
		return c, err
	}
	sinkLog, err := as(principals.Sink)
	if err != nil {
		return err
	}
	registryLog, err := as(principals.Registry)
	if err != nil {
		return err
	}
	people, err := roster.Follow(sinkLog, roster.Settings{Registerer: prometheus.NewRegistry(), Log: r.settings.Log})
	if err != nil {
		return fmt.Errorf("roster: %w", err)
	}
	cfg := sink.DefaultConfig()
	cfg.Log, cfg.Group, cfg.Warehouse = sinkLog, principals.Group, r.place.Store(r.engine.Addr())
	follower, err := sink.New(cfg, sink.Settings{Roster: people, Warehouse: r.house, Log: r.settings.Log})
	if err != nil {
		return err
	}
	devices := projector.New(projector.Settings{Log: registryLog, Store: r.house, Logger: r.settings.Log, Metrics: prometheus.NewRegistry()})
	for _, run := range []func(context.Context) error{people.Run, follower.Run, devices.Run} {
		r.work.Go(func() { _ = run(ctx) }) // each waits its own faults out, and ends with ctx
	}
	return nil
}

// Progress is how far the store is behind the log.
type Progress struct{ Written, Stored int64 }

// Settle waits until the store holds what the log holds: every record of devices, and every event of the registry. say is told
// how far it is.
func (r *Rehearsal) Settle(ctx context.Context, say func(Progress)) error {
	if r.house == nil {
		return nil
	}
	log, err := r.Log()
	if err != nil {
		return err
	}
	client, err := kgo.NewClient(log.Options()...)
	if err != nil {
		return fmt.Errorf("client of the log: %w", err)
	}
	defer client.Close()
	ends, err := kadm.NewClient(client).ListEndOffsets(ctx, record.TopicTelemetry, record.TopicEvents, record.TopicRegistry)
	if err == nil {
		err = ends.Error()
	}
	if err != nil {
		return fmt.Errorf("asking where the log ends: %w", err)
	}
	var p Progress
	var registry int64
	ends.Each(func(o kadm.ListedOffset) {
		if o.Topic == record.TopicRegistry {
			registry = o.Offset - 1
			return
		}
		p.Written += o.Offset
	})
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	for moved := time.Now(); ; {
		var rows uint64
		var last int64
		err := r.house.Conn().QueryRow(ctx, "SELECT (SELECT count() FROM muster.ledger), (SELECT if(count() = 0, -1, toInt64(max(off))) FROM muster.registry_events)").Scan(&rows, &last)
		if err != nil && ctx.Err() == nil {
			return fmt.Errorf("asking how far the store is: %w", err)
		}
		if int64(rows) > p.Stored {
			moved = time.Now()
		}
		p.Stored = int64(rows)
		if p.Stored >= p.Written && last >= registry {
			return nil
		}
		if time.Since(moved) > stillFor {
			return fmt.Errorf("the store has %d of %d records and has taken none for %s: is there room on the disk of %s?", p.Stored, p.Written, stillFor, r.settings.Dir.Shown())
		}
		say(p)
		select {
		case <-tick.C:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// Close ends everything, the last room of a record's way first in, first out. What was written stays in the directory.
func (r *Rehearsal) Close() error {
	var errs []error
	if r.stop != nil {
		r.stop()
		r.work.Wait()
	}
	if r.house != nil {
		errs = append(errs, r.house.Close())
	}
	if r.engine != nil {
		errs = append(errs, r.engine.Close())
	}
	if r.broker != nil {
		r.broker.Close()
	}
	if r.place != nil {
		r.place.Close()
	}
	return errors.Join(errs...)
}
