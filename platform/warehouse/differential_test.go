package warehouse_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"

	"muster.dev/platform/warehouse/native"
	"muster.dev/platform/warehouse/warehousetest"
)

// everyType adds a random row to a block of every type that package native
// has, and to a batch of clickhouse-go.
type everyType struct {
	*native.Block
	row  *native.Fixed[uint64]
	u8   *native.Fixed[uint8]
	u16  *native.Fixed[uint16]
	i8   *native.Fixed[int8]
	i64  *native.Nullable[int64]
	f64  *native.Nullable[float64]
	dec  *native.Nullable[int32]
	yes  *native.Nullable[bool]
	at   *native.Fixed[int64]
	enum *native.Fixed[int8]
	text *native.Text
	note *native.NullableText
	few  *native.Dictionary
	rare *native.Dictionary
}

const everyTypeSQL = `row UInt64, u8 UInt8, u16 UInt16, i8 Int8, i64 Nullable(Int64), f64 Nullable(Float64), dec Nullable(Decimal(9, 4)), yes Nullable(Bool),
at DateTime64(3, 'UTC'), enum ` + warehousetest.ClassType + `, text String, note Nullable(String), few LowCardinality(String), rare LowCardinality(Nullable(String))`

func newEveryType() *everyType {
	b := &everyType{
		row: native.UInt64("row"), u8: native.UInt8("u8"), u16: native.UInt16("u16"), i8: native.Int8("i8"),
		i64: native.NullableOf(native.Int64("i64")), f64: native.NullableOf(native.Float64("f64")),
		dec: native.NullableOf(native.Decimal32("dec", 4)), yes: native.NullableOf(native.Bool("yes")),
		at: native.DateTime64("at"), enum: native.Enum8("enum", warehousetest.ClassType), text: native.String("text"), note: native.NullableString("note"),
		few: native.LowCardinality("few"), rare: native.LowCardinalityNullable("rare"),
	}
	b.Block = native.NewBlock(b.row, b.u8, b.u16, b.i8, b.i64, b.f64, b.dec, b.yes, b.at, b.enum, b.text, b.note, b.few, b.rare)
	return b
}

// add adds a row to the block and gives it as ClickHouse shows it.
func (b *everyType) add(r *rand.Rand, row int) string {
	var s []string
	say := func(format string, args ...any) { s = append(s, fmt.Sprintf(format, args...)) }
	b.row.Append(uint64(row))
	say("%d", row)
	u8, u16, i8 := uint8(r.Uint32()), uint16(r.Uint32()), int8(r.Uint32())
	b.u8.Append(u8)
	b.u16.Append(u16)
	b.i8.Append(i8)
	say("%d", u8)
	say("%d", u16)
	say("%d", i8)
	null := func(add func()) bool {
		if r.IntN(4) > 0 {
			return false
		}
		add()
		say("NULL")
		return true
	}
	if !null(b.i64.AppendNull) {
		v := int64(r.Uint64())
		b.i64.Append(v)
		say("%d", v)
	}
	if !null(b.f64.AppendNull) {
		v := r.NormFloat64() * math.Pow10(r.IntN(30)-15)
		b.f64.Append(v)
		say("%d", math.Float64bits(v)) // the bits: no two writers round alike
	}
	if !null(b.dec.AppendNull) {
		v := r.Int32N(999_999_999)
		b.dec.Append(v)
		say("%d", v)
	}
	if !null(b.yes.AppendNull) {
		v := r.IntN(2) == 0
		b.yes.Append(v)
		say("%t", v)
	}
	ms := r.Int64N(4_000_000_000_000)
	b.at.Append(ms)
	say("%d", ms)
	class := r.IntN(4)
	b.enum.Append(int8(class))
	say("%d", class)
	bytes := make([]byte, r.IntN(60))
	for i := range bytes {
		bytes[i] = byte(r.Uint32())
	}
	b.text.Append(bytes)
	say("%X", bytes)
	if !null(b.note.AppendNull) {
		b.note.Append(bytes)
		say("%X", bytes)
	}
	word := strings.Repeat("w", r.IntN(3)) + fmt.Sprint(r.IntN(700))
	if r.IntN(10) == 0 {
		word = ""
	}
	b.few.AppendString(word)
	say("%X", word)
	if !null(b.rare.AppendNull) {
		b.rare.AppendString(word)
		say("%X", word)
	}
	return strings.Join(s, " ")
}

const everyTypeShown = `SELECT arrayStringConcat([toString(row), toString(u8), toString(u16), toString(i8), ifNull(toString(i64), 'NULL'),
ifNull(toString(reinterpretAsUInt64(f64)), 'NULL'), ifNull(toString(reinterpretAsInt32(dec)), 'NULL'), ifNull(toString(yes), 'NULL'), toString(toUnixTimestamp64Milli(at)),
toString(toInt8(enum)), hex(text), ifNull(hex(note), 'NULL'), hex(few), ifNull(hex(rare), 'NULL')], ' ') FROM %s ORDER BY row`

func TestTheEngineReadsEveryColumnTypeAsItWasWritten(t *testing.T) {
	w := warehousetest.Start(t)
	db := w.Database()
	for _, table := range []string{"ours", "theirs"} {
		if err := w.Conn().Exec(t.Context(), "CREATE TABLE "+db+"."+table+" ("+everyTypeSQL+") ENGINE = MergeTree ORDER BY row"); err != nil {
			t.Fatal(err)
		}
	}
	r := rand.New(rand.NewPCG(uint64(time.Now().UnixNano()), 0))
	b := newEveryType()
	var want []string
	for part, rows := range []int{1, 300, 5000} {
		b.Reset()
		for range rows {
			want = append(want, b.add(r, len(want)))
		}
		insert(t, w, "ours", b.Block, fmt.Sprint("ours-", part))
	}
	got := column(t, w, fmt.Sprintf(everyTypeShown, db+".ours"))
	if len(got) != len(want) {
		t.Fatalf("%d rows, want %d", len(got), len(want))
	}
	for i := range want {
		if got[i] != want[i] {
			t.Fatalf("row %d is\n%s\nwant\n%s", i, got[i], want[i])
		}
	}

	// The other way: clickhouse-go reads our rows and writes them itself, and
	// the engine finds no difference.
	rows, err := w.Conn().Query(t.Context(), "SELECT * FROM "+db+".ours")
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	ctx := clickhouse.Context(t.Context(), clickhouse.WithSettings(clickhouse.Settings{"async_insert": 0}))
	batch, err := w.Conn().PrepareBatch(ctx, "INSERT INTO "+db+".theirs")
	if err != nil {
		t.Fatal(err)
	}
	types := rows.ColumnTypes()
	for rows.Next() {
		values := make([]any, len(types))
		for i, c := range types {
			values[i] = newValue(c.ScanType())
		}
		if err := rows.Scan(values...); err != nil {
			t.Fatal(err)
		}
		for i := range values {
			values[i] = elem(values[i])
		}
		if err := batch.Append(values...); err != nil {
			t.Fatal(err)
		}
	}
	if err := batch.Send(); err != nil {
		t.Fatal(err)
	}
	if n := scalar[uint64](t, w, "SELECT count() FROM (SELECT * FROM "+db+".ours EXCEPT SELECT * FROM "+db+".theirs)"); n != 0 {
		t.Fatalf("%d of our rows are not what clickhouse-go writes", n)
	}
	if n := scalar[uint64](t, w, "SELECT count() FROM "+db+".theirs"); int(n) != len(want) {
		t.Fatalf("%d rows, want %d", n, len(want))
	}
}
