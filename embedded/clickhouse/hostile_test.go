package clickhouse

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"
)

func TestNobodyMakesTheEngineSignalItsThreads(t *testing.T) {
	newDatabase(t)
	for _, q := range []string{"SELECT count() FROM system.stack_trace", "SELECT * FROM merge('system', '^stack_tra.e$')"} {
		if r := post(t, false, q, ""); r.status < 400 {
			t.Errorf("%s: %d %q", q, r.status, r.body)
		}
	}
	if r := post(t, true, "SELECT count() FROM system.stack_trace", ""); r.status != http.StatusNotFound {
		t.Errorf("with credentials: %d %q", r.status, r.body)
	}
}

func TestAnAnalystComesByNoNameThatAPageCouldMakeUp(t *testing.T) {
	newDatabase(t)
	for host, want := range map[string]int{
		"127.0.0.1:8123": 200, "localhost": 200, "LOCALHOST:8123": 200, "[::1]:8123": 200, "": 200,
		"evil.example": 403, "evil.example:8123": 403, "127.0.0.1.evil.example": 403, "localhost.evil.example": 403,
	} {
		for _, service := range []bool{false, true} {
			req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+store.Addr()+"/", strings.NewReader("SELECT 1"))
			if err != nil {
				t.Fatal(err)
			}
			req.Host = host
			want := want
			if service {
				req.SetBasicAuth("muster", testSecret)
				want = 200
			}
			if r := send(t, req); r.status != want {
				t.Errorf("host %q, credentials %v: %d %s, want %d", host, service, r.status, r.body, want)
			}
		}
	}
}

// What they bound is out of reach of max_execution_time: a type of 5,000 levels keeps the parser busy for minutes.
func TestAnAnalystCannotLiftWhatBoundsTheParser(t *testing.T) {
	newDatabase(t)
	deep := "SELECT * FROM values('a " + strings.Repeat("Tuple(", 5000) + "Int8" + strings.Repeat(")", 5000) + "', 1)"
	asked := func(query string, params ...string) reply {
		t.Helper()
		at := time.Now()
		r := post(t, false, query, "", params...)
		if took := time.Since(at); took > time.Minute {
			t.Errorf("%.30s: %s: it took %v", query, params, took)
		}
		return r
	}
	for _, s := range []string{
		"max_parser_depth", "max_parser_backtracks", "max_ast_depth", "max_ast_elements", "max_expanded_ast_elements", "max_subquery_depth", "max_query_size",
		"query_profiler_real_time_period_ns", "query_profiler_cpu_time_period_ns", "memory_profiler_step", "os_thread_priority",
	} {
		if r := asked(deep, s, "1000000"); r.code != "452" {
			t.Errorf("%s in the URL: %d %.200s", s, r.status, r.body)
		}
		if r := post(t, false, "SELECT 1 SETTINGS "+s+" = 1000000", ""); r.code != "452" {
			t.Errorf("%s in the text: %d %.200s", s, r.status, r.body)
		}
	}
	if r := post(t, false, "SELECT 1", "", "send_logs_level", "trace"); r.code != "452" {
		t.Errorf("send_logs_level: %d %.200s", r.status, r.body)
	}
	if r := asked(deep); r.status < 400 {
		t.Errorf("a deep type: %d", r.status)
	}
}

func TestAnAnalystsStatementIsBounded(t *testing.T) {
	newDatabase(t)
	most := int(store.cfg.Analysts.Query)
	fits := "SELECT 1 /*" + strings.Repeat("x", most-13) + "*/"
	if r := post(t, false, "", fits); r.status != http.StatusOK {
		t.Errorf("%d bytes: %d %.200s", len(fits), r.status, r.body)
	}
	for _, body := range []string{fits + " ", "SELECT 1" + strings.Repeat("+1", 2<<20)} {
		if r := post(t, false, "", body); r.status != http.StatusBadRequest || !strings.Contains(r.body, fmt.Sprint(most)) {
			t.Errorf("%d bytes: %d %.200s", len(body), r.status, r.body)
		}
	}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+store.Addr()+"/", io.MultiReader(strings.NewReader(fits), strings.NewReader(" ")))
	if err != nil {
		t.Fatal(err)
	}
	if r := send(t, req); r.status != http.StatusBadRequest {
		t.Errorf("chunked: %d %.200s", r.status, r.body)
	}
}

// ask sends an analyst's request by hand, and leaves the rest to the caller.
func ask(t *testing.T, declared int, body string) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", store.Addr())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	if err := c.(*net.TCPConn).SetReadBuffer(4096); err != nil {
		t.Fatal(err)
	}
	if _, err := fmt.Fprintf(c, "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n%s", declared, body); err != nil {
		t.Fatal(err)
	}
	return c
}

func TestAnalystsWhoSendNoBodyHoldTheirPlacesForAWhileOnly(t *testing.T) {
	newDatabase(t)
	// The first of them may have been let go when the last one comes, or when one more does: then all of them come again.
	eventually(t, func() bool {
		for range cap(store.lobby) {
			ask(t, 100, "SELECT")
		}
		for until := time.Now().Add(store.cfg.Analysts.Patience); len(store.lobby) < cap(store.lobby); <-time.After(time.Millisecond) {
			if time.Now().After(until) {
				return false
			}
		}
		if r := post(t, true, "SELECT 1", ""); r.status != http.StatusOK {
			t.Fatalf("a service beside them: %d %s", r.status, r.body)
		}
		r := post(t, false, "SELECT 1", "")
		if r.status != http.StatusOK && (r.status != http.StatusServiceUnavailable || r.code != "202") {
			t.Fatalf("one more: %d %s", r.status, r.body)
		}
		return r.status != http.StatusOK
	})
	eventually(t, func() bool { return len(store.lobby) == 0 })
	if r := post(t, false, "SELECT 1", ""); r.status != http.StatusOK {
		t.Errorf("after them: %d %s", r.status, r.body)
	}
}

func TestAnalystsWhoDoNotReadTheirAnswersHoldTheirPlacesForAWhileOnly(t *testing.T) {
	newDatabase(t)
	const large = "SELECT repeat('x', 700000) FROM numbers(10)"
	eventually(t, func() bool { // as above
		for range cap(store.analysts) {
			ask(t, len(large), large)
		}
		for until := time.Now().Add(5 * store.cfg.Analysts.Patience); len(store.analysts) < cap(store.analysts); <-time.After(time.Millisecond) {
			if time.Now().After(until) {
				return false
			}
		}
		return true
	})
	eventually(t, func() bool { return len(store.analysts) == 0 })
	if r := post(t, false, "SELECT 1", ""); r.status != http.StatusOK {
		t.Errorf("after them: %d %s", r.status, r.body)
	}
}

// A service that comes by a connection whose deadlines an analyst's request set is not cut by them.
func TestAServiceIsNotCutByAnAnalystsDeadline(t *testing.T) {
	newDatabase(t)
	c := ask(t, 8, "SELECT 1")
	r := bufio.NewReader(c)
	for _, body := range []string{"", "SELECT sleep(2)"} {
		if body != "" {
			req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://x/", strings.NewReader(body))
			if err != nil {
				t.Fatal(err)
			}
			req.SetBasicAuth("muster", testSecret)
			if err := req.Write(c); err != nil {
				t.Fatal(err)
			}
		}
		res, err := http.ReadResponse(r, nil)
		if err != nil {
			t.Fatal(err)
		}
		if b, err := io.ReadAll(res.Body); err != nil || res.StatusCode != http.StatusOK {
			t.Errorf("%q: %d %s %v", body, res.StatusCode, b, err)
		}
	}
}

func TestAnAnalystCannotTakeTheIDOfAServicesQuery(t *testing.T) {
	newDatabase(t)
	const id = "topic/0/1-2/0/ledger"
	eventually(t, func() bool {
		done := make(chan reply, 1)
		go func() { done <- post(t, false, "SELECT sleep(2)", "", "query_id", id) }()
		eventually(t, func() bool { return len(done) > 0 || store.queries.get(id) != nil })
		service, analyst := post(t, true, "SELECT 1", "", "query_id", id), post(t, false, "SELECT 1", "", "query_id", id)
		held := store.queries.get(id) != nil // and so it was when they asked
		<-done
		if held && service.status != http.StatusOK {
			t.Errorf("the service: %d %s", service.status, service.body)
		}
		if held && analyst.code != "216" {
			t.Errorf("another analyst: %d %s", analyst.status, analyst.body)
		}
		return held
	})
}

func TestConnectionsAboveTheBoundAreClosed(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	b := &bounded{Listener: ln, open: make(lane, 2)}
	accepted := make(chan net.Conn)
	go func() {
		defer close(accepted)
		for {
			c, err := b.Accept()
			if err != nil {
				return
			}
			accepted <- c
		}
	}()
	dial := func() net.Conn {
		c, err := net.Dial("tcp", ln.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		return c
	}
	dial()
	first := <-accepted
	dial()
	defer (<-accepted).Close()
	if n, err := io.Copy(&bytes.Buffer{}, dial()); n != 0 || err != nil {
		t.Errorf("the third: %d bytes, %v", n, err)
	}
	first.Close()
	first.Close() // gives its place back once
	dial()
	defer (<-accepted).Close()
	if n, err := io.Copy(&bytes.Buffer{}, dial()); n != 0 || err != nil {
		t.Errorf("the fifth: %d bytes, %v", n, err)
	}
	ln.Close()
	<-accepted
}
