package wholefile

import (
	"io/fs"
	"os"
	"path/filepath"
	"testing"
)

func TestAFileIsReplacedWithItsModeAndNothingIsLeftBeside(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "key.pem")
	for _, w := range []struct {
		data string
		mode fs.FileMode
	}{{"one", 0o600}, {"another", 0o644}} {
		if err := Write(path, []byte(w.data), w.mode); err != nil {
			t.Fatal(err)
		}
		got, err := os.ReadFile(path)
		if err != nil || string(got) != w.data {
			t.Errorf("%q, %v", got, err)
		}
		if info, err := os.Stat(path); err != nil || info.Mode().Perm() != w.mode {
			t.Errorf("%v, %v", info.Mode(), err)
		}
	}
	// A directory that is in the way: the write fails, and cleans up.
	if err := os.Mkdir(filepath.Join(dir, "taken"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := Write(filepath.Join(dir, "taken"), []byte("x"), 0o600); err == nil {
		t.Error("a directory was replaced")
	}
	if err := Write(filepath.Join(dir, "missing", "key.pem"), []byte("x"), 0o600); err == nil {
		t.Error("a file in a directory that is not there")
	}
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != 2 {
		t.Errorf("%v, %v", entries, err)
	}
}
