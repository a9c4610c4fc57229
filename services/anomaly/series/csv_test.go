package series

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/iotest"

	"muster.dev/services/anomaly/page"
	"muster.dev/services/anomaly/state"
)

func csvOf(in string) (string, error) {
	var out bytes.Buffer
	err := CSV(strings.NewReader(in), &out, Limits{Line: 64}, nil)
	return out.String(), err
}

func TestAFileIsReadWithWhateverTimesAndHeaderItHas(t *testing.T) {
	for name, c := range map[string]struct{ in, out string }{
		"as the benchmark's":   {"timestamp,value\n2014-02-14 14:30:00,0.132\n2014-02-14 14:35:00,0.134\n", "2014-02-14 14:30:00,0.132,0\n2014-02-14 14:35:00,0.134,0\n"},
		"no end of line":       {"2014-02-14 14:30:00,1", "2014-02-14 14:30:00,1,0\n"},
		"Windows":              {"\xef\xbb\xbftimestamp,value\r\n2014-02-14 14:30:00.000000,1e3\r\n\r\n", "2014-02-14 14:30:00.000000,1e3,0\n"},
		"RFC 3339":             {"2014-02-14T14:30:00Z,1\n2014-02-14T16:30:00.5+02:00,2\n2014-02-14T14:30:00,3\n", "2014-02-14T14:30:00Z,1,0\n2014-02-14T16:30:00.5+02:00,2,0\n2014-02-14T14:30:00,3,0\n"},
		"a zone after a space": {"2014-02-14 16:30:00+02:00,1\n2014-02-14 14:30:00Z,2\n", "2014-02-14 16:30:00+02:00,1,0\n2014-02-14 14:30:00Z,2,0\n"},
		"Unix ms":              {"1392388200000,1\n", "1392388200000,1,0\n"},
		"columns by name":      {"id,Value,x,timestamp\na,5,,1392388200000\n", "1392388200000,5,0\n"},
		"columns of no names":  {"time,temp\n1392388200000, 5 \n", "1392388200000,5,0\n"},
		"a day, a minute":      {"2014-02-14,1\n2014-02-14 14:30,2\n2014-02-14T14:35,3\n", "2014-02-14,1,0\n2014-02-14 14:30,2,0\n2014-02-14T14:35,3,0\n"},
		"missing values":       {"1392388200000,1\n1392388500000,\n1392388800000,NaN\n1392389100000,N/A\n1392389400000,\"\"\n", "1392388200000,1,0\n1392388500000,,\n1392388800000,NaN,\n1392389100000,N/A,\n1392389400000,,\n"},
		"none at first":        {"1392388200000,null\n1392388500000,1\n", "1392388200000,null,\n1392388500000,1,0\n"},
		"quotes":               {"\"timestamp\",\"value\"\n\"2014-02-14 14:30:00\",\"7\"\n", "2014-02-14 14:30:00,7,0\n"},
	} {
		got, err := csvOf(c.in)
		if want := "timestamp,value,score\n" + c.out; err != nil || got != want {
			t.Errorf("%s: %q (%v), and not %q", name, got, err, want)
		}
	}
}

func TestAFileThatCannotBeReadIsToldByItsLine(t *testing.T) {
	good := "timestamp,value\n1392388200000,1\n"
	for in, want := range map[string]string{
		"":                  "there is no row",
		"timestamp,value\n": "there is no row",
		"timestamp,value\n1392388500000,NaN\n1392388800000,\n": "in none of its 2 rows is there a value, which is read from column 2",
		good + "2014-02-30,1\n":                                "line 3: timestamp \"2014-02-30\" is none",
		good + "2014-02-14 1:30,1\n":                           "line 3: timestamp \"2014-02-14 1:30\" is none",
		good + "1392388500000,-inf":                            "line 3: value \"-inf\"",
		good + "1392388500000,1e999\n":                         "line 3: value \"1e999\"",
		good + "1392388500000,-\n":                             "line 3: value \"-\" is no number; leave it empty where it is missing",
		good + "1392388500000\n":                               "line 3: it has no value: column 2 is missing",
		good + "yesterday,1\n":                                 "line 3: timestamp \"yesterday\" is none: RFC 3339, YYYY-MM-DD hh:mm:ss in UTC or Unix milliseconds are read",
		good + "1392388500,1\n":                                "line 3: timestamp 1392388500 is not Unix milliseconds",
		good + "timestamp,value\n":                             "line 3: timestamp",
		good + strings.Repeat("1", 70):                         "line 3: it has more than 64 bytes, which is the limit",
		good + strings.Repeat("1", 700) + "\n1,2\n":            "line 3: it has more than 64 bytes, which is the limit",
		"1392388200000,x\n":                                    "line 1: value \"x\" is no number",
		"timestamp;value\n1392388200000;1,5\n":                 "line 1: its columns are parted by semicolons or tabs: commas are read",
		"1392388200000\t1\n":                                   "line 1: its columns are parted by semicolons or tabs: commas are read",
		"v1,v2,timestamp\n1,2,1392388200000\n":                 "line 1: its column 3 is the timestamp, and none is called value",
	} {
		got, err := csvOf(in)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.50q: %v, and not %s", in, err, want)
		}
		if strings.HasPrefix(in, good) && got != "timestamp,value,score\n1392388200000,1,0\n" {
			t.Errorf("%.50q: %q is written", in, got)
		}
	}
	broken := errors.New("the disk is away")
	if err := CSV(iotest.ErrReader(broken), io.Discard, DefaultLimits(), nil); !errors.Is(err, broken) {
		t.Error(err)
	}
	if err := CSV(strings.NewReader(good), failing{broken}, DefaultLimits(), nil); !errors.Is(err, broken) {
		t.Error(err)
	}
}

type failing struct{ err error }

func (f failing) Write([]byte) (int, error) { return 0, f.err }

// made is a series with a jump in it.
func made(rows int) string {
	var out strings.Builder
	for i := range rows {
		x := 20 + 5*math.Sin(float64(i)/46) + math.Sin(float64(i*i))
		if i > rows*3/4 && i < rows*3/4+30 {
			x += 60
		}
		fmt.Fprintf(&out, "%d,%s\n", begins+int64(i)*bucketMS, strconv.FormatFloat(x, 'g', 6, 64))
	}
	return out.String()
}

func TestAJumpInAFileIsScoredWhereItIs(t *testing.T) {
	in := made(2000)
	got, err := csvOf(in)
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSpace(got), "\n")[1:]
	if len(lines) != 2000 {
		t.Fatalf("%d rows", len(lines))
	}
	at, best := 0, 0.
	for i, line := range lines {
		score, err := strconv.ParseFloat(line[strings.LastIndexByte(line, ',')+1:], 64)
		if err != nil || score < 0 || score >= 1 {
			t.Fatal(line, err)
		}
		if score > best {
			at, best = i, score
		}
	}
	if at < 1500 || at > 1510 || best < .3 {
		t.Errorf("the greatest score is %g, at row %d", best, at)
	}
	// What came before does not change with what follows.
	half, err := csvOf(in[:strings.Index(in, lines[1600][:13])])
	if err != nil || !strings.HasPrefix(got, half) {
		t.Error("a score depends on rows that come later:", err)
	}
}

func FuzzCSV(f *testing.F) {
	f.Add("timestamp,value\n2014-02-14 14:30:00,0.132\n")
	f.Add("1392388200000,1\r\n1392388200000,-1e290\n")
	f.Add("a,b\n\"2014-02-14T14:30:00+02:00\",5")
	f.Add("1392388200000,1\n1392388500000,NaN\n2014-02-14,\n2014-02-14 14:30,2\n")
	f.Fuzz(func(t *testing.T, in string) {
		got, err := csvOf(in)
		lines := strings.Split(strings.TrimSuffix(got, "\n"), "\n")
		if lines[0] != "timestamp,value,score" || err == nil && len(lines) < 2 {
			t.Fatalf("%q: %q", in, got)
		}
		for _, line := range lines[1:] {
			if strings.HasSuffix(line, ",") { // no value, no score
				cells := strings.Split(line, ",")
				if _, bad := strconv.ParseFloat(cells[len(cells)-2], 64); bad == nil && !strings.EqualFold(cells[len(cells)-2], "nan") {
					t.Fatalf("%q: %q has no score", in, line)
				}
				continue
			}
			score, bad := strconv.ParseFloat(line[strings.LastIndexByte(line, ',')+1:], 64)
			if bad != nil || !(score >= 0 && score < 1) {
				t.Fatalf("%q: %q", in, line)
			}
		}
		if err == nil {
			// What is written can be read, with the same scores.
			again, err := csvOf(got)
			if err == nil && again != got {
				t.Fatalf("%q: %q, and again %q", in, got, again)
			}
		}
	})
}

// A row without a value is as good as none: what follows has the scores that it has without that row.
func TestAMissingValueChangesNoScore(t *testing.T) {
	var whole, holes []string
	for i, line := range strings.Split(strings.TrimSpace(made(2000)), "\n") {
		if i%7 == 3 {
			holes = append(holes, line[:13]+",NaN")
			continue
		}
		whole, holes = append(whole, line), append(holes, line)
	}
	want, err := csvOf(strings.Join(whole, "\n"))
	if err != nil {
		t.Fatal(err)
	}
	got, err := csvOf(strings.Join(holes, "\n"))
	if err != nil {
		t.Fatal(err)
	}
	if kept := slices.DeleteFunc(strings.SplitAfter(got, "\n"), func(line string) bool { return strings.HasSuffix(line, ",NaN,\n") }); strings.Join(kept, "") != want {
		t.Error("scores are others where values are missing")
	}
	if n := strings.Count(got, "\n"); n != 2001 {
		t.Errorf("%d lines are written", n)
	}
}

func TestADetectorOfAnyNumbersStaysSound(t *testing.T) {
	wild := []float64{0, 1, -1, MaxValue, -MaxValue, 5e-324, 1e-300, 1e16, 3, 3, 3}
	var d Detector
	for i := range 30_000 {
		x := wild[(i*i+i/7)%len(wild)]
		at := begins + int64(i)*bucketMS
		if i%1000 == 999 {
			at -= 400 * day // a step back is borne
		}
		score := d.Row(at, x)
		if !(score >= 0 && score < 1) || math.IsNaN(d.Usual(at)) || math.IsInf(d.Usual(at), 0) {
			t.Fatalf("row %d: %v of %v, usual %v", i, score, x, d.Usual(at))
		}
	}
}

func TestADetectorRestoredAtAnyRowGoesOnTheSame(t *testing.T) {
	x := func(i int) float64 {
		return 20 + 5*math.Sin(float64(i)/46) + float64(i*7919%101)/20 + float64(i/700%2*9)
	}
	var d Detector
	var scores []float64
	kept := map[int][]byte{}
	bytesOf := func(d *Detector) []byte {
		var out bytes.Buffer
		w := state.NewWriter(&out)
		d.AppendState(w)
		if err := w.Flush(); err != nil {
			t.Fatal(err)
		}
		return out.Bytes()
	}
	const rows = 2500
	for i := range rows {
		scores = append(scores, d.Row(begins+int64(i)*bucketMS, x(i)))
		if i%211 == 0 {
			kept[i] = bytesOf(&d)
		}
	}
	if slices.Max(scores) == 0 {
		t.Error("nothing is found")
	}
	for from, snapshot := range kept {
		var r Detector
		in := state.NewReader(bytes.NewReader(snapshot))
		if r.ReadState(in); in.End() != nil {
			t.Fatal(in.End())
		}
		for i := from + 1; i < rows; i++ {
			if got := r.Row(begins+int64(i)*bucketMS, x(i)); got != scores[i] {
				t.Fatalf("restored at %d, row %d: %v, and before %v", from, i, got, scores[i])
			}
		}
		if r != d {
			t.Errorf("restored at %d, the end is another", from)
		}
	}
}

func TestOurOwnLogarithmsAreRight(t *testing.T) {
	close := func(got, want float64) bool { return math.Abs(got-want) <= 4e-16*max(1e-300, math.Abs(want)) }
	for e := -300; e <= 300; e++ {
		for k := range 20 {
			v := (1 + float64(k)/19.3) * math.Pow(10, float64(e))
			if e < 290 && !(math.Abs(logarithm(v)-math.Log(v)) <= 4e-16*max(1, math.Abs(math.Log(v)))) {
				t.Fatalf("log %g: %v, and not %v", v, logarithm(v), math.Log(v))
			}
			for _, x := range []float64{v, -v} {
				if got, want := asinh(x), math.Asinh(x); e < 290 && !close(got, want) && math.Abs(got-want) > 1e-15*math.Abs(want) {
					t.Fatalf("asinh %g: %v, and not %v", x, got, want)
				}
			}
		}
	}
	for y := -690.; y < 690; y += .37 {
		if got, want := exponential(y), math.Exp(y); math.Abs(got-want) > 1e-13*want {
			t.Fatalf("exp %g: %v, and not %v", y, got, want)
		}
		if got, want := sinh(y), math.Sinh(y); math.Abs(got-want) > 1e-12*math.Abs(want) {
			t.Fatalf("sinh %g: %v, and not %v", y, got, want)
		}
	}
	for life := 150.; life < 70_000; life *= 1.3 {
		if got, want := half(life), math.Exp2(-1/life); math.Abs(got-want) > 3e-16 {
			t.Fatalf("half %g: %v, and not %v", life, got, want)
		}
	}
}

func FuzzSnapshots(f *testing.F) {
	b := NewBank(DefaultSettings(), testNames())
	eventful(b, 0, 3, func(int, []page.Finding) {})
	f.Add(bankBytes(f, b)[:600])
	f.Fuzz(func(t *testing.T, in []byte) {
		b := NewBank(DefaultSettings(), testNames())
		if b.Restore(bytes.NewReader(in)) == nil {
			b.Row(1, 1, 1, []byte("m0"), begins, 1)
			b.Leave(1)
			b.Tick(begins)
		}
		p := NewPeers(DefaultSettings())
		if p.Restore(bytes.NewReader(in)) == nil {
			p.Cut(begins, nil)
		}
	})
}

func TestAFlatLineOfAFileIsNamed(t *testing.T) {
	dice := rand.New(rand.NewPCG(1, 1))
	var in strings.Builder
	for i := range int64(24 * 30) {
		v := 100 + 40*math.Sin(float64(i)/24*2*math.Pi) + 4*dice.NormFloat64()
		if i >= 500 && i < 548 || i >= 700 {
			v = 79.828
		}
		fmt.Fprintf(&in, "%d,%.3f\n", begins+i*hour, v)
	}
	for name, of := range map[string]struct {
		in   string
		want []Flat
	}{
		"one, and a shorter one": {in.String(), []Flat{
			{strconv.FormatInt(begins+500*hour, 10), strconv.FormatInt(begins+547*hour, 10), "79.828"},
		}},
		"none": {strings.Join(strings.SplitAfter(in.String(), "\n")[:500], ""), nil},
		"one that goes on": {strings.Join(strings.SplitAfter(in.String(), "\n")[:530], ""), []Flat{
			{strconv.FormatInt(begins+500*hour, 10), strconv.FormatInt(begins+529*hour, 10), "79.828"},
		}},
	} {
		var got []Flat
		if err := CSV(strings.NewReader(of.in), io.Discard, Limits{Line: 64}, func(f Flat) { got = append(got, f) }); err != nil || !slices.Equal(got, of.want) {
			t.Errorf("%s: %v (%v)", name, got, err)
		}
	}
}
