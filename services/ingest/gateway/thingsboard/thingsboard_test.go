package thingsboard

import (
	"fmt"
	"strings"
	"testing"

	"muster.dev/proto/batch"
)

// parse gives what a sink would read of the body.
func parse(t *testing.T, body string) (map[string]string, error) {
	t.Helper()
	b := batch.NewBuilder()
	if err := Parse([]byte(body), 1795341850123, b); err != nil {
		return nil, err
	}
	p, err := b.AppendTo(nil)
	if err != nil {
		return nil, err
	}
	var m batch.Batch
	if err := m.Decode(p); err != nil {
		t.Fatalf("%s: %v", body, err)
	}
	out := map[string]string{}
	for i := range m.Columns {
		c, present := &m.Columns[i], 0
		for step, at := range m.Times {
			if !c.Has(step) {
				continue
			}
			word := present
			present++
			key := fmt.Sprintf("%s@%d", c.Name, at-1795341850123)
			switch c.Kind {
			case batch.Int:
				out[key] = fmt.Sprint(batch.Scaled(c.Ints[word], c.Scale))
			case batch.Float:
				out[key] = fmt.Sprint(c.Floats()[word])
			case batch.Bool:
				out[key] = fmt.Sprint(c.Ints[word] == 1)
			case batch.Text:
				out[key] = fmt.Sprintf("%q", m.Text(c, word))
			}
		}
	}
	return out, nil
}

func TestTheThreeShapesAreRead(t *testing.T) {
	for body, want := range map[string]string{
		`{"temp_c":21.5,"on":true,"state":"ok","gone":null}`:                                        `map[on@0:true state@0:"ok" temp_c@0:21.5]`,
		`{"ts":1795341850122,"values":{"temp_c":21.25,"n":7}}`:                                      `map[n@-1:7 temp_c@-1:21.25]`,
		` [{"ts":1795341850121,"values":{"a":1}}, {"a":3}, {"ts":1795341850122,"values":{"a":2}}] `: `map[a@-1:2 a@-2:1 a@0:3]`,
		`{"ts":5}`:                 `map[ts@0:5]`, // a metric, without values
		`{"values":7}`:             `map[values@0:7]`,
		`{"big":9007199254740993}`: `map[big@0:9.007199254740992e+15]`,
	} {
		got, err := parse(t, body)
		if err != nil || fmt.Sprint(got) != want {
			t.Errorf("%s: %v, %v; want %s", body, got, err, want)
		}
	}
}

func TestWhatCannotBeStoredIsRefusedWithItsPlace(t *testing.T) {
	many := strings.TrimSuffix(strings.Repeat(`{"a":1},`, 2), ",")
	for body, want := range map[string]batch.Code{
		"":                                     batch.Malformed,
		"7":                                    batch.Malformed,
		`"x"`:                                  batch.Malformed,
		`{"a":1`:                               batch.Malformed,
		`{"a":1}}`:                             batch.Malformed,
		`{"a":1} {"b":2}`:                      batch.Malformed,
		`{"a":1,}`:                             batch.Malformed,
		`[{"a":1},7]`:                          batch.Malformed,
		`[[{"a":1}]]`:                          batch.Malformed,
		`[`:                                    batch.Malformed,
		"{\"a\":\"\xff\"}":                     batch.Malformed,
		`[` + many + `]`:                       batch.Malformed, // two values of one metric and time
		`{"a":1,"a":2}`:                        batch.Malformed,
		`{}`:                                   batch.Unprocessable,
		`[]`:                                   batch.Unprocessable,
		`{"a":null}`:                           batch.Unprocessable,
		`{"a":{"b":1}}`:                        batch.Unprocessable,
		`{"a":[1]}`:                            batch.Unprocessable,
		`{"Temp C":1}`:                         batch.Unprocessable,
		`{"x'); DROP TABLE": 1}`:               batch.Unprocessable,
		`{"a":1e999}`:                          batch.Unprocessable,
		`{"ts":"now","values":{"a":1}}`:        batch.Unprocessable,
		`{"ts":1.5,"values":{"a":1}}`:          batch.Unprocessable,
		`{"ts":1,"values":{"a":{}}}`:           batch.Unprocessable,
		`{"a":` + strings.Repeat("[", 100_000): batch.Malformed,
		`[` + strings.Repeat(`{"ts":1,"values":{"a":1}},`, 11_000): batch.TooLarge,
	} {
		_, err := parse(t, body)
		e, ok := batch.AsError(err)
		if !ok || e.Code != want || e.Field == "" || e.Detail == "" {
			t.Errorf("%.60q: %v, want %v", body, err, want)
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, s := range []string{`{"temp_c":21.5}`, `{"ts":1,"values":{"a":"b","c":true}}`, `[{"a":1e3},{"ts":2,"values":{}}]`, `{"a":[`, "\xff"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, p []byte) {
		b := batch.NewBuilder()
		err := Parse(p, 1795341850123, b)
		if err == nil {
			var out []byte
			if out, err = b.AppendTo(nil); err == nil {
				if err := new(batch.Batch).Decode(out); err != nil {
					t.Fatalf("what it takes is not read again: %v", err)
				}
				return
			}
		}
		if _, ok := batch.AsError(err); !ok {
			t.Fatalf("%T %v", err, err)
		}
	})
}
