package replay

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"sync"

	"muster.dev/proto/record"
	"muster.dev/services/anomaly/census"
	"muster.dev/services/anomaly/judge"
	"muster.dev/services/anomaly/page"
	"muster.dev/services/anomaly/shard"
)

// Settings are what the folds are made with.
type Settings struct {
	Partitions int32
	Shard      shard.Settings
	Judge      judge.Settings
	// Other says that these are not the settings with which the log was written: pages may differ from those written.
	Other bool
}

// DefaultSettings are the service's, for a log of so many partitions.
func DefaultSettings(partitions int32) Settings {
	return Settings{Partitions: partitions, Shard: shard.DefaultSettings(), Judge: judge.DefaultSettings()}
}

// Start is where a replay begins: each fold's state, or its beginning, and the offsets that follow it. The zero value is
// the beginning of the log, and what the detector said then is not looked at.
type Start struct {
	Shards []ShardStart `json:"shards"` // one a partition, in order; none: all begin anew
	Judge  JudgeStart   `json:"judge"`
	// Pages says that the pages that were written are in the log: they say how far the registry's log was read at each,
	// and what is folded again is held against them.
	Pages bool `json:"pages"`
}

// ShardStart is a shard's.
type ShardStart struct {
	Snapshot  bool  `json:"snapshot"` // its state is under snapshots/shard-N; else it begins anew
	Telemetry int64 `json:"telemetry"`
	Events    int64 `json:"events"`
	Registry  int64 `json:"registry"`
	Pages     int64 `json:"pages"` // of muster.cohorts.v1: the first that the judge had not judged, or that follows the state
}

// JudgeStart is the judge's.
type JudgeStart struct {
	Snapshot bool  `json:"snapshot"` // its state is under snapshots/judge
	Registry int64 `json:"registry"`
}

func (s *Start) shard(part int32) ShardStart {
	if len(s.Shards) == 0 {
		return ShardStart{}
	}
	return s.Shards[part]
}

// States gives the states that a Start names.
type States interface {
	// State opens snapshots/shard-N or snapshots/judge.
	State(ctx context.Context, name string) (io.ReadCloser, error)
}

// Differs says that a shard's page is not the one that was written.
type Differs struct {
	Part  int32
	N     uint64
	Until int64
}

func (d *Differs) Error() string {
	return fmt.Sprintf("partition %d: page %d is not the one that was written: another version of the detector wrote it, or other settings", d.Part, d.N)
}

// Run folds the log, from start to its end, and gives each record that the judge would write to emit, in order. ErrEnough from
// emit ends it without an error. It keeps a few hundred records of each partition in memory, and the folds' states.
func Run(ctx context.Context, log Log, states States, s Settings, start Start, emit func(judge.Out) error) error {
	if len(start.Shards) != 0 && len(start.Shards) != int(s.Partitions) {
		return fmt.Errorf("replay %d partitions from %d states", s.Partitions, len(start.Shards))
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var wait sync.WaitGroup
	defer wait.Wait()
	defer cancel(nil) // before it waits
	r := &run{log: log, states: states, set: s, start: start, side: wait.Go}
	ahead := max(1, min(pagesAhead, pagesInAll/int(s.Partitions)))
	pages := make([]chan paged, s.Partitions)
	for part := range s.Partitions {
		pages[part] = make(chan paged, ahead)
		wait.Go(func() {
			defer close(pages[part])
			if err := folding(func() error { return r.shard(ctx, part, pages[part]) }); err != nil {
				cancel(err)
			}
		})
	}
	err := folding(func() error { return r.judge(ctx, pages, emit) })
	if cause := context.Cause(ctx); cause != nil && (err == nil || errors.Is(err, context.Canceled)) {
		err = cause
	}
	if errors.Is(err, ErrEnough) {
		return nil
	}
	return err
}

// pagesAhead is how far a shard may be ahead of the judge, and all of them together.
const pagesAhead, pagesInAll = 64, 2_048

// folding says that a fold panicked where states and records come from who knows where: it is their fault, and no crash.
func folding(fold func() error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("the states and the log do not go together: %v", p)
		}
	}()
	return fold()
}

type run struct {
	log    Log
	states States
	set    Settings
	start  Start
	side   func(func()) // a goroutine that Run waits for
}

// paged is a page and where it lies.
type paged struct {
	page   *page.Page
	offset int64
}

// restore reads a state into a fold.
func (r *run) restore(ctx context.Context, name string, into func(io.Reader) error) error {
	in, err := r.states.State(ctx, name)
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	if err := errors.Join(into(in), in.Close()); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return nil
}

// feeder tells one shard what its partition holds.
type feeder struct {
	part     int32
	fold     *shard.State
	inputs   [2]*stream // by shard.Topic
	ended    [2]bool
	registry *stream
	written  *stream // pages; nil: not looked at
	next     *told   // of written, the one that is to be cut next
	// mayDiffer says that the pages are asked with other settings: only their times must be those of the written ones.
	mayDiffer bool
}

// told is a page that was written. It is read whole only if that is asked: a fold makes the same one, mostly.
type told struct {
	page.Head
	rec *Record
}

func (t *told) whole() (paged, error) {
	p, err := page.Decode(t.rec.Headers, t.rec.Value)
	if err != nil {
		return paged{}, fmt.Errorf("the page at offset %d: %w", t.rec.Offset, err)
	}
	return paged{p, t.rec.Offset}, nil
}

func stateName(part int32) string { return fmt.Sprintf("snapshots/shard-%d", part) }

func (r *run) shard(ctx context.Context, part int32, out chan<- paged) error {
	fold, err := shard.New(part, r.set.Partitions, r.set.Shard)
	if err != nil {
		return err
	}
	at := r.start.shard(part)
	if at.Snapshot {
		if err := r.restore(ctx, stateName(part), fold.Restore); err != nil {
			return err
		}
	}
	f := &feeder{part: part, fold: fold, mayDiffer: r.set.Other, registry: pull(ctx, r.log, record.TopicRegistry, 0, at.Registry, r.side)}
	f.inputs[shard.Telemetry] = pull(ctx, r.log, record.TopicTelemetry, part, at.Telemetry, r.side)
	f.inputs[shard.Events] = pull(ctx, r.log, record.TopicEvents, part, at.Events, r.side)
	send := func(p paged) error {
		select {
		case out <- p:
			return nil
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	if r.start.Pages {
		f.written = pull(ctx, r.log, record.TopicCohorts, part, at.Pages, r.side)
		// What was judged after the judge's state and before the shard's is as it was written.
		for {
			if err := f.look(); err != nil {
				return err
			}
			if f.next == nil || f.next.Until > fold.Until() {
				break
			}
			was, err := f.next.whole()
			if err != nil {
				return err
			}
			if err := send(was); err != nil {
				return err
			}
			f.next = nil
		}
	}
	for {
		goesOn, err := f.step()
		if err != nil || !goesOn {
			return err
		}
		for _, p := range fold.Pages() {
			got := paged{p, int64(p.N) - 1}
			if f.written != nil {
				if got, err = f.same(p); err != nil {
					return err
				}
			}
			if err := send(got); err != nil {
				return err
			}
		}
	}
}

// look reads the next written page, if that is not known.
func (f *feeder) look() error {
	if f.next != nil {
		return nil
	}
	rec, err := f.written.head()
	if err != nil || rec == nil {
		return err
	}
	f.written.pop()
	head, err := page.DecodeHead(rec.Headers, rec.Value)
	if err != nil {
		return fmt.Errorf("the page at offset %d: %w", rec.Offset, err)
	}
	if head.Part != f.part {
		return fmt.Errorf("the page at offset %d of partition %d is of partition %d", rec.Offset, f.part, head.Part)
	}
	f.next = &told{head, rec}
	return nil
}

// step tells the shard one thing more. It says false when there is nothing more to tell.
func (f *feeder) step() (goesOn bool, err error) {
	if f.fold.Asks() {
		return f.answer()
	}
	topic, rec, err := f.pick()
	if err != nil || rec == nil {
		return false, err
	}
	f.inputs[topic].pop()
	h := shard.Heard{Time: rec.Time, Offset: rec.Offset, Key: rec.Key, Value: rec.Value, Type: ceType(rec)}
	if topic == shard.Telemetry {
		f.fold.Telemetry(h)
	} else {
		f.fold.Events(h)
	}
	return true, nil
}

func ceType(r *Record) string {
	for _, h := range r.Headers {
		if h.Key == record.HeaderType {
			return string(h.Value)
		}
	}
	return ""
}

// pick gives the record that is next by time: so neither topic is read far ahead of the other. At the end of one the shard is
// told that nothing more comes of it.
func (f *feeder) pick() (shard.Topic, *Record, error) {
	var heads [2]*Record
	for topic := range heads {
		rec, err := f.inputs[topic].head()
		if err != nil {
			return 0, nil, err
		}
		if heads[topic] = rec; rec == nil && !f.ended[topic] {
			f.ended[topic] = true
			f.fold.Known(shard.Topic(topic), math.MaxInt64)
			if f.fold.Asks() {
				if goesOn, err := f.answer(); err != nil || !goesOn {
					return 0, nil, err
				}
			}
		}
	}
	t, e := heads[shard.Telemetry], heads[shard.Events]
	if t == nil || e != nil && e.Time < t.Time {
		return shard.Events, e, nil
	}
	return shard.Telemetry, t, nil
}

// answer tells the shard of the registry's log as far as it had been read when the page was cut, or to its end.
func (f *feeder) answer() (goesOn bool, err error) {
	end := int64(math.MaxInt64)
	if f.written != nil {
		if err := f.look(); err != nil {
			return false, err
		}
		if f.next == nil {
			return false, nil // what was not written cannot be repeated
		}
		end = f.next.Registry
	}
	err = upTo(f.registry, end, f.fold.Registry)
	if err == nil {
		f.fold.Answer(end)
	}
	return err == nil, err
}

// upTo tells what lies below an offset of the registry's log.
func upTo(registry *stream, end int64, tell func(census.Record)) error {
	for {
		rec, err := registry.head()
		if err != nil || rec == nil || rec.Offset >= end {
			return err
		}
		registry.pop()
		tell(census.Record{Offset: rec.Offset, Time: rec.Time, Headers: rec.Headers, Value: rec.Value})
	}
}

// same gives the written page in the place of the one that was cut, if it is the same.
func (f *feeder) same(p *page.Page) (paged, error) {
	if err := f.look(); err != nil {
		return paged{}, err
	}
	if f.next == nil {
		return paged{}, ErrEnough
	}
	was := f.next
	f.next = nil
	// The numbers of a detector's epoch go on from those of the one before, and a page names the snapshot that was there then.
	p.N, p.Snapshot = was.N, was.Snapshot
	if f.mayDiffer {
		if p.Until != was.Until {
			return paged{}, &Differs{p.Part, p.N, p.Until}
		}
		return paged{p, was.rec.Offset}, nil
	}
	cut, _, err := p.Encode()
	if err != nil {
		return paged{}, err
	}
	if bytes.Equal(cut, was.rec.Value) {
		return paged{p, was.rec.Offset}, nil
	}
	// The same page may have been written by another hand.
	there, err := was.whole()
	if err != nil {
		return paged{}, err
	}
	written, _, err := there.page.Encode()
	if err != nil {
		return paged{}, err
	}
	if !bytes.Equal(cut, written) {
		return paged{}, &Differs{p.Part, p.N, p.Until}
	}
	return there, nil
}

// judge takes the shards' pages in turn, until one of them has no more.
func (r *run) judge(ctx context.Context, pages []chan paged, emit func(judge.Out) error) error {
	fold, err := judge.New(r.set.Partitions, r.set.Judge)
	if err != nil {
		return err
	}
	numbers := numberingOf(nil, r.set.Partitions)
	if r.start.Judge.Snapshot {
		err := r.restore(ctx, judgeState, func(in io.Reader) (err error) {
			fold, numbers, err = r.openJudge(in)
			return err
		})
		if err != nil {
			return err
		}
	}
	registry := pull(ctx, r.log, record.TopicRegistry, 0, r.start.Judge.Registry, r.side)
	for {
		for part := range r.set.Partitions {
			for fold.Waiting(part) == 0 {
				var p paged
				var ok bool
				select {
				case p, ok = <-pages[part]:
				case <-ctx.Done():
					return context.Cause(ctx)
				}
				if !ok {
					return nil
				}
				told := *p.page
				told.N = numbers.of(part, told.N)
				if err := fold.Page(&told, p.offset); err != nil {
					return err
				}
				if err := r.told(fold, registry, emit); err != nil {
					return err
				}
			}
		}
	}
}

// told gives the judge what it wants of the registry's log, and hands on what it says.
func (r *run) told(fold *judge.State, registry *stream, emit func(judge.Out) error) error {
	for wants := int64(-1); wants != fold.Wants(); {
		wants = fold.Wants()
		if err := upTo(registry, wants, fold.Registry); err != nil {
			return err
		}
		fold.Known(wants)
	}
	for _, out := range fold.Out() {
		if err := emit(out); err != nil {
			return err
		}
	}
	return nil
}

// openJudge reads a judge's state. With other settings it goes on with what it has learnt: what would have been said is asked
// of the same baselines.
func (r *run) openJudge(in io.Reader) (*judge.State, numbering, error) {
	whole, err := io.ReadAll(io.LimitReader(in, maxState))
	if err != nil {
		return nil, numbering{}, err
	}
	fold, err := judge.Open(bytes.NewReader(whole))
	if err != nil {
		return nil, numbering{}, err
	}
	if at, _ := fold.Position(); len(at) != int(r.set.Partitions) {
		return nil, numbering{}, fmt.Errorf("it is of %d partitions, the log has %d", len(at), r.set.Partitions)
	}
	return fold, numberingOf(whole, r.set.Partitions), fold.Try(r.set.Judge)
}
