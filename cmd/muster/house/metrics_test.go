package house

import (
	"cmp"
	"flag"
	"fmt"
	"go/ast"
	"go/token"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write the generated pages anew")

const metricsPage = "docs/metrics.md"

const metricsHead = `# Metrics

Every process serves its metrics at ` + "`/metrics`" + ` of its own port (9100 to 9107). This page is generated from the code; after a
change, ` + "`go test ./cmd/muster/house -run MetricsPage -update`" + ` writes it anew. Beside these there are the Go runtime's
(` + "`go_*`" + `) and the operating system's (` + "`process_*`" + `). No label is ever made from what a device sends.
`

// metric is one that the code registers.
type metric struct {
	room, name, kind, help string
	labels                 []string
}

// constructor matches client_golang's constructors, all of which are named alike.
var constructor = regexp.MustCompile(`^New(Counter|Gauge|Histogram|Summary)(Vec|Func)?$`)

// maker is a local function that makes metrics under a prefix: name and help are its first two parameters, and every
// other string that it is given is a label.
type maker struct{ prefix, kind string }

// metricsOf reads what a file registers. What it cannot read is an error: the page would pass it over.
func metricsOf(t *testing.T, name string) (out []metric) {
	t.Helper()
	file := parse(t, name, 0)
	room := path.Dir(name)
	makers := map[string]maker{}
	ast.Inspect(file, func(n ast.Node) bool {
		assign, ok := n.(*ast.AssignStmt)
		if !ok || len(assign.Rhs) != 1 {
			return true
		}
		lit, ok := assign.Rhs[0].(*ast.FuncLit)
		if !ok {
			return true
		}
		ast.Inspect(lit, func(n ast.Node) bool {
			if kind, opts, _ := construction(n); opts != nil {
				if prefix, literal := concatenated(field(opts, "Name")); !literal {
					makers[assign.Lhs[0].(*ast.Ident).Name] = maker{prefix, kind}
				}
			}
			return true
		})
		return true
	})
	ast.Inspect(file, func(n ast.Node) bool {
		call, ok := n.(*ast.CallExpr)
		if !ok {
			return true
		}
		if id, ok := call.Fun.(*ast.Ident); ok && makers[id.Name] != (maker{}) {
			words := literals(call.Args)
			if len(words) < 2 {
				t.Fatalf("%s: a metric's name and help are to be written where it is made", name)
			}
			out = append(out, metric{room, makers[id.Name].prefix + words[0], makers[id.Name].kind, words[1], words[2:]})
			return true
		}
		kind, opts, labels := construction(n)
		if opts == nil {
			if sel, ok := call.Fun.(*ast.SelectorExpr); ok && sel.Sel.Name == "NewDesc" {
				words := literals(call.Args)
				kind := "gauge"
				if strings.HasSuffix(words[0], "_total") {
					kind = "counter"
				}
				out = append(out, metric{room, words[0], kind, words[1], elements(call.Args[2])})
			}
			return true
		}
		prefix, literal := concatenated(field(opts, "Name"))
		if !literal {
			return true // a maker's own
		}
		help, _ := concatenated(field(opts, "Help"))
		if constant, ok := field(opts, "ConstLabels").(*ast.CompositeLit); ok {
			for _, e := range constant.Elts {
				key, _ := concatenated(e.(*ast.KeyValueExpr).Key)
				labels = append(labels, key)
			}
		}
		out = append(out, metric{room, prefix, kind, help, labels})
		return true
	})
	return out
}

// construction takes a call of a constructor apart; opts is nil when n is none.
func construction(n ast.Node) (kind string, opts *ast.CompositeLit, labels []string) {
	call, ok := n.(*ast.CallExpr)
	if !ok || len(call.Args) == 0 {
		return "", nil, nil
	}
	sel, ok := call.Fun.(*ast.SelectorExpr)
	if !ok {
		return "", nil, nil
	}
	m := constructor.FindStringSubmatch(sel.Sel.Name)
	opts, ok = call.Args[0].(*ast.CompositeLit)
	if m == nil || !ok {
		return "", nil, nil
	}
	if m[2] == "Vec" {
		labels = elements(call.Args[1])
	}
	return strings.ToLower(m[1]), opts, labels
}

func field(opts *ast.CompositeLit, name string) ast.Expr {
	for _, e := range opts.Elts {
		if kv, ok := e.(*ast.KeyValueExpr); ok && kv.Key.(*ast.Ident).Name == name {
			return kv.Value
		}
	}
	return nil
}

// concatenated is the text of a string expression as far as it is written out, and whether all of it is.
func concatenated(e ast.Expr) (text string, literal bool) {
	switch e := e.(type) {
	case *ast.BasicLit:
		if e.Kind == token.STRING {
			text, err := strconv.Unquote(e.Value)
			return text, err == nil
		}
	case *ast.BinaryExpr:
		left, a := concatenated(e.X)
		right, b := concatenated(e.Y)
		return left + right, a && b
	}
	return "", false
}

func literals(args []ast.Expr) (out []string) {
	for _, a := range args {
		if s, ok := concatenated(a); ok {
			out = append(out, s)
		}
	}
	return out
}

func elements(e ast.Expr) []string {
	if list, ok := e.(*ast.CompositeLit); ok {
		return literals(list.Elts)
	}
	return nil
}

func TestHouseMetricsPageIsFresh(t *testing.T) {
	var all []metric
	files(t, func(name string, _ int64) {
		if path.Ext(name) == ".go" && !strings.HasSuffix(name, "_test.go") && !strings.Contains(name, "test/") {
			all = append(all, metricsOf(t, name)...)
		}
	})
	slices.SortFunc(all, func(a, b metric) int { return cmp.Or(cmp.Compare(a.room, b.room), cmp.Compare(a.name, b.name)) })
	if len(all) < 50 {
		t.Errorf("only %d metrics were found: has their form changed?", len(all))
	}
	page := &strings.Builder{}
	page.WriteString(metricsHead)
	room := ""
	for _, m := range all {
		if m.room != room {
			room = m.room
			fmt.Fprintf(page, "\n## %s\n\n| metric | type | labels | meaning |\n|---|---|---|---|\n", room)
		}
		if m.help == "" || !strings.HasPrefix(m.name, "muster_") {
			t.Errorf("%s: metric %q: want a name that begins with muster_, and a help, both written out", m.room, m.name)
		}
		slices.Sort(m.labels)
		fmt.Fprintf(page, "| `%s` | %s | %s | %s |\n", m.name, m.kind, strings.Join(m.labels, ", "), strings.ReplaceAll(m.help, "|", "\\|"))
	}
	if *update {
		if err := os.WriteFile(filepath.Join(root, metricsPage), []byte(page.String()), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if read(t, metricsPage) != page.String() {
		t.Errorf("%s is not what the code says; `go test ./cmd/muster/house -run MetricsPage -update` writes it anew", metricsPage)
	}
}
