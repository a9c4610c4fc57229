package rollup

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/prometheus/client_golang/prometheus"

	"muster.dev/platform/warehouse"
	"muster.dev/platform/warehouse/warehousetest"
	"muster.dev/proto/batch"
)

// house is a warehouse that rows are put into as the sink puts them.
type house struct {
	*warehouse.Warehouse
	t *testing.T
	// hour is the one in which the test began. Another may begin while it runs, and closes this one.
	hour time.Time
}

// aWhile is what anything may take of which nobody has said how long it takes.
const aWhile = 2 * time.Minute

func open(t *testing.T) house {
	t.Helper()
	h := house{warehousetest.Start(t), t, time.Now().UTC().Truncate(time.Hour)}
	err := h.EnsureProfile(t.Context(), warehouse.Profile{Name: "pump", Metrics: []warehouse.Metric{
		{Name: "temp_c", Kind: batch.Int, Scale: 1}, {Name: "uptime_s", Kind: batch.Int}, {Name: "load", Kind: batch.Float},
		{Name: "door", Kind: batch.Bool}, {Name: "mode", Kind: batch.Text}, {Name: "device", Kind: batch.Int},
	}})
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func newRollup(h house) *Rollup {
	h.t.Helper()
	r, err := New(Settings{Config: DefaultConfig(), Store: h.Warehouse, Log: slog.New(slog.DiscardHandler), Metrics: prometheus.NewRegistry()})
	if err != nil {
		h.t.Fatal(err)
	}
	return r
}

func (h house) exec(format string, args ...any) {
	h.t.Helper()
	sql := strings.ReplaceAll(fmt.Sprintf(format, args...), "${DB}", "`"+h.Database()+"`")
	if err := h.Conn().Exec(h.t.Context(), sql); err != nil {
		h.t.Fatalf("%s: %v", sql, err)
	}
}

func (h house) number(format string, args ...any) (n int64) {
	h.t.Helper()
	sql := strings.ReplaceAll(fmt.Sprintf(format, args...), "${DB}", "`"+h.Database()+"`")
	if err := h.Conn().QueryRow(h.t.Context(), "SELECT toInt64(("+sql+"))").Scan(&n); err != nil {
		h.t.Fatalf("%s: %v", sql, err)
	}
	return n
}

// message stores steps readings of every metric from t0 on, a minute apart, under one offset.
func (h house) message(off int, device string, t0 time.Time, steps int) {
	h.t.Helper()
	h.exec(`INSERT INTO ${DB}.w_pump (class, device_no, device, ts, fw, topic_gen, part, off, temp_c, uptime_s, load, door, mode, M_device)
SELECT 'standard', 1, '%s', fromUnixTimestamp64Milli(toInt64(%d + number * 60000), 'UTC'), '1', 1, 0, %d,
    toDecimal32(20 + number / 10, 1), 9000000000000000000 + number, if(number %% 3 = 0, NULL, number * 0.1), number %% 2 = 0, 'on', number
FROM numbers(%d)`, device, t0.UnixMilli(), off, steps)
	h.exec(`INSERT INTO ${DB}.s_other (class, metric, device_no, device, ts, value, int, text, scale, fw, topic_gen, part, off)
SELECT 'standard', ['temp_c', 'extra', 'note'][number %% 3 + 1], 1, '%s', fromUnixTimestamp64Milli(toInt64(%d + number * 60000), 'UTC'),
    if(number %% 3 = 2, nan, number / 100), NULL, 'x', [2, -1, -3][number %% 3 + 1], '1', 1, 0, %d
FROM numbers(%d)`, device, t0.UnixMilli(), off, steps)
	h.ledger(off, "stored", t0, t0.Add(time.Duration(steps-1)*time.Minute), steps)
}

func (h house) ledger(off int, outcome string, t0, t1 time.Time, n int) {
	h.t.Helper()
	got := time.Now()
	h.exec(`INSERT INTO ${DB}.ledger (topic_gen, part, off, outcome, device_no, boot, seq, hash, got, t0, t1, n, faults, bytes, stored_at)
SELECT 1, 0, %d, '%s', 1, 1, %d, 1, fromUnixTimestamp64Milli(%d, 'UTC'), %d, %d, %d, 0, 1, now64(3)`,
		off, outcome, off, got.UnixMilli(), t0.UnixMilli()-got.UnixMilli(), t1.UnixMilli()-got.UnixMilli(), n)
}

// wrong counts hours at which the stored roll-up and the raw samples differ, of those that the last pass closed.
func (h house) wrong() int64 {
	h.t.Helper()
	return h.number(`SELECT count() FROM (
    SELECT device, CAST(metric, 'String') AS metric, toUnixTimestamp(toStartOfHour(ts)) AS hour, count() AS n, sum(value) AS sum, min(value) AS min, max(value) AS max, argMax(value, ts) AS last
    FROM ${DB}.samples WHERE NOT isNaN(value) AND ts < (SELECT max(closed) FROM ${DB}.rollup_progress) GROUP BY device, metric, hour
) AS raw FULL JOIN (
    SELECT device, CAST(metric, 'String') AS metric, toUnixTimestamp(hour) AS hour, n, sum, min, max, last FROM ${DB}.samples_1h
) AS stored USING (device, metric, hour)
WHERE raw.n != stored.n OR abs(raw.sum - stored.sum) > 1e-12 * abs(raw.sum) OR raw.min != stored.min OR raw.max != stored.max OR (raw.last != stored.last AND metric != 'temp_c')`)
}

func (h house) pass(r *Rollup) {
	h.t.Helper()
	for again := true; again; again = r.Behind() > 0 {
		if err := r.Pass(h.t.Context()); err != nil {
			h.t.Fatal(err)
		}
	}
}

func (h house) check(what string) {
	h.t.Helper()
	if n := h.wrong(); n != 0 {
		h.t.Errorf("%s: %d hours differ from the raw samples", what, n)
	}
	if n := h.number("SELECT max(closed) FROM ${DB}.rollup_progress"); n < h.hour.Unix() {
		h.t.Errorf("%s: only hours before %v are closed", what, time.Unix(n, 0).UTC())
	}
	if h.number("SELECT count() FROM ${DB}.samples_1h") == 0 {
		h.t.Errorf("%s: nothing is stored", what)
	}
}

// past is whole hours before the open one.
func (h house) past(hours int) time.Time {
	return h.hour.Add(-time.Duration(hours) * time.Hour)
}

// digest is one number for what is stored of the hours that were past when the test began.
func (h house) digest() int64 {
	h.t.Helper()
	return h.number("SELECT reinterpretAsInt64(sum(cityHash64(*))) FROM (SELECT class, metric, device, hour, n, sum, min, max, last FROM ${DB}.samples_1h WHERE toUnixTimestamp(hour) < %d)", h.hour.Unix())
}

func TestStoredHoursEqualTheRawSamples(t *testing.T) {
	h := open(t)
	r := newRollup(h)
	h.pass(r)
	h.message(0, "a", h.past(30), 200)
	h.message(1, "b", h.past(3), 400) // into the open hour, and beyond
	h.pass(r)
	h.check("first pass")
	if n := h.number("SELECT count() FROM ${DB}.samples_1h WHERE hour >= toStartOfHour(now())"); n != 0 {
		t.Errorf("%d rows of an open hour are stored", n)
	}
	if n := h.number("SELECT countIf(metric = 'uptime_s' AND sum < 1e20) + countIf(metric IN ('mode', 'note')) FROM ${DB}.samples_1h"); n != 0 {
		t.Errorf("%d rows of a sum that wrapped or of text", n)
	}
	before := h.digest()

	h.pass(r)
	if h.digest() != before {
		t.Error("a pass without news changed what is stored")
	}
	h.message(2, "a", h.past(29), 30) // late, between what is there
	h.ledger(3, "duplicate", h.past(28), h.past(27), 30)
	h.message(4, "c", h.past(80), 10)
	h.pass(r)
	h.check("late data")

	h.exec("TRUNCATE TABLE ${DB}.samples_1h")
	h.exec("TRUNCATE TABLE ${DB}.rollup_progress")
	again := newRollup(h)
	h.pass(again)
	h.check("from nothing")
	first := h.digest()
	h.exec("TRUNCATE TABLE ${DB}.rollup_progress")
	h.pass(newRollup(h))
	if h.digest() != first {
		t.Error("a second run came to other bits")
	}
}

func TestHoursViewHoldsOpenAndClosedHoursOnce(t *testing.T) {
	h := open(t)
	r := newRollup(h)
	h.message(0, "a", h.past(2), 170) // it ends in the open hour
	h.pass(r)
	raw := h.number("SELECT count() FROM ${DB}.samples WHERE NOT isNaN(value)")
	if n := h.number("SELECT sum(n) FROM ${DB}.hours"); n != raw || n == 0 {
		t.Errorf("the view holds %d values, the samples %d", n, raw)
	}
	if n := h.number("SELECT count() - uniqExact(device, metric, hour) FROM ${DB}.hours"); n != 0 {
		t.Errorf("%d hours are there twice", n)
	}
}

func TestAMessageOfOldReadingsTouchesItsOwnHoursOnly(t *testing.T) {
	h := open(t)
	r := newRollup(h)
	years := time.Date(2013, 12, 2, 21, 15, 0, 0, time.UTC)
	h.message(0, "import", years, 4000) // 66 hours: longer than a span that is taken whole
	h.message(1, "a", h.past(5), 10)
	h.pass(r)
	h.check("an import")
	tables, err := r.wideTables(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	dirty, _, err := r.touched(t.Context(), progress{}, tables, h.past(0).Unix()/3600)
	if err != nil {
		t.Fatal(err)
	}
	if n := dirty.len(); n != 67+1 {
		t.Errorf("%d hours are touched", n)
	}
}

func TestALedgerMadeAnewIsReadFromItsStart(t *testing.T) {
	h := open(t)
	r := newRollup(h)
	h.message(0, "a", h.past(30), 60)
	h.message(1, "a", h.past(20), 60)
	h.pass(r)
	if err := h.DropAll(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := h.Migrate(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	fresh := house{h.Warehouse, t, h.hour}
	if err := fresh.EnsureProfile(t.Context(), warehouse.Profile{Name: "pump", Metrics: []warehouse.Metric{
		{Name: "temp_c", Kind: batch.Int, Scale: 1}, {Name: "uptime_s", Kind: batch.Int}, {Name: "load", Kind: batch.Float},
		{Name: "door", Kind: batch.Bool}, {Name: "mode", Kind: batch.Text}, {Name: "device", Kind: batch.Int},
	}}); err != nil {
		t.Fatal(err)
	}
	h.message(0, "a", h.past(30), 60)
	h.message(1, "a", h.past(20), 60)
	h.message(2, "a", h.past(10), 60)
	h.pass(r)
	h.check("after a rebuild")
}

func TestAGapIsWaitedFor(t *testing.T) {
	h := open(t)
	r := newRollup(h)
	h.message(0, "a", h.past(30), 60)
	h.message(2, "a", h.past(20), 60)
	h.pass(r)
	h.message(1, "a", h.past(40), 60) // the piece of the plan that landed later
	h.pass(r)
	h.check("the gap filled")
	p, err := r.load(t.Context())
	if err != nil || p.positions[partition{1, 0}].off != 3 {
		t.Errorf("%+v, %v", p, err)
	}
}

func TestASecondTakesThePlaceOfTheFirst(t *testing.T) {
	h := open(t)
	first, second := newRollup(h), newRollup(h)
	h.pass(first)
	h.pass(second)
	if err := first.Pass(t.Context()); !errors.Is(err, ErrReplaced) {
		t.Errorf("the first goes on: %v", err)
	}
	h.pass(second)
}

// An insert outlives its client: the store goes on with what a pass had under way when it died, or was cut off.
func TestWhatACutOffPassHadUnderWayDoesNotLand(t *testing.T) {
	h := open(t)
	r := newRollup(h)
	h.message(0, "a", h.past(30), 60)
	ended := make(chan error, 1)
	go func() {
		ctx := clickhouse.Context(t.Context(), clickhouse.WithQueryID(r.fillID()))
		ended <- h.Conn().Exec(ctx, fmt.Sprintf("INSERT INTO `%s`.samples_1h_staging (class, metric, device, hour, n, sum, min, max, last)"+
			" SELECT 'standard', 'temp_c', 'a', toDateTime(%d, 'UTC'), 1, 1, 1, 1, 1 FROM numbers(1000) WHERE sleepEachRow(0.1) = 0 SETTINGS max_block_size = 1", h.Database(), h.past(30).Unix()))
	}()
	running := func() bool {
		return h.number("SELECT count() FROM system.processes WHERE query LIKE 'INSERT INTO%%samples_1h_staging%%sleepEachRow%%' AND query LIKE '%%%s%%'", h.Database()) > 0
	}
	for !running() {
		select {
		case err := <-ended:
			t.Fatalf("the insert does not run: %v", err)
		default:
		}
	}
	h.pass(r)
	if running() {
		t.Error("it still fills the staging table")
	}
	if err := <-ended; err == nil {
		t.Error("it landed")
	}
	h.check("after a pass that was cut off")
}

func TestRunRidesOutAnOutage(t *testing.T) {
	cfg := warehousetest.Config(t)
	cfg.Addr = "http://127.0.0.1:1"
	store, err := warehouse.Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	r, err := New(Settings{Config: DefaultConfig(), Store: store, Log: slog.New(slog.DiscardHandler), Metrics: prometheus.NewRegistry()})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	if err := r.Run(ctx); err != nil {
		t.Errorf("%v", err)
	}
	if r.Ready() == nil {
		t.Error("ready without a pass")
	}
}
