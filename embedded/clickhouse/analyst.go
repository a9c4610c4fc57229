package clickhouse

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// What the engine enforces for an analyst: no right to write or define anything, to read files, URLs and other
// sources, or to read database default (in the library it shows the file system), and readonly=2. What it does
// not, and is refused here before it sees the text:
//
//   - SET, which would take the role and the limits back: only statements that read are let through, one a request;
//   - the scalar function file(), which in the library reads any file without asking for a right, and
//     catboostEvaluate(), which loads one. They can also be named without a bracket (APPLY), so the word is
//     refused wherever it is an identifier;
//   - a SETTINGS clause in the text that raises one of the limits, or sets one of the settings that hold an
//     expression or another language (additional_result_filter, dialect);
//   - text that this package's scanner and ClickHouse's lexer might split differently: escapes in quoted
//     identifiers (`\x66ile` is file), typographic quotes, nested comments, heredocs.
var (
	analystVerbs = []string{"SELECT", "WITH", "SHOW", "DESC", "DESCRIBE", "EXPLAIN", "EXISTS", "FROM"}
	analystNever = []string{"file", "catboostevaluate", "executable", "aigenerate", "aiclassify", "aiextract", "aiembed", "aitranslate"}
)

// diskPerQuery bounds what a sort or a join of an analyst puts on disk, which is the tables' disk.
const diskPerQuery = 4 << 30

// capped are the settings that an analyst may lower but not raise, with their bound.
func (l Limits) capped() map[string]int64 {
	return map[string]int64{
		"max_memory_usage":   l.Memory,
		"max_execution_time": int64(l.Time.Seconds()),
		"max_threads":        int64(l.Threads),
		"max_result_bytes":   l.MaxResult,
		"max_temporary_data_on_disk_size_for_query": diskPerQuery,
	}
}

// fixed are the settings that an analyst may not name at all: without them the limits mean nothing.
var fixed = []string{
	"readonly", "allow_ddl", "result_overflow_mode", "timeout_overflow_mode", "max_memory_usage_for_user", "max_untracked_memory",
	"timeout_before_checking_execution_speed", "memory_overcommit_ratio_denominator", "log_comment", "profile", "role",
	"allow_introspection_functions", "format_schema", "format_schema_source", "input_format_allow_errors_num",
	"max_final_threads", "max_parsing_threads", "max_streams_to_max_threads_ratio",
	"additional_table_filters", "additional_result_filter", "parallel_replicas_custom_key", "dialect", "polyglot_dialect", "implicit_select",
	"send_logs_level", "max_query_size", "max_subquery_depth", "max_temporary_data_on_disk_size_for_user",
	"format_template_resultset", "format_template_row", "format_template_row_format", "format_template_resultset_format",
}

// fixedPrefixes begin the names of more of them: how deep and how long the parser may go, where no limit of time
// reaches; timers whose signals hit threads that run Go; the priority of the engine's threads.
var fixedPrefixes = []string{"max_parser_", "max_ast_", "max_expanded_ast_", "query_profiler_", "memory_profiler_", "os_thread", "trace_profile_"}

func isFixed(name string) bool {
	return slices.Contains(fixed, name) || slices.ContainsFunc(fixedPrefixes, func(p string) bool { return strings.HasPrefix(name, p) })
}

// refusal is what is wrong with a statement that does not begin with one of analystVerbs. Whether it is a statement at
// all the engine is asked, as an analyst asks: it parses it as a text, and runs nothing of it.
func (q *request) refusal(sql string) error {
	const parsing = "SELECT formatQuery("
	parsed := parsing + literal(sql) + ") FORMAT Null"
	var e *exception
	if err := q.run(parsed, parse(parsed), nil); errors.As(err, &e) && e.Code == codeSyntax {
		said, _, _ := strings.Cut(e.Message, ": In scope "+parsing)
		return &exception{codeSyntax, said + ". (SYNTAX_ERROR)"}
	}
	return exceptionf(codeReadonly, "Cannot execute query in readonly mode: without credentials only SELECT, SHOW, DESCRIBE, EXPLAIN and EXISTS are answered. (READONLY)")
}

// check refuses what an analyst may not say in a statement that reads.
func (l Limits) check(sql string, s statement) error {
	capped := l.capped()
	settings := false
	for i, t := range s.tokens {
		if t.strange {
			return exceptionf(codeSyntax, "Without credentials a query has no escapes in quoted names, no typographic quotes, no nested comments and no heredocs: %.40q. (SYNTAX_ERROR)", sql[t.from:t.to])
		}
		if t.kind == number && strings.ContainsAny(strings.ToLower(sql[t.from:t.to]), "ghijklmnqrstuvwyz") {
			return exceptionf(codeSyntax, "A number with letters: %.40q. (SYNTAX_ERROR)", sql[t.from:t.to])
		}
		if t.kind != word && t.kind != quoted {
			continue
		}
		name := strings.ToLower(t.name)
		if slices.Contains(analystNever, name) {
			return exceptionf(codeAccessDenied, "Not enough privileges: %s is not for queries without credentials, by whatever name. (ACCESS_DENIED)", t.name)
		}
		if t.is("SETTINGS") {
			settings = true
		}
		if !settings || i+2 >= len(s.tokens) || sql[s.tokens[i+1].from:s.tokens[i+1].to] != "=" {
			continue
		}
		if isFixed(name) {
			return exceptionf(codeConstraint, "Setting %s should not be changed. (SETTING_CONSTRAINT_VIOLATION)", name)
		}
		if most, ok := capped[name]; ok {
			value := strings.Trim(sql[s.tokens[i+2].from:s.tokens[i+2].to], "'")
			if v, err := strconv.ParseInt(value, 10, 64); err != nil || v < 1 || v > most {
				return exceptionf(codeConstraint, "Setting %s should be between 1 and %d, not %s. (SETTING_CONSTRAINT_VIOLATION)", name, most, value)
			}
		}
	}
	return nil
}

// session makes a connection an analyst's. What a URL asks for beyond a limit is cut to the limit: clients derive
// max_execution_time from their own deadlines, and refusing them would help nobody.
func (l Limits) session(c *conn, settings []setting) error {
	capped := l.capped()
	var asked []setting
	for _, s := range settings {
		if isFixed(strings.ToLower(s.name)) {
			if s.name == "readonly" {
				continue // Grafana and others say readonly=1 or 2 to be safe, and it is
			}
			return exceptionf(codeConstraint, "Setting %s should not be changed. (SETTING_CONSTRAINT_VIOLATION)", s.name)
		}
		if most, ok := capped[s.name]; ok {
			if v, err := strconv.ParseInt(s.value, 10, 64); err == nil && v > 0 && v < most {
				capped[s.name] = v
			}
			continue
		}
		asked = append(asked, s)
	}
	if err := c.set(asked); err != nil {
		return err
	}
	limits := []setting{
		{"result_overflow_mode", "throw"}, {"timeout_overflow_mode", "throw"}, {"max_untracked_memory", "1048576"},
		{"allow_introspection_functions", "0"}, {"format_schema", ""},
	}
	for name, v := range capped {
		limits = append(limits, setting{name, strconv.FormatInt(v, 10)})
	}
	if err := c.set(append(limits, setting{"readonly", "2"})); err != nil {
		return fmt.Errorf("limit an analyst's connection: %w", err)
	}
	if err := c.exec("SET ROLE analyst"); err != nil {
		return fmt.Errorf("limit an analyst's connection: %w", err)
	}
	return nil
}
