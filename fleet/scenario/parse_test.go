package scenario

import (
	"errors"
	"flag"
	"os"
	"reflect"
	"strings"
	"testing"
	"time"
)

var update = flag.Bool("update", false, "write the golden list and the reference anew")

// small is the least that is a scenario.
const small = `
scenario: small
lasts: 2d
cohorts:
  - name: north
    devices: 3
    metrics: [{name: temperature}]
`

func TestWhatIsNotSaidHasItsDefault(t *testing.T) {
	s, err := Parse("small.yaml", []byte(small))
	if err != nil {
		t.Fatal(err)
	}
	c := s.Cohorts[0]
	if s.Seed != 1 || !s.Begins.Equal(time.Date(2026, 1, 5, 0, 0, 0, 0, time.UTC)) || s.Lasts != 48*time.Hour || s.SHA256 == [32]byte{} {
		t.Errorf("%+v", s)
	}
	if c.ID != "north-%04d" || c.Profile != "north" || c.Interval != time.Minute || c.Jitter != 0.01 || c.Region != "local" || c.Sites != 1 ||
		c.Class != "standard" || c.Firmware != "1.0.0" || c.Radio.Burst != 1 || c.Radio.Latency != 150*time.Millisecond || c.Battery != nil {
		t.Errorf("%+v", c)
	}
	if m := c.Metrics[0]; m.Kind != "gauge" || m.Decimals != 1 || m.Stays != 10*time.Minute || m.Min != nil {
		t.Errorf("%+v", m)
	}
}

func TestValuesHaveUnits(t *testing.T) {
	s, err := Parse("units.yaml", []byte(strings.Replace(small, "metrics:", `reboots: 2/w
    clock: {drift: 20ppm, wrong: {share: 0.5, by: -3y}}
    sleep: {from: "21:30", for: 1h30m}
    metrics:`, 1)+`
faults: [{at: 1d, for: 2h, cost-spike: {cohort: north, metric: temperature, rate: 0.5Hz, devices: 2}}]
`))
	if err != nil {
		t.Fatal(err)
	}
	c, f := s.Cohorts[0], s.Faults[0]
	if c.Reboots < 2./7-1e-9 || c.Reboots > 2./7+1e-9 || c.Clock.Drift != 20 || c.Clock.Wrong.Share != 0.5 || c.Clock.Wrong.By != -3*365*24*time.Hour {
		t.Errorf("%+v", c)
	}
	if c.Sleep.From != Clocktime(21*time.Hour+30*time.Minute) || c.Sleep.For != 90*time.Minute || c.Sleep.Every != 24*time.Hour {
		t.Errorf("%+v", c.Sleep)
	}
	if f.Kind() != "cost-spike" || f.CostSpike.Rate != 0.5 || f.Target().Devices != 2 || f.Target().Cohort != "north" {
		t.Errorf("%+v", f)
	}
}

// TestAllThatIsWrongIsSaidAtOnce holds each message, its place and its order to a golden list.
func TestAllThatIsWrongIsSaidAtOnce(t *testing.T) {
	text, err := os.ReadFile("testdata/wrong.yaml")
	if err != nil {
		t.Fatal(err)
	}
	_, err = Parse("wrong.yaml", text)
	var p *Problems
	if !errors.As(err, &p) || len(p.List) < 30 {
		t.Fatalf("%v", err)
	}
	const golden = "testdata/wrong.txt"
	if *update {
		if err := os.WriteFile(golden, []byte(err.Error()+"\n"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, readErr := os.ReadFile(golden)
	if readErr != nil {
		t.Fatal(readErr)
	}
	if string(want) != err.Error()+"\n" {
		t.Errorf("%s\n\nis not %s", err, golden)
	}
}

func TestProblemsAreBounded(t *testing.T) {
	s, err := Parse("many.yaml", []byte(small+"faults:\n"+strings.Repeat("  - {}\n", 900)))
	var p *Problems
	if s != nil || !errors.As(err, &p) || len(p.List) != maxProblems || p.More < 800 {
		t.Errorf("%v: %d problems and %d more", err != nil, len(p.List), p.More)
	}
	if !strings.Contains(err.Error(), "more") {
		t.Error("the rest is not mentioned")
	}
}

// TestTextsThatAreNoScenario are refused whole.
func TestTextsThatAreNoScenario(t *testing.T) {
	bomb := "a: &a [x, x]\nb: &b [*a, *a, *a, *a, *a, *a, *a, *a, *a]\nc: &c [*b, *b, *b, *b, *b, *b, *b, *b, *b]\n"
	for name, c := range map[string]struct{ text, want string }{
		"nothing":           {"", "the file is empty"},
		"a comment":         {"# nothing\n", "the file is empty"},
		"a number":          {"5", "is a single value"},
		"a list":            {"- 1", "is a list"},
		"a tab":             {"scenario: a\n\tlasts: 1d", "is no YAML"},
		"two documents":     {small + "---\n" + small, "is a second document"},
		"no UTF-8":          {"scenario: \xff\xfe", "is not UTF-8"},
		"too large":         {"# " + strings.Repeat("x", MaxSize), "bytes"},
		"a bomb of aliases": {bomb + small, "is an unknown key"},
		"a cycle":           {"cohorts: &a\n  - *a\n", "is an alias"},
		"a merge":           {small + "<<: {seed: 3}", "is an unknown key"},
		"too deep":          {"cohorts: " + strings.Repeat("[", 20_000), "is no YAML"},
		"too many devices":  {strings.Replace(small, "devices: 3", "devices: 600000", 1) + "faults: [{at: 1h, enrolment-burst: {cohort: north, devices: 100000}}, {at: 1h, enrolment-burst: {cohort: north, devices: 100000}}, {at: 1h, enrolment-burst: {cohort: north, devices: 100000}}, {at: 1h, enrolment-burst: {cohort: north, devices: 100000}}, {at: 1h, enrolment-burst: {cohort: north, devices: 100000}}]", "1100000 devices"},
		"no devices":        {strings.Replace(small, "    devices: 3\n", "", 1), "x.yaml:5:5: cohorts[0].devices: is missing"},
		"a long state":      {strings.Replace(small, "{name: temperature}", "{name: a, kind: state, of: [x, "+strings.Repeat("y", 129)+"]}", 1), "cohorts[0].metrics[0].of[1]: has 129 bytes (at most 128)"},
		"many unknown keys": {small + strings.Repeat("unknown: {}\n", 80_000), "and 79900 more"},
		"too many metrics":  {strings.Replace(small, "[{name: temperature}]", "["+strings.Repeat("{name: a}, ", 65)+"]", 1), "65 entries"},
		"overlapping":       {small + "firmware: [{version: 2.0.0}]\nrollouts: [{firmware: 2.0.0, cohort: north, at: 1h, stages: [{share: 1}]}, {firmware: 2.0.0, cohort: north, at: 2h, stages: [{share: 1}]}]", "goes on"},
		"after the end":     {small + "faults: [{at: 3d, restart: {}}]", "after the scenario's end"},
	} {
		_, err := Parse("x.yaml", []byte(c.text))
		if err == nil || !strings.Contains(err.Error(), c.want) || !strings.HasPrefix(err.Error(), "x.yaml:") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestSpansReadBack(t *testing.T) {
	for _, s := range []string{"0s", "1ms", "90s", "1h30m", "2w", "3y", "-3y", "1d2h3m4s5ms", "1w1d"} {
		d, err := ParseSpan(s)
		if err != nil {
			t.Errorf("%s: %v", s, err)
		}
		again, err := ParseSpan(FormatSpan(d))
		if err != nil || again != d {
			t.Errorf("%s is %v, written %s, read %v: %v", s, d, FormatSpan(d), again, err)
		}
	}
	for _, s := range []string{"", "5", "-", "h", "1h1h", "1m1h", "1.5.2s", "1 h", "5parsecs", "999999999y", "1e3s", "+1h"} {
		if d, err := ParseSpan(s); err == nil {
			t.Errorf("%q is taken for %v", s, d)
		}
	}
}

// TestTheSchemaCanBeRead holds the tags to what they may say: a bound that cannot be read would bound nothing.
func TestTheSchemaCanBeRead(t *testing.T) {
	var walk func(reflect.Type)
	fields := 0
	walk = func(typ reflect.Type) {
		for _, f := range fieldsOf(typ) {
			fields++
			inner := f.typ
			if inner.Kind() == reflect.Slice {
				inner = inner.Elem()
			}
			if inner.Kind() == reflect.Struct && inner != timeType {
				walk(inner)
			}
			t2 := f.typ
			if k := t2.Kind(); k == reflect.Slice || k == reflect.String {
				t2 = reflect.TypeFor[int]()
			}
			if f.want != "" {
				from, to, ok := strings.Cut(f.want, "..")
				for _, bound := range []string{from, to} {
					if _, err := quantity(t2, bound); bound != "" && err != nil || !ok {
						t.Errorf("%s: want %q: %v", f.key, f.want, err)
					}
				}
			}
			if f.fallback != "" {
				if what := setScalar(reflect.New(f.typ).Elem(), f.fallback, f); what != "" {
					t.Errorf("%s: default %q %s", f.key, f.fallback, what)
				}
				if f.need {
					t.Errorf("%s is needed and has a default", f.key)
				}
			}
			if lo, _, ok := f.bounds(); f.typ == spanType && (!ok || lo != lo) {
				t.Errorf("%s: a length of time without bounds", f.key)
			}
		}
	}
	walk(reflect.TypeFor[Scenario]())
	if fields < 100 {
		t.Errorf("only %d keys: has the form of the tags changed?", fields)
	}
}
