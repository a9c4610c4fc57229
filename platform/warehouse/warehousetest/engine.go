package warehousetest

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"muster.dev/embedded/clickhouse"
)

// engine is what a test needs to reach the shared engine as a service.
type engine struct {
	addr, user, secretFile string
	stop                   func() error
}

func startEngine() (engine, error) {
	if s := os.Getenv(EnvServer); s != "" {
		return engine{addr: s, stop: func() error { return nil }}, nil
	}
	dir, err := os.MkdirTemp("", "warehousetest-")
	if err != nil {
		return engine{}, fmt.Errorf("a directory for the engine: %w", err)
	}
	e, err := startIn(dir)
	if err != nil {
		return engine{}, errors.Join(err, os.RemoveAll(dir))
	}
	return e, nil
}

func startIn(dir string) (engine, error) {
	secret := random()
	file := filepath.Join(dir, "secret")
	if err := os.WriteFile(file, []byte(secret), 0o600); err != nil {
		return engine{}, fmt.Errorf("the engine's secret: %w", err)
	}
	cfg := clickhouse.DefaultConfig()
	cfg.Listen = "127.0.0.1:0"
	cfg.DataDir = filepath.Join(dir, "data")
	cfg.ServiceSecret = secret
	cfg.Sync = false // a test's data need not survive a power cut
	s, err := clickhouse.Start(cfg)
	if err != nil {
		return engine{}, fmt.Errorf("start the engine: %w", err)
	}
	stop := func() error { return errors.Join(s.Close(), os.RemoveAll(dir)) }
	return engine{addr: "http://" + s.Addr(), user: cfg.ServiceUser, secretFile: file, stop: stop}, nil
}

func random() string {
	var b [8]byte
	_, _ = rand.Read(b[:]) // crypto/rand does not fail
	return hex.EncodeToString(b[:])
}
