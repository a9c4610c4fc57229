package roster

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"muster.dev/platform/eventlog"
	"muster.dev/platform/snapshot"
	"muster.dev/proto/record"
)

// ErrLost is in the error of a roster whose log is no longer the one that it read: it was cut at its start, set
// back, or deleted and made again. The roster keeps what it knew, grows old, and needs an operator.
var ErrLost = errors.New("the registry's log is not the one that was read")

// Never is the Age of a roster that has not yet reached the end of the log.
const Never = time.Duration(math.MaxInt64)

// partition of the registry's log: it has one.
const partition = 0

const (
	stepAsk   = "ask"
	stepFetch = "fetch"
	stepLost  = "lost"
)

// Settings is what code passes to Follow.
type Settings struct {
	Registerer prometheus.Registerer // nil: metrics are kept by nobody
	Log        *slog.Logger          // nil: silence
	Poll       time.Duration         // how often the log is asked for its end; 0 is 500 ms
	// Snapshot has Run begin with the newest snapshot that the log names, if it is in order. Watchers then do not see
	// the events before it.
	Snapshot bool
}

// Roster is a State that keeps up with the log. All methods but Run may be called from any goroutine at any time;
// reads take a read lock for the time of a map look-up.
type Roster struct {
	client  *kgo.Client
	log     *slog.Logger
	poll    time.Duration
	begin   eventlog.Config // of the log to begin with a snapshot; without brokers there is none
	metrics *metrics
	closing sync.Once
	version atomic.Uint64

	mu       sync.RWMutex // over the rest
	state    *State
	position int64         // offset of the next record
	moved    chan struct{} // closed, and made anew, by wake
	asks     []ask         // answered asks whose end is not reached yet, oldest first
	caughtUp time.Time     // instant of the last ask whose end was reached; zero before the first
	lost     error
	watchers map[int]func(Change)
	watchNo  int
}

// ask is one question for the end of the log: when it was put, and the answer.
type ask struct {
	at  time.Time
	end int64
}

// Follow prepares a roster; Run makes it follow. The log need not be there yet.
func Follow(cfg eventlog.Config, s Settings) (*Roster, error) {
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("kafka: %w", err)
	}
	if s.Poll == 0 {
		s.Poll = 500 * time.Millisecond
	}
	if s.Registerer == nil {
		s.Registerer = prometheus.NewRegistry()
	}
	if s.Log == nil {
		s.Log = slog.New(slog.NewJSONHandler(io.Discard, nil))
	}
	client, err := kgo.NewClient(append(cfg.Options(),
		kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{record.TopicRegistry: {partition: kgo.NewOffset().At(0)}}),
		kgo.FetchIsolationLevel(kgo.ReadCommitted()),
		// An offset that is out of range means that history is gone: never jump over it.
		kgo.ConsumeResetOffset(kgo.NoResetOffset()),
		// The end of a transaction takes an offset, and the position must reach it.
		kgo.KeepControlRecords(),
		kgo.FetchMaxWait(time.Second),
		// A broker that swallowed a request is asked anew soon after it is back.
		kgo.RequestTimeoutOverhead(2*time.Second),
	)...)
	if err != nil {
		return nil, fmt.Errorf("kafka client of the roster: %w", err)
	}
	r := &Roster{client: client, log: s.Log, poll: s.Poll, state: NewState(), moved: make(chan struct{}), watchers: map[int]func(Change){}}
	if s.Snapshot {
		r.begin = cfg
	}
	if r.metrics, err = newMetrics(r, s.Registerer); err != nil {
		client.Close()
		return nil, err
	}
	return r, nil
}

// Close lets go of what Follow holds. Run does it too, so only a roster that never ran needs it.
func (r *Roster) Close() {
	r.closing.Do(func() {
		r.client.Close()
		r.metrics.unregister()
	})
}

// Run follows the log until ctx ends, and returns its error. It may be called once. Faults of the log are ridden
// out, and seen in Age; a lost log is reported, see Err.
func (r *Roster) Run(ctx context.Context) error {
	defer r.Close()
	var asking sync.WaitGroup
	defer asking.Wait()
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	asking.Go(func() { r.askOn(ctx) })

	if len(r.begin.Brokers) > 0 {
		r.restore(ctx)
	}
	var said string // the last fault, so that an outage is one line in the log
	for {
		fetches := r.client.PollFetches(ctx)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		fetches.EachError(func(_ string, _ int32, err error) {
			if errors.Is(err, kerr.OffsetOutOfRange) || errors.Is(err, kerr.UnknownTopicID) {
				r.lose(fmt.Errorf("%w: offset %d cannot be read: %w", ErrLost, r.Position(), err))
				return
			}
			r.metrics.failed.WithLabelValues(stepFetch).Inc()
			if said != err.Error() {
				said = err.Error()
				r.log.Warn("the registry's log cannot be read", "error", err)
			}
		})
		if fetches.NumRecords() > 0 {
			said = ""
		}
		fetches.EachPartition(func(p kgo.FetchTopicPartition) { r.take(p.Records) })
		if fetches.NumRecords() == 0 && fetches.Err() != nil {
			// kgo hands a fault that it cannot mend back at once, each time.
			select {
			case <-ctx.Done():
			case <-time.After(r.poll):
			}
		}
	}
}

// restore begins with a snapshot instead of the log's start, if there is one in order.
func (r *Roster) restore(ctx context.Context) {
	began := time.Now()
	state, next, err := snapshot.Load(ctx, r.begin, func(in io.Reader) (*State, error) { return ReadState(snapshot.NewReader(in), nil) })
	if err != nil {
		if ctx.Err() == nil {
			r.log.Info("the registry's log is read from its start", "because", err)
		}
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.state, r.position = state, next
	r.client.SetOffsets(map[string]map[int32]kgo.EpochOffset{record.TopicRegistry: {partition: {Epoch: -1, Offset: next}}})
	r.version.Add(1)
	r.wake()
	r.log.Info("began with a snapshot of the registry", "offset", next, "devices", state.Counts().Devices, "took", time.Since(began))
}

// take folds a batch of records in, under one lock, and tells the watchers afterwards.
func (r *Roster) take(records []*kgo.Record) {
	if len(records) == 0 {
		return
	}
	var changes []Change
	r.mu.Lock()
	if r.lost != nil {
		r.mu.Unlock()
		return
	}
	for _, rec := range records {
		if rec.Offset < r.position {
			continue // fetched before a snapshot was begun with
		}
		r.position = rec.Offset + 1
		if rec.Attrs.IsControl() {
			continue
		}
		change, err := r.state.ApplyRecord(rec)
		if err != nil {
			reason := reasonOf(err)
			r.metrics.ignored.WithLabelValues(string(reason)).Inc()
			r.log.Error("a record of the registry's log is ignored", "offset", rec.Offset, "reason", reason, "error", err)
			continue
		}
		r.metrics.applied.Inc()
		r.version.Add(1)
		if len(r.watchers) > 0 {
			changes = append(changes, change)
		}
	}
	r.reached()
	r.wake()
	watchers := make([]func(Change), 0, len(r.watchers))
	for _, fn := range r.watchers {
		watchers = append(watchers, fn)
	}
	r.mu.Unlock()

	for _, change := range changes {
		for _, fn := range watchers {
			fn(change)
		}
	}
}

// wake lets everyone who waits look again. Call it with the lock held.
func (r *Roster) wake() {
	close(r.moved)
	r.moved = make(chan struct{})
}

// reached settles the asks whose end the position has reached. Call it with the lock held.
func (r *Roster) reached() {
	if r.caughtUp.IsZero() && len(r.asks) > 0 && r.asks[0].end <= r.position {
		r.wake()
	}
	for len(r.asks) > 0 && r.asks[0].end <= r.position {
		r.caughtUp = r.asks[0].at
		r.asks = r.asks[1:]
	}
}

func (r *Roster) askOn(ctx context.Context) {
	adm := kadm.NewClient(r.client)
	tick := time.NewTicker(r.poll)
	defer tick.Stop()
	var id kadm.TopicID // of the log that is being read
	for {
		if err := r.askOnce(ctx, adm, &id); err != nil && ctx.Err() == nil {
			r.metrics.failed.WithLabelValues(stepAsk).Inc()
			r.log.Debug("the registry's log does not tell its end", "error", err)
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// maxAsks bounds the asks that wait for a reader that has fallen behind. Beyond it no new ones are kept: Age is
// then told from older ones, never too young.
const maxAsks = 64

func (r *Roster) askOnce(ctx context.Context, adm *kadm.Client, id *kadm.TopicID) error {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	at, position := time.Now(), r.Position() // before the question: the answer may be as old
	topics, err := adm.ListTopics(ctx, record.TopicRegistry)
	if err == nil {
		err = topics[record.TopicRegistry].Err
	}
	if err != nil {
		return fmt.Errorf("ask for the topic: %w", err)
	}
	ends, err := adm.ListCommittedOffsets(ctx, record.TopicRegistry)
	if err == nil {
		err = ends.Error()
	}
	if err != nil {
		return fmt.Errorf("ask for the end: %w", err)
	}
	end, ok := ends.Lookup(record.TopicRegistry, partition)
	if !ok {
		return errors.New("ask for the end: no partition in the answer")
	}
	now := topics[record.TopicRegistry].ID
	if *id == (kadm.TopicID{}) {
		*id = now
	}
	switch {
	case now != *id:
		r.lose(fmt.Errorf("%w: the topic was made again, its id was %x and is %x", ErrLost, *id, now))
		return nil
	case end.Offset < position:
		r.lose(fmt.Errorf("%w: it ends at offset %d and was read to %d", ErrLost, end.Offset, position))
		return nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.lost == nil && len(r.asks) < maxAsks {
		r.asks = append(r.asks, ask{at: at, end: end.Offset})
		r.reached()
	}
	return nil
}

// lose ends the following for good.
func (r *Roster) lose(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.lost != nil {
		return
	}
	r.lost = err
	r.asks = nil
	r.wake()
	r.metrics.failed.WithLabelValues(stepLost).Inc()
	r.log.Error("the registry's log is lost", "error", err)
}

// Ready says that the end of the log was reached once. It stays true: how old the knowledge is, is Age.
func (r *Roster) Ready() bool {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return !r.caughtUp.IsZero()
}

// Err is what ended the following for good, with ErrLost in it; nil as long as it goes on.
func (r *Roster) Err() error {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.lost
}

// Check is a readiness check: an error when the log is lost, or the end was not known to be reached for longer
// than limit.
func (r *Roster) Check(limit time.Duration) error {
	if err := r.Err(); err != nil {
		return err
	}
	switch age := r.Age(); {
	case age == Never:
		return errors.New("the registry's log is still being read for the first time")
	case age > limit:
		return fmt.Errorf("what is known of the registry is %v old", age.Round(100*time.Millisecond))
	}
	return nil
}

// Age is how old the roster's knowledge may be: the time since the end of the log was asked for and then reached;
// Never before the first time. In good health it lies between nothing and a little over the poll's interval.
func (r *Roster) Age() time.Duration {
	r.mu.RLock()
	defer r.mu.RUnlock()
	if r.caughtUp.IsZero() {
		return Never
	}
	return time.Since(r.caughtUp)
}

func (r *Roster) ageSeconds() float64 {
	if age := r.Age(); age != Never {
		return age.Seconds()
	}
	return math.Inf(1)
}

// Position is the offset of the next record of the registry's log.
func (r *Roster) Position() int64 {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.position
}

// waitFor blocks until held (called with the read lock) says so, ctx ends or the log is lost.
func (r *Roster) waitFor(ctx context.Context, what string, held func() bool) error {
	for {
		r.mu.RLock()
		ok, lost, moved := held(), r.lost, r.moved
		r.mu.RUnlock()
		switch {
		case ok:
			return nil
		case lost != nil:
			return fmt.Errorf("wait for %s: %w", what, lost)
		}
		select {
		case <-moved:
		case <-ctx.Done():
			return fmt.Errorf("wait for %s: %w", what, context.Cause(ctx))
		}
	}
}

// WaitRev blocks until everything up to revision rev is known.
func (r *Roster) WaitRev(ctx context.Context, rev uint64) error {
	return r.waitFor(ctx, fmt.Sprintf("revision %d of the registry", rev), func() bool { return uint64(r.position) >= rev })
}

// WaitTopicGen blocks until the registry has given the topic a generation, and returns it.
func (r *Roster) WaitTopicGen(ctx context.Context, id [16]byte) (uint16, error) {
	var gen uint16
	err := r.waitFor(ctx, fmt.Sprintf("the generation of topic %x", id), func() (ok bool) {
		gen, ok = r.state.TopicGen(id)
		return ok
	})
	return gen, err
}

// WaitReady blocks until the end of the log was reached once.
func (r *Roster) WaitReady(ctx context.Context) error {
	return r.waitFor(ctx, "the end of the registry's log", func() bool { return !r.caughtUp.IsZero() })
}

// Watch calls fn with each event after it was folded in, one after another, from Run's goroutine: fn must not
// block. The returned function ends it; a call that is under way may still finish.
func (r *Roster) Watch(fn func(Change)) (stop func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.watchNo++
	no := r.watchNo
	r.watchers[no] = fn
	return func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		delete(r.watchers, no)
	}
}
