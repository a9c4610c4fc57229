package sink

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"muster.dev/platform/warehouse"
	"muster.dev/services/ingest/sink/plan"
)

// bounds is where a partition's log began and ended when it was assigned.
type bounds struct{ start, end int64 }

// beginning is what a worker is told of where its partition stands.
type beginning struct {
	bounds
	at    int64      // the committed offset, or where to begin without one
	open  *plan.Plan // the plan that may be half done
	blind bool       // the metadata does not say what may be stored above at: ask the ledger
	first bool       // there is no commit of this topic
	fetch int64      // where fetching begins
	salt  string     // of the first plan, see plan.Plan
}

// begin reads a commit.
func (s *Sink) begin(at place, id plan.TopicID, found commitFound, log bounds) beginning {
	b := beginning{bounds: log, at: found.offset}
	if found.offset < 0 {
		// A new group, or one whose commits are gone. The ledger knows whether something was stored before.
		b.at, b.blind, b.first = log.start, true, true
	} else if mark, err := plan.Decode(found.metadata, at.part, found.offset); err != nil {
		s.alarm(alarmMetadata, "the commit's metadata cannot be read: the ledger is asked what is stored", "partition", at.String(), "offset", found.offset, "error", err)
		b.blind = true
	} else if mark.Topic != id {
		// The old topic's offsets say nothing of this one, and its plan's rows can come from nowhere any more.
		s.log.Warn("the topic was created again: beginning at its start", "partition", at.String(), "old", mark.Topic.String(), "new", id.String())
		s.m.recreated.Inc()
		b.at, b.blind, b.first = log.start, true, true
	} else {
		b.open = mark.Open
	}
	b.fetch = max(b.at, log.start)
	if b.blind {
		b.salt = newSalt()
	}
	return b
}

// newSalt tells the tokens of a partition's next plan from those that a plan of the same range had.
func newSalt() string { return "b" + strconv.FormatInt(time.Now().UnixMilli(), 36) }

// dataLoss is a range of offsets that the log does not hold and that is not stored.
type dataLoss struct{ from, to int64 }

func (e *dataLoss) Error() string {
	return fmt.Sprintf("data_loss: the log does not hold offsets %d to %d", e.from, e.to-1)
}

// errOutOfRange is a fetch of what the log does not hold.
var errOutOfRange = errors.New("the log does not hold the offset")

// recover brings the partition to where plans can be made: what a former owner left half done is completed, and what
// is stored is known. It returns the first offset that is not stored.
func (w *worker) recover(ctx context.Context) (int64, error) {
	gen, err := w.sink.roster.WaitTopicGen(ctx, w.id)
	if err != nil {
		return 0, err
	}
	w.gen = gen
	b := &w.begin
	at := b.at
	switch {
	case b.blind:
		at, err = w.askLedger(ctx, at)
	case b.open != nil:
		at, err = w.replayPlan(ctx, *b.open)
	}
	if err != nil {
		return 0, err
	}
	if !b.blind {
		if at, err = w.overtaken(ctx, at); err != nil {
			return 0, err
		}
	}
	if err := w.inLog(at); err != nil {
		return 0, err
	}
	if w.seen == nil {
		if w.seen, err = w.loadSeen(ctx, at); err != nil {
			return 0, err
		}
	}
	return at, nil
}

// overtaken asks the ledger whether it holds the offset that is to be stored next. It does where the group gave an
// older commit than the last, as a broker does that lost the end of what it kept: then the ledger is right.
func (w *worker) overtaken(ctx context.Context, at int64) (int64, error) {
	held := uint64(0)
	err := w.insist(ctx, "ask whether the commit is the last", func() (err error) {
		_, held, err = w.sink.store.LedgerRange(ctx, w.gen, uint16(w.part), uint64(at), uint64(at))
		return err
	})
	if err != nil || held == 0 {
		return at, err
	}
	w.sink.alarm(alarmMetadata, "the ledger holds what comes after the commit, so the commit is not the last: the ledger is asked what is stored",
		"partition", w.place.String(), "offset", at)
	w.begin.salt = newSalt()
	w.seen = nil // it was read below the old commit
	return w.askLedger(ctx, at)
}

// inLog says whether the log can give what comes next.
func (w *worker) inLog(at int64) error {
	switch b := w.begin.bounds; {
	case at < b.start:
		return &dataLoss{from: at, to: b.start}
	case at > b.end:
		// The log ends before what was committed: it lost its tail, and what is written now takes the same offsets.
		return &dataLoss{from: b.end, to: at}
	}
	return nil
}

// lossAt measures the loss when a fetch found the log begin above an offset.
func (w *worker) lossAt(ctx context.Context, at int64) error {
	lost := &dataLoss{from: at, to: at + 1}
	err := w.insist(ctx, "ask where the log begins", func() error {
		starts, err := w.ses.adm.ListStartOffsets(ctx, w.topic)
		if err != nil {
			return err
		}
		start, ok := starts.Lookup(w.topic, w.part)
		if !ok || start.Err != nil {
			return fmt.Errorf("start of %s: %w", w.place, start.Err)
		}
		lost.to = start.Offset
		return nil
	})
	if err != nil {
		return err
	}
	if lost.to <= at {
		return fmt.Errorf("%s@%d: %w, though it begins at %d", w.place, at, errOutOfRange, lost.to)
	}
	return lost
}

// replayPlan completes a plan that a former owner made.
func (w *worker) replayPlan(ctx context.Context, p plan.Plan) (int64, error) {
	w.sink.m.replays.Inc()
	landed := false
	err := w.insist(ctx, "verify "+p.Name(), func() error {
		rows, offsets, err := w.sink.store.LedgerRange(ctx, w.gen, uint16(w.part), uint64(p.From), uint64(p.To))
		if err != nil {
			return err
		}
		if rows > offsets {
			w.sink.alarm(alarmCount, "the ledger has an offset more than once", "plan", p.Name(), "rows", rows, "offsets", offsets)
		}
		// The ledger is sent last: where it is whole, all of the plan is.
		landed = offsets == uint64(p.Offsets())
		return nil
	})
	if err != nil || landed {
		return p.To + 1, err
	}
	if err := w.inLog(p.From); err != nil {
		return 0, err
	}
	if end := w.begin.end; p.To >= end {
		// The plan was made of records that were there: the log lost its tail. What is written now takes their
		// offsets, and under the plan's tokens the store would drop it for what it has seen.
		return 0, &dataLoss{from: end, to: p.To + 1}
	}
	if w.seen, err = w.loadSeen(ctx, p.From); err != nil {
		return 0, err
	}
	d, err := w.regather(ctx, p)
	defer d.release()
	if err != nil {
		return 0, err
	}
	if err := d.resolve(ctx); err != nil {
		return 0, err
	}
	if err := w.land(ctx, p, d, true); err != nil {
		return 0, err
	}
	if err := w.closePlan(ctx, p, d); err != nil {
		return 0, err
	}
	return p.To + 1, nil
}

// regather fetches exactly the plan's records. The bytes may go over the budget, for one worker at a time.
func (w *worker) regather(ctx context.Context, p plan.Plan) (*draft, error) {
	d := w.sink.newDraft(w, p.From)
	d.began = time.Now()
	w.setReplay(true)
	defer w.setReplay(false)
	if err := d.openAt(ctx, p.Rev); err != nil {
		return d, err
	}
	for d.to < p.To {
		records, err := w.next(ctx, d.to+1, time.Time{})
		if errors.Is(err, errOutOfRange) {
			return d, w.lossAt(ctx, d.to+1)
		}
		if err != nil {
			return d, err
		}
		n := 0
		for ; n < len(records) && records[n].Offset <= p.To; n++ {
			if err := d.read(ctx, records[n]); err != nil {
				d.hold(records[n:])
				return d, err
			}
			d.add(records[n])
		}
		if n < len(records) {
			d.holes(p.To+1, records[n].Timestamp.UnixMilli())
		}
		w.unread(records[n:])
	}
	return d, nil
}

func (w *worker) setReplay(on bool) {
	w.mu.Lock()
	w.replay = on
	w.mu.Unlock()
	if !on {
		w.sink.budget.settle(w)
	}
	w.ses.look()
}

// loadSeen reads from the ledger what is stored below an offset, the youngest first. It asks span by span, since one
// question for all would take longer with each day that the ledger lives, and at last longer than a question may; so a
// store that fails costs the span that it failed in.
func (w *worker) loadSeen(ctx context.Context, below int64) (*seenState, error) {
	s, part := newSeen(w.sink.cfg.Boots), uint16(w.part)
	var spans []warehouse.Span
	err := w.insist(ctx, "ask where the ledger begins", func() (err error) {
		spans, err = w.sink.store.LedgerSpans(ctx, w.gen, part, uint64(below), warehouse.MaxStateOffsets)
		return err
	})
	for _, span := range slices.Backward(spans) {
		if err == nil && w.stopping() {
			err = errStopped
		}
		if err != nil {
			break
		}
		err = w.insist(ctx, "load what is stored", func() error {
			return w.sink.store.DuplicateState(ctx, w.gen, part, span.Since, span.Below, func(k *warehouse.Seen) error {
				s.Load(k.DeviceNo, k.Boot, k.High, &k.Bits)
				return nil
			})
		})
	}
	return s, err
}

// askLedger finds out what is stored when no commit says so. It lets what may be under way end, goes to the end of
// what the ledger holds without a gap, and takes back what stands above: the rows of a plan that nobody knows and whose
// ledger did not land. They come again from the log, which holds them, or nothing is taken back.
func (w *worker) askLedger(ctx context.Context, from int64) (int64, error) {
	part := uint16(w.part)
	var at int64
	var strays map[string]uint64
	look := func() error {
		end, err := w.sink.store.frontier(ctx, w.gen, part, uint64(from))
		if err != nil {
			return err
		}
		at = int64(end)
		strays, err = w.sink.store.strays(ctx, w.gen, part, end)
		return err
	}
	if err := w.insist(ctx, "ask the ledger", look); err != nil {
		return 0, err
	}
	if w.begin.first && at == from && len(strays) == 0 {
		return at, nil // no commit of this topic was ever made, so no plan, so nothing can be under way
	}
	l := &landing{worker: w}
	if err := l.waitOut(ctx); err != nil {
		return 0, err
	}
	if err := w.insist(ctx, "ask the ledger", look); err != nil {
		return 0, err
	}
	if len(strays) == 0 {
		return at, nil
	}
	if err := w.inLog(at); err != nil {
		return 0, err
	}
	// One that was stopped while it waited may see the rows of an owner that came after it. The group takes a commit of
	// the owner alone, and this one tells who reads it what was known before: nothing.
	if err := w.write(ctx, from, unknown); err != nil {
		return 0, err
	}
	w.sink.alarm(alarmStrays, "rows of an unknown plan stand above the ledger: taking them back, they come again from the log", "partition", w.place.String(), "offset", at, "rows", strays)
	err := w.insist(ctx, "take rows back", func() error {
		for table := range strays {
			if err := w.sink.store.takeBack(ctx, table, w.gen, part, uint64(at)); err != nil {
				return err
			}
		}
		return nil
	})
	return at, err
}
