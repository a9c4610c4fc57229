package sink

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/cenkalti/backoff/v4"

	"muster.dev/platform/warehouse"
	"muster.dev/services/ingest/sink/plan"
	"muster.dev/services/ingest/sink/rows"
)

// leaseAge is how old the last commit may be when a block is sent. A process that was stopped for longer may have lost
// the partition without knowing; it asks the group before it sends, by writing the plan again.
const leaseAge = 5 * time.Second

// clockSlack is how far this machine's clock may stand from the store's: a store that started that close to a plan is
// taken to have started after it.
const clockSlack = 3 * time.Second

// land brings a plan into the store. On nil, every row of it is there, once. In doubt from the start means that
// another may have sent parts of it before.
func (w *worker) land(ctx context.Context, p plan.Plan, d *draft, doubt bool) error {
	ctx, span := w.sink.trace(ctx, w.place, p, d)
	defer span.End()
	l := &landing{worker: w, plan: p, draft: d, doubt: doubt, asked: time.Now()}
	for i, b := range d.sheet.Blocks() {
		l.whole = b.Parts
		var err error
		if len(b.Parts) <= insertPartitions {
			err = l.table(ctx, b, p.Token(b.Table), i == 0)
		} else {
			err = l.pieces(ctx, b, i == 0)
		}
		if err != nil {
			span.RecordError(err)
			return fmt.Errorf("land %s: %w", p.Name(), err)
		}
	}
	return nil
}

// insertPartitions is how many partitions one insert touches at most. Old readings of several classes, or those of a
// table's days and one message more, could else be an insert of hundreds of parts, each of which is brought to disk.
const insertPartitions = 64

// pieces brings a block in that has too many partitions, some of them at a time. Which piece a partition is in depends
// on the block alone, so that a replay sends the same pieces under the same tokens.
func (l *landing) pieces(ctx context.Context, b rows.Block, first bool) error {
	k := 0
	for ids := range slices.Chunk(slices.Sorted(maps.Keys(b.Parts)), insertPartitions) {
		only := &rows.Only{Table: b.Table, Parts: map[string]bool{}}
		for _, id := range ids {
			only.Parts[id] = true
		}
		piece, release, ok := l.draft.only(only)
		err := fmt.Errorf("%s: piece %d has no rows", b.Table, k)
		if ok {
			err = l.table(ctx, piece, plan.Piece(l.plan.Token(b.Table), k), first && k == 0)
		}
		release()
		if err != nil {
			return err
		}
		k++
	}
	return nil
}

// landing is the state of land over the plan's tables.
type landing struct {
	*worker
	plan  plan.Plan
	draft *draft
	whole map[string]uint64 // partitions of the table at hand, over all its pieces

	doubt  bool      // something may have been sent and not been answered
	waited bool      // settle was waited out: what was under way has landed or never will
	asked  time.Time // of the last commit: this member still owned the partition
}

// errTorn is a store partition that holds some of a block's rows and not all.
var errTorn = errors.New("a block landed in part")

// table brings one table's block in. The order of what it may do:
//
//  1. Send. An answer without an error ends it, unless something was in doubt before.
//  2. In doubt: end what still runs under our ids, and count what is there by partition. All there ends it.
//  3. Send the identical block under the identical token: the store drops the partitions it has already. That is
//     safe as long as the store remembers tokens.
//  4. A store that was started after the plan was made may have forgotten: then wait out what may still be under
//     way, count again, and send only the partitions that are missing, under a token of their own.
func (l *landing) table(ctx context.Context, b rows.Block, token string, first bool) error {
	tries := 0
	return l.insist(ctx, "insert into "+b.Table, func() error {
		tries++
		if !l.doubt {
			return l.send(ctx, b, token, first && tries == 1)
		}
		missing, err := l.missing(ctx, b, token)
		if err != nil || missing == nil {
			return err
		}
		forgot, err := l.forgot(ctx)
		if err != nil {
			return err
		}
		if !forgot && tries < 4 {
			if err := l.send(ctx, b, token, false); err != nil {
				return err
			}
		} else if err := l.repair(ctx, b, token, tries); err != nil {
			return err
		}
		if missing, err = l.missing(ctx, b, token); err != nil {
			return err
		}
		if missing != nil {
			return fmt.Errorf("%s: %d partitions are still missing", token, len(missing))
		}
		return nil
	})
}

// repair sends what is missing, and nothing else.
func (l *landing) repair(ctx context.Context, b rows.Block, token string, try int) error {
	if err := l.waitOut(ctx); err != nil {
		return err
	}
	missing, err := l.missing(ctx, b, token)
	if err != nil || missing == nil {
		return err
	}
	l.sink.m.repairs.Inc()
	l.sink.log.Warn("the store may have forgotten tokens: sending what is missing", "plan", l.plan.Name(), "table", b.Table, "partitions", len(missing))
	if len(missing) == len(b.Parts) && try < 4 {
		return l.send(ctx, b, token, false) // nothing of it is there: the identical block
	}
	part, release, ok := l.draft.only(&rows.Only{Table: b.Table, Parts: missing})
	defer release()
	if !ok {
		return fmt.Errorf("%s: no rows for the partitions that are missing", token)
	}
	return l.send(ctx, part, plan.Repair(token, try), false)
}

// waitOut lets every insert that may be under way, ours or a former owner's, land or fail. Once for a plan.
func (l *landing) waitOut(ctx context.Context) error {
	if l.waited {
		return nil
	}
	t := time.NewTimer(l.sink.cfg.Settle)
	defer t.Stop()
	select {
	case <-t.C:
		l.waited = true
		return nil
	case <-l.stop:
		return errStopped
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// missing ends what runs under the plan's ids for the table, and finds the partitions whose rows are not there; nil is
// none. More rows than the plan has, or a part of a partition's, cannot be by what we know of the store, and is said
// loudly. Too many are taken as they are, since another insert could only make it worse; too few keep the partition
// where it is, since to go on would lose them.
func (l *landing) missing(ctx context.Context, b rows.Block, token string) (map[string]bool, error) {
	l.sink.m.verifies.Inc()
	if err := l.sink.store.KillQuery(ctx, token); err != nil {
		return nil, err
	}
	there, err := l.sink.store.TableRange(ctx, b.Table, l.gen, uint16(l.part), uint64(l.plan.From), uint64(l.plan.To))
	if err != nil {
		return nil, err
	}
	var missing map[string]bool
	for id, want := range b.Parts {
		got := there[id]
		if got == 0 {
			if missing == nil {
				missing = map[string]bool{}
			}
			missing[id] = true
			continue
		}
		if got != want {
			l.sink.alarm(alarmCount, "a partition does not hold the plan's rows", "plan", l.plan.Name(), "table", b.Table, "store_partition", id, "rows", got, "want", want)
		}
		if got < want {
			return nil, fmt.Errorf("%s: %d of %d rows in partition %s: %w", token, got, want, id, errTorn)
		}
	}
	for id, got := range there {
		if l.whole[id] == 0 {
			l.sink.alarm(alarmCount, "a partition holds rows that the plan does not have", "plan", l.plan.Name(), "table", b.Table, "store_partition", id, "rows", got)
		}
	}
	return missing, nil
}

// forgot says whether the store may not know the plan's tokens any more: they are not on disk when it dies.
func (l *landing) forgot(ctx context.Context) (bool, error) {
	started, err := l.sink.store.Started(ctx)
	if err != nil {
		return false, err
	}
	return started.After(time.UnixMilli(l.plan.At).Add(-clockSlack)), nil
}

// send inserts one block. Whatever goes wrong after it may have left is doubt from here on.
func (l *landing) send(ctx context.Context, b rows.Block, token string, first bool) error {
	if time.Since(l.asked) > leaseAge {
		if err := l.commit(ctx, plan.Mark{Topic: l.id, Part: l.part, Next: l.plan.From, Open: &l.plan}); err != nil {
			return backoff.Permanent(err)
		}
		l.asked = time.Now()
	}
	b.Stamp(time.Now().UnixMilli())
	body, err := b.Data.Segments()
	if err != nil {
		return backoff.Permanent(fmt.Errorf("%s: %w", token, err))
	}
	switch {
	case b.Table == rows.TableLedger:
		l.sink.crash.soon(atLedgerSent)
	case first:
		l.sink.crash.soon(atInsertSent)
	}
	began := time.Now()
	ctx, end := l.sink.traceInsert(ctx, b)
	err = l.sink.store.Insert(ctx, warehouse.Insert{Table: b.Table, Columns: b.Data.Names(), Token: token, QueryID: token, Body: body, Rows: b.Rows})
	end(err)
	l.sink.m.inserts.WithLabelValues(outcomeOf(err)).Observe(time.Since(began).Seconds())
	if err != nil {
		if warehouse.IsInDoubt(err) {
			l.doubt = true
		}
		if warehouse.IsPermanent(err) {
			// The rows are of our own making, so this is a table that is not as it should be: loud, and tried
			// again, because nothing may be skipped and an operator can mend it.
			l.sink.alarm(alarmRefused, "the store refuses a block", "plan", l.plan.Name(), "table", b.Table, "error", err)
		}
		return err
	}
	l.sink.m.rows.WithLabelValues(tableLabel(b.Table)).Add(float64(b.Rows))
	if b.Table == rows.TableLedger {
		l.sink.crash.at(atLedgerAcked)
	} else if first {
		l.sink.crash.at(atInsertAcked)
	}
	return nil
}

// tableLabel keeps the metric's labels few: profiles are many.
func tableLabel(table string) string {
	switch table {
	case rows.TableOther, rows.TableOld, rows.TableEvents, rows.TableQuarantine, rows.TableLedger:
		return table
	}
	return "wide"
}

// classOf is the store's class of an error, as a label.
func classOf(err error) string {
	var e *warehouse.Error
	if errors.As(err, &e) {
		return e.Class.String()
	}
	return warehouse.InDoubt.String()
}
