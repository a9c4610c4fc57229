package registry

import (
	"context"
	"fmt"

	"muster.dev/platform/daemon"
	"muster.dev/platform/roster"
	"muster.dev/platform/warehouse"
	"muster.dev/services/registry/api"
	"muster.dev/services/registry/decide"
	"muster.dev/services/registry/est"
	"muster.dev/services/registry/projector"
	"muster.dev/services/registry/refusals"
	"muster.dev/services/registry/schema"
	"muster.dev/services/registry/topics"
	"muster.dev/services/registry/writer"
)

// Run starts the registry's rooms in p, the last one of a command's way first. Neither the log nor the warehouse need
// be there: the process is ready once the log is folded, and never waits for the warehouse.
func Run(ctx context.Context, p *daemon.Process, cfg Config) error {
	if err := cfg.Validate(); err != nil {
		return err
	}
	cfg.Log.Log = p.Log
	ca, err := openAuthority(cfg, p.Log)
	if err != nil {
		return err
	}
	store, err := warehouse.Open(cfg.Warehouse)
	if err != nil {
		return err
	}
	p.OnStop("warehouse", func(context.Context) error { return store.Close() })

	w := writer.New(writer.Settings{Log: cfg.Log, Logger: p.Log, Metrics: p.Metrics, Name: cfg.Name})
	devices := projector.New(projector.Settings{Log: cfg.Log, Store: store, Logger: p.Log, Metrics: p.Metrics, View: func(ctx context.Context, fn func(*roster.State)) error {
		return w.View(ctx, func(s *decide.State) { fn(s.State) })
	}})
	controller := schema.New(schema.Settings{Config: cfg.Schema, Writer: w, Store: store, Logger: p.Log, Metrics: p.Metrics})
	attempts := refusals.New(refusals.Settings{Writer: w, Log: p.Log, Metrics: p.Metrics})
	operators, err := api.New(api.Settings{Config: cfg.API, Writer: w, Authority: ca, Refusals: attempts, Log: p.Log, Metrics: p.Metrics})
	if err != nil {
		return err
	}
	var devicesSide *est.EST
	if cfg.EST.Listen != "" {
		devicesSide, err = est.New(est.Settings{Config: cfg.EST, Writer: w, Authority: ca, Refusals: attempts, Log: p.Log, Metrics: p.Metrics})
		if err != nil {
			return err
		}
	}
	p.SetReady("log folded", w.Ready)
	p.Go("devices' projection", devices.Run)
	p.Go("writer", w.Run)
	p.Go("refused attempts", attempts.Run)
	p.Go("issuers", issuers{ca, w, p.Log}.run)
	p.Go("topics", topics.New(cfg.Topics, cfg.Log, w, p.Log).Run)
	p.Go("schema controller", controller.Run)
	p.Go("operators' API", operators.Run)
	p.Log.Info("operators' API listens", "address", operators.Addr(), "trust_domain", ca.TrustDomain())
	if devicesSide != nil {
		p.Go("devices' side", devicesSide.Run)
		p.Log.Info("devices' side listens", "address", devicesSide.Addr(), "protocol", "EST")
	}
	if ctx.Err() != nil {
		return fmt.Errorf("start: %w", context.Cause(ctx))
	}
	return nil
}
