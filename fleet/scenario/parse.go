package scenario

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"
)

// MaxSize of a scenario's text.
const MaxSize = 1 << 20

// MaxDevices of a scenario at its beginning and by bursts of enrolment, of all cohorts together.
const MaxDevices = 1_000_000

// Parse reads a scenario. The error is a *Problems; name is what it calls the text.
func Parse(name string, text []byte) (*Scenario, error) {
	d := &decoder{places: map[string]*yaml.Node{}, bad: map[string]bool{}}
	s := &Scenario{}
	if root := d.document(text); root != nil {
		d.value(root, reflect.ValueOf(s).Elem(), "", field{})
		s.SHA256 = sha256.Sum256(text)
		s.fill()
		d.check(s)
	}
	if len(d.problems) == 0 {
		return s, nil
	}
	slices.SortStableFunc(d.problems, func(a, b Problem) int {
		return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column))
	})
	e := &Problems{File: name, List: d.problems}
	if n := len(e.List); n > maxProblems {
		e.List, e.More = e.List[:maxProblems], n-maxProblems
	}
	return nil, e
}

// decoder walks the document beside the types, whose tags are the schema.
type decoder struct {
	problems []Problem
	places   map[string]*yaml.Node // of the values that are there, by path
	bad      map[string]bool       // paths at which something is wrong already
}

func (d *decoder) document(text []byte) *yaml.Node {
	file := func(what, limit, do string) *yaml.Node {
		d.problems = append(d.problems, Problem{Line: 1, Column: 1, What: what, Limit: limit, Do: do})
		return nil
	}
	if len(text) > MaxSize {
		return file(fmt.Sprintf("the file has %d bytes", len(text)), fmt.Sprintf("at most %d", MaxSize), "describe the fleet by cohorts instead of by devices")
	}
	if !utf8.Valid(text) {
		return file("the file is not UTF-8", "", "save it as UTF-8")
	}
	dec := yaml.NewDecoder(bytes.NewReader(text))
	var doc, second yaml.Node
	if err := dec.Decode(&doc); err != nil {
		if errors.Is(err, io.EOF) {
			return file("the file is empty", "", "begin with `scenario: NAME`")
		}
		return d.syntax(err)
	}
	if err := dec.Decode(&second); !errors.Is(err, io.EOF) {
		if err != nil {
			return d.syntax(err)
		}
		d.problem(&second, "", "is a second document", "", "keep one scenario a file")
	}
	if doc.Kind != yaml.DocumentNode || len(doc.Content) != 1 {
		return file("the file is empty", "", "begin with `scenario: NAME`")
	}
	return doc.Content[0]
}

var yamlLine = regexp.MustCompile(`^yaml: (?:line (\d+): )?(.*)`)

// syntax makes a problem of what the YAML library says.
func (d *decoder) syntax(err error) *yaml.Node {
	p := Problem{Line: 1, Column: 1, What: "is no YAML", Do: "mend the text; indent with blanks, and quote texts with : or # in them"}
	if m := yamlLine.FindStringSubmatch(err.Error()); m != nil {
		if n, err := strconv.Atoi(m[1]); err == nil {
			p.Line = n
		}
		p.What = "is no YAML, " + m[2]
	}
	d.problems = append(d.problems, p)
	return nil
}

func (d *decoder) problem(n *yaml.Node, path, what, limit, do string) {
	p := Problem{Line: max(n.Line, 1), Column: max(n.Column, 1), Path: path, What: what, Limit: limit, Do: do}
	d.problems, d.bad[path] = append(d.problems, p), true
}

// value reads a node into a value of the schema.
func (d *decoder) value(n *yaml.Node, v reflect.Value, path string, f field) {
	d.places[path] = n
	switch {
	case n.Kind == yaml.AliasNode:
		d.problem(n, path, "is an alias", "", "write out what it stands for")
		return
	case n.Anchor != "":
		d.problem(n, path, "has the anchor &"+clip(n.Anchor), "", "leave the anchor out; aliases are not taken")
	case n.Kind == yaml.ScalarNode && n.ShortTag() == "!!null":
		d.problem(n, path, "has no value", f.wants(), "give it one, or leave the key out")
		return
	}
	if v.Kind() == reflect.Pointer {
		v.Set(reflect.New(v.Type().Elem()))
		v = v.Elem()
	}
	switch {
	case v.Kind() == reflect.Struct && v.Type() != timeType:
		if d.kind(n, yaml.MappingNode, path, "a mapping of keys") {
			d.mapping(n, v, path)
		}
	case v.Kind() == reflect.Slice:
		if d.kind(n, yaml.SequenceNode, path, "a list") {
			d.list(n, v, path, f)
		}
	default:
		if d.kind(n, yaml.ScalarNode, path, f.wants()) {
			if what := setScalar(v, n.Value, f); what != "" {
				d.problem(n, path, strconv.Quote(clip(n.Value))+" "+what, f.wants(), f.do())
			}
		}
	}
}

func (d *decoder) kind(n *yaml.Node, want yaml.Kind, path, wants string) bool {
	if n.Kind == want {
		return true
	}
	is := map[yaml.Kind]string{yaml.MappingNode: "a mapping", yaml.SequenceNode: "a list", yaml.ScalarNode: "a single value"}[n.Kind]
	d.problem(n, path, "is "+is, "want "+strings.TrimPrefix(wants, "want "), "")
	return false
}

func (d *decoder) list(n *yaml.Node, v reflect.Value, path string, f field) {
	if lo, hi, ok := f.bounds(); ok && (float64(len(n.Content)) < lo || float64(len(n.Content)) > hi) {
		d.problem(n, path, fmt.Sprintf("has %d entries", len(n.Content)), f.wants(), "")
		if float64(len(n.Content)) > hi {
			return
		}
	}
	v.Set(reflect.MakeSlice(v.Type(), len(n.Content), len(n.Content)))
	for i, e := range n.Content {
		d.value(e, v.Index(i), path+"["+strconv.Itoa(i)+"]", field{form: f.form})
	}
}

func (d *decoder) mapping(n *yaml.Node, v reflect.Value, path string) {
	fields := fieldsOf(v.Type())
	seen := map[string]bool{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		k, e := n.Content[i], n.Content[i+1]
		key := k.Value
		at := join(path, clip(key))
		if k.Kind != yaml.ScalarNode || k.Anchor != "" {
			d.problem(k, path, "has a key that is no plain text", "", "write keys as plain words")
			continue
		}
		j := slices.IndexFunc(fields, func(f field) bool { return f.key == key })
		switch {
		case j < 0:
			do := ""
			if len(d.problems) < maxProblems { // more are not shown, and a file has room for many
				do = suggest(key, fields)
			}
			d.problem(k, at, "is an unknown key", "", do)
		case seen[key]:
			d.problem(k, at, "is there twice", "", "keep one of the two")
		default:
			seen[key] = true
			d.value(e, v.FieldByIndex(fields[j].index), at, fields[j])
		}
	}
	for _, f := range fields {
		if seen[f.key] {
			continue
		}
		if f.need {
			d.problem(n, join(path, f.key), "is missing", f.wants(), "add it")
		}
		fillDefaults(v.FieldByIndex(f.index), f)
	}
}

func join(path, key string) string {
	if path == "" {
		return key
	}
	return path + "." + key
}

// clip bounds what a message repeats of the text.
func clip(s string) string {
	if len(s) <= 64 {
		return s
	}
	return strings.ToValidUTF8(s[:61], "") + "..."
}

// suggest names the nearest key, or all of them.
func suggest(key string, fields []field) string {
	var all []string
	for _, f := range fields {
		all = append(all, f.key)
	}
	if best := Nearest(key, all); best != "" {
		return "did you mean " + best + "?"
	}
	slices.Sort(all)
	return "the keys here are " + strings.Join(all, ", ")
}

// Nearest gives the name that was most likely meant; none if nothing is near.
func Nearest(said string, names []string) (best string) {
	least := 1 + max(2, len(said)/3)
	for _, name := range names {
		if n := distance(clip(said), name); n < least {
			best, least = name, n
		}
	}
	return best
}

// distance is Levenshtein's, after _ and - and capitals are made alike.
func distance(a, b string) int {
	a, b = strings.ToLower(strings.ReplaceAll(a, "_", "-")), strings.ToLower(b)
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := 1
			if a[i] == b[j] {
				cost = 0
			}
			diagonal, row[j+1] = row[j+1], min(row[j+1]+1, row[j]+1, diagonal+cost)
		}
	}
	return row[len(b)]
}
