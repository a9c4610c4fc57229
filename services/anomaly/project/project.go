package project

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"muster.dev/platform/eventlog"
	"muster.dev/platform/outage"
	"muster.dev/platform/warehouse"
	"muster.dev/platform/warehouse/native"
	"muster.dev/proto/event"
	"muster.dev/proto/record"
)

const (
	// gather is how long a row waits for others.
	gather = 200 * time.Millisecond
	// maxRecords and maxBytes bound what is held of the log while the warehouse is away.
	maxRecords = 2_000
	maxBytes   = 16 << 20
	// queue is what is read ahead of them; a record may have a mebibyte.
	queue = 16
)

// Settings is what code passes to New.
type Settings struct {
	Log     eventlog.Config
	Store   *warehouse.Warehouse
	Logger  *slog.Logger
	Metrics prometheus.Registerer
	// Check is how often the tables are asked whether they still hold what was sent; 0 is 10 s.
	Check time.Duration
}

// Projection is the room.
type Projection struct {
	log    eventlog.Config
	store  *warehouse.Warehouse
	logger *slog.Logger
	check  time.Duration
	m      *metrics
}

// New prepares; Run works.
func New(s Settings) *Projection {
	p := &Projection{log: s.Log, store: s.Store, logger: s.Logger, check: s.Check, m: newMetrics(s.Metrics)}
	if p.check == 0 {
		p.check = 10 * time.Second
	}
	return p
}

// Run projects until ctx ends. It waits out every fault of the log and the warehouse.
func (p *Projection) Run(ctx context.Context) error {
	outage.New(200*time.Millisecond, 10*time.Second).Outlast(ctx, p.project, func(err error, wait time.Duration) {
		p.m.failed.Inc()
		p.m.behindSince(time.Now())
		p.logger.Warn("the projection of incidents begins anew", "error", err, "in", wait.String())
	})
	return nil
}

// errLost says that a table no longer holds what was sent.
var errLost = errors.New("the tables of incidents lost rows")

// project follows the log from where the tables end and sends what they lack, until something fails.
func (p *Projection) project(ctx context.Context, landed func()) error {
	have, err := p.stored(ctx)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	records := make(chan *kgo.Record, queue)
	followed := make(chan struct{})
	go func() {
		defer close(followed)
		err := p.follow(ctx, have.begin(), func(rec *kgo.Record) error {
			select {
			case records <- rec:
				return nil
			case <-ctx.Done():
				return context.Cause(ctx)
			}
		})
		cancel(fmt.Errorf("the log of incidents: %w", err))
	}()
	defer func() { cancel(nil); <-followed }()

	g := newGathering(have)
	check := time.NewTicker(p.check)
	defer check.Stop()
	flush := time.NewTicker(gather)
	defer flush.Stop()
	for {
		select {
		case rec := <-records:
			g.add(rec, p.m)
			if !g.full() {
				continue
			}
		case <-flush.C:
		case <-check.C:
			switch now, err := p.stored(ctx); {
			case err != nil:
				return err
			case now.less(g.have):
				return errLost
			}
			continue
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		if g.records == 0 {
			p.m.caughtUp()
			continue
		}
		if err := p.flush(ctx, g); err != nil {
			return err
		}
		landed()
	}
}

// positions are the offsets of the last rows of the tables; -1 is none.
type positions struct{ incidents, verdicts, evidence int64 }

// begin is the offset at which the log is to be read. Up to the last incident all three tables are complete, since its table
// is written last; one that is empty may have been lost.
func (p positions) begin() int64 {
	if min(p.incidents, p.verdicts, p.evidence) < 0 {
		return 0
	}
	return p.incidents + 1
}

// less says whether a table ends before another look's.
func (p positions) less(o positions) bool {
	return p.incidents < o.incidents || p.verdicts < o.verdicts || p.evidence < o.evidence
}

// stored is where the tables end.
func (p *Projection) stored(ctx context.Context) (at positions, err error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	last := func(t table) string {
		return "(SELECT if(count() = 0, -1, toInt64(max(off))) FROM `" + p.store.Database() + "`." + string(t) + ")"
	}
	err = p.store.Conn().QueryRow(ctx, "SELECT "+last(incidentRows)+", "+last(verdictRows)+", "+last(evidenceRows)).
		Scan(&at.incidents, &at.verdicts, &at.evidence)
	if err != nil {
		return positions{}, fmt.Errorf("ask for the incidents that are stored: %w", err)
	}
	return at, nil
}

// gathering is what was read of the log and is not in the warehouse.
type gathering struct {
	have      positions // what the tables hold
	records   int
	bytes     int
	first     int64
	last      int64
	incidents *incidentBlock
	verdicts  *verdictBlock
	evidence  *evidenceBlock
}

func newGathering(have positions) *gathering {
	return &gathering{have: have, incidents: newIncidentBlock(), verdicts: newVerdictBlock(), evidence: newEvidenceBlock()}
}

func (g *gathering) full() bool { return g.records >= maxRecords || g.bytes >= maxBytes }

// add makes the rows of a record. A table that has them is passed over.
func (g *gathering) add(rec *kgo.Record, m *metrics) {
	headers := make([]event.Header, 0, len(rec.Headers))
	for _, h := range rec.Headers {
		headers = append(headers, event.Header{Key: h.Key, Value: h.Value})
	}
	var n uint64
	var incident, rollout string
	var ranges []event.Range
	switch event.TypeOf(headers) {
	case event.TypeVerdict:
		v, err := event.DecodeVerdict(headers, rec.Value)
		if err != nil {
			m.unreadable.Inc()
			return
		}
		n, incident, rollout, ranges = v.N, v.Incident, v.Rollout, v.Evidence
		if rec.Offset > g.have.verdicts {
			g.verdicts.add(&v, rec.Offset)
		}
	default:
		i, err := event.DecodeIncident(headers, rec.Value)
		if err != nil {
			m.unreadable.Inc()
			return
		}
		n, incident, rollout, ranges = i.N, i.ID, i.Subject.Rollout, i.Evidence
		if rec.Offset > g.have.incidents {
			g.incidents.add(&i, rec.Offset)
		}
	}
	if rec.Offset > g.have.evidence {
		g.evidence.add(n, incident, rollout, ranges, rec.Offset)
	}
	if g.records == 0 {
		g.first = rec.Offset
		m.behindSince(time.Now())
	}
	g.records++
	g.bytes += len(rec.Value)
	g.last = rec.Offset
}

// flush sends all rows of what is gathered, the incidents last: their table says how far all of them are.
func (p *Projection) flush(ctx context.Context, g *gathering) error {
	for _, part := range []struct {
		table table
		block *native.Block
		have  *int64
	}{
		{verdictRows, g.verdicts.Block, &g.have.verdicts}, {evidenceRows, g.evidence.Block, &g.have.evidence}, {incidentRows, g.incidents.Block, &g.have.incidents},
	} {
		n := part.block.Rows()
		if n == 0 {
			continue
		}
		body, err := part.block.Segments()
		if err != nil {
			return fmt.Errorf("encode rows for %s: %w", part.table, err)
		}
		// A fresh token each time: rows that a send of unknown fate has left are replaced by the same, while a token that the
		// table remembers from before it lost its rows would drop them.
		token := fmt.Sprintf("%s/%d-%d/%s", part.table, g.first, g.last, rand.Text())
		err = p.store.Insert(ctx, warehouse.Insert{Table: string(part.table), Columns: part.block.Names(), Token: token, QueryID: token, Body: body, Rows: n})
		if err != nil {
			return fmt.Errorf("store rows of %s: %w", part.table, err)
		}
		offs := part.block.Columns()[len(part.block.Columns())-1].(*native.Fixed[uint64]).Values()
		*part.have = int64(offs[len(offs)-1])
		p.m.rows.WithLabelValues(string(part.table)).Add(float64(n))
		part.block.Reset()
	}
	g.records, g.bytes = 0, 0
	p.m.caughtUp()
	return nil
}

// follow reads the log of incidents from an offset on, what was committed, for as long as ctx lasts.
func (p *Projection) follow(ctx context.Context, from int64, fn func(*kgo.Record) error) error {
	err := eventlog.Tail(ctx, p.log, eventlog.TailSettings{Topics: []string{record.TopicIncidents}, From: from, Start: true, Follow: true}, fn)
	if errors.Is(err, kerr.OffsetOutOfRange) {
		return fmt.Errorf("the tables know incidents up to offset %d, which the log has not: it is another one than they were made of (muster rebuild): %w", from, err)
	}
	return err
}
