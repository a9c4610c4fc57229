package sink

import (
	"context"
	"fmt"
	"time"

	"github.com/cenkalti/backoff/v4"
	"github.com/twmb/franz-go/pkg/kgo"

	"muster.dev/platform/warehouse"
	"muster.dev/services/ingest/sink/rows"
	"muster.dev/services/ingest/sink/seen"
)

// draft is a plan in the making: the records from an offset on, the rows that they make, and what is not decided yet.
//
// A message that surely is new goes into the sheet at once. One that may be known waits for resolve, which asks the
// ledger for all of them together; so does whatever has the same key behind it.
type draft struct {
	w     *worker
	sheet *rows.Sheet
	msg   rows.Message

	records []*kgo.Record
	at      int64 // the first offset
	to      int64 // the last one, at-1 as long as there is none
	rev     uint64
	held    int64 // bytes of records and sheet in the budget
	lent    int64 // of them the sheet's

	keys    map[rows.Key]claim
	doubts  []int                  // places in records
	decided map[int64]rows.Outcome // of doubts, and of conflicts and duplicates: what is not here is what it is by itself
	count   map[rows.Outcome]int
	bytes   int64
	began   time.Time
}

// claim is the first message of a key within the draft.
type claim struct {
	hash  uint32
	doubt bool // not known yet whether it is the first at all
}

// newDraft begins one. A worker has one at a time, which uses the memory of the one before.
func (s *Sink) newDraft(w *worker, at int64) *draft {
	if w.keys == nil {
		w.keys = map[rows.Key]claim{}
	}
	clear(w.keys)
	return &draft{w: w, sheet: s.sheet(), at: at, to: at - 1, records: w.records, keys: w.keys, decided: map[int64]rows.Outcome{}, count: map[rows.Outcome]int{}}
}

// open fixes the schema revision, at the draft's first record.
func (d *draft) open(ctx context.Context, _ *kgo.Record) error {
	d.began = time.Now()
	return d.openAt(ctx, d.w.sink.roster.Rev())
}

// openAt is open at a revision that a plan names.
func (d *draft) openAt(ctx context.Context, rev uint64) error {
	if err := d.w.sink.roster.WaitRev(ctx, rev); err != nil {
		return fmt.Errorf("schema revision %d: %w", rev, err)
	}
	d.rev = rev
	d.sheet.Begin(d.settings(nil))
	return nil
}

func (d *draft) settings(only *rows.Only) rows.Settings {
	return rows.Settings{Gen: d.w.gen, Part: uint16(d.w.part), Rev: d.rev, Only: only}
}

// read reads a record into msg. A schema that is not known yet is waited for until the roster has read all that was
// published before now, and so before the record: after that it was never defined.
func (d *draft) read(ctx context.Context, r *kgo.Record) error {
	d.msg.Read(r, d.w.sink.catalog)
	if d.msg.Reason != rows.ReasonUnknownSchema {
		return nil
	}
	people, began := d.w.sink.roster, time.Now()
	if _, ok := people.Schema(d.msg.SchemaID()); !ok {
		tick := time.NewTicker(20 * time.Millisecond)
		defer tick.Stop()
		for people.Age() > time.Since(began) {
			select {
			case <-tick.C:
			case <-d.w.stop:
				return errStopped
			case <-ctx.Done():
				return context.Cause(ctx)
			}
		}
	}
	d.msg.Read(r, d.w.sink.catalog)
	return nil
}

// fill takes records in order until the draft is full, and says how many it took. Their bytes in the budget are its
// own from here on.
func (d *draft) fill(ctx context.Context, records []*kgo.Record) (used int, full bool, err error) {
	cfg := &d.w.sink.cfg
	for i, r := range records {
		if err := d.read(ctx, r); err != nil {
			return i, false, err
		}
		if len(d.records) > 0 && d.sheet.Touches(&d.msg) > MaxPartitions {
			return i, true, nil
		}
		d.add(r)
		wide, narrow := d.sheet.Rows()
		if wide >= cfg.WideRows || narrow >= cfg.NarrowRows || d.sheet.Bytes() >= cfg.PlanBytes || d.bytes >= cfg.PlanBytes || d.sheet.Partitions() > MaxPartitions {
			return i + 1, true, nil
		}
	}
	return len(records), false, nil
}

// add puts the record that msg was read from into the draft.
func (d *draft) add(r *kgo.Record) {
	d.holes(r.Offset, r.Timestamp.UnixMilli())
	d.records = append(d.records, r)
	d.to = r.Offset
	d.bytes += int64(len(r.Value))
	d.held += size(r)
	outcome, known := d.decide(len(d.records) - 1)
	if known {
		d.put(r.Offset, outcome)
	}
	if grown := d.sheet.Bytes() - d.lent; grown > 0 {
		d.w.sink.budget.take(grown)
		d.lent += grown
		d.held += grown
	}
}

// holes accounts for offsets up to next that have no record: markers of transactions.
func (d *draft) holes(next, got int64) {
	for ; d.to+1 < next; d.to++ {
		d.sheet.PutHole(d.to+1, got)
		d.count[rows.Controlled]++
	}
}

// decide says what becomes of the message in msg, or that the ledger has to be asked.
func (d *draft) decide(place int) (rows.Outcome, bool) {
	m := &d.msg
	own := ownOutcome(m)
	if !m.Keyed {
		return own, true
	}
	k := m.Key()
	if c, ok := d.keys[k]; ok {
		if c.doubt {
			d.doubts = append(d.doubts, place)
			return 0, false
		}
		return again(m.Hash, c.hash), true
	}
	verdict := d.w.seen.Check(k.Device, k.Boot, k.Seq)
	d.keys[k] = claim{hash: m.Hash, doubt: verdict != seen.New}
	if verdict != seen.New {
		d.doubts = append(d.doubts, place)
		return 0, false
	}
	return own, true
}

// ownOutcome is what a message is when it is the first of its key.
func ownOutcome(m *rows.Message) rows.Outcome {
	switch m.Form {
	case rows.Control:
		return rows.Controlled
	case rows.Unreadable:
		return rows.Quarantined
	}
	return rows.Stored
}

// again is what a message is whose key is known: a retry, or another one that says it is the same.
func again(hash, first uint32) rows.Outcome {
	if hash == first {
		return rows.Duplicate
	}
	return rows.Conflict
}

func (d *draft) put(off int64, o rows.Outcome) {
	if o == rows.Duplicate || o == rows.Conflict {
		d.decided[off] = o
	}
	d.sheet.Put(&d.msg, o)
	d.count[o]++
}

// resolve asks the ledger for what is in doubt, and puts it in. Only what lies below the draft counts, and all of
// that is stored.
func (d *draft) resolve(ctx context.Context) error {
	if len(d.doubts) == 0 {
		return nil
	}
	ask := make([]warehouse.Key, 0, len(d.doubts))
	for k, c := range d.keys {
		if c.doubt {
			ask = append(ask, warehouse.Key{DeviceNo: k.Device, Boot: k.Boot, Seq: k.Seq})
		}
	}
	found, err := d.w.lookup(ctx, d.at, ask)
	if err != nil {
		return err
	}
	if err := d.w.adopt(ctx, d.at, ask); err != nil {
		return err
	}
	first := make(map[rows.Key]uint32, len(found))
	for k, f := range found {
		first[rows.Key{Device: k.DeviceNo, Boot: k.Boot, Seq: k.Seq}] = f.Hash
	}
	for _, place := range d.doubts { // in the order of offsets
		r := d.records[place]
		d.msg.Read(r, d.w.sink.catalog)
		k := d.msg.Key()
		outcome := ownOutcome(&d.msg)
		if hash, known := first[k]; known {
			outcome = again(d.msg.Hash, hash)
		} else {
			first[k] = d.msg.Hash
		}
		d.put(r.Offset, outcome)
	}
	d.w.sink.m.lookups.Add(float64(len(ask)))
	d.doubts = d.doubts[:0]
	return nil
}

// only builds a table's rows of some partitions anew, from the same records and the same decisions. What it gives
// lives until release is called.
func (d *draft) only(o *rows.Only) (block rows.Block, release func(), ok bool) {
	s := d.w.sink.sheet()
	release = func() { d.w.sink.putSheet(s) }
	s.Begin(d.settings(o))
	next := d.at
	for _, r := range d.records {
		for ; next < r.Offset; next++ {
			s.PutHole(next, r.Timestamp.UnixMilli())
		}
		next = r.Offset + 1
		d.msg.Read(r, d.w.sink.catalog)
		outcome, ok := d.decided[r.Offset]
		if !ok {
			outcome = ownOutcome(&d.msg)
		}
		s.Put(&d.msg, outcome)
	}
	for _, b := range s.Blocks() {
		if b.Table == o.Table {
			return b, release, true
		}
	}
	return rows.Block{}, release, false
}

// hold takes the bytes of records over without using them.
func (d *draft) hold(records []*kgo.Record) {
	for _, r := range records {
		d.held += size(r)
	}
}

// settle makes what was stored known, after the plan was closed, and counts it.
func (d *draft) settle(now time.Time) {
	m := d.w.sink.m
	for k := range d.keys {
		d.w.seen.Add(k.Device, k.Boot, k.Seq)
	}
	for o, n := range d.count {
		m.records.WithLabelValues(d.w.topic, o.String()).Add(float64(n))
	}
	m.samples.Add(float64(d.sheet.Samples()))
	m.bytes.Add(float64(d.bytes))
	m.plans.Inc()
	m.planAge.Observe(now.Sub(d.began).Seconds())
	m.planBytes.Observe(float64(d.sheet.Bytes()))
	for i := 0; i < len(d.records); i += 1 + len(d.records)/64 {
		m.lag.Observe(max(0, now.Sub(d.records[i].Timestamp).Seconds()))
	}
}

// release gives back what the draft holds.
func (d *draft) release() {
	d.w.sink.budget.give(d.held)
	d.held, d.lent = 0, 0
	d.w.sink.putSheet(d.sheet)
	clear(d.records) // what they point at may go
	d.w.records, d.records = d.records[:0], nil
	d.w.ses.look()
}

// lookup asks the ledger for first occurrences below an offset, until it answers.
func (w *worker) lookup(ctx context.Context, below int64, keys []warehouse.Key) (map[warehouse.Key]warehouse.First, error) {
	all := make(map[warehouse.Key]warehouse.First)
	for len(keys) > 0 {
		n := min(len(keys), warehouse.MaxLookupKeys)
		err := w.insist(ctx, "look up duplicates", func() error {
			found, err := w.sink.store.LookupKeys(ctx, w.gen, uint16(w.part), uint64(below), keys[:n])
			for k, f := range found {
				all[k] = f
			}
			return err
		})
		if err != nil {
			return nil, err
		}
		keys = keys[n:]
	}
	return all, nil
}

// insist repeats a question to the store until it is answered, or the worker is told to end. A store that is slow,
// full or gone is waited for: nothing that depends on the answer can be skipped.
func (w *worker) insist(ctx context.Context, what string, ask func() error) error {
	return backoff.RetryNotify(func() error {
		err := ask()
		switch {
		case err == nil:
			return nil
		case ctx.Err() != nil:
			return backoff.Permanent(context.Cause(ctx))
		case w.stopping():
			return backoff.Permanent(errStopped)
		}
		return err
	}, patient(ctx), func(err error, wait time.Duration) {
		w.sink.m.storeErrors.WithLabelValues(classOf(err)).Inc()
		w.sink.log.Warn("the store does not answer", "partition", w.place.String(), "doing", what, "again_in", wait, "error", err)
	})
}

func (w *worker) stopping() bool {
	select {
	case <-w.stop:
		return true
	default:
		return false
	}
}
