package daemon

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"errors"

	"go.yaml.in/yaml/v3"
)

func TestNoWayOfPrintingShowsASecret(t *testing.T) {
	const value = "hunter2-correct-horse"
	type section struct {
		Key  Secret            `yaml:"key" json:"key"`
		List []Secret          `yaml:"list" json:"list"`
		Map  map[string]Secret `yaml:"map" json:"map"`
	}
	cfg := section{Key: value, List: []Secret{value}, Map: map[string]Secret{"a": value}}

	printed := map[string]string{}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%10s"} {
		printed["Secret "+verb] = fmt.Sprintf(verb, cfg.Key)
		printed["struct "+verb] = fmt.Sprintf(verb, cfg)
		printed["pointer "+verb] = fmt.Sprintf(verb, &cfg)
	}
	raw, err := json.Marshal(cfg)
	if err != nil {
		t.Fatal(err)
	}
	printed["JSON"] = string(raw)
	raw, err = yaml.Marshal(cfg)
	if err != nil {
		t.Fatal(err)
	}
	printed["YAML"] = string(raw)
	var log bytes.Buffer
	l := slog.New(slog.NewJSONHandler(&log, nil))
	l.Info("x", "key", cfg.Key, "cfg", cfg)
	slog.New(slog.NewTextHandler(&log, nil)).Info("x", "key", cfg.Key, "cfg", cfg)
	printed["slog"] = log.String()
	printed["error"] = fmt.Errorf("login with %v: %w", cfg.Key, errors.New("no")).Error()

	hex := fmt.Sprintf("%x", value)
	for how, text := range printed {
		if strings.Contains(text, value) || strings.Contains(strings.ToLower(text), hex) {
			t.Errorf("%s prints the secret: %s", how, text)
		}
	}
	if !strings.Contains(printed["YAML"], "redacted") {
		t.Errorf("YAML does not say that something is left out: %s", printed["YAML"])
	}
	if got := cfg.Key.Reveal(); got != value {
		t.Errorf("Reveal = %q", got)
	}
}

func TestASecretFileMustBeTheOwnersAlone(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string, mode fs.FileMode) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		return path
	}
	for _, tc := range []struct {
		name, path, want string
	}{
		{"readable by the group", write("group", "s", 0o640), "mode 0640"},
		{"readable by all", write("all", "s", 0o604), "mode 0604"},
		{"empty", write("empty", "\n", 0o600), "empty"},
		{"long", write("long", strings.Repeat("s", maxSecret+1), 0o600), "more than 65536 bytes"},
		{"missing", filepath.Join(dir, "missing"), "no such file"},
		{"a directory", dir, "not a regular file"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if _, err := ReadSecret(tc.path); err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("err = %v, want %q in it", err, tc.want)
			}
		})
	}
	got, err := ReadSecret(write("good", "  s3cret \r\n", 0o400))
	if err != nil || got.Reveal() != "  s3cret " {
		t.Errorf("ReadSecret = %q, %v: only the newline at the end is no part of it", got.Reveal(), err)
	}
	if got, err := ReadSecret(write("longest", strings.Repeat("s", maxSecret), 0o600)); err != nil || len(got) != maxSecret {
		t.Errorf("ReadSecret of %d bytes: %d, %v", maxSecret, len(got), err)
	}
}
