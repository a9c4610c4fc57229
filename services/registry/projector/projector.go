package projector

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kgo"

	"muster.dev/platform/eventlog"
	"muster.dev/platform/outage"
	"muster.dev/platform/warehouse"
	"muster.dev/proto/record"
)

const (
	table = "device_rows"
	// maxRows bounds a block, and what is held of the log while the warehouse is away.
	maxRows = 10_000
	// gather is how long rows wait for others.
	gather = 200 * time.Millisecond
)

// Settings is what code passes to New.
type Settings struct {
	Log     eventlog.Config
	Store   *warehouse.Warehouse
	Logger  *slog.Logger
	Metrics prometheus.Registerer
	// Check is how often the table is asked whether it still holds what was sent; 0 is 10 s.
	Check time.Duration
}

// Projector is the room.
type Projector struct {
	log    eventlog.Config
	store  *warehouse.Warehouse
	logger *slog.Logger
	check  time.Duration
	rows   prometheus.Counter
	failed prometheus.Counter
}

// New prepares; Run works.
func New(s Settings) *Projector {
	p := &Projector{log: s.Log, store: s.Store, logger: s.Logger, check: s.Check,
		rows: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "muster_registry_projected_rows_total", Help: "Rows about devices that the warehouse has taken.",
		}),
		failed: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "muster_registry_projection_failures_total", Help: "Times that the projection of devices began anew after a fault.",
		}),
	}
	if p.check == 0 {
		p.check = 10 * time.Second
	}
	s.Metrics.MustRegister(p.rows, p.failed)
	return p
}

// Run projects until ctx ends. It waits out every fault of the log and the warehouse.
func (p *Projector) Run(ctx context.Context) error {
	faults := outage.New(200*time.Millisecond, 10*time.Second)
	for {
		err := p.project(ctx, faults.Over)
		if ctx.Err() != nil {
			return nil
		}
		p.failed.Inc()
		wait := faults.Next()
		p.logger.Warn("the projection of devices begins anew", "error", err, "in", wait.String())
		if !outage.Pause(ctx, wait) {
			return nil
		}
	}
}

// errLost says that the table no longer holds what was sent.
var errLost = errors.New("the table of devices lost rows")

// project follows the log from its start and sends what the table lacks, until something fails.
func (p *Projector) project(ctx context.Context, landed func()) error {
	have, err := p.stored(ctx)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	records := make(chan *kgo.Record, maxRows)
	tailed := make(chan struct{})
	go func() {
		defer close(tailed)
		err := eventlog.Tail(ctx, p.log, eventlog.TailSettings{Topics: []string{record.TopicRegistry}, Start: true, Follow: true}, func(rec *kgo.Record) error {
			select {
			case records <- rec:
				return nil
			case <-ctx.Done():
				return context.Cause(ctx)
			}
		})
		cancel(fmt.Errorf("the registry's log: %w", err))
	}()
	defer func() { cancel(nil); <-tailed }()

	f := newFold()
	sent := have // offset behind the last row that the table holds
	check := time.NewTicker(p.check)
	defer check.Stop()
	flush := time.NewTimer(gather)
	defer flush.Stop()
	for {
		select {
		case rec := <-records:
			f.add(rec, sent)
			if f.len() < maxRows {
				continue
			}
		case <-flush.C:
			flush.Reset(gather)
		case <-check.C:
			switch now, err := p.stored(ctx); {
			case err != nil:
				return err
			case now < sent:
				return errLost
			}
			continue
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		if f.len() == 0 {
			continue
		}
		if err := p.send(ctx, f); err != nil {
			return err
		}
		sent = f.last + 1
		landed()
	}
}

// stored is the offset behind the last row that the table holds.
func (p *Projector) stored(ctx context.Context) (next uint64, err error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	err = p.store.Conn().QueryRow(ctx, "SELECT if(count() = 0, 0, max(off) + 1) FROM `"+p.store.Database()+"`."+table).Scan(&next)
	if err != nil {
		return 0, fmt.Errorf("ask for the devices that are stored: %w", err)
	}
	return next, nil
}

// send inserts what was gathered. The token is a fresh one each time: rows that a send of unknown fate has left are
// replaced by the same, while a token that the table remembers from before it lost its rows would drop them.
func (p *Projector) send(ctx context.Context, f *fold) error {
	body, err := f.block.Segments()
	if err != nil {
		return fmt.Errorf("encode rows about devices: %w", err)
	}
	token := fmt.Sprintf("devices/%d/%d-%d/%s", f.gen, f.first, f.last, rand.Text())
	err = p.store.Insert(ctx, warehouse.Insert{
		Table: table, Columns: f.block.Names(), Token: token, QueryID: token, Body: body, Rows: f.len(),
	})
	if err != nil {
		return fmt.Errorf("store rows about devices: %w", err)
	}
	p.rows.Add(float64(f.len()))
	f.block.Reset()
	return nil
}
