package rollup

import (
	"bytes"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"

	"muster.dev/platform/warehouse"
	"muster.dev/platform/warehouse/warehousetest"
)

// burst stores readings of temp_c and load, a while apart, under one offset.
func (h house) burst(off int, device string, t0 time.Time, every time.Duration, steps int) {
	h.t.Helper()
	h.exec(`INSERT INTO ${DB}.w_pump (class, device_no, device, ts, fw, topic_gen, part, off, temp_c, load)
SELECT 'standard', 1, '%s', fromUnixTimestamp64Milli(toInt64(%d + number * %d), 'UTC'), '1', 1, 0, %d, toDecimal32(number %% 1000 / 10, 1), if(number %% 20 = 0, number / 7, NULL)
FROM numbers(%d)`, device, t0.UnixMilli(), every.Milliseconds(), off, steps)
	h.ledger(off, "stored", t0, t0.Add(time.Duration(steps-1)*every), steps)
}

// unlike counts minutes at which the view and the raw samples differ.
func (h house) unlike(view string) int64 {
	h.t.Helper()
	return h.number(`SELECT count() FROM (
    SELECT device, CAST(metric, 'String') AS metric, toStartOfMinute(ts) AS minute, count() AS n, sum(value) / count() AS avg, min(value) AS min, max(value) AS max, argMax(value, ts) AS last, class
    FROM ${DB}.samples WHERE NOT isNaN(value) GROUP BY device, metric, minute, class
) AS raw FULL JOIN (
    SELECT device, CAST(metric, 'String') AS metric, minute, n, avg, min, max, last, class FROM ${DB}.%s
) AS seen USING (device, metric, minute, class)
WHERE raw.n != seen.n OR abs(raw.avg - seen.avg) > 1e-12 * abs(raw.avg) OR raw.min != seen.min OR raw.max != seen.max OR raw.last != seen.last`, view) +
		h.number("SELECT count() - uniqExact(device, metric, minute, class) FROM ${DB}.%s", view)
}

func (h house) minutes(what string) {
	h.t.Helper()
	if n := h.unlike("samples_1m"); n != 0 {
		h.t.Errorf("%s: %d minutes differ from the raw samples", what, n)
	}
}

// stored counts the stored minutes of a metric, and the days of which they are stored.
func (h house) stored(metric string) (minutes, days int64) {
	h.t.Helper()
	return h.number("SELECT count() FROM ${DB}.samples_1m_stored WHERE metric = '%s'", metric),
		h.number("SELECT count() FROM ${DB}.samples_1m_stored WHERE metric = '' AND device = '%s'", metric)
}

// read is how many rows the engine means to read for a question.
func (h house) read(question string) int64 {
	h.t.Helper()
	return h.number("SELECT sum(rows) FROM (EXPLAIN ESTIMATE %s)", question)
}

// minuteDigest is digest of the minutes.
func (h house) minuteDigest() int64 {
	h.t.Helper()
	return h.number("SELECT reinterpretAsInt64(sum(cityHash64(*))) FROM (SELECT class, metric, device, minute, n, sum, min, max, last, least(toUnixTimestamp(until), %[1]d) FROM ${DB}.samples_1m_stored WHERE toUnixTimestamp(minute) < %[1]d)", h.hour.Unix())
}

func TestMinutesOfFastMetricsAreStoredAndReadOnce(t *testing.T) {
	h := open(t)
	r := newRollup(h)
	h.pass(r)
	h.minutes("nothing")
	h.burst(0, "a", h.past(30), 2*time.Second, 12*1800)
	h.burst(1, "b", h.past(3), 5*time.Second, 3*720+30) // into the open hour
	h.message(2, "c", h.past(29), 100)
	question := fmt.Sprintf("SELECT sum(n) FROM ${DB}.samples_1m WHERE metric = 'temp_c' AND minute < toDateTime(%d, 'UTC')", h.past(0).Truncate(24*time.Hour).Unix())
	before, want := h.read(question), h.number("%s", question)
	h.pass(r)
	h.check("the hours")
	h.minutes("first pass")
	if n, days := h.stored("temp_c"); n < 900 || days < 2 {
		t.Errorf("%d minutes of %d days are stored", n, days)
	}
	if n, _ := h.stored("load"); n != 0 {
		t.Errorf("%d minutes of a slow metric are stored", n)
	}
	if n := h.number("SELECT count() FROM ${DB}.samples_1m_stored WHERE minute >= toStartOfHour(now())"); n != 0 {
		t.Errorf("%d minutes of the open hour are stored", n)
	}
	after, got := h.read(question), h.number("%s", question)
	t.Logf("a question for days that are past: %d rows were read, %d are", before, after)
	if got != want || after*2 > before {
		t.Errorf("%d values of %d rows, before %d of %d", got, after, want, before)
	}

	h.burst(3, "a", h.past(29).Add(time.Second), 2*time.Second, 900) // late, between what is there
	h.burst(4, "late", h.past(27), 2*time.Second, 1800)
	h.pass(r)
	h.minutes("late data")
	first := h.minuteDigest()
	h.exec("TRUNCATE TABLE ${DB}.rollup_progress")
	h.pass(newRollup(h))
	h.minutes("again")
	if h.minuteDigest() != first {
		t.Error("a second run came to other bits")
	}
	h.exec("TRUNCATE TABLE ${DB}.samples_1m_stored")
	h.minutes("nothing stored")
	h.exec("TRUNCATE TABLE ${DB}.rollup_progress")
	h.pass(newRollup(h))
	h.minutes("from nothing")
	if n, _ := h.stored("late"); n != 0 {
		t.Errorf("%d minutes of no metric", n)
	}
}

func TestAMetricIsStoredOnTheDaysOnWhichItIsFast(t *testing.T) {
	h := open(t)
	r := newRollup(h)
	noon := h.past(0).Truncate(24*time.Hour).AddDate(0, 0, -6).Add(12 * time.Hour)
	for day, c := range []struct {
		every time.Duration
		days  int64
	}{
		{13 * time.Second, 0}, // 277 an hour: not enough to begin
		{10 * time.Second, 1}, // 360
		{13 * time.Second, 2}, // enough to go on
		{20 * time.Second, 2}, // 180
		{13 * time.Second, 2},
	} {
		h.burst(day, "a", noon.AddDate(0, 0, day), c.every, int(2*time.Hour/c.every))
		h.pass(r)
		if _, days := h.stored("temp_c"); days != c.days {
			t.Errorf("day %d: the minutes of %d days are stored, want %d", day, days, c.days)
		}
		h.minutes(fmt.Sprint("day ", day))
	}
	// Slow now: what is stored of the day stays. Behind the message's readings of each minute, since of two at one instant
	// either may be the last.
	h.burst(9, "b", noon.AddDate(0, 0, 1).Add(30*time.Second), time.Minute, 400)
	h.message(10, "b", noon.AddDate(0, 0, 1), 400)
	h.pass(r)
	h.check("a day that became slow")
	h.minutes("a day that became slow")
	if _, days := h.stored("temp_c"); days != 2 {
		t.Errorf("the minutes of %d days are stored", days)
	}
}

func TestOldReadingsHaveNoStoredMinutesUntilTheirDayHas(t *testing.T) {
	h := open(t)
	r := newRollup(h)
	month := h.past(24 * 40)
	h.burst(0, "a", month, 2*time.Second, 2000)
	h.burst(1, "a", h.past(26), 2*time.Second, 1800)
	h.pass(r)
	if _, days := h.stored("temp_c"); days != 1 {
		t.Errorf("the minutes of %d days are stored", days)
	}
	h.old(2, "a", h.past(26).Add(time.Second), 3)
	h.pass(r)
	h.minutes("an old reading on a day that is stored")
}

// road is the way to the store. It ends when it has let so many statements pass that change something.
type road struct {
	http.Handler
	left atomic.Int64
}

func (r *road) ServeHTTP(w http.ResponseWriter, q *http.Request) {
	statement, err := io.ReadAll(q.Body)
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	q.Body = io.NopCloser(bytes.NewReader(statement))
	if !bytes.HasPrefix(statement, []byte("SELECT")) && r.left.Add(-1) < 0 {
		panic(http.ErrAbortHandler)
	}
	r.Handler.ServeHTTP(w, q)
}

func through(t *testing.T, h house) (*road, house) {
	t.Helper()
	cfg := warehousetest.Config(t)
	store, err := url.Parse(cfg.Addr)
	if err != nil {
		t.Fatal(err)
	}
	way := &road{Handler: httputil.NewSingleHostReverseProxy(store)}
	server := httptest.NewServer(way)
	server.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	cfg.Addr, cfg.Database = server.URL, h.Database()
	w, err := warehouse.Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = w.Close()
		server.Close()
		http.DefaultTransport.(*http.Transport).CloseIdleConnections()
	})
	return way, house{w, t, h.hour}
}

func TestAPassThatDiesAnywhereLeavesEachMinuteOnce(t *testing.T) {
	h := open(t)
	way, far := through(t, h)
	h.burst(0, "a", h.past(26), 2*time.Second, 1800)
	h.burst(1, "a", h.past(2), 2*time.Second, 3600)
	die := func(what string, look func(after int64)) {
		t.Helper()
		for after := int64(1); ; after++ {
			if after > 100 {
				t.Fatalf("%s: no pass comes to its end", what)
			}
			way.left.Store(after)
			err := newRollup(far).Pass(t.Context())
			look(after)
			if err == nil && after < 6 {
				t.Errorf("%s: a pass of %d statements", what, after)
			}
			if err == nil {
				t.Logf("%s: %d places to die", what, after-1)
				return
			}
		}
	}
	die("a metric that is new", func(after int64) {
		if n := h.unlike("samples_1m"); n != 0 {
			t.Errorf("dead after %d statements: %d minutes differ", after, n)
		}
	})
	if n, days := h.stored("temp_c"); n == 0 || days == 0 {
		t.Error("nothing is stored")
	}
	const values = "SELECT sum(n) FROM ${DB}.samples_1m WHERE metric = 'temp_c'"
	before := h.number(values)
	h.burst(2, "late", h.past(26), 2*time.Second, 1800)
	die("late data", func(after int64) {
		if n := h.number(values); n != before && n != before+1800 {
			t.Errorf("dead after %d statements: %d values, before %d", after, n, before)
		}
	})
	h.check("in the end")
	h.minutes("in the end")
}

// A pass that ends while a question begins changes neither half: which minutes are stored is asked before they are looked up.
func TestMinutesThatAreStoredWhileAQuestionBeginsAreSeenOnce(t *testing.T) {
	h := open(t)
	h.burst(0, "a", h.past(26), 2*time.Second, 1800)
	definition := func(view string) string {
		t.Helper()
		var text string
		err := h.Conn().QueryRow(t.Context(), "SELECT create_table_query FROM system.tables WHERE database = ? AND name = ?", h.Database(), view).Scan(&text)
		if err != nil {
			t.Fatal(err)
		}
		return text
	}
	// The same view, with a wait before it is asked which minutes are stored. The table that it asks is looked up after the
	// wait, because it is behind a second view.
	h.exec("CREATE VIEW ${DB}.asked AS SELECT * FROM ${DB}.samples_1m_stored")
	h.exec("CREATE VIEW ${DB}.asked_late AS SELECT * FROM ${DB}.asked WHERE (SELECT sleep(3)) = 0")
	slow := strings.ReplaceAll(definition("samples_1m"), h.Database()+".samples_1m_stored WHERE metric = ''", h.Database()+".asked_late WHERE metric = ''")
	slow = strings.Replace(slow, h.Database()+".samples_1m ", h.Database()+".slow ", 1)
	if !strings.Contains(slow, "asked_late") || !strings.Contains(slow, ".slow ") {
		t.Fatalf("the view is not what this test takes it for: %s", slow)
	}
	h.exec("%s", strings.ReplaceAll(slow, "%", "%%"))
	h.pass(newRollup(h))
	if n, _ := h.stored("temp_c"); n == 0 {
		t.Error("nothing is stored")
	}
	h.exec("TRUNCATE TABLE ${DB}.samples_1m_staging")
	h.exec("INSERT INTO ${DB}.samples_1m_staging SELECT * FROM ${DB}.samples_1m_stored")
	h.exec("TRUNCATE TABLE ${DB}.samples_1m_stored")
	want := h.number("SELECT sum(n) FROM ${DB}.samples_1m")
	got := make(chan uint64, 1)
	ask := func() {
		// By default a question sees one state of a table; the view does not rest on that.
		ctx := clickhouse.Context(t.Context(), clickhouse.WithSettings(clickhouse.Settings{"enable_shared_storage_snapshot_in_query": 0}))
		var n uint64
		if err := h.Conn().QueryRow(ctx, "SELECT sum(n) FROM `"+h.Database()+"`.slow").Scan(&n); err != nil {
			t.Error(err)
		}
		got <- n
	}
	asked := func() bool {
		return h.number("SELECT count() FROM system.processes WHERE query LIKE '%%sum(n) FROM `%s`.slow%%' AND query NOT LIKE '%%system.processes%%'", h.Database()) > 0
	}
	go ask()
	for deadline := time.Now().Add(aWhile); !asked(); {
		if time.Now().After(deadline) {
			t.Fatal("the question does not run")
		}
		select {
		case n := <-got: // it came and went between two looks
			if int64(n) != want {
				t.Fatalf("%d values, want %d", n, want)
			}
			go ask()
		default:
		}
	}
	h.exec("ALTER TABLE ${DB}.samples_1m_stored REPLACE PARTITION %s FROM ${DB}.samples_1m_staging", h.past(26).Format("20060102"))
	t.Logf("the question waits still: %v", asked())
	if n := <-got; int64(n) != want {
		t.Errorf("%d values, want %d", n, want)
	}
	h.minutes("afterwards")
}
