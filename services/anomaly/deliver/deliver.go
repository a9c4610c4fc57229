package deliver

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"muster.dev/platform/eventlog"
	"muster.dev/platform/outage"
)

// GroupPrefix is what the consumer groups of routes begin with; the route's name follows.
const GroupPrefix = "muster-anomaly-"

// Settings is what code passes to New.
type Settings struct {
	Log     eventlog.Config
	Config  Config
	Logger  *slog.Logger
	Metrics prometheus.Registerer
	// Resolver replaces the system's, for tests.
	Resolver *net.Resolver
}

// Delivery is the room.
type Delivery struct{ routes []*route }

// route is one receiver's part of it.
type route struct {
	name    string
	log     eventlog.Config
	session time.Duration
	match   Match
	policy  policy
	to      receiver
	logger  *slog.Logger
	m       *metrics
}

// New opens the routes of a Config that daemon.Load has filled, secrets too. It reads the files of certificates, and speaks to nobody.
func New(s Settings) (*Delivery, error) {
	if err := s.Config.Validate(); err != nil {
		return nil, fmt.Errorf("deliver.%w", err)
	}
	d := &Delivery{}
	m := newMetrics(s.Metrics)
	for _, c := range s.Config.Routes {
		to, how, err := c.open(s.Resolver)
		if err != nil {
			return nil, fmt.Errorf("deliver.routes (%s): %w", c.Name, err)
		}
		m.begin(c.Name)
		d.routes = append(d.routes, &route{name: c.Name, log: s.Log, session: s.Config.Session, match: c.Match, policy: how, to: to, logger: s.Logger.With("route", c.Name), m: m})
	}
	return d, nil
}

// Run delivers until ctx ends. It waits out every fault of the log and of receivers.
func (d *Delivery) Run(ctx context.Context) error {
	var all sync.WaitGroup
	for _, r := range d.routes {
		all.Go(func() { r.run(ctx) })
	}
	<-ctx.Done()
	all.Wait()
	return nil
}

func (r *route) run(ctx context.Context) {
	outage.New(200*time.Millisecond, 10*time.Second).Outlast(ctx, r.follow, func(err error, wait time.Duration) {
		r.m.faults.WithLabelValues(r.name).Inc()
		r.logger.Warn("a route begins anew", "error", err, "in", wait.String())
	})
}
