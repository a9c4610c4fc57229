package native_test

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	chproto "github.com/ClickHouse/ch-go/proto"
	"github.com/ClickHouse/clickhouse-go/v2/lib/column"
	"github.com/ClickHouse/clickhouse-go/v2/lib/proto"
	"github.com/shopspring/decimal"
	"go.uber.org/goleak"

	"muster.dev/platform/warehouse/native"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const class = "Enum8('standard' = 0, 'debug' = 1, 'audit' = 2, 'cold' = 3)"

// cell is a column under test and a way to add one random value to it, which
// also gives the value as clickhouse-go reads it back.
type cell struct {
	native.Column
	add func(r *rand.Rand) any
}

func number[T native.Number](c *native.Fixed[T], value func(r *rand.Rand) (T, any)) cell {
	return cell{c, func(r *rand.Rand) any { v, want := value(r); c.Append(v); return want }}
}

func nullable[T native.Number](c *native.Nullable[T], value func(r *rand.Rand) (T, any)) cell {
	return cell{c, func(r *rand.Rand) any {
		if r.IntN(3) == 0 {
			c.AppendNull()
			return nil
		}
		v, want := value(r)
		c.Append(v)
		return want
	}}
}

func same[T any](f func(r *rand.Rand) T) func(r *rand.Rand) (T, any) {
	return func(r *rand.Rand) (T, any) { v := f(r); return v, v }
}

func instant(r *rand.Rand) (int64, any) {
	ms := r.Int64N(4_000_000_000_000)
	return ms, time.UnixMilli(ms).UTC()
}

func scaled(scale uint8) func(r *rand.Rand) (int32, any) {
	return func(r *rand.Rand) (int32, any) {
		v := int32(r.Int64N(2_000_000_000) - 1_000_000_000)
		return v, decimal.New(int64(v), -int32(scale))
	}
}

func word(r *rand.Rand) []byte {
	b := make([]byte, r.IntN(40))
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	return b
}

func float(r *rand.Rand) float64 {
	switch r.IntN(8) {
	case 0:
		return math.Inf(1)
	case 1:
		return math.Copysign(0, -1)
	default:
		return r.NormFloat64() * math.Pow10(r.IntN(40)-20)
	}
}

// kinds makes every kind of column, with n numbering the names.
var kinds = []func(name string) cell{
	func(n string) cell {
		return number(native.UInt8(n), same(func(r *rand.Rand) uint8 { return uint8(r.Uint32()) }))
	},
	func(n string) cell {
		return number(native.UInt16(n), same(func(r *rand.Rand) uint16 { return uint16(r.Uint32()) }))
	},
	func(n string) cell { return number(native.UInt32(n), same((*rand.Rand).Uint32)) },
	func(n string) cell { return number(native.UInt64(n), same((*rand.Rand).Uint64)) },
	func(n string) cell {
		return number(native.Int8(n), same(func(r *rand.Rand) int8 { return int8(r.Uint32()) }))
	},
	func(n string) cell { return number(native.Int32(n), same((*rand.Rand).Int32)) },
	func(n string) cell {
		return number(native.Int64(n), same(func(r *rand.Rand) int64 { return int64(r.Uint64()) }))
	},
	func(n string) cell { return number(native.Float64(n), same(float)) },
	func(n string) cell {
		return number(native.Bool(n), same(func(r *rand.Rand) bool { return r.IntN(2) == 0 }))
	},
	func(n string) cell { return number(native.DateTime64(n), instant) },
	func(n string) cell { return number(native.Decimal32(n, 3), scaled(3)) },
	func(n string) cell {
		return number(native.Enum8(n, class), func(r *rand.Rand) (int8, any) {
			v := r.IntN(4)
			return int8(v), []string{"standard", "debug", "audit", "cold"}[v]
		})
	},
	func(n string) cell {
		return nullable(native.NullableOf(native.Int64(n)), same(func(r *rand.Rand) int64 { return int64(r.Uint64()) }))
	},
	func(n string) cell { return nullable(native.NullableOf(native.Float64(n)), same(float)) },
	func(n string) cell {
		return nullable(native.NullableOf(native.Bool(n)), same(func(r *rand.Rand) bool { return r.IntN(2) == 0 }))
	},
	func(n string) cell { return nullable(native.NullableOf(native.Decimal32(n, 9)), scaled(9)) },
	func(n string) cell { return nullable(native.NullableOf(native.DateTime64(n)), instant) },
	func(n string) cell {
		c := native.String(n)
		return cell{c, func(r *rand.Rand) any { w := word(r); c.Append(w); return string(w) }}
	},
	func(n string) cell {
		c := native.NullableString(n)
		return cell{c, func(r *rand.Rand) any {
			if r.IntN(3) == 0 {
				c.AppendNull()
				return nil
			}
			w := word(r)
			c.Append(w)
			return string(w)
		}}
	},
	func(n string) cell {
		c := native.LowCardinality(n)
		return cell{c, func(r *rand.Rand) any { w := few(r); c.AppendString(w); return w }}
	},
	func(n string) cell {
		c := native.LowCardinalityNullable(n)
		return cell{c, func(r *rand.Rand) any {
			if r.IntN(3) == 0 {
				c.AppendNull()
				return nil
			}
			w := few(r)
			c.AppendString(w)
			return w
		}}
	},
}

// few draws from 400 words, the empty one among them, so that a dictionary's
// ids take one byte in a small block and two in a large one.
func few(r *rand.Rand) string {
	n := r.IntN(400)
	if n == 0 {
		return ""
	}
	return fmt.Sprint("word", n)
}

func plain(v any) any {
	switch v := v.(type) {
	case nil:
		return nil
	case *string:
		return deref(v)
	case *int64:
		return deref(v)
	case *float64:
		return deref(v)
	case *bool:
		return deref(v)
	case *time.Time:
		if v == nil {
			return nil
		}
		return v.UTC()
	case *decimal.Decimal:
		return deref(v)
	case time.Time:
		return v.UTC()
	}
	return v
}

func deref[T any](p *T) any {
	if p == nil {
		return nil
	}
	return *p
}

func equal(a, b any) bool {
	if d, ok := a.(decimal.Decimal); ok {
		e, ok := b.(decimal.Decimal)
		return ok && d.Equal(e)
	}
	if t, ok := a.(time.Time); ok {
		u, ok := b.(time.Time)
		return ok && t.Equal(u)
	}
	return a == b
}

func decode(t testing.TB, p []byte) *proto.Block {
	t.Helper()
	b := proto.NewBlock()
	in := bytes.NewReader(p)
	if err := b.Decode(chproto.NewReader(in), 0); err != nil {
		t.Fatalf("clickhouse-go does not decode the block: %v", err)
	}
	return b
}

func TestARandomBlockReadsBackEqualInClickHouseGo(t *testing.T) {
	for seed := range uint64(60) {
		checkRandomBlock(t, seed)
	}
}

func FuzzARandomBlockReadsBackEqual(f *testing.F) {
	f.Add(uint64(1))
	f.Fuzz(func(t *testing.T, seed uint64) { checkRandomBlock(t, seed) })
}

func checkRandomBlock(t *testing.T, seed uint64) {
	t.Helper()
	r := rand.New(rand.NewPCG(seed, 7))
	block := native.NewBlock()
	var cells []cell
	for i := range 1 + r.IntN(12) {
		c := kinds[r.IntN(len(kinds))](fmt.Sprint("c", i))
		cells = append(cells, c)
		block.Add(c.Column)
	}
	for range 2 { // twice: the second time over reused memory
		block.Reset()
		rows := 1 + r.IntN(700)
		want := make([][]any, len(cells))
		for i, c := range cells {
			for range rows {
				want[i] = append(want[i], c.add(r))
			}
		}
		p, err := block.AppendTo(nil)
		if err != nil {
			t.Fatal(err)
		}
		got := decode(t, p)
		for i, c := range got.Columns {
			if c.Name() != cells[i].Name() || string(c.Type()) != cells[i].Type() || c.Rows() != rows {
				t.Fatalf("seed %d: column %d is %s %s of %d rows, want %s %s of %d", seed, i, c.Name(), c.Type(), c.Rows(), cells[i].Name(), cells[i].Type(), rows)
			}
			for row := range rows {
				if g := plain(c.Row(row, false)); !equal(g, want[i][row]) {
					t.Fatalf("seed %d: %s %s row %d is %v, want %v", seed, c.Name(), c.Type(), row, g, want[i][row])
				}
			}
		}
		checkReferenceBytes(t, cells, want, p)
	}
}

// checkReferenceBytes encodes the same rows with clickhouse-go. Dictionaries
// may number their keys as they like; all else must be equal to the byte.
func checkReferenceBytes(t *testing.T, cells []cell, want [][]any, ours []byte) {
	t.Helper()
	ref := proto.NewBlock()
	for i, c := range cells {
		if err := ref.AddColumn(c.Name(), column.Type(c.Type())); err != nil {
			t.Fatal(err)
		}
		for _, v := range want[i] {
			if err := ref.Columns[i].AppendRow(v); err != nil {
				t.Fatalf("%s: %v", c.Type(), err)
			}
		}
	}
	var buf chproto.Buffer
	if err := ref.Encode(&buf, 0); err != nil {
		t.Fatal(err)
	}
	if slices.ContainsFunc(cells, func(c cell) bool { _, ok := c.Column.(*native.Dictionary); return ok }) {
		again := decode(t, buf.Buf)
		for i, c := range again.Columns {
			for row, v := range want[i] {
				if g := plain(c.Row(row, false)); !equal(g, v) {
					t.Fatalf("the reference disagrees with itself: %s row %d is %v, want %v", c.Type(), row, g, v)
				}
			}
		}
		return
	}
	if !bytes.Equal(buf.Buf, ours) {
		t.Fatalf("bytes differ from clickhouse-go's for %d columns", len(cells))
	}
}

func TestBulkAppendsEqualSingleOnes(t *testing.T) {
	one, many := native.NullableOf(native.Int64("v")), native.NullableOf(native.Int64("v"))
	for range 3 {
		one.Append(7)
	}
	many.Fill(7, 3)
	for range 2 {
		one.AppendNull()
	}
	many.AppendNulls(2)
	for _, v := range []int64{1, 2} {
		one.Append(v)
	}
	many.AppendSlice([]int64{1, 2})
	one.AppendNull()
	many.PadTo(8)
	assertSame(t, one, many)

	a, b := native.LowCardinality("d"), native.LowCardinality("d")
	for range 4 {
		a.Append([]byte("x"))
	}
	a.AppendString("")
	b.FillID(b.ID([]byte("x")), 4)
	b.PadTo(5)
	assertSame(t, a, b)

	c, d := native.Float64("f"), native.Float64("f")
	for _, v := range []float64{1, 2, 0, 0} {
		c.Append(v)
	}
	d.AppendSlice([]float64{1, 2})
	d.PadTo(4)
	assertSame(t, c, d)
}

func assertSame(t *testing.T, a, b native.Column) {
	t.Helper()
	x, err := native.NewBlock(a).AppendTo(nil)
	if err != nil {
		t.Fatal(err)
	}
	y, err := native.NewBlock(b).AppendTo(nil)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(x, y) {
		t.Fatalf("%s: %x, want %x", a.Type(), y, x)
	}
}

func TestTruncateTakesAMessageBack(t *testing.T) {
	for _, kind := range kinds {
		r := rand.New(rand.NewPCG(1, 1))
		c := kind("c")
		for range 5 {
			c.add(r)
		}
		block := native.NewBlock(c.Column)
		before := decode(t, must(block.AppendTo(nil)))
		for range 3 {
			c.add(r)
		}
		block.Truncate(5)
		after := decode(t, must(block.AppendTo(nil)))
		for row := range 5 {
			if a, b := plain(before.Columns[0].Row(row, false)), plain(after.Columns[0].Row(row, false)); !equal(a, b) {
				t.Fatalf("%s: row %d is %v after Truncate, was %v", c.Type(), row, b, a)
			}
		}
	}
}

func must(p []byte, err error) []byte {
	if err != nil {
		panic(err)
	}
	return p
}

func TestColumnsOfUnequalLengthAreRefused(t *testing.T) {
	a, b := native.UInt8("a"), native.UInt8("b")
	block := native.NewBlock(a, b)
	if _, err := block.Segments(); !errors.Is(err, native.ErrEmpty) {
		t.Fatalf("an empty block: %v", err)
	}
	a.Append(1)
	if _, err := block.Segments(); err == nil {
		t.Fatal("unequal columns were encoded")
	}
	b.Append(1)
	if _, err := block.Segments(); err != nil {
		t.Fatal(err)
	}
}

func TestIntegersLieInMemoryAsNativeWantsThem(t *testing.T) {
	c := native.UInt32("n")
	c.Append(0x01020304)
	p := must(native.NewBlock(c).AppendTo(nil))
	if !bytes.HasSuffix(p, []byte{4, 3, 2, 1}) {
		t.Fatalf("this machine is not little-endian: %x", p)
	}
}

func TestASteadyStateAllocatesNothing(t *testing.T) {
	ts, v, d, s := native.DateTime64("ts"), native.NullableOf(native.Decimal32("v", 2)), native.LowCardinality("d"), native.String("s")
	block := native.NewBlock(ts, v, d, s)
	name, text := []byte("device-1"), []byte("text")
	fill := func() {
		block.Reset()
		id := d.ID(name)
		for i := range 1000 {
			ts.Append(int64(i))
			v.Append(int32(i))
			s.Append(text)
		}
		d.FillID(id, 1000)
		if _, err := block.Segments(); err != nil {
			t.Fatal(err)
		}
	}
	fill()
	// One allocation: the new block's dictionary keeps its key's string.
	if n := testing.AllocsPerRun(20, fill); n > 1 {
		t.Fatalf("%v allocations a block", n)
	}
}

func BenchmarkAppend(b *testing.B) {
	ts, no, d := native.DateTime64("ts"), native.UInt32("no"), native.LowCardinality("d")
	block := native.NewBlock(ts, no, d)
	var gauges []*native.Nullable[int32]
	for i := range 20 {
		g := native.NullableOf(native.Decimal32(fmt.Sprint("m", i), 2))
		gauges = append(gauges, g)
		block.Add(g)
	}
	steps := make([]int32, 5)
	name := []byte("device-1")
	var size int64
	b.ReportAllocs()
	for b.Loop() {
		block.Reset()
		for m := range 1000 {
			id := d.ID(name)
			d.FillID(id, 5)
			no.Fill(uint32(m), 5)
			for s := range int64(5) {
				ts.Append(s)
			}
			for _, g := range gauges {
				g.AppendSlice(steps)
			}
		}
		parts, err := block.Segments()
		if err != nil || block.Rows() != 5000 {
			b.Fatal(err)
		}
		size = 0
		for _, p := range parts {
			size += int64(len(p))
		}
	}
	b.SetBytes(size)
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/100_000, "ns/sample")
}
