package retention_test

import (
	"context"
	"io"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"muster.dev/platform/daemon"
	"muster.dev/platform/warehouse"
	"muster.dev/platform/warehouse/warehousetest"
	"muster.dev/services/retention"
)

func TestMain(m *testing.M) {
	code := warehousetest.Main(m)
	http.DefaultClient.CloseIdleConnections()
	if code == 0 {
		if err := goleak.Find(); err != nil {
			os.Stderr.WriteString(err.Error() + "\n")
			code = 1
		}
	}
	os.Exit(code)
}

// aWhile is what anything may take of which nobody has said how long it takes.
const aWhile = 2 * time.Minute

func TestTheProcessIsReadyOnceTheMigrationHasRun(t *testing.T) {
	cfg := retention.DefaultConfig()
	cfg.Warehouse = warehousetest.Config(t)
	cfg.Ops.Listen, cfg.Rollup.Interval = "127.0.0.1:0", 100*time.Millisecond
	t.Cleanup(func() {
		store, err := warehouse.Open(cfg.Warehouse)
		if err != nil {
			t.Fatal(err)
		}
		defer store.Close()
		if err := store.Conn().Exec(context.Background(), "DROP DATABASE IF EXISTS `"+store.Database()+"` SYNC"); err != nil {
			t.Error(err)
		}
	})
	ctx, cancel := context.WithCancel(context.Background())
	p, err := daemon.New(ctx, daemon.Settings{Name: "retention", Config: cfg.Ops, Output: io.Discard})
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() {
		done <- p.Run(func(ctx context.Context, p *daemon.Process) error { return retention.Run(ctx, p, cfg) })
	}()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	status := func() int {
		res, err := http.Get("http://" + p.Addr() + "/readyz")
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		return res.StatusCode
	}
	if got := status(); got == http.StatusOK {
		t.Error("ready without a schema")
	}
	var said []string
	for range 2 {
		err := retention.Migrate(t.Context(), retention.MigrationConfig{Warehouse: cfg.Warehouse, Wait: aWhile}, func(line string) { said = append(said, line) })
		if err != nil {
			t.Fatal(err)
		}
	}
	if last := said[len(said)-1]; !strings.Contains(last, "version") {
		t.Errorf("%q", said)
	}
	deadline := time.After(aWhile)
	for status() != http.StatusOK {
		select {
		case <-deadline:
			t.Fatal("it never becomes ready")
		case <-time.After(10 * time.Millisecond):
		}
	}
}

func TestAMigrationSaysWhatItWaitsForAndGivesUp(t *testing.T) {
	cfg := retention.MigrationConfig{Warehouse: warehouse.DefaultConfig(), Wait: 500 * time.Millisecond}
	cfg.Warehouse.Addr = "http://127.0.0.1:1"
	if err := retention.Migrate(t.Context(), cfg, func(string) {}); err == nil || !strings.Contains(err.Error(), "127.0.0.1:1") {
		t.Errorf("%v", err)
	}
	cfg.Wait = aWhile // the first try alone may take half a second
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var said []string
	err := retention.Migrate(ctx, cfg, func(line string) { said = append(said, line); stop() })
	if err == nil || len(said) == 0 || !strings.Contains(said[0], "waiting for ClickHouse") {
		t.Errorf("%v, %q", err, said)
	}
}
