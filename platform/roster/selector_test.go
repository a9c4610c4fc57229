package roster

import (
	"strings"
	"testing"
)

func TestASelectorSelects(t *testing.T) {
	d := Device{Cohort: "canary", Region: "eu", Attributes: []Attribute{{"board", "rev C"}, {"empty", ""}, {"site", "Kiel"}, {"text", `a,"b"\(c)`}}}
	for text, want := range map[string]bool{
		"site=Kiel": true, "site = Kiel ": true, "site=Oslo": false, "site!=Oslo": true, "site!=Kiel": false, "none!=x": true, "none=x": false,
		"site": true, "none": false, "site in (Oslo, Kiel)": true, "site in(Kiel)": true, "site in (Oslo)": false, "none in (Kiel)": false,
		"board=rev C": true, `board="rev C"`: true, "cohort=canary": true, "cohort!=canary": false, "profile=pump": true, "profile in (fan,pump)": true,
		"region=eu, cohort": true, "region=us,site=Kiel": false, "site,board,cohort=canary": true, `empty=""`: true, `site!=""`: true,
		`text="a,\"b\"\\(c)"`: true, "in=x": false, "inside": false, "site=Kiel,in": false,
	} {
		s, err := ParseSelector(text)
		if err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		if got := s.Match(&d, "pump"); got != want {
			t.Errorf("%s: %v", text, got)
		}
		again, err := ParseSelector(s.String())
		if err != nil || again.String() != s.String() || again.Match(&d, "pump") != want {
			t.Errorf("%s is written %s: %v", text, s, err)
		}
	}
	if (Selector{}).Match(&d, "pump") {
		t.Error("a selector of nothing selects all")
	}
}

func TestWhatIsNoSelectorIsRefused(t *testing.T) {
	for _, text := range []string{
		"", " ", ",", "a,", ",a", "a=", "a!=", "a!", "a==b,", "A=b", "a b", "a in", "a in (", "a in ()", "a in (b", "a in (b,)", "a in b", "a=b)", "a=(b", `a="b`, `a="b\`, `a="\n"`,
		"a=b\x00", "1a", "a=" + strings.Repeat("x", 129), strings.Repeat("a", 64), strings.Repeat("a,", 16) + "a", "a=b\n", "a in (" + strings.Repeat("b,", 64) + "b)", strings.Repeat(" ", 2_000) + "a",
	} {
		if s, err := ParseSelector(text); err == nil {
			t.Errorf("%q was read as %q", text, s)
		}
	}
}

func FuzzSelector(f *testing.F) {
	for _, text := range []string{"site=Kiel", "a!=b,c in (d, e),f", `a="x\"\\"`, "a in (", `"`} {
		f.Add(text)
	}
	d := Device{Cohort: "c", Attributes: []Attribute{{"a", "b"}}}
	f.Fuzz(func(t *testing.T, text string) {
		s, err := ParseSelector(text)
		if err != nil {
			return
		}
		again, err := ParseSelector(s.String())
		if err != nil || again.String() != s.String() || again.Match(&d, "p") != s.Match(&d, "p") {
			t.Fatalf("%q is written %q: %v", text, s, err)
		}
	})
}
