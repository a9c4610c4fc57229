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
	"muster.dev/platform/roster"
	"muster.dev/platform/warehouse"
	"muster.dev/platform/warehouse/native"
)

// table is one of the two that are written here.
type table string

const (
	deviceRows table = "device_rows"
	eventRows  table = "registry_events"
)

// gather is how long rows wait for others.
const gather = 200 * time.Millisecond

// Settings is what code passes to New.
type Settings struct {
	Log     eventlog.Config
	Store   *warehouse.Warehouse
	Logger  *slog.Logger
	Metrics prometheus.Registerer
	// View calls a function, which must neither keep nor block, with the state of the log as a writer or a follower has it,
	// or waits for it. Nil: the log is folded here, from its start, and all devices are held once more.
	View func(context.Context, func(*roster.State)) error
	// Check is how often the tables are asked whether they still hold what was sent; 0 is 10 s.
	Check time.Duration
}

// Projector is the room.
type Projector struct {
	log    eventlog.Config
	store  *warehouse.Warehouse
	logger *slog.Logger
	view   view
	check  time.Duration
	rows   *prometheus.CounterVec
	failed prometheus.Counter
}

// New prepares; Run works.
func New(s Settings) *Projector {
	p := &Projector{log: s.Log, store: s.Store, logger: s.Logger, view: s.View, check: s.Check,
		rows: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "muster_registry_projected_rows_total", Help: "Rows about devices and events of the registry that the warehouse has taken, by table.",
		}, []string{"table"}),
		failed: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "muster_registry_projection_failures_total", Help: "Times that the projection of devices and events began anew after a fault.",
		}),
	}
	for _, t := range []table{deviceRows, eventRows} {
		p.rows.WithLabelValues(string(t))
	}
	if p.check == 0 {
		p.check = 10 * time.Second
	}
	s.Metrics.MustRegister(p.rows, p.failed)
	return p
}

// Run projects until ctx ends. It waits out every fault of the log and the warehouse.
func (p *Projector) Run(ctx context.Context) error {
	outage.New(200*time.Millisecond, 10*time.Second).Outlast(ctx, p.project, func(err error, wait time.Duration) {
		p.failed.Inc()
		p.logger.Warn("the projection of devices begins anew", "error", err, "in", wait.String())
	})
	return nil
}

// errLost says that a table no longer holds what was sent.
var errLost = errors.New("the tables of the registry lost rows")

// project follows the log from where the tables end and sends what they lack, until something fails.
func (p *Projector) project(ctx context.Context, landed func()) error {
	have, err := p.stored(ctx, true)
	if err != nil {
		return err
	}
	g := newGathering(p.view, have)
	if p.view != nil {
		if g.revokedAt, err = p.ends(ctx); err != nil {
			return err
		}
	}
	ctx, cancel := context.WithCancelCause(ctx)
	records := make(chan *kgo.Record, maxEvents)
	followed := make(chan struct{})
	go func() {
		defer close(followed)
		err := follow(ctx, p.log, g.begin(), func(rec *kgo.Record) error {
			select {
			case records <- rec:
				return nil
			case <-ctx.Done():
				return context.Cause(ctx)
			}
		})
		cancel(fmt.Errorf("the registry's log: %w", err))
	}()
	defer func() { cancel(nil); <-followed }()

	sent := have // offsets of the last rows that the tables hold
	send := func(ctx context.Context, t table, r *rows) error {
		if r.block.Rows() == 0 {
			return nil
		}
		if err := p.send(ctx, t, r); err != nil {
			return err
		}
		at := &sent.devices
		if t == eventRows {
			at = &sent.events
		}
		*at = max(*at, r.last)
		landed()
		return nil
	}
	check := time.NewTicker(p.check)
	defer check.Stop()
	flush := time.NewTicker(gather)
	defer flush.Stop()
	for {
		select {
		case rec := <-records:
			if wide := g.add(rec); !wide && !g.full() {
				continue
			}
		case <-flush.C:
		case <-check.C:
			switch now, err := p.stored(ctx, false); {
			case err != nil:
				return err
			case now.devices < sent.devices || now.events < sent.events:
				return errLost
			}
			continue
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		if err := g.flush(ctx, send); err != nil {
			return err
		}
	}
}

// stored is where the tables end. Rows of a form of before count for nothing if forms are asked for.
func (p *Projector) stored(ctx context.Context, forms bool) (at positions, err error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	devices, old := p.store.Database()+"`."+string(deviceRows), ""
	if forms {
		old = fmt.Sprintf(" OR (SELECT min(form) FROM `%s FINAL) < %d", devices, form)
	}
	err = p.store.Conn().QueryRow(ctx, "SELECT (SELECT if(count() = 0"+old+", -1, toInt64(max(off))) FROM `"+devices+"), "+
		"(SELECT if(count() = 0, -1, toInt64(max(off))) FROM `"+p.store.Database()+"`."+string(eventRows)+")").Scan(&at.devices, &at.events)
	if err != nil {
		return positions{}, fmt.Errorf("ask for the rows of the registry that are stored: %w", err)
	}
	return at, nil
}

// ends are the times at which devices were revoked, as far as the table knows them.
func (p *Projector) ends(ctx context.Context) (at []int64, err error) {
	list, err := p.store.Conn().Query(ctx, "SELECT no, toUnixTimestamp64Milli(revoked_at) FROM `"+p.store.Database()+"`."+string(deviceRows)+" FINAL WHERE revoked_at != 0 ORDER BY no")
	if err != nil {
		return nil, fmt.Errorf("ask when devices were revoked: %w", err)
	}
	defer list.Close()
	for list.Next() {
		var no uint32
		var ms int64
		if err := list.Scan(&no, &ms); err != nil {
			return nil, fmt.Errorf("ask when devices were revoked: %w", err)
		}
		if need := int(no) - len(at); need > 0 {
			at = append(at, make([]int64, need)...)
		}
		at[no-1] = ms
	}
	if err := list.Err(); err != nil {
		return nil, fmt.Errorf("ask when devices were revoked: %w", err)
	}
	return at, nil
}

// rows is a block to be sent, and the events that it is of.
type rows struct {
	block       *native.Block
	gen         uint16
	first, last int64
}

// send inserts what was gathered. The token is a fresh one each time: rows that a send of unknown fate has left are
// replaced by the same, while a token that the table remembers from before it lost its rows would drop them.
func (p *Projector) send(ctx context.Context, t table, r *rows) error {
	body, err := r.block.Segments()
	if err != nil {
		return fmt.Errorf("encode rows for %s: %w", t, err)
	}
	token := fmt.Sprintf("%s/%d/%d-%d/%s", t, r.gen, r.first, r.last, rand.Text())
	n := r.block.Rows()
	err = p.store.Insert(ctx, warehouse.Insert{Table: string(t), Columns: r.block.Names(), Token: token, QueryID: token, Body: body, Rows: n})
	if err != nil {
		return fmt.Errorf("store rows of %s: %w", t, err)
	}
	p.rows.WithLabelValues(string(t)).Add(float64(n))
	r.block.Reset()
	return nil
}
