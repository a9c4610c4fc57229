package rollup

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/prometheus/client_golang/prometheus"

	"muster.dev/platform/outage"
	"muster.dev/platform/warehouse"
)

// Settings is what code passes to New.
type Settings struct {
	Config
	Store   *warehouse.Warehouse
	Log     *slog.Logger
	Metrics prometheus.Registerer
}

// Rollup is the room. One goroutine runs it.
type Rollup struct {
	interval time.Duration
	store    *warehouse.Warehouse
	log      *slog.Logger
	metrics  *metrics
	owner    string
	taken    bool // the place is ours
	oldTime  time.Duration
	now      backlog
	next     backlog // what came while now was worked at
	ready    atomic.Bool
}

// New prepares; Run works.
func New(s Settings) (*Rollup, error) {
	if err := s.Config.Validate(); err != nil {
		return nil, fmt.Errorf("rollup: %w", err)
	}
	return &Rollup{interval: s.Interval, store: s.Store, log: s.Log, metrics: newMetrics(s.Metrics), owner: rand.Text(), oldTime: oldTime}, nil
}

// Ready is nil once a pass was made.
func (r *Rollup) Ready() error {
	if !r.ready.Load() {
		return errors.New("no pass over the ledger was made yet")
	}
	return nil
}

// Run makes a pass every interval until ctx ends. It waits out every fault of the store; only ErrReplaced ends it.
func (r *Rollup) Run(ctx context.Context) error {
	away := outage.New(500*time.Millisecond, 30*time.Second)
	for {
		err := r.Pass(ctx)
		wait := r.interval
		if r.Behind() > 0 {
			wait = 0
		}
		switch {
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, ErrReplaced):
			return err
		case err != nil:
			wait = away.Next()
			r.log.Warn("a pass over the ledger failed", "error", err, "again_in", wait.String())
		default:
			away.Over()
			r.ready.Store(true)
		}
		if !outage.Pause(ctx, wait) {
			return nil
		}
	}
}

// Pass computes the hours that changed since the last one. A nil error says that samples_1h holds what the raw rows said
// when the pass began, for every hour that was past; of days further back than a month, that is so when nothing is
// Behind. It may be repeated after any error.
func (r *Rollup) Pass(ctx context.Context) (err error) {
	began := time.Now()
	defer func() { r.metrics.passed(began, err) }()
	p, err := r.begin(ctx)
	if err != nil {
		return err
	}
	limit, err := r.openHour(ctx)
	if err != nil {
		return err
	}
	limit = max(limit, p.closed) // a clock that was set back opens no hour again
	tables, err := r.wideTables(ctx)
	if err != nil {
		return err
	}
	read := progress{positions: maps.Clone(p.positions)}
	maps.Copy(read.positions, r.now.positions)
	maps.Copy(read.positions, r.next.positions)
	if err := r.forget(ctx, read); err != nil {
		return err
	}
	dirty, positions, err := r.touched(ctx, read, tables, limit)
	if err != nil {
		return err
	}
	if p.closed > 0 {
		dirty.add(p.closed, limit-1, limit) // they were open when their ledger rows were read
	}
	days, err := r.rawDays(ctx, dirty.days())
	if err != nil {
		return err
	}
	dirty.keep(days)
	old := dirty.before(limit/hoursPerDay - recentDays)
	n := 0
	for len(dirty) > 0 {
		some, err := r.compute(ctx, tables, dirty, limit)
		if err != nil {
			return err
		}
		n += some
	}
	maps.Copy(read.positions, positions)
	r.next.add(old, read.positions)
	p.closed = limit
	some, err := r.work(ctx, &p, tables, began.Add(r.oldTime))
	if err != nil {
		return err
	}
	if n += some; n > 0 {
		r.metrics.hours.Add(float64(n))
		r.log.Info("hours computed", "hours", n, "old_days_left", r.Behind(), "took", time.Since(began))
	}
	return nil
}

// begin reads the progress. The first time it takes the place, and makes what is the room's own in the database.
func (r *Rollup) begin(ctx context.Context) (progress, error) {
	if !r.taken {
		if err := r.exec(ctx, r.progressSQL()); err != nil {
			return progress{}, fmt.Errorf("make the table of the progress: %w", err)
		}
	}
	p, err := r.load(ctx)
	if err != nil {
		return p, err
	}
	if r.taken {
		if p.owner != r.owner {
			return p, ErrReplaced
		}
		return p, nil
	}
	p.owner, p.pass = r.owner, p.pass+1
	if err := r.save(ctx, p); err != nil {
		return p, err
	}
	for _, view := range []string{r.storedHoursView(), r.hoursView()} {
		if err := r.exec(ctx, view); err != nil {
			return p, fmt.Errorf("make the views of hours: %w", err)
		}
	}
	r.taken = true
	return p, nil
}

func (r *Rollup) openHour(ctx context.Context) (int64, error) {
	var seconds uint32
	if err := r.store.Conn().QueryRow(ctx, "SELECT toUnixTimestamp(now())").Scan(&seconds); err != nil {
		return 0, fmt.Errorf("ask the store for the time: %w", err)
	}
	return int64(seconds) / 3600, nil
}

// wideTables are the profiles' tables as they are.
func (r *Rollup) wideTables(ctx context.Context) ([]wide, error) {
	rows, err := r.store.Conn().Query(ctx, "SELECT table, name, type FROM system.columns WHERE database = "+literal(r.store.Database())+
		" AND startsWith(table, 'w_') ORDER BY table, position")
	if err != nil {
		return nil, fmt.Errorf("list the profiles' tables: %w", err)
	}
	defer rows.Close()
	var tables []wide
	for rows.Next() {
		var table string
		var c column
		if err := rows.Scan(&table, &c.name, &c.typ); err != nil {
			return nil, fmt.Errorf("list the profiles' tables: %w", err)
		}
		if fixed[c.name] {
			continue
		}
		if len(tables) == 0 || tables[len(tables)-1].table != table {
			tables = append(tables, wide{table: table})
		}
		last := &tables[len(tables)-1]
		last.columns = append(last.columns, c)
	}
	return tables, rows.Err()
}

// computeSettings bound a statement's memory: a day that does not fit is aggregated on disk. The blocks are no retries
// of each other, though they may be equal.
const computeSettings = " SETTINGS insert_deduplicate = 0, max_bytes_before_external_group_by = 500000000, max_threads = 2"

// compute computes the newest days of the set, takes them out of it, and says how many hours they had. All its hours are
// before limit.
func (r *Rollup) compute(ctx context.Context, tables []wide, dirty hours, limit int64) (n int, err error) {
	days := dirty.newest()
	err = r.replace(ctx, hourly, dirty, days, r.computeSQL(hourly, tables, dirty, days, nil))
	if err == nil {
		err = r.minutes(ctx, tables, dirty, days, limit)
	}
	if err != nil {
		return 0, fmt.Errorf("days %s to %s: %w", dateOf(slices.Min(days)), dateOf(slices.Max(days)), err)
	}
	for _, day := range days {
		n += dirty.drop(day)
	}
	return n, nil
}

// replace computes some days' dirty hours beside the hours that stay, and puts the whole in place: a partition is replaced
// at once, one after another. more fills the staging table with what is neither.
func (r *Rollup) replace(ctx context.Context, g grain, dirty hours, days []int64, compute string, more ...string) error {
	staging, stored := r.table(g.staging), r.table(g.stored)
	// An insert of a pass that was cut off goes on in the store, and would land in the table after it was emptied.
	if err := r.store.KillQuery(ctx, r.fillID()); err != nil {
		return fmt.Errorf("end what fills the staging table: %w", err)
	}
	if err := r.exec(ctx, "TRUNCATE TABLE "+staging); err != nil {
		return fmt.Errorf("empty the staging table: %w", err)
	}
	into := fmt.Sprintf("INSERT INTO %s (%s)%s ", staging, g.columns(), computeSettings)
	keep := fmt.Sprintf("SELECT %s FROM %s WHERE metric != '' AND toYYYYMMDD(%s) IN (%s) AND toUnixTimestamp(toStartOfHour(%s)) NOT IN (%s)",
		g.columns(), stored, g.bucket, strings.Join(dates(days), ", "), g.bucket, dirty.list(days))
	if err := r.fill(ctx, into+keep); err != nil {
		return fmt.Errorf("keep the other hours: %w", err)
	}
	for _, statement := range append([]string{into + compute}, more...) {
		if err := r.fill(ctx, statement); err != nil {
			return fmt.Errorf("compute: %w", err)
		}
	}
	if err := r.own(ctx); err != nil { // whoever took the place uses the same staging table
		return err
	}
	partitions, err := r.partitions(ctx, g, dates(days))
	if err != nil || len(partitions) == 0 {
		return err
	}
	var commands []string
	for _, id := range slices.Sorted(maps.Keys(partitions)) {
		if partitions[id] {
			commands = append(commands, fmt.Sprintf("REPLACE PARTITION ID %s FROM %s", literal(id), staging))
		} else {
			commands = append(commands, "DROP PARTITION ID "+literal(id))
		}
	}
	if err := r.exec(ctx, "ALTER TABLE "+stored+" "+strings.Join(commands, ", ")); err != nil {
		return fmt.Errorf("put the partitions in place: %w", err)
	}
	return nil
}

// partitions are the ids of some days' partitions in a grain's table and its staging table, and whether it is in the latter.
func (r *Rollup) partitions(ctx context.Context, g grain, dates []string) (map[string]bool, error) {
	rows, err := r.store.Conn().Query(ctx, fmt.Sprintf(`SELECT partition_id, max(table = %s) FROM system.parts
WHERE database = %s AND active AND table IN (%s) AND extract(partition, '%s') IN ('%s') GROUP BY partition_id`,
		literal(g.staging), literal(r.store.Database()), literals([]string{g.stored, g.staging}), g.days, strings.Join(dates, "', '")))
	if err != nil {
		return nil, fmt.Errorf("list the partitions: %w", err)
	}
	defer rows.Close()
	ids := map[string]bool{}
	for rows.Next() {
		var id string
		var computed uint8
		if err := rows.Scan(&id, &computed); err != nil {
			return nil, fmt.Errorf("list the partitions: %w", err)
		}
		if strings.ContainsFunc(id, func(c rune) bool { return !(c == '-' || '0' <= c && c <= '9') }) {
			return nil, fmt.Errorf("partition id %q is not of a class and a day", id)
		}
		ids[id] = computed == 1
	}
	return ids, rows.Err()
}

// fillID is the query id of whatever fills the staging table: the store lets one run at a time, and any roll-up can
// end another's.
func (r *Rollup) fillID() string { return "rollup/" + r.store.Database() + "/staging" }

func (r *Rollup) fill(ctx context.Context, statement string) error {
	return r.exec(clickhouse.Context(ctx, clickhouse.WithQueryID(r.fillID())), statement)
}

// StatementTime bounds one statement: a day of the whole fleet. The store that is given to New has to wait for an
// answer as long.
const StatementTime = 10 * time.Minute

func (r *Rollup) exec(ctx context.Context, statement string) error {
	ctx, cancel := context.WithTimeout(ctx, StatementTime)
	defer cancel()
	return r.store.Conn().Exec(ctx, statement)
}
