package house

import (
	"io/fs"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestHouseFaultTableNamesTests holds `package.TestName` in docs/faults.md to the tests that there are.
func TestHouseFaultTableNamesTests(t *testing.T) {
	declares := regexp.MustCompile(`(?m)^func (Test[A-Za-z0-9_]+)\(`)
	there := map[string]bool{}
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && (d.Name() == "node_modules" || d.Name() == ".git"):
			return filepath.SkipDir
		case !strings.HasSuffix(path, "_test.go"):
			return nil
		}
		rel, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		for _, m := range declares.FindAllStringSubmatch(string(read(t, filepath.ToSlash(rel))), -1) {
			there[filepath.Base(filepath.Dir(path))+"."+m[1]] = true
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	named := regexp.MustCompile("`([a-z]+\\.Test[A-Za-z0-9_]+)`").FindAllStringSubmatch(string(read(t, "docs/faults.md")), -1)
	if len(named) < 30 {
		t.Errorf("only %d tests are named: has the table's form changed?", len(named))
	}
	for _, m := range named {
		if !there[m[1]] {
			t.Errorf("docs/faults.md names %s, which is not there", m[1])
		}
	}
}
