package house

import (
	"go/ast"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestHouseDocsNameWhatIsThere holds `folder.Name` and `folder.Type.Method` in the documents to the code.
func TestHouseDocsNameWhatIsThere(t *testing.T) {
	named := regexp.MustCompile("`((?:[a-z0-9]+/)+[a-z0-9]+)\\.([A-Za-z.]+)`")
	found := 0
	for _, doc := range []string{"docs/life-of-a-reading.md", "docs/design.md"} {
		for _, m := range named.FindAllStringSubmatch(read(t, doc), -1) {
			folder, name := m[1], m[2]
			if name == "md" || name == "sql" {
				continue
			}
			found++
			if !declared(t, folder)[name] {
				t.Errorf("%s names %s.%s, which is not there", doc, folder, name)
			}
		}
	}
	if found < 20 {
		t.Errorf("only %d names were found: has their form changed?", found)
	}
}

// declared lists a package's functions, types and methods.
func declared(t *testing.T, folder string) map[string]bool {
	t.Helper()
	names := map[string]bool{}
	entries, err := os.ReadDir(filepath.Join(root, filepath.FromSlash(folder)))
	if err != nil {
		t.Errorf("%s: %v", folder, err)
	}
	for _, e := range entries {
		if filepath.Ext(e.Name()) != ".go" || strings.HasSuffix(e.Name(), "_test.go") {
			continue
		}
		for _, decl := range parse(t, folder+"/"+e.Name(), 0).Decls {
			switch d := decl.(type) {
			case *ast.FuncDecl:
				name := d.Name.Name
				if d.Recv != nil {
					of := d.Recv.List[0].Type
					if star, ok := of.(*ast.StarExpr); ok {
						of = star.X
					}
					if id, ok := of.(*ast.Ident); ok {
						name = id.Name + "." + name
					}
				}
				names[name] = true
			case *ast.GenDecl:
				for _, spec := range d.Specs {
					if s, ok := spec.(*ast.TypeSpec); ok {
						names[s.Name.Name] = true
					}
				}
			}
		}
	}
	return names
}
