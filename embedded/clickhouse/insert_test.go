package clickhouse

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/ClickHouse/ch-go/compress"
)

// native asks the engine for rows as Native bytes, to insert them elsewhere.
func native(t testing.TB, query string) string {
	t.Helper()
	r := post(t, true, query+" FORMAT Native", "")
	if r.status != http.StatusOK {
		t.Fatal(r.body)
	}
	return r.body
}

func sampleTable(t testing.TB) (db, table string) {
	t.Helper()
	db = newDatabase(t)
	must(t, "CREATE TABLE "+db+".s (day Date, no UInt32, v Float64, s LowCardinality(String) DEFAULT 'unset') ENGINE = MergeTree PARTITION BY day ORDER BY no SETTINGS non_replicated_deduplication_window = 1000")
	return db, db + ".s"
}

// threeDays are rows of three partitions.
const threeDays = "SELECT toDate('2026-01-01') + modulo(number, 3) AS day, number::UInt32 AS no, number / 7 AS v, toString(modulo(number, 10)) AS s FROM numbers(%d)"

func TestATokenStoresItsRowsOnceInEachPartition(t *testing.T) {
	_, table := sampleTable(t)
	body := native(t, fmt.Sprintf(threeDays, 300_000))
	insert := func(token string) {
		t.Helper()
		if r := post(t, true, "INSERT INTO "+table+" (day, no, v, s) FORMAT Native", body, "insert_deduplication_token", token); r.status != 200 {
			t.Fatal(r.body)
		}
	}
	insert("plan-1")
	if got := must(t, "SELECT count(), uniqExact(_part), uniqExact(no) FROM "+table); got != "300000\t3\t300000" {
		t.Fatalf("one POST is not one part in each partition: %s", got)
	}
	insert("plan-1")
	if got := must(t, "SELECT count() FROM "+table); got != "300000" {
		t.Fatalf("after a retry under the same token: %s", got)
	}
	insert("plan-2")
	if got := must(t, "SELECT count() FROM "+table); got != "600000" {
		t.Fatalf("identical rows under another token: %s", got)
	}
}

func TestATokenCompletesAnInsertThatLandedInPart(t *testing.T) {
	_, table := sampleTable(t)
	body := native(t, fmt.Sprintf(threeDays, 3000))
	first := native(t, "SELECT * FROM ("+fmt.Sprintf(threeDays, 3000)+") WHERE day = '2026-01-01'")
	for _, b := range []string{first, body, body} {
		if r := post(t, true, "INSERT INTO "+table+" (day, no, v, s) FORMAT Native", b, "insert_deduplication_token", "plan"); r.status != 200 {
			t.Fatal(r.body)
		}
	}
	if got := must(t, "SELECT count(), uniqExact(no) FROM "+table); got != "3000\t3000" {
		t.Fatalf("rows: %s", got)
	}
}

func TestAnInsertWithATokenFeedsAMaterializedViewOnce(t *testing.T) {
	db, table := sampleTable(t)
	must(t, "CREATE MATERIALIZED VIEW "+db+".hourly ENGINE = SummingMergeTree ORDER BY day SETTINGS non_replicated_deduplication_window = 1000 AS SELECT day, count() AS n FROM "+table+" GROUP BY day")
	body := native(t, fmt.Sprintf(threeDays, 3000))
	for range 2 {
		if r := post(t, true, "INSERT INTO "+table+" (day, no, v, s) FORMAT Native", body, "insert_deduplication_token", "plan"); r.status != 200 {
			t.Fatal(r.body)
		}
	}
	if got := must(t, "SELECT sum(n) FROM "+db+".hourly"); got != "3000" {
		t.Fatalf("the view counts %s", got)
	}
}

func TestANativeBlockMustBringTheColumnsThatTheInsertNames(t *testing.T) {
	_, table := sampleTable(t)
	for name, c := range map[string]struct{ columns, rows, code string }{
		"another name": {"(day, no, v)", "SELECT toDate('2026-01-01') AS day, 1::UInt32 AS no, 1. AS w", "117"},
		"one too few":  {"(day, no, v)", "SELECT toDate('2026-01-01') AS day, 1::UInt32 AS no", "7"},
		"one too many": {"(day, no, v)", "SELECT toDate('2026-01-01') AS day, 1::UInt32 AS no, 1. AS v, 'x' AS s", "7"},
		"unknown":      {"", "SELECT toDate('2026-01-01') AS day, 1 AS nowhere", "117"},
		"bad value":    {"(day, no, v)", "SELECT toDate('2026-01-01') AS day, 'x' AS no, 1. AS v", "6"},
	} {
		t.Run(name, func(t *testing.T) {
			r := post(t, true, "INSERT INTO "+table+" "+c.columns+" FORMAT Native", native(t, c.rows))
			if r.status/100 != 4 || r.code != c.code {
				t.Errorf("%d, code %s: %s", r.status, r.code, r.body)
			}
		})
	}
	whole := native(t, fmt.Sprintf(threeDays, 1000))
	if r := post(t, true, "INSERT INTO "+table+" (day, no, v, s) FORMAT Native", whole[:len(whole)-100]); r.status/100 != 4 {
		t.Errorf("a body cut short: %d %s", r.status, r.body)
	}
	if got := must(t, "SELECT count() FROM "+table); got != "0" {
		t.Errorf("%s rows of refused inserts were stored", got)
	}
}

func TestEveryByteValueSurvivesAnInsert(t *testing.T) {
	db := newDatabase(t)
	must(t, "CREATE TABLE "+db+".b (s String) ENGINE = MergeTree ORDER BY s")
	body := native(t, "SELECT char(intDiv(number, 256), number % 256, 0x0a, 0x3b, 0x27, 0) AS s FROM numbers(65536)")
	if r := post(t, true, "INSERT INTO "+db+".b FORMAT Native", body); r.status != 200 {
		t.Fatal(r.body)
	}
	if got := must(t, "SELECT count(), uniqExact(s), sum(length(s)) FROM "+db+".b"); got != "65536\t65536\t393216" {
		t.Fatal(got)
	}
}

func TestRowsComeInAnyFormatFromUrlOrBody(t *testing.T) {
	_, table := sampleTable(t)
	for name, c := range map[string]struct{ query, body string }{
		"JSONEachRow in the body":      {"INSERT INTO " + table + " FORMAT JSONEachRow", `{"day":"2026-01-01","no":1}` + "\n" + `{"day":"2026-01-01","no":2}`},
		"all in the body":              {"", "INSERT INTO " + table + " (day, no) FORMAT CSV\n2026-01-01,1\n2026-01-01,2\n"},
		"values in the body":           {"", "INSERT INTO " + table + " (day, no) VALUES ('2026-01-01', 1), ('2026-01-01', 2)"},
		"values in the URL":            {"INSERT INTO " + table + " (day, no) VALUES ('2026-01-01', 1), ('2026-01-01', 1 + 1)", ""},
		"values, the rows in the body": {"INSERT INTO " + table + " (day, no) VALUES", "('2026-01-01', 1), ('2026-01-01', 2)"},
		"with settings":                {"INSERT INTO " + table + " (day, no) SETTINGS insert_deduplicate = 0 FORMAT TSV", "2026-01-01\t1\n2026-01-01\t2\n"},
		"from a select":                {"INSERT INTO " + table + " (day, no) SELECT '2026-01-01', number + 1 FROM numbers(2)", ""},
		"RowBinary":                    {"INSERT INTO " + table + " (no, day) FORMAT RowBinary", "\x01\x00\x00\x00\xe6\x4f\x02\x00\x00\x00\xe6\x4f"},
	} {
		t.Run(name, func(t *testing.T) {
			must(t, "TRUNCATE TABLE "+table)
			if r := post(t, true, c.query, c.body); r.status != 200 {
				t.Fatal(r.body)
			}
			if got := must(t, "SELECT count(), sum(no), any(s), min(day) FROM "+table); got != "2\t3\tunset\t2026-01-01" {
				t.Fatal(got)
			}
		})
	}
	if r := post(t, true, "INSERT INTO "+table+" FORMAT JSONEachRow", `{"day":"2026-01-01","nowhere":1}`); r.code != "117" {
		t.Errorf("an unknown field: %s %s", r.code, r.body)
	}
}

func TestGzipIsUndoneAndBodiesAreBounded(t *testing.T) {
	_, table := sampleTable(t)
	var z bytes.Buffer
	w := gzip.NewWriter(&z)
	fmt.Fprint(w, `{"day":"2026-01-01","no":1}`)
	w.Close()
	req, _ := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+store.Addr()+"/?query="+strings.ReplaceAll("INSERT INTO "+table+" FORMAT JSONEachRow", " ", "+"), &z)
	req.Header.Set("Content-Encoding", "gzip")
	req.Header.Set("X-ClickHouse-User", "muster")
	req.Header.Set("X-ClickHouse-Key", testSecret)
	if r := send(t, req); r.status != 200 {
		t.Fatal(r.body)
	}
	if got := must(t, "SELECT count() FROM "+table); got != "1" {
		t.Fatal(got)
	}

	compressed := compress.NewWriter(compress.LevelZero, compress.LZ4)
	var blocks []byte
	for i := range 3 {
		if err := compressed.Compress(fmt.Appendf(nil, "{\"day\":\"2026-01-02\",\"no\":%d}\n", i)); err != nil {
			t.Fatal(err)
		}
		blocks = append(blocks, compressed.Data...)
	}
	if r := post(t, true, "INSERT INTO "+table+" FORMAT JSONEachRow", string(blocks), "decompress", "1"); r.status != 200 {
		t.Error(r.body)
	}
	if got := must(t, "SELECT count() FROM "+table); got != "4" {
		t.Error("after three blocks:", got)
	}
	for _, cut := range []int{1, 10, len(blocks) - len(compressed.Data) + 25, len(blocks) - 1} {
		if r := post(t, true, "INSERT INTO "+table+" FORMAT JSONEachRow", string(blocks[:cut]), "decompress", "1"); r.status == 200 {
			t.Errorf("blocks cut at byte %d of %d were taken", cut, len(blocks))
		}
	}
	blocks[30] ^= 1
	if r := post(t, true, "INSERT INTO "+table+" FORMAT JSONEachRow", string(blocks), "decompress", "1"); r.code != "271" {
		t.Errorf("a block with a flipped bit: %d %s", r.status, r.body)
	}
	if got := must(t, "SELECT count() FROM "+table); got != "4" {
		t.Error("after broken blocks:", got)
	}

	limited := &boundedReader{r: strings.NewReader("123456"), left: 5}
	if _, err := limited.Read(make([]byte, 10)); err == nil {
		t.Error("a body past its bound was read")
	}
	exact := &boundedReader{r: strings.NewReader("12345"), left: 5}
	if n, err := exact.Read(make([]byte, 10)); n != 5 || err != nil {
		t.Error("a body at its bound was refused:", n, err)
	}
}
