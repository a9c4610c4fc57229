package edge

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"

	"muster.dev/fleet/agent/ring"
	"muster.dev/fleet/edge/intake"
	"muster.dev/fleet/edge/local"
	"muster.dev/fleet/edge/parcel"
	"muster.dev/fleet/edge/uplink"
	"muster.dev/platform/daemon"
	"muster.dev/proto/identity"
)

// Edge is an edge gateway that runs.
type Edge struct {
	log      *slog.Logger
	identity *keeper
	ring     *ring.Ring
	intake   *intake.Intake
	uplink   *uplink.Uplink
	mqtt     *local.Listener
	metrics  *metrics

	mu   sync.Mutex
	disk error // of the last value that was to be kept
}

// Run is the edge's process: it starts the last room first, and returns; the process stops the first room first.
func Run(ctx context.Context, p *daemon.Process, cfg Config) error {
	_, err := Start(ctx, p, cfg)
	return err
}

// Start is Run, and gives what runs.
func Start(_ context.Context, p *daemon.Process, cfg Config) (*Edge, error) {
	e := &Edge{log: p.Log}
	var err error
	if e.identity, err = openIdentity(cfg.Identity, p.Log); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(cfg.Data, 0o700); err != nil {
		return nil, fmt.Errorf("data: %w", err)
	}
	if e.ring, err = ring.Open(filepath.Join(cfg.Data, "ring"), cfg.ring()); err != nil {
		return nil, err
	}
	p.OnStop("ring", func(context.Context) error { return e.ring.Close() })
	// With the ring's lock held nobody else counts in this directory.
	boot, first, err := nextBoot(cfg.Data, time.Now())
	if err != nil {
		return nil, err
	}
	reports := &reporter{edge: e, boot: boot, troubles: map[trouble]uplink.Refused{}}
	if e.uplink, err = uplink.New(cfg.Uplink, uplink.Settings{
		Ring: e.ring, Order: cfg.ring().Order, ID: e.identity.uplink(), Log: p.Log, Now: time.Now,
		Answered: func(outcome string, took time.Duration) { e.metrics.tried(outcome, took) }, Refused: reports.refused,
	}); err != nil {
		return nil, err
	}
	e.intake = intake.New(cfg.Intake, intake.Settings{
		Keep: e.keep, Refused: e.refuses, Boot: boot, First: first, Now: time.Now,
		Answered: e.answered, Dropped: func(n int) { e.metrics.readings.Add(float64(n)) },
	})
	e.metrics = newMetrics(p.Metrics, e)
	if e.mqtt, err = local.Open(cfg.MQTT, local.Settings{
		Log: p.Log, Opened: e.metrics.connections.Inc, Closed: e.metrics.connections.Dec,
		Refused: func(reason string) { e.metrics.refused.WithLabelValues(reason).Inc() },
	}); err != nil {
		return nil, err
	}
	p.SetReady("disk", e.writable)
	p.SetReady("identity", e.identity.ready)
	p.SetReady("uplink", e.uplink.Ready)

	p.Go("uplink", e.uplink.Run)
	p.Go("identity", func(ctx context.Context) error { return e.identity.watch(ctx, e.uplink.Use) })
	if cfg.Renew.Registry != "" {
		p.Go("renewal", func(ctx context.Context) error { return e.identity.renew(ctx, cfg.est()) })
	}
	p.Go("reports", func(ctx context.Context) error { return reports.run(ctx, cfg.Heartbeat) })
	p.OnStop("intake", func(context.Context) error { e.intake.Close(); return nil })
	for _, source := range []intake.Source{e.mqtt} {
		p.Go(source.Name(), func(ctx context.Context) error { return source.Run(ctx, e.intake) })
	}
	p.Log.Info("the edge speaks for its devices", "edge", e.identity.name(), "mqtt", e.mqtt.Addr(), "gateway", cfg.Uplink.Gateway, "run", boot, "found", e.ring.Counts().Found)
	return e, nil
}

// MQTTAddr is where local devices connect.
func (e *Edge) MQTTAddr() string { return e.mqtt.Addr() }

// Counts are the ring's.
func (e *Edge) Counts() ring.Counts { return e.ring.Counts() }

// refuses says why nothing of a device is taken. The edge's own name is nobody's else: what it tells of itself is counted by
// it alone, and one who said the same counts before it would have that refused upstream.
func (e *Edge) refuses(d identity.Device) string {
	if string(d) == e.identity.name() {
		return "this is the edge's own name, for which no client speaks"
	}
	return e.uplink.Forbids(d)
}

// answered counts a verdict.
func (e *Edge) answered(s parcel.Stream, o intake.Outcome) { e.metrics.answered(s, o) }

// keep puts a parcel on the disk.
func (e *Edge) keep(value []byte) error {
	_, err := e.ring.Put(value, 0)
	if errors.Is(err, ring.ErrTooLarge) {
		return intake.ErrTooLarge
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if err != nil && e.disk == nil {
		e.log.Error("the disk does not take what devices say: they are told so", "error", err)
	}
	if err == nil && e.disk != nil {
		e.log.Info("the disk takes what devices say again")
	}
	e.disk = err
	return err
}

// writable says why nothing can be kept.
func (e *Edge) writable() error {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.disk
}
