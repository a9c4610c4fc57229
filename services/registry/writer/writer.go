package writer

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kgo"

	"muster.dev/platform/eventlog"
	"muster.dev/platform/outage"
	"muster.dev/platform/principals"
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
)

// Settings is what code passes to New.
type Settings struct {
	Log     eventlog.Config
	Logger  *slog.Logger
	Metrics prometheus.Registerer
	Now     func() time.Time // nil is the wall clock
}

// Writer decides and writes. Its methods may be called from any goroutine.
type Writer struct {
	log      eventlog.Config
	logger   *slog.Logger
	metrics  *metrics
	now      func() time.Time
	requests chan *request

	// turn holds the state while nobody uses it, and nothing while the log is not folded: a lock that can be waited
	// for with a ctx.
	turn chan *decide.State
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
	w := &Writer{log: s.Log, logger: s.Logger, metrics: newMetrics(s.Metrics), now: s.Now,
		requests: make(chan *request, maxRound), turn: make(chan *decide.State, 1)}
	if w.now == nil {
		w.now = time.Now
	}
	return w
}

// Do has a command decided, and its events written, in the name of who. A nil error says that the outcome stands in
// the log. A *decide.Refusal says that nothing was written; ErrUnavailable leaves it open.
func (w *Writer) Do(ctx context.Context, who, why string, command decide.Command) (decide.Outcome, error) {
	r := &request{ctx: ctx, who: who, why: why, command: command, done: make(chan result, 1)}
	select {
	case w.requests <- r:
	case <-ctx.Done():
		return decide.Outcome{}, fmt.Errorf("%w: %w", ErrUnavailable, context.Cause(ctx))
	}
	select {
	case out := <-r.done:
		return out.outcome, out.err
	case <-ctx.Done():
		return decide.Outcome{}, fmt.Errorf("%w: %w", ErrUnavailable, context.Cause(ctx))
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

// Ready says whether commands are decided at once: nil once the log is folded.
func (w *Writer) Ready() error {
	if w.metrics.folded.Load() {
		return nil
	}
	return errors.New("the registry's log is not folded yet")
}

// Run takes the writer's place and serves until ctx ends. It returns eventlog.ErrFenced when another writer has taken
// the place; every other fault of the log is waited out.
func (w *Writer) Run(ctx context.Context) error {
	faults := outage.New(50*time.Millisecond, 2*time.Second)
	for {
		err := w.reign(ctx, faults.Over)
		switch {
		case errors.Is(err, eventlog.ErrFenced):
			return fmt.Errorf("registry's log: %w", err)
		case ctx.Err() != nil:
			return nil
		}
		w.metrics.refolds.Inc()
		w.logger.Warn("the registry's log fails; taking the writer's place again", "error", err)
		if !outage.Pause(ctx, faults.Next()) {
			return nil
		}
	}
}

// reign opens, folds and serves until something fails.
func (w *Writer) reign(ctx context.Context, caughtUp func()) error {
	out, err := eventlog.OpenWriter(ctx, w.log, TransactionalID)
	if err != nil {
		return err
	}
	defer out.Close()
	state, err := w.fold(ctx)
	if err != nil {
		return err
	}
	caughtUp()
	w.turn <- state
	w.metrics.folded.Store(true)
	defer w.metrics.folded.Store(false)
	for {
		select {
		case <-ctx.Done():
			<-w.turn // a reader has it at most
			return nil
		case first := <-w.requests:
			if err := w.round(ctx, out, w.gather(first)); err != nil {
				return err // and the state is gone with it
			}
		}
	}
}

func (w *Writer) fold(ctx context.Context) (*decide.State, error) {
	began := time.Now()
	state := decide.NewState()
	err := eventlog.Tail(ctx, w.log, eventlog.TailSettings{Topics: []string{record.TopicRegistry}}, func(rec *kgo.Record) error {
		if err := state.Apply(rec); err != nil {
			// Not ours, or damaged: ignored as every reader ignores it, and told.
			w.metrics.ignored.Inc()
			w.logger.Error("a record of the registry's log is ignored", "offset", rec.Offset, "error", err)
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("fold the registry's log: %w", err)
	}
	w.logger.Info("folded the registry's log", "events", state.Last(), "took", time.Since(began))
	return state, nil
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
		for _, e := range outcome.Events {
			rec, err := state.Extend(now, r.who, r.why, e)
			if err != nil {
				err = fmt.Errorf("decide made an event that does not fold: %w", err)
				w.answer(batch, nil, err)
				return err
			}
			records = append(records, rec)
		}
	}
	write, cancel := context.WithTimeout(context.WithoutCancel(ctx), writeTimeout)
	defer cancel()
	if err := out.Append(write, records); err != nil {
		w.metrics.failed.Inc()
		w.answer(batch, nil, fmt.Errorf("%w: %w", ErrUnavailable, err))
		return err
	}
	w.turn <- state
	w.metrics.events.Add(float64(len(records)))
	w.answer(batch, results, nil)
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
