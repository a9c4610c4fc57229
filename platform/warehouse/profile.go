package warehouse

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"time"

	"github.com/cenkalti/backoff/v4"

	"muster.dev/proto/batch"
)

// Metric is a column of a profile's table.
type Metric struct {
	Name  string
	Kind  batch.Kind
	Scale uint8 // of batch.Int, 0..9: values are whole numbers times 10^-Scale
}

// Profile is a family of devices that report the same metrics.
type Profile struct {
	Name    string
	Metrics []Metric
}

// MaxMetrics of one profile: past it an insert costs more than 100 ms of the
// engine's time, whatever its rows.
const MaxMetrics = 1000

var (
	profileName = regexp.MustCompile(`^[a-z][a-z0-9_]{0,30}$`)
	metricName  = regexp.MustCompile(`^[a-z_][a-z0-9_]{0,62}$`)
	tableName   = regexp.MustCompile(`^[a-z_][a-z0-9_]{0,62}$`)
	columnName  = regexp.MustCompile(`^(M_)?[a-z_][a-z0-9_]{0,62}$`)
)

// WideTable is the name of a profile's table.
func WideTable(profile string) string { return "w_" + profile }

// profileView is the name of a profile's narrow view. A profile's name begins
// with a letter, so it cannot be samples_1h.
func profileView(profile string) string { return "samples_" + profile }

// reserved are the columns that every wide table has.
var reserved = map[string]bool{"class": true, "device_no": true, "device": true, "ts": true, "fw": true, "topic_gen": true, "part": true, "off": true}

// MetricColumn is the column of a metric in a wide table: its name, but for
// the few that would be another column's. Metric names have no capitals, so
// nothing collides.
func MetricColumn(metric string) string {
	if reserved[metric] {
		return "M_" + metric
	}
	return metric
}

// ColumnType is the type of a metric's column in a wide table.
func (m Metric) ColumnType() string {
	switch {
	case m.Kind == batch.Float:
		return "Nullable(Float64)"
	case m.Kind == batch.Bool:
		return "Nullable(Bool)"
	case m.Kind == batch.Text:
		return "LowCardinality(Nullable(String))"
	case m.Scale > 0:
		return fmt.Sprintf("Nullable(Decimal(9, %d))", m.Scale)
	default:
		return "Nullable(Int64)"
	}
}

// codec follows storage measurements: no float codec beats ZSTD(1) on
// quantised values, and Delta helps what counts.
func (m Metric) codec() string {
	if m.Kind == batch.Int && m.Scale == 0 {
		return "CODEC(Delta, ZSTD(1))"
	}
	return "CODEC(ZSTD(1))"
}

func (m Metric) columnSQL() string {
	return quote(MetricColumn(m.Name)) + " " + m.ColumnType() + " " + m.codec()
}

func (p Profile) validate() error {
	if !profileName.MatchString(p.Name) {
		return fmt.Errorf("profile %q: want %s", p.Name, profileName)
	}
	if len(p.Metrics) > MaxMetrics {
		return fmt.Errorf("profile %s: %d metrics, at most %d", p.Name, len(p.Metrics), MaxMetrics)
	}
	seen := make(map[string]bool, len(p.Metrics))
	for _, m := range p.Metrics {
		switch {
		case !metricName.MatchString(m.Name):
			return fmt.Errorf("profile %s: metric %q: want %s", p.Name, m.Name, metricName)
		case seen[m.Name]:
			return fmt.Errorf("profile %s: metric %s twice", p.Name, m.Name)
		case m.Kind > batch.Text, m.Scale > 9, m.Scale > 0 && m.Kind != batch.Int:
			return fmt.Errorf("profile %s: metric %s: kind %d with scale %d", p.Name, m.Name, m.Kind, m.Scale)
		}
		seen[m.Name] = true
	}
	return nil
}

const wideTableSQL = `CREATE TABLE IF NOT EXISTS %s (
    class Enum8('standard' = 0, 'debug' = 1, 'audit' = 2, 'cold' = 3) DEFAULT 'standard' CODEC(ZSTD(1)),
    device_no UInt32 CODEC(Delta, ZSTD(1)),
    device LowCardinality(String) CODEC(ZSTD(1)),
    ts DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1)),
    fw LowCardinality(String) CODEC(ZSTD(1)),
    topic_gen UInt16 CODEC(ZSTD(1)),
    part UInt16 CODEC(ZSTD(1)),
    off UInt64 CODEC(Delta, ZSTD(1)),
    INDEX by_device device TYPE bloom_filter(0.01) GRANULARITY 1,
    INDEX by_off off TYPE minmax GRANULARITY 1
) ENGINE = MergeTree
PARTITION BY (class, toYYYYMMDD(ts))
ORDER BY (device_no, ts)
SETTINGS non_replicated_deduplication_window = 100000, ttl_only_drop_parts = 1, fsync_after_insert = 1, fsync_part_directory = 1`

// EnsureProfile makes the profile's table, or adds the columns it lacks, and
// then the views. It never drops or changes a column: a metric whose column
// has another type is a permanent error, and nothing is changed. Inserts that
// run meanwhile keep working in the old shape. It can be repeated, and run at
// once with itself: the views follow the tables that are there.
func (w *Warehouse) EnsureProfile(ctx context.Context, p Profile) error {
	if err := p.validate(); err != nil {
		return &Error{Class: Permanent, Message: err.Error(), err: err}
	}
	table := w.table(WideTable(p.Name))
	if err := w.exec(ctx, fmt.Sprintf(wideTableSQL, table)); err != nil {
		return fmt.Errorf("warehouse: profile %s: create: %w", p.Name, err)
	}
	have, err := w.columnTypes(ctx, WideTable(p.Name))
	if err != nil {
		return fmt.Errorf("warehouse: profile %s: %w", p.Name, err)
	}
	var add []string
	for _, m := range p.Metrics {
		switch typ, ok := have[MetricColumn(m.Name)]; {
		case !ok:
			add = append(add, "ADD COLUMN IF NOT EXISTS "+m.columnSQL())
		case typ != m.ColumnType():
			return &Error{Class: Permanent, Message: fmt.Sprintf("profile %s: metric %s is %s in the table, %s in the profile", p.Name, m.Name, typ, m.ColumnType())}
		}
	}
	if len(add) > 0 {
		// Two at once may both see the column missing; the engine refuses the
		// later of two ALTERs on one metadata version, which is worth a
		// second try. The time is short: a person or a controller waits.
		alter := func() error {
			err := w.exec(ctx, "ALTER TABLE "+table+" "+strings.Join(add, ", "))
			if IsPermanent(err) {
				return backoff.Permanent(err)
			}
			return err
		}
		b := backoff.NewExponentialBackOff(backoff.WithMaxElapsedTime(10 * time.Second))
		if err := backoff.Retry(alter, backoff.WithContext(b, ctx)); err != nil {
			return fmt.Errorf("warehouse: profile %s: add columns: %w", p.Name, err)
		}
	}
	if err := w.refreshViews(ctx); err != nil {
		return fmt.Errorf("warehouse: profile %s: %w", p.Name, err)
	}
	return nil
}

func (w *Warehouse) columnTypes(ctx context.Context, table string) (map[string]string, error) {
	ctx, cancel := w.bound(ctx)
	defer cancel()
	rows, err := w.conn.Query(params(ctx, "db", w.db, "table", table),
		"SELECT name, type FROM system.columns WHERE database = {db:String} AND table = {table:String}")
	if err != nil {
		return nil, fmt.Errorf("columns of %s: %w", table, classify(err))
	}
	defer rows.Close()
	types := make(map[string]string)
	for rows.Next() {
		var name, typ string
		if err := rows.Scan(&name, &typ); err != nil {
			return nil, fmt.Errorf("columns of %s: %w", table, err)
		}
		types[name] = typ
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("columns of %s: %w", table, classify(err))
	}
	return types, nil
}

// errUnknownColumn is a wide table's column that this program did not make.
var errUnknownColumn = errors.New("a column of a type that no metric has")

// metricOf reads a metric back from its column.
func metricOf(column, typ string) (Metric, error) {
	m := Metric{Name: strings.TrimPrefix(column, "M_")}
	switch typ {
	case "Nullable(Int64)":
		m.Kind = batch.Int
	case "Nullable(Float64)":
		m.Kind = batch.Float
	case "Nullable(Bool)":
		m.Kind = batch.Bool
	case "LowCardinality(Nullable(String))":
		m.Kind = batch.Text
	default:
		if _, err := fmt.Sscanf(typ, "Nullable(Decimal(9, %d))", &m.Scale); err != nil {
			return m, fmt.Errorf("%s %s: %w", column, typ, errUnknownColumn)
		}
	}
	return m, nil
}
