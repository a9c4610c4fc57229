package clickhouse

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

func TestAnAnalystReads(t *testing.T) {
	db := newDatabase(t)
	must(t, "CREATE TABLE "+db+".t (a UInt8) ENGINE = MergeTree ORDER BY a")
	must(t, "CREATE VIEW "+db+".v AS SELECT a AS b FROM "+db+".t")
	must(t, "INSERT INTO "+db+".t VALUES (1), (2)")
	must(t, "CREATE DICTIONARY "+db+".d (a UInt64, b UInt64) PRIMARY KEY a SOURCE(CLICKHOUSE(QUERY 'SELECT 1 AS a, 2 AS b')) LAYOUT(FLAT()) LIFETIME(0)")
	for _, q := range []string{
		"SELECT sum(a) FROM t", "SELECT sum(b) FROM " + db + ".v", "WITH x AS (SELECT 1) SELECT * FROM x", "SHOW TABLES", "DESCRIBE t", "EXPLAIN SELECT * FROM t",
		"EXISTS TABLE t", "SELECT count() FROM system.parts", "SELECT count() FROM system.tables", "SELECT count() FROM numbers(10)", "(SELECT 1) UNION ALL (SELECT 2)",
		"SELECT max(a) FROM t SETTINGS max_threads = 1", "SHOW CREATE TABLE t", "SELECT count() FROM system.settings WHERE name = 'max_memory_usage'",
		"SELECT count() FROM INFORMATION_SCHEMA.TABLES", "SELECT dictGet('" + db + ".d', 'b', toUInt64(1))", "SELECT count() FROM values('a UInt8', 1)",
		"SELECT count() FROM merge('" + db + "', 't')", "SELECT a, count() OVER () FROM t ORDER BY a",
	} {
		if r := post(t, false, q, "", "database", db); r.status != http.StatusOK || r.body == "" {
			t.Errorf("%s: %d %q", q, r.status, r.body)
		}
	}
	if r := post(t, false, "SELECT sum(a) FROM t", "", "database", db, "readonly", "1", "max_execution_time", "600"); r.status != http.StatusOK {
		t.Errorf("what Grafana sends: %s", r.body)
	}
}

func TestAnAnalystCannotWriteNorReachOutOfTheStore(t *testing.T) {
	db := newDatabase(t)
	must(t, "CREATE TABLE "+db+".t (a UInt8) ENGINE = MergeTree ORDER BY a")
	secret := filepath.Join(t.TempDir(), "secret.csv")
	if err := os.WriteFile(secret, []byte("treasure\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	out := filepath.Join(t.TempDir(), "out.csv")
	for _, q := range []string{
		// Writing, defining, ruling.
		"INSERT INTO t VALUES (1)", "INSERT INTO t SELECT 1", "CREATE TABLE x (a UInt8) ENGINE = Memory", "CREATE TEMPORARY TABLE x (a UInt8)", "DROP TABLE t",
		"ALTER TABLE t ADD COLUMN b UInt8", "TRUNCATE TABLE t", "OPTIMIZE TABLE t", "SYSTEM STOP MERGES", "KILL QUERY WHERE 1", "CREATE VIEW x AS SELECT 1",
		"INSERT INTO FUNCTION file('" + out + "', CSV, 'a UInt8') SELECT 1", "CREATE FUNCTION f AS (x) -> x", "ATTACH TABLE x", "DETACH TABLE t", "BACKUP DATABASE " + db + " TO File('x')",
		"WITH 1 AS x INSERT INTO t SELECT x", "CREATE USER x", "GRANT service TO default", "EXECUTE AS default SELECT 1",
		// Taking rights or limits back.
		"SET readonly = 0", "SET ROLE service", "SET ROLE ALL", "SET max_memory_usage = 0", "USE default",
		"SELECT 1 SETTINGS readonly = 0", "SELECT 1 SETTINGS max_memory_usage = 0", "SELECT 1 SETTINGS max_execution_time = 0", "SELECT 1 SETTINGS max_execution_time = 100000",
		"SELECT 1 SETTINGS max_threads = 64", "SELECT 1 SETTINGS `max_threads` = 64", "SELECT 1 SETTINGS max_result_bytes = 0", "SELECT 1 SETTINGS timeout_overflow_mode = 'break', max_threads = 1",
		"SELECT * FROM (SELECT 1 SETTINGS max_memory_usage = 0)", "SELECT 1; SET ROLE ALL", "SELECT 1; SELECT 2",
		// The file system.
		"SELECT * FROM file('" + secret + "', CSV, 'a String')", "SELECT * FROM `file`('" + secret + "', CSV, 'a String')", "SELECT * FROM FILE('" + secret + "')",
		"SELECT file('" + secret + "')", "SELECT `file`('" + secret + "')", "SELECT \"file\"('" + secret + "')", "SELECT /**/file/**/('" + secret + "')", "SELECT `\\x66ile`('" + secret + "')",
		"SELECT * APPLY(file) FROM (SELECT '" + secret + "')", "SELECT arrayMap(x -> file(x), ['" + secret + "'])", "SELECT * FROM view(SELECT file('" + secret + "'))",
		"SELECT * FROM '" + secret + "'", "SELECT * FROM `" + secret + "`", "SELECT * FROM default.`" + secret + "`", "SELECT * FROM merge('default', '.*')",
		"SELECT 1 INTO OUTFILE '" + out + "'", "SELECT 1 INTO/**/OUTFILE '" + out + "'", "SELECT * FROM fileCluster('default', '" + secret + "', CSV, 'a String')",
		"SELECT * FROM executable('x.sh', CSV, 'a String')", "SELECT * FROM sqlite('" + secret + "', 'a')", "SELECT * FROM icebergLocal('" + secret + "')", "SELECT * FROM deltaLakeLocal('" + secret + "')",
		"SELECT * FROM format(CSV, file('" + secret + "'))", "DESCRIBE file('" + secret + "')", "EXPLAIN SELECT * FROM file('" + secret + "')", "SELECT catboostEvaluate('" + secret + "', 1)",
		"SELECT “file”('" + secret + "')", "SELECT ‘'’, file('" + secret + "') --'", "SELECT /* /* */ file('" + secret + "') */", "SELECT $a$, file('" + secret + "'), $a$",
		"SELECT 1 SETTINGS additional_result_filter = 'throwIf(file(\\'" + secret + "\\') != 0)'", "SELECT 1 SETTINGS dialect = 'kusto'", "SELECT 5.file('" + secret + "')",
		"SELECT {f:Identifier}('" + secret + "')", "SELECT * APPLY({f:Identifier}) FROM (SELECT '" + secret + "')",
		// The network.
		"SELECT * FROM url('http://127.0.0.1:1/', CSV, 'a String')", "SELECT * FROM remote('127.0.0.1:1', system.one)", "SELECT * FROM remote('127.0.0.1', view(SELECT 1))",
		"SELECT * FROM mysql('127.0.0.1:1', 'a', 'b', 'c', 'd')", "SELECT * FROM postgresql('127.0.0.1:1', 'a', 'b', 'c', 'd')", "SELECT * FROM s3('http://127.0.0.1:1/aaa/b.csv', CSV, 'a String')",
		"SELECT * FROM hdfs('hdfs://127.0.0.1:1/x', CSV, 'a String')", "SELECT * FROM mongodb('127.0.0.1:1', 'a', 'b', 'c', 'd', 'a String')", "SELECT * FROM redis('127.0.0.1:1', 'a', 'a String')",
		"SELECT * FROM odbc('DSN=x', 'a', 'b')", "SELECT * FROM jdbc('x', 'a', 'b')", "SELECT * FROM cluster('default', system.one)", "SELECT * FROM azureBlobStorage('x')",
	} {
		r := post(t, false, q, "", "database", db, "param_f", "file")
		if r.status < 400 || strings.Contains(r.body, "treasure") {
			t.Errorf("%s: %d %s", q, r.status, r.body)
		}
	}
	if _, err := os.Stat(out); err == nil {
		t.Error("a file was written")
	}
	if got := must(t, "SELECT count() FROM "+db+".t"); got != "0" {
		t.Errorf("%s rows were written", got)
	}
	for _, p := range [][2]string{{"role", "service"}, {"readonly", "0"}, {"max_memory_usage", "0"}, {"max_execution_time", "0"}, {"max_threads", "64"}, {"profile", "default"}, {"timeout_overflow_mode", "break"}, {"log_comment", "x"}, {"dialect", "kusto"}, {"additional_result_filter", "0"}} {
		r := post(t, false, "SELECT getSetting('readonly'), getSetting('max_memory_usage'), getSetting('max_execution_time'), getSetting('max_threads'), getSetting('timeout_overflow_mode'), length(getSetting('log_comment')) > 3", "", p[0], p[1])
		if r.status == 200 && r.body != "2\t268435456\t5\t1\tthrow\ttrue\n" && r.body != "2\t268435456\t5\t1\tthrow\t1\n" {
			t.Errorf("%s=%s in the URL: %q", p[0], p[1], r.body)
		}
	}
}

// Neither what is no statement nor what is one that writes is run.
func TestAnAnalystIsToldASyntaxErrorAsAServiceIs(t *testing.T) {
	db := newDatabase(t)
	must(t, "CREATE TABLE "+db+".t (a UInt8) ENGINE = MergeTree ORDER BY a")
	for _, q := range []string{"SELEC 1", "selec *\nFROM t -- 'it''s' \\", "1 + 1", "SELECT 1 WHERE"} {
		service, analyst := post(t, true, q, "", "database", db), post(t, false, q, "", "database", db)
		if analyst.status != http.StatusBadRequest || analyst.code != "62" || analyst.body != service.body {
			t.Errorf("%q: %d, code %s: %q, and a service is told %q", q, analyst.status, analyst.code, analyst.body, service.body)
		}
	}
	for _, q := range []string{"'); SET ROLE ALL --", `\'); DROP TABLE t; --`, "-- nothing", "(DROP TABLE t)\x00", ") FORMAT Null", "INSERT INTO 1"} {
		if r := post(t, false, q, "", "database", db); r.code != "62" || strings.Contains(r.body, "formatQuery") {
			t.Errorf("%q: %d, code %s: %q", q, r.status, r.code, r.body)
		}
	}
	for _, q := range []string{"DROP TABLE t", "INSERT INTO t VALUES (1)", "INSERT INTO t FORMAT CSV\n1", "SET ROLE ALL", "EXECUTE AS default SELECT 1", "SYSTEM SHUTDOWN"} {
		if r := post(t, false, q, "", "database", db); r.status != http.StatusForbidden || r.code != "164" {
			t.Errorf("%q: %d, code %s: %q", q, r.status, r.code, r.body)
		}
	}
	if got := must(t, "SELECT count() FROM "+db+".t"); got != "0" {
		t.Errorf("%s rows were written", got)
	}
}

func TestAnAnalystsQueryIsBoundedInMemoryTimeAndResult(t *testing.T) {
	newDatabase(t)
	for name, c := range map[string]struct{ query, code string }{
		"memory": {"SELECT groupArray(number) FROM numbers(1000000000)", "241"},
		"time":   {"SELECT count() FROM numbers(1000000000000) WHERE NOT ignore(sipHash64(number))", "159"},
		"result": {"SELECT number, toString(number) FROM numbers(10000000)", "396"},
	} {
		t.Run(name, func(t *testing.T) { // one after another: there are places for two analysts
			at := time.Now()
			if r := post(t, false, c.query, ""); r.code != c.code {
				t.Errorf("%d, code %s: %.300s", r.status, r.code, r.body)
			}
			if took := time.Since(at); took > aWhile { // without its bound, each takes much longer
				t.Errorf("it took %s", took)
			}
		})
	}
}

// Analysts who fill their lane with cross joins get 503, and inserts go on beside them.
func TestCrossJoinsOfAnalystsDoNotStarveInserts(t *testing.T) {
	_, table := sampleTable(t)
	body := native(t, "SELECT toDate('2026-01-01') AS day, number::UInt32 AS no, 1. AS v, 'x' AS s FROM numbers(20000)")
	insert := func() time.Duration {
		at := time.Now()
		if r := post(t, true, "INSERT INTO "+table+" (day, no, v, s) FORMAT Native", body, "insert_deduplicate", "0"); r.status != 200 {
			t.Fatal(r.body)
		}
		return time.Since(at)
	}
	insert()
	alone := insert()

	// Two that join one after another, so that both places are taken for as long as the inserts need.
	var wg sync.WaitGroup
	var enough atomic.Bool
	for range 2 {
		wg.Go(func() {
			for !enough.Load() {
				r := post(t, false, "SELECT count() FROM numbers(10000000) AS a CROSS JOIN numbers(10000000) AS b WHERE NOT ignore(sipHash64(a.number, b.number))", "")
				if r.code != "159" && r.code != "202" { // the third may have come between two of them
					t.Errorf("cross join: %d %.200s", r.status, r.body)
				}
			}
		})
	}
	eventually(t, func() bool {
		if len(store.analysts) < 2 {
			return false
		}
		r := post(t, false, "SELECT 1", "")
		if r.status != http.StatusOK && (r.status != http.StatusServiceUnavailable || r.code != "202" || r.header.Get("Retry-After") == "") {
			t.Fatalf("a third analyst: %d %s", r.status, r.body)
		}
		return r.status != http.StatusOK
	})
	best := aWhile // what else the machine does has its share in each
	for range 20 {
		best = min(best, insert())
	}
	enough.Store(true)
	wg.Wait()
	t.Logf("insert of 20,000 rows: %s alone, at best %s beside two cross joins", alone, best)
	if best > 3*time.Second {
		t.Errorf("an insert took %s", best)
	}
	if r := post(t, false, "SELECT 1", ""); r.status != 200 {
		t.Errorf("after them: %s", r.body)
	}
}
