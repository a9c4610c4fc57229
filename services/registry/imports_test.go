package registry_test

import (
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// forbidden are imports that would join what must be able to live and die apart.
var forbidden = map[string]string{
	"muster.dev/services/": "a service learns of another from the log alone",
	"muster.dev/embedded":  "a service does not know which engines it has, and its image holds no shared library",
	"muster.dev/fleet":     "devices are outside",
	"muster.dev/cmd":       "the operator's program stands on the services, not they on it",
}

func TestWhatTheServiceDoesNotImport(t *testing.T) {
	files := 0
	err := filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
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
			if strings.HasPrefix(name+"/", "muster.dev/services/registry/") {
				continue
			}
			for prefix, why := range forbidden {
				if strings.HasPrefix(name, prefix) {
					t.Errorf("%s imports %s: %s", path, name, why)
				}
			}
		}
		return nil
	})
	if err != nil || files < 5 {
		t.Fatalf("%d files, %v", files, err)
	}
}
