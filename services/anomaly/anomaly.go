package anomaly

import (
	"context"
	"fmt"
	"math"
	"runtime/debug"

	"muster.dev/platform/daemon"
	"muster.dev/platform/warehouse"
	"muster.dev/services/anomaly/deliver"
	"muster.dev/services/anomaly/follow"
	"muster.dev/services/anomaly/project"
)

// Run starts the service's rooms in p. Neither the log nor the warehouse need be there yet.
func Run(ctx context.Context, p *daemon.Process, cfg Config) error {
	if err := cfg.Validate(); err != nil {
		return err
	}
	if debug.SetMemoryLimit(-1) == math.MaxInt64 && cfg.Memory > 0 {
		debug.SetMemoryLimit(cfg.Memory << 20)
	}
	store, err := warehouse.Open(cfg.Warehouse)
	if err != nil {
		return err
	}
	p.OnStop("warehouse", func(context.Context) error { return store.Close() })
	delivery, err := deliver.New(deliver.Settings{Log: cfg.Log, Config: cfg.Deliver, Logger: p.Log, Metrics: p.Metrics})
	if err != nil {
		return err
	}
	shards, judge := cfg.Detect.Settings()
	lines, err := follow.New(follow.Settings{Log: cfg.Log, Config: cfg.Follow, Shard: shards, Judge: judge, Logger: p.Log, Metrics: p.Metrics})
	if err != nil {
		return err
	}
	p.SetReady("detectors", lines.Ready)
	p.Go("delivery", delivery.Run)
	p.Go("projection", project.New(project.Settings{Log: cfg.Log, Store: store, Logger: p.Log, Metrics: p.Metrics}).Run)
	p.Go("detectors", lines.Run)
	if ctx.Err() != nil {
		return fmt.Errorf("start: %w", context.Cause(ctx))
	}
	return nil
}
