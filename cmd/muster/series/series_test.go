package series

import (
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func read(t *testing.T, rows ...string) *Series {
	t.Helper()
	s, err := Read(strings.NewReader("timestamp,value\n" + strings.Join(rows, "\n")))
	if err != nil {
		t.Fatal(err)
	}
	s.Metric = "m"
	return s
}

func TestRowsKeepTheirTimesValuesAndOrder(t *testing.T) {
	s := read(t, "2014-02-14 14:30:00,0.132", "2014-02-14 14:25:00,-2", "2014-02-14 14:25:00.250,1e3")
	if want := []int64{1392388200000, 1392387900000, 1392387900250}; !reflect.DeepEqual(s.Times, want) {
		t.Errorf("times %v, want %v", s.Times, want)
	}
	if want := []float64{0.132, -2, 1000}; !reflect.DeepEqual(s.Values, want) {
		t.Errorf("values %v, want %v", s.Values, want)
	}
}

func TestWhatIsNoSeriesIsRefusedWithItsLine(t *testing.T) {
	for _, c := range []struct{ text, want string }{
		{"", "the file is empty"},
		{"time,val\n", `line 1: the header is "time,val"`},
		{"timestamp,value\n", "no rows"},
		{"timestamp,value\n2014-02-14 14:30:00,1\n14.2.2014,1\n", `line 3: time "14.2.2014": want UTC`},
		{"timestamp,value\n2014-02-30 14:30:00,1\n", "line 2: time"},
		{"timestamp,value\n2014-02-14 14:30:00.0001,1\n", "finer than a millisecond"},
		{"timestamp,value\n2014-02-14 14:30:00,NaN\n", `line 2: value "NaN": want a finite number`},
		{"timestamp,value\n2014-02-14 14:30:00,\n", `value "": want`},
		{"timestamp,value\n2014-02-14 14:30:00,1e999\n", "want a finite number"},
		{"timestamp,value\n2014-02-14 14:30:00,1,2\n", "line 2: wrong number of fields"},
	} {
		_, err := Read(strings.NewReader(c.text))
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%q: %v, want %q", c.text, err, c.want)
		}
	}
}

func TestAFilesNameBecomesAMetricsName(t *testing.T) {
	for file, want := range map[string]string{
		"a/b/ec2_cpu_utilization_24ae8d.csv":     "ec2_cpu_utilization_24ae8d",
		"iio_us-east-1_i-a2eb1cd9_NetworkIn.csv": "iio_us_east_1_i_a2eb1cd9_networkin",
		"2024 Bäder.CSV":                         "_2024_b_der",
	} {
		if got, err := MetricName(file); got != want || err != nil {
			t.Errorf("%s: %q, %v; want %q", file, got, err, want)
		}
	}
	if _, err := MetricName(strings.Repeat("x", 64) + ".csv"); err == nil || !strings.Contains(err.Error(), "--metric") {
		t.Error(err)
	}
}

func TestAMessageHoldsNoTimeTwiceAndNoMoreThanItsSteps(t *testing.T) {
	var rows []string
	for i := range 25 {
		rows = append(rows, fmt.Sprintf("2014-02-14 14:30:%02d,%d", i, i))
		if i == 12 {
			rows = append(rows, "2014-02-14 14:30:12,99")
		}
	}
	got := read(t, rows...).Cut(10)
	want := []Part{{0, 0, 10}, {1, 10, 13}, {2, 13, 23}, {3, 23, 26}}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("cut %v, want %v", got, want)
	}
	if n := len(read(t, rows...).Cut(5000)); n != 2 {
		t.Errorf("%d messages, want 2", n)
	}
}

func TestTheKeyIsAFunctionOfTheRowsAlone(t *testing.T) {
	a := read(t, "2014-02-14 14:30:00,1", "2014-02-14 14:31:00,2")
	b := read(t, "2014-02-14 14:30:00,1.0", "2014-02-14 14:31:00,2.00")
	if a.Boot(1000) != b.Boot(1000) {
		t.Error("the same rows have two keys")
	}
	c := read(t, "2014-02-14 14:30:00,1", "2014-02-14 14:31:00,3")
	d := read(t, "2014-02-14 14:30:00,1", "2014-02-14 14:31:00,2")
	d.Metric = "other"
	for what, boot := range map[string]uint32{"value": c.Boot(1000), "metric": d.Boot(1000), "cut": a.Boot(999)} {
		if boot == a.Boot(1000) {
			t.Errorf("another %s has the same key", what)
		}
	}
}

func TestValuesOnADecimalGridComeBackBitForBit(t *testing.T) {
	for _, c := range []struct {
		values []string
		scale  uint8
		ok     bool
	}{
		{[]string{"20.0", "-3"}, 0, true},
		{[]string{"1", "0.132", "51.1"}, 3, true},
		{[]string{"51.846000000000004"}, 0, false},
		{[]string{"21.970327182"}, 9, true},
		{[]string{"9007199254740991", "1"}, 0, true},
		{[]string{"9007199254740991", "0.5"}, 0, false},
		{[]string{"-0.0"}, 0, false},
	} {
		var rows []string
		for _, v := range c.values {
			rows = append(rows, "2014-02-14 14:30:00,"+v)
		}
		s := read(t, rows...)
		scale, ok := s.Scale()
		if scale != c.scale || ok != c.ok {
			t.Errorf("%v: scale %d %v, want %d %v", c.values, scale, ok, c.scale, c.ok)
		}
		for _, v := range s.Values {
			if ok && float64(Scaled(v, scale))/pow10[scale] != v {
				t.Errorf("%v comes back as another", v)
			}
		}
	}
}

func TestRealSeriesAreReadWhole(t *testing.T) {
	files, _ := filepath.Glob("../../../../shared/data/nab/*/*.csv")
	if len(files) == 0 {
		t.Skip("SKIPPED: the recorded series are not beside this repository (../shared/data/nab)")
	}
	for _, f := range files {
		s, err := ReadFile(f, "")
		if err != nil {
			t.Error(err)
			continue
		}
		raw, _ := os.ReadFile(f)
		if rows := strings.Count(strings.TrimSpace(string(raw)), "\n"); rows != len(s.Times) {
			t.Errorf("%s: %d rows of %d", f, len(s.Times), rows)
		}
		n := 0
		for _, p := range s.Cut(1000) {
			n += p.To - p.From
		}
		if n != len(s.Times) {
			t.Errorf("%s: the messages hold %d rows of %d", f, n, len(s.Times))
		}
	}
}
