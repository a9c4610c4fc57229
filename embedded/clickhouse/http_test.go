package clickhouse

import (
	"context"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
)

func TestCredentialsAreTakenInEachWayAndMustBeRight(t *testing.T) {
	newDatabase(t)
	write := "CREATE TABLE IF NOT EXISTS muster.nothing (a UInt8) ENGINE = Memory"
	for name, c := range map[string]struct {
		set    func(*http.Request)
		status int
		code   string
	}{
		"basic": {func(r *http.Request) { r.SetBasicAuth("muster", testSecret) }, 200, ""},
		"headers": {func(r *http.Request) {
			r.Header.Set("X-ClickHouse-User", "muster")
			r.Header.Set("X-ClickHouse-Key", testSecret)
		}, 200, ""},
		"URL":          {func(r *http.Request) { r.URL.RawQuery += "&user=muster&password=" + url.QueryEscape(testSecret) }, 200, ""},
		"wrong secret": {func(r *http.Request) { r.SetBasicAuth("muster", "guess") }, 401, "516"},
		"no secret":    {func(r *http.Request) { r.SetBasicAuth("muster", "") }, 401, "516"},
		"wrong user": {func(r *http.Request) {
			r.Header.Set("X-ClickHouse-User", "root")
			r.Header.Set("X-ClickHouse-Key", testSecret)
		}, 401, "516"},
		"default, secret": {func(r *http.Request) { r.SetBasicAuth("default", testSecret) }, 401, "516"},
		"default":         {func(r *http.Request) { r.SetBasicAuth("default", "") }, 403, "164"},
		"none":            {func(*http.Request) {}, 403, "164"},
	} {
		t.Run(name, func(t *testing.T) {
			req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+store.Addr()+"/?query="+url.QueryEscape(write), nil)
			if err != nil {
				t.Fatal(err)
			}
			c.set(req)
			if r := send(t, req); r.status != c.status || r.code != c.code {
				t.Errorf("%d, code %s: %s", r.status, r.code, r.body)
			}
		})
	}
	must(t, "DROP TABLE muster.nothing SYNC")
}

func TestErrorsReadAsTheServersDo(t *testing.T) {
	newDatabase(t)
	for _, c := range []struct {
		query  string
		status int
		code   string
	}{
		{"SELEC 1", 400, "62"}, {"SELECT * FROM nowhere", 404, "60"}, {"SELECT noSuchFunction()", 404, "46"}, {"SELECT throwIf(1)", 400, "395"},
		{"SELECT 1 FORMAT Nothing", 400, "73"}, {"SELECT 1 INTO OUTFILE 'x'", 501, "48"}, {"SELECT 1; SELECT 2", 400, "62"}, {"SELECT * FROM nowhere.t", 404, "81"},
	} {
		r := post(t, true, c.query, "")
		if r.status != c.status || r.code != c.code || !strings.HasPrefix(r.body, "Code: "+c.code+". DB::Exception: ") || !strings.HasSuffix(r.body, "\n") {
			t.Errorf("%s: %d, code %s: %q", c.query, r.status, r.code, r.body)
		}
	}
	if r := post(t, true, "SELECT 1", "", "no_such_setting", "1"); r.code != "115" {
		t.Errorf("an unknown setting: %s", r.body)
	}
	if r := post(t, true, "SELECT 1", "", "a = 1, b", "1"); r.code != "115" {
		t.Errorf("a setting that is no name: %s", r.body)
	}
	if r := post(t, true, "SELECT getSetting('log_queries_cut_to_length'), getSetting('max_block_size')", "", "max_block_size", "77"); r.body != "100000\t77\n" {
		t.Errorf("settings: %q", r.body)
	}
	if got := must(t, "SELECT getSetting('max_block_size')"); got == "77" {
		t.Error("a setting outlived its request")
	}
	req, _ := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+store.Addr()+"/?query=CREATE+TABLE+x+(a+UInt8)+ENGINE=Memory", nil)
	req.SetBasicAuth("muster", testSecret)
	if r := send(t, req); r.code != "164" {
		t.Errorf("GET writes: %d %s", r.status, r.body)
	}
}

func TestStateEndsWithItsRequest(t *testing.T) {
	db := newDatabase(t)
	must(t, "USE "+db)
	must(t, "SET max_threads = 1, max_block_size = 11")
	must(t, "CREATE TEMPORARY TABLE passing (a UInt8)")
	if got := must(t, "SELECT currentDatabase(), getSetting('max_block_size') = 11"); got != "muster\tfalse" && got != "muster\t0" {
		t.Error(got)
	}
	if r := post(t, true, "SELECT * FROM passing", ""); r.code != "60" {
		t.Error("a temporary table stayed:", r.body)
	}
}

const endless = "SELECT count() FROM numbers(1000000000000) WHERE NOT ignore(sipHash64(number))"

func TestAQueryIdIsReturnedHeldAndKilled(t *testing.T) {
	newDatabase(t)
	if r := post(t, true, "SELECT 1", "", "query_id", "mine"); r.header.Get("X-ClickHouse-Query-Id") != "mine" {
		t.Error("the id came back as", r.header.Get("X-ClickHouse-Query-Id"))
	}
	if r := post(t, true, "SELECT 1", ""); r.header.Get("X-ClickHouse-Query-Id") == "" {
		t.Error("no id was made")
	}
	var wg sync.WaitGroup
	var killed reply
	wg.Go(func() { killed = post(t, true, endless, "", "query_id", "long'one") })
	eventually(t, func() bool { return store.queries.get("long'one") != nil })
	if r := post(t, true, "SELECT 1", "", "query_id", "long'one"); r.code != "216" {
		t.Errorf("a second query with the id: %d %s", r.status, r.body)
	}
	if r := post(t, true, "KILL QUERY WHERE query_id = {id:String} SYNC", "", "param_id", "long'one"); r.status != 200 || !strings.HasPrefix(r.body, "finished\tlong\\'one\tmuster\t") {
		t.Errorf("kill: %d %q", r.status, r.body)
	}
	if store.queries.get("long'one") != nil {
		t.Error("KILL ... SYNC returned before the query was over")
	}
	wg.Wait()
	if killed.code != "394" {
		t.Errorf("the killed query: %d %s", killed.status, killed.body)
	}
	if r := post(t, true, "KILL QUERY WHERE query_id='long\\'one' SYNC", ""); r.status != 200 || r.body != "" {
		t.Errorf("kill of what is over: %d %q", r.status, r.body)
	}
}

func TestAClientThatGoesAwayStopsItsQuery(t *testing.T) {
	newDatabase(t)
	ctx, leave := context.WithCancel(t.Context())
	defer leave()
	req, _ := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+store.Addr()+"/?query_id=gone", strings.NewReader(endless))
	req.SetBasicAuth("muster", testSecret)
	ended := make(chan error, 1)
	go func() {
		res, err := http.DefaultClient.Do(req)
		if err == nil {
			res.Body.Close()
		}
		ended <- err
	}()
	eventually(t, func() bool { return store.queries.get("gone") != nil })
	leave()
	if <-ended == nil {
		t.Fatal("it ended")
	}
	eventually(t, func() bool { return store.queries.get("gone") == nil })
}

func TestTheServersSmallPages(t *testing.T) {
	newDatabase(t)
	for path, want := range map[string]string{"/ping": "Ok.\n", "/replicas_status": "Ok.\n", "/": "Ok.\n"} {
		req, _ := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+store.Addr()+path, nil)
		if r := send(t, req); r.status != 200 || r.body != want {
			t.Errorf("%s: %d %q", path, r.status, r.body)
		}
	}
	req, _ := http.NewRequestWithContext(t.Context(), http.MethodDelete, "http://"+store.Addr()+"/", nil)
	if r := send(t, req); r.status != http.StatusMethodNotAllowed {
		t.Errorf("DELETE: %d", r.status)
	}
}

func TestCurlWorksUnmodified(t *testing.T) {
	db := newDatabase(t)
	curl, err := exec.LookPath("curl")
	if err != nil {
		if os.Getenv("CI") != "" {
			t.Fatal("CI must have curl")
		}
		t.Skip("SKIPPED: no curl on this machine")
	}
	run := func(stdin string, args ...string) string {
		t.Helper()
		cmd := exec.CommandContext(t.Context(), curl, append([]string{"-sS", "--fail-with-body"}, args...)...)
		cmd.Stdin = strings.NewReader(stdin)
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Errorf("curl %v: %v %s", args, err, out)
		}
		return string(out)
	}
	at := "http://" + store.Addr() + "/"
	user := []string{"-u", "muster:" + testSecret}
	if got := run("", at+"?query=SELECT%201"); got != "1\n" {
		t.Errorf("SELECT 1: %q", got)
	}
	run("", append(user, at, "-d", "CREATE TABLE "+db+".t (a UInt8, b String) ENGINE = MergeTree ORDER BY a")...)
	run("1,one\n2,two\n", append(user, at+"?query=INSERT%20INTO%20"+db+".t%20FORMAT%20CSV", "--data-binary", "@-")...)
	run("INSERT INTO "+db+".t FORMAT TSV\n3\tthree\n", append(user, "-H", "Transfer-Encoding: chunked", at, "--data-binary", "@-")...)
	if got := run("", at, "-d", "SELECT a, b FROM "+db+".t ORDER BY a FORMAT JSONCompactEachRow"); got != "[1, \"one\"]\n[2, \"two\"]\n[3, \"three\"]\n" {
		t.Errorf("rows: %q", got)
	}
	if got := run("", "--compressed", at+"?enable_http_compression=1", "-d", "SELECT count() FROM "+db+".t"); got != "3\n" {
		t.Errorf("gzip: %q", got)
	}
	if got := run("", at, "-d", "SELECT sum(a) AS n FROM "+db+".t FORMAT JSON"); !strings.Contains(got, `"n": 6`) && !strings.Contains(got, `"n": "6"`) {
		t.Errorf("JSON: %s", got)
	}
}

func TestTheAtomicDatabaseSwapsPartitionsTablesAndRefreshesViews(t *testing.T) {
	db := newDatabase(t)
	for _, n := range []string{"a", "b"} {
		must(t, "CREATE TABLE "+db+"."+n+" (day Date, v UInt8) ENGINE = MergeTree PARTITION BY day ORDER BY v")
	}
	must(t, "INSERT INTO "+db+".a VALUES ('2026-01-01', 1), ('2026-01-02', 2)")
	must(t, "INSERT INTO "+db+".b VALUES ('2026-01-01', 9)")
	must(t, "ALTER TABLE "+db+".a REPLACE PARTITION '2026-01-01' FROM "+db+".b")
	if got := must(t, "SELECT groupArray(v) FROM (SELECT v FROM "+db+".a ORDER BY v)"); got != "[2,9]" {
		t.Error("REPLACE PARTITION:", got)
	}
	must(t, "EXCHANGE TABLES "+db+".a AND "+db+".b")
	if got := must(t, "SELECT count() FROM "+db+".a"); got != "1" {
		t.Error("EXCHANGE TABLES:", got)
	}
	must(t, "CREATE MATERIALIZED VIEW "+db+".fresh REFRESH EVERY 1 HOUR ENGINE = MergeTree ORDER BY n AS SELECT sum(v) AS n FROM "+db+".b")
	eventually(t, func() bool { return must(t, "SELECT any(n) FROM "+db+".fresh") == "11" })
}

func TestAHalfAnswerIsNotTakenForAWholeOne(t *testing.T) {
	newDatabase(t)
	req, _ := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+store.Addr()+"/?default_format=Native", strings.NewReader("SELECT number, throwIf(number = 3000000) FROM numbers(4000000) SETTINGS max_block_size = 65536"))
	req.SetBasicAuth("muster", testSecret)
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return // the failure came first
	}
	defer res.Body.Close()
	if _, err := io.Copy(io.Discard, res.Body); err == nil && res.StatusCode == 200 {
		t.Error("a result cut in the middle ended well")
	}
}
