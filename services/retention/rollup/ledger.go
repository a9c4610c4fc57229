package rollup

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"
)

// longSpan is how far apart, in hours, the first and the last reading of a message may be for all hours between to be
// taken as touched. Of a message with more, an import of old readings or one with an absurd time, the raw rows are asked.
const longSpan = 48

// settled is the age at which a gap in the ledger's offsets is taken for one that stays: what the log no longer had.
const settled = time.Hour

// unread is the condition on ledger rows that were not read. The index prunes by it, though it is a negation: a
// partition without a position is read whole.
func (p progress) unread() string {
	conditions := []string{"1"}
	for at, pos := range p.positions {
		conditions = append(conditions, fmt.Sprintf("(topic_gen != %d OR part != %d OR off >= %d)", at.gen, at.part, pos.off))
	}
	return strings.Join(conditions, " AND ")
}

const spanSQL = "intDiv(greatest(toUnixTimestamp64Milli(got) + t0, 0), 3600000) AS f, intDiv(greatest(toUnixTimestamp64Milli(got) + t1, 0), 3600000) AS l"

// touched reads what is new in the ledger: the hours before limit that it touched, and the positions behind it.
func (r *Rollup) touched(ctx context.Context, p progress, tables []wide, limit int64) (hours, map[partition]position, error) {
	dirty := hours{}
	positions := map[partition]position{}
	var bounds []string
	var long uint64

	rows, err := r.store.Conn().Query(ctx, fmt.Sprintf(`SELECT topic_gen, part, count(), max(off), argMax(stored_at, off),
    groupUniqArrayIf(bitOr(bitShiftLeft(toUInt64(f), 32), toUInt64(l)), stored AND l - f <= %d), countIf(stored AND l - f > %d)
FROM (SELECT topic_gen, part, off, stored_at, outcome = 'stored' AND n > 0 AS stored, %s FROM %s WHERE %s)
GROUP BY topic_gen, part`, longSpan, longSpan, spanSQL, r.table("ledger"), p.unread()))
	if err != nil {
		return nil, nil, fmt.Errorf("read the ledger: %w", err)
	}
	defer rows.Close()
	for rows.Next() {
		var (
			at          partition
			count, last uint64
			pos         position
			spans       []uint64
			far         uint64
		)
		if err := rows.Scan(&at.gen, &at.part, &count, &last, &pos.stored, &spans, &far); err != nil {
			return nil, nil, fmt.Errorf("read the ledger: %w", err)
		}
		for _, s := range spans {
			dirty.add(int64(s>>32), int64(s&(1<<32-1)), limit)
		}
		long += far
		bounds = append(bounds, fmt.Sprintf("(topic_gen = %d AND part = %d AND off <= %d)", at.gen, at.part, last))
		if pos.off = last + 1; pos.off-p.positions[at].off != count {
			if pos, err = r.behindGap(ctx, at, p.positions[at], pos); err != nil {
				return nil, nil, err
			}
		}
		if pos.off > 0 {
			positions[at] = pos
		}
	}
	if err := rows.Err(); err != nil {
		return nil, nil, fmt.Errorf("read the ledger: %w", err)
	}
	if long > 0 {
		if err := r.touchedByLong(ctx, dirty, p, tables, "("+strings.Join(bounds, " OR ")+")", limit); err != nil {
			return nil, nil, err
		}
	}
	return dirty, positions, nil
}

// behindGap is the position at the first gap that may still be filled: a plan whose ledger rows fall into two months
// lands in two pieces. Rows behind it are read again by each pass until then.
func (r *Rollup) behindGap(ctx context.Context, at partition, from, to position) (position, error) {
	rows, err := r.store.Conn().Query(ctx, fmt.Sprintf(`SELECT off, stored_at, next FROM (
    SELECT off, stored_at, leadInFrame(off, 1, off + 1) OVER w AS next, leadInFrame(stored_at, 1, stored_at) OVER w AS next_stored
    FROM %s WHERE topic_gen = %d AND part = %d AND off >= %d AND off < %d
    WINDOW w AS (ORDER BY off ROWS BETWEEN CURRENT ROW AND 1 FOLLOWING)
) WHERE next > off + 1 AND next_stored > now64(3) - toIntervalSecond(%d) ORDER BY off LIMIT 1`,
		r.table("ledger"), at.gen, at.part, from.off, to.off, int(settled.Seconds())))
	if err != nil {
		return to, fmt.Errorf("look for a gap in the ledger: %w", err)
	}
	defer rows.Close()
	for rows.Next() {
		var off, next uint64
		var stored time.Time
		if err := rows.Scan(&off, &stored, &next); err != nil {
			return to, fmt.Errorf("look for a gap in the ledger: %w", err)
		}
		r.log.Warn("a gap in the ledger; waiting for it to be filled", "topic_gen", at.gen, "partition", at.part, "after", off, "next", next)
		to = position{off: off + 1, stored: stored}
	}
	return to, rows.Err()
}

// touchedByLong asks the raw rows of messages whose readings lie far apart for their hours.
func (r *Rollup) touchedByLong(ctx context.Context, dirty hours, p progress, tables []wide, bounds string, limit int64) error {
	long := fmt.Sprintf("FROM (SELECT topic_gen, part, off, %s FROM %s WHERE outcome = 'stored' AND n > 0 AND %s AND %s) WHERE l - f > %d",
		spanSQL, r.table("ledger"), p.unread(), bounds, longSpan)
	names := slices.Clone(narrow)
	for _, w := range tables {
		names = append(names, w.table)
	}
	var branches []string
	for _, name := range names {
		// The condition on off alone is for the index on it.
		branches = append(branches, fmt.Sprintf("SELECT intDiv(toUnixTimestamp64Milli(ts), 3600000) AS hour FROM %s WHERE off IN (SELECT off %s) AND (topic_gen, part, off) IN (SELECT topic_gen, part, off %s)",
			r.table(name), long, long))
	}
	rows, err := r.store.Conn().Query(ctx, "SELECT DISTINCT hour FROM ("+strings.Join(branches, " UNION ALL ")+")")
	if err != nil {
		return fmt.Errorf("ask the samples for the hours of long messages: %w", err)
	}
	defer rows.Close()
	for rows.Next() {
		var hour int64
		if err := rows.Scan(&hour); err != nil {
			return fmt.Errorf("ask the samples for the hours of long messages: %w", err)
		}
		dirty.add(hour, hour, limit)
	}
	return rows.Err()
}

// rawDays are the days, of those that are asked for, of which raw rows are there, sorted.
func (r *Rollup) rawDays(ctx context.Context, of []int64) ([]int64, error) {
	days, err := r.daysOf(ctx, fmt.Sprintf(`SELECT DISTINCT toUInt32OrZero(extract(partition, '(\\d{8})\\)$')) FROM system.parts
WHERE database = %s AND active AND (table = 's_other' OR startsWith(table, 'w_'))`, literal(r.store.Database())))
	if err != nil {
		return nil, err
	}
	rest := slices.DeleteFunc(slices.Clone(of), func(day int64) bool { _, found := slices.BinarySearch(days, day); return found })
	if len(rest) == 0 {
		return days, nil
	}
	// What is kept by year says nothing of days by its partitions.
	old, err := r.daysOf(ctx, fmt.Sprintf("SELECT DISTINCT toYYYYMMDD(ts) FROM %s WHERE ts >= toDateTime64(%d, 3, 'UTC') AND ts < toDateTime64(%d, 3, 'UTC')",
		r.table(oldTable), slices.Min(rest)*86400, (slices.Max(rest)+1)*86400))
	if err != nil {
		return nil, err
	}
	days = append(days, old...)
	slices.Sort(days)
	return slices.Compact(days), nil
}

func (r *Rollup) daysOf(ctx context.Context, query string) ([]int64, error) {
	rows, err := r.store.Conn().Query(ctx, query)
	if err != nil {
		return nil, fmt.Errorf("list the days: %w", err)
	}
	defer rows.Close()
	var days []int64
	for rows.Next() {
		var date uint32
		if err := rows.Scan(&date); err != nil {
			return nil, fmt.Errorf("list the days: %w", err)
		}
		if date > 0 {
			days = append(days, dayOf(date))
		}
	}
	slices.Sort(days)
	return days, rows.Err()
}

// dayOf counts the days from 1970 to a date written as 20261122.
func dayOf(date uint32) int64 {
	return time.Date(int(date/10000), time.Month(date/100%100), int(date%100), 0, 0, 0, 0, time.UTC).Unix() / 86400
}

// dateOf writes a day as 20261122.
func dateOf(day int64) string { return time.Unix(day*86400, 0).UTC().Format("20060102") }

func dates(days []int64) []string {
	out := make([]string, len(days))
	for i, day := range days {
		out[i] = dateOf(day)
	}
	return out
}
