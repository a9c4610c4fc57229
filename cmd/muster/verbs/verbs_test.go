package verbs

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func muster(t *testing.T, args ...string) (code int, out, complaint string) {
	t.Helper()
	var o, e bytes.Buffer
	code = Main(t.Context(), World{Version: "test", Args: args, Out: &o, Err: &e})
	return code, o.String(), e.String()
}

func TestEachErrorHasItsExitCodeAndSaysWhatToDo(t *testing.T) {
	dir := t.TempDir()
	csv := filepath.Join(dir, "x.csv")
	if err := os.WriteFile(csv, []byte("timestamp,value\n2014-02-14 14:30:00,1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		args []string
		code int
		want string
	}{
		{[]string{"status", "--data", dir}, ExitNoStack, "no stack runs there"},
		{[]string{"query", "SELECT 1", "--data", dir}, ExitNoStack, "start one with `muster up`"},
		{[]string{"ledger", "audit", "--data", dir}, ExitNoStack, "--data DIR"},
		{[]string{"device", "list", "--data", dir}, ExitNoStack, "no stack runs there"},
		{[]string{"query"}, ExitUsage, "the query is empty"},
		{[]string{"query", "-"}, ExitUsage, "the query is empty"},
		{[]string{"query", "SELECT 1", "SELECT 2"}, ExitUsage, "at most 1 arg"},
		{[]string{"query", " ", "--data", dir}, ExitUsage, "the query is empty"},
		{[]string{"query", "-- a comment = 1\nSELECT 1", "--data", dir}, ExitNoStack, "no stack runs there"},
		{[]string{"device"}, ExitUsage, "describe, enroll, list, move"},
		{[]string{"device", "destroy", "x"}, ExitUsage, `no verb "destroy"`},
		{[]string{"ledger", "fix"}, ExitUsage, "only: audit"},
		{[]string{"events", "tale"}, ExitUsage, "only: tail"},
		{[]string{"help", "nonsense"}, ExitUsage, "nonsense"},
		{[]string{"events", "tail", "--limit", "-1", "--data", dir}, ExitUsage, "--limit -1: want 0 or more"},
		{[]string{"events", "tail", "--last", "-1", "--data", dir}, ExitUsage, "--last -1: want 0 or more"},
		{[]string{"events", "tail", "--since", "-1m", "--data", dir}, ExitUsage, `invalid argument "-1m" for "--since"`},
		{[]string{"events", "tail", "--last", "3", "--from-start", "--data", dir}, ExitUsage, "from-start last"},
		{[]string{"simulate", "--for", "-3s", "--data", dir}, ExitUsage, "--for -3s"},
		{[]string{"up", "--listen-offset", "99999", "--data", dir}, ExitUsage, "want 0 to"},
		{[]string{"status", "--no-such-flag"}, ExitUsage, "no-such-flag"},
		{[]string{"nonsense"}, ExitUsage, "nonsense"},
		{[]string{"device", "enroll", "x"}, ExitUsage, `"cohort"`},
		{[]string{"device", "revoke", "x"}, ExitUsage, "want muster device revoke NAME --why REASON (see muster device revoke --help)"},
		{[]string{"cohort", "show"}, ExitUsage, "want muster cohort show COHORT (see muster cohort show --help)"},
		{[]string{"cohort", "show", "--bad"}, ExitUsage, "unknown flag: --bad (see muster cohort show --help)"},
		{[]string{"password", "create", "--device", "d", "--uses", "0", "--why", "x"}, ExitUsage, "--uses 0: want 1 or more"},
		{[]string{"token", "create", "d", "--role", "viewer", "--life", "0s", "--why", "x"}, ExitUsage, "want 1s or more"},
		{[]string{"device", "renew", "--identity", dir, "--est", "127.0.0.1:8444"}, ExitUsage, "want https://HOST:PORT"},
		{[]string{"up", "--devices", "-1", "--data", dir}, ExitUsage, "--devices -1"},
		{[]string{"rebuild", "--data", dir}, ExitUsage, "--yes"},
		{[]string{"events", "tail", "--topic", "gossip", "--data", dir}, ExitUsage, "want telemetry, events, registry or incidents"},
		{[]string{"send", "--csv", filepath.Join(dir, "none.csv"), "--device", "d", "--identity", dir}, ExitUsage, "none.csv"},
		{[]string{"send", "--csv", csv, "--device", "d", "--identity", dir}, ExitUsage, "muster device enroll d"},
		{[]string{"send", "--csv", csv, "--device", "d", "--identity", dir, "--rows-per-message", "0"}, ExitUsage, "1 to 1000"},
		{[]string{"simulate", "--devices", "0", "--data", dir}, ExitUsage, "--devices 0"},
		{[]string{"process", "teapot", "--config", "x"}, ExitUsage, "no such process"},
		{[]string{"process", "sink", "--config", "x", "--watch-fd", "99"}, ExitUsage, "for the supervisor's use"},
	} {
		code, out, complaint := muster(t, c.args...)
		if code != c.code || !strings.Contains(complaint, c.want) || out != "" {
			t.Errorf("muster %s: exit %d, out %q, said %q; want exit %d and %q", strings.Join(c.args, " "), code, out, complaint, c.code, c.want)
		}
	}
}

func TestHelpAndVersionAreData(t *testing.T) {
	for _, args := range [][]string{{"--help"}, {"up", "--help"}, {"--version"}} {
		if code, out, complaint := muster(t, args...); code != ExitOK || out == "" || complaint != "" {
			t.Errorf("%v: exit %d, %q, %q", args, code, out, complaint)
		}
	}
}

// warehouseOf is a data directory on which a stack seems to run whose store answers by a handler.
func warehouseOf(t *testing.T, answer http.HandlerFunc) (dir string) {
	t.Helper()
	store := httptest.NewServer(answer)
	t.Cleanup(func() { http.DefaultClient.CloseIdleConnections(); store.Close() })
	u, err := url.Parse(store.URL)
	if err != nil {
		t.Fatal(err)
	}
	dir = t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "run"), 0o700); err != nil {
		t.Fatal(err)
	}
	lock, err := os.Create(filepath.Join(dir, "run", "lock"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { lock.Close() })
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX); err != nil {
		t.Fatal(err)
	}
	instance := fmt.Sprintf(`{"pid":1,"ports":{"clickhouse":%s}}`, u.Port())
	if err := os.WriteFile(filepath.Join(dir, "run", "stack.json"), []byte(instance), 0o600); err != nil {
		t.Fatal(err)
	}
	return dir
}

func TestAQueryComesFromTheCommandLineOrFromStandardInput(t *testing.T) {
	dir := warehouseOf(t, func(w http.ResponseWriter, r *http.Request) {
		sql, _ := io.ReadAll(r.Body)
		fmt.Fprintf(w, "%s|%s|%s", sql, r.URL.Query().Get("default_format"), r.URL.Query().Get("param_device"))
	})
	for _, c := range []struct {
		args  []string
		input string
		want  string
	}{
		{[]string{"SELECT 1"}, "SELECT 2", "SELECT 1|PrettyCompactMonoBlock|"},
		{nil, "SELECT 2\n", "SELECT 2|PrettyCompactMonoBlock|"},
		{[]string{"-"}, "SELECT 3", "SELECT 3|PrettyCompactMonoBlock|"},
		{[]string{"-f", "TSV"}, "SELECT 4", "SELECT 4|TSV|"},
		{[]string{"--json", "SELECT 5"}, "", "SELECT 5|JSONEachRow|"},
		{[]string{`SELECT 6\G`}, "", "SELECT 6|Vertical|"},
		{[]string{`SELECT 7\G`, "--format", "CSV"}, "", "SELECT 7|CSV|"},
		{[]string{"--param", "device=a=b", "SELECT 8"}, "", "SELECT 8|PrettyCompactMonoBlock|a=b"},
	} {
		var out, complaint bytes.Buffer
		code := Main(t.Context(), World{Args: append([]string{"query", "--data", dir}, c.args...), In: strings.NewReader(c.input), Out: &out, Err: &complaint})
		if code != ExitOK || out.String() != c.want || complaint.Len() > 0 {
			t.Errorf("%q < %q: exit %d, %q, %q; want %q", c.args, c.input, code, out.String(), complaint.String(), c.want)
		}
	}
	if code, out, complaint := muster(t, "query", "--data", dir, "--param", "device", "SELECT 1"); code != ExitUsage || out != "" || !strings.Contains(complaint, "NAME=VALUE") {
		t.Errorf("exit %d, %q, %q", code, out, complaint)
	}
}

func TestARefusalIsOneSentenceWithWhatHelps(t *testing.T) {
	for text, want := range map[string]string{
		"Code: 60. DB::Exception: Unknown table expression identifier 'sampels' in scope SELECT 1. Maybe you meant muster.samples?. (UNKNOWN_TABLE) (version 26.7.2.1)\n": `Unknown table expression identifier 'sampels' in scope SELECT 1. Maybe you meant muster.samples?: muster query "SHOW TABLES" lists what there is (UNKNOWN_TABLE, code 60)`,
		"Code: 73. DB::Exception: Code: 73. DB::Exception: Unknown format Nope. (UNKNOWN_FORMAT) (version 26.7.2.1). (UNKNOWN_FORMAT) (version 26.7.2.1)":                 "Unknown format Nope: CSVWithNames, TSV, JSON, JSONEachRow, Parquet and Vertical are some that there are (UNKNOWN_FORMAT, code 73)",
		"Code: 62. DB::Exception: Syntax error: failed at position 1 (x): x. Expected one of: a, b, c, d, e, f, g, h. (SYNTAX_ERROR) (version 26.7.2.1)":                  "Syntax error: failed at position 1 (x): x. Expected one of: a, b, c, d, e, f ... (SYNTAX_ERROR, code 62)",
		"Code: 1. DB::Exception: Strange (but true). (UNHEARD_OF)": "Strange (but true) (UNHEARD_OF, code 1)",
		"no such page": "no such page",
	} {
		if got := refusal(text).Error(); got != "the warehouse refused the query: "+want {
			t.Errorf("%s\nreads   %s\nwant ... %s", text, got, want)
		}
	}
}

func TestAQueryThatTheStoreRefusesIsNoAnswer(t *testing.T) {
	store := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Query().Get("default_format") == "bad" {
			w.Header().Set(exceptionHeader, "62")
			_, _ = w.Write([]byte("Code: 62. DB::Exception: Syntax error\n"))
			return
		}
		_, _ = w.Write([]byte("answer"))
	}))
	defer store.Close()
	var out bytes.Buffer
	if err := ask(t.Context(), store.URL, url.Values{}, "SELECT 1", &out); err != nil || out.String() != "answer" {
		t.Errorf("%q, %v", out.String(), err)
	}
	out.Reset()
	if err := ask(t.Context(), store.URL, url.Values{"default_format": {"bad"}}, "SELEC", &out); err == nil || !strings.Contains(err.Error(), "Syntax error") || out.Len() > 0 {
		t.Errorf("%q, %v", out.String(), err)
	}
	if err := ask(t.Context(), "http://127.0.0.1:1", url.Values{}, "SELECT 1", &out); err == nil || !strings.Contains(err.Error(), "muster status") {
		t.Error(err)
	}
	http.DefaultClient.CloseIdleConnections()
}
