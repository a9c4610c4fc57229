package follow

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"muster.dev/platform/eventlog"
	"muster.dev/platform/outage"
	"muster.dev/platform/snapshot"
	"muster.dev/proto/record"
)

// errDiffers stops a line for good: what its detector says is not what the log holds. An operator looks, and begins a new
// epoch.
var errDiffers = errors.New("the log and the detector differ")

var registryLog = Place{Topic: record.TopicRegistry}

// line is one fold with its writer, in the hands of one goroutine.
type line struct {
	room   *Room
	kind   *kind
	part   int32
	parts  int32
	name   string // of its log lines and metrics
	out    Place
	inputs []Place
	place  snapshot.Place
	log    *slog.Logger

	standing standing // what others see of it

	life
}

// life is a line's, from the opening of the writer to the first error. Nobody else looks at it.
type life struct {
	writer *eventlog.Writer
	client *kgo.Client
	adm    *kadm.Client
	fold   Fold
	head   Head
	epoch  Epoch
	begun  bool               // the epoch's first output was said, so that shift is known
	own    uint64             // number of the last output as the fold counts
	shift  uint64             // from the fold's numbers to the topic's
	at     uint64             // number of the last output that was said
	last   uint64             // of the last on the topic
	lastAt int64              // its time
	sums   map[uint64]written // what is there, to be compared
	adopts bool               // the state is of the former epoch's detector until this one begins
	queue  []*kgo.Record      // said, and not written yet
	size   int                // of the queue, in bytes
	since  time.Time          // when the first of the queue was said
	fed    map[Place]int64
	ends   map[Place]int64
	shut   map[Place]bool
	read   int64 // records since the last snapshot
	asked  int64 // end of the registry's log that the fold waits for; -1: none
	taking taking
}

// Bounds of what is read and written at once.
const (
	pollRecords = 4096
	aheadOfAsk  = 2_000 // records of the registry's log that nobody has asked for yet
	maxQueue    = 500
	maxBytes    = 4 << 20
	flushAfter  = 200 * time.Millisecond
	look        = 500 * time.Millisecond // how often a line looks up when nothing comes
)

// run is the line's goroutine: one life after another until ctx ends.
func (l *line) run(ctx context.Context) {
	faults := outage.New(100*time.Millisecond, 10*time.Second)
	defer l.standing.leave()
	for {
		began := time.Now()
		err := l.guarded(ctx)
		if ctx.Err() != nil {
			return
		}
		if time.Since(began) > time.Minute {
			faults.Over()
		}
		switch {
		case errors.Is(err, errDiffers):
			l.standing.park(err)
			l.log.Error("the line stands still: see docs/runbooks/detector.md", "error", err)
			<-ctx.Done()
			return
		case errors.Is(err, errCrashed):
			return
		case errors.Is(err, eventlog.ErrFenced):
			// The group will say who owns it. If it is us, the other finds itself fenced in turn.
			l.room.m.fenced.Inc()
			l.log.Warn("another owner has taken over", "error", err)
		default:
			l.standing.fail(err)
			l.room.m.lives.WithLabelValues(l.kind.stage).Inc()
			l.log.Warn("begins again from its last snapshot", "error", err)
		}
		if !outage.Pause(ctx, faults.Next()) {
			return
		}
	}
}

// guarded keeps a record that a fold cannot bear from ending the other lines too.
func (l *line) guarded(ctx context.Context) (err error) {
	defer func() {
		if v := recover(); v != nil {
			l.log.Error("panic", "panic", fmt.Sprint(v), "stack", string(debug.Stack()))
			err = fmt.Errorf("panic: %v", v)
		}
	}()
	return l.live(ctx)
}

// live opens the writer, brings the state to where the topic ends, and goes on from there until something fails.
func (l *line) live(ctx context.Context) (err error) {
	l.standing.begin()
	writer, err := eventlog.OpenWriter(ctx, l.room.log, l.id())
	if err != nil {
		return err
	}
	l.life = life{
		writer: writer, asked: -1, sums: map[uint64]written{}, fed: map[Place]int64{}, ends: map[Place]int64{}, shut: map[Place]bool{},
		taking: taking{done: make(chan take, 1)},
	}
	defer func() { l.writer.Close() }() // which may be another by then
	if err := l.room.crash.at(atOpened); err != nil {
		return err
	}
	if l.client, err = kgo.NewClient(append(l.room.log.Options(),
		kgo.FetchIsolationLevel(kgo.ReadCommitted()),
		kgo.ConsumeResetOffset(kgo.NoResetOffset()),
		// The end of a transaction takes an offset too; without it the end of the registry's log is never reached.
		kgo.KeepControlRecords(),
		kgo.FetchMaxBytes(l.room.fetchBytes), kgo.FetchMaxPartitionBytes(l.room.fetchBytes),
		kgo.FetchMaxWait(time.Second),
		kgo.MaxConcurrentFetches(1),
	)...); err != nil {
		return fmt.Errorf("kafka client: %w", err)
	}
	defer l.client.Close()
	l.adm = kadm.NewClient(l.client)
	if err := l.recover(ctx); err != nil {
		return err
	}
	if err := l.room.crash.at(atRestored); err != nil {
		return err
	}
	var beside sync.WaitGroup
	takeCtx, stop := context.WithCancel(ctx)
	defer beside.Wait()
	defer stop()
	l.taking.ctx, l.taking.beside = takeCtx, &beside
	return l.follow(ctx)
}

func (l *line) id() string {
	if l.kind.stage == stageJudge {
		return l.room.cfg.Group + "-judge"
	}
	return fmt.Sprintf("%s-%d", l.room.cfg.Group, l.part)
}

// follow reads, says and writes.
func (l *line) follow(ctx context.Context) error {
	from := map[string]map[int32]kgo.Offset{}
	for _, in := range l.inputs {
		if from[in.Topic] == nil {
			from[in.Topic] = map[int32]kgo.Offset{}
		}
		from[in.Topic][in.Part] = kgo.NewOffset().At(l.fed[in])
	}
	l.client.AddConsumePartitions(from)
	if err := l.say(); err != nil {
		return err
	}
	if err := l.adopt(ctx); err != nil {
		return err
	}
	for {
		wait := look
		if len(l.queue) > 0 {
			wait = min(wait, max(time.Millisecond, flushAfter-time.Since(l.since)))
		}
		poll, cancel := context.WithTimeout(ctx, wait)
		fetches := l.client.PollRecords(poll, pollRecords)
		cancel()
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		n, err := l.feed(ctx, fetches)
		if err == nil {
			err = l.registry(ctx)
		}
		if err == nil && len(l.queue) > 0 && (n == 0 || len(l.queue) >= maxQueue || l.size >= maxBytes || time.Since(l.since) >= flushAfter) {
			err = l.flush(ctx)
		}
		if err == nil {
			err = l.snapshots(ctx)
		}
		if err != nil {
			return err
		}
		l.valve()
		l.report()
	}
}

// feed tells the fold what was read.
func (l *line) feed(ctx context.Context, fetches kgo.Fetches) (n int, err error) {
	fetches.EachPartition(func(p kgo.FetchTopicPartition) {
		in := Place{p.Topic, p.Partition}
		if p.Err != nil && !errors.Is(p.Err, context.DeadlineExceeded) && err == nil {
			err = fmt.Errorf("read %s: %w", in, p.Err)
		}
		l.ends[in] = max(l.ends[in], p.LastStableOffset)
		for _, rec := range p.Records {
			if err != nil {
				return
			}
			if rec.Offset < l.fed[in] {
				continue
			}
			l.fed[in] = rec.Offset + 1
			if rec.Attrs.IsControl() {
				continue
			}
			n++
			if err = l.fold.Take(rec); err != nil {
				err = fmt.Errorf("%s, offset %d: %w", in, rec.Offset, err)
			} else if l.adopts { // the epoch begins between two records
				if err = l.say(); err == nil {
					err = l.adopt(ctx)
				}
			}
		}
		if err == nil {
			l.fold.Reached(in, l.fed[in])
		}
	})
	l.read += int64(n)
	if err == nil {
		err = l.say()
	}
	return n, err
}

// registry tells the fold where the registry's log ends, when it asks. It may ask again at once.
func (l *line) registry(ctx context.Context) error {
	for l.asked >= 0 || l.fold.Asks() {
		if l.asked < 0 {
			// An output that is there says how far it had read.
			if was, ok := l.sums[l.own+1+l.shift]; ok && l.begun && l.kind.registry != nil {
				l.asked = was.registry
			} else if end, err := l.registryEnd(ctx); err == nil {
				l.asked = end
			} else {
				return err
			}
			l.fold.Expect(l.asked)
		}
		if l.fed[registryLog] < l.asked {
			return nil // it is being read
		}
		l.fold.Answer(l.asked)
		l.asked = -1
		if err := l.say(); err != nil {
			return err
		}
	}
	return nil
}

func (l *line) registryEnd(ctx context.Context) (int64, error) {
	ends, err := l.adm.ListCommittedOffsets(ctx, record.TopicRegistry)
	if err == nil {
		err = ends.Error()
	}
	if err != nil {
		return 0, fmt.Errorf("ask for the end of the registry's log: %w", err)
	}
	end, _ := ends.Lookup(record.TopicRegistry, 0)
	return end.Offset, nil
}

// say takes what the fold says: what the topic holds already is compared, the rest is to be written.
func (l *line) say() error {
	said, err := l.fold.Said()
	if err != nil {
		return err
	}
	for _, out := range said {
		if out.N != l.own+1 {
			return fmt.Errorf("output %d follows %d", out.N, l.own)
		}
		if !l.begun && out.At > l.epoch.After {
			l.count()
		}
		if l.own = out.N; !l.begun {
			continue
		}
		n := out.N + l.shift
		rec, err := out.Record(n)
		if err != nil {
			return fmt.Errorf("output %d: %w", n, err)
		}
		l.at = n
		if n <= l.last {
			if err := l.compare(n, rec); err != nil {
				return err
			}
			continue
		}
		rec.Topic, rec.Headers = l.out.Topic, append(rec.Headers, kgo.RecordHeader{Key: headerEpoch, Value: []byte(l.epoch.tag())})
		if rec.Key == nil {
			rec.Partition = l.out.Part
		}
		if len(l.queue) == 0 {
			l.since = time.Now()
		}
		l.queue, l.size = append(l.queue, rec), l.size+len(rec.Value)
	}
	if !l.begun && (l.epoch.After == wholeStart || l.fold.Clock() > l.epoch.After) {
		l.count()
	}
	return nil
}

// count begins the epoch's numbers: the next output is its first.
func (l *line) count() {
	l.begun, l.shift, l.at = true, l.epoch.First-1-l.own, l.epoch.First-1
}

// compare holds what is said now to what was written before.
func (l *line) compare(n uint64, rec *kgo.Record) error {
	l.room.m.regenerated.WithLabelValues(l.kind.stage).Inc()
	was, ok := l.sums[n]
	if !ok {
		return nil // the topic no longer holds it, or it is too long ago to be compared
	}
	delete(l.sums, n)
	if was.sum != sumOf(rec) {
		l.room.m.differs.Inc()
		return fmt.Errorf("%w: %s holds another output of number %d than detector %s says", errDiffers, l.out, n, l.epoch.Detector)
	}
	return nil
}

// written is what is known of an output on the topic.
type written struct {
	sum      [32]byte
	registry int64
}

// sumOf is what must be the same of an output whoever says it.
func sumOf(rec *kgo.Record) [32]byte {
	h := sha256.New()
	_, _ = fmt.Fprintf(h, "%d %d\n", len(rec.Key), len(rec.Value))
	h.Write(rec.Key)
	h.Write(rec.Value)
	return [32]byte(h.Sum(nil))
}

// valve stops the reading of an input that is far ahead of another.
func (l *line) valve() {
	for _, in := range l.inputs {
		ahead, held := l.fed[in]-max(l.fold.Next(in), 0), l.kind.held
		wanted := false
		if in == registryLog {
			if l.kind.registry == nil {
				continue // who does not ask is told all of it
			}
			wanted, held = l.asked >= 0 && l.fed[in] < l.asked, min(held, aheadOfAsk)
		}
		switch at := map[string][]int32{in.Topic: {in.Part}}; {
		case !l.shut[in] && ahead > held && !wanted:
			l.shut[in] = true
			l.client.PauseFetchPartitions(at)
		case l.shut[in] && (ahead <= held/2 || wanted):
			l.shut[in] = false
			l.client.ResumeFetchPartitions(at)
		}
	}
}

// report says to others how far the line is.
func (l *line) report() {
	behind := int64(0)
	for _, in := range l.inputs {
		if in == registryLog && l.shut[in] {
			continue // nobody has asked for more of it
		}
		behind += max(0, l.ends[in]-l.fed[in])
	}
	lag := int64(0)
	if clock := l.fold.Clock(); clock > 0 {
		lag = max(0, l.fold.Heard()-clock)
	}
	l.standing.say(behind, lag, l.at >= l.last)
}
