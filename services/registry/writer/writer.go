package writer

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kgo"

	"muster.dev/platform/eventlog"
	"muster.dev/platform/outage"
	"muster.dev/platform/principals"
	"muster.dev/proto/event"
	"muster.dev/proto/record"
	"muster.dev/services/registry/decide"
)

// ErrUnavailable says that the log could not be read or written in time. What was asked may have been done.
var ErrUnavailable = errors.New("the registry's log is not available")

// TransactionalID is the place that writers of the registry's log take from each other.
const TransactionalID = principals.TransactionalPrefix

const (
	// maxRound bounds a transaction: 256 enrolments are 100 KB.
	maxRound = 256
	// writeTimeout bounds the wait for the log to take a round's records; the end of the transaction has its own.
	writeTimeout = 5 * time.Second
	// stopTimeout bounds what a writer does when it stops.
	stopTimeout = 8 * time.Second
)

// ErrStandby says that another process has the writer's place. It is an ErrUnavailable of which is sure that nothing
// was done here.
var ErrStandby = fmt.Errorf("%w: another process of the registry writes it, this one stands by", ErrUnavailable)

// errEnded says that nobody decides here any more.
var errEnded = fmt.Errorf("%w: this process of the registry stops", ErrUnavailable)

// Role is what a process of the registry does.
type Role string

// The roles.
const (
	Leader  Role = "writer"
	Standby Role = "standby"
)

// Settings is what code passes to New.
type Settings struct {
	Log     eventlog.Config
	Logger  *slog.Logger
	Metrics prometheus.Registerer
	Now     func() time.Time // nil is the wall clock

	// Name is this process's among those of the registry, and the same after a restart: it then takes its place again at
	// once. Empty is the host's name.
	Name string
	// Beat is how often a writer renews its lease, and Stale how long a lease that is not renewed keeps standbys away; 0
	// is 2 s and 8 s.
	Beat, Stale time.Duration
	// SnapshotEvery is after how many events a snapshot is taken at the earliest, and SnapshotAtStop how many make one worth its while
	// when the writer stops; 0 is 50,000 and 1,000.
	SnapshotEvery, SnapshotAtStop uint64
}

// Writer decides and writes. Its methods may be called from any goroutine.
type Writer struct {
	settings Settings
	log      eventlog.Config
	logger   *slog.Logger
	metrics  *metrics
	now      func() time.Time
	requests chan *request
	role     atomic.Value // Role
	position atomic.Int64 // offset of the next record

	// turn holds the state while nobody uses it, and nothing while the log is not folded: a lock that can be waited
	// for with a ctx.
	turn   chan *decide.State
	opened chan struct{} // closed once Run has opened the leases
	ended  chan struct{} // closed once Run has returned: nobody answers any more

	// The rest is Run's.
	leases leases
	ends   *ends
	state  *decide.State  // the one that is published; nil is none
	place  eventlog.Place // that this process took last and was not fenced from
	fresh  bool           // it has not yet had the place
	lead   int64          // offsets that the log's broker takes before a transaction's first record
}

type request struct {
	ctx      context.Context
	who, why string
	command  decide.Command
	done     chan result // holds one
}

type result struct {
	outcome decide.Outcome
	err     error
}

// New makes a writer; Run makes it work.
func New(s Settings) *Writer {
	if s.Name == "" {
		s.Name, _ = os.Hostname()
	}
	if s.Name = strings.Join(strings.Fields(s.Name), "-"); s.Name == "" {
		s.Name = "registry"
	}
	for value, unset := range map[*time.Duration]time.Duration{&s.Beat: 2 * time.Second, &s.Stale: 8 * time.Second} {
		if *value == 0 {
			*value = unset
		}
	}
	for value, unset := range map[*uint64]uint64{&s.SnapshotEvery: 50_000, &s.SnapshotAtStop: 1_000} {
		if *value == 0 {
			*value = unset
		}
	}
	w := &Writer{settings: s, log: s.Log, logger: s.Logger, metrics: newMetrics(s.Metrics), now: s.Now,
		requests: make(chan *request, maxRound), turn: make(chan *decide.State, 1), opened: make(chan struct{}), ended: make(chan struct{}), fresh: true}
	w.role.Store(Standby)
	if w.now == nil {
		w.now = time.Now
	}
	return w
}

// Role is what this process does now.
func (w *Writer) Role() Role { return w.role.Load().(Role) }

// Position is the offset of the next record of the log, as far as is folded.
func (w *Writer) Position() int64 { return w.position.Load() }

// Do has a command decided, and its events written, in the name of who. A nil error says that the outcome stands in
// the log. A *decide.Refusal says that nothing was written; ErrStandby too, and that another process is to be asked;
// ErrUnavailable leaves it open, and comes at once when Run has returned.
func (w *Writer) Do(ctx context.Context, who, why string, command decide.Command) (decide.Outcome, error) {
	r := &request{ctx: ctx, who: who, why: why, command: command, done: make(chan result, 1)}
	select {
	case w.requests <- r:
	case <-w.ended:
		return decide.Outcome{}, errEnded
	case <-ctx.Done():
		return decide.Outcome{}, fmt.Errorf("%w: %w", ErrUnavailable, context.Cause(ctx))
	}
	select {
	case out := <-r.done:
		return out.outcome, out.err
	case <-ctx.Done():
		return decide.Outcome{}, fmt.Errorf("%w: %w", ErrUnavailable, context.Cause(ctx))
	case <-w.ended:
	}
	select {
	case out := <-r.done: // before the end
		return out.outcome, out.err
	default:
		return decide.Outcome{}, errEnded
	}
}

// View calls fn with the state as the log has it: all that was acknowledged, nothing that was not. fn must not keep
// the state, nor block.
func (w *Writer) View(ctx context.Context, fn func(*decide.State)) error {
	select {
	case state := <-w.turn:
		defer func() { w.turn <- state }()
		fn(state)
		return nil
	case <-ctx.Done():
		return fmt.Errorf("%w: %w", ErrUnavailable, context.Cause(ctx))
	}
}

// Ready says whether the state is there to be read: nil once the log is folded, of a standby too.
func (w *Writer) Ready() error {
	if w.metrics.folded.Load() {
		return nil
	}
	return errors.New("the registry's log is not folded yet")
}

// Sync waits until the state holds all that the log held when it was called, whoever wrote it: a View after it is as if
// there were one process.
func (w *Writer) Sync(ctx context.Context) error {
	select {
	case <-w.opened:
	case <-ctx.Done():
		return fmt.Errorf("%w: %w", ErrUnavailable, context.Cause(ctx))
	}
	end, err := w.ends.wait(ctx)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for w.position.Load() < end || w.Ready() != nil {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("%w: %w", ErrUnavailable, context.Cause(ctx))
		}
	}
	return nil
}

// Run serves until ctx ends: it stands by while another process has the writer's place, takes it when that is silent, and
// stands by again when it was fenced from it. Every fault of the log is waited out. It may be called once.
func (w *Writer) Run(ctx context.Context) error {
	defer close(w.ended)
	leases, client, err := openLeases(w.log)
	if err != nil {
		return err
	}
	defer client.Close()
	w.leases, w.ends = leases, newEnds(leases.end)
	close(w.opened)
	defer func() { w.unpublish(false) }()
	faults := outage.New(50*time.Millisecond, 2*time.Second)
	for {
		err := w.standBy(ctx)
		if errors.Is(err, errTake) {
			err = w.reign(ctx, faults.Over)
		}
		w.role.Store(Standby)
		w.metrics.leads.Store(false)
		switch {
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, eventlog.ErrFenced):
			w.metrics.fenced.Inc()
			w.place = eventlog.Place{}
			w.logger.Warn("another process has taken the writer's place; standing by", "error", err)
		default:
			w.logger.Warn("the registry's log fails", "error", err)
		}
		if w.state == nil {
			w.metrics.refolds.Inc()
		}
		if !outage.Pause(ctx, faults.Next()) {
			return nil
		}
	}
}

// reign takes the place, folds what came before it was taken, and serves until something fails or ctx ends.
func (w *Writer) reign(ctx context.Context, caughtUp func()) error {
	out, err := eventlog.OpenWriter(ctx, w.log, TransactionalID)
	if err != nil {
		return err
	}
	defer out.Close()
	w.place, w.fresh = out.Place(), false
	held := lease{name: w.settings.Name, place: w.place}
	if err := w.leases.write(ctx, held, w.position.Load()); err != nil {
		// Without a lease a standby takes the place sooner or later, and that is all.
		w.logger.Warn("the writer's lease cannot be taken", "error", err)
	}
	if err := w.completeState(ctx); err != nil {
		return err
	}
	caughtUp()
	w.role.Store(Leader)
	w.metrics.leads.Store(true)
	w.logger.Info("writes the registry's log", "name", w.settings.Name, "event", w.lastEvent())

	reigning, stop := context.WithCancelCause(ctx)
	var beside sync.WaitGroup
	defer beside.Wait()
	defer stop(nil)
	beside.Go(func() { w.beat(reigning, held, stop) })
	taking := w.newTaking(reigning, &beside)
	for {
		select {
		case <-reigning.Done():
			if ctx.Err() == nil {
				return context.Cause(reigning)
			}
			w.abdicate(out, held)
			return nil
		case first := <-w.requests:
			if err := w.round(ctx, out, w.gather(first)); err != nil {
				return err
			}
			taking.begin()
		case taken := <-taking.done:
			if err := taking.end(ctx, out, taken); err != nil {
				return err
			}
		}
	}
}

// completeState folds what the log holds beyond the state: after the place was taken nobody else adds to it.
func (w *Writer) completeState(ctx context.Context) error {
	end, err := w.leases.end(ctx)
	if err != nil {
		return err
	}
	if w.position.Load() >= end {
		return nil
	}
	f, err := follow(w.log, w.position.Load())
	if err != nil {
		return err
	}
	defer f.client.Close()
	state := <-w.turn
	defer func() { w.turn <- state }()
	err = w.reach(ctx, f, state, end)
	w.position.Store(state.Offset())
	return err
}

func (w *Writer) lastEvent() uint64 {
	state := <-w.turn
	defer func() { w.turn <- state }()
	return state.Last()
}

// abdicate ends a reign in good order: what was folded is kept for the next one, and who stands by need not wait.
func (w *Writer) abdicate(out *eventlog.Writer, held lease) {
	ctx, cancel := context.WithTimeout(context.Background(), stopTimeout)
	defer cancel()
	w.takeAtStop(ctx, out)
	held.name = ""
	if err := w.leases.write(ctx, held, w.position.Load()); err != nil {
		w.logger.Warn("the writer's lease cannot be given up", "error", err)
	}
}

// gather takes what waits beside first.
func (w *Writer) gather(first *request) []*request {
	batch := []*request{first}
	for len(batch) < maxRound {
		select {
		case r := <-w.requests:
			batch = append(batch, r)
		default:
			return batch
		}
	}
	return batch
}

// round decides a batch and writes its events, then answers all: a refusal too may stand on an event of the same
// round, so it holds only once that is in the log. On an error the state, which is ahead of the log, is not put back.
func (w *Writer) round(ctx context.Context, out *eventlog.Writer, batch []*request) error {
	state := <-w.turn
	now := w.now()
	var records []*kgo.Record
	results := make([]result, len(batch))
	first := state.Offset() + w.lead
	for i, r := range batch {
		if r.ctx.Err() != nil {
			results[i].err = fmt.Errorf("%w: %w", ErrUnavailable, context.Cause(r.ctx))
			continue
		}
		outcome, err := decide.Decide(state, now, r.command)
		if err != nil {
			w.metrics.refused.Inc()
			results[i].err = err
			continue
		}
		results[i].outcome = outcome
		if len(outcome.Events) > 0 {
			state.Pass(first)
		}
		for _, e := range outcome.Events {
			rec, err := state.Extend(now, r.who, r.why, e)
			if err != nil {
				err = fmt.Errorf("decide made an event that does not fold: %w", err)
				w.unpublish(true)
				w.answer(batch, nil, err)
				return err
			}
			records = append(records, rec)
		}
	}
	if len(records) == 0 {
		return w.confirm(ctx, state, batch, results)
	}
	err := w.append(ctx, out, state, first, records)
	if err != nil && !errors.Is(err, errForeign) {
		w.metrics.failed.Inc()
		w.unpublish(true)
		w.answer(batch, nil, fmt.Errorf("%w: %w", ErrUnavailable, err))
		return err
	}
	if err != nil {
		w.unpublish(true)
	} else {
		w.turn <- state
	}
	w.metrics.events.Add(float64(len(records)))
	w.answer(batch, results, nil)
	return err
}

// confirm answers a batch that makes no event. A refusal, or what was so already, is as true as what is written: who was
// stopped and wakes up must not say it from what it knew before another took its place. If the log holds nothing that the
// state does not, nobody has.
func (w *Writer) confirm(ctx context.Context, state *decide.State, batch []*request, results []result) error {
	position := state.Offset()
	w.turn <- state
	end, err := w.leases.written(ctx)
	if err != nil {
		w.answer(batch, nil, fmt.Errorf("%w: %w", ErrUnavailable, err))
		return nil // the state is not ahead of the log
	}
	if end > position && !w.idle(ctx, end) {
		err := fmt.Errorf("%w: it ends at offset %d, %d was expected", errForeign, end, position)
		w.answer(batch, nil, fmt.Errorf("%w: %w", ErrUnavailable, err))
		return err
	}
	w.answer(batch, results, nil)
	return nil
}

// idle says whether what the log holds beyond the state, up to its end, is nothing that counts.
func (w *Writer) idle(ctx context.Context, end int64) bool {
	ctx, cancel := context.WithTimeout(ctx, leaseTimeout)
	defer cancel()
	last := w.lastEvent()
	if committed, err := w.leases.end(ctx); err != nil || committed < end {
		return false
	}
	return w.completeState(ctx) == nil && w.lastEvent() == last && w.position.Load() >= end
}

// errForeign: what was written is in the log, and so is something that the state does not hold.
var errForeign = errors.New("the log holds what was not written here")

// dated says of a record that the state remembers its offset.
func dated(rec *kgo.Record) bool {
	return slices.ContainsFunc(rec.Headers, func(h kgo.RecordHeader) bool {
		if h.Key != record.HeaderType {
			return false
		}
		ceType := string(h.Value)
		return ceType == event.TypeProfileDefined || ceType == event.TypeMetricAdded || ceType == event.TypeSchemaDefined
	})
}

// append writes records that the state holds already, from an offset on, and passes the transaction's end.
func (w *Writer) append(ctx context.Context, out *eventlog.Writer, state *decide.State, first int64, records []*kgo.Record) error {
	if len(records) == 0 {
		return nil
	}
	write, cancel := context.WithTimeout(context.WithoutCancel(ctx), writeTimeout)
	defer cancel()
	if err := out.Append(write, records); err != nil {
		return err
	}
	last := records[len(records)-1]
	if records[0].Offset != first || last.Offset != first+int64(len(records))-1 {
		// Some brokers give an offset to a transaction's beginning, and what does not chain takes one too. No reader of
		// the log sees an event there: whoever could have written one has the place, and then this was not taken.
		w.lead = max(0, records[0].Offset-(first-w.lead))
		if slices.ContainsFunc(records, dated) {
			// Revisions are offsets: the state has others than every reader of the log.
			return fmt.Errorf("%w: offset %d was to be %d", errForeign, records[0].Offset, first)
		}
	}
	state.Stand(last.Offset + 2) // the transaction's end takes one
	w.position.Store(state.Offset())
	return nil
}

func (w *Writer) answer(batch []*request, results []result, err error) {
	for i, r := range batch {
		if err != nil {
			r.done <- result{err: err}
			continue
		}
		r.done <- results[i]
	}
}
