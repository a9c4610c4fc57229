package warehouse

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math/bits"
	"strconv"
	"strings"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"
)

// Unkeyed is the seq, in the ledger, of a message without boot and seq.
const Unkeyed = ^uint64(0)

// Settings of a question that must not be answered in part.
var exact = clickhouse.Settings{"result_overflow_mode": "throw", "read_overflow_mode": "throw", "timeout_overflow_mode": "throw"}

// params binds values as the server's own parameters, by name and value in
// turn: they never become part of a statement.
func params(ctx context.Context, pairs ...string) context.Context {
	p := make(clickhouse.Parameters, len(pairs)/2)
	for i := 0; i+1 < len(pairs); i += 2 {
		p[pairs[i]] = pairs[i+1]
	}
	return clickhouse.Context(ctx, clickhouse.WithParameters(p), clickhouse.WithSettings(exact))
}

func u64(n uint64) string { return strconv.FormatUint(n, 10) }
func u16(n uint16) string { return strconv.Itoa(int(n)) }

const inRange = "topic_gen = {gen:UInt16} AND part = {part:UInt16} AND off >= {from:UInt64} AND off <= {to:UInt64}"

// LedgerRange counts the ledger's rows, and the different offsets among them,
// from an offset to another, both included. A plan has landed when both are
// to-from+1 (less what the log itself lacks).
func (w *Warehouse) LedgerRange(ctx context.Context, gen, part uint16, from, to uint64) (rows, offsets uint64, err error) {
	ctx, cancel := w.bound(ctx)
	defer cancel()
	err = w.conn.QueryRow(params(ctx, "gen", u16(gen), "part", u16(part), "from", u64(from), "to", u64(to)),
		"SELECT count(), uniqExact(off) FROM "+w.table("ledger")+" WHERE "+inRange).Scan(&rows, &offsets)
	if err != nil {
		return 0, 0, fmt.Errorf("warehouse: ledger %d/%d %d-%d: %w", gen, part, from, to, classify(err))
	}
	return rows, offsets, nil
}

// TableRange counts a table's rows of a range of offsets by the table's
// partitions, see PartitionOf. Partitions without rows are absent.
func (w *Warehouse) TableRange(ctx context.Context, table string, gen, part uint16, from, to uint64) (map[string]uint64, error) {
	if !tableName.MatchString(table) {
		return nil, &Error{Class: Permanent, Message: fmt.Sprintf("table %q: want %s", table, tableName)}
	}
	ctx, cancel := w.bound(ctx)
	defer cancel()
	rows, err := w.conn.Query(params(ctx, "gen", u16(gen), "part", u16(part), "from", u64(from), "to", u64(to)),
		"SELECT toString(_partition_id), count() FROM "+w.table(table)+" WHERE "+inRange+" GROUP BY 1")
	if err != nil {
		return nil, fmt.Errorf("warehouse: %s %d/%d %d-%d: %w", table, gen, part, from, to, classify(err))
	}
	defer rows.Close()
	counts := make(map[string]uint64)
	for rows.Next() {
		var id string
		var n uint64
		if err := rows.Scan(&id, &n); err != nil {
			return nil, fmt.Errorf("warehouse: %s: %w", table, err)
		}
		counts[id] = n
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("warehouse: %s: %w", table, classify(err))
	}
	return counts, nil
}

// PartitionOf is the id of the partition of a table of samples that is kept by
// day, the overflow and the wide tables, in which a row of that class and time
// (Unix milliseconds) lies.
func PartitionOf(class uint8, ms int64) string {
	return strconv.Itoa(int(class)) + "-" + time.UnixMilli(ms).UTC().Format("20060102")
}

// YearOf is the same for s_old.
func YearOf(class uint8, ms int64) string {
	return strconv.Itoa(int(class)) + "-" + strconv.Itoa(time.UnixMilli(ms).UTC().Year())
}

// MonthOf is the same for ledger and quarantine (by got) and device_events
// (by ts).
func MonthOf(ms int64) string { return time.UnixMilli(ms).UTC().Format("200601") }

// Window is how many sequence numbers below the highest DuplicateState knows.
const Window = 1024

// Seen is what is known of one boot of a device: the highest sequence number,
// and of the Window numbers up to it which were seen: bit i of the bitmap
// (Bits[i/64] >> (i%64)) stands for High-i.
type Seen struct {
	DeviceNo uint32
	Boot     uint32
	High     uint64
	Bits     [Window / 64]uint64
}

// Has says whether seq was seen. It is known only when in is true: the number
// lies within the window, or above it.
func (s *Seen) Has(seq uint64) (seen, in bool) {
	if seq > s.High {
		return false, true
	}
	d := s.High - seq
	if d >= Window {
		return false, false
	}
	return s.Bits[d/64]>>(d%64)&1 == 1, true
}

// add marks the numbers from base on that the set's bits stand for.
func (s *Seen) add(base, set uint64) {
	for ; set != 0; set &= set - 1 {
		if d := s.High - base - uint64(bits.TrailingZeros64(set)); d < Window {
			s.Bits[d/64] |= 1 << (d % 64)
		}
	}
}

// first are the rows that make a message known: what was stored, and what was
// quarantined whole, since its device was told 200 for it as well. A
// duplicate or a conflict is never the first of its key.
const first = "topic_gen = {gen:UInt16} AND part = {part:UInt16} AND off < {below:UInt64} AND outcome IN ('stored', 'quarantined') AND seq != " + unkeyedSQL

const unkeyedSQL = "18446744073709551615"

// Span is a range of offsets: from Since up to Below (excluded).
type Span struct{ Since, Below uint64 }

// LedgerSpans cuts what the ledger holds of a partition under an offset into spans of at most step offsets, the lowest
// first: a question for each has a bounded answer, and a bounded time, however old the ledger is.
func (w *Warehouse) LedgerSpans(ctx context.Context, gen, part uint16, below, step uint64) ([]Span, error) {
	at := uint64(0)
	if below > step {
		var err error
		if at, err = w.ledgerStart(ctx, gen, part, below); err != nil {
			return nil, err
		}
	}
	var spans []Span
	for ; at < below; at += min(step, below-at) {
		spans = append(spans, Span{at, at + min(step, below-at)})
	}
	return spans, nil
}

// ledgerStart is the lowest offset that the ledger holds, or below when it holds none under that.
func (w *Warehouse) ledgerStart(ctx context.Context, gen, part uint16, below uint64) (uint64, error) {
	ctx, cancel := w.bound(ctx)
	defer cancel()
	var off uint64
	// In the order of the table's key, of which no more is read than the first row needs.
	err := w.conn.QueryRow(params(ctx, "gen", u16(gen), "part", u16(part), "below", u64(below)),
		"SELECT off FROM "+w.table("ledger")+" WHERE topic_gen = {gen:UInt16} AND part = {part:UInt16} AND off < {below:UInt64} ORDER BY topic_gen, part, off LIMIT 1").Scan(&off)
	if errors.Is(err, sql.ErrNoRows) {
		return below, nil
	}
	if err != nil {
		return 0, fmt.Errorf("warehouse: start of the ledger %d/%d: %w", gen, part, classify(err))
	}
	return off, nil
}

// MaxStateOffsets is how many offsets one DuplicateState takes. What the engine needs for an answer, in memory and in
// time, follows from it, not from the age of the ledger: 2 million offsets are at most 100 MB.
const MaxStateOffsets = 2_000_000

// DuplicateState gives, for each boot of each device that has a first
// occurrence at an offset from since up to below (excluded), what was seen of
// it among these offsets. Ranges side by side put together are what one range
// would have said: the highest of their Highs, and of the numbers within the
// Window below it those that any of them has. It hands each to yield, whose
// error ends it.
func (w *Warehouse) DuplicateState(ctx context.Context, gen, part uint16, since, below uint64, yield func(*Seen) error) error {
	if below > since && below-since > MaxStateOffsets {
		return &Error{Class: Permanent, Message: fmt.Sprintf("duplicate state of %d offsets, at most %d", below-since, MaxStateOffsets)}
	}
	ctx, cancel := w.bound(ctx)
	defer cancel()
	// Words of 64 sequence numbers, the 17 highest of each boot, in one pass.
	q := "SELECT device_no, boot, max(highest), groupArraySorted(" + strconv.Itoa(Window/64+1) + ")((-toInt64(word), bits)) AS top," +
		" arrayMap(t -> toUInt64(-t.1), top), arrayMap(t -> t.2, top) FROM (" +
		"SELECT device_no, boot, bitShiftRight(seq, 6) AS word, groupBitOr(bitShiftLeft(toUInt64(1), bitAnd(seq, 63))) AS bits," +
		" max(seq) AS highest FROM " + w.table("ledger") + " WHERE " + first + " AND off >= {since:UInt64} GROUP BY device_no, boot, word)" +
		" GROUP BY device_no, boot"
	q = "SELECT * EXCEPT top FROM (" + q + ")"
	rows, err := w.conn.Query(params(ctx, "gen", u16(gen), "part", u16(part), "since", u64(since), "below", u64(below)), q)
	if err != nil {
		return fmt.Errorf("warehouse: duplicate state %d/%d from %d below %d: %w", gen, part, since, below, classify(err))
	}
	defer rows.Close()
	for rows.Next() {
		var s Seen
		var words, sets []uint64
		if err := rows.Scan(&s.DeviceNo, &s.Boot, &s.High, &words, &sets); err != nil {
			return fmt.Errorf("warehouse: duplicate state: %w", err)
		}
		for i, word := range words {
			s.add(word<<6, sets[i])
		}
		if err := yield(&s); err != nil {
			return err
		}
	}
	if err := rows.Err(); err != nil {
		return fmt.Errorf("warehouse: duplicate state %d/%d: %w", gen, part, classify(err))
	}
	return nil
}

// Key is a message's own number.
type Key struct {
	DeviceNo uint32
	Boot     uint32
	Seq      uint64
}

// First is where a key was first seen.
type First struct {
	Off  uint64
	Hash uint32
}

// MaxLookupKeys is how many keys one LookupKeys takes.
const MaxLookupKeys = 10_000

// LookupOffsets is how many offsets of the ledger one question for keys reads: some seconds of the engine's time.
const LookupOffsets = 50_000_000

// LookupKeys finds the first occurrence, below an offset, of each key that has
// one. It reads the whole partition of the ledger below that offset, a span
// after another, whatever the number of keys: gather them.
func (w *Warehouse) LookupKeys(ctx context.Context, gen, part uint16, below uint64, keys []Key) (map[Key]First, error) {
	return w.lookUp(ctx, gen, part, below, LookupOffsets, keys)
}

func (w *Warehouse) lookUp(ctx context.Context, gen, part uint16, below, step uint64, keys []Key) (map[Key]First, error) {
	if len(keys) == 0 {
		return nil, nil
	}
	if len(keys) > MaxLookupKeys {
		return nil, &Error{Class: Permanent, Message: fmt.Sprintf("%d keys, at most %d", len(keys), MaxLookupKeys)}
	}
	var list strings.Builder
	list.WriteByte('[')
	for i, k := range keys {
		if i > 0 {
			list.WriteByte(',')
		}
		fmt.Fprintf(&list, "(%d,%d,%d)", k.DeviceNo, k.Boot, k.Seq)
	}
	list.WriteByte(']')
	spans, err := w.LedgerSpans(ctx, gen, part, below, step)
	if err != nil {
		return nil, err
	}
	found := make(map[Key]First)
	for _, s := range spans {
		if err := w.lookUpSpan(ctx, gen, part, s, list.String(), found); err != nil {
			return nil, fmt.Errorf("warehouse: look up %d keys in %d/%d from %d below %d: %w", len(keys), gen, part, s.Since, s.Below, err)
		}
	}
	return found, nil
}

// lookUpSpan adds the keys that were first seen in a span; spans come in order.
func (w *Warehouse) lookUpSpan(ctx context.Context, gen, part uint16, s Span, keys string, found map[Key]First) error {
	ctx, cancel := w.bound(ctx)
	defer cancel()
	rows, err := w.conn.Query(params(ctx, "gen", u16(gen), "part", u16(part), "since", u64(s.Since), "below", u64(s.Below), "keys", keys),
		"SELECT device_no, boot, seq, min(off), argMin(hash, off) FROM "+w.table("ledger")+" WHERE "+first+" AND off >= {since:UInt64}"+
			" AND (device_no, boot, seq) IN (SELECT k.1, k.2, k.3 FROM (SELECT arrayJoin({keys:Array(Tuple(UInt32, UInt32, UInt64))}) AS k))"+
			" GROUP BY device_no, boot, seq")
	if err != nil {
		return classify(err)
	}
	defer rows.Close()
	for rows.Next() {
		var k Key
		var f First
		if err := rows.Scan(&k.DeviceNo, &k.Boot, &k.Seq, &f.Off, &f.Hash); err != nil {
			return err
		}
		if _, earlier := found[k]; !earlier {
			found[k] = f
		}
	}
	return classify(rows.Err())
}

// KillQuery ends the query of that id and returns when it is over, or at once
// when there is none.
func (w *Warehouse) KillQuery(ctx context.Context, id string) error {
	if id == "" || len(id) > 512 || strings.ContainsAny(id, "'\\\x00") {
		return &Error{Class: Permanent, Message: fmt.Sprintf("query id %q", id)}
	}
	ctx, cancel := w.bound(ctx)
	defer cancel()
	// KILL takes no parameters everywhere; the id has no quote in it.
	if err := w.conn.Exec(ctx, "KILL QUERY WHERE query_id = "+literal(id)+" SYNC"); err != nil {
		return fmt.Errorf("warehouse: kill query %s: %w", id, classify(err))
	}
	return nil
}

// errClock is an engine whose uptime makes no sense.
var errClock = errors.New("the engine's start lies in the future")

// Started is when the engine was started, to a second or two: two answers more
// than a few seconds apart are two lives of the engine, the second of which
// may lack what the first had not brought to disk.
func (w *Warehouse) Started(ctx context.Context) (time.Time, error) {
	ctx, cancel := w.bound(ctx)
	defer cancel()
	var now int64
	var up uint32
	if err := w.conn.QueryRow(ctx, "SELECT toUnixTimestamp64Milli(now64(3)), uptime()").Scan(&now, &up); err != nil {
		return time.Time{}, fmt.Errorf("warehouse: start time: %w", classify(err))
	}
	t := time.UnixMilli(now).Add(-time.Duration(up) * time.Second)
	if t.After(time.UnixMilli(now)) {
		return time.Time{}, errClock
	}
	return t.UTC(), nil
}
