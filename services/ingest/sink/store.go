package sink

import (
	"context"
	"fmt"
	"strings"

	"muster.dev/platform/warehouse"
)

// store is the warehouse with the questions that only the sink has.
type store struct{ *warehouse.Warehouse }

func (s store) table(name string) string { return "`" + s.Database() + "`.`" + name + "`" }

// frontierStep is how many offsets one question of frontier looks at.
const frontierStep = 2_000_000

// frontier is the first offset, from one on, that the ledger does not hold.
func (s store) frontier(ctx context.Context, gen, part uint16, from uint64) (uint64, error) {
	return s.frontierBy(ctx, gen, part, from, frontierStep)
}

// frontierBy counts a range of offsets after another, and looks for the gap in the first that is not whole.
func (s store) frontierBy(ctx context.Context, gen, part uint16, from, step uint64) (uint64, error) {
	for {
		_, offsets, err := s.LedgerRange(ctx, gen, part, from, from+step-1)
		if err != nil {
			return 0, err
		}
		if offsets < step {
			return s.gap(ctx, gen, part, from, from+step-1)
		}
		from += step
	}
}

// gap is the first offset from one to another that the ledger does not hold; there is one.
func (s store) gap(ctx context.Context, gen, part uint16, from, to uint64) (uint64, error) {
	where := fmt.Sprintf("topic_gen = %d AND part = %d AND off >= %d AND off <= %d", gen, part, from, to)
	var has, end uint64
	err := s.Conn().QueryRow(ctx, "SELECT countIf(off = "+fmt.Sprint(from)+"), toUInt64(minOrDefaultIf(off, next != off + 1)) FROM ("+
		"SELECT off, leadInFrame(off, 1, toUInt64(0)) OVER (ORDER BY off ROWS BETWEEN CURRENT ROW AND 1 FOLLOWING) AS next"+
		" FROM (SELECT DISTINCT off FROM "+s.table("ledger")+" WHERE "+where+"))").Scan(&has, &end)
	if err != nil {
		return 0, fmt.Errorf("end of the ledger %d/%d from %d: %w", gen, part, from, err)
	}
	if has == 0 {
		return from, nil
	}
	return end + 1, nil
}

// strays counts, by table, the rows at and above an offset. Tables without any are absent.
func (s store) strays(ctx context.Context, gen, part uint16, from uint64) (map[string]uint64, error) {
	tables, err := s.tables(ctx)
	if err != nil {
		return nil, err
	}
	out := map[string]uint64{}
	for _, t := range tables {
		var n uint64
		if err := s.Conn().QueryRow(ctx, fmt.Sprintf("SELECT count() FROM %s WHERE topic_gen = %d AND part = %d AND off >= %d", s.table(t), gen, part, from)).Scan(&n); err != nil {
			return nil, fmt.Errorf("rows of %s above %d: %w", t, from, err)
		}
		if n > 0 {
			out[t] = n
		}
	}
	return out, nil
}

// tables are those that plans write to.
func (s store) tables(ctx context.Context) ([]string, error) {
	rows, err := s.Conn().Query(ctx, "SELECT name FROM system.tables WHERE database = '"+s.Database()+"' AND (name IN ('s_other', 's_old', 'device_events', 'quarantine', 'ledger') OR startsWith(name, 'w_')) AND endsWith(engine, 'MergeTree')")
	if err != nil {
		return nil, fmt.Errorf("list the tables: %w", err)
	}
	defer rows.Close()
	var out []string
	for rows.Next() {
		var name string
		if err := rows.Scan(&name); err != nil {
			return nil, fmt.Errorf("list the tables: %w", err)
		}
		out = append(out, name)
	}
	return out, rows.Err()
}

// takeBack deletes a table's rows at and above an offset, and returns when they are gone.
func (s store) takeBack(ctx context.Context, table string, gen, part uint16, from uint64) error {
	err := s.Conn().Exec(ctx, fmt.Sprintf("ALTER TABLE %s DELETE WHERE topic_gen = %d AND part = %d AND off >= %d SETTINGS mutations_sync = 2", s.table(table), gen, part, from))
	if err != nil {
		return fmt.Errorf("take back rows of %s above %d: %w", table, from, err)
	}
	return nil
}

// highest is, for each boot of a device, the highest seq that is stored below an offset. Boots without any are absent.
func (s store) highest(ctx context.Context, gen, part uint16, below uint64, boots [][2]uint32) (map[[2]uint32]uint64, error) {
	spans, err := s.LedgerSpans(ctx, gen, part, below, warehouse.LookupOffsets)
	if err != nil {
		return nil, err
	}
	var list strings.Builder
	for i, b := range boots {
		if i > 0 {
			list.WriteByte(',')
		}
		fmt.Fprintf(&list, "(%d,%d)", b[0], b[1])
	}
	out := map[[2]uint32]uint64{}
	for _, span := range spans {
		if err := s.highestIn(ctx, gen, part, span, list.String(), out); err != nil {
			return nil, fmt.Errorf("highest seqs from %d below %d: %w", span.Since, span.Below, err)
		}
	}
	return out, nil
}

// highestIn raises out to what a span of the ledger holds.
func (s store) highestIn(ctx context.Context, gen, part uint16, span warehouse.Span, boots string, out map[[2]uint32]uint64) error {
	rows, err := s.Conn().Query(ctx, fmt.Sprintf("SELECT device_no, boot, max(seq) FROM %s WHERE topic_gen = %d AND part = %d AND off >= %d AND off < %d AND outcome IN ('stored', 'quarantined')"+
		" AND seq != %d AND (device_no, boot) IN (%s) GROUP BY device_no, boot", s.table("ledger"), gen, part, span.Since, span.Below, uint64(warehouse.Unkeyed), boots))
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var device, boot uint32
		var high uint64
		if err := rows.Scan(&device, &boot, &high); err != nil {
			return err
		}
		b := [2]uint32{device, boot}
		out[b] = max(out[b], high)
	}
	return rows.Err()
}

// adopt makes boots that the cache has forgotten known to it again.
func (w *worker) adopt(ctx context.Context, below int64, keys []warehouse.Key) error {
	var boots [][2]uint32
	asked := map[[2]uint32]bool{}
	for _, k := range keys {
		b := [2]uint32{k.DeviceNo, k.Boot}
		if !asked[b] && !w.seen.Knows(k.DeviceNo, k.Boot) {
			asked[b] = true
			boots = append(boots, b)
		}
	}
	for len(boots) > 0 {
		n := min(len(boots), warehouse.MaxLookupKeys)
		err := w.insist(ctx, "look up boots", func() error {
			high, err := w.sink.store.highest(ctx, w.gen, uint16(w.part), uint64(below), boots[:n])
			if err != nil {
				return err
			}
			for _, b := range boots[:n] {
				h, found := high[b]
				w.seen.Adopt(b[0], b[1], h, found)
			}
			return nil
		})
		if err != nil {
			return err
		}
		boots = boots[n:]
	}
	return nil
}
