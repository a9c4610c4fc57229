package verbs

import (
	"fmt"
	"regexp"
	"strings"
)

// refusal is the engine's no in one sentence, with what helps.
func refusal(text string) error {
	code, name := "", ""
	if m := exceptionCode.FindStringSubmatch(text); m != nil {
		code = m[1]
	}
	// The engine wraps an exception in others of the same kind, each with its name and version behind it.
	said := exceptionCode.ReplaceAllString(strings.TrimSpace(text), "")
	for m := exceptionName.FindStringSubmatchIndex(said); m != nil; m = exceptionName.FindStringSubmatchIndex(said) {
		name, said = said[m[2]:m[3]], strings.TrimSpace(said[:m[0]])
	}
	if name == "" {
		return fmt.Errorf("the warehouse refused the query: %s", strings.TrimSpace(text))
	}
	said = strings.TrimSuffix(said, ".")
	if before, list, ok := strings.Cut(said, "Expected one of: "); ok {
		const shown = 6
		if all := strings.Split(list, ", "); len(all) > shown {
			said = before + "Expected one of: " + strings.Join(all[:shown], ", ") + " ..."
		}
	}
	if hint := hints[name]; hint != "" {
		said += ": " + hint
	}
	return fmt.Errorf("the warehouse refused the query: %s (%s, code %s)", said, name, code)
}

var (
	exceptionCode = regexp.MustCompile(`Code: (\d+)\. DB::Exception: `)
	exceptionName = regexp.MustCompile(`\s*\(([A-Z][A-Z0-9_]+)\)(?: \(version [^)]*\))?\.?$`)
)

// hints are what an analyst may do about it.
var hints = map[string]string{
	"UNKNOWN_TABLE":          `muster query "SHOW TABLES" lists what there is`,
	"UNKNOWN_IDENTIFIER":     `muster query "DESCRIBE TABLE samples" lists that table's columns, and so for any other`,
	"UNKNOWN_FORMAT":         "CSVWithNames, TSV, JSON, JSONEachRow, Parquet and Vertical are some that there are",
	"MEMORY_LIMIT_EXCEEDED":  "narrow it by device and ts, or aggregate before joining and sorting",
	"TIMEOUT_EXCEEDED":       "narrow it by device and ts, or ask samples_1h",
	"TOO_MANY_ROWS_OR_BYTES": "aggregate, add a LIMIT, or fetch it in pieces by ts",
}
