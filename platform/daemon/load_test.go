package daemon

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"
)

type logSection struct {
	Brokers    []string      `yaml:"brokers"`
	Secret     Secret        `yaml:"secret"`
	SecretFile string        `yaml:"secret_file"`
	Wait       time.Duration `yaml:"wait"`
	Hook       func()        `yaml:"-"`
}

type serviceConfig struct {
	Kafka logSection `yaml:"kafka"`
	Ops   Config     `yaml:"ops"`
	Rate  float64    `yaml:"rate_per_second"`
	TLS   bool       `yaml:"tls"`
	Depth int        `yaml:"depth"`
	Logs  []routeTo  `yaml:"logs,omitempty"`
}

// routeTo is an entry of a list, which may have a section of its own or none.
type routeTo struct {
	Log *logSection `yaml:"log"`
}

func (c *serviceConfig) Validate() error {
	if c.Depth < 0 {
		return fmt.Errorf("depth %d: want 0 or more", c.Depth)
	}
	return nil
}

func defaults() *serviceConfig {
	return &serviceConfig{
		Kafka: logSection{Brokers: []string{"127.0.0.1:9092"}, Wait: time.Second},
		Ops:   DefaultConfig(),
		Rate:  10,
	}
}

func env(pairs ...string) func(string) (string, bool) {
	return func(name string) (string, bool) {
		for i := 0; i < len(pairs); i += 2 {
			if pairs[i] == name {
				return pairs[i+1], true
			}
		}
		return "", false
	}
}

func file(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "service.yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestSecretsOfAListComeFromTheirFiles(t *testing.T) {
	cfg := defaults()
	if err := Load(file(t, "logs: [{log: {secret_file: "+file(t, "one\n")+"}}, {}, {log: {secret: two}}]\n"), cfg, nil); err != nil {
		t.Fatal(err)
	}
	if one, two := cfg.Logs[0].Log.Secret.Reveal(), cfg.Logs[2].Log.Secret.Reveal(); one != "one" || two != "two" || cfg.Logs[1].Log != nil {
		t.Errorf("the secrets are %q and %q", one, two)
	}
}

func TestTheEnvironmentOverridesTheFileWhichOverridesTheDefaults(t *testing.T) {
	secret := file(t, "from-file\n")
	cfg := defaults()
	err := Load(file(t, "kafka:\n  wait: 5s\n  brokers: [a:1, b:2]\ndepth: 7\nops:\n  log_level: warn\n"), cfg, env(
		"MUSTER_KAFKA_BROKERS", "c:3, d:4",
		"MUSTER_KAFKA_SECRET_FILE", secret,
		"MUSTER_OPS_LISTEN", "127.0.0.1:9105",
		"MUSTER_RATE_PER_SECOND", "2.5",
		"MUSTER_TLS", "true",
		"MUSTER_OPS_STOP_TIMEOUT", "7s",
		"MUSTER_OPS_LOG_LEVEL", "error",
	))
	if err != nil {
		t.Fatal(err)
	}
	want := defaults()
	want.Kafka = logSection{Brokers: []string{"c:3", "d:4"}, Secret: "from-file", SecretFile: secret, Wait: 5 * time.Second}
	want.Ops.Listen, want.Ops.StopTimeout, want.Ops.LogLevel = "127.0.0.1:9105", 7*time.Second, slog.LevelError
	want.Rate, want.TLS, want.Depth = 2.5, true, 7
	if !reflect.DeepEqual(cfg, want) {
		t.Errorf("got  %+v\nwant %+v", cfg, want)
	}
}

func TestAnEmptyFileIsTheDefaults(t *testing.T) {
	cfg := defaults()
	if err := Load(file(t, "# nothing\n"), cfg, nil); err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(cfg, defaults()) {
		t.Errorf("got %+v", cfg)
	}
}

func TestAWrongConfigurationStopsTheStartAndNamesTheKey(t *testing.T) {
	loose := file(t, "x")
	if err := os.Chmod(loose, 0o644); err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		name, yaml string
		env        []string
		want       []string
	}{
		{"an unknown key", "kafka:\n  brokerz: [a:1]\n", nil, []string{"brokerz", "line 2"}},
		{"an unknown section", "kafak: {}\n", nil, []string{"kafak"}},
		{"a key twice", "depth: 1\ndepth: 2\n", nil, []string{"depth"}},
		{"a duration without a unit", "kafka:\n  wait: 5\n", nil, []string{"line 2", "time.Duration"}},
		{"a wrong type", "depth: deep\n", nil, []string{"line 1", "deep"}},
		{"two documents", "depth: 1\n---\ndepth: 2\n", nil, []string{"more than one document"}},
		{"no YAML", "{", nil, []string{"line 1"}},
		{"what Validate refuses", "depth: -1\n", nil, []string{"depth -1"}},
		{"a wrong environment", "", []string{"MUSTER_KAFKA_WAIT", "soon"}, []string{"MUSTER_KAFKA_WAIT", "soon"}},
		{"a bare number as a duration in the environment", "", []string{"MUSTER_KAFKA_WAIT", "5"}, []string{"MUSTER_KAFKA_WAIT"}},
		{"a secret that others may read", "kafka:\n  secret_file: " + loose + "\n", nil, []string{"kafka.secret_file", "0600"}},
		{"one of a list that others may read", "logs: [{}, {log: {secret_file: " + loose + "}}]\n", nil, []string{"logs[1].log.secret_file", "0600"}},
		{"one of a list twice", "logs: [{log: {secret: a, secret_file: " + loose + "}}]\n", nil, []string{"logs[0].log.secret and logs[0].log.secret_file are both set"}},
		{"a secret twice", "kafka:\n  secret: a\n  secret_file: " + loose + "\n", nil, []string{"kafka.secret and kafka.secret_file"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			err := Load(file(t, tc.yaml), defaults(), env(tc.env...))
			if err == nil {
				t.Fatal("was taken")
			}
			for _, want := range tc.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("%q is not in: %v", want, err)
				}
			}
		})
	}
	if err := Load(filepath.Join(t.TempDir(), "no.yaml"), defaults(), nil); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a missing file: %v", err)
	}
	if err := Load("", serviceConfig{}, nil); err == nil {
		t.Error("a struct that is no pointer was taken")
	}
}

func TestDumpCanBeLoadedAgainAndHidesSecrets(t *testing.T) {
	cfg := defaults()
	cfg.Kafka.Secret = "hidden"
	var out bytes.Buffer
	if err := Dump(&out, cfg); err != nil {
		t.Fatal(err)
	}
	if strings.Contains(out.String(), "hidden") || !strings.Contains(out.String(), "wait: 1s") {
		t.Errorf("dump:\n%s", out.String())
	}
	again := defaults()
	if err := Load(file(t, out.String()), again, nil); err != nil {
		t.Fatal(err)
	}
	again.Kafka.Secret = "hidden"
	if !reflect.DeepEqual(again, cfg) {
		t.Errorf("got %+v\nwant %+v", again, cfg)
	}
}

func TestConfigNamesWhatItRefuses(t *testing.T) {
	for key, change := range map[string]func(*Config){
		"listen":        func(c *Config) { c.Listen = "9100" },
		"otlp_endpoint": func(c *Config) { c.OTLPEndpoint = "127.0.0.1:4318" },
		"trace_ratio":   func(c *Config) { c.TraceRatio = 1.5 },
		"stop_timeout":  func(c *Config) { c.StopTimeout = 0 },
	} {
		c := DefaultConfig()
		change(&c)
		if err := c.Validate(); err == nil || !strings.Contains(err.Error(), key) {
			t.Errorf("%s: %v", key, err)
		}
	}
	if got := (Config{Listen: ":9100"}).listenAddress(); got != "127.0.0.1:9100" {
		t.Errorf("a port without a host opens %s", got)
	}
	if got := (Config{Listen: "0.0.0.0:9100"}).listenAddress(); got != "0.0.0.0:9100" {
		t.Errorf("what is asked for in words became %s", got)
	}
}
