package gateway

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"go.opentelemetry.io/otel/trace"

	"muster.dev/platform/daemon"
	"muster.dev/platform/eventlog"
	"muster.dev/platform/roster"
	"muster.dev/services/ingest/gateway/admit"
	"muster.dev/services/ingest/gateway/clones"
	"muster.dev/services/ingest/gateway/door"
	"muster.dev/services/ingest/gateway/fastpath"
	"muster.dev/services/ingest/gateway/recent"
	"muster.dev/services/ingest/gateway/standing"
)

// Gateway is one running gateway.
type Gateway struct {
	cfg      Config
	log      *slog.Logger
	tracer   trace.Tracer // nil when nothing is traced
	roster   *roster.Roster
	desk     *standing.Desk
	producer *eventlog.Producer
	door     *door.Door
	mqtt     *mqtt // nil when nobody may come by MQTT
	metrics  *metrics

	rates    *admit.Rates
	agents   *admit.Rates // of those who speak for others, for all of these together
	asked    *admit.Rates // traces that devices ask for, all devices as one
	fast     *fastpath.Path[heading]
	requests *admit.Budget
	bytes    *admit.Budget
	recent   *recent.Window
	calls    sync.Pool // of *call
	draining atomic.Bool
}

// Run starts a gateway as rooms of the process p and returns; p stops it. It listens at once and answers 503 until its
// roster is read.
func Run(ctx context.Context, p *daemon.Process, cfg Config) error {
	_, err := Start(ctx, p, cfg)
	return err
}

// Start is Run that gives the gateway back.
func Start(_ context.Context, p *daemon.Process, cfg Config) (*Gateway, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	material, err := door.LoadMaterial(cfg.TLS)
	if err != nil {
		return nil, err
	}
	if cfg.Log.Log == nil {
		cfg.Log.Log = p.Log
	}
	ln, err := net.Listen("tcp", listenAddress(cfg.Listen))
	if err != nil {
		return nil, fmt.Errorf("listen for devices: %w", err)
	}
	var mqttLn net.Listener
	if cfg.MQTT.Listen != "" {
		if mqttLn, err = net.Listen("tcp", listenAddress(cfg.MQTT.Listen)); err != nil {
			return nil, errors.Join(fmt.Errorf("listen for devices by MQTT: %w", err), ln.Close())
		}
	}
	listeners := func() error { // those that no door owns yet
		if mqttLn == nil {
			return ln.Close()
		}
		return errors.Join(ln.Close(), mqttLn.Close())
	}
	g := &Gateway{
		cfg: cfg, log: p.Log,
		rates:    admit.NewRates(cfg.Limits.rate(), cfg.Limits.Devices),
		agents:   admit.NewRates(cfg.Limits.agentRate(), cfg.Limits.Devices),
		asked:    admit.NewRates(askedTraces, 1),
		requests: admit.NewBudget(cfg.Limits.Requests),
		bytes:    admit.NewBudget(cfg.Limits.BytesInFlight),
		recent:   recent.NewWindow(cfg.Limits.RecentKeys),
	}
	if cfg.Ops.OTLPEndpoint != "" {
		g.tracer = p.Tracer
	}
	g.calls.New = func() any { return newCall(g) }
	g.fast = fastpath.New(cfg.Limits.IdleTimeout, cfg.writeTimeout(), g.again)

	// The last room of the path first: the process stops them in reverse, so that each drains into one that lives.
	g.producer, err = eventlog.NewProducer(cfg.Log, cfg.producer(), p.Metrics)
	if err != nil {
		return nil, errors.Join(err, listeners())
	}
	p.OnStop("log", g.closeLog)
	g.roster, err = roster.Follow(cfg.Log, roster.Settings{Registerer: p.Metrics, Log: p.Log, Snapshot: true})
	if err != nil {
		return nil, errors.Join(err, listeners())
	}
	g.desk = standing.NewDesk(g.roster)
	ended := newEnded()
	g.roster.Watch(ended.note) // as long as the roster runs
	p.Go("roster", g.roster.Run)
	g.metrics = newMetrics(g, p.Metrics)
	g.door = door.Open(ln, material, door.Settings{
		TrustDomain: cfg.TrustDomain, Limits: cfg.Limits.door(), Desk: g.desk, Clones: clones.NewWatch(cfg.Limits.Devices), Registerer: p.Metrics,
		Protocol: "https", ALPN: []string{"h2", "http/1.1"},
	})
	if mqttLn != nil {
		g.openMQTT(mqttLn, p.Metrics)
	}
	p.Go("watermarks", g.watermarks)
	p.Go("certificates", func(ctx context.Context) error { return material.Watch(ctx, cfg.ReloadEvery, p.Log) })
	p.Go("revocations", func(ctx context.Context) error { return g.applyEnds(ctx, ended) })
	p.Go("server", g.serve)
	if g.mqtt != nil {
		p.Go("mqtt", g.mqtt.serve)
	}
	p.SetReady("roster", func() error { return g.roster.Check(cfg.RosterMaxAge) })
	p.SetReady("log", func() error {
		if g.producer.Stalled() {
			return fmt.Errorf("the log has not answered for %v", g.producer.OldestInFlight().Round(time.Millisecond))
		}
		return nil
	})
	p.Log.Info("listening for devices", "address", g.Addr(), "mqtt", g.MQTTAddr())
	return g, nil
}

// Addr is where devices connect.
func (g *Gateway) Addr() string { return g.door.Addr().String() }

// serve answers until ctx ends, then finishes what it has begun.
func (g *Gateway) serve(ctx context.Context) error {
	l := g.cfg.Limits
	server := &http.Server{
		Handler:           http.HandlerFunc(g.handle),
		ReadHeaderTimeout: l.HeaderTimeout,
		// Counted from the first byte of a request, so the headers' share is part of it.
		ReadTimeout:    l.BodyTimeout,
		WriteTimeout:   g.cfg.writeTimeout(),
		IdleTimeout:    l.IdleTimeout,
		MaxHeaderBytes: l.HeaderBytes,
		// What HTTP/2 buffers before a handler reads it is in nobody's budget, so it is kept small.
		HTTP2:    &http.HTTP2Config{MaxConcurrentStreams: l.Streams, MaxReadFrameSize: 16 << 10, MaxReceiveBufferPerStream: 64 << 10, MaxReceiveBufferPerConnection: 128 << 10},
		ErrorLog: slog.NewLogLogger(g.log.Handler(), slog.LevelDebug),
		ConnContext: func(ctx context.Context, c net.Conn) context.Context {
			who := caller{peer: door.PeerOf(c)}
			who.line, _ = c.(*line)
			return context.WithValue(ctx, callerKey{}, who)
		},
		ConnState: g.fast.State,
	}
	failed := make(chan error, 1)
	go func() { failed <- server.Serve(g.fast.Listen(g.door)) }() // ends with the door, which is closed below
	select {
	case err := <-failed:
		return errors.Join(fmt.Errorf("serve devices: %w", err), g.door.Close())
	case <-ctx.Done():
	}
	g.draining.Store(true)
	// An open request may wait for the log as long as it always may; the connections of those that stay are cut.
	stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), g.cfg.AckTimeout+time.Second)
	defer cancel()
	// Nobody comes in any more; requests on the fast path are answered before Shutdown takes their connections for idle ones.
	err := errors.Join(g.door.Close(), g.fast.Drain(stop), server.Shutdown(stop))
	if err != nil {
		g.log.Warn("requests were cut at the end", "error", err)
		err = server.Close()
	}
	<-failed
	return err
}

// closeLog waits until the log has answered for every record. What it has not answered was told to no device as
// stored; that the process says so by its exit code lets an operator look.
func (g *Gateway) closeLog(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, g.cfg.DrainTimeout)
	defer cancel()
	err := g.producer.Flush(ctx)
	g.producer.Close()
	return err
}
