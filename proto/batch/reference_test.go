package batch_test

import (
	"fmt"
	"math"
	"runtime"
	"testing"

	"github.com/vmihailenco/msgpack/v5"

	"muster.dev/proto/batch"
)

// wide are limits under which Scan passes all that Decode may: nils are elements too.
var wide = batch.Limits{Body: batch.MaxBody, Depth: batch.MaxDepth, Elements: 1 << 21, Keys: batch.MaxKeys, AnyText: true}

// reference reads p by vmihailenco/msgpack and holds what b says to it.
func reference(b *batch.Batch, p []byte) error {
	if err := batch.Scan(p, wide); err != nil {
		return fmt.Errorf("the scan refuses what was decoded: %w", err)
	}
	var doc []any
	if err := msgpack.Unmarshal(p, &doc); err != nil {
		return fmt.Errorf("the reference refuses what was decoded: %w", err)
	}
	if len(doc) < 8 || number(doc[0]) != int64(1) {
		return fmt.Errorf("%d elements, version %v", len(doc), doc[0])
	}
	if b.Keyed {
		if number(doc[1]) != int64(b.Boot) || number(doc[2]) != int64(b.Seq) {
			return fmt.Errorf("key %v %v, got %d %d", doc[1], doc[2], b.Boot, b.Seq)
		}
	} else if doc[1] != nil || doc[2] != nil {
		return fmt.Errorf("key %v %v was not seen", doc[1], doc[2])
	}
	if fw, _ := doc[3].(string); fw != string(b.Firmware) {
		return fmt.Errorf("fw %q, got %q", fw, b.Firmware)
	}
	at := number(doc[4]).(int64)
	steps := doc[5].([]any)
	if len(steps) != len(b.Times) {
		return fmt.Errorf("%d steps, got %d", len(steps), len(b.Times))
	}
	for i, dt := range steps {
		if at += number(dt).(int64); at != b.Times[i] {
			return fmt.Errorf("step %d is at %d, got %d", i, at, b.Times[i])
		}
	}
	if doc[6] != nil && number(doc[6]) != int64(b.Schema) || doc[6] == nil && b.Schema != 0 {
		return fmt.Errorf("schema %v, got %d", doc[6], b.Schema)
	}
	cols := doc[7].([]any)
	if len(cols) != len(b.Columns) {
		return fmt.Errorf("%d columns, got %d", len(cols), len(b.Columns))
	}
	seen := map[any]bool{}
	values := 0
	for i, c := range cols {
		n, err := sameColumn(b, i, c.([]any))
		if err != nil {
			return fmt.Errorf("column %d: %w", i, err)
		}
		if key := c.([]any)[0]; seen[number(key)] {
			return fmt.Errorf("column %v twice", key)
		} else {
			seen[number(key)] = true
		}
		values += n
	}
	if values != b.Values || values == 0 || values > batch.MaxValues {
		return fmt.Errorf("%d values, got %d", values, b.Values)
	}
	return nil
}

// number makes all integers that int64 holds int64, and leaves others.
func number(v any) any {
	switch v := v.(type) {
	case int8:
		return int64(v)
	case int16:
		return int64(v)
	case int32:
		return int64(v)
	case uint8:
		return int64(v)
	case uint16:
		return int64(v)
	case uint32:
		return int64(v)
	case uint64:
		if v <= math.MaxInt64 {
			return int64(v)
		}
	case float32:
		return float64(v)
	}
	return v
}

func sameColumn(b *batch.Batch, i int, want []any) (values int, err error) {
	c := &b.Columns[i]
	if b.Schema != 0 && number(want[0]) != int64(c.Index) || b.Schema == 0 && want[0] != string(c.Name) {
		return 0, fmt.Errorf("metric %v, got %q %d", want[0], c.Name, c.Index)
	}
	faults := map[int]string{}
	for _, f := range b.Judge(nil, b.Times[0], true) {
		if f.Column == i {
			faults[f.Step] = f.Reason
		}
	}
	enc := number(want[1]).(int64)
	delta := enc >= 16 && enc < 32
	kind := map[bool]batch.Kind{true: batch.Int}[true]
	switch enc {
	case 32:
		kind = batch.Float
	case 33:
		kind = batch.Bool
	case 34:
		kind = batch.Text
	}
	if c.Kind != kind || kind == batch.Int && int64(c.Scale) != enc&15 {
		return 0, fmt.Errorf("enc %d, got %s scale %d", enc, c.Kind, c.Scale)
	}
	word := 0
	var prev int64
	for step, cell := range want[2].([]any) {
		if (cell != nil) != c.Has(step) {
			return 0, fmt.Errorf("step %d is %v, got %v", step, cell, c.Has(step))
		}
		if cell == nil {
			continue
		}
		cell = number(cell)
		if n, ok := cell.(int64); ok && delta {
			prev += n
			cell = prev
		}
		if n, ok := cell.(int64); ok && kind == batch.Float && n >= -1<<53 && n <= 1<<53 {
			cell = float64(n)
		}
		if reason := faults[step]; reason == "" || reason == batch.ReasonTimePast || reason == batch.ReasonTimeFuture {
			if err := sameValue(b, c, word, cell, reason != ""); err != nil {
				return 0, fmt.Errorf("step %d: %w", step, err)
			}
		} else if why := wrong(kind, cell); why != reason {
			return 0, fmt.Errorf("step %d is %v of kind %s: the reason is %q, got %q", step, cell, kind, why, reason)
		}
		word++
	}
	if word != len(c.Ints) {
		return 0, fmt.Errorf("%d values, got %d", word, len(c.Ints))
	}
	return word, nil
}

// wrong is why a cell is at fault, said the long way.
func wrong(kind batch.Kind, cell any) string {
	switch v := cell.(type) {
	case uint64, []byte:
		if kind == batch.Int || kind == batch.Float {
			return batch.ReasonOutOfRange
		}
	case int64:
		if kind == batch.Float {
			return batch.ReasonOutOfRange
		}
	case float64:
		if kind == batch.Float && v != v {
			return batch.ReasonNaN
		} else if kind == batch.Float {
			return batch.ReasonInfinity
		}
	case string:
		if kind == batch.Text && len(v) > batch.MaxText {
			return batch.ReasonTooLong
		} else if kind == batch.Text {
			return batch.ReasonNotUTF8
		}
	}
	return batch.ReasonOffType
}

func sameValue(b *batch.Batch, c *batch.Column, word int, cell any, anyFault bool) error {
	var got any
	switch c.Kind {
	case batch.Int:
		got = c.Ints[word]
	case batch.Float:
		got = c.Floats()[word]
	case batch.Bool:
		got = c.Ints[word] != 0
	case batch.Text:
		if _, ok := cell.(string); ok && len(cell.(string)) <= batch.MaxText {
			got = string(b.Text(c, word))
		}
	}
	if got != cell && !anyFault {
		return fmt.Errorf("is %v, got %v", cell, got)
	}
	return nil
}

// allocated is the number of bytes that f allocates; the least of a few tries, for others allocate as well.
func allocated(limit uint64, f func()) uint64 {
	least := uint64(math.MaxUint64)
	for range 4 {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		f()
		runtime.ReadMemStats(&after)
		if least = min(least, after.TotalAlloc-before.TotalAlloc); least <= limit {
			break
		}
	}
	return least
}

// bound is what reading a body may allocate.
func bound(p []byte) uint64 { return 4*uint64(len(p)) + 64<<10 }

func seeds(f *testing.F) {
	f.Helper()
	f.Add(fleetBatch(f, 3, 20, 12, 1))
	f.Add(fleetBatch(f, 3, 4, 0, 2))
	for _, g := range goldenBatches(f) {
		f.Add(g.bytes)
	}
	for _, h := range hostile() {
		if len(h.body) < 1<<10 {
			f.Add(h.body)
		}
	}
}

func FuzzDecodeAgainstReference(f *testing.F) {
	seeds(f)
	var reused batch.Batch
	f.Fuzz(func(t *testing.T, p []byte) {
		err := reused.Decode(p)
		if got := allocated(bound(p), func() { _ = new(batch.Batch).Decode(p) }); got > bound(p) {
			t.Fatalf("%d bytes allocated for %d, the bound is %d", got, len(p), bound(p))
		}
		if err != nil {
			if e, ok := batch.AsError(err); !ok || e.Field == "" || e.Detail == "" || e.Offset < 0 || e.Offset > len(p) {
				t.Fatalf("refused by %#v", err)
			}
			return
		}
		if err := reference(&reused, p); err != nil {
			t.Fatal(err)
		}
	})
}

func FuzzScan(f *testing.F) {
	seeds(f)
	f.Fuzz(func(t *testing.T, p []byte) {
		var err error
		if got := allocated(bound(p), func() { err = batch.Scan(p, batch.DefaultLimits()) }); got > bound(p) {
			t.Fatalf("%d bytes allocated for %d", got, len(p))
		}
		if err != nil {
			return
		}
		var doc any
		if err := msgpack.Unmarshal(p, &doc); err != nil {
			t.Fatalf("the reference refuses what was passed: %v", err)
		}
	})
}
