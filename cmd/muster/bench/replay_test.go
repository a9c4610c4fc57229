//go:build linux

package bench

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	engine "muster.dev/embedded/clickhouse"
	"muster.dev/platform/eventlog"
	"muster.dev/proto/record"
	"muster.dev/services/anomaly"
	"muster.dev/services/anomaly/judge"
	"muster.dev/services/anomaly/replay"
)

// BenchmarkReplay folds a whole day of 10,000 devices once more, as `muster incident replay` does from the beginning of a log:
// from a broker of its own process, each device heard once a minute, in 1,000 cohorts, with all detectors. It does so with one
// metric of a device and with ten. Then the detector itself has followed that day, and what is folded again is held against the
// pages that it wrote, as `muster incident replay` does. MUSTER_BENCH_METRICS is another number of metrics,
// MUSTER_BENCH_HOURS another day.
func BenchmarkReplay(b *testing.B) {
	b.ReportMetric(0, "ns/op")
	r := newReport()
	hours := 24
	if n, err := strconv.Atoi(os.Getenv("MUSTER_BENCH_HOURS")); err == nil && n > 0 {
		hours = n
	}
	all := []int{1, 10}
	if n, err := strconv.Atoi(os.Getenv("MUSTER_BENCH_METRICS")); err == nil && n > 0 {
		all = []int{n}
	}
	for _, metrics := range all {
		measureReplay(b, r, detectorSize{devices: 10_000, cohorts: 1_000, metrics: metrics, before: hours * 60})
	}
	r.Took = "took " + time.Since(r.When).Round(time.Second).String()
	r.print(os.Stdout)
	if err := r.write(); err != nil {
		b.Error(err)
	}
}

func measureReplay(b testing.TB, r *report, size detectorSize) {
	dir := b.TempDir()
	if kept := os.Getenv("MUSTER_BENCH_LOG"); kept != "" {
		dir = kept
	}
	_, dir = fleetLog(b, dir, size)
	name := fmt.Sprintf("%d devices, %d metrics, %d h: ", size.devices, size.metrics, size.before/60)
	log := start(b, "log", order{Dir: dir})
	again(b, r, name+"replay", log, log.line(), size, replay.Start{})
	log.end()

	if _, err := engine.FindLibrary(); err != nil {
		b.Logf("not measured, replay against what was written: it needs the engine: %v", err)
		return
	}
	copied := b.TempDir()
	if err := os.CopyFS(copied, os.DirFS(dir)); err != nil {
		b.Fatal(err)
	}
	log = start(b, "log", order{Dir: copied})
	defer log.end()
	addr := log.line()
	e := newEngine(b)
	defer e.end()
	cfg := anomaly.DefaultConfig()
	cfg.Ops.Listen, cfg.Log.Brokers, cfg.Warehouse = freeAddr(b), []string{addr}, e.house("replay").cfg
	p := part(b, "anomaly", cfg.Ops.Listen, cfg)
	p.level(cfg.Ops.Listen)
	p.end()
	again(b, r, name+"replay against what was written", log, addr, size, replay.Start{Pages: true})
}

// again folds a log from its beginning.
func again(b testing.TB, r *report, name string, log *process, addr string, size detectorSize, from replay.Start) {
	began, cpu, broker := time.Now(), own(), log.cpu()
	read := &counted{Log: replay.NewBroker(eventlog.Config{Brokers: []string{addr}})}
	err := replay.Run(b.Context(), read, nil, replay.DefaultSettings(partitions), from, func(judge.Out) error { return nil })
	if err != nil {
		b.Fatal(err)
	}
	if want := int64(size.devices) * int64(size.before); read.devices.Load() != want {
		b.Errorf("%d records of devices were read, want %d", read.devices.Load(), want)
	}
	if want := int64(size.before-2) * partitions; from.Pages && read.pages.Load() < want {
		b.Errorf("%d pages were read, want %d at least", read.pages.Load(), want)
	}
	took, spent := time.Since(began).Seconds(), own()-cpu
	f := r.add(figure{Name: name + ", as long as it took", Unit: "s", Value: took})
	f.atMost(60)
	f = r.add(figure{Name: name + " on two cores: half of its CPU and the log's", Unit: "s", Value: (spent + log.cpu() - broker) / 2})
	f.atMost(60)
	r.add(figure{Name: name + ", its own CPU", Unit: "s", Value: spent})
	r.add(figure{Name: name + ", peak resident of all so far", Unit: "MiB", Value: ownPeak()})
}

// counted is a log that counts what devices said, and the pages.
type counted struct {
	replay.Log
	devices, pages atomic.Int64
}

func (c *counted) Read(ctx context.Context, topic string, part int32, from int64, each func(*replay.Record) error) error {
	n, pages := int64(0), int64(0)
	defer func() { c.devices.Add(n); c.pages.Add(pages) }()
	return c.Log.Read(ctx, topic, part, from, func(r *replay.Record) error {
		if topic == record.TopicTelemetry && r.Key != nil {
			n++
		} else if topic == record.TopicCohorts {
			pages++
		}
		return each(r)
	})
}

// own is this process's CPU so far, in seconds.
func own() float64 {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u) // it cannot fail
	return time.Duration(u.Utime.Nano() + u.Stime.Nano()).Seconds()
}
