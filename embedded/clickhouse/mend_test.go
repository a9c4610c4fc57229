package clickhouse

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// hollow empties the definition of a view or table of the child's store, as a full disk does.
func hollow(t *testing.T, dir, name string) string {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(dir, "data", "store", "*", "*", name+".sql"))
	if err != nil || len(found) != 1 {
		t.Fatalf("definitions of %s: %v (%v)", name, found, err)
	}
	if err := os.Truncate(found[0], 0); err != nil {
		t.Fatal(err)
	}
	return found[0]
}

func TestAViewThatAFullDiskEmptiedDoesNotKeepTheStoreFromStarting(t *testing.T) {
	dir := t.TempDir()
	c := startChild(t, dir)
	ask := func(want, query string) {
		t.Helper()
		if got, err := c.post(query, ""); err != nil || got != want {
			t.Errorf("%s: %q, want %q (%v)", query, got, want, err)
		}
	}
	ask("", "CREATE TABLE t (x UInt8) ENGINE = MergeTree ORDER BY x")
	ask("", "INSERT INTO t SELECT 1")
	ask("", "CREATE VIEW derived_v AS SELECT x FROM t")
	c.kill()
	hollow(t, dir, "derived_v")

	c = startChild(t, dir)
	defer c.kill()
	ask("1", "SELECT count() FROM t")
	ask("", "CREATE OR REPLACE VIEW derived_v AS SELECT x FROM t")
	ask("1", "SELECT count() FROM derived_v")
}

func TestATableThatAFullDiskEmptiedIsNotRemoved(t *testing.T) {
	dir := t.TempDir()
	at := filepath.Join(dir, "store", "abc", "abcdef", "ledger.sql")
	if err := os.MkdirAll(filepath.Dir(at), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(at, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	err := mend(dir, func(name string) bool { return name == "samples" }, func(view string) { t.Errorf("%s was removed", view) })
	if err == nil || !strings.Contains(err.Error(), "ledger") {
		t.Errorf("got %v, want a sentence that names the table", err)
	}
	if _, err := os.Stat(at); err != nil {
		t.Error(err)
	}
	if err := mend(filepath.Join(dir, "nothing"), nil, nil); err != nil {
		t.Errorf("a store that is not there yet: %v", err)
	}
}
