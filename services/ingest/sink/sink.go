package sink

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/otel/trace"
	"go.opentelemetry.io/otel/trace/noop"

	"muster.dev/platform/daemon"
	"muster.dev/platform/outage"
	"muster.dev/platform/roster"
	"muster.dev/platform/warehouse"
	"muster.dev/services/ingest/sink/rows"
	"muster.dev/services/ingest/sink/seen"
)

// seenState is a partition's cache of what is stored.
type seenState = seen.State

func newSeen(max int) *seenState { return seen.NewState(max) }

// Settings is what code passes to New.
type Settings struct {
	Roster     *roster.Roster
	Warehouse  *warehouse.Warehouse
	Registerer prometheus.Registerer // nil: metrics are kept by nobody
	Tracer     trace.Tracer          // nil: nothing is traced
	Log        *slog.Logger          // nil: silence
}

// Sink stores the log's records. Run does the work; New only prepares it.
type Sink struct {
	cfg     Config
	roster  *roster.Roster
	catalog rows.Catalog
	store   store
	budget  *budget

	underWay underWay
	crash    *crash
	m        *metrics
	tracer   trace.Tracer
	log      *slog.Logger
	sheets   sync.Pool
}

// New checks the configuration and prepares a sink.
func New(cfg Config, s Settings) (*Sink, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	armed, err := parseCrash(cfg.CrashAt)
	if err != nil {
		return nil, err
	}
	if s.Registerer == nil {
		s.Registerer = prometheus.NewRegistry()
	}
	if s.Tracer == nil {
		s.Tracer = noop.NewTracerProvider().Tracer("")
	}
	if s.Log == nil {
		s.Log = slog.New(slog.NewJSONHandler(io.Discard, nil))
	}
	sink := &Sink{
		cfg: cfg, roster: s.Roster, catalog: &catalog{Roster: s.Roster}, store: store{s.Warehouse},
		budget: &budget{limit: cfg.Buffer}, crash: armed, tracer: s.Tracer, log: s.Log,
	}
	sink.m, err = newMetrics(s.Registerer, sink)
	if err != nil {
		return nil, err
	}
	sink.sheets.New = func() any { return rows.NewSheet(sink.catalog) }
	return sink, nil
}

func (s *Sink) sheet() *rows.Sheet {
	sheet := s.sheets.Get().(*rows.Sheet)
	sheet.Clear()
	return sheet
}

func (s *Sink) putSheet(sheet *rows.Sheet) { s.sheets.Put(sheet) }

// Run follows the log until ctx ends, and returns nil then. A session that breaks is begun anew, with backoff: what
// it left half done is in the group's commits. It may be called once.
func (s *Sink) Run(ctx context.Context) error {
	faults := outage.New(200*time.Millisecond, 10*time.Second)
	for {
		began := time.Now()
		err := s.follow(ctx)
		if ctx.Err() != nil {
			return nil
		}
		if time.Since(began) > time.Minute {
			faults.Over()
		}
		wait := faults.Next()
		if errors.Is(err, errTopicChanged) {
			wait = 200 * time.Millisecond
		}
		s.m.sessions.Inc()
		s.log.Warn("the session with the group ended: beginning another", "error", err, "in", wait)
		if !outage.Pause(ctx, wait) {
			return nil
		}
	}
}

// Run is the sink's process: it builds what the sink stands on and starts it in p.
func Run(ctx context.Context, p *daemon.Process, cfg Config) error {
	if err := cfg.Validate(); err != nil {
		return err
	}
	cfg.Log.Log = p.Log
	people, err := roster.Follow(cfg.Log, roster.Settings{Registerer: p.Metrics, Log: p.Log, Snapshot: true})
	if err != nil {
		return fmt.Errorf("roster: %w", err)
	}
	p.Go("roster", people.Run)
	house, err := warehouse.Open(cfg.Warehouse)
	if err != nil {
		return fmt.Errorf("warehouse: %w", err)
	}
	p.OnStop("warehouse", func(context.Context) error { return house.Close() })
	s, err := New(cfg, Settings{Roster: people, Warehouse: house, Registerer: p.Metrics, Tracer: p.Tracer, Log: p.Log})
	if err != nil {
		return err
	}
	p.SetReady("assigned", s.Ready)
	p.Go("sink", s.Run)
	return ctx.Err()
}

// Ready says whether the sink does its work: it has partitions, and none of them stands still.
func (s *Sink) Ready() error {
	switch {
	case s.m.parked.Load() > 0:
		return fmt.Errorf("%d partitions stand still: records are gone that were not stored", s.m.parked.Load())
	case s.m.workers.Load() == 0:
		return errors.New("no partition is assigned")
	}
	if age := s.underWay.oldest(); age > stalledAfter {
		return fmt.Errorf("nothing has been stored for %v, though there is something to store: see the log for what it waits for", age.Round(time.Second))
	}
	return nil
}

// catalog is the roster as the rows package asks it.
type catalog struct {
	*roster.Roster
	schemas sync.Map // of names by id: asked for each message, and never changed
}

// Profile implements rows.Catalog.
func (c *catalog) Profile(no uint16, rev uint64) (rows.Profile, bool) {
	p, ok := c.ProfileAt(no, rev)
	if !ok {
		return rows.Profile{}, false
	}
	out := rows.Profile{Name: p.Name, Metrics: make([]rows.Metric, len(p.Metrics))}
	for i, m := range p.Metrics {
		out.Metrics[i] = rows.Metric{Name: m.Name, Kind: m.Kind, Scale: m.Scale}
	}
	return out, true
}

// Schema implements rows.Catalog. A schema never changes, and is defined before the first record that uses it.
func (c *catalog) Schema(id uint32) ([]string, bool) {
	if names, ok := c.schemas.Load(id); ok {
		return names.([]string), true
	}
	s, ok := c.Roster.Schema(id)
	if !ok {
		return nil, false
	}
	names := make([]string, len(s.Metrics))
	for i, m := range s.Metrics {
		names[i] = m.Name
	}
	c.schemas.Store(id, names)
	return names, true
}
