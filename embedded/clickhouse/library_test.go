package clickhouse

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestALibraryThatIsMissingOrHalfIsToldWithWhatToDo(t *testing.T) {
	dir := t.TempDir()
	short := filepath.Join(dir, "short.so")
	if err := os.WriteFile(short, []byte("\x7fELF and then the line went dead"), 0o600); err != nil {
		t.Fatal(err)
	}
	sparse := filepath.Join(dir, "noelf.so")
	if err := os.WriteFile(sparse, []byte("<html>not found</html>"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(sparse, libraryMinSize+1); err != nil {
		t.Fatal(err)
	}
	paths := []string{filepath.Join(dir, "missing.so"), short, sparse}
	if whole, err := FindLibrary(); err == nil {
		// Its first 200 MB: the header is whole, the rest is not there.
		half := filepath.Join(dir, "half.so")
		head := make([]byte, 1<<20)
		f, err := os.Open(whole)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		if _, err := f.Read(head); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(half, head, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Truncate(half, 200<<20); err != nil {
			t.Fatal(err)
		}
		paths = append(paths, half)
	}
	for _, p := range paths {
		t.Run(filepath.Base(p), func(t *testing.T) {
			t.Setenv(EnvLibrary, p)
			_, err := FindLibrary()
			if !errors.Is(err, ErrNoLibrary) || !strings.Contains(err.Error(), "make engine") || !strings.Contains(err.Error(), p) {
				t.Errorf("FindLibrary: %v", err)
			}
		})
	}
}

func TestALibraryIsFoundFromAnywhereInTheTree(t *testing.T) {
	root := t.TempDir()
	path := filepath.Join(root, relativeLibrary())
	deep := filepath.Join(root, "services", "ingest", "sink")
	for _, d := range []string{filepath.Dir(path), deep} {
		if err := os.MkdirAll(d, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv(EnvLibrary, "")
	t.Chdir(deep)
	got, err := FindLibrary()
	if got != path || err == nil || !strings.Contains(err.Error(), "too few") {
		t.Errorf("%s, %v", got, err)
	}
}

func TestConfigNamesTheFieldThatIsWrong(t *testing.T) {
	good := testConfig(t.TempDir()).withDefaults()
	if err := good.Validate(); err != nil {
		t.Fatal(err)
	}
	for want, spoil := range map[string]func(*Config){
		"listen":         func(c *Config) { c.Listen = "0.0.0.0:8123" },
		"data dir":       func(c *Config) { c.DataDir = "" },
		"database":       func(c *Config) { c.Database = "a b" },
		"service secret": func(c *Config) { c.ServiceSecret = "" },
		"max body":       func(c *Config) { c.MaxBody = -1 },
	} {
		c := good
		spoil(&c)
		if err := c.Validate(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", want, err)
		}
	}
}
