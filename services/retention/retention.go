package retention

import (
	"context"
	"fmt"

	"muster.dev/platform/daemon"
	"muster.dev/platform/warehouse"
	"muster.dev/services/retention/rollup"
)

// Run starts the retention service's rooms in p. The warehouse need not be there yet.
func Run(ctx context.Context, p *daemon.Process, cfg Config) error {
	if err := cfg.Validate(); err != nil {
		return err
	}
	store, err := warehouse.Open(cfg.store())
	if err != nil {
		return err
	}
	p.OnStop("warehouse", func(context.Context) error { return store.Close() })
	hours, err := rollup.New(rollup.Settings{Config: cfg.Rollup, Store: store, Log: p.Log, Metrics: p.Metrics})
	if err != nil {
		return err
	}
	p.SetReady("roll-up", hours.Ready)
	p.Go("roll-up", hours.Run)
	if ctx.Err() != nil {
		return fmt.Errorf("start: %w", context.Cause(ctx))
	}
	return nil
}
