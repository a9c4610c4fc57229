package clickhouse

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
)

// envChild makes the test binary a store on that directory, so that a test can kill it.
const envChild = "MUSTER_TEST_STORE_DIR"

func runChild(dir string) {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	cfg := testConfig(dir)
	cfg.Derived = func(name string) bool { return strings.HasPrefix(name, "derived_") }
	s, err := Start(cfg)
	if err != nil {
		fmt.Println("error", err)
		os.Exit(1)
	}
	fmt.Println("addr", s.Addr())
	<-ctx.Done()
	if err := s.Close(); err != nil {
		fmt.Println("close", err)
		os.Exit(1)
	}
}

type child struct {
	cmd  *exec.Cmd
	out  *bufio.Reader
	addr string
}

func startChild(t *testing.T, dir string) *child {
	t.Helper()
	if _, err := FindLibrary(); err != nil {
		t.Skip("SKIPPED:", err)
	}
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), envChild+"="+dir)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	c := &child{cmd: cmd, out: bufio.NewReader(out)}
	line, err := c.out.ReadString('\n')
	var ok bool
	if c.addr, ok = strings.CutPrefix(strings.TrimSpace(line), "addr "); err != nil || !ok {
		c.kill()
		t.Fatalf("child: %q, %v", line, err)
	}
	return c
}

func (c *child) kill() {
	c.cmd.Process.Kill()
	c.cmd.Wait()
}

// post sends a query with the service's credentials. A connection that breaks is an error, not a failure.
func (c *child) post(query, body string, params ...string) (string, error) {
	v := url.Values{"query": {query}}
	for i := 0; i+1 < len(params); i += 2 {
		v.Set(params[i], params[i+1])
	}
	req, err := http.NewRequest(http.MethodPost, "http://"+c.addr+"/?"+v.Encode(), strings.NewReader(body))
	if err != nil {
		return "", err
	}
	req.SetBasicAuth("muster", testSecret)
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return "", err
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err == nil && res.StatusCode != http.StatusOK {
		err = errors.New(string(b))
	}
	return strings.TrimSpace(string(b)), err
}

// A store that is killed while it inserts has every acknowledged row, and a retry under the same token of one
// that was not acknowledged makes it once, even across the restart.
func TestAKilledStoreLosesNothingAcknowledgedAndDoublesNothing(t *testing.T) {
	dir := t.TempDir()
	c := startChild(t, dir)
	if _, err := c.post("CREATE TABLE t (day Date, batch UInt32, no UInt32) ENGINE = MergeTree PARTITION BY day ORDER BY (batch, no) SETTINGS non_replicated_deduplication_window = 1000", ""); err != nil {
		t.Fatal(err)
	}
	const rows, kills = 3000, 5
	batch := 0
	insert := func() error {
		body := new(strings.Builder)
		for i := range rows {
			fmt.Fprintf(body, "2026-01-0%d\t%d\t%d\n", 1+i%3, batch, i)
		}
		_, err := c.post("INSERT INTO t FORMAT TSV", body.String(), "insert_deduplication_token", fmt.Sprint("batch-", batch))
		return err
	}
	retried := 0
	for round := range kills {
		var stopped atomic.Bool
		target := batch + 10 + 7*round
		done := make(chan struct{})
		reached := make(chan struct{})
		go func() {
			defer close(done)
			for !stopped.Load() {
				if err := insert(); err != nil {
					return // batch stays: it is sent again after the restart
				}
				if batch++; batch == target {
					close(reached)
				}
			}
		}()
		select {
		case <-reached:
		case <-done:
			t.Fatalf("round %d ended after %d batches by itself", round, batch)
		}
		c.kill() // an insert is under way
		stopped.Store(true)
		<-done
		c = startChild(t, dir)
		if err := insert(); err != nil {
			t.Fatal(err)
		}
		retried++
		batch++
	}
	got, err := c.post("SELECT count(), uniqExact(batch, no), uniqExact(batch) FROM t", "")
	if want := fmt.Sprintf("%d\t%d\t%d", batch*rows, batch*rows, batch); err != nil || got != want {
		t.Errorf("rows, distinct rows, batches: %q (%v), want %q", got, err, want)
	}
	c.kill()
	http.DefaultClient.CloseIdleConnections()
	t.Logf("%d kills, %d batches of %d rows in three partitions, %d sent again", kills, batch, rows, retried)
}

func TestSigtermLetsARunningQueryFinish(t *testing.T) {
	c := startChild(t, t.TempDir())
	result := make(chan string, 1)
	query := func() {
		got, err := c.post("SELECT sum(sleepEachRow(0.05)) + 1 FROM numbers(20) SETTINGS max_block_size = 1", "", "query_id", "slow")
		result <- fmt.Sprint(got, err)
	}
	go query()
	eventually(t, func() bool {
		got, err := c.post("SELECT count() FROM system.processes WHERE query LIKE '%sleepEachRow%' AND query NOT LIKE '%processes%'", "")
		if len(result) > 0 { // it came and went between two looks
			<-result
			go query()
			return false
		}
		return err == nil && got == "1"
	})
	if err := c.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if got := <-result; got != "1<nil>" {
		t.Errorf("the query got %s", got)
	}
	rest, _ := io.ReadAll(c.out)
	if err := c.cmd.Wait(); err != nil {
		t.Errorf("the store ended with %v: %s", err, rest)
	}
	http.DefaultClient.CloseIdleConnections()
}

func TestASecondStoreOnTheDirectoryIsRefused(t *testing.T) {
	dir := t.TempDir()
	c := startChild(t, dir)
	defer c.kill()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), envChild+"="+dir)
	out, err := cmd.CombinedOutput()
	if err == nil || !strings.Contains(string(out), "another store runs on "+dir) {
		t.Errorf("a second store: %v %s", err, out)
	}
}

// In one process, too: the engine can be closed and opened again, on another path and then on the first.
func TestCloseAndStartInOneProcess(t *testing.T) {
	if os.Getenv(envLifecycle) == "" {
		if _, err := FindLibrary(); err != nil {
			t.Skip("SKIPPED:", err)
		}
		cmd := exec.Command(os.Args[0], "-test.run=^TestCloseAndStartInOneProcess$", "-test.v")
		cmd.Env = append(os.Environ(), envLifecycle+"=1")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("%v\n%s", err, out)
		}
		return
	}
	one, two := t.TempDir(), t.TempDir()
	for i, dir := range []string{one, two, one, two, one} {
		cfg := testConfig(dir)
		cfg.Derived = func(name string) bool { return strings.HasPrefix(name, "derived_") }
		s, err := Start(cfg)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := Start(testConfig(t.TempDir())); err == nil || !strings.Contains(err.Error(), "already runs the engine") {
			t.Fatal("a second engine in the process:", err)
		}
		c := &child{addr: s.Addr()}
		if _, err := c.post("CREATE TABLE IF NOT EXISTS t (a UInt8) ENGINE = MergeTree ORDER BY a", ""); err != nil {
			t.Fatal(err)
		}
		if _, err := c.post("INSERT INTO t VALUES (1)", ""); err != nil {
			t.Fatal(err)
		}
		if got, err := c.post("SELECT count() FROM t", ""); err != nil || got != fmt.Sprint(i/2+1) {
			t.Fatal(i, got, err)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

const envLifecycle = "MUSTER_TEST_STORE_LIFECYCLE"
