package rehearsal

import (
	"context"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"

	"muster.dev/fleet/scenario"
	"muster.dev/fleet/simulator/report"
	"muster.dev/fleet/simulator/world"
	"muster.dev/platform/warehouse"
)

func timeOf(s *scenario.Sleep) time.Duration { return time.Duration(s.From) }

// The time of a message is that of its newest reading, or of its arrival where the device's clock is out of all bounds.
const (
	timely  = "t1 BETWEEN -2592000000 AND 600000"
	eventMS = "(toUnixTimestamp64Milli(got) + if(" + timely + ", t1, 0))"
	lagMS   = "greatest(0, if(" + timely + ", -t1, 0))"
)

// rowsAtOnce bounds how many rows of the ledger are put in order of time at once.
const rowsAtOnce = 8_000_000

// Hear is the store's side of the facts.
func Hear(ctx context.Context, house *warehouse.Warehouse, w *world.World, f *report.Facts, scope Scope) error {
	scope.index = make(map[uint32]int, len(scope.Numbers))
	for i, no := range scope.Numbers {
		if no != 0 {
			scope.index[no] = i
		}
	}
	h := hearing{conn: house.Conn(), f: f, world: w, scope: scope}
	for _, step := range []func(context.Context) error{h.messages, h.events, h.quarantine, h.silences, h.lags, h.disk} {
		if err := step(ctx); err != nil {
			return fmt.Errorf("asking the store for the report: %w", err)
		}
	}
	return nil
}

type hearing struct {
	conn  driver.Conn
	f     *report.Facts
	world *world.World
	scope Scope
	rows  uint64
}

// of is the condition for the simulation's rows of a topic.
func (h *hearing) of(gen uint16) string {
	var b strings.Builder
	fmt.Fprintf(&b, "topic_gen = %d", gen)
	if h.scope.From > 0 {
		fmt.Fprintf(&b, " AND got >= fromUnixTimestamp64Milli(%d)", h.scope.From)
	}
	if h.scope.Boots > 0 {
		fmt.Fprintf(&b, " AND boot >= %d", h.scope.Boots)
	}
	if h.scope.Real {
		b.WriteString(" AND (" + among(h.scope.Numbers) + ")") // other devices of the stack boot too
	}
	return b.String()
}

// among is the condition for rows of devices by their numbers, which for the most part follow each other.
func among(numbers []uint32) string {
	sorted := slices.Sorted(slices.Values(numbers))
	var ranges []string
	for i := 0; i < len(sorted); {
		first, last := sorted[i], sorted[i]
		for i++; i < len(sorted) && sorted[i] <= last+1; i++ {
			last = sorted[i]
		}
		if last > 0 { // 0 is nobody's
			ranges = append(ranges, fmt.Sprintf("device_no BETWEEN %d AND %d", max(first, 1), last))
		}
	}
	if ranges == nil {
		return "false"
	}
	return strings.Join(ranges, " OR ")
}

// interval is the interval of a row's device in ms, as an expression.
const interval = "(SELECT no, interval_ms, cohort FROM muster.devices) AS d ON d.no = l.device_no"

func (h *hearing) messages(ctx context.Context) error {
	rows, err := h.conn.Query(ctx, `SELECT device_no, countIf(outcome = 'stored'), sumIf(key, outcome = 'stored'), sumIf((key + 1) * hash, outcome = 'stored'),
    countIf(outcome = 'stored') - uniqExactIf(key, outcome = 'stored'), countIf(outcome = 'duplicate'), countIf(outcome = 'conflict'),
    countIf(outcome = 'quarantined'), sum(n), sum(faults), sum(bytes), countIf(outcome = 'stored' AND lag > d.interval_ms), maxIf(lag, outcome = 'stored'),
    minIf(at, outcome = 'stored'), maxIf(at, outcome = 'stored')
FROM (SELECT device_no, outcome, toUInt64(bitShiftLeft(toUInt64(boot), 40) + seq) AS key, toUInt64(hash) AS hash, n, faults, bytes, `+lagMS+` AS lag, `+eventMS+` AS at
    FROM muster.ledger WHERE `+h.of(h.scope.Telemetry)+` AND outcome != 'control') AS l
LEFT ANY JOIN `+interval+` GROUP BY device_no`)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var no uint32
		var x report.Heard
		var doubles int64
		if err := rows.Scan(&no, &x.Telemetry.Count, &x.Telemetry.Keys, &x.Telemetry.Bytes, &doubles, &x.Duplicates, &x.Conflicts,
			&x.Quarantined, &x.Values, &x.Faults, &x.Bytes, &x.Late, &x.Latest, &x.First, &x.Last); err != nil {
			return err
		}
		i, ok := h.scope.index[no]
		if !ok {
			continue
		}
		x.Doubles = uint64(doubles)
		h.f.Members[i].Heard = x
		h.rows += x.Telemetry.Count
	}
	return rows.Err()
}

func (h *hearing) events(ctx context.Context) error {
	rows, err := h.conn.Query(ctx, `SELECT device_no, count(), sum(key), sum((key + 1) * hash), count() - uniqExact(key)
FROM (SELECT device_no, toUInt64(bitShiftLeft(toUInt64(boot), 40) + seq) AS key, toUInt64(hash) AS hash FROM muster.ledger
    WHERE `+h.of(h.scope.Events)+` AND outcome = 'stored' AND seq != 18446744073709551615) GROUP BY device_no`)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var no uint32
		var p report.Print
		var doubles int64
		if err := rows.Scan(&no, &p.Count, &p.Keys, &p.Bytes, &doubles); err != nil {
			return err
		}
		if i, ok := h.scope.index[no]; ok {
			h.f.Members[i].Heard.Events = p
			h.f.Members[i].Heard.Doubles += uint64(doubles)
		}
	}
	return rows.Err()
}

// quarantine asks why values are not stored.
func (h *hearing) quarantine(ctx context.Context) error {
	rows, err := h.conn.Query(ctx, "SELECT toString(reason), device_no, count() FROM muster.quarantine WHERE "+h.of(h.scope.Telemetry)+" GROUP BY 1, 2 ORDER BY 1, 2")
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var reason string
		var no uint32
		var n uint64
		if err := rows.Scan(&reason, &no, &n); err != nil {
			return err
		}
		if _, ok := h.scope.index[no]; !ok {
			continue
		}
		if last := len(h.f.Quarantine) - 1; last < 0 || h.f.Quarantine[last].Reason != reason {
			h.f.Quarantine = append(h.f.Quarantine, report.Quarantine{Reason: reason})
		}
		q := &h.f.Quarantine[len(h.f.Quarantine)-1]
		q.Values, q.Devices = q.Values+n, q.Devices+1
	}
	return rows.Err()
}

// silences finds where a device was not heard for more than an interval and a half, some devices at a time.
func (h *hearing) silences(ctx context.Context) error {
	parts := h.rows/rowsAtOnce + 1
	for part := range parts {
		if err := h.silencesOf(ctx, part, parts); err != nil {
			return err
		}
	}
	for i := range h.f.Members {
		m := &h.f.Members[i]
		switch {
		case m.Heard.Telemetry.Count == 0:
			h.silent(i, m.From, m.Until)
		default:
			h.silent(i, m.From, m.Told.Clock.True(m.Heard.First))
			h.silent(i, m.Told.Clock.True(m.Heard.Last), m.Until)
		}
	}
	return nil
}

func (h *hearing) silencesOf(ctx context.Context, part, parts uint64) error {
	rows, err := h.conn.Query(ctx, fmt.Sprintf(`SELECT device_no, prev, at FROM (
    SELECT device_no, at, interval_ms, lagInFrame(at, 1, 0) OVER (PARTITION BY device_no ORDER BY at ROWS BETWEEN 1 PRECEDING AND CURRENT ROW) AS prev
    FROM (SELECT device_no, %s AS at FROM muster.ledger WHERE %s AND outcome = 'stored' AND device_no %% %d = %d) AS l LEFT ANY JOIN %s)
WHERE prev > 0 AND 2 * (at - prev) > 3 * interval_ms ORDER BY device_no, at`, eventMS, h.of(h.scope.Telemetry), parts, part, interval))
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var no uint32
		var from, until int64
		if err := rows.Scan(&no, &from, &until); err != nil {
			return err
		}
		if i, ok := h.scope.index[no]; ok {
			clock := &h.f.Members[i].Told.Clock
			h.silent(i, clock.True(from), clock.True(until))
		}
	}
	return rows.Err()
}

// silent tells of a true stretch of time between two messages, or between one and the beginning or the end, if something is missing in it.
func (h *hearing) silent(i int, from, until int64) {
	m := &h.f.Members[i]
	every := h.f.Cohorts[m.Cohort].Interval.Milliseconds()
	if 2*(until-from) <= 3*every || from >= m.Until {
		return
	}
	missed := math.Round(float64(until-from)/float64(every)) - 1
	if from == m.From || until == m.Until {
		missed = math.Floor(float64(until-from) / float64(every)) // no message ends it, or begins it
	}
	if missed >= 1 {
		h.f.Silences = append(h.f.Silences, report.Silence{Member: i, From: from, Until: until, Missed: uint64(missed)})
	}
}

func (h *hearing) lags(ctx context.Context) error {
	cohorts := make(map[string]int, len(h.f.Cohorts))
	for i := range h.f.Cohorts {
		cohorts[h.f.Cohorts[i].Name] = i
	}
	h.f.Lags = make([]report.Lag, len(h.f.Cohorts)+1)
	rows, err := h.conn.Query(ctx, `SELECT cohort, grouping(cohort) = 1, quantileExact(0.5)(lag), quantileExact(0.99)(lag), max(lag) FROM (
    SELECT device_no, toInt64(`+lagMS+`) AS lag FROM muster.ledger WHERE `+h.of(h.scope.Telemetry)+` AND outcome = 'stored' AND `+timely+`) AS l
LEFT ANY JOIN `+interval+` GROUP BY GROUPING SETS ((cohort), ())`)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var name string
		var all bool
		var p50, p99, most int64
		if err := rows.Scan(&name, &all, &p50, &p99, &most); err != nil {
			return err
		}
		i, ok := cohorts[name]
		if all {
			i, ok = len(h.f.Cohorts), true
		}
		if ok {
			h.f.Lags[i] = report.Lag{P50: ms(p50), P99: ms(p99), Max: ms(most)}
		}
	}
	if err := rows.Err(); err != nil || !h.scope.Real {
		return err
	}
	var p50, p99, most int64
	err = h.conn.QueryRow(ctx, `SELECT quantileExact(0.5)(lag), quantileExact(0.99)(lag), max(lag) FROM (
    SELECT toUnixTimestamp64Milli(stored_at) - toUnixTimestamp64Milli(got) AS lag FROM muster.ledger WHERE `+h.of(h.scope.Telemetry)+` AND outcome = 'stored')`).Scan(&p50, &p99, &most)
	h.f.Real = &report.Quantiles{P50: ms(p50), P99: ms(p99), Max: ms(most)}
	return err
}

func ms(n int64) time.Duration { return time.Duration(n) * time.Millisecond }

func (h *hearing) disk(ctx context.Context) error {
	rows, err := h.conn.Query(ctx, "SELECT table, sum(bytes_on_disk) FROM system.parts WHERE database = 'muster' AND active GROUP BY table HAVING sum(rows) > 0 ORDER BY table")
	if err != nil {
		return err
	}
	defer rows.Close()
	h.f.Disk.Tables = map[string]uint64{}
	for rows.Next() {
		var table string
		var n uint64
		if err := rows.Scan(&table, &n); err != nil {
			return err
		}
		h.f.Disk.Tables[table] = n
		h.f.Disk.Store += n
	}
	return rows.Err()
}
