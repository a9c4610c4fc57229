package proto_test

import (
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// TestWhatTheContractStandsOn holds the module to its few imports: a device's agent links proto, and whoever reads
// the log does; neither shall pull in a client of Kafka or of ClickHouse for it.
func TestWhatTheContractStandsOn(t *testing.T) {
	allowed := []string{"github.com/vmihailenco/msgpack/v5", "muster.dev/proto/"}
	inTests := []string{"go.uber.org/goleak", "github.com/tinylib/msgp/msgp"} // leaks, and a peer in the benchmark
	files := 0
	err := filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") {
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
			ok := !strings.Contains(first, ".") // the standard library
			for _, a := range allowed {
				ok = ok || strings.HasPrefix(name, a)
			}
			if strings.HasSuffix(path, "_test.go") {
				for _, a := range inTests {
					ok = ok || name == a
				}
			}
			if !ok {
				t.Errorf("%s imports %s", path, name)
			}
			if name == "github.com/vmihailenco/msgpack/v5" && !strings.HasSuffix(path, "_test.go") && path != filepath.Join("event", "registry.go") {
				t.Errorf("%s imports %s: the scan stands before it in event/registry.go alone", path, name)
			}
		}
		return nil
	})
	if err != nil || files < 20 {
		t.Fatalf("%d files, %v", files, err)
	}
}
