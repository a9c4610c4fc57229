package plan_test

import (
	"errors"
	"math"
	"strings"
	"testing"

	"muster.dev/services/ingest/sink/plan"
)

func id(b byte) (id plan.TopicID) {
	for i := range id {
		id[i] = b
	}
	return id
}

func TestAMarkComesBackAsItWasWritten(t *testing.T) {
	for _, m := range []plan.Mark{
		{Topic: id(1), Part: 0, Next: 0},
		{Topic: id(255), Part: 47, Next: math.MaxInt64 - plan.MaxOffsets},
		{Topic: id(7), Part: 3, Next: 100, Open: &plan.Plan{Topic: id(7), Part: 3, From: 100, To: 100}},
		{Topic: id(7), Part: 3, Next: 100, Open: &plan.Plan{Topic: id(7), Part: 3, From: 100, To: 20099, Rev: math.MaxUint64, At: 1764000000000, Salt: "e1764000000000"}},
	} {
		text, err := m.Encode()
		if err != nil {
			t.Fatal(err)
		}
		if len(text) > 256 {
			t.Errorf("%d bytes of metadata: %s", len(text), text)
		}
		got, err := plan.Decode(text, m.Part, m.Next)
		if err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		same := got.Topic == m.Topic && got.Part == m.Part && got.Next == m.Next && (got.Open == nil) == (m.Open == nil)
		if same && m.Open != nil {
			same = *got.Open == *m.Open
		}
		if !same {
			t.Errorf("got %+v, want %+v", got, m)
		}
	}
}

func TestMetadataThatIsNoMarkOfThisPlaceIsUnreadable(t *testing.T) {
	good, err := plan.Mark{Topic: id(7), Part: 3, Next: 100, Open: &plan.Plan{Topic: id(7), Part: 3, From: 100, To: 199, Rev: 4}}.Encode()
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{
		"nothing":                      "",
		"a member id":                  "kgo-5ac35a3e-9c3b-4b0a-9b1e-0f6a1ff5d4c1",
		"torn":                         good[:len(good)-4],
		"a later version":              strings.Replace(good, `"v":2`, `"v":3`, 1),
		"a plan of an earlier version": strings.Replace(good, `"v":2`, `"v":1`, 1),
		"another part":                 strings.Replace(good, `"p":3`, `"p":4`, 1),
		"another offset":               strings.Replace(good, `"n":100`, `"n":101`, 1),
		"backwards":                    strings.Replace(good, `"to":199`, `"to":99`, 1),
		"endless":                      strings.Replace(good, `"to":199`, `"to":9000000000000000000`, 1),
		"no revision":                  strings.Replace(good, `"r":4`, `"x":4`, 1),
		"a short id":                   strings.Replace(good, "0707", "07", 1),
		"a salted token":               strings.Replace(good, `"v":2`, `"v":2,"s":"../x"`, 1),
		"too long":                     good + strings.Repeat(" ", plan.MaxMetadata),
	} {
		if _, err := plan.Decode(text, 3, 100); !errors.Is(err, plan.ErrUnreadable) {
			t.Errorf("%s: got %v, want ErrUnreadable", name, err)
		}
	}
	if _, err := plan.Decode(good, 3, 100); err != nil {
		t.Error(err)
	}
}

func TestACommitWithoutAPlanMeansTheSameInTheVersionBefore(t *testing.T) {
	m := plan.Mark{Topic: id(7), Part: 3, Next: 100}
	text, err := m.Encode()
	if err != nil {
		t.Fatal(err)
	}
	if got, err := plan.Decode(strings.Replace(text, `"v":2`, `"v":1`, 1), 3, 100); err != nil || got != m {
		t.Errorf("%+v, %v", got, err)
	}
}

func TestAPlanThatDoesNotBeginAtTheMarkIsNotWritten(t *testing.T) {
	if _, err := (plan.Mark{Topic: id(7), Part: 3, Next: 99, Open: &plan.Plan{Topic: id(7), Part: 3, From: 100, To: 199}}).Encode(); err == nil {
		t.Error("a plan that begins after the mark was encoded")
	}
}

func TestATokenIsMadeOfTheTopicsIDAndNeverOfItsName(t *testing.T) {
	p := plan.Plan{Topic: id(0xab), Part: 3, From: 100, To: 199, Rev: 12}
	const want = "abababababababababababababababab/3/100-199/12/s_other"
	if got := p.Token("s_other"); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	again := p
	again.Topic = id(0xac)
	if p.Token("ledger") == again.Token("ledger") {
		t.Error("a topic that was created again has the old one's tokens")
	}
	seen := map[string]bool{}
	for _, tok := range []string{p.Token("s_other"), p.Token("ledger"), plan.Repair(p.Token("s_other"), 1), plan.Repair(p.Token("s_other"), 2)} {
		if seen[tok] {
			t.Errorf("two blocks under %s", tok)
		}
		seen[tok] = true
	}
	salted := p
	salted.Salt = "e1"
	if salted.Token("ledger") == p.Token("ledger") {
		t.Error("the salt does not reach the token")
	}
}

func FuzzDecode(f *testing.F) {
	good, _ := plan.Mark{Topic: id(7), Part: 3, Next: 100, Open: &plan.Plan{Topic: id(7), Part: 3, From: 100, To: 199, Rev: 4, At: 5, Salt: "a"}}.Encode()
	f.Add(good, int32(3), int64(100))
	f.Add("", int32(0), int64(0))
	f.Add(`{"v":1,"t":"","p":0,"n":0}`, int32(0), int64(0))
	f.Fuzz(func(t *testing.T, text string, part int32, offset int64) {
		m, err := plan.Decode(text, part, offset)
		if err != nil {
			if !errors.Is(err, plan.ErrUnreadable) {
				t.Fatalf("an error of no class: %v", err)
			}
			return
		}
		again, err := m.Encode()
		if err != nil {
			t.Fatalf("%q decodes to %+v, which does not encode: %v", text, m, err)
		}
		back, err := plan.Decode(again, part, offset)
		if err != nil || back.Next != m.Next || (back.Open == nil) != (m.Open == nil) || back.Open != nil && *back.Open != *m.Open {
			t.Fatalf("%q does not come back: %v", text, err)
		}
	})
}
