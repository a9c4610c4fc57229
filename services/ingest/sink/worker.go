package sink

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"muster.dev/services/ingest/sink/plan"
	"muster.dev/services/ingest/sink/rows"
	"muster.dev/services/ingest/sink/seen"
)

// partitionQueue is how many bytes of records wait for one worker before its partition is shut.
const partitionQueue = 8 << 20

// recordOverhead is what a record costs beside its value.
const recordOverhead = 256

// worker stores one partition, for as long as it is assigned. One goroutine runs it; the session's callbacks talk to
// it through push, finish and abandon.
type worker struct {
	place
	id    plan.TopicID
	ses   *session
	as    string // the member that the partition was given to
	sink  *Sink
	begin beginning
	gen   uint16
	seen  *seen.State

	keys    map[rows.Key]claim // memory of the last draft, for the next; of the worker's goroutine
	records []*kgo.Record
	stored  bool // a plan that this worker made has landed; of the worker's goroutine

	lease sync.Mutex // held over each commit; guards live
	live  bool

	ctx    context.Context // ends when the partition is abandoned
	cancel context.CancelCauseFunc
	stop   chan struct{} // closed: begin no new plan
	once   sync.Once
	done   chan struct{}

	mu     sync.Mutex // over queue, queued, gone and replay
	queue  []*kgo.Record
	queued int64
	gone   bool // the log does not hold what is to be fetched
	replay bool // the records of a plan are being gathered
	wake   chan struct{}

	shut bool // the valve's, under the session's lock
}

func newWorker(ses *session, at place, id plan.TopicID, b beginning) *worker {
	ctx, cancel := context.WithCancelCause(context.Background())
	member, _ := ses.cl.GroupMetadata()
	return &worker{
		place: at, id: id, as: member, ses: ses, sink: ses.sink, begin: b, live: true,
		ctx: ctx, cancel: cancel, stop: make(chan struct{}), done: make(chan struct{}), wake: make(chan struct{}, 1),
	}
}

func (w *worker) start() {
	w.sink.m.workers.Add(1)
	go func() {
		defer close(w.done)
		defer w.sink.m.workers.Add(-1)
		defer w.drop()
		err := w.run(w.ctx)
		if err == nil || w.ctx.Err() != nil {
			return
		}
		// Not stopped by the session, so the session still counts on it: begin anew.
		w.sink.log.Error("a partition stopped", "partition", w.place.String(), "error", err)
		w.ses.fail(fmt.Errorf("%s: %w", w.place, err))
	}()
}

// push takes polled records. It does not wait.
func (w *worker) push(records []*kgo.Record) {
	n := int64(0)
	for _, r := range records {
		n += size(r)
	}
	w.sink.budget.take(n)
	w.mu.Lock()
	w.queue = append(w.queue, records...)
	w.queued += n
	w.mu.Unlock()
	w.poke()
}

func size(r *kgo.Record) int64 { return int64(len(r.Value)) + recordOverhead }

// outOfRange says that the log does not hold the offset that is fetched.
func (w *worker) outOfRange() {
	w.mu.Lock()
	w.gone = true
	w.mu.Unlock()
	w.poke()
}

func (w *worker) poke() {
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

// finish asks the worker to end after the plan that it is sending.
func (w *worker) finish() {
	w.once.Do(func() { close(w.stop) })
	w.poke()
}

// abandon ends the worker where it stands and returns when it will not commit any more. The order of events: the ctx
// ends what waits, a commit under way holds the lease until it is answered or timed out, and after the lease was
// taken here none begins.
func (w *worker) abandon() {
	w.cancel(errLost)
	w.finish()
	w.lease.Lock()
	w.live = false
	w.lease.Unlock()
	<-w.done
}

// drop gives back what is held at the end.
func (w *worker) drop() {
	w.sink.underWay.end(w)
	w.mu.Lock()
	n := w.queued
	w.queue, w.queued = nil, 0
	w.mu.Unlock()
	w.sink.budget.give(n)
	w.sink.budget.settle(w)
	w.cancel(nil)
	w.ses.look()
}

// wantsShut is for the valve: whether nothing more should be fetched for now.
func (w *worker) wantsShut() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.replay && w.sink.budget.overdraw(w) {
		return false
	}
	return w.queued >= partitionQueue || w.sink.budget.full()
}

// errStopped ends a wait because no new plan is to be begun.
var errStopped = errors.New("asked to finish")

// next gives some records at or above offset from, waiting until the deadline (zero: without end). Nil records and
// no error is the deadline. The caller owns their bytes in the budget from here on.
func (w *worker) next(ctx context.Context, from int64, deadline time.Time) ([]*kgo.Record, error) {
	var timeout <-chan time.Time
	if !deadline.IsZero() {
		t := time.NewTimer(time.Until(deadline))
		defer t.Stop()
		timeout = t.C
	}
	for {
		w.mu.Lock()
		records, gone := w.queue, w.gone
		w.queue, w.queued = nil, 0
		w.mu.Unlock()
		for len(records) > 0 && records[0].Offset < from {
			w.sink.budget.give(size(records[0]))
			records = records[1:]
		}
		if len(records) > 0 {
			w.ses.look()
			return records, nil
		}
		if gone {
			return nil, errOutOfRange
		}
		select {
		case <-w.wake:
		case <-timeout:
			return nil, nil
		case <-w.stop:
			return nil, errStopped
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}

// unread puts records back that were not used.
func (w *worker) unread(records []*kgo.Record) {
	if len(records) == 0 {
		return
	}
	w.mu.Lock()
	for _, r := range records {
		w.queued += size(r)
	}
	w.queue = append(records[:len(records):len(records)], w.queue...)
	w.mu.Unlock()
	w.poke()
}

// run is the worker's life: find out where the partition stands, then plan after plan.
func (w *worker) run(ctx context.Context) error {
	w.sink.underWay.begin(w)
	at, err := w.recover(ctx)
	w.sink.underWay.end(w)
	for err == nil {
		at, err = w.storeOne(ctx, at)
	}
	var lost *dataLoss
	switch {
	case errors.Is(err, errStopped):
		return nil
	case errors.As(err, &lost):
		return w.park(ctx, lost)
	}
	return err
}

// park keeps a partition that lost data: it stores nothing, commits nothing and says so until it is taken away. To
// jump over a loss is an operator's decision.
func (w *worker) park(ctx context.Context, lost *dataLoss) error {
	gauge := w.sink.m.dataLoss.WithLabelValues(w.topic, fmt.Sprint(w.part))
	gauge.Set(float64(lost.to - lost.from))
	defer gauge.Set(0)
	w.sink.m.parked.Add(1)
	defer w.sink.m.parked.Add(-1)
	w.sink.alarm(alarmLoss, "the log does not hold records that are not stored; the partition stands still",
		"topic", w.topic, "partition", w.part, "from", lost.from, "to", lost.to-1)
	select {
	case <-ctx.Done():
	case <-w.stop:
	}
	return nil
}

// storeOne gathers a draft from offset at, makes it a plan and stores it. It returns the offset behind it.
func (w *worker) storeOne(ctx context.Context, at int64) (int64, error) {
	d, err := w.gather(ctx, at)
	defer d.release()
	if err != nil {
		return at, err
	}
	if err := d.resolve(ctx); err != nil {
		return at, err
	}
	p := plan.Plan{Topic: w.id, Part: w.part, From: at, To: d.to, Rev: d.rev, At: time.Now().UnixMilli(), Salt: w.begin.salt}
	w.sink.crash.at(atPlanResolved)
	if err := w.commit(ctx, plan.Mark{Topic: w.id, Part: w.part, Next: at, Open: &p}); err != nil {
		return at, err
	}
	w.sink.crash.at(atPlanCommitted)
	if err := w.land(ctx, p, d, false); err != nil {
		return at, err
	}
	if err := w.closePlan(ctx, p, d); err != nil {
		return at, err
	}
	w.stored = true
	return p.To + 1, nil
}

// closePlan commits behind a plan that has landed.
func (w *worker) closePlan(ctx context.Context, p plan.Plan, d *draft) error {
	w.sink.crash.soon(atCommitSent)
	if err := w.commit(ctx, plan.Mark{Topic: w.id, Part: w.part, Next: p.To + 1}); err != nil {
		return err
	}
	w.sink.crash.at(atCommitAcked)
	w.begin.salt = ""
	w.sink.underWay.end(w)
	d.settle(time.Now())
	return nil
}

// linger is how long a draft gathers. The first after a takeover has records that waited for the takeover already.
func (w *worker) linger() time.Duration {
	if w.stored {
		return w.sink.cfg.Linger
	}
	return w.sink.cfg.Linger / 5
}

// gather fills a draft until it is full, old enough, or its bytes are needed elsewhere.
func (w *worker) gather(ctx context.Context, at int64) (*draft, error) {
	d := w.sink.newDraft(w, at)
	var deadline time.Time
	for {
		records, err := w.next(ctx, d.to+1, deadline)
		switch {
		case errors.Is(err, errOutOfRange):
			return d, w.lossAt(ctx, d.to+1)
		case err != nil:
			return d, err
		case records == nil:
			return d, nil
		}
		if deadline.IsZero() {
			w.sink.underWay.begin(w)
			deadline = time.Now().Add(w.linger())
			if err := d.open(ctx, records[0]); err != nil {
				d.hold(records)
				return d, err
			}
		}
		used, full, err := d.fill(ctx, records)
		w.unread(records[used:])
		if err != nil {
			return d, err
		}
		if full || w.sink.budget.full() || !time.Now().Before(deadline) {
			return d, nil
		}
	}
}
