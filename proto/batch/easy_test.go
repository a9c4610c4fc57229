package batch_test

import (
	"encoding/json"
	"fmt"
	"math"
	"strconv"
	"strings"
	"testing"

	"github.com/vmihailenco/msgpack/v5"

	"muster.dev/proto/batch"
)

// transcode gives the batch that an easy form becomes.
func transcode(t *testing.T, parse func([]byte, *batch.Builder) error, body []byte) (*batch.Batch, []byte) {
	t.Helper()
	b := batch.NewBuilder()
	if err := parse(body, b); err != nil {
		t.Fatalf("%s: %v", body, err)
	}
	p, err := b.AppendTo(nil)
	if err != nil {
		t.Fatal(err)
	}
	got := new(batch.Batch)
	if err := got.Decode(p); err != nil {
		t.Fatalf("what was written is refused: %v\n% x", err, p)
	}
	if err := reference(got, p); err != nil {
		t.Fatal(err)
	}
	return got, p
}

// one is a message of one reading with these metrics.
func one(metrics string) []byte {
	return fmt.Appendf(nil, `{"readings":[{"ts":%d,"metrics":%s}]}`, at, metrics)
}

func TestReadingsAreSortedAndMerged(t *testing.T) {
	body := `{"boot":3,"seq":17,"fw":"2.4.1","note":{"x":[1,{"y":null}]},"readings":[
		{"ts":1795341851123,"metrics":{"temp_c":21.5,"mode":"on"}},
		{"metrics":{"rssi_dbm":-70,"gone":null},"ts":1795341850123},
		{"ts":1795341851123,"metrics":{"rssi_dbm":-71,"open":true},"quality":"good"}]}`
	b, _ := transcode(t, batch.ParseJSON, []byte(body))
	want := `keyed=true boot=3 seq=17 fw="2.4.1" schema=0 values=5
1795341851123 mode text/0 on
1795341851123 open bool/0 true
1795341850123 rssi_dbm int/0 -70
1795341851123 rssi_dbm int/0 -71
1795341851123 temp_c int/1 21.5
`
	if got := describe(b); got != want {
		t.Fatalf("got\n%s", got)
	}
}

func TestANumberKeepsItsValue(t *testing.T) {
	for _, c := range []struct {
		text  string
		kind  batch.Kind
		scale uint8
		word  int64
	}{
		{"21.5", batch.Int, 1, 215},
		{"-0.001", batch.Int, 3, -1},
		{"21.50", batch.Int, 2, 2150},
		{"1e3", batch.Int, 0, 1000},
		{"2.15E1", batch.Int, 1, 215},
		{"1e-05", batch.Int, 5, 1},
		{"0.123456789", batch.Int, 9, 123456789},
		{"0.10000000000", batch.Int, 9, 100000000},
		{"9223372036854775807", batch.Int, 0, math.MaxInt64},
		{"-9223372036854775808", batch.Int, 0, math.MinInt64},
		{"0.1234567891", batch.Float, 0, 0},
		{"6.02e23", batch.Float, 0, 0},
		{"1e-400", batch.Int, 0, 0}, // what is nearer to 0 than to any double is 0
		{"12345678901234567.5", batch.Int, 1, 123456789012345675},
	} {
		b, _ := transcode(t, batch.ParseJSON, one(`{"x":`+c.text+`}`))
		col := &b.Columns[0]
		if col.Kind != c.kind || col.Scale != c.scale || c.kind == batch.Int && col.Ints[0] != c.word {
			t.Errorf("%s became %s scale %d: %d", c.text, col.Kind, col.Scale, col.Ints[0])
		}
		want, _ := strconv.ParseFloat(c.text, 64)
		if got := float(col, 0); got != want {
			t.Errorf("%s became %v", c.text, got)
		}
	}
}

func float(c *batch.Column, i int) float64 {
	if c.Kind == batch.Float {
		return c.Floats()[i]
	}
	return batch.Scaled(c.Ints[i], c.Scale)
}

func TestEveryDecimalThatJSONHoldsComesBack(t *testing.T) {
	for _, c := range []string{"22.2", "0.1", "100.01", "-273.15", "3.3", "0.30000000000000004", "1234567.891", "1.7976931348623157e308", "4.9e-324", "-0.0"} {
		b, _ := transcode(t, batch.ParseJSON, one(`{"x":`+c+`}`))
		want, _ := strconv.ParseFloat(c, 64)
		if got := float(&b.Columns[0], 0); got != want {
			t.Errorf("%s became %v", c, got)
		}
		easy, err := msgpack.Marshal(map[string]any{"readings": []any{map[string]any{"ts": int64(at), "metrics": map[string]any{"x": want}}}})
		if err != nil {
			t.Fatal(err)
		}
		m, _ := transcode(t, batch.ParseMsgPack, easy)
		if got := float(&m.Columns[0], 0); got != want {
			t.Errorf("as MsgPack %s became %v", c, got)
		}
	}
}

// series is a message of one metric, a reading each second.
func series(values ...string) []byte {
	var s strings.Builder
	s.WriteString(`{"readings":[`)
	for i, v := range values {
		if i > 0 {
			s.WriteByte(',')
		}
		fmt.Fprintf(&s, `{"ts":%d,"metrics":{"x":%s}}`, at+1000*int64(i), v)
	}
	s.WriteString("]}")
	return []byte(s.String())
}

func TestAMetricOfSeveralKinds(t *testing.T) {
	const two53 = "9007199254740993" // 2^53+1, which no double holds
	for _, c := range []struct {
		name   string
		values []string
		kind   batch.Kind
		shown  string
		faults string
	}{
		{"integers and decimals take the largest scale", []string{"21", "21.55", "-3.1"}, batch.Int, "21.00 21.55 -3.10", ""},
		{"one float makes floats of all", []string{"21", "0.12345678901", "2.5"}, batch.Float, "21 0.12345678901 2.5", ""},
		{"an integer that no double holds is at fault beside floats", []string{two53, "0.12345678901"}, batch.Float, two53 + " 0.12345678901", "0:out_of_range"},
		{"an integer that does not scale is at fault beside decimals", []string{"9223372036854775807", "0.5"}, batch.Int, "9223372036854775807 0.5", "0:out_of_range"},
		{"the few are off type", []string{"1", `"error"`, "2", "true"}, batch.Int, "1 error 2 true", "1:off_type 3:off_type"},
		{"numbers among texts", []string{`"on"`, "1.5", `"off"`}, batch.Text, "on 1.5 off", "1:off_type"},
		{"a tie goes to numbers", []string{`"on"`, "1"}, batch.Int, "on 1", "0:off_type"},
		{"a tie goes to booleans before texts", []string{`"on"`, "false"}, batch.Bool, "on false", "0:off_type"},
		{"out of range", []string{"1e999", "18446744073709551615", "-9223372036854775809", "7"}, batch.Int,
			"1e999 18446744073709551615 -9223372036854775809 7", "0:out_of_range 1:out_of_range 2:out_of_range"},
	} {
		t.Run(c.name, func(t *testing.T) {
			b, _ := transcode(t, batch.ParseJSON, series(c.values...))
			var shown, faults []string
			for step := range b.Times {
				shown = append(shown, string(b.AppendValue(nil, 0, step)))
			}
			for _, f := range b.Judge(nil, at, false) {
				faults = append(faults, fmt.Sprintf("%d:%s", f.Step, f.Reason))
			}
			if b.Columns[0].Kind != c.kind || strings.Join(shown, " ") != c.shown || strings.Join(faults, " ") != c.faults {
				t.Errorf("%s %q %q", b.Columns[0].Kind, shown, faults)
			}
		})
	}
}

func TestAnEasyFormIsRefused(t *testing.T) {
	const m, l, u = batch.Malformed, batch.TooLarge, batch.Unprocessable
	var steps, metrics strings.Builder
	for i := range batch.MaxValues + 1 {
		fmt.Fprintf(&steps, `,{"ts":%d,"metrics":{"m%d":1}}`, i/20, i%20)
	}
	for i := range batch.MaxColumns + 1 {
		fmt.Fprintf(&metrics, `,"m%d":1`, i)
	}
	for _, c := range []struct {
		name, body string
		code       batch.Code
		field      string
	}{
		{"empty", ``, m, "body"},
		{"cut short", `{"readings":[{"ts":1`, m, "body"},
		{"a list", `[]`, m, "body"},
		{"no readings", `{"boot":1,"seq":1}`, u, "readings"},
		{"readings of nothing", `{"readings":[]}`, u, "readings"},
		{"only nulls", string(one(`{"a":null}`)), u, "readings"},
		{"trailing bytes", string(one(`{"a":1}`)) + "x", m, "body"},
		{"two documents", string(one(`{"a":1}`)) + "{}", m, "body"},
		{"a trailing comma", `{"readings":[{"ts":1,"metrics":{"a":1,}}]}`, m, "body"},
		{"NaN", string(one(`{"a":NaN}`)), m, "body"},
		{"Infinity", string(one(`{"a":-Infinity}`)), m, "body"},
		{"a leading zero", string(one(`{"a":01}`)), m, "body"},
		{"a bare point", string(one(`{"a":1.}`)), m, "body"},
		{"a key twice", `{"boot":1,"boot":1,"readings":[]}`, m, "key"},
		{"a key twice, once escaped", `{"boot":1,"b\u006fot":1,"readings":[]}`, m, "key"},
		{"a metric twice in a reading", string(one(`{"a":1,"a":2}`)), m, "key"},
		{"a key twice in what is ignored", `{"x":{"y":1,"y":2},"readings":[{"ts":1,"metrics":{"a":1}}]}`, m, "key"},
		{"a metric twice at a time", `{"readings":[{"ts":1,"metrics":{"a":1}},{"ts":1,"metrics":{"a":2}}]}`, m, "a"},
		{"invalid UTF-8", string(one("{\"a\":\"\xff\"}")), m, "body"},
		{"half a surrogate", string(one(`{"a":"\ud800"}`)), m, "body"},
		{"a control character", string(one("{\"a\":\"\n\"}")), m, "body"},
		{"too deep", strings.Repeat("[", 17) + strings.Repeat("]", 17), m, "body"},
		{"a megabyte of depth", `{"x":` + strings.Repeat("[", 1<<20), m, "body"},
		{"a name that is none", string(one(`{"x'); DROP TABLE":1}`)), u, "readings[0].metrics"},
		{"a backtick", string(one("{\"a`b\":1}")), u, "readings[0].metrics"},
		{"upper case", string(one(`{"Temp":1}`)), u, "readings[0].metrics"},
		{"a name of 10,000 characters", string(one(`{"` + strings.Repeat("a", 10_000) + `":1}`)), u, "readings[0].metrics"},
		{"a list as a value", string(one(`{"a":[1]}`)), u, "readings[0].metrics.a"},
		{"no ts", `{"readings":[{"metrics":{"a":1}}]}`, u, "readings[0].ts"},
		{"a ts that is a text", `{"readings":[{"ts":"now","metrics":{"a":1}}]}`, u, "readings[0].ts"},
		{"a ts of half a millisecond", `{"readings":[{"ts":1.5,"metrics":{"a":1}}]}`, u, "readings[0].ts"},
		{"no metrics", `{"readings":[{"ts":1}]}`, u, "readings[0].metrics"},
		{"seq without boot", `{"seq":1,"readings":[{"ts":1,"metrics":{"a":1}}]}`, u, "seq"},
		{"seq 2^64-1", `{"boot":1,"seq":18446744073709551615,"readings":[]}`, u, "seq"},
		{"boot below zero", `{"boot":-1,"seq":1,"readings":[]}`, u, "boot"},
		{"a firmware that is no text", `{"fw":1,"readings":[]}`, u, "fw"},
		{"a later version", `{"v":2,"readings":[]}`, batch.UnknownVersion, "v"},
		{"10,001 values", `{"readings":[` + steps.String()[1:] + `]}`, l, "values"},
		{"257 metrics", string(one("{" + metrics.String()[1:] + "}")), l, "metrics"},
	} {
		t.Run(c.name, func(t *testing.T) {
			err := batch.ParseJSON([]byte(c.body), batch.NewBuilder())
			e, ok := batch.AsError(err)
			if !ok || e.Code != c.code || e.Field != c.field {
				t.Fatalf("%v, want %s of %s", err, c.code, c.field)
			}
			t.Log(e)
		})
	}
}

func TestTheLimitsThemselvesAreAccepted(t *testing.T) {
	var s strings.Builder
	for i := range batch.MaxValues {
		fmt.Fprintf(&s, `,{"ts":%d,"metrics":{"m%d":%d}}`, i/10, i%250, i) // sparse: 1,000 steps, 250 metrics
	}
	b, _ := transcode(t, batch.ParseJSON, []byte(`{"readings":[`+s.String()[1:]+`]}`))
	if b.Values != batch.MaxValues || len(b.Times) != batch.MaxSteps {
		t.Fatalf("%d values, %d steps", b.Values, len(b.Times))
	}
}

func TestABuilderIsReusedWithoutATrace(t *testing.T) {
	b := batch.NewBuilder()
	first := []byte(`{"boot":1,"seq":2,"fw":"x","readings":[{"ts":1,"metrics":{"a":"text","b":1}}]}`)
	second := one(`{"c":2}`)
	for _, body := range [][]byte{first, []byte(`{"readings":[{"ts":1,"metrics":{"BAD":1}}]}`), first, second} {
		_ = batch.ParseJSON(body, b)
	}
	reused, err := b.AppendTo(nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, fresh := transcode(t, batch.ParseJSON, second); string(fresh) != string(reused) {
		t.Fatalf("% x, and anew % x", reused, fresh)
	}
	out := make([]byte, 0, 1024)
	if n := testing.AllocsPerRun(100, func() {
		if batch.ParseJSON(first, b) != nil {
			t.Error("refused")
		}
		_, _ = b.AppendTo(out)
	}); n != 0 && !raceEnabled {
		t.Errorf("%v allocations a request", n)
	}
}

func easySeeds(f *testing.F) {
	f.Helper()
	for _, s := range []string{
		`{"boot":3,"seq":17,"fw":"1","readings":[{"ts":1795341850123,"metrics":{"temp_c":21.5,"rssi_dbm":-70}}]}`,
		`{"readings":[{"metrics":{"a":1e999,"b":"\u00e9\ud83d\ude00","c":null,"d":true},"ts":1}],"x":{"y":[1,2.5e-7]}}`,
		string(series("1", `"x"`, "18446744073709551615", "0.5", "9007199254740993", "0.12345678901")),
	} {
		f.Add([]byte(s))
		var v any
		d := json.NewDecoder(strings.NewReader(s))
		if d.Decode(&v) == nil {
			if p, err := msgpack.Marshal(v); err == nil {
				f.Add(p)
			}
		}
	}
}

// checkEasy holds a parser to what it promises for any bytes.
func checkEasy(t *testing.T, parse func([]byte, *batch.Builder) error, p []byte) {
	b := batch.NewBuilder()
	if err := parse(p, b); err != nil {
		if e, ok := batch.AsError(err); !ok || e.Field == "" || e.Detail == "" || e.Offset > len(p) {
			t.Fatalf("refused by %#v", err)
		}
		return
	}
	transcode(t, parse, p)
}

func FuzzParseJSON(f *testing.F) {
	easySeeds(f)
	f.Fuzz(func(t *testing.T, p []byte) {
		checkEasy(t, batch.ParseJSON, p)
		if batch.ParseJSON(p, batch.NewBuilder()) == nil && !json.Valid(p) {
			t.Fatalf("%q is no JSON", p)
		}
	})
}

func FuzzParseMsgPack(f *testing.F) {
	easySeeds(f)
	f.Fuzz(func(t *testing.T, p []byte) { checkEasy(t, batch.ParseMsgPack, p) })
}
