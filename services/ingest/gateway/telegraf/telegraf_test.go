package telegraf

import (
	"encoding/json"
	"fmt"
	"math"
	"runtime"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"muster.dev/proto/batch"
)

const (
	at  = int64(1_795_341_850_000) // ms
	now = at + 5_000
)

// show is what a reader of the wire has of the messages.
func show(t testing.TB, all []*Message) string {
	t.Helper()
	var out strings.Builder
	b, m := batch.NewBuilder(), batch.Batch{}
	for _, one := range all {
		b.Reset()
		one.AddTo(b)
		p, err := b.AppendTo(nil)
		if err != nil {
			t.Fatalf("%+v: %v", one, err)
		}
		if err := m.Decode(p); err != nil {
			t.Fatalf("%+v: %v", one, err)
		}
		var lines []string
		for i := range m.Columns {
			for step := range m.Times {
				if m.Columns[i].Has(step) {
					lines = append(lines, fmt.Sprintf(" %s=%s", m.Columns[i].Name, m.AppendValue(nil, i, step)))
				}
			}
		}
		for _, f := range m.Judge(nil, now, false) {
			lines = append(lines, fmt.Sprintf(" %s!%s", f.Metric, f.Reason))
		}
		slices.Sort(lines)
		fmt.Fprintf(&out, "%s@%d%s\n", one.Device, m.Times[0]-at, strings.Join(lines, ""))
	}
	return out.String()
}

func TestWhatTelegrafSaysIsRead(t *testing.T) {
	for name, tc := range map[string]struct{ body, want string }{
		"a list of metrics": {
			`{"metrics":[{"fields":{"temp_c":21.5},"name":"env","tags":{"device_id":"dev-1","host":"gw-07"},"timestamp":1795341850},
			 {"fields":{"temp_c":20},"name":"env","tags":{"device_id":"dev-2","host":"gw-07"},"timestamp":1795341850}]}` + "\n",
			"dev-1@0 env_temp_c=21.5\ndev-2@0 env_temp_c=20\n",
		},
		"one metric":                       {`{"fields":{"a":1,"b":true,"c":"on"},"name":"m","tags":{"host":"h"},"timestamp":1795341850}`, "h@0 m_a=1 m_b=true m_c=on\n"},
		"lines":                            {"env,device_id=dev-1,host=gw temp_c=21.5,n=7i,u=8u,ok=true,s=\"on\\\"x\" 1795341850000000000\n", "dev-1@0 env_n=7 env_ok=true env_s=on\"x env_temp_c=21.5 env_u=8\n"},
		"comments and empty lines":         {"# c\n\nm,host=h a=1 1795341850000000000\r\n", "h@0 m_a=1\n"},
		"device_id before device and host": {`{"name":"m","fields":{"a":1},"tags":{"host":"h","device":"d","device_id":"i"},"timestamp":1795341850}`, "i@0 m_a_d=1\n"},
		"device before host":               {`{"name":"m","fields":{"a":1},"tags":{"host":"h","device":"d","x":"y"},"timestamp":1795341850}`, "d@0 m_a_y=1\n"},
		"an empty tag is none":             {`{"name":"m","fields":{"a":1},"tags":{"device_id":"","host":"h"},"timestamp":1795341850}`, "h@0 m_a=1\n"},
		"tags in the order of their names": {"disk,path=/,fstype=ext4,host=h used=1i 1795341850000000000", "h@0 disk_used_ext4=1\n"},
		"names are cleaned":                {"cpu,cpu=cpu-total,host=h usage\\ Idle=9.5 1795341850000000000", "h@0 cpu_usage_idle_cpu_total=9.5\n"},
		"a name that begins with a digit":  {"3d,host=h a=1 1795341850000000000", "h@0 _3d_a=1\n"},
		"milliseconds":                     {`{"name":"m","fields":{"a":1},"tags":{"host":"h"},"timestamp":1795341850123}`, "h@123 m_a=1\n"},
		"microseconds":                     {`{"name":"m","fields":{"a":1},"tags":{"host":"h"},"timestamp":1795341850123999}`, "h@123 m_a=1\n"},
		"nanoseconds":                      {`{"name":"m","fields":{"a":1},"tags":{"host":"h"},"timestamp":1795341850123999999}`, "h@123 m_a=1\n"},
		"no timestamp":                     {"m,host=h a=1", "h@5000 m_a=1\n"},
		"times apart":                      {"m,host=h a=1 1795341850000000000\nm,host=h a=2 1795341851000000000\nm,host=h b=3 1795341850000000000", "h@0 m_a=1 m_b=3\nh@1000 m_a=2\n"},
		"said twice":                       {"m,host=h a=1 1795341850000000000\nm,host=h a=1 1795341850000000000", "h@0 m_a=1\n"},
		"names that become one":            {"m,host=h a-b=1,a.b=2,a_b=1 1795341850000000000", "h@0 m_a_b=1\nh@0 m_a_b=2\n"[:len("h@0 m_a_b=1\n")] + "h@0 m_a_b=2\nh@0 m_a_b=1\n"},
		"large numbers":                    {"m,host=h a=18446744073709551615u,b=9223372036854775807i,c=1e999 1795341850000000000", ""},
		"a text that is too long":          {`{"name":"m","fields":{"a":"` + strings.Repeat("x", 5_000) + `"},"tags":{"host":"h"},"timestamp":1795341850}`, ""},
		"unknown members":                  {`{"x":{"y":[1,{}]},"metrics":[{"z":[[]],"name":"m","fields":{"a":1},"tags":{"host":"h"},"timestamp":1795341850}],"w":null}`, "h@0 m_a=1\n"},
	} {
		t.Run(name, func(t *testing.T) {
			all, err := Parse([]byte(tc.body), Settings{NowMS: now})
			if err != nil {
				t.Fatal(err)
			}
			got := show(t, all)
			if tc.want == "" { // faults of single values: the others stand
				if !strings.Contains(got, "!") {
					t.Errorf("no fault in %s", got)
				}
				return
			}
			if got != tc.want {
				t.Errorf("%s, want %s", got, tc.want)
			}
		})
	}
}

func TestADeviceThatIsNamedAlreadyCounts(t *testing.T) {
	for tags, want := range map[string]string{
		`{"host":"gw-07"}`:                       "boiler-7@0 m_a=1\n",
		`{"device_id":"boiler-7","host":"gw"}`:   "boiler-7@0 m_a=1\n",
		`{"device":"sda1","host":"gw"}`:          "boiler-7@0 m_a_sda1=1\n",
		`{}`:                                     "boiler-7@0 m_a=1\n",
		`{"device_id":"boiler-8","host":"gw-7"}`: "",
	} {
		all, err := Parse([]byte(`{"name":"m","fields":{"a":1},"timestamp":1795341850,"tags":`+tags+`}`), Settings{Device: "boiler-7", NowMS: now})
		if got := show(t, all); got != want || (err == nil) != (want != "") {
			t.Errorf("%s: %q, %v", tags, got, err)
		}
	}
}

func TestABodyIsRefusedWhole(t *testing.T) {
	const good = `{"name":"m","fields":{"a":1},"tags":{"host":"h"},"timestamp":1}`
	tags := func(n int) string {
		var s strings.Builder
		for i := range n {
			fmt.Fprintf(&s, ",t%d=v", i)
		}
		return s.String()
	}
	for name, tc := range map[string]struct {
		body string
		code batch.Code
	}{
		"nothing":                  {"", batch.Unprocessable},
		"an empty list":            {`{"metrics":[]}`, batch.Unprocessable},
		"a cut list":               {`{"metrics":[` + good, batch.Malformed},
		"a cut metric":             {good[:40], batch.Malformed},
		"something behind":         {good + good, batch.Malformed},
		"both shapes":              {good[:len(good)-1] + `,"metrics":[` + good + `]}`, batch.Unprocessable},
		"both shapes turned round": {`{"metrics":[` + good + `],` + good[1:], batch.Unprocessable},
		"a list of numbers":        {`{"metrics":[1]}`, batch.Unprocessable},
		"no name":                  {strings.Replace(good, `"m"`, `""`, 1), batch.Unprocessable},
		"a name that is none":      {strings.Replace(good, `"m"`, `7`, 1), batch.Unprocessable},
		"no fields":                {strings.Replace(good, `"a":1`, ``, 1), batch.Unprocessable},
		"a null":                   {strings.Replace(good, `"a":1`, `"a":null`, 1), batch.Unprocessable},
		"a list":                   {strings.Replace(good, `"a":1`, `"a":[1]`, 1), batch.Unprocessable},
		"a tag that is a number":   {strings.Replace(good, `"h"`, `1`, 1), batch.Unprocessable},
		"no device":                {strings.Replace(good, `host`, `room`, 1), batch.Unprocessable},
		"a time in words":          {strings.Replace(good, `p":1`, `p":"2026-11-22T10:00:00Z"`, 1), batch.Unprocessable},
		"half a second":            {strings.Replace(good, `p":1`, `p":1.5`, 1), batch.Unprocessable},
		"no UTF-8":                 {strings.Replace(good, `"m"`, "\"\xff\"", 1), batch.Malformed},
		"a line without a field":   {"m,host=h 1795341850000000000", batch.Malformed},
		"a field without a value":  {"m,host=h a= 1", batch.Malformed},
		"a bad number":             {"m,host=h a=1.2.3 1", batch.Malformed},
		"a hexadecimal number":     {"m,host=h a=0x1p4 1", batch.Malformed},
		"a bad integer":            {"m,host=h a=1.5i 1", batch.Malformed},
		"a bad truth":              {"m,host=h a=tr 1", batch.Malformed},
		"a bad time":               {"m,host=h a=1 12-3", batch.Malformed},
		"a second line that fails": {"m,host=h a=1 1\nm,host", batch.Malformed},
		"a line that is too long":  {"m,host=h a=\"" + strings.Repeat("x", maxLine) + "\" 1", batch.TooLarge},
		"too many tags":            {"m,host=h" + tags(MaxTags) + " a=1 1", batch.TooLarge},
		"tags that are too long":   {"m,host=h,t=" + strings.Repeat("x", maxTagText) + " a=1 1", batch.TooLarge},
		"a name that is too long":  {strings.Repeat("m", maxWord+1) + ",host=h a=1 1", batch.TooLarge},
		"too many metrics":         {strings.Repeat("m,host=h a=1 1\n", MaxMetrics+1), batch.TooLarge},
	} {
		all, err := Parse([]byte(tc.body), Settings{NowMS: now})
		if e, ok := batch.AsError(err); !ok || e.Code != tc.code || all != nil || e.Field == "" {
			t.Errorf("%s: %d messages, %v", name, len(all), err)
		}
	}
	var many strings.Builder
	for i := range MaxMessages + 1 {
		fmt.Fprintf(&many, "m,host=h%d a=1 1795341850000000000\n", i)
	}
	if _, err := Parse([]byte(many.String()), Settings{NowMS: now}); err == nil {
		t.Error("too many devices were taken")
	}
	var fields strings.Builder
	for i := range 20 {
		fields.WriteString("m,host=h a0=0")
		for j := range MaxValues / 20 {
			fmt.Fprintf(&fields, ",a%d=%d", j+1, i)
		}
		fields.WriteString(" 1795341850000000000\n")
	}
	if _, err := Parse([]byte(fields.String()), Settings{NowMS: now}); err == nil {
		t.Error("too many fields were taken")
	}
}

func TestWhatAMessageCannotHoldGoesIntoTheNext(t *testing.T) {
	var line strings.Builder
	line.WriteString("m,host=h a0=0i")
	const n = 2*batch.MaxColumns + 10
	for i := range n - 1 {
		fmt.Fprintf(&line, ",a%d=%di", i+1, i+1)
	}
	all, err := Parse([]byte(line.String()+" 1795341850000000000"), Settings{NowMS: now})
	if err != nil || len(all) != 3 || all[0].Values()+all[1].Values()+all[2].Values() != n {
		t.Fatalf("%d messages, %v", len(all), err)
	}
	if got := strings.Count(show(t, all), "="); got != n {
		t.Errorf("%d values", got)
	}
}

// Whatever a name was, what becomes of it is a name of ours, always the same, and of long ones that differ at their ends two.
func TestNamesAreOurs(t *testing.T) {
	long := strings.Repeat("very_", 20)
	seen := map[string]string{}
	for _, raw := range []string{"a", "A b", "é", "_", "9", "-", long + "a", long + "b", strings.Repeat("_", 200) + "x", strings.Repeat("x", 63), strings.Repeat("x", 63) + "_", strings.Repeat("x", 64)} {
		name := string(clean(nil, []byte(raw)))
		if !batch.MetricName(name) {
			t.Errorf("%q becomes %q", raw, name)
		}
		if again := string(clean(nil, []byte(raw))); again != name {
			t.Errorf("%q becomes %q and %q", raw, name, again)
		}
		if other, twice := seen[name]; twice && len(raw) > 63 && raw != strings.Repeat("x", 63)+"_" {
			t.Errorf("%q and %q become %q", raw, other, name)
		}
		seen[name] = raw
	}
}

func TestTheUnitOfATimeShowsInItsSize(t *testing.T) {
	for n, want := range map[int64]int64{
		1_795_341_850: at, 1_795_341_850_000: at, 1_795_341_850_000_000: at, 1_795_341_850_000_000_000: at,
		0: 0, -1: -1_000, -1_500_000_000_000_000_001: -1_500_000_000_001, math.MinInt64: -9_223_372_036_855, math.MaxInt64: 9_223_372_036_854,
	} {
		if got := unix(n); got != want {
			t.Errorf("%d is %d, want %d", n, got, want)
		}
	}
}

func TestOnlyTelegrafsBodiesLookLikeIt(t *testing.T) {
	for body, want := range map[string]bool{
		`{"metrics":[{"fields":{"a":1},"name":"m","tags":{},"timestamp":1}]}`: true,
		`{"fields":{"a":1},"name":"m","tags":{},"timestamp":1}`:               true,
		` {"name":"m","tags":{"fields":"x"},"timestamp":1,"fields":{"a":1}}`:  true,
		`{"boot":1,"seq":2,"readings":[{"ts":1,"metrics":{"fields":1}}]}`:     false,
		`{"boot":1,"fields":7,"readings":[{"ts":1,"metrics":{"a":1}}]}`:       false,
		`{"readings":[],"fields":{}}`:                                         false,
		`{"temp_c":21.5}`:                                                     false,
		`[{"fields":{}}]`:                                                     false,
		`{"x":{"fields":{}}}`:                                                 false,
		`{"x":`:                                                               false,
		`"fields"`:                                                            false,
		``:                                                                    false,
	} {
		if got := Looks([]byte(body)); got != want {
			t.Errorf("%s: %v", body, got)
		}
	}
}

// A body of many times its size would be a way to fill our memory.
func TestWhatIsReadIsBoundedByTheBody(t *testing.T) {
	tags := ",t=" + strings.Repeat("x", maxTagText-20)
	var body strings.Builder
	for body.Len() < 1<<20 {
		body.WriteString("m,host=h" + tags)
		for i := range 2_000 {
			fmt.Fprintf(&body, "%c%d=1", " ,"[min(i, 1)], i)
		}
		fmt.Fprintf(&body, " %d\n", at*1e6)
	}
	p := []byte(body.String())
	got := testing.Benchmark(func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := Parse(p, Settings{NowMS: now}); err != nil {
				b.Fatal(err)
			}
		}
	})
	if got.AllocedBytesPerOp() > 64*int64(len(p)) {
		t.Errorf("%d bytes for a body of %d", got.AllocedBytesPerOp(), len(p))
	}
}

func seeds(f *testing.F) {
	for _, s := range []string{
		`{"metrics":[{"fields":{"temp_c":21.5,"ok":true,"s":"x"},"name":"env","tags":{"device_id":"dev-1","host":"gw-07"},"timestamp":1795341850}]}`,
		`{"fields":{"a":18446744073709551615,"b":1e999,"c":-0.0},"name":"m","tags":{"host":"h"},"timestamp":1795341850123456789}`,
		"env,device_id=dev-0001,host=gw-07 temp_c=21.5,s=\"a\\\"b\nc\",n=-7i,u=8u,ok=f 1795341850000000000\n# x\n\r\nm\\,a,host=h\\ x a\\=b=1",
		`{"metrics":[{"fields":{},"name":"","tags":{}}],"fields":{}}`, "{", "m", ",=\n", "m,host=\\ a=1",
	} {
		f.Add(s, "")
		f.Add(s, "dev-1")
	}
}

func FuzzParse(f *testing.F) {
	seeds(f)
	f.Fuzz(func(t *testing.T, body, device string) {
		all, err := Parse([]byte(body), Settings{Device: device, NowMS: now})
		if err != nil {
			if _, ok := batch.AsError(err); !ok || all != nil {
				t.Fatalf("%v", err)
			}
			return
		}
		values := 0
		for _, m := range all {
			values += m.Values()
			if device != "" && m.Device != device || m.Device == "" || m.Values() == 0 || m.Values() > batch.MaxColumns {
				t.Fatalf("%+v", m)
			}
		}
		if values > len(body) || len(all) > MaxMessages {
			t.Fatalf("%d values in %d messages of %d bytes", values, len(all), len(body))
		}
		first := show(t, all)
		again, err := Parse([]byte(body), Settings{Device: device, NowMS: now})
		if err != nil || show(t, again) != first {
			t.Fatalf("the second time it is %s, %v", show(t, again), err)
		}
	})
}

// What is said in both forms is the same in both.
func FuzzBothFormsSayTheSame(f *testing.F) {
	f.Add("env", "device_id", "dev-1", "temp c", 21.5, int64(7), "on", true, at*1_000_000)
	f.Add("é,=\\", "host", "h h", "a=,b", -0.5, int64(-1), "\"\\", false, int64(5))
	f.Fuzz(func(t *testing.T, name, key, tag, field string, d float64, n int64, s string, ok bool, ts int64) {
		if math.IsNaN(d) || math.IsInf(d, 0) || !fits(name, key, tag, field) || strings.ContainsAny(s, "\n\r\t") || !utf8.ValidString(s) {
			t.Skip()
		}
		body, err := json.Marshal(map[string]any{"name": name, "tags": map[string]string{key: tag, "host": "h"}, "timestamp": ts,
			"fields": map[string]any{field + "d": d, field + "n": n, field + "s": s, field + "t": ok}})
		if err != nil {
			t.Skip()
		}
		esc := strings.NewReplacer(",", `\,`, " ", `\ `, "=", `\=`)
		quoted := strings.NewReplacer(`\`, `\\`, `"`, `\"`)
		key, tag, field = esc.Replace(key), esc.Replace(tag), esc.Replace(field)
		line := strings.NewReplacer(",", `\,`, " ", `\ `).Replace(name) + "," + key + "=" + tag + ",host=h " +
			fmt.Sprintf("%sd=%v,%sn=%di,%ss=\"%s\",%st=%v %d", field, d, field, n, field, quoted.Replace(s), field, ok, ts)
		a, err1 := Parse(body, Settings{NowMS: now})
		b, err2 := Parse([]byte(line), Settings{NowMS: now})
		if err1 != nil || err2 != nil {
			t.Fatalf("%s: %v\n%s: %v", body, err1, line, err2)
		}
		if x, y := show(t, a), show(t, b); x != y && sorted(x) != sorted(y) {
			t.Fatalf("%s\n%s\n%s%s", body, line, x, y)
		}
	})
}

// fits says whether words can be said in the line protocol, which has no escape for a backslash.
func fits(words ...string) bool {
	for i, w := range words {
		if w == "" || len(w) > 60 || strings.ContainsAny(w, "\\") || w[0] == '#' || w[0] == '{' && i == 0 || i == 1 && (w == tagHost) {
			return false
		}
		for _, r := range w {
			if r < 0x20 || r == 0x7f || r == '\uFFFD' {
				return false
			}
		}
	}
	return true
}

func sorted(s string) string {
	lines := strings.Split(s, "\n")
	slices.Sort(lines)
	return strings.Join(lines, "\n")
}

func BenchmarkParse(b *testing.B) {
	var lines strings.Builder
	for i := range 1_000 {
		fmt.Fprintf(&lines, "env,device_id=dev-%d,host=gw-07 temp_c=%d.5,rh=40i,ok=true %d\n", i%100, i, at*1_000_000)
	}
	b.SetBytes(int64(lines.Len()))
	b.ReportAllocs()
	for b.Loop() {
		if all, err := Parse([]byte(lines.String()), Settings{NowMS: now}); err != nil || len(all) < 100 {
			b.Fatal(len(all), err)
		}
	}
}

func TestWhatIsPassedOverMayNotBeDeep(t *testing.T) {
	const levels = 2 << 20
	deep := strings.Repeat("[", levels)
	for name, body := range map[string]string{
		"beside the metrics": `{"x":` + deep + `,"fields":{}}`,
		"in a metric":        `{"metrics":[{"name":"m","fields":{"a":1},"tags":{"host":"h"},"x":` + deep,
		"objects":            `{"x":` + strings.Repeat(`{"a":`, levels/5) + `"fields"`,
	} {
		t.Run(name, func(t *testing.T) {
			p := []byte(body)
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			Looks(p)
			_, err := Parse(p, Settings{NowMS: now})
			runtime.ReadMemStats(&after)
			if err == nil || !strings.Contains(err.Error(), "deep") {
				t.Errorf("%v", err)
			}
			took := int64(after.TotalAlloc - before.TotalAlloc)
			if took > 4*int64(len(p))+64<<10 {
				t.Errorf("%d bytes of memory for %d of a body", took, len(p))
			}
		})
	}
}
