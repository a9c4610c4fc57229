package sink

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"muster.dev/embedded/clickhouse"
	"muster.dev/platform/warehouse"
)

// envStore names the directory of a store that this binary is to be, instead of running tests.
const envStore = "MUSTER_TEST_STORE"

const storeSecret = "a secret of this test"

// storeChild is a store in a process of its own, so that it can be killed and have a disk of its own.
func storeChild(dir string) int {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	cfg := clickhouse.DefaultConfig()
	cfg.Listen, cfg.DataDir, cfg.ServiceSecret, cfg.Derived = "127.0.0.1:0", dir, storeSecret, warehouse.IsDerived
	s, err := clickhouse.Start(cfg)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	fmt.Println(s.Addr())
	<-ctx.Done()
	if err := s.Close(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

// storeProcess is a store that can be killed and started again. It is reached at one address throughout.
type storeProcess struct {
	t     testing.TB
	dir   string
	proxy *proxy
	cmd   *exec.Cmd
}

func startStore(t testing.TB, dir string) *storeProcess {
	t.Helper()
	if _, err := clickhouse.FindLibrary(); err != nil {
		if os.Getenv("CI") != "" {
			t.Fatalf("CI must have the engine: %v", err)
		}
		t.Skipf("SKIPPED, NOTHING WAS TESTED: no ClickHouse engine: %v", err)
	}
	s := &storeProcess{t: t, dir: dir, proxy: newProxy(t, "")}
	s.start()
	t.Cleanup(s.kill)
	return s
}

// start returns when the store listens.
func (s *storeProcess) start() {
	s.t.Helper()
	s.cmd = exec.Command(os.Args[0])
	s.cmd.Env = append(os.Environ(), envStore+"="+s.dir)
	s.cmd.Stderr, s.cmd.SysProcAttr = os.Stderr, withParent()
	out, err := s.cmd.StdoutPipe()
	if err == nil {
		err = s.cmd.Start()
	}
	if err != nil {
		s.t.Fatal(err)
	}
	addr, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		s.kill()
		s.t.Fatalf("the store does not start: %v", err)
	}
	s.proxy.aim(strings.TrimSpace(addr))
}

func (s *storeProcess) kill() {
	_ = s.cmd.Process.Kill()
	_ = s.cmd.Wait()
}

// config is a store's configuration as services have it.
func (s *storeProcess) config() warehouse.Config {
	s.t.Helper()
	secret := filepath.Join(s.t.TempDir(), "secret")
	if err := os.WriteFile(secret, []byte(storeSecret), 0o600); err != nil {
		s.t.Fatal(err)
	}
	cfg := warehouse.DefaultConfig()
	cfg.Addr, cfg.User, cfg.SecretFile = s.proxy.addr(), clickhouse.DefaultConfig().ServiceUser, secret
	return cfg
}

// newWorldOn has a store of its own on a directory.
func newWorldOn(t testing.TB, dir string) (*world, *storeProcess) {
	t.Helper()
	s := startStore(t, dir)
	_, seeds := broker(t)
	return worldOn(t, nil, seeds, s.config(), chances(seed(t), 0)), s
}

// The store dies while sinks insert, and its tokens with it as far as they were not on its disk.
func TestTortureAStoreThatIsKilledInTheMiddleOfInsertsDoublesNothing(t *testing.T) {
	kills := 2
	if full() {
		kills = times(t, "MUSTER_TEST_STORE_KILLS", 100)
	}
	w, store := newWorldOn(t, t.TempDir())
	w.defineProfile(1)
	a, b := w.start(w.cfg), w.start(w.cfg)
	var drained []time.Duration
	for range kills {
		for range 1 + w.rng.IntN(4) {
			w.send(60)
		}
		<-time.After(time.Duration(w.rng.IntN(150)) * time.Millisecond)
		store.kill()
		w.send(60)
		store.start()
		up := time.Now()
		w.stored(patience)
		drained = append(drained, time.Since(up))
	}
	a.stop()
	b.stop()
	w.audit()
	t.Logf("%d kills, %d offsets; from the store's return until all was stored: %s", kills, sum(w.records), spread(drained))
}

func sum(records map[string]int) (n int) {
	for _, k := range records {
		n += k
	}
	return n
}
