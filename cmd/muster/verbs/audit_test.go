package verbs

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"muster.dev/proto/event"
	"muster.dev/services/registry/audit"
)

// anExport writes an export of enrolments into a file and gives its text and its head.
func anExport(t *testing.T, devices int) (file, text string, head audit.Hash) {
	t.Helper()
	var out bytes.Buffer
	x, err := audit.NewExporter(&out, audit.JSONL)
	if err != nil {
		t.Fatal(err)
	}
	v, r := audit.NewVerifier(), audit.NewReader()
	for n := 1; n <= devices; n++ {
		body := event.DeviceEnrolled{Device: fmt.Sprintf("pump-%d", n), No: uint32(n), Cohort: "north"}
		value, _, err := event.Registry{N: uint64(n), Prev: head, Time: int64(n) * 1000, Who: "operator", Why: "new", Body: body}.Encode()
		if err != nil {
			t.Fatal(err)
		}
		head = audit.Hash(event.Chain(value))
		rec := audit.Record{Offset: int64(n), Type: body.Type(), Value: value}
		e, linked, err := v.Add(rec)
		if err := x.Write(r.Entry(rec, e, linked, err)); err != nil {
			t.Fatal(err)
		}
	}
	if err := x.Close(); err != nil {
		t.Fatal(err)
	}
	file = filepath.Join(t.TempDir(), "registry.jsonl")
	if err := os.WriteFile(file, out.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	return file, out.String(), head
}

func TestAnExportIsVerifiedWithoutAStack(t *testing.T) {
	file, text, head := anExport(t, 5)
	code, out, complaint := muster(t, "audit", "verify", "--file", file, "--head", head.String())
	if code != ExitOK || !strings.Contains(out, "5 events, each follows the one before it") || !strings.Contains(out, head.String()) || complaint != "" {
		t.Errorf("exit %d, %s%s", code, out, complaint)
	}
	code, out, _ = muster(t, "audit", "verify", "--file", file, "--json")
	var report audit.Report
	if err := json.Unmarshal([]byte(out), &report); err != nil || code != ExitOK || report.Head != head {
		t.Errorf("exit %d, %v, %s", code, err, out)
	}
	heads := filepath.Join(t.TempDir(), "heads.json")
	if err := os.WriteFile(heads, []byte(out+out), 0o600); err != nil {
		t.Fatal(err)
	}
	if code, out, _ := muster(t, "audit", "verify", "--file", file, "--since", heads); code != ExitOK || !strings.Contains(out, "the 2 heads that were kept are in it") {
		t.Errorf("exit %d, %s", code, out)
	}

	lines := strings.SplitAfter(text, "\n")
	for name, bad := range map[string]string{
		"removed":   strings.Join(append(append([]string{}, lines[:3]...), lines[4:]...), ""),
		"misquoted": strings.Replace(text, `"why":"new"`, `"why":"old"`, 1),
		"cut":       strings.Join(lines[:4], ""),
	} {
		var o, e bytes.Buffer
		code := Main(t.Context(), World{Args: []string{"audit", "verify", "--file", "-", "--since", heads}, In: strings.NewReader(bad), Out: &o, Err: &e})
		if code != ExitFinding || !strings.Contains(o.String(), "FINDING "+name) || !strings.Contains(e.String(), "docs/runbooks/audit-finding.md") {
			t.Errorf("%s: exit %d, %s%s", name, code, o.String(), e.String())
		}
	}
}

func TestWhatCannotBeAuditedIsSaid(t *testing.T) {
	dir := t.TempDir()
	text := filepath.Join(dir, "text")
	if err := os.WriteFile(text, []byte("hello\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		args []string
		code int
		want string
	}{
		{[]string{"audit"}, ExitUsage, "verify"},
		{[]string{"audit", "fix"}, ExitUsage, `no verb "fix"`},
		{[]string{"audit", "verify", "--data", dir}, ExitNoStack, "no stack runs there"},
		{[]string{"audit", "export", "--data", dir}, ExitNoStack, "no stack runs there"},
		{[]string{"audit", "list", "--data", dir}, ExitNoStack, "no stack runs there"},
		{[]string{"audit", "verify", "--head", "12"}, ExitUsage, "64 hex digits"},
		{[]string{"audit", "verify", "--since", filepath.Join(dir, "none")}, ExitUsage, "none"},
		{[]string{"audit", "verify", "--since", text}, ExitUsage, "an export is verified by --file"},
		{[]string{"audit", "verify", "--file", text}, ExitUsage, "this is no export"},
		{[]string{"audit", "verify", "--file", filepath.Join(dir, "none")}, ExitUsage, "none"},
		{[]string{"audit", "verify", "--file", "-"}, ExitUsage, "standard input"},
		{[]string{"audit", "export", "--format", "xml"}, ExitUsage, "want jsonl or csv"},
		{[]string{"audit", "export", "--from", "yesterday"}, ExitUsage, "want a day as"},
		{[]string{"audit", "export", "--out", filepath.Join(dir, "no", "where")}, ExitUsage, "--out"},
		{[]string{"audit", "list", "--last", "-1"}, ExitUsage, "--last -1"},
		{[]string{"audit", "list", "--since", "-1h"}, ExitUsage, `"-1h" for "--since"`},
	} {
		code, out, complaint := muster(t, c.args...)
		if code != c.code || !strings.Contains(complaint, c.want) || out != "" {
			t.Errorf("muster %s: exit %d, out %q, said %q; want exit %d and %q", strings.Join(c.args, " "), code, out, complaint, c.code, c.want)
		}
	}
}

func TestTimesAreReadAsTheyAreShown(t *testing.T) {
	want := time.Date(2026, 11, 22, 21, 30, 0, 0, time.UTC)
	for _, text := range []string{"2026-11-22T21:30:00Z", "2026-11-22T21:30:00", "2026-11-22T21:30", "2026-11-22T22:30:00+01:00"} {
		if got, err := instant("from", text); err != nil || !got.Equal(want) {
			t.Errorf("%s is %s, %v", text, got, err)
		}
	}
}
