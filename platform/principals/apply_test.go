package principals

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"muster.dev/platform/eventlog"
)

func TestApplyTakesTheSecretsFromTheirFolder(t *testing.T) {
	dir := t.TempDir()
	cfg := DefaultConfig()
	cfg.Log = eventlog.Config{Brokers: []string{"127.0.0.1:1"}, User: Admin, Secret: "root-secret"}
	cfg.Secrets, cfg.Wait = dir, time.Second
	if err := cfg.Validate(); err != nil {
		t.Fatal(err)
	}
	quiet := func(string) {}
	if err := Apply(t.Context(), cfg, quiet); err == nil || !strings.Contains(err.Error(), "kafka-"+Gateway) {
		t.Errorf("without the secrets: %v", err)
	}
	for _, name := range Names() {
		if err := os.WriteFile(filepath.Join(dir, "kafka-"+name), []byte(name), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := Apply(t.Context(), cfg, quiet); err == nil {
		t.Error("a log that is not there took them")
	}
	cfg.Wait = aWhile // the first try alone may take a second
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var said []string
	if err := Apply(ctx, cfg, func(line string) { said = append(said, line); stop() }); err == nil || len(said) == 0 {
		t.Errorf("a log that is not there: %v, %q", err, said)
	}
}

func TestAConfigurationThatCannotWorkNamesItsKey(t *testing.T) {
	for key, spoil := range map[string]func(*Config){
		"log":     func(c *Config) { c.Log.Brokers = nil },
		"secrets": func(c *Config) { c.Secrets = "" },
		"wait":    func(c *Config) { c.Wait = 0 },
	} {
		cfg := DefaultConfig()
		cfg.Secrets = "somewhere"
		spoil(&cfg)
		if err := cfg.Validate(); err == nil || !strings.HasPrefix(err.Error(), key) {
			t.Errorf("%s: %v", key, err)
		}
	}
}
