package batch_test

import (
	"bytes"
	"strings"
	"testing"

	"muster.dev/proto/batch"
)

type attack struct {
	name   string
	body   []byte
	scan   batch.Code // what Scan says; 0 = passes
	decode batch.Code // what Decode says
	easy   batch.Code // what ParseMsgPack says
}

// compact gives a batch around the bytes of its columns, one step.
func compact(columns ...byte) []byte {
	return append([]byte{0x98, 1, 7, 9, 0xc0, 0xcf, 0, 0, 1, 0xa2, 3, 0, 0, 0, 0x91, 0, 0xc0}, columns...)
}

// values gives a batch of that many values: steps of one metric each.
func values(steps, metrics int) []byte {
	p := []byte{0x98, 1, 7, 9, 0xc0, 0, 0xdc, byte(steps >> 8), byte(steps)}
	p = append(p, bytes.Repeat([]byte{1}, steps)...)
	p = append(p, 12, 0xdc, byte(metrics>>8), byte(metrics))
	for m := range metrics {
		p = append(p, 0x93, 0xcd, byte(m>>8), byte(m), 0, 0xdc, byte(steps>>8), byte(steps))
		p = append(p, make([]byte, steps)...)
	}
	return p
}

func hostile() []attack {
	const m, l, u = batch.Malformed, batch.TooLarge, batch.Unprocessable
	return []attack{
		{"row 1: array32 of 4 G elements in 5 bytes", []byte{0xdd, 0xff, 0xff, 0xff, 0xff}, m, m, m},
		{"row 1: the five bytes that made v5.4.1 allocate a gigabyte", []byte{0xdd, 0x02, 0xfa, 0xf0, 0x80}, m, m, m},
		{"row 1: in the place of steps", append([]byte{0x98, 1, 7, 9, 0xc0, 0}, 0xdd, 0xff, 0xff, 0xff, 0xff), m, m, m},
		{"row 1: in the place of columns", compact(0xdd, 0xff, 0xff, 0xff, 0xff), m, m, m},
		{"row 1: in the place of values", compact(0x91, 0x93, 0xa1, 'a', 0, 0xdd, 0xff, 0xff, 0xff, 0xff), m, m, m},
		{"row 2: map32 longer than the body", []byte{0xdf, 0xff, 0xff, 0xff, 0xff}, m, m, m},
		{"row 2: str32 longer than the body", []byte{0xdb, 0xff, 0xff, 0xff, 0xff}, m, m, m},
		{"row 2: bin32 longer than the body", []byte{0xc6, 0xff, 0xff, 0xff, 0xff}, m, m, m},
		{"row 2: a text cell longer than the body", compact(0x91, 0x93, 0xa1, 'a', 34, 0x91, 0xdb, 0xff, 0xff, 0xff, 0xff), m, m, m},
		{"row 3: 16 MiB of nested arrays", bytes.Repeat([]byte{0x91}, 16<<20), l, l, l},
		{"row 3: 4 MiB of nested arrays", bytes.Repeat([]byte{0x91}, batch.MaxBody), m, m, m},
		{"row 4: depth 17", append(bytes.Repeat([]byte{0x91}, 17), 0), m, m, m},
		{"row 4: depth 17 in an element of a later version", append(append([]byte{0x99}, compact(0x91, 0x93, 0xa1, 'a', 0, 0x91, 5)[1:]...), append(bytes.Repeat([]byte{0x91}, 16), 0)...), m, m, m},
		{"row 5: a timestamp extension", []byte{0xd6, 0xff, 0, 0, 0, 0}, m, m, m},
		{"row 5: ext8", []byte{0xc7, 1, 5, 0}, m, m, m},
		{"row 5: a fixext cut short", []byte{0xd8, 5, 0}, m, m, m},
		{"row 5: an extension as a value", compact(0x91, 0x93, 0xa1, 'a', 0, 0x91, 0xd4, 5, 0), m, m, m},
		{"row 6: a key twice", []byte{0x82, 0xa1, 'a', 1, 0xa1, 'a', 2}, m, m, m},
		{"row 6: a metric twice", compact(0x92, 0x93, 0xa1, 'a', 0, 0x91, 5, 0x93, 0xa1, 'a', 0, 0x91, 6), 0, m, m},
		{"row 6: a key that is an integer", []byte{0x81, 1, 1}, m, m, m},
		{"row 6: a key that is nil", []byte{0x81, 0xc0, 1}, m, m, m},
		{"row 7: bytes after the message", append(compact(0x91, 0x93, 0xa1, 'a', 0, 0x91, 5), 0), m, m, m},
		{"row 8: invalid UTF-8 in a key", []byte{0x81, 0xa1, 0xff, 1}, u, m, u},
		{"row 8: a sum beyond int64", compact(0x91, 0x93, 0xa1, 'a', 16, 0x91, 0xcf, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff), 0, u, m},
		{"row 9: 10,001 values", values(73, 137), 0, l, m},
		{"row 9: 1,001 steps", values(1001, 1), 0, l, m},
		{"257 metrics", values(1, 257), 0, l, m},
		{"an empty body", nil, m, m, m},
		{"the byte that MsgPack does not use", []byte{0xc1}, m, m, m},
		{"a later version", append([]byte{0x98, 2}, compact()[2:]...), m, batch.UnknownVersion, m},
		{"a name that is no name", compact(0x91, 0x93, 0xa3, 'x', '\'', ')', 0, 0x91, 5), 0, u, m},
		{"a name of 64 bytes", compact(append(append([]byte{0x91, 0x93, 0xd9, 64}, strings.Repeat("a", 64)...), 0, 0x91, 5)...), 0, u, m},
		{"seq 2^64-1", []byte{0x98, 1, 7, 0xcf, 255, 255, 255, 255, 255, 255, 255, 255, 0xc0, 0, 0x91, 0, 0xc0, 0x91, 0x93, 0xa1, 'a', 0, 0x91, 5}, 0, u, m},
		{"seq without boot", []byte{0x98, 1, 0xc0, 9, 0xc0, 0, 0x91, 0, 0xc0, 0x91, 0x93, 0xa1, 'a', 0, 0x91, 5}, 0, u, m},
		{"no value at all", compact(0x91, 0x93, 0xa1, 'a', 0, 0x91, 0xc0), 0, u, m},
		{"an enc that is none", compact(0x91, 0x93, 0xa1, 'a', 77, 0x91, 5), 0, u, m},
	}
}

func TestHostileInputIsRefusedCheaply(t *testing.T) {
	b := batch.NewBuilder()
	for _, a := range hostile() {
		t.Run(a.name, func(t *testing.T) {
			check := func(what string, want batch.Code, read func() error) {
				t.Helper()
				var err error
				const limit = 64 << 10
				if got := allocated(limit, func() { err = read() }); got > limit {
					t.Errorf("%s: %d bytes allocated", what, got)
				}
				if want == 0 {
					if err != nil {
						t.Errorf("%s: %v", what, err)
					}
					return
				}
				e, ok := batch.AsError(err)
				if !ok || e.Code != want {
					t.Fatalf("%s: %v, want %s", what, err, want)
				}
				t.Logf("%s: %d %s", what, e.Code.Status(), e)
				if s := e.Error(); !strings.HasPrefix(s, e.Field+": ") || len(s) < 20 || len(s) > 300 {
					t.Errorf("%s: no sentence: %q", what, s)
				}
				if want == batch.TooLarge && e.Limit == 0 {
					t.Errorf("%s: no limit in %q", what, e)
				}
			}
			check("scan", a.scan, func() error { return batch.Scan(a.body, batch.DefaultLimits()) })
			check("decode", a.decode, func() error { return new(batch.Batch).Decode(a.body) })
			check("easy", a.easy, func() error { return batch.ParseMsgPack(a.body, b) })
		})
	}
}

func TestAValueAtFaultLeavesItsNeighbours(t *testing.T) {
	long := strings.Repeat("x", batch.MaxText+1)
	p := compact(0x95,
		0x93, 0xa1, 'a', 0, 0x91, 0xcf, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, // 2^64-1
		0x93, 0xa1, 'b', 32, 0x91, 0xcb, 0x7f, 0xf8, 0, 0, 0, 0, 0, 0, // NaN
		0x93, 0xa1, 'c', 32, 0x91, 0xca, 0xff, 0x80, 0, 0, // -Inf
		0x93, 0xa1, 'd', 34, 0x91, 0xa2, 0xff, 0xfe, // no UTF-8
	)
	p = append(p, append([]byte{0x93, 0xa1, 'e', 34, 0x91, 0xda, byte(len(long) >> 8), byte(len(long) & 255)}, long...)...)
	var b batch.Batch
	if err := b.Decode(p); err != nil {
		t.Fatal(err)
	}
	faults := b.Judge(nil, b.Times[0], false)
	want := []string{batch.ReasonOutOfRange, batch.ReasonNaN, batch.ReasonInfinity, batch.ReasonNotUTF8, batch.ReasonTooLong}
	if len(faults) != len(want) {
		t.Fatalf("%v", faults)
	}
	for i, f := range faults {
		if f.Reason != want[i] || f.Column != i || f.Metric != string(rune('a'+i)) {
			t.Errorf("%+v, want %s", f, want[i])
		}
	}
	if got := string(b.AppendValue(nil, 0, 0)); got != "18446744073709551615" {
		t.Errorf("the value for the quarantine is %q", got)
	}
}
