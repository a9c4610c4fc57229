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

	"muster.dev/platform/eventlog"
	"muster.dev/proto/record"
	"muster.dev/services/anomaly/judge"
	"muster.dev/services/anomaly/replay"
)

// BenchmarkReplay folds a whole day of 10,000 devices once more, as `muster incident replay` does from the beginning of a log:
// from a broker of its own process, each device heard once a minute, in 1,000 cohorts, with all detectors. It does so with one
// metric of a device and with ten. MUSTER_BENCH_METRICS is another number of them, and MUSTER_BENCH_HOURS another day.
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
		measureReplay(b, r, 10_000, metrics, hours)
	}
	r.Took = "took " + time.Since(r.When).Round(time.Second).String()
	r.print(os.Stdout)
	if err := r.write(); err != nil {
		b.Error(err)
	}
}

func measureReplay(b testing.TB, r *report, devices, metrics, hours int) {
	dir := b.TempDir()
	if kept := os.Getenv("MUSTER_BENCH_LOG"); kept != "" {
		dir = kept
	}
	size := detectorSize{devices: devices, cohorts: 1_000, metrics: metrics, before: hours * 60}
	_, dir = fleetLog(b, dir, size)
	log := start(b, "log", order{Dir: dir})
	defer log.end()
	began, from, broker := time.Now(), own(), log.cpu()
	read := &counted{Log: replay.NewBroker(eventlog.Config{Brokers: []string{log.line()}})}
	err := replay.Run(b.Context(), read, nil, replay.DefaultSettings(partitions), replay.Start{}, func(judge.Out) error { return nil })
	if err != nil {
		b.Fatal(err)
	}
	if want := int64(devices) * int64(hours) * 60; read.devices.Load() != want {
		b.Errorf("%d records of devices were read, want %d", read.devices.Load(), want)
	}
	took, spent := time.Since(began).Seconds(), own()-from
	name := fmt.Sprintf("%d devices, %d metrics, %d h: ", devices, metrics, hours)
	f := r.add(figure{Name: name + "replay, as long as it took", Unit: "s", Value: took})
	f.atMost(60)
	f = r.add(figure{Name: name + "replay on two cores: half of its CPU and the log's", Unit: "s", Value: (spent + log.cpu() - broker) / 2})
	f.atMost(60)
	r.add(figure{Name: name + "its own CPU", Unit: "s", Value: spent})
	r.add(figure{Name: name + "peak resident", Unit: "MiB", Value: ownPeak()})
}

// counted is a log that counts what devices said.
type counted struct {
	replay.Log
	devices atomic.Int64
}

func (c *counted) Read(ctx context.Context, topic string, part int32, from int64, each func(*replay.Record) error) error {
	n := int64(0)
	defer func() { c.devices.Add(n) }()
	return c.Log.Read(ctx, topic, part, from, func(r *replay.Record) error {
		if topic == record.TopicTelemetry && r.Key != nil {
			n++
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
