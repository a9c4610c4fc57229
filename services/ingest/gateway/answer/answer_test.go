package answer

import (
	"encoding/json"
	"strings"
	"testing"
	"unicode/utf8"
)

func TestEveryReasonHasItsAnswer(t *testing.T) {
	names := map[string]bool{}
	for r := range Reason(Count) {
		e := table[r]
		if e.name == "" || e.title == "" || e.outcome == "" || e.status == 0 {
			t.Errorf("reason %d is not in the table: %+v", r, e)
		}
		if names[e.name] {
			t.Errorf("reason %q stands twice", e.name)
		}
		names[e.name] = true
		switch e.status {
		case 200:
			if !r.Accepted() || e.outcome != outcomeStored {
				t.Errorf("%s: 200 means stored", e.name)
			}
		case 429:
			if e.outcome != outcomeNot {
				t.Errorf("%s: 429 means not stored, not %q", e.name, e.outcome)
			}
		case 503:
			if e.outcome != outcomeUnknown {
				t.Errorf("%s: 503 means unknown, not %q", e.name, e.outcome)
			}
		case 400, 403, 404, 405, 408, 409, 413, 415, 422:
		default:
			t.Errorf("%s: status %d is not one the contract knows", e.name, e.status)
		}
	}
}

func TestAProblemNamesTheFieldAndTheLimit(t *testing.T) {
	p := Problem{Reason: TooLarge, Detail: "The body has 5 bytes; \"4\" is\nthe limit.", Field: "body", Limit: 4}
	var got struct {
		Type, Title, Detail, Reason, Outcome, Field string
		Status                                      int
		Limit                                       int64
	}
	if err := json.Unmarshal(p.Append(nil), &got); err != nil {
		t.Fatalf("%s: %v", p.Append(nil), err)
	}
	if got.Type != typePrefix+"too-large" || got.Status != 413 || got.Detail != p.Detail || got.Field != "body" || got.Limit != 4 ||
		got.Reason != "too-large" || got.Outcome != "refused" || got.Title == "" {
		t.Errorf("got %+v", got)
	}
	if p.Retry() != 0 {
		t.Errorf("a 413 says Retry-After %d", p.Retry())
	}
}

func TestOnlyWhatMayBeSentAgainSaysWhen(t *testing.T) {
	for r := range Reason(Count) {
		p := Problem{Reason: r}
		again := r.Status() == 429 || r.Status() == 503
		if (p.Retry() > 0) != again {
			t.Errorf("%s: Retry-After %d", r, p.Retry())
		}
	}
}

func TestAReceiptIsShortWhenAllIsWell(t *testing.T) {
	r := Receipt{Values: 55}
	if got := string(r.Append(nil)); got != `{"status":"stored","values":55}` {
		t.Errorf("got %s", got)
	}
	r = Receipt{Values: 1, Duplicate: true, Unkeyed: true, Regressed: true}
	if got := string(r.Append(nil)); got != `{"status":"stored","values":1,"duplicate":true,"delivery":"at-least-once","seq_regressed":true}` {
		t.Errorf("got %s", got)
	}
}

func TestAReceiptNamesAtMostAHundredFaults(t *testing.T) {
	r := Receipt{Faults: 10_000}
	for i := range 300 {
		r.Quarantined = append(r.Quarantined, Quarantined{Metric: "temp_c", Step: i, TS: 7, Reason: "nan"})
	}
	var got struct {
		Count       int `json:"quarantined_values"`
		Quarantined []struct {
			Metric, Reason string
			Step           int
			TS             int64
		}
	}
	if err := json.Unmarshal(r.Append(nil), &got); err != nil {
		t.Fatal(err)
	}
	if got.Count != 10_000 || len(got.Quarantined) != MaxQuarantined || got.Quarantined[99].Step != 99 || got.Quarantined[0].Metric != "temp_c" {
		t.Errorf("%d faults, %d named", got.Count, len(got.Quarantined))
	}
}

func FuzzTextStaysJSON(f *testing.F) {
	for _, s := range []string{"", "x'); DROP TABLE", "\x00\x1f\x7f\"\\", "\xff\xfe", "é\u2028"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		out := appendString(nil, s)
		var back string
		if err := json.Unmarshal(out, &back); err != nil {
			t.Fatalf("%q: %v", out, err)
		}
		if want := strings.ToValidUTF8(s, "\ufffd"); utf8.ValidString(s) && back != want {
			t.Fatalf("%q came back as %q", s, back)
		}
	})
}

func BenchmarkReceipt(b *testing.B) {
	buf := make([]byte, 0, 256)
	r := Receipt{Values: 55}
	b.ReportAllocs()
	for b.Loop() {
		buf = r.Append(buf[:0])
	}
	if string(buf) != `{"status":"stored","values":55}` {
		b.Fatal(string(buf))
	}
}
