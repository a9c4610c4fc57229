package clickhouse

import (
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"
)

const testSecret = "a secret; with 'quotes'"

// store is the one engine of this test binary: each test takes a database of its own in it.
var store *Server

func TestMain(m *testing.M) {
	if dir := os.Getenv(envChild); dir != "" {
		runChild(dir)
		return
	}
	if os.Getenv(envLifecycle) != "" {
		os.Exit(m.Run()) // that test starts engines of its own
	}
	os.Exit(runTests(m))
}

func runTests(m *testing.M) int {
	if _, err := FindLibrary(); err != nil {
		fmt.Fprintln(os.Stderr, "SKIPPED, all tests that need the engine:", err)
		if os.Getenv("CI") != "" {
			return 1
		}
		return m.Run()
	}
	dir, err := os.MkdirTemp("", "muster-store-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	store, err = Start(testConfig(dir))
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	code := m.Run()
	if err := store.Close(); err != nil {
		fmt.Fprintln(os.Stderr, "close:", err)
		return 1
	}
	http.DefaultClient.CloseIdleConnections()
	if err := goleak.Find(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return code
}

func testConfig(dir string) Config {
	return Config{
		Listen: "127.0.0.1:0", DataDir: dir, ServiceSecret: testSecret, Sync: true, DrainTimeout: 20 * time.Second,
		Analysts: Limits{Queries: 2, Requests: 16, Patience: time.Second, Wait: 300 * time.Millisecond, Memory: 256 << 20, Time: 5 * time.Second, Threads: 1, MaxResult: 8 << 20},
	}
}

var databases atomic.Int64

// newDatabase returns a database of the test's own.
func newDatabase(t testing.TB) string {
	t.Helper()
	if store == nil {
		t.Skip("SKIPPED: the engine is not installed: run `make engine`")
	}
	name := fmt.Sprintf("test%d", databases.Add(1))
	must(t, "CREATE DATABASE "+name+" ENGINE = Atomic")
	t.Cleanup(func() { must(t, "DROP DATABASE "+name+" SYNC") })
	return name
}

type reply struct {
	status int
	code   string // X-ClickHouse-Exception-Code
	header http.Header
	body   string
}

// post sends a query with the service's credentials, or none for an analyst.
func post(t testing.TB, service bool, query, body string, params ...string) reply {
	t.Helper()
	v := url.Values{"query": {query}}
	for i := 0; i+1 < len(params); i += 2 {
		v.Set(params[i], params[i+1])
	}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+store.Addr()+"/?"+v.Encode(), strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if service {
		req.SetBasicAuth("muster", testSecret)
	}
	return send(t, req)
}

func send(t testing.TB, req *http.Request) reply {
	t.Helper()
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return reply{res.StatusCode, res.Header.Get("X-ClickHouse-Exception-Code"), res.Header, string(b)}
}

// must runs a statement as the service and returns its answer without the last line's end.
func must(t testing.TB, query string, params ...string) string {
	t.Helper()
	if t.Context().Err() != nil { // in a cleanup
		req, _ := http.NewRequest(http.MethodPost, "http://"+store.Addr()+"/", strings.NewReader(query))
		req.SetBasicAuth("muster", testSecret)
		return send(t, req).body
	}
	r := post(t, true, query, "", params...)
	if r.status != http.StatusOK {
		t.Fatalf("%s: %d %s", query, r.status, r.body)
	}
	return strings.TrimSuffix(r.body, "\n")
}

func TestAQueryIsAnsweredInTheFormatAskedFor(t *testing.T) {
	newDatabase(t)
	for _, c := range []struct{ query, want string }{
		{"SELECT 1", "1\n"},
		{"SELECT 1 AS x FORMAT JSONEachRow", "{\"x\":1}\n"},
		{"SELECT 'a\tb' FORMAT CSV", "\"a\tb\"\n"},
		{"SELECT number AS n FROM numbers(3) FORMAT TSVWithNames", "n\n0\n1\n2\n"},
		{"SELECT currentDatabase()", "muster\n"},
		{"SELECT 1;", "1\n"},
		{"/* FORMAT */ SELECT 'FORMAT JSON' -- FORMAT JSON", "FORMAT JSON\n"},
	} {
		if r := post(t, false, c.query, ""); r.body != c.want || r.status != 200 {
			t.Errorf("%s: %d %q, want %q", c.query, r.status, r.body, c.want)
		}
	}
	if r := post(t, false, "SELECT 1 AS x", "", "default_format", "JSONEachRow"); r.body != "{\"x\":1}\n" {
		t.Errorf("default_format: %q", r.body)
	}
	if r := post(t, false, "", "SELECT 2"); r.body != "2\n" {
		t.Errorf("query in the body: %q", r.body)
	}
	if r := post(t, false, "SELECT", "3"); r.body != "3\n" {
		t.Errorf("query in both: %q", r.body)
	}
	if r := post(t, false, "SELECT {a:String} || toString({b:UInt8})", "", "param_a", "x'\\\\y", "param_b", "7"); r.body != "x\\'\\\\y7\n" {
		t.Errorf("parameters: %q", r.body)
	}
	if r := post(t, false, "", ""); r.body != "Ok.\n" {
		t.Errorf("no query: %q", r.body)
	}
}
