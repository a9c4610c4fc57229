// Package warehousetest gives a test a real ClickHouse: a migrated database of
// its own on an engine that the test binary shares.
//
// The engine is the embedded one, in the test's process, or the server that
// MUSTER_TEST_CLICKHOUSE names (http://host:port, which must allow everything
// without credentials). Without either a test is skipped, or fails where CI is
// set: nothing here is ever faked. The blocks are for seeding tables.
package warehousetest

import (
	"context"
	"os"
	"sync"
	"testing"
	"time"

	"muster.dev/platform/warehouse"
)

// EnvServer names the variable that holds a server's address.
const EnvServer = "MUSTER_TEST_CLICKHOUSE"

// shared is the test binary's one engine: a process cannot have two data
// directories.
var shared struct {
	sync.Mutex
	engine
	tried error
}

// Main runs a package's tests and stops the engine after them: what TestMain
// calls, before goleak or whatever else looks at what is left.
//
//	func TestMain(m *testing.M) {
//		code := warehousetest.Main(m)
//		...
//		os.Exit(code)
//	}
func Main(m *testing.M) int {
	code := m.Run()
	shared.Lock()
	defer shared.Unlock()
	if shared.stop == nil {
		return code
	}
	if err := shared.stop(); err != nil && code == 0 {
		_, _ = os.Stderr.WriteString("warehousetest: stop the engine: " + err.Error() + "\n")
		return 1
	}
	return code
}

func running(t testing.TB) engine {
	t.Helper()
	shared.Lock()
	defer shared.Unlock()
	if shared.addr == "" && shared.tried == nil {
		shared.engine, shared.tried = startEngine()
	}
	if shared.tried != nil {
		if os.Getenv("CI") != "" {
			t.Fatalf("no ClickHouse engine: %v", shared.tried)
		}
		t.Skipf("SKIPPED, NOTHING WAS TESTED: no ClickHouse engine: %v", shared.tried)
	}
	return shared.engine
}

// Start gives an open warehouse on a fresh, migrated database, which goes when
// the test ends.
func Start(t testing.TB) *warehouse.Warehouse {
	t.Helper()
	w := Empty(t)
	if err := w.Migrate(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	return w
}

// Empty is Start without the migration: the database is not there yet.
func Empty(t testing.TB) *warehouse.Warehouse {
	t.Helper()
	w, err := warehouse.Open(Config(t))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := w.Close(); err != nil {
			t.Error(err)
		}
	})
	return w
}

// Config is a configuration for the test's engine with a database name of its
// own, for a test that opens more than one Warehouse or starts a service. The
// database, which nobody has created yet, goes when the test ends.
func Config(t testing.TB) warehouse.Config {
	t.Helper()
	e := running(t)
	cfg := warehouse.DefaultConfig()
	cfg.Addr, cfg.User, cfg.SecretFile = e.addr, e.user, e.secretFile
	cfg.Database = "muster_" + random()
	cfg.Timeout = 2 * time.Minute // for a machine with more to do than this test
	t.Cleanup(func() { drop(t, cfg) })
	return cfg
}

func drop(t testing.TB, cfg warehouse.Config) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), cfg.Timeout)
	defer cancel()
	w, err := warehouse.Open(cfg)
	if err != nil {
		t.Error(err)
		return
	}
	defer w.Close()
	if err := w.Conn().Exec(ctx, "DROP DATABASE IF EXISTS `"+cfg.Database+"` SYNC"); err != nil {
		t.Errorf("drop the test's database: %v", err)
	}
}
