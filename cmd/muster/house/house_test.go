package house

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const root = "../../.."

// skipped are folders that hold nothing of ours.
var skipped = []string{".git", "node_modules", "bin", ".muster", "testdata"}

// files walks the repository; paths are relative to its root, with slashes.
func files(t *testing.T, visit func(name string, size int64)) {
	t.Helper()
	err := filepath.WalkDir(root, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && slices.Contains(skipped, d.Name()) {
			return filepath.SkipDir
		}
		if d.IsDir() || !d.Type().IsRegular() {
			return nil
		}
		rel, err := filepath.Rel(root, p)
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		visit(filepath.ToSlash(rel), info.Size())
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func read(t *testing.T, name string) string {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join(root, filepath.FromSlash(name)))
	if err != nil {
		t.Fatal(err)
	}
	return string(raw)
}

func parse(t *testing.T, name string, mode parser.Mode) *ast.File {
	t.Helper()
	f, err := parser.ParseFile(token.NewFileSet(), filepath.Join(root, filepath.FromSlash(name)), nil, mode)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func TestHouseWorkspaceListsEveryModule(t *testing.T) {
	listed := read(t, "go.work")
	files(t, func(name string, _ int64) {
		if path.Base(name) != "go.mod" {
			return
		}
		// Tools are kept out of the workspace, so that they do not choose the versions of what we build.
		if dir := path.Dir(name); dir != "tools" && !strings.Contains(listed, "\t./"+dir+"\n") {
			t.Errorf("go.work does not list ./%s: `go test work` would pass it over", dir)
		}
	})
}

// rules say what a folder may import of this repository. The first that matches a folder holds.
var rules = []struct {
	folder string
	may    []string
	why    string
}{
	{"proto", []string{"proto"}, "the wire contract stands alone: devices compile it"},
	{"platform", []string{"platform", "proto"}, "what every service stands on knows no service"},
	{"services/ingest", []string{"services/ingest", "platform", "proto"}, "a service learns of another's state from the log, never from its code"},
	{"services/registry", []string{"services/registry", "platform", "proto"}, "a service learns of another's state from the log, never from its code"},
	{"services/anomaly", []string{"services/anomaly", "platform", "proto"}, "a service learns of another's state from the log, never from its code"},
	{"services/retention", []string{"services/retention", "platform", "proto"}, "a service learns of another's state from the log, never from its code"},
	{"fleet/agent", []string{"fleet/agent", "proto"}, "the agent runs on devices"},
	{"fleet", []string{"fleet", "platform", "proto"}, "a device knows the public interfaces only"},
	{"embedded", []string{"embedded"}, "the engines know nobody who uses them"},
}

func TestHouseImportsFollowTheFlow(t *testing.T) {
	files(t, func(name string, _ int64) {
		if path.Ext(name) != ".go" {
			return
		}
		for _, r := range rules {
			if !strings.HasPrefix(name, r.folder+"/") {
				continue
			}
			for _, spec := range parse(t, name, parser.ImportsOnly).Imports {
				imported, err := strconv.Unquote(spec.Path.Value)
				if err != nil {
					t.Fatal(err)
				}
				ours, is := strings.CutPrefix(imported, "muster.dev/")
				if !is || strings.HasSuffix(name, "_test.go") || strings.Contains(name, "test/") {
					continue // tests may start the engines and the neighbours that they need
				}
				if !slices.ContainsFunc(r.may, func(m string) bool { return ours == m || strings.HasPrefix(ours, m+"/") }) {
					t.Errorf("%s imports %s: %s", name, imported, r.why)
				}
			}
			return
		}
	})
}

func TestHouseServicesDoNotImportEachOtherEvenInTests(t *testing.T) {
	files(t, func(name string, _ int64) {
		if path.Ext(name) != ".go" || !strings.HasPrefix(name, "services/") {
			return
		}
		own := strings.Join(strings.SplitN(name, "/", 3)[:2], "/")
		for _, spec := range parse(t, name, parser.ImportsOnly).Imports {
			ours, is := strings.CutPrefix(strings.Trim(spec.Path.Value, `"`), "muster.dev/")
			if is && strings.HasPrefix(ours, "services/") && ours != own && !strings.HasPrefix(ours, own+"/") {
				t.Errorf("%s imports %s", name, ours)
			}
		}
	})
}

func TestHouseHasNoDrawers(t *testing.T) {
	drawers := []string{"common", "util", "utils", "helpers", "helper", "shared", "misc", "pkg", "base", "core"}
	files(t, func(name string, _ int64) {
		for _, dir := range strings.Split(path.Dir(name), "/") {
			if slices.Contains(drawers, dir) {
				t.Errorf("%s: %q says nothing of what it holds", name, dir)
			}
		}
	})
}

const largest = 25 << 10

func TestHouseFilesStaySmall(t *testing.T) {
	files(t, func(name string, size int64) {
		if path.Ext(name) == ".go" && size > largest {
			t.Errorf("%s has %d bytes, more than %d: one concept per file", name, size, largest)
		}
	})
}

const longestMain = 60

// A main parses, builds and runs; what else there is can be called by a test and by the local stack.
func TestHouseMainsAreSmall(t *testing.T) {
	files(t, func(name string, _ int64) {
		if path.Base(name) != "main.go" || !strings.Contains(name, "cmd/") {
			return
		}
		if n := strings.Count(read(t, name), "\n"); n > longestMain {
			t.Errorf("%s has %d lines, more than %d", name, n, longestMain)
		}
	})
}

func TestHouseEachPackageSaysWhatItIs(t *testing.T) {
	documented := map[string]bool{}
	files(t, func(name string, _ int64) {
		if path.Ext(name) == ".go" && !strings.HasSuffix(name, "_test.go") {
			f := parse(t, name, parser.PackageClauseOnly|parser.ParseComments)
			documented[path.Dir(name)] = documented[path.Dir(name)] || f.Doc != nil
		}
	})
	for dir, ok := range documented {
		if !ok {
			t.Errorf("%s: no package comment (doc.go says purpose, contract and what it is not)", dir)
		}
	}
}

// Words that belong to a machine, a tracker or a day of work. They are put together here, so that this file passes.
var words = []struct {
	pattern *regexp.Regexp
	why     string
}{
	{regexp.MustCompile(`(^|[^A-Za-z0-9._/$}-])/(` + `root|home|` + `tmp|work)/[A-Za-z0-9._-]+`), "a path of one machine"},
	{regexp.MustCompile(`\b(T` + `ODO|FIX` + `ME|XX` + `X)\b`), "work that was put off: do it, or write an issue"},
	{regexp.MustCompile(`(?i)not ` + `implemented`), "work that was put off: do it, or write an issue"},
	{regexp.MustCompile(`(?i)\bissue ` + `#?[0-9]+`), "a tracker's number, which says nothing to who reads it here"},
}

// texts are the kinds of file that words are looked for in.
var texts = []string{".go", ".md", ".sql", ".yaml", ".yml", ".mod", ".sh", ""}

func TestHouseKeepsToItsWords(t *testing.T) {
	files(t, func(name string, size int64) {
		if !slices.Contains(texts, path.Ext(name)) || size > 1<<20 || path.Base(name) == "go.sum" {
			return
		}
		n := 0
		for line := range strings.Lines(read(t, name)) {
			n++
			for _, w := range words {
				if at := w.pattern.FindString(line); at != "" {
					t.Errorf("%s:%d: %q: %s", name, n, strings.TrimSpace(at), w.why)
				}
			}
		}
	})
}

func TestHouseProcessesEndInMainOnly(t *testing.T) {
	ends := regexp.MustCompile(`\b(os\.Exit|log\.Fatal\w*)\(`)
	files(t, func(name string, _ int64) {
		if path.Ext(name) != ".go" || strings.HasSuffix(name, "_test.go") || path.Base(name) == "main.go" || strings.Contains(name, "test/") {
			return
		}
		for line := range strings.Lines(read(t, name)) {
			// daemon.Main is the main of every service; the torture's crash points are what they say; a log that cannot
			// be written must not answer.
			may := name == "services/ingest/sink/crash.go" || name == "cmd/muster/stack/failstop.go"
			if ends.MatchString(line) && !strings.HasPrefix(strings.TrimSpace(line), "//") && !may {
				t.Errorf("%s ends the process: %s", name, strings.TrimSpace(line))
			}
		}
	})
}

// The agent imports proto alone, and proto is no place for files: what stands twice for that reason stands twice the same.
func TestHouseTwinsAreTheSame(t *testing.T) {
	for _, name := range []string{"wholefile.go", "wholefile_test.go"} {
		if read(t, "fleet/agent/wholefile/"+name) != read(t, "services/registry/wholefile/"+name) {
			t.Errorf("fleet/agent/wholefile/%s and services/registry/wholefile/%[1]s differ: mend both", name)
		}
	}
}
