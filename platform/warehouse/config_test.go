package warehouse_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"muster.dev/platform/warehouse"
	"muster.dev/platform/warehouse/warehousetest"
)

func TestAConfigurationThatCannotWorkNamesItsKey(t *testing.T) {
	if err := warehouse.DefaultConfig().Validate(); err != nil {
		t.Fatal(err)
	}
	for key, spoil := range map[string]func(*warehouse.Config){
		"addr":     func(c *warehouse.Config) { c.Addr = "127.0.0.1:8123" },
		"addr ":    func(c *warehouse.Config) { c.Addr = "http://user:secret@127.0.0.1:8123" },
		"addr  ":   func(c *warehouse.Config) { c.Addr = "http://127.0.0.1:8123/?readonly=0" },
		"database": func(c *warehouse.Config) { c.Database = "muster`; DROP" },
		"user":     func(c *warehouse.Config) { c.SecretFile = "somewhere" },
		"timeout":  func(c *warehouse.Config) { c.Timeout = time.Millisecond },
	} {
		cfg := warehouse.DefaultConfig()
		spoil(&cfg)
		key = strings.TrimSpace(key)
		err := cfg.Validate()
		if err == nil || !strings.Contains(err.Error(), key) {
			t.Errorf("%s: %v", key, err)
		}
		if err != nil && strings.Contains(err.Error(), "secret@") {
			t.Errorf("a secret is in the error: %v", err)
		}
	}
}

func TestASecretIsReadFromItsFileAndNeverShown(t *testing.T) {
	cfg := warehouse.DefaultConfig()
	cfg.User, cfg.SecretFile = "muster", filepath.Join(t.TempDir(), "secret")
	if _, err := warehouse.Open(cfg); err == nil {
		t.Fatal("a missing secret file was accepted")
	}
	if err := os.WriteFile(cfg.SecretFile, []byte("hunter2\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := warehouse.Open(cfg); err == nil || strings.Contains(err.Error(), "hunter2") {
		t.Fatalf("a secret that everybody may read: %v", err)
	}
	if err := os.Remove(cfg.SecretFile); err != nil {
		t.Fatal(err)
	}
	for content, good := range map[string]bool{"\n": false, "hunter2\n": true} {
		if err := os.WriteFile(cfg.SecretFile, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		w, err := warehouse.Open(cfg)
		if (err == nil) != good {
			t.Fatalf("%q: %v", content, err)
		}
		if err != nil {
			continue
		}
		if s := fmt.Sprintf("%+v %v", cfg, cfg); strings.Contains(s, "hunter2") {
			t.Error("the configuration shows its secret")
		}
		if err := w.Close(); err != nil {
			t.Error(err)
		}
	}
}

func TestAnAnalystCannotInsert(t *testing.T) {
	w := warehousetest.Start(t)
	cfg := warehouse.DefaultConfig()
	cfg.Addr, cfg.Database = warehousetest.Config(t).Addr, w.Database()
	if os.Getenv(warehousetest.EnvServer) != "" {
		t.Skip("that server allows everything")
	}
	analyst, err := warehouse.Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer analyst.Close()
	if err := analyst.Ping(t.Context()); err != nil {
		t.Fatal(err)
	}
	b := ledger(1, 0, message{off: 0, outcome: warehousetest.Stored})
	if err := tryInsert(t, analyst, "ledger", b, "t"); !warehouse.IsPermanent(err) {
		t.Fatalf("an insert without credentials: %v", err)
	}
	if err := analyst.DropAll(t.Context()); err == nil {
		t.Fatal("an analyst dropped everything")
	}
	if rows, _, err := w.LedgerRange(t.Context(), 1, 0, 0, 9); err != nil || rows != 0 {
		t.Fatalf("%d rows, %v", rows, err)
	}
}
