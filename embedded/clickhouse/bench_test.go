package clickhouse

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"syscall"
	"testing"
	"time"
)

// cpu is the process's time on processors, in user and system: the engine runs in this process.
func cpu() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkInsertNative posts prebuilt Native blocks with a deduplication token, the sink's way.
func BenchmarkInsertNative(b *testing.B) {
	for _, rows := range []int{20_000, 100_000, 500_000} {
		b.Run(fmt.Sprint(rows), func(b *testing.B) {
			db := newDatabase(b)
			must(b, "CREATE TABLE "+db+".w (no UInt32, ts DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1)), temp Nullable(Decimal(9, 2)) CODEC(ZSTD(1)), volt Nullable(Decimal(9, 3)) CODEC(ZSTD(1)), up Nullable(Int64) CODEC(ZSTD(1)), off UInt64 CODEC(Delta, ZSTD(1))) "+
				"ENGINE = MergeTree PARTITION BY toYYYYMMDD(ts) ORDER BY (no, ts) SETTINGS non_replicated_deduplication_window = 100000")
			body := native(b, fmt.Sprintf("SELECT intDiv(number, 100)::UInt32 AS no, toDateTime64('2026-01-01', 3, 'UTC') + number AS ts, toDecimal32(20 + sin(number), 2)::Nullable(Decimal(9, 2)) AS temp, "+
				"toDecimal32(3.3, 3)::Nullable(Decimal(9, 3)) AS volt, number::Nullable(Int64) AS up, number AS off FROM (SELECT modulo(number, 80000) AS number FROM numbers(%d))", rows))
			v := url.Values{"query": {"INSERT INTO " + db + ".w (no, ts, temp, volt, up, off) FORMAT Native"}}
			b.SetBytes(int64(len(body)))
			b.ReportAllocs()
			b.ResetTimer()
			from := cpu()
			n := 0
			for b.Loop() {
				n++
				v.Set("insert_deduplication_token", fmt.Sprint(db, n))
				req, _ := http.NewRequestWithContext(b.Context(), http.MethodPost, "http://"+store.Addr()+"/?"+v.Encode(), strings.NewReader(body))
				req.SetBasicAuth("muster", testSecret)
				if r := send(b, req); r.status != http.StatusOK {
					b.Fatal(r.body)
				}
			}
			b.StopTimer()
			total := float64(n) * float64(rows)
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/total, "ns/row")
			b.ReportMetric(float64(cpu()-from)/total, "cpu-ns/row")
			if got := must(b, "SELECT count() FROM "+db+".w"); got != fmt.Sprint(n*rows) {
				b.Fatalf("%s rows stored of %d", got, n*rows)
			}
		})
	}
}

// BenchmarkQuery is the cost of a request: a connection, its settings and a trivial query.
func BenchmarkQuery(b *testing.B) {
	newDatabase(b)
	for name, service := range map[string]bool{"service": true, "analyst": false} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				if r := post(b, service, "SELECT 1", ""); r.body != "1\n" {
					b.Fatal(r.body)
				}
			}
		})
	}
}
