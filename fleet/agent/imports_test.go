package agent

import (
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// TestWhatTheAgentStandsOn holds the agent to its few imports: who puts it on a device should be able to read all of it.
func TestWhatTheAgentStandsOn(t *testing.T) {
	allowed := []string{"github.com/cenkalti/backoff/v4", "muster.dev/proto/", "muster.dev/fleet/agent"}
	files := 0
	err := filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || filepath.Ext(path) != ".go" {
			return err
		}
		files++
		f, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.ImportsOnly)
		if err != nil {
			return err
		}
		for _, spec := range f.Imports {
			name, err := strconv.Unquote(spec.Path.Value)
			if err != nil {
				return err
			}
			first, _, _ := strings.Cut(name, "/")
			ours := slices.ContainsFunc(allowed, func(a string) bool { return name == a || strings.HasPrefix(name, strings.TrimSuffix(a, "/")+"/") })
			test := strings.HasSuffix(path, "_test.go") && name == "go.uber.org/goleak"
			if strings.Contains(first, ".") && !ours && !test {
				t.Errorf("%s imports %s", path, name)
			}
		}
		return nil
	})
	if err != nil || files < 20 {
		t.Fatalf("%d files, %v", files, err)
	}
}
