package clickhouse

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
	"github.com/google/uuid"
)

func open(t testing.TB, db string, method clickhouse.CompressionMethod, auth clickhouse.Auth) driver.Conn {
	t.Helper()
	auth.Database = db
	c, err := clickhouse.Open(&clickhouse.Options{
		Protocol: clickhouse.HTTP, Addr: []string{store.Addr()}, Auth: auth,
		Compression: &clickhouse.Compression{Method: method},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

var serviceAuth = clickhouse.Auth{Username: "muster", Password: testSecret}

func TestClickhouseGoWorksUnmodified(t *testing.T) {
	db := newDatabase(t)
	for name, method := range map[string]clickhouse.CompressionMethod{"none": clickhouse.CompressionNone, "lz4": clickhouse.CompressionLZ4, "zstd": clickhouse.CompressionZSTD, "gzip": clickhouse.CompressionGZIP} {
		t.Run(name, func(t *testing.T) {
			ctx := t.Context()
			c := open(t, db, method, serviceAuth)
			if err := c.Ping(ctx); err != nil {
				t.Fatal(err)
			}
			if err := c.Exec(ctx, `CREATE TABLE all_`+name+` (
				no UInt32, ts DateTime64(3, 'UTC'), f Float64, d Decimal(9, 2), b Bool, e Enum8('a' = 1, 'b' = 2), s String,
				lc LowCardinality(String), n Nullable(Int64), lcn LowCardinality(Nullable(String)), a Array(UInt16), m Map(String, UInt8), u UUID, day Date)
				ENGINE = MergeTree ORDER BY no`); err != nil {
				t.Fatal(err)
			}
			b, err := c.PrepareBatch(ctx, "INSERT INTO all_"+name)
			if err != nil {
				t.Fatal(err)
			}
			at := time.Date(2026, 11, 22, 15, 0, 0, 123e6, time.UTC)
			seven, word, id := int64(7), "w", uuid.New()
			for i := range 3000 {
				n, w := &seven, &word
				if i%2 == 0 {
					n, w = nil, nil
				}
				if err := b.Append(uint32(i), at, 1.5, "12.25", i%3 == 0, "b", "s'\n\\\x00", "low", n, w, []uint16{1, 2}, map[string]uint8{"k": 1}, id, at); err != nil {
					t.Fatal(err)
				}
			}
			if err := b.Send(); err != nil {
				t.Fatal(err)
			}
			rows, err := c.Query(clickhouse.Context(ctx, clickhouse.WithParameters(clickhouse.Parameters{"from": "2998"})),
				"SELECT no, ts, f, toString(d), b, e, s, lc, n, lcn, a, m, u FROM all_"+name+" WHERE no >= {from:UInt32} ORDER BY no")
			if err != nil {
				t.Fatal(err)
			}
			defer rows.Close()
			count := 0
			for rows.Next() {
				var (
					no    uint32
					ts    time.Time
					f     float64
					d, e  string
					s, lc string
					flag  bool
					n     *int64
					lcn   *string
					a     []uint16
					m     map[string]uint8
					u     uuid.UUID
				)
				if err := rows.Scan(&no, &ts, &f, &d, &flag, &e, &s, &lc, &n, &lcn, &a, &m, &u); err != nil {
					t.Fatal(err)
				}
				if !ts.Equal(at) || f != 1.5 || d != "12.25" || e != "b" || s != "s'\n\\\x00" || lc != "low" || len(a) != 2 || m["k"] != 1 || u != id {
					t.Errorf("row %d: %v %v %v %v %q %v %v %v %v", no, ts, f, d, e, s, lc, a, m, u)
				}
				if (n == nil) != (no%2 == 0) || (lcn == nil) != (no%2 == 0) {
					t.Errorf("row %d: nulls %v %v", no, n, lcn)
				}
				count++
			}
			if err := rows.Err(); err != nil || count != 2 {
				t.Fatalf("%d rows, %v", count, err)
			}
			var none uint8
			if err := c.QueryRow(ctx, "SELECT 1::UInt8 WHERE 0").Scan(&none); err == nil {
				t.Error("no row, and no error")
			}
			var ex *clickhouse.Exception
			if err := c.Exec(ctx, "SELECT * FROM nowhere"); !errors.As(err, &ex) || ex.Code != 60 {
				t.Errorf("error: %v", err)
			}
			if _, err := c.Query(ctx, "SELECT throwIf(number = 2) FROM numbers(3)"); !errors.As(err, &ex) || ex.Code != 395 {
				t.Errorf("error: %v", err)
			}
		})
	}
}

func TestClickhouseGoStreamsALargeResult(t *testing.T) {
	db := newDatabase(t)
	c := open(t, db, clickhouse.CompressionLZ4, serviceAuth)
	rows, err := c.Query(t.Context(), "SELECT number, toString(number) FROM numbers(500000)")
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	n := uint64(0)
	for rows.Next() {
		var i uint64
		var s string
		if err := rows.Scan(&i, &s); err != nil || i != n {
			t.Fatal(i, n, err)
		}
		n++
	}
	if n != 500000 || rows.Err() != nil {
		t.Fatal(n, rows.Err())
	}
}

func TestAnExpiredContextStopsTheQuery(t *testing.T) {
	db := newDatabase(t)
	c := open(t, db, clickhouse.CompressionNone, serviceAuth)
	if err := c.Ping(t.Context()); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	if err := c.Exec(ctx, "SELECT count() FROM numbers(1000000000000) WHERE NOT ignore(sipHash64(number))"); err == nil {
		t.Fatal("it ended")
	}
	eventually(t, func() bool {
		return len(store.queries.all()) == 0 && must(t, "SELECT count() FROM system.processes WHERE query LIKE '%sipHash64(number)%' AND query NOT LIKE '%processes%'") == "0"
	})
}

// aWhile is what anything may take of which nobody has said how long it takes.
const aWhile = 2 * time.Minute

func eventually(t testing.TB, cond func() bool) {
	t.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	timeout := time.After(aWhile)
	for !cond() {
		select {
		case <-tick.C:
		case <-timeout:
			t.Fatalf("the condition did not come true in %v", aWhile)
		}
	}
}
