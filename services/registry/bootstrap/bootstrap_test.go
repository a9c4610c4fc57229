package bootstrap

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"muster.dev/services/registry/authority"
)

func tree(t *testing.T, dir string) map[string]string {
	t.Helper()
	files := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := os.ReadFile(path)
		files[path] = string(data)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

func TestARepeatedBootstrapChangesNothing(t *testing.T) {
	dir := t.TempDir()
	for range 2 {
		if _, err := Make(dir, "muster.local", Compose(), nil); err != nil {
			t.Fatal(err)
		}
	}
	before := tree(t, dir)
	if _, err := Make(dir, "muster.local", Compose(), nil); err != nil {
		t.Fatal(err)
	}
	after := tree(t, dir)
	if len(before) != len(after) {
		t.Errorf("%d files, then %d", len(before), len(after))
	}
	for path, content := range before {
		if after[path] != content {
			t.Errorf("%s changed", path)
		}
	}
}

func TestHoldersOfOneSecretHoldTheSame(t *testing.T) {
	dir := t.TempDir()
	if _, err := Make(dir, "muster.local", Compose(), nil); err != nil {
		t.Fatal(err)
	}
	values := map[string]string{}
	for _, h := range Compose() {
		for _, name := range h.Secrets {
			data, err := os.ReadFile(filepath.Join(dir, h.Name, name))
			if err != nil {
				t.Fatal(err)
			}
			if len(data) < 32 {
				t.Errorf("%s of %s has %d characters", name, h.Name, len(data))
			}
			if was, ok := values[name]; ok && was != string(data) {
				t.Errorf("%s of %s is not what the others have", name, h.Name)
			}
			values[name] = string(data)
		}
	}
	seen := map[string]string{}
	for name, v := range values {
		if other, ok := seen[v]; ok {
			t.Errorf("%s and %s are one secret", name, other)
		}
		seen[v] = name
	}
}

func TestALostFolderIsMadeAgainWithTheSameSecrets(t *testing.T) {
	dir := t.TempDir()
	if _, err := Make(dir, "muster.local", Compose(), nil); err != nil {
		t.Fatal(err)
	}
	want, err := os.ReadFile(filepath.Join(dir, "sink", ClickHouseService))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(filepath.Join(dir, "sink")); err != nil {
		t.Fatal(err)
	}
	if _, err := Make(dir, "muster.local", Compose(), nil); err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(filepath.Join(dir, "sink", ClickHouseService))
	if err != nil || string(got) != string(want) {
		t.Errorf("the sink's secret is %q, want %q (%v)", got, want, err)
	}
}

func TestEveryFolderGoesToItsHolderAlone(t *testing.T) {
	dir := t.TempDir()
	owners := map[string]int{}
	_, err := Make(dir, "muster.local", Compose(), func(path string, uid int) error {
		owners[path] = uid
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, h := range Compose() {
		own := filepath.Join(dir, h.Name)
		info, err := os.Stat(own)
		if err != nil {
			t.Fatal(err)
		}
		if info.Mode().Perm() != 0o700 {
			t.Errorf("%s has mode %v", own, info.Mode())
		}
		for path := range tree(t, own) {
			if owners[path] != h.UID {
				t.Errorf("%s belongs to %d, want %d", path, owners[path], h.UID)
			}
			if info, _ := os.Stat(path); filepath.Ext(path) != ".pem" && info.Mode().Perm() != 0o600 {
				t.Errorf("%s has mode %v", path, info.Mode())
			}
		}
	}
	keys, err := filepath.Glob(filepath.Join(dir, "registry", "ca", "issuing-*.key.age"))
	if err != nil || len(keys) != 1 || owners[keys[0]] != 65530 {
		t.Errorf("the issuing key %v is not the registry's", keys)
	}
	if owner, ok := owners[filepath.Join(dir, RootKey)]; !ok || owner != 0 {
		t.Errorf("the root's key belongs to %d, %v", owner, ok)
	}
}

func TestAnOldInstallationsKeysAreSealedAndTheRootsLeavesTheRegistry(t *testing.T) {
	dir := t.TempDir()
	if err := os.MkdirAll(filepath.Join(dir, "registry"), 0o700); err != nil {
		t.Fatal(err)
	}
	old, err := authority.Init(filepath.Join(dir, "registry", "ca"), "muster.local") // plain, all in one folder
	if err != nil {
		t.Fatal(err)
	}
	findings, err := Make(dir, "muster.local", Compose(), nil)
	if err != nil {
		t.Fatal(err)
	}
	if len(findings) != 1 || !strings.Contains(findings[0], RootKey) {
		t.Errorf("%q", findings)
	}
	for path, content := range tree(t, dir) {
		if strings.Contains(content, "PRIVATE KEY") && filepath.Base(path) != "server.key" {
			t.Errorf("%s is a key in the clear", path)
		}
	}
	bundle, err := os.ReadFile(filepath.Join(dir, "gateway", "clients.pem"))
	if err != nil || string(bundle) != string(old.Clients()) {
		t.Errorf("the gateway trusts others than before: %v", err)
	}
}
