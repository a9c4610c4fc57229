package clickhouse

import (
	"regexp"
	"strings"
)

// identifier is a name that needs no quotes.
var identifier = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)

// tokenKind tells what a token is. Blanks and comments give no token.
type tokenKind uint8

const (
	word   tokenKind = iota // bare identifier or keyword
	quoted                  // identifier in double quotes or backticks
	str                     // string literal
	number
	punct // one byte of anything else
)

// token is a piece of SQL text: text[from:to].
type token struct {
	kind     tokenKind
	from, to int
	name     string // of a word or a quoted identifier, unescaped
	depth    int    // of parentheses around it
	strange  bool   // ClickHouse's lexer may see something else here: see analyst.go
}

func (t token) is(keyword string) bool { return t.kind == word && strings.EqualFold(t.name, keyword) }

// scan splits SQL into tokens as ClickHouse's lexer does, as far as finding clauses needs it. It stops at the
// first token for which stop says so, and never fails: what is unterminated ends with the text.
func scan(sql string, stop func(tokens []token) bool) []token {
	var tokens []token
	depth := 0
	for i := 0; i < len(sql); {
		from, c := i, sql[i]
		t := token{kind: punct, depth: depth}
		switch {
		case c <= ' ' || c == 0x7f:
			i++
			continue
		case strings.HasPrefix(sql[i:], "\u00a0") || strings.HasPrefix(sql[i:], "\ufeff"):
			i++
			for i < len(sql) && sql[i]&0xc0 == 0x80 {
				i++
			}
			continue
		case strings.HasPrefix(sql[i:], "--") || strings.HasPrefix(sql[i:], "# ") || strings.HasPrefix(sql[i:], "#!"):
			if n := strings.IndexByte(sql[i:], '\n'); n >= 0 {
				i += n + 1
			} else {
				i = len(sql)
			}
			continue
		case strings.HasPrefix(sql[i:], "/*"):
			nested := false
			if i, nested = endComment(sql, i); !nested {
				continue
			}
			t.strange = true
		case c == '\'':
			i, _ = endQuote(sql, i)
			t.kind = str
		case c == '"' || c == '`':
			i, t.name = endQuote(sql, i)
			t.kind = quoted
			t.strange = strings.Contains(sql[from:i], `\`)
		case c == '$':
			i = endHeredoc(sql, i)
			if i > from+1 {
				t.kind = str
			}
			t.strange = true
		case letter(c) || c == '_':
			for i < len(sql) && (letter(sql[i]) || digit(sql[i]) || sql[i] == '_' || sql[i] == '$') {
				t.strange = t.strange || sql[i] >= 0x80
				i++
			}
			t.kind, t.name = word, sql[from:i]
		case digit(c):
			for i < len(sql) && (letter(sql[i]) || digit(sql[i]) || sql[i] == '.' || sql[i] == '_') {
				i++
			}
			t.kind = number
		default:
			i++
			switch c {
			case '(', '[', '{':
				depth++
			case ')', ']', '}':
				depth--
				t.depth = depth
			}
		}
		t.from, t.to = from, i
		tokens = append(tokens, t)
		if stop != nil && stop(tokens) {
			break
		}
	}
	return tokens
}

func letter(c byte) bool { return c|0x20 >= 'a' && c|0x20 <= 'z' || c >= 0x80 }
func digit(c byte) bool  { return c >= '0' && c <= '9' }

// endComment returns where a comment that begins at i ends, and whether another begins in it or it never ends.
// ClickHouse's comments nest.
func endComment(sql string, i int) (end int, strange bool) {
	depth := 0
	for i < len(sql) {
		switch {
		case strings.HasPrefix(sql[i:], "/*"):
			depth++
			strange = strange || depth > 1
			i += 2
		case strings.HasPrefix(sql[i:], "*/"):
			depth--
			i += 2
			if depth == 0 {
				return i, strange
			}
		default:
			i++
		}
	}
	return i, true
}

// endQuote returns where a quoted token that begins at i ends, and what is in it. A quote is escaped by a backslash
// or by doubling.
func endQuote(sql string, i int) (int, string) {
	q := sql[i]
	var b strings.Builder
	for i++; i < len(sql); i++ {
		switch {
		case sql[i] == '\\' && i+1 < len(sql):
			i++
			b.WriteByte(sql[i])
		case sql[i] != q:
			b.WriteByte(sql[i])
		case i+1 < len(sql) && sql[i+1] == q:
			i++
			b.WriteByte(q)
		default:
			return i + 1, b.String()
		}
	}
	return i, b.String()
}

// endHeredoc returns where $tag$...$tag$ that begins at i ends, or i+1 when it is none.
func endHeredoc(sql string, i int) int {
	n := strings.IndexByte(sql[i+1:], '$')
	if n < 0 {
		return i + 1
	}
	tag := sql[i : i+n+2]
	for _, c := range []byte(tag[1 : len(tag)-1]) {
		if !letter(c) && !digit(c) && c != '_' {
			return i + 1
		}
	}
	end := strings.Index(sql[i+len(tag):], tag)
	if end < 0 {
		return i + 1
	}
	return i + len(tag) + end + len(tag)
}

// statement is what this package must know of a statement before the engine sees it.
type statement struct {
	verb   string // its first keyword, in capitals
	tokens []token
	// Of an INSERT that carries data:
	data    bool   // it ends in VALUES, in FORMAT, or in nothing, and rows follow
	head    string // the INSERT without its FORMAT clause
	format  string // of the rows; empty when the text does not say
	rest    int    // where in the text the rows begin
	columns int    // in its column list; -1 when it has none, or one with EXCEPT or *
}

// parse reads a statement's outline. Of an INSERT with data it reads no further than its head.
func parse(sql string) statement {
	s := statement{columns: -1, rest: len(sql)}
	insert := false
	s.tokens = scan(sql, func(ts []token) bool {
		t := ts[len(ts)-1]
		if len(ts) == 1 {
			insert = t.is("INSERT")
		}
		if !insert || t.depth > 0 || t.kind != word || len(ts) < 3 {
			return false
		}
		if t.is("SELECT") || t.is("WITH") || t.is("WATCH") || t.is("INFILE") {
			insert = false // no data follows
			return false
		}
		return t.is("VALUES") || ts[len(ts)-2].is("FORMAT")
	})
	for _, t := range s.tokens {
		if t.kind == word {
			s.verb = strings.ToUpper(t.name)
			break
		}
		if t.kind != punct || sql[t.from] != '(' {
			break
		}
	}
	if !insert {
		return s
	}
	s.data, s.head = true, sql
	last := s.tokens[len(s.tokens)-1]
	switch {
	case last.is("VALUES") && last.depth == 0:
		s.format, s.head, s.rest = "Values", sql[:last.from], last.to
	case len(s.tokens) >= 2 && s.tokens[len(s.tokens)-2].is("FORMAT") && last.depth == 0:
		s.format, s.head, s.rest = last.name, sql[:s.tokens[len(s.tokens)-2].from], last.to
		// The server skips blanks up to the line's end; the rows begin on the next.
		for s.rest < len(sql) && (sql[s.rest] == ' ' || sql[s.rest] == '\t' || sql[s.rest] == '\r') {
			s.rest++
		}
		if s.rest < len(sql) && sql[s.rest] == ';' {
			s.rest++
		}
		if s.rest < len(sql) && sql[s.rest] == '\n' {
			s.rest++
		}
	default:
		// A query in the URL may end in a semicolon.
		if sql[last.from:last.to] == ";" {
			s.head = sql[:last.from]
		}
	}
	s.columns = countColumns(sql, s.tokens)
	return s
}

// countColumns counts the column list of INSERT INTO t (a, b, c), -1 when there is no plain one.
func countColumns(sql string, tokens []token) int {
	n, open := 0, false
	for i, t := range tokens {
		if !open {
			if i > 1 && t.kind == punct && sql[t.from] == '(' {
				if tokens[1].is("FUNCTION") || len(tokens) > 2 && tokens[2].is("FUNCTION") {
					return -1
				}
				open, n = true, 1
			}
			continue
		}
		switch {
		case t.kind == punct && sql[t.from] == ')' && t.depth == 0:
			return n
		case t.is("EXCEPT") || t.kind == punct && (sql[t.from] == '*' || sql[t.from] == '('):
			return -1
		case t.kind == punct && sql[t.from] == ',':
			n++
		}
	}
	return -1
}

// several reports whether a second statement follows the first.
func (s statement) several(sql string) bool {
	for i, t := range s.tokens {
		if t.kind == punct && sql[t.from] == ';' && i+1 < len(s.tokens) {
			if next := s.tokens[i+1]; next.kind != punct || sql[next.from] != ';' {
				return true
			}
		}
	}
	return false
}

// follows reports whether two keywords stand one after the other.
func (s statement) follows(a, b string) bool {
	for i := 1; i < len(s.tokens); i++ {
		if s.tokens[i-1].is(a) && s.tokens[i].is(b) {
			return true
		}
	}
	return false
}

// literal quotes a string for SQL.
func literal(s string) string {
	return "'" + strings.NewReplacer(`\`, `\\`, `'`, `\'`).Replace(s) + "'"
}
