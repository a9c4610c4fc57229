package truth

import (
	"bytes"
	"reflect"
	"strings"
	"testing"
)

func TestWhatIsWrittenIsRead(t *testing.T) {
	h := Header{Scenario: "s", SHA256: "ab", Seed: 1<<64 - 1, Begins: 1767571200000, Until: 1767657600001, Devices: 3}
	count := Count{Due: 10, Made: 9, Arrived: 8, Lost: 1, Late: 2, Copies: 3, Cloned: 4, Refused: 5, Values: 6, Bytes: 1 << 40}
	lines := []Line{
		{At: 1767571200005, Kind: Crash, Cohort: "b", Device: "b-1", Detail: map[string]any{"reason": "a < b & c"}},
		{At: 1767571200000, Until: 1767657600000, Kind: Expected, Cohort: "b", Detail: count.Detail()},
		{At: 1767571200000, Until: 1767571200001, Kind: "power-loss", Cohort: "a", Fault: 1, Count: 2, IDs: []string{"a-1", "a-2"}},
	}
	var out bytes.Buffer
	if err := Write(&out, h, lines); err != nil {
		t.Fatal(err)
	}
	text := strings.Split(out.String(), "\n")
	if len(text) != 5 || text[2] != `{"at":"2026-01-05T00:00:00.000Z","until":"2026-01-06T00:00:00.000Z","kind":"expected","cohort":"b","detail":{"arrived":8,"bytes":1099511627776,"cloned":4,"copies":3,"due":10,"late":2,"lost":1,"made":9,"refused":5,"values":6}}` ||
		!strings.Contains(text[3], `"a < b & c"`) || strings.Contains(text[3], "until") {
		t.Errorf("%s", out.String())
	}
	got, read, err := Read(&out)
	h.Truth = Format
	if err != nil || got != h || len(read) != 3 || read[0].Cohort != "a" || !reflect.DeepEqual(read[0], lines[0]) {
		t.Errorf("%+v %+v %v", got, read, err)
	}
	if c, err := CountOf(read[1]); err != nil || c != count {
		t.Errorf("%+v, %v", c, err)
	}
	sum := count
	sum.Add(count)
	v := reflect.ValueOf(sum)
	for i := range v.NumField() {
		if v.Field(i).Int() != 2*reflect.ValueOf(count).Field(i).Int() {
			t.Errorf("%s is not summed", v.Type().Field(i).Name)
		}
	}
}

func TestWhatIsNoTruthIsRefused(t *testing.T) {
	for text, want := range map[string]string{
		"":                             "header",
		`{"truth":2}`:                  "format 2",
		"{\"truth\":1}\n{\"at\":5}":    "line 2",
		"{\"truth\":1}\n{}\n{\"kind\"": "line 3",
	} {
		if _, _, err := Read(strings.NewReader(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v", text, err)
		}
	}
}

func TestTheOrderIsTheSameHoweverLinesCame(t *testing.T) {
	a := []Line{{At: 2, Kind: "b"}, {At: 1, Kind: "b", Device: "y"}, {At: 1, Kind: "a", Device: "y"}, {At: 1, Device: "x", Kind: "z"}, {At: 1, Cohort: "c", Device: "a"}}
	b := []Line{a[4], a[2], a[0], a[3], a[1]}
	Sort(a)
	Sort(b)
	if !reflect.DeepEqual(a, b) || a[0].Device != "x" || a[4].At != 2 {
		t.Errorf("%v\n%v", a, b)
	}
}
