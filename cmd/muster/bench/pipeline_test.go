//go:build linux

package bench

import (
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	engine "muster.dev/embedded/clickhouse"
)

// scale is how much is done; what is measured does not depend on it but for noise.
type scale struct {
	rounds      int
	connections int
	drive       time.Duration // a measurement of the gateway
	plant       int           // messages that the sink drains
	fleet       time.Duration
	devices     int // simulated
	lag         time.Duration
}

var full = scale{rounds: 3, connections: 512, drive: 2500 * time.Millisecond, plant: 240_000, fleet: 4 * time.Hour, devices: 60, lag: 15 * time.Second}

// BenchmarkPipeline measures everything once, whatever b.N, and prints one table. MUSTER_BENCH_ONLY names the sections to
// run, with commas: codec, gateway, sink, stored, lag; MUSTER_BENCH_ROUNDS how often each measurement is made.
func BenchmarkPipeline(b *testing.B) {
	if _, err := engine.FindLibrary(); err != nil {
		b.Skipf("SKIPPED: needs the engine: %v", err)
	}
	b.ReportMetric(0, "ns/op")
	r := newReport()
	s := full
	if n, err := strconv.Atoi(os.Getenv("MUSTER_BENCH_ROUNDS")); err == nil && n > 0 {
		s.rounds = n
	}
	measure(b, r, s)
	r.Took = "took " + time.Since(r.When).Round(time.Second).String()
	r.print(os.Stdout)
	if err := r.write(); err != nil {
		b.Error(err)
	}
}

func measure(b testing.TB, r *report, s scale) {
	only := os.Getenv("MUSTER_BENCH_ONLY")
	wanted := func(section string) bool {
		return only == "" || strings.Contains(","+only+",", ","+section+",")
	}
	if wanted("codec") {
		measureCodec(b, r)
	}
	if wanted("gateway") {
		measureGateway(b, r, s)
	}
	if !wanted("sink") && !wanted("stored") && !wanted("lag") {
		return
	}
	e := newEngine(b)
	defer e.end()
	if wanted("sink") {
		measureSink(b, r, s, e)
	}
	if wanted("stored") {
		measureStored(b, r, s, e)
	}
	if wanted("lag") {
		measureLag(b, r, s, e)
	}
}

// The whole benchmark in small: that it runs is what is tested, not what it finds.
func TestTheBenchmarkRuns(t *testing.T) {
	if testing.Short() {
		t.Skip("SKIPPED: starts processes")
	}
	r := newReport()
	measureGateway(t, r, scale{rounds: 1, connections: 8, drive: 100 * time.Millisecond})
	if len(r.Figures) == 0 {
		t.Error("no figures")
	}
	for _, f := range r.Figures {
		if f.Value < 0 {
			t.Errorf("%s is %v", f.Name, f.Value)
		}
	}
}
