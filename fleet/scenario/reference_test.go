package scenario

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"reflect"
	"strings"
	"testing"
)

const page = "../../docs/scenarios.md"

const head = `# What a scenario may say

A scenario is a YAML file that describes a fleet of simulated devices and what befalls it. This is the reference; [how to write
one](writing-a-scenario.md) begins with an example. It is generated from the types of ` + "`fleet/scenario`" + `, which are also what reads the file;
after a change, ` + "`go test ./fleet/scenario -run Reference -update`" + ` writes it anew.

A file has at most 1 MiB, one document, no anchors and no aliases, and describes at most 1,000,000 devices. ` + "`muster simulate check FILE`" + `
says all that is wrong with it at once, each with line, column, the key's path and what would be right.

| value | how it is written |
|---|---|
| span | a length of time: ` + "`90s`, `1h30m`, `2w`, `-3y`; units ms, s, m, h, d, w, y (365 days)" + ` |
| share | a part of a whole: ` + "`5%` or `0.05`" + ` |
| rate | how often or how much in a time: ` + "`2/w`, `0.5/d`, `3/h`; units s, m, h, d, w" + ` |
| ppm, Hz | ` + "`20ppm`, `100Hz`" + ` |
| time | ` + "`2026-01-05T00:00:00Z`" + ` |
| time of day | ` + "`\"22:00\"`" + `, in quotes, UTC |
| name | ` + "`[a-z0-9][a-z0-9._-]{0,62}`" + ` |
| metric | ` + "`[a-z_][a-z0-9_]{0,62}`" + ` |
| version | letters, digits and ` + "`. + _ -`" + `, at most 64 |
`

// comments are those of the schema's types and fields, by type and field.
func comments(t *testing.T) (types map[string]string, fields map[string]string) {
	t.Helper()
	types, fields = map[string]string{}, map[string]string{}
	for _, name := range []string{"scenario.go", "events.go"} {
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.ParseComments)
		if err != nil {
			t.Fatal(err)
		}
		for _, decl := range file.Decls {
			d, ok := decl.(*ast.GenDecl)
			if !ok || d.Tok != token.TYPE {
				continue
			}
			for _, spec := range d.Specs {
				s := spec.(*ast.TypeSpec)
				st, ok := s.Type.(*ast.StructType)
				if !ok {
					continue
				}
				types[s.Name.Name] = oneLine(d.Doc.Text())
				for _, f := range st.Fields.List {
					for _, n := range f.Names {
						fields[s.Name.Name+"."+n.Name] = oneLine(f.Doc.Text())
					}
				}
			}
		}
	}
	return types, fields
}

func oneLine(s string) string { return strings.Join(strings.Fields(s), " ") }

// reference writes the page.
func reference(t *testing.T) string {
	types, meanings := comments(t)
	out := &strings.Builder{}
	out.WriteString(head)
	written := map[reflect.Type]bool{}
	var write func(title string, typ reflect.Type)
	write = func(title string, typ reflect.Type) {
		if written[typ] {
			return
		}
		written[typ] = true
		fmt.Fprintf(out, "\n## %s\n\n%s\n\n| key | value | default | meaning |\n|---|---|---|---|\n", title, types[typ.Name()])
		type below struct {
			title string
			typ   reflect.Type
		}
		var next []below
		for _, f := range fieldsOf(typ) {
			owner, index := typ, f.index
			for len(index) > 1 {
				owner, index = owner.Field(index[0]).Type, index[1:]
			}
			meaning := meanings[owner.Name()+"."+owner.Field(index[0]).Name]
			if meaning == "" {
				t.Errorf("%s.%s has no comment", owner.Name(), owner.Field(index[0]).Name)
			}
			inner := f.typ
			if inner.Kind() == reflect.Slice {
				inner = inner.Elem()
			}
			field := owner.Field(index[0])
			meaning = strings.TrimPrefix(meaning, field.Name)
			if len(meaning) < len(meanings[owner.Name()+"."+field.Name]) { // a reader knows the key's name, not the field's
				name := strings.ReplaceAll(f.key, "-", " ")
				meaning = strings.ToUpper(name[:1]) + name[1:] + meaning
			}
			value, _, _ := strings.Cut(f.syntax(), ":") // forms are told above
			if inner.Kind() == reflect.Struct && inner != timeType {
				next = append(next, below{f.key, inner})
				link := strings.ToLower(inner.Name())
				for _, b := range next {
					if b.typ == inner {
						link = b.title
						break
					}
				}
				value = fmt.Sprintf("%s, [below](#%s)", value, link)
			}
			if limits := f.limits(); limits != "" {
				value += ", " + limits
			} else if f.typ == shareType {
				value += ", 0 to 1"
			}
			fallback := f.fallback
			switch {
			case f.need:
				fallback = "needed"
			case fallback != "":
				fallback = "`" + fallback + "`"
			case field.Type.Kind() == reflect.Pointer:
			case f.typ.Kind() == reflect.Float64 || f.typ.Kind() == reflect.Int:
				fallback = "`0`"
			case f.typ.Kind() == reflect.Bool:
				fallback = "`false`"
			}
			fmt.Fprintf(out, "| `%s` | %s | %s | %s |\n", f.key, escape(value), fallback, escape(meaning))
		}
		for _, n := range next {
			write(n.title, n.typ)
		}
	}
	write("scenario", reflect.TypeFor[Scenario]())
	return out.String()
}

func escape(s string) string { return strings.ReplaceAll(s, "|", "\\|") }

func TestReferenceIsFresh(t *testing.T) {
	want := reference(t)
	if *update {
		if err := os.WriteFile(page, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	is, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	if string(is) != want {
		t.Errorf("%s is not what the types say; `go test ./fleet/scenario -run Reference -update` writes it anew", page)
	}
}
