package rollup

import (
	"fmt"
	"slices"
	"strings"
)

// fixed are the columns of a wide table that are no metrics.
var fixed = map[string]bool{"class": true, "device_no": true, "device": true, "ts": true, "fw": true, "topic_gen": true, "part": true, "off": true}

// narrow are the tables of one row a value: the overflow, and what was old when it came.
var narrow = []string{"s_other", oldTable}

const oldTable = "s_old"

// column is a metric in a wide table.
type column struct {
	name string
	typ  string
}

// metric is the name of the column's metric: a capital prefix keeps it apart from the table's own columns.
func (c column) metric() string { return strings.TrimPrefix(c.name, "M_") }

// number says whether the metric has hours: text has none.
func (c column) number() bool { return !strings.Contains(c.typ, "String") }

// wide is a profile's table.
type wide struct {
	table   string
	columns []column
}

// floatSum adds floats in the order of their size. They are not associative, and the order in which rows are read changes
// with each merge: a second run must come to the same bits.
func floatSum(value, condition string) string {
	return fmt.Sprintf("arraySum(arraySort(groupArrayIf(%s, %s)))", value, condition)
}

// at orders values of one time: the later record holds, in every order in which parts are read.
const at = "(ts, topic_gen, off)"

// span is a condition on ts that prunes partitions by its bounds and then picks the hours.
func span(dirty hours, days []int64) string {
	return fmt.Sprintf("ts >= toDateTime64(%d, 3, 'UTC') AND ts < toDateTime64(%d, 3, 'UTC') AND toYYYYMMDD(ts) IN (%s) AND toUnixTimestamp(toStartOfHour(ts)) IN (%s)",
		slices.Min(days)*86400, (slices.Max(days)+1)*86400, strings.Join(dates(days), ", "), dirty.list(days))
}

// wideSQL sums up one profile's table in one reading, its metrics beside each other, then stands them in rows.
// Integers and decimals are summed exactly; it is only the sum that becomes a Float64. No names are all metrics.
func (r *Rollup) wideSQL(g grain, w wide, dirty hours, days []int64, names []string) string {
	var tuples []string
	for _, c := range w.columns {
		if !c.number() || names != nil && !slices.Contains(names, c.metric()) {
			continue
		}
		name := quote(c.name)
		sum := "sum(" + name + ")" // of Decimal(9, s) it is exact
		switch {
		case strings.Contains(c.typ, "Bool"):
			sum = "sum(toUInt8(" + name + "))"
		case strings.Contains(c.typ, "Int64"):
			sum = "sum(toInt128(" + name + "))" // of Int64 it wraps in silence
		case strings.Contains(c.typ, "Float64"):
			sum = floatSum(name, "1")
		}
		tuples = append(tuples, fmt.Sprintf(
			"(%s, count(%s), ifNull(toFloat64(%s), 0), ifNull(toFloat64(min(%s)), 0), ifNull(toFloat64(max(%s)), 0), ifNull(toFloat64(argMaxIf(%s, %s, isNotNull(%s))), 0), maxIf(%s, isNotNull(%s)))",
			literal(c.metric()), name, sum, name, name, name, at, name, at, name))
	}
	if len(tuples) == 0 {
		return ""
	}
	return fmt.Sprintf(`SELECT class, m.1 AS metric, device, bucket, m.2 AS n, m.3 AS sum, m.4 AS min, m.5 AS max, m.6 AS last, m.7 AS last_at FROM (
SELECT class, device, toUnixTimestamp(%s(ts)) AS bucket, [%s] AS metrics FROM %s WHERE %s GROUP BY class, device, bucket
) ARRAY JOIN metrics AS m WHERE n > 0`, g.start, strings.Join(tuples, ",\n"), r.table(w.table), span(dirty, days))
}

// narrowSQL sums up a narrow table. A scaled integer is its value times 10^scale again, so that the sum is exact; the
// exponents are apart because their sums are of different units.
func (r *Rollup) narrowSQL(g grain, table string, dirty hours, days []int64, names []string) string {
	only := ""
	if names != nil {
		only = "metric IN (" + literals(names) + ") AND "
	}
	return fmt.Sprintf(`SELECT class, CAST(metric, 'String') AS metric, device, toUnixTimestamp(%s(ts)) AS bucket, count() AS n,
if(scale < 0, %s, toFloat64(sum(if(scale = 0, toInt128(ifNull(int, 0)), if(scale > 0, toInt128(round(value * exp10(scale))), toInt128(0))))) / exp10(greatest(scale, 0))) AS sum,
min(value) AS min, max(value) AS max, argMax(value, %s) AS last, max(%s) AS last_at
FROM %s WHERE scale != -3 AND %s%s GROUP BY class, metric, device, bucket, scale`, g.start, floatSum("value", "scale < 0"), at, at, r.table(table), only, span(dirty, days))
}

// computeSQL is all dirty hours of some days, from every table. The partial sums are added in the order of their size too.
func (r *Rollup) computeSQL(g grain, tables []wide, dirty hours, days []int64, names []string) string {
	var branches []string
	for _, table := range narrow {
		branches = append(branches, r.narrowSQL(g, table, dirty, days, names))
	}
	for _, w := range tables {
		if sql := r.wideSQL(g, w, dirty, days, names); sql != "" {
			branches = append(branches, sql)
		}
	}
	return fmt.Sprintf(`SELECT class, metric, device, toDateTime(bucket, 'UTC') AS %s, sum(n) AS n, arraySum(arraySort(groupArray(sum))) AS sum, min(min) AS min, max(max) AS max, argMax(last, (last_at, last)) AS last
FROM (
%s
) GROUP BY class, metric, device, bucket`, g.bucket, strings.Join(branches, "\nUNION ALL\n"))
}

// progressSQL makes the table of what is kept between passes: a row for each partition of the log, and the row (0, 0). off
// is the first offset that was not read, stored_at that of the ledger row before it. It is no migration's: a database that
// is made anew may keep it, and the pass notices.
func (r *Rollup) progressSQL() string {
	return fmt.Sprintf(`CREATE TABLE IF NOT EXISTS %s (
    topic_gen UInt16,
    part      UInt16,
    off       UInt64,
    stored_at DateTime64(3, 'UTC'),
    closed    DateTime('UTC'),
    owner     String,
    pass      UInt64
) ENGINE = ReplacingMergeTree(pass)
ORDER BY (topic_gen, part)
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1`, r.table(progressTable))
}

// storedHoursView is the stored hours, looked up by a question only after its constants are known: an hour that closes
// while the question starts would else be neither stored nor open for it.
func (r *Rollup) storedHoursView() string {
	return fmt.Sprintf(`CREATE OR REPLACE VIEW %s AS
SELECT device, metric, hour, n, sum, sum / n AS avg, min, max, last, class FROM %s`, r.table("stored_hours"), r.table("samples_1h"))
}

// hoursView reads closed hours as they are stored and open ones from the raw samples. What is closed was said by the
// pass that closed it, in the same row as its progress.
func (r *Rollup) hoursView() string {
	closed := "(SELECT max(closed) FROM " + r.table(progressTable) + ")"
	return fmt.Sprintf(`CREATE OR REPLACE VIEW %s AS
SELECT device, metric, hour, n, sum, avg, min, max, last, class FROM %s WHERE hour < %s
UNION ALL
SELECT device, metric, hour, n, sum, sum / n AS avg, min, max, last, class FROM (
    SELECT device, CAST(metric, 'LowCardinality(String)') AS metric, toDateTime(toStartOfHour(ts), 'UTC') AS hour, count() AS n, sum(value) AS sum, min(value) AS min,
        max(value) AS max, argMax(value, ts) AS last, class
    FROM %s WHERE ts >= %s AND NOT isNaN(value) GROUP BY device, metric, hour, class
)`, r.table("hours"), r.table("stored_hours"), closed, r.table("samples"), closed)
}

func (r *Rollup) table(name string) string { return quote(r.store.Database()) + "." + quote(name) }

// quote quotes an identifier, literal a value: names of tables and metrics were let in by a pattern without either
// quote, so this is the second wall.
func quote(name string) string {
	return "`" + strings.NewReplacer("\\", "\\\\", "`", "\\`").Replace(name) + "`"
}

func literal(text string) string {
	return "'" + strings.NewReplacer("\\", "\\\\", "'", "\\'").Replace(text) + "'"
}
