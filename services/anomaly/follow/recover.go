package follow

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"muster.dev/platform/eventlog"
	"muster.dev/platform/snapshot"
)

// Why an epoch begins.
const (
	whyFirst    = "first"    // there was nothing
	whyDetector = "detector" // the detector is another one
	whyLoss     = "loss"     // the log no longer holds what comes after the state
	whyUnknown  = "unknown"  // nothing is known of the last output's epoch
)

// maxCompared is how many outputs back a line compares what it says with what it said.
const maxCompared = 20_000

// recover brings the line to where it reads on.
func (l *line) recover(ctx context.Context) error {
	bounds, err := l.bounds(ctx)
	if err != nil {
		return err
	}
	before, err := l.before(ctx, func(found []*kgo.Record) bool { return len(found) > 0 })
	if err != nil {
		return err
	}
	if value, ok, err := l.place.Headed(ctx, l.room.log); err != nil {
		return err
	} else if ok {
		if l.head, err = DecodeHead(value); err != nil {
			l.log.Error("the head of the snapshots cannot be read", "error", err)
		}
	}
	tag := ""
	if len(before) > 0 {
		rec := before[len(before)-1]
		if l.last, l.lastAt, err = l.kind.number(rec); err != nil {
			return fmt.Errorf("%s, offset %d: %w", l.out, rec.Offset, err)
		}
		tag = tagOf(rec)
	}
	known := l.current(tag)
	switch {
	case len(before) == 0 && len(l.head.Epochs) == 0:
		return l.begin(ctx, whyFirst, bounds)
	case len(before) == 0 && !known:
		// What was written is too old to be kept. The numbers go on behind all that the head knows of.
		for _, e := range l.head.Epochs {
			l.last = max(l.last, e.First)
		}
		for _, t := range l.head.Snapshots {
			l.last, l.lastAt = max(l.last, t.N), max(l.lastAt, t.Clock)
		}
		return l.begin(ctx, whyLoss, bounds)
	case known && l.epoch.Detector != l.room.detector(l.kind):
		return l.begin(ctx, whyDetector, bounds)
	case !known:
		return l.begin(ctx, whyUnknown, bounds)
	}
	taken, err := l.restore(ctx, func(t Taken) bool { return t.Epoch == l.epoch.tag() && t.N <= l.last })
	if err != nil {
		return err
	}
	if taken == nil { // what the epoch began with, if it is still there
		if len(l.epoch.From) == 0 {
			return l.begin(ctx, whyLoss, bounds)
		}
		if l.fold, err = l.kind.begin(l.part, l.parts); err != nil {
			return err
		}
		if err := l.recall(ctx, l.epoch); err != nil {
			return err
		}
		l.stand(l.epoch.From)
	}
	lost, another := l.missing(bounds)
	switch {
	case another != nil:
		return another
	case lost > 0:
		return l.begin(ctx, whyLoss, bounds)
	}
	return l.remember(ctx)
}

// current finds the epoch that goes on: that of the last output, or one that is known and has said nothing yet.
func (l *line) current(tag string) (known bool) {
	if n := len(l.head.Epochs); n > 0 {
		e := l.head.Epochs[n-1]
		said := slices.ContainsFunc(l.head.Snapshots, func(t Taken) bool { return t.Epoch == e.tag() && t.N > l.last })
		if e.First == l.last+1 && !said {
			l.epoch = e
			return true
		}
	}
	l.epoch, known = l.head.epoch(tag)
	return known
}

// stand is where reading begins.
func (l *line) stand(next []Position) {
	for _, p := range next {
		l.fed[p.Place] = p.Offset
	}
}

// bound is where an input begins and ends.
type bound struct{ start, end int64 }

func (l *line) bounds(ctx context.Context) (map[Place]bound, error) {
	var topics []string
	for _, in := range l.inputs {
		if !slices.Contains(topics, in.Topic) {
			topics = append(topics, in.Topic)
		}
	}
	starts, err := l.adm.ListStartOffsets(ctx, topics...)
	if err == nil {
		err = starts.Error()
	}
	if err != nil {
		return nil, fmt.Errorf("ask where the log begins: %w", err)
	}
	ends, err := l.adm.ListCommittedOffsets(ctx, topics...)
	if err == nil {
		err = ends.Error()
	}
	if err != nil {
		return nil, fmt.Errorf("ask where the log ends: %w", err)
	}
	out := map[Place]bound{}
	for _, in := range l.inputs {
		start, okStart := starts.Lookup(in.Topic, in.Part)
		end, okEnd := ends.Lookup(in.Topic, in.Part)
		if !okStart || !okEnd {
			return nil, fmt.Errorf("%s is not there", in)
		}
		out[in] = bound{start.Offset, end.Offset}
		l.ends[in] = end.Offset
	}
	return out, nil
}

// missing is how many records the log no longer holds of those that come next. One that ends before them is another log.
func (l *line) missing(bounds map[Place]bound) (lost int64, err error) {
	for _, in := range l.inputs {
		b := bounds[in]
		if l.fed[in] > b.end {
			return 0, fmt.Errorf("%w: %s ends at %d, the state has read up to %d", errDiffers, in, b.end, l.fed[in])
		}
		lost += max(0, b.start-l.fed[in])
	}
	return lost, nil
}

// restore takes the newest snapshot of those that will do; nil if there is none that can be read.
func (l *line) restore(ctx context.Context, will func(Taken) bool) (*Taken, error) {
	for _, t := range slices.Backward(l.head.Snapshots) {
		if !will(t) {
			continue
		}
		fold, err := l.kind.begin(l.part, l.parts)
		if err != nil {
			return nil, err
		}
		var refused error // by the fold, and not by the log
		err = l.place.Get(ctx, l.room.log, t.Ref, func(r io.Reader) error {
			in := &remembering{r: r}
			err := fold.Restore(in)
			if in.err == nil {
				refused = err
			}
			return err
		})
		switch {
		case err == nil:
			l.fold = fold
			l.stand(t.Next)
			l.begun, l.own, l.shift, l.at = true, t.Own, t.N-t.Own, t.N
			l.taking.clock = t.Clock
			l.room.m.restores.WithLabelValues(l.kind.stage, "snapshot").Inc()
			l.log.Info("restored from a snapshot", "number", t.N, "clock", time.UnixMilli(t.Clock).UTC())
			return &t, nil
		case refused == nil && !errors.Is(err, snapshot.ErrDamaged):
			return nil, err // the log could not be read: it is tried again
		}
		l.room.m.restores.WithLabelValues(l.kind.stage, "refused").Inc()
		l.log.Error("a snapshot cannot be restored: trying an older one", "number", t.N, "error", err)
	}
	return nil, nil
}

// remembering keeps the error of a reader.
type remembering struct {
	r   io.Reader
	err error
}

func (m *remembering) Read(p []byte) (int, error) {
	n, err := m.r.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		m.err = err
	}
	return n, err
}

// begin begins an epoch. The state is kept, if there is one that can be read: after a loss it sees the gap as what it is, a
// stretch in which no gateway was heard.
func (l *line) begin(ctx context.Context, why string, bounds map[Place]bound) error {
	epoch := Epoch{Detector: l.room.detector(l.kind), First: l.last + 1, After: wholeStart}
	if l.last > 0 {
		epoch.After = l.lastAt
	}
	if why != whyFirst && l.fold == nil {
		if _, err := l.restore(ctx, func(t Taken) bool { return t.N <= l.last }); err != nil {
			return err
		}
	}
	lost, another := int64(0), error(nil)
	if l.fold != nil {
		lost, another = l.missing(bounds)
	}
	if l.fold != nil && another == nil {
		for in, b := range bounds {
			l.fed[in] = max(l.fed[in], b.start)
		}
		_, l.adopts = l.fold.(adopter)
	} else {
		fold, err := l.kind.begin(l.part, l.parts)
		if err != nil {
			return err
		}
		if epoch.From, err = l.back(ctx, bounds); err != nil {
			return err
		}
		l.fold, l.own = fold, 0
		if err := l.recall(ctx, epoch); err != nil {
			return err
		}
		l.stand(epoch.From)
		l.taking.clock = 0
		l.room.m.restores.WithLabelValues(l.kind.stage, "nothing").Inc()
	}
	if lost > 0 {
		l.room.m.lost.Add(float64(lost))
		l.log.Error("the log no longer holds what comes after the last state: going on from what is there", "records", lost)
	}
	l.epoch, l.begun = epoch, false
	l.head = l.head.with(epoch)
	l.taking.unnamed, l.taking.due = true, true
	l.room.m.epochs.WithLabelValues(why).Inc()
	level := l.log.Warn
	if why == whyFirst {
		level = l.log.Info
	}
	level("an epoch begins", "why", why, "detector", epoch.Detector, "first", epoch.First)
	return nil
}

// recall tells a fold that begins with nothing what was said before its epoch: what is open there is nobody's otherwise.
func (l *line) recall(ctx context.Context, epoch Epoch) error {
	fold, ok := l.fold.(recaller)
	if !ok || epoch.First == 1 {
		return nil
	}
	err := eventlog.Tail(ctx, l.room.log, eventlog.TailSettings{Topics: []string{l.out.Topic}}, func(rec *kgo.Record) error {
		n, _, err := l.kind.number(rec)
		if err == nil && n < epoch.First {
			err = fold.Remember(rec)
		}
		if err != nil {
			return fmt.Errorf("%s, offset %d: %w", l.out, rec.Offset, err)
		}
		return nil
	})
	if err != nil {
		return err
	}
	fold.Recall(epoch.After)
	return nil
}

// back is where one begins to read who knows nothing: so long before the newest record of an input as is set. The log's own
// time counts, for a simulation may be in another year. What is not by device is read whole.
func (l *line) back(ctx context.Context, bounds map[Place]bound) ([]Position, error) {
	var out []Position
	for _, in := range l.inputs {
		at := bounds[in].start
		if in != registryLog && l.room.cfg.Back > 0 && bounds[in].end > at {
			found, err := l.tail(ctx, in, func(found []*kgo.Record) bool { return len(found) > 0 })
			if err != nil {
				return nil, err
			}
			if len(found) > 0 {
				since := found[len(found)-1].Timestamp.Add(-l.room.cfg.Back).UnixMilli()
				listed, err := l.adm.ListOffsetsAfterMilli(ctx, since, in.Topic)
				if err == nil {
					err = listed.Error()
				}
				if err != nil {
					return nil, fmt.Errorf("ask where %s is at a time: %w", in, err)
				}
				if o, ok := listed.Lookup(in.Topic, in.Part); ok && o.Offset >= at {
					at = o.Offset
				}
			}
		}
		out = append(out, Position{in, at})
	}
	return out, nil
}

// remember reads the outputs that are to be compared with.
func (l *line) remember(ctx context.Context) error {
	if l.at == l.last {
		return nil
	}
	from := max(l.at+1, l.last-min(l.last, maxCompared-1))
	first := func(found []*kgo.Record) uint64 {
		if len(found) == 0 {
			return l.last + 1
		}
		n, _, err := l.kind.number(found[0])
		if err != nil {
			return l.last + 1
		}
		return n
	}
	before, err := l.before(ctx, func(found []*kgo.Record) bool { return first(found) <= from })
	if err != nil {
		return err
	}
	for _, rec := range before {
		n, _, err := l.kind.number(rec)
		if err != nil {
			return fmt.Errorf("%s, offset %d: %w", l.out, rec.Offset, err)
		}
		if n > l.at && n <= l.last && tagOf(rec) == l.epoch.tag() {
			w := written{sum: sumOf(rec)}
			if l.kind.registry != nil {
				w.registry = l.kind.registry(rec)
			}
			l.sums[n] = w
		}
	}
	return nil
}

// before reads the line's topic from its end backwards, until it is enough.
func (l *line) before(ctx context.Context, enough func([]*kgo.Record) bool) ([]*kgo.Record, error) {
	return l.tail(ctx, l.out, enough)
}

func (l *line) tail(ctx context.Context, in Place, enough func([]*kgo.Record) bool) ([]*kgo.Record, error) {
	starts, err := l.adm.ListStartOffsets(ctx, in.Topic)
	if err == nil {
		err = starts.Error()
	}
	if err != nil {
		return nil, fmt.Errorf("ask where the log begins: %w", err)
	}
	ends, err := l.adm.ListCommittedOffsets(ctx, in.Topic)
	if err == nil {
		err = ends.Error()
	}
	if err != nil {
		return nil, fmt.Errorf("ask where the log ends: %w", err)
	}
	start, _ := starts.Lookup(in.Topic, in.Part)
	end, ok := ends.Lookup(in.Topic, in.Part)
	if !ok {
		return nil, fmt.Errorf("%s is not there", in)
	}
	for back := int64(64); ; back *= 8 {
		from := max(start.Offset, end.Offset-back)
		found, err := between(ctx, l.room.log, in, from, end.Offset)
		if err != nil || from == start.Offset || enough(found) {
			return found, err
		}
	}
}

// between reads [from, until) of a partition, what is committed of it.
func between(ctx context.Context, cfg eventlog.Config, in Place, from, until int64) ([]*kgo.Record, error) {
	if from >= until {
		return nil, nil
	}
	client, err := kgo.NewClient(append(cfg.Options(),
		kgo.FetchIsolationLevel(kgo.ReadCommitted()),
		kgo.ConsumeResetOffset(kgo.NoResetOffset()),
		kgo.KeepControlRecords(),
		kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{in.Topic: {in.Part: kgo.NewOffset().At(from)}}),
	)...)
	if err != nil {
		return nil, fmt.Errorf("kafka client: %w", err)
	}
	defer client.Close()
	var out []*kgo.Record
	for next := from; next < until; {
		fetches := client.PollFetches(ctx)
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		if err := fetches.Err(); err != nil {
			return nil, fmt.Errorf("read %s: %w", in, err)
		}
		for iter := fetches.RecordIter(); !iter.Done(); {
			rec := iter.Next()
			if next = rec.Offset + 1; rec.Offset < until && !rec.Attrs.IsControl() {
				out = append(out, rec)
			}
		}
	}
	return out, nil
}
