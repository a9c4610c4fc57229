package rule

import (
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestRulesAreAppliedInTheirOrder(t *testing.T) {
	rules := New([]Config{
		{Metric: "vibration_*", Drop: true},
		{Metric: "t", Rename: "temp_c"},
		{Devices: "boiler-*", Metric: "temp_c", Every: 10 * time.Second},
	}, 100)
	var kept []string
	for _, r := range []Reading{
		{Device: "boiler-1", At: 1_000, Metric: "vibration_x"},
		{Device: "boiler-1", At: 1_000, Metric: "t"},
		{Device: "boiler-1", At: 10_999, Metric: "temp_c"},
		{Device: "boiler-1", At: 11_000, Metric: "t"},
		{Device: "boiler-1", At: 5_000, Metric: "t"}, // late
		{Device: "boiler-2", At: 5_000, Metric: "t"},
		{Device: "kiln-1", At: 5_001, Metric: "t"},
		{Device: "kiln-1", At: 5_002, Metric: "t"},
	} {
		if rules.Apply(&r) {
			kept = append(kept, r.Device+" "+r.Metric+" "+time.UnixMilli(r.At).UTC().Format("05.000"))
		}
	}
	want := []string{
		"boiler-1 temp_c 01.000", "boiler-1 temp_c 11.000", "boiler-1 temp_c 05.000", "boiler-2 temp_c 05.000",
		"kiln-1 temp_c 05.001", "kiln-1 temp_c 05.002",
	}
	if !slices.Equal(kept, want) {
		t.Errorf("kept %q, want %q", kept, want)
	}
}

func TestALimitRemembersNoMoreThanItsRoom(t *testing.T) {
	rules := New([]Config{{Every: time.Hour}}, 1)
	kept := 0
	for _, device := range []string{"a", "a", "b", "b"} {
		if rules.Apply(&Reading{Device: device, At: 1, Metric: "x"}) {
			kept++
		}
	}
	if kept != 3 {
		t.Errorf("%d readings were kept: a's second one is too much, and b is not remembered", kept)
	}
}

func TestARuleSaysWhatIsWrongWithIt(t *testing.T) {
	for want, c := range map[string]Config{
		"devices":      {Devices: "[", Drop: true},
		"metric":       {Metric: "[", Drop: true},
		"rename":       {Rename: "Temp C"},
		"every":        {Every: -time.Second},
		"there are 0":  {Metric: "x"},
		"there are 2":  {Drop: true, Rename: "y"},
		"want one of ": {},
	} {
		if err := c.Validate(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: %v, want %q", c, err, want)
		}
	}
	if err := (Config{Metric: "x", Drop: true}).Validate(); err != nil {
		t.Error(err)
	}
}
