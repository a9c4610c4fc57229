package schema

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"muster.dev/platform/outage"
	"muster.dev/platform/roster"
	"muster.dev/platform/warehouse"
	"muster.dev/services/registry/decide"
	"muster.dev/services/registry/writer"
)

// Settings is what code passes to New.
type Settings struct {
	Config
	Writer  *writer.Writer
	Store   *warehouse.Warehouse
	Logger  *slog.Logger
	Metrics prometheus.Registerer
}

// Controller is the room.
type Controller struct {
	cfg      Config
	writer   *writer.Writer
	store    *warehouse.Warehouse
	logger   *slog.Logger
	promoted prometheus.Counter
	failed   prometheus.Counter

	positions map[partition]uint64
	seen      map[key]seen
}

// New prepares; Run works.
func New(s Settings) *Controller {
	c := &Controller{cfg: s.Config, writer: s.Writer, store: s.Store, logger: s.Logger, positions: map[partition]uint64{}, seen: map[key]seen{},
		promoted: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "muster_registry_metrics_promoted_total", Help: "Metrics that were given a column.",
		}),
		failed: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "muster_registry_schema_failures_total", Help: "Looks at the overflow table that failed.",
		}),
	}
	s.Metrics.MustRegister(c.promoted, c.failed)
	return c
}

// Run looks every interval until ctx ends, and waits out every fault.
func (c *Controller) Run(ctx context.Context) error {
	faults := outage.New(200*time.Millisecond, 10*time.Second)
	for {
		wait := c.cfg.Interval
		look, cancel := context.WithTimeout(ctx, time.Minute)
		err := c.Look(look)
		cancel()
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil:
			c.failed.Inc()
			wait = faults.Next()
			c.logger.Warn("a look at the overflow table failed", "error", err, "again_in", wait.String())
		default:
			faults.Over()
		}
		if !outage.Pause(ctx, wait) {
			return nil
		}
	}
}

// Look makes what the profiles lack of tables and columns, then gives columns to what the overflow shows.
func (c *Controller) Look(ctx context.Context) error {
	var profiles []roster.Profile
	if err := c.writer.View(ctx, func(s *decide.State) { profiles = s.Profiles() }); err != nil {
		return err
	}
	columns, err := c.columns(ctx)
	if err != nil {
		return err
	}
	for _, p := range profiles {
		if err := c.restore(ctx, p, columns); err != nil {
			return err
		}
	}
	next, err := c.newRows(ctx)
	if err != nil || len(next) == 0 {
		return err
	}
	found, err := c.look(ctx, next)
	if errors.Is(err, errUnknownDevice) {
		return nil // the next look sees them
	} else if err != nil {
		return err
	}
	maps.Copy(c.positions, next)
	c.remember(profiles, found)
	for _, p := range profiles {
		if err := c.promote(ctx, p, columns[p.Name]); err != nil {
			return err
		}
	}
	return nil
}

// restore makes a profile's table, or the columns that it lacks: a profile is new, or the warehouse was made anew.
func (c *Controller) restore(ctx context.Context, p roster.Profile, columns map[string]map[string]decide.Metric) error {
	have, ok := columns[p.Name]
	missing := slices.ContainsFunc(p.Metrics, func(m roster.Metric) bool { _, ok := have[m.Name]; return !ok })
	if ok && !missing {
		return nil
	}
	if err := c.store.EnsureProfile(ctx, shape(p, nil)); err != nil {
		return fmt.Errorf("make the table of profile %s: %w", p.Name, err)
	}
	c.logger.Info("a profile has its table", "profile", p.Name, "metrics", len(p.Metrics))
	return nil
}

// remember adds what was found to what was seen of metrics that have no column.
func (c *Controller) remember(profiles []roster.Profile, found map[key]seen) {
	for k, s := range found {
		i := slices.IndexFunc(profiles, func(p roster.Profile) bool { return p.Name == k.profile })
		if i < 0 || slices.ContainsFunc(profiles[i].Metrics, func(m roster.Metric) bool { return m.Name == k.metric }) {
			continue // a value off its column's grid
		}
		so := c.seen[k]
		so.add(s)
		c.seen[k] = so
	}
	if len(c.seen) <= maxKeys {
		return
	}
	// What few devices sent seldom is forgotten first: names that one device makes up must not keep others out.
	keys := slices.SortedFunc(maps.Keys(c.seen), func(a, b key) int {
		return cmp.Or(before(c.seen[a], c.seen[b]), cmp.Compare(a.profile, b.profile), cmp.Compare(a.metric, b.metric))
	})
	for _, k := range keys[maxKeys:] {
		delete(c.seen, k)
	}
}

// promote gives columns to a profile's metrics that were seen often enough, what most devices send first.
func (c *Controller) promote(ctx context.Context, p roster.Profile, columns map[string]decide.Metric) error {
	var names []string
	for k, s := range c.seen {
		if k.profile == p.Name && s.rows() >= c.cfg.MinRows {
			names = append(names, k.metric)
		}
	}
	slices.SortFunc(names, func(a, b string) int {
		return cmp.Or(before(c.seen[key{p.Name, a}], c.seen[key{p.Name, b}]), cmp.Compare(a, b))
	})
	var add []decide.Metric
	least := 0 // devices that must send it
	for _, name := range names {
		if taken := len(p.Metrics) + len(add); taken >= openMetrics && least == 0 {
			enrolled, err := c.enrolled(ctx, p.Name)
			if err != nil {
				return err
			}
			least = senders(enrolled)
		}
		if len(c.seen[key{p.Name, name}].devices) < least {
			continue
		}
		m, ok := columns[name] // left by a controller that died before its event
		if !ok {
			m, ok = judge(name, c.seen[key{p.Name, name}], c.cfg.MinRows)
		}
		if ok && len(p.Metrics)+len(add) < decide.MaxMetrics {
			add = append(add, m)
		}
	}
	if len(add) == 0 {
		return nil
	}
	if err := c.store.EnsureProfile(ctx, shape(p, add)); err != nil {
		return fmt.Errorf("give profile %s its columns: %w", p.Name, err)
	}
	outcome, err := c.writer.Do(ctx, "registry", "seen in the overflow table", decide.AddMetrics{Profile: p.No, Metrics: add})
	if err != nil {
		return fmt.Errorf("tell of the columns of profile %s: %w", p.Name, err)
	}
	c.promoted.Add(float64(len(outcome.Events)))
	for _, m := range add {
		delete(c.seen, key{p.Name, m.Name})
		c.logger.Info("a metric has its column", "profile", p.Name, "metric", m.Name, "kind", m.Kind.String(), "scale", m.Scale)
	}
	return nil
}

// shape is a profile as the warehouse takes it.
func shape(p roster.Profile, add []decide.Metric) warehouse.Profile {
	out := warehouse.Profile{Name: p.Name}
	for _, m := range p.Metrics {
		out.Metrics = append(out.Metrics, warehouse.Metric{Name: m.Name, Kind: m.Kind, Scale: m.Scale})
	}
	for _, m := range add {
		out.Metrics = append(out.Metrics, warehouse.Metric{Name: m.Name, Kind: m.Kind, Scale: m.Scale})
	}
	return out
}

func (c *Controller) table(name string) string { return "`" + c.store.Database() + "`." + name }
