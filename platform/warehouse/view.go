package warehouse

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"muster.dev/proto/batch"
)

// profiles reads the profiles back from the wide tables, in the order of
// names and of columns. The tables are the truth for the views, so that a
// view never names a column that is not there.
func (w *Warehouse) profiles(ctx context.Context) ([]Profile, error) {
	ctx, cancel := w.bound(ctx)
	defer cancel()
	rows, err := w.conn.Query(params(ctx, "db", w.db),
		"SELECT table, name, type FROM system.columns WHERE database = {db:String} AND startsWith(table, 'w_') ORDER BY table, position")
	if err != nil {
		return nil, fmt.Errorf("list the wide tables: %w", classify(err))
	}
	defer rows.Close()
	var list []Profile
	for rows.Next() {
		var table, column, typ string
		if err := rows.Scan(&table, &column, &typ); err != nil {
			return nil, fmt.Errorf("list the wide tables: %w", err)
		}
		name := strings.TrimPrefix(table, "w_")
		if len(list) == 0 || list[len(list)-1].Name != name {
			list = append(list, Profile{Name: name})
		}
		if reserved[column] {
			continue
		}
		m, err := metricOf(column, typ)
		if err != nil {
			return nil, fmt.Errorf("table %s: %w", table, err)
		}
		p := &list[len(list)-1]
		p.Metrics = append(p.Metrics, m)
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("list the wide tables: %w", classify(err))
	}
	return list, nil
}

// refreshViews replaces the views that depend on the profiles. Two of them at
// once could leave the older picture: so each looks again after it wrote, and
// writes again until what it wrote is what is there.
func (w *Warehouse) refreshViews(ctx context.Context) error {
	list, err := w.profiles(ctx)
	if err != nil {
		return err
	}
	for {
		if err := w.writeViews(ctx, list); err != nil {
			return err
		}
		again, err := w.profiles(ctx)
		if err != nil {
			return err
		}
		if slices.EqualFunc(list, again, func(a, b Profile) bool {
			return a.Name == b.Name && slices.Equal(a.Metrics, b.Metrics)
		}) {
			return nil
		}
		list = again
	}
}

func (w *Warehouse) writeViews(ctx context.Context, list []Profile) error {
	branches := []string{w.narrowBranch("s_other"), w.narrowBranch("s_old")}
	for _, p := range list {
		own := w.wideBranches(p)
		branches = append(branches, own...)
		if len(own) == 0 {
			continue
		}
		if err := w.exec(ctx, "CREATE OR REPLACE VIEW "+w.table(profileView(p.Name))+" AS\n"+strings.Join(own, "\nUNION ALL\n")); err != nil {
			return fmt.Errorf("view of profile %s: %w", p.Name, err)
		}
	}
	if err := w.exec(ctx, "CREATE OR REPLACE VIEW "+w.table("samples")+" AS\n"+strings.Join(branches, "\nUNION ALL\n")); err != nil {
		return fmt.Errorf("view samples: %w", err)
	}
	if err := w.exec(ctx, storedMinutes); err != nil {
		return fmt.Errorf("view stored_minutes: %w", err)
	}
	if err := w.exec(ctx, minuteView); err != nil {
		return fmt.Errorf("view samples_1m: %w", err)
	}
	return nil
}

// narrowBranch is the part of samples that is kept value by value: the overflow, and what was old when it came. It is
// no part of a profile's view, which shows the columns of the profile's table alone.
func (w *Warehouse) narrowBranch(table string) string {
	return "SELECT device, metric, ts, value, if(scale = 0, int, NULL) AS int, text, fw, class FROM " + w.table(table)
}

// wideBranches are a profile's parts of samples: one for each metric, with
// its name as a constant, which is what lets the engine leave the others'
// columns on disk.
func (w *Warehouse) wideBranches(p Profile) []string {
	out := make([]string, 0, len(p.Metrics))
	for _, m := range p.Metrics {
		c := quote(MetricColumn(m.Name))
		value, integer, text := "assumeNotNull(toFloat64("+c+"))", "CAST(NULL, 'Nullable(Int64)')", "''"
		switch {
		case m.Kind == batch.Int && m.Scale == 0:
			integer = c
		case m.Kind == batch.Text:
			value, text = "nan", "CAST(assumeNotNull("+c+"), 'String')"
		}
		out = append(out, fmt.Sprintf("SELECT device, %s AS metric, ts, %s AS value, %s AS int, %s AS text, fw, class FROM %s WHERE %s IS NOT NULL",
			literal(m.Name), value, integer, text, w.table(WideTable(p.Name)), c))
	}
	return out
}

// storedMinutes are the stored minutes without the rows that say which they are. It is a view for one reason: what a view
// reads is looked up after the constants of the question around it are known, and what a table has before. Read from the
// table, a minute that is stored between the two would be in neither half of samples_1m, wherever the engine's setting
// enable_shared_storage_snapshot_in_query is off.
const storedMinutes = `CREATE OR REPLACE VIEW ${DB}.stored_minutes AS
SELECT device, metric, minute, n, sum / n AS avg, min, max, last, class FROM ${DB}.samples_1m_stored WHERE metric != ''`

// storedOf says of each metric which of its minutes are stored: whole days, and the hours up to until of the last day that
// is not whole. It is one constant of a question, so that both halves go by the same; what a half has for it stays there.
const storedOf = `SELECT mapFromArrays(groupArray(of), groupArray((days, first, until))) FROM (
    SELECT CAST(device, 'String') AS of, groupArrayIf(day, whole) AS days, maxIf(minute, NOT whole) AS first, argMaxIf(until, minute, NOT whole) AS until
    FROM (SELECT device, minute, toYYYYMMDD(minute) AS day, until, until >= minute + 86400 AS whole FROM ${DB}.samples_1m_stored WHERE metric = '')
    GROUP BY of
)`

// isStored is a condition of constants on the time and its day, by which days and parts are left out.
func isStored(time string) string {
	return "(has(stored[metric].1, toYYYYMMDD(" + time + ")) OR (" + time + " >= stored[metric].2 AND " + time + " < stored[metric].3))"
}

// minuteView takes minutes that are stored as they are, and makes all others of the raw samples: of the hours that are
// open, and of metrics that are not worth it.
var minuteView = `CREATE OR REPLACE VIEW ${DB}.samples_1m AS
WITH (` + storedOf + `) AS stored
SELECT device, metric, minute, n, avg, min, max, last, class
FROM ${DB}.stored_minutes
WHERE ` + isStored("minute") + `
UNION ALL
SELECT device, metric, toStartOfMinute(ts) AS minute, count() AS n, avg(value) AS avg, min(value) AS min, max(value) AS max,
    argMax(value, ts) AS last, class
FROM ${DB}.samples
WHERE NOT isNaN(value) AND NOT ` + isStored("ts") + `
GROUP BY device, metric, minute, class`

// IsDerived says whether a name is a view that is made anew from the tables at every start: by Migrate, or by the
// room of the roll-ups. Such a view may be lost without losing anything.
func IsDerived(name string) bool {
	switch {
	case name == "samples", name == "samples_1m", name == "stored_minutes", name == "hours", name == "stored_hours":
		return true
	case strings.HasPrefix(name, "samples_1h"), strings.HasPrefix(name, "samples_1m_"):
		return false
	}
	return strings.HasPrefix(name, "samples_")
}
