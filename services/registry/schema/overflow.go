package schema

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"muster.dev/platform/warehouse"
	"muster.dev/proto/batch"
	"muster.dev/services/registry/decide"
)

// partition is one of the log.
type partition struct{ gen, part uint16 }

// key is a metric of a profile, by names.
type key struct{ profile, metric string }

// maxKeys bounds what one look takes, and what is remembered: a million names of metrics are an attack or a mistake.
const maxKeys = 4096

// unread is the condition on rows that were not looked at yet. The overflow's index on off prunes by the lowest of them.
func unread(positions map[partition]uint64) string {
	if len(positions) == 0 {
		return "1"
	}
	lowest := ^uint64(0)
	conditions := []string{}
	for at, off := range positions {
		lowest = min(lowest, off)
		conditions = append(conditions, fmt.Sprintf("(topic_gen != %d OR part != %d OR off >= %d)", at.gen, at.part, off))
	}
	return strings.Join(conditions, " AND ")
}

// positions are the offsets behind the overflow's last rows, of the partitions that have new ones.
func (c *Controller) newRows(ctx context.Context) (map[partition]uint64, error) {
	rows, err := c.store.Conn().Query(ctx, fmt.Sprintf("SELECT topic_gen, part, max(off) + 1 FROM %s WHERE %s GROUP BY topic_gen, part",
		c.table("s_other"), unread(c.positions)))
	if err != nil {
		return nil, fmt.Errorf("look for new rows in the overflow: %w", err)
	}
	defer rows.Close()
	next := map[partition]uint64{}
	for rows.Next() {
		var at partition
		var off uint64
		if err := rows.Scan(&at.gen, &at.part, &off); err != nil {
			return nil, fmt.Errorf("look for new rows in the overflow: %w", err)
		}
		next[at] = off
	}
	return next, rows.Err()
}

// errUnknownDevice says that rows are of a device that the table of devices does not have yet.
var errUnknownDevice = errors.New("the table of devices lags behind")

// look reads what is new in the overflow, up to the positions.
func (c *Controller) look(ctx context.Context, next map[partition]uint64) (map[key]seen, error) {
	var bounds []string
	for at, off := range next {
		bounds = append(bounds, fmt.Sprintf("(topic_gen = %d AND part = %d AND off < %d)", at.gen, at.part, off))
	}
	rows, err := c.store.Conn().Query(ctx, fmt.Sprintf(`SELECT d.profile, o.metric, sum(o.ints), sum(o.floats), sum(o.bools), sum(o.texts), max(o.top), max(o.magnitude), max(o.distinct), groupArraySorted(%d)(o.device_no)
FROM (
    SELECT device_no, CAST(metric, 'String') AS metric, countIf(scale >= 0) AS ints, countIf(scale = -1) AS floats, countIf(scale = -2) AS bools, countIf(scale = -3) AS texts,
        maxIf(scale, scale >= 0) AS top, maxIf(abs(value), scale >= 0) AS magnitude, uniqUpTo(%d)(text) AS distinct
    FROM %s WHERE %s AND (%s) GROUP BY device_no, metric
) AS o LEFT ANY JOIN (SELECT no, CAST(profile, 'String') AS profile FROM %s) AS d ON o.device_no = d.no
GROUP BY d.profile, o.metric ORDER BY count() DESC, sum(o.ints) + sum(o.floats) + sum(o.bools) + sum(o.texts) DESC, d.profile, o.metric LIMIT %d`,
		maxSenders, maxTexts, c.table("s_other"), unread(c.positions), strings.Join(bounds, " OR "), c.table("device_rows"), maxKeys))
	if err != nil {
		return nil, fmt.Errorf("look into the overflow: %w", err)
	}
	defer rows.Close()
	found := map[key]seen{}
	for rows.Next() {
		var k key
		var s seen
		if err := rows.Scan(&k.profile, &k.metric, &s.ints, &s.floats, &s.bools, &s.texts, &s.scale, &s.magnitude, &s.distinct, &s.devices); err != nil {
			return nil, fmt.Errorf("look into the overflow: %w", err)
		}
		if k.profile == "" {
			return nil, errUnknownDevice
		}
		found[k] = s
	}
	return found, rows.Err()
}

// enrolled is how many devices a profile has.
func (c *Controller) enrolled(ctx context.Context, profile string) (uint64, error) {
	var n uint64
	if err := c.store.Conn().QueryRow(ctx, "SELECT count() FROM "+c.table("device_rows")+" WHERE profile = ?", profile).Scan(&n); err != nil {
		return 0, fmt.Errorf("count the devices of profile %s: %w", profile, err)
	}
	return n, nil
}

// columns are the metrics that the wide tables have, by profile, as their columns tell.
func (c *Controller) columns(ctx context.Context) (map[string]map[string]decide.Metric, error) {
	rows, err := c.store.Conn().Query(ctx, "SELECT table, name, type FROM system.columns WHERE database = '"+c.store.Database()+"' AND startsWith(table, 'w_')")
	if err != nil {
		return nil, fmt.Errorf("list the wide tables: %w", err)
	}
	defer rows.Close()
	tables := map[string]map[string]decide.Metric{}
	for rows.Next() {
		var table, column, typ string
		if err := rows.Scan(&table, &column, &typ); err != nil {
			return nil, fmt.Errorf("list the wide tables: %w", err)
		}
		profile := strings.TrimPrefix(table, "w_")
		if tables[profile] == nil {
			tables[profile] = map[string]decide.Metric{}
		}
		if m, ok := metricOf(column, typ); ok {
			tables[profile][m.Name] = m
		}
	}
	return tables, rows.Err()
}

// metricOf reads a metric back from its column; the table's own columns are none.
func metricOf(column, typ string) (decide.Metric, bool) {
	name := strings.TrimPrefix(column, "M_")
	for _, m := range candidates(name) {
		w := warehouse.Metric{Name: m.Name, Kind: m.Kind, Scale: m.Scale}
		if warehouse.MetricColumn(name) == column && w.ColumnType() == typ {
			return m, true
		}
	}
	return decide.Metric{}, false
}

func candidates(name string) []decide.Metric {
	out := []decide.Metric{{Name: name, Kind: batch.Float}, {Name: name, Kind: batch.Bool}, {Name: name, Kind: batch.Text}}
	for scale := range uint8(batch.MaxScale + 1) {
		out = append(out, decide.Metric{Name: name, Kind: batch.Int, Scale: scale})
	}
	return out
}
