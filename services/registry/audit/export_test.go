package audit

import (
	"bytes"
	"encoding/csv"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"muster.dev/proto/event"
)

// exported is an export of records.
func exported(t testing.TB, h []Record, format Format, from, to time.Time) []byte {
	t.Helper()
	var out bytes.Buffer
	x, err := NewExporter(&out, format)
	if err != nil {
		t.Fatal(err)
	}
	x.From, x.To = from, to
	v, r := NewVerifier(), NewReader()
	for _, rec := range h {
		e, linked, err := v.Add(rec)
		if err := x.Write(r.Entry(rec, e, linked, err)); err != nil {
			t.Fatal(err)
		}
	}
	if err := x.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func verified(t testing.TB, raw []byte, kept ...*Kept) Report {
	t.Helper()
	r, err := VerifyExport(bytes.NewReader(raw), "export", nil, kept...)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestAnExportProvesItself(t *testing.T) {
	h := history(t)
	for _, f := range []Format{JSONL, CSV} {
		r := verified(t, exported(t, h, f, time.Time{}, time.Time{}), &Kept{Head: sum(h[14]), Event: 15})
		if !r.OK() || r.Events != 15 || r.Head != sum(h[14]) || r.Part || r.Kept != 1 {
			t.Errorf("%s: %s", f, r)
		}
	}
}

func TestAnEmptyExportIsWhole(t *testing.T) {
	for _, f := range []Format{JSONL, CSV} {
		if r := verified(t, exported(t, nil, f, time.Time{}, time.Time{})); !r.OK() || r.Events != 0 || r.Part {
			t.Errorf("%s: %s", f, r)
		}
	}
}

func TestAPartOfTheLogIsExportedAndSaysSo(t *testing.T) {
	h := history(t)
	for _, f := range []Format{JSONL, CSV} {
		raw := exported(t, h, f, day.Add(12*time.Minute), day.Add(14*time.Minute))
		r := verified(t, raw)
		if !r.OK() || r.Events != 2 || !r.Part || r.First.Event != 12 || r.Last.Event != 13 {
			t.Errorf("%s: %s", f, r)
		}
		if !strings.Contains(string(raw), "pump-3") {
			t.Errorf("%s: the device that was revoked is not named, though it was enrolled before:\n%s", f, raw)
		}
	}
	if r := verified(t, exported(t, h, JSONL, time.Time{}, day.Add(3*time.Minute))); !r.OK() || r.Events != 2 || r.Part {
		t.Errorf("%s", r)
	}
	if r := verified(t, exported(t, h, JSONL, time.Time{}, day)); !r.OK() || r.Events != 0 {
		t.Errorf("%s", r)
	}
}

func TestWhateverIsDoneToAnExportIsFoundAtItsLine(t *testing.T) {
	h := history(t)
	raw := exported(t, h, JSONL, time.Time{}, time.Time{})
	lines := strings.SplitAfter(strings.TrimSuffix(string(raw), "\n"), "\n")
	lines[len(lines)-1] += "\n"
	for _, c := range []struct {
		name string
		do   func(l []string) []string
		kind Kind
		line int
	}{
		{"a line is taken out", func(l []string) []string { return slices.Delete(l, 6, 7) }, Removed, 7},
		{"two lines change places", func(l []string) []string { l[6], l[7] = l[7], l[6]; return l }, Moved, 7},
		{"a line stands twice", func(l []string) []string { return slices.Insert(l, 9, l[4]) }, Repeated, 10},
		{"who did it is changed", func(l []string) []string {
			l[12] = strings.Replace(l[12], `"who":"operator"`, `"who":"nobody"`, 1)
			return l
		}, Misquoted, 13},
		{"what was done is changed", func(l []string) []string {
			l[12] = strings.Replace(l[12], `"body":{"no":3}`, `"body":{"no":4}`, 1)
			return l
		}, Misquoted, 13},
		{"the device's name is changed", func(l []string) []string {
			l[12] = strings.Replace(l[12], `pump-3`, `pump-4`, 1)
			return l
		}, Misquoted, 13},
		{"the hash is changed", func(l []string) []string {
			l[12] = strings.Replace(l[12], `"hash":"`+sum(h[11]).String(), `"hash":"`+sum(h[10]).String(), 1)
			return l
		}, Misquoted, 13},
		{"its end is missing", func(l []string) []string { return l[:len(l)-1] }, Cut, 16 + 1},
		{"its last events are missing", func(l []string) []string { return slices.Delete(l, 14, 16) }, Cut, 15},
	} {
		t.Run(c.name, func(t *testing.T) {
			bad := c.do(slices.Clone(lines))
			if slices.Equal(bad, lines) {
				t.Fatal("nothing was done to it")
			}
			r := verified(t, []byte(strings.Join(bad, "")))
			if !slices.ContainsFunc(r.Findings, func(f Finding) bool { return f.Kind == c.kind && f.Line == c.line }) {
				t.Errorf("want %s at line %d:\n%s", c.kind, c.line, r)
			}
		})
	}
}

func TestAForgedExportOfRightHashesIsFound(t *testing.T) {
	h := history(t)
	h = slices.Clone(h)
	h[11] = forged(t, 12, sum(h[10]), event.DeviceRevoked{No: 5})
	for _, f := range []Format{JSONL, CSV} {
		r := verified(t, exported(t, h, f, time.Time{}, time.Time{}))
		if len(r.Findings) != 1 || r.Findings[0].Kind != Changed || r.Findings[0].Event != 12 || r.Findings[0].Line != 13 {
			t.Errorf("%s: %s", f, r)
		}
	}
}

func TestAForeignEventRenamesNoDevice(t *testing.T) {
	h := history(t)
	bad := with(h, 6, forged(t, 7, Hash{9}, event.DeviceEnrolled{Device: "mine", No: 6, Cohort: "north"}))
	raw := string(exported(t, bad, JSONL, time.Time{}, time.Time{}))
	if strings.Count(raw, "mine") != 2 { // as the device and in the body of its own line
		t.Errorf("%s", raw)
	}
}

func TestARecordThatIsNoEventIsExportedToo(t *testing.T) {
	h := with(history(t), 6, Record{Type: "=cmd()", Value: []byte("hello")})
	for _, f := range []Format{JSONL, CSV} {
		raw := exported(t, h, f, time.Time{}, time.Time{})
		r := verified(t, raw)
		if len(r.Findings) != 1 || r.Findings[0].Kind != Foreign || r.Findings[0].Line != 8 {
			t.Errorf("%s: %s", f, r)
		}
	}
}

func TestASpreadsheetRunsNothing(t *testing.T) {
	rec := link(t, 1, Hash{}, "@who", "=HYPERLINK(\"x\")", enrolled(1))
	raw := exported(t, []Record{rec}, CSV, time.Time{}, time.Time{})
	rows, err := csv.NewReader(bytes.NewReader(raw)).ReadAll()
	if err != nil || len(rows) != 2 {
		t.Fatalf("%v, %v", rows, err)
	}
	for i, cell := range rows[1] {
		if cell != "" && strings.ContainsRune("=+-@", rune(cell[0])) {
			t.Errorf("%s: %s", columns[i], cell)
		}
	}
	if r := verified(t, raw); !r.OK() {
		t.Errorf("%s", r)
	}
}

func TestWhatIsNoExportIsRefused(t *testing.T) {
	whole := string(exported(t, history(t), JSONL, time.Time{}, time.Time{}))
	for name, bad := range map[string]string{
		"nothing": "", "text": "hello\n", "another document": `{"a":1}` + "\n", "another topic": `{"export":"x","version":1,"whole":true}`,
		"a later version": strings.Replace(whole, `"version":1`, `"version":2`, 1), "an unknown field": strings.Replace(whole, `"who"`, `"whom"`, 1),
		"two documents on a line": strings.Replace(whole, "}\n", "} {}\n", 1), "something behind its end": whole + whole,
		"a row without an end":  strings.Join(columns, ",") + "\n\"" + strings.Repeat("x", maxLine+10),
		"a line without an end": `{"export":"` + strings.Repeat("x", maxLine+10),
		"columns missing":       "n,offset\n1,2\n",
	} {
		if _, err := VerifyExport(strings.NewReader(bad), "x", nil); !errors.Is(err, ErrExport) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestTheEventsOfADeviceAreThoseAboutItAndItsCohort(t *testing.T) {
	h := history(t)
	v, r := NewVerifier(), NewReader()
	r.Follow("pump-4")
	var got []string
	for _, rec := range h {
		e, linked, err := v.Add(rec)
		if entry := r.Entry(rec, e, linked, err); entry.Concerns() {
			got = append(got, fmt.Sprint(entry.Event, " ", short(entry.Type), " ", entry.Device))
		}
	}
	if want := []string{"5 device-enrolled pump-4", "13 device-moved pump-4", "14 cohort-quarantined "}; !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}

func FuzzExportsAreReadWithoutHarm(f *testing.F) {
	h := history(f)
	for _, format := range []Format{JSONL, CSV} {
		f.Add(exported(f, h[:4], format, time.Time{}, time.Time{}))
		f.Add(exported(f, h, format, day.Add(12*time.Minute), time.Time{}))
		f.Add(exported(f, with(h[:3], 1, Record{Type: "x", Value: []byte("y")}), format, time.Time{}, time.Time{}))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		n := 0
		r, err := VerifyExport(bytes.NewReader(raw), "fuzz", func() { n++ }, &Kept{Head: sum(h[3]), Event: 4})
		if err != nil {
			return
		}
		if r.Events > uint64(n) {
			t.Errorf("%d events of %d records", r.Events, n)
		}
		// What says that it is whole and in order holds what was exported, to the letter.
		if r.OK() && r.Kept == 1 && r.Events == 4 && !r.Part && r.Head != sum(h[3]) {
			t.Errorf("another head passes: %s", r)
		}
		_ = r.String()
	})
}
