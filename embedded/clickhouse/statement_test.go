package clickhouse

import (
	"strings"
	"testing"
)

func TestTheOutlineOfAStatement(t *testing.T) {
	for _, c := range []struct {
		sql, verb, head, format, rest string
		data                          bool
		columns                       int
	}{
		{sql: "SELECT 1", verb: "SELECT", columns: -1},
		{sql: "  -- insert into t values\n/* x */ (((select 1)))", verb: "SELECT", columns: -1},
		{sql: "INSERT INTO t VALUES (1);\n(2)", verb: "INSERT", data: true, head: "INSERT INTO t ", format: "Values", rest: " (1);\n(2)", columns: -1},
		{sql: "INSERT INTO t (a, `b)`, c) FORMAT Native\n\x01\x02", verb: "INSERT", data: true, head: "INSERT INTO t (a, `b)`, c) ", format: "Native", rest: "\x01\x02", columns: 3},
		{sql: "insert into t (a) format JSONEachRow {\"a\":1}", verb: "INSERT", data: true, head: "insert into t (a) ", format: "JSONEachRow", rest: "{\"a\":1}", columns: 1},
		{sql: "INSERT INTO t SETTINGS a = 1 FORMAT CSV\r\n\n1", verb: "INSERT", data: true, head: "INSERT INTO t SETTINGS a = 1 ", format: "CSV", rest: "\n1", columns: -1},
		{sql: "INSERT INTO t SELECT 1 FORMAT Null", verb: "INSERT", columns: -1},
		{sql: "INSERT INTO t (a) WITH 1 AS x SELECT x", verb: "INSERT", columns: -1},
		{sql: "INSERT INTO t (* EXCEPT(a)) FORMAT CSV", verb: "INSERT", data: true, head: "INSERT INTO t (* EXCEPT(a)) ", format: "CSV", columns: -1},
		{sql: "INSERT INTO FUNCTION null('a UInt8') FORMAT CSV", verb: "INSERT", data: true, head: "INSERT INTO FUNCTION null('a UInt8') ", format: "CSV", columns: -1},
		{sql: "INSERT INTO format (a, b)", verb: "INSERT", data: true, head: "INSERT INTO format (a, b)", columns: 2},
		{sql: "INSERT INTO t (a);", verb: "INSERT", data: true, head: "INSERT INTO t (a)", columns: 1},
	} {
		s := parse(c.sql)
		head, rest := s.head, c.sql[s.rest:]
		if s.verb != c.verb || s.data != c.data || head != c.head || s.format != c.format || rest != c.rest || s.columns != c.columns && s.data {
			t.Errorf("%q: %q data %v head %q format %q rest %q columns %d", c.sql, s.verb, s.data, head, s.format, rest, s.columns)
		}
	}
}

func FuzzScan(f *testing.F) {
	for _, s := range []string{"SELECT 'a\\'b' || \"c\"\"d\" -- x", "/* /* */", "$tag$ x $tag$", "INSERT INTO t VALUES", "`\\x66ile`('", "1.5e3\u00a0(\ufeff"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, sql string) {
		at := 0
		for _, tok := range scan(sql, nil) {
			if tok.from < at || tok.to <= tok.from || tok.to > len(sql) {
				t.Fatalf("%q: token %+v after %d", sql, tok, at)
			}
			at = tok.to
		}
		s := parse(sql)
		if s.rest < 0 || s.rest > len(sql) || s.data && !strings.HasPrefix(sql, s.head) {
			t.Fatalf("%q: %+v", sql, s)
		}
	})
}

func TestALiteralCannotBeLeft(t *testing.T) {
	for _, s := range []string{"", "'", `\`, `\'`, "'; DROP TABLE t --", "\x00\n"} {
		tokens := scan(literal(s), nil)
		if len(tokens) != 1 || tokens[0].kind != str {
			t.Errorf("%q became %q: %d tokens", s, literal(s), len(tokens))
		}
		if _, back := endQuote(literal(s), 0); back != s {
			t.Errorf("%q came back as %q", s, back)
		}
	}
}
