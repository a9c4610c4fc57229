package wire_test

import (
	"encoding/json"
	"fmt"
	"math"
	"reflect"
	"strings"
	"testing"

	"github.com/vmihailenco/msgpack/v5"
	"go.uber.org/goleak"

	"muster.dev/proto/internal/wire"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var limits = wire.Limits{Body: 1 << 20, Depth: 16, Elements: 10_000, Keys: 1_024}

// build makes a value of a document, numbers as float64.
func build(src wire.Tokens) (any, *wire.Error) {
	t, err := src.Next()
	if err != nil {
		return nil, err
	}
	v, err := value(src, t)
	if err != nil {
		return nil, err
	}
	if t, err = src.Next(); err != nil {
		return nil, err
	}
	if t.Kind != wire.End {
		return nil, &wire.Error{Field: "test", Detail: "no end"}
	}
	return v, nil
}

func value(src wire.Tokens, t wire.Token) (any, *wire.Error) {
	switch t.Kind {
	case wire.Null:
		return nil, nil
	case wire.Bool:
		return t.Int != 0, nil
	case wire.Int:
		return float64(t.Int), nil
	case wire.Uint:
		return float64(uint64(t.Int)), nil
	case wire.Float, wire.Decimal:
		return t.Float, nil
	case wire.Huge:
		return json.Number(t.Bytes), nil
	case wire.Text, wire.Bin:
		return string(t.Bytes), nil
	case wire.List:
		list := []any{}
		for {
			t, err := src.Next()
			if err != nil || t.Kind == wire.End {
				return list, err
			}
			v, err := value(src, t)
			if err != nil {
				return nil, err
			}
			list = append(list, v)
		}
	}
	m := map[string]any{}
	for {
		t, err := src.Next()
		if err != nil || t.Kind == wire.End {
			return m, err
		}
		key := string(t.Bytes)
		if t, err = src.Next(); err != nil {
			return nil, err
		}
		if m[key], err = value(src, t); err != nil {
			return nil, err
		}
	}
}

func buildJSON(p []byte) (any, *wire.Error) {
	var r wire.JSON
	r.Reset(p, limits)
	return build(&r)
}

func TestTheSameValueComesFromJSONAndMsgPack(t *testing.T) {
	for _, doc := range []string{
		`null`, `true`, `[]`, `{}`, `-0`, `0.1`, `1e300`, `""`, `"é\u00e9\ud83d\ude00\"\\\/\b\f\n\r\t"`,
		`[1,-1,127,128,-128,-129,32767,65535,65536,-32768,-32769,2147483647,4294967295,4294967296,-2147483649,9007199254740991]`,
		`{"a":{"b":[{"c":[[],{}]}]},"` + strings.Repeat("k", 300) + `":"` + strings.Repeat("v", 70_000) + `"}`,
		" \t\r\n[ 1 , 2 ]\n",
	} {
		var want any
		if err := json.Unmarshal([]byte(doc), &want); err != nil {
			t.Fatal(err)
		}
		got, err := buildJSON([]byte(doc))
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%.80s became %.80v, %v", doc, got, err)
		}
		p, bad := msgpack.Marshal(want)
		if bad != nil {
			t.Fatal(bad)
		}
		got, err = build(wire.NewMsgPack(p, limits))
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%.80s as MsgPack became %.80v, %v", doc, got, err)
		}
	}
}

func TestManyKeysAreHeldApart(t *testing.T) {
	var s strings.Builder
	for i := range 1000 {
		fmt.Fprintf(&s, `,"k%d":{"a":1,"b":[{"a":2}]}`, i)
	}
	if _, err := buildJSON([]byte("{" + s.String()[1:] + "}")); err != nil {
		t.Fatal(err)
	}
	for _, twice := range []string{"k0", "k7", "k999"} {
		_, err := buildJSON([]byte("{" + s.String()[1:] + `,"` + twice + `":0}`))
		if err == nil || !strings.Contains(err.Detail, twice) {
			t.Errorf("%s twice: %v", twice, err)
		}
	}
}

func TestAnAppendedElementIsTheOneThatIsRead(t *testing.T) {
	for shift := range 64 {
		for _, v := range []int64{1 << shift, 1<<shift - 1, -(1 << shift), -(1 << shift) - 1} {
			p := wire.AppendInt(nil, v)
			got, err := wire.NewMsgPack(p, limits).Next()
			if err != nil || got.Kind != wire.Int || got.Int != v || len(p) != wire.IntSize(v) {
				t.Errorf("%d became %+v in % x, %v", v, got, p, err)
			}
		}
	}
	for _, n := range []int{0, 15, 16, 31, 32, 255, 256, 65_535, 65_536} {
		text := strings.Repeat("x", n)
		for _, p := range [][]byte{wire.AppendText(nil, text), wire.AppendBin(nil, []byte(text))} {
			if got, err := wire.NewMsgPack(p, limits).Next(); err != nil || string(got.Bytes) != text {
				t.Errorf("%d bytes: %v", n, err)
			}
		}
		list := append(wire.AppendArrayHead(nil, n), make([]byte, n)...)
		if err := wire.ScanMsgPack(list, wire.Limits{Depth: 1, Elements: n + 1}); err != nil {
			t.Errorf("%d elements: %v", n, err)
		}
	}
	for _, f := range []float64{0, 0.5, 0.1, math.Inf(1), math.MaxFloat64} {
		if got, err := wire.NewMsgPack(wire.AppendFloat(nil, f), limits).Next(); err != nil || got.Float != f {
			t.Errorf("%v became %v, %v", f, got.Float, err)
		}
	}
}

func FuzzJSON(f *testing.F) {
	for _, s := range []string{`{"a":[1,2.5,-3e7,"x\u00e9",null,true]}`, `"\ud83d\ude00"`, `[1e999,18446744073709551616,0.10000000000]`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, p []byte) {
		got, refused := buildJSON(p)
		if refused != nil {
			return
		}
		var want any
		if err := json.Unmarshal(p, &want); err != nil && !strings.Contains(err.Error(), "cannot unmarshal number") {
			t.Fatalf("%q was read, and is none: %v", p, err)
		} else if err == nil && !same(got, want) {
			t.Fatalf("%q became %v, not %v", p, got, want)
		}
	})
}

// same takes a number out of range for whatever double the other reader made of it.
func same(got, want any) bool {
	switch g := got.(type) {
	case json.Number:
		_, ok := want.(float64)
		return ok
	case []any:
		w, ok := want.([]any)
		if !ok || len(g) != len(w) {
			return false
		}
		for i := range g {
			if !same(g[i], w[i]) {
				return false
			}
		}
		return true
	case map[string]any:
		w, ok := want.(map[string]any)
		if !ok || len(g) != len(w) {
			return false
		}
		for k := range g {
			if v, ok := w[k]; !ok || !same(g[k], v) {
				return false
			}
		}
		return true
	}
	return got == want
}
