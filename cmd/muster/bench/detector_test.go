//go:build linux

package bench

import (
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	engine "muster.dev/embedded/clickhouse"
	"muster.dev/platform/eventlog"
	"muster.dev/proto/batch"
	"muster.dev/proto/event"
	"muster.dev/proto/record"
	"muster.dev/services/anomaly"
	"muster.dev/services/anomaly/page"
)

// detectorSize is how much the detector is given. What is promised is a million devices, each heard once a minute.
type detectorSize struct {
	devices int
	cohorts int
	metrics int // of a device
	before  int // minutes on the log before the detector first starts
	live    int // minutes that it follows
	pace    time.Duration
}

// BenchmarkDetector measures the whole process of the detectors, silence and rollouts alone, over a fleet of
// MUSTER_BENCH_FLEET devices: its first start, on a log that holds all enrolments and five minutes; then a start from the
// snapshots that it took, and MUSTER_BENCH_MINUTES in which it follows. It does so once as the service is configured, and once
// without its memory limit. Event time decides, so the minutes that it follows may go by faster than on a clock.
func BenchmarkDetector(b *testing.B) {
	if _, err := engine.FindLibrary(); err != nil {
		b.Skipf("SKIPPED: needs the engine: %v", err)
	}
	b.ReportMetric(0, "ns/op")
	size := detectorSize{devices: 1_000_000, metrics: 2, before: 5, live: 12, pace: 20 * time.Second}
	if n, err := strconv.Atoi(os.Getenv("MUSTER_BENCH_FLEET")); err == nil && n > 0 {
		size.devices = n
	}
	if n, err := strconv.Atoi(os.Getenv("MUSTER_BENCH_MINUTES")); err == nil {
		size.live = n
	}
	size.cohorts = max(10, size.devices/1_000)
	r := newReport()
	dir := os.Getenv("MUSTER_BENCH_LOG") // a folder in which the log is kept for the next run; none: it is made anew
	if dir == "" {
		dir = b.TempDir()
	}
	until, dir := fleetLog(b, dir, size)
	e := newEngine(b)
	defer e.end()
	for i, memory := range []int64{anomaly.DefaultConfig().Memory, 0} {
		if only := os.Getenv("MUSTER_BENCH_MEMORY"); only == "" || only == strconv.FormatInt(memory, 10) {
			measureDetector(b, r, e.house(fmt.Sprintf("detector%d", i)), size, dir, until, memory)
		}
	}
	r.Took = "took " + time.Since(r.When).Round(time.Second).String()
	r.print(os.Stdout)
	if err := r.write(); err != nil {
		b.Error(err)
	}
}

// crowd writes what a fleet says, as its gateways would, straight into a log.
type crowd struct {
	b    testing.TB
	log  *kgo.Client
	keys [][]byte
	part []int32
	at   int64 // Unix ms of event time

	metrics int
	values  [64][]byte // what devices say in this minute
	rng     *rand.Rand
	builder *batch.Builder
}

func newCrowd(b testing.TB, addr string, size detectorSize, at int64) *crowd {
	b.Helper()
	c := &crowd{b: b, at: at, metrics: size.metrics, rng: rand.New(rand.NewPCG(1, 1)), builder: batch.NewBuilder()}
	for i := range size.devices {
		key := []byte(deviceName(i))
		c.keys, c.part = append(c.keys, key), append(c.part, eventlog.PartitionOf(key, partitions))
	}
	var err error
	c.log, err = kgo.NewClient(append(eventlog.Config{Brokers: []string{addr}}.Options(), kgo.RecordPartitioner(kgo.ManualPartitioner()),
		kgo.MaxBufferedRecords(50_000), kgo.ProducerLinger(20*time.Millisecond), kgo.ProducerBatchCompression(kgo.Lz4Compression()))...)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(c.log.Close)
	return c
}

func (c *crowd) say(rec *kgo.Record) {
	rec.Timestamp = time.UnixMilli(c.at)
	c.log.Produce(c.b.Context(), rec, func(_ *kgo.Record, err error) {
		if err != nil {
			c.b.Error(err)
		}
	})
}

// minute has each device heard once, and a gateway mark each five seconds.
func (c *crowd) minute() {
	c.b.Helper()
	c.measure()
	device := record.Device{Profile: 1}
	for sec := range 60 {
		if sec%5 == 0 {
			value, headers, err := event.Watermark{Gateway: "bench", Time: c.at, Region: "bench"}.Encode()
			if err != nil {
				c.b.Fatal(err)
			}
			for part := range int32(partitions) {
				for _, topic := range []string{record.TopicTelemetry, record.TopicEvents} {
					c.say(&kgo.Record{Topic: topic, Partition: part, Value: value, Headers: inKafka(headers)})
				}
			}
		}
		for i := len(c.keys) * sec / 60; i < len(c.keys)*(sec+1)/60; i++ {
			device.No = uint32(i + 1)
			c.say(&kgo.Record{
				Topic: record.TopicTelemetry, Partition: c.part[i], Key: c.keys[i], Value: c.values[i%len(c.values)],
				Headers: []kgo.RecordHeader{{Key: record.HeaderDevice, Value: device.Append(nil)}},
			})
		}
		c.at += time.Second.Milliseconds()
	}
}

// measure makes what devices say in this minute: a day's wave, and noise.
func (c *crowd) measure() {
	day := math.Sin(float64(c.at) / float64((24 * time.Hour).Milliseconds()) * 2 * math.Pi)
	for i := range c.values {
		c.builder.Reset()
		c.builder.SetKey(1, uint64(c.at/1_000))
		c.builder.SetFirmware("1.4.2")
		for m := range c.metrics {
			c.builder.SetScaled(c.at, fmt.Sprintf("metric_%d", m), 2_000+int64(300*day)+int64(40*c.rng.NormFloat64()), 2)
		}
		value, err := c.builder.AppendTo(nil)
		if err != nil {
			c.b.Fatal(err)
		}
		c.values[i] = value
	}
}

func (c *crowd) flush() {
	c.b.Helper()
	if err := c.log.Flush(c.b.Context()); err != nil {
		c.b.Fatal(err)
	}
}

func inKafka(headers []event.Header) (out []kgo.RecordHeader) {
	for _, h := range headers {
		out = append(out, kgo.RecordHeader{Key: h.Key, Value: h.Value})
	}
	return out
}

// fleetLog fills a broker's folder with a fleet's enrolments and its first minutes, and says where event time stands. What a
// run before has left there is taken as it is.
func fleetLog(b testing.TB, dir string, size detectorSize) (until int64, folder string) {
	b.Helper()
	folder = filepath.Join(dir, fmt.Sprintf("%d-devices-%d-cohorts-%d-metrics-%d-minutes", size.devices, size.cohorts, size.metrics, size.before))
	mark := folder + ".until"
	if text, err := os.ReadFile(mark); err == nil {
		if until, err = strconv.ParseInt(string(text), 10, 64); err == nil {
			return until, folder
		}
	}
	s := newSiteIn(b, folder)
	defer s.end()
	all := make([]event.Body, size.devices)
	for i := range all {
		all[i] = event.DeviceEnrolled{
			Device: deviceName(i), No: uint32(i + 1), Profile: 1, Cohort: fmt.Sprintf("cohort-%04d", i%size.cohorts),
			Region: fmt.Sprintf("region-%d", i%5), Interval: time.Minute.Milliseconds(), Method: "password",
			Attributes: map[string]string{"site": fmt.Sprintf("site-%d", i%200), "model": "m1"},
		}
	}
	s.declare(all...)
	c := newCrowd(b, s.addr, size, time.Now().Truncate(time.Minute).Add(time.Minute).UnixMilli())
	for range size.before {
		c.minute()
	}
	c.flush()
	if err := os.WriteFile(mark, []byte(strconv.FormatInt(c.at, 10)), 0o600); err != nil {
		b.Fatal(err)
	}
	return c.at, folder
}

// measureDetector measures one process after another on a copy of a log.
func measureDetector(b testing.TB, r *report, h *house, size detectorSize, dir string, until, memory int64) {
	under := "no limit"
	if memory > 0 {
		under = fmt.Sprintf("limit %d MiB", memory)
	}
	if os.Getenv("GOMEMLIMIT") != "" {
		b.Fatal("GOMEMLIMIT is set: it would be the detector's, too")
	}
	copied := b.TempDir()
	if err := os.CopyFS(copied, os.DirFS(dir)); err != nil {
		b.Fatal(err)
	}
	log := start(b, "log", order{Dir: copied})
	defer log.end()
	addr := log.line()
	cfg := anomaly.DefaultConfig()
	cfg.Ops.Listen, cfg.Log.Brokers, cfg.Warehouse = freeAddr(b), []string{addr}, h.cfg
	cfg.Memory = memory
	cfg.Detect.Off = []string{"series", "spend", "security"}
	if cfg.Ops.Pprof = os.Getenv(envProfile) != ""; cfg.Ops.Pprof {
		fmt.Fprintln(os.Stderr, "profiles are at http://"+cfg.Ops.Listen+"/debug/pprof/")
	}
	tell := func(what string, p *process, cpu float64, took time.Duration, events float64) {
		r.add(figure{Name: what + ", peak resident, " + under, Unit: "MiB", Value: p.peak()}).atMost(1_024)
		f := r.add(figure{Name: what + ", CPU for a minute of event time, " + under, Unit: "s", Value: cpu / events})
		if f.atMost(60); took > 0 {
			r.add(figure{Name: what + ", until all is read, " + under, Unit: "s", Value: took.Seconds()})
		}
	}

	began := time.Now()
	p := part(b, "anomaly", cfg.Ops.Listen, cfg)
	took := time.Since(began)
	p.kept(cfg.Ops.Listen)
	tell("first start", p, p.cpu(), took, float64(size.before))
	p.end()

	began = time.Now()
	p = part(b, "anomaly", cfg.Ops.Listen, cfg)
	tell("start from snapshots", p, p.cpu(), time.Since(began), 1)
	if size.live == 0 {
		p.end()
		return
	}
	c := newCrowd(b, addr, size, until)
	before := p.cpu()
	for range size.live {
		next := time.After(size.pace)
		c.minute()
		c.flush()
		<-next
	}
	p.level(cfg.Ops.Listen)
	tell("following", p, p.cpu()-before, 0, float64(size.live))
	p.end()
	judged(b, addr, size, c.at)
}

// kept waits until each shard and the judge have taken a snapshot, and level until all is read.
func (p *process) kept(ops string) {
	p.b.Helper()
	p.says(ops, `muster_anomaly_snapshots_total{outcome="taken",stage="shard"}`, func(n float64) bool { return n >= partitions })
	p.says(ops, `muster_anomaly_snapshots_total{outcome="taken",stage="judge"}`, func(n float64) bool { return n >= 1 })
}

func (p *process) level(ops string) {
	p.b.Helper()
	p.says(ops, "muster_anomaly_behind_records", func(n float64) bool { return n == 0 })
}

// says waits until a metric is as wanted.
func (p *process) says(ops, metric string, wanted func(float64) bool) {
	p.b.Helper()
	eventually(p.b, patience, func() (bool, string) {
		resp, err := http.Get("http://" + ops + "/metrics")
		if err != nil {
			return false, err.Error()
		}
		defer resp.Body.Close()
		text, _ := io.ReadAll(resp.Body)
		for line := range strings.Lines(string(text)) {
			if rest, ok := strings.CutPrefix(line, metric+" "); ok {
				n, _ := strconv.ParseFloat(strings.TrimSpace(rest), 64)
				return wanted(n), metric + " is " + rest
			}
		}
		return false, "there is no " + metric
	})
	http.DefaultClient.CloseIdleConnections()
}

// judged checks that what was measured is the work: the newest looks expect the whole fleet, and miss none of it.
func judged(b testing.TB, addr string, size detectorSize, until int64) {
	b.Helper()
	from := map[int32]kgo.Offset{}
	for part := range int32(partitions) {
		from[part] = kgo.NewOffset().AtStart()
	}
	client, err := kgo.NewClient(append(eventlog.Config{Brokers: []string{addr}}.Options(), kgo.FetchIsolationLevel(kgo.ReadCommitted()),
		kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{record.TopicCohorts: from}))...)
	if err != nil {
		b.Fatal(err)
	}
	defer client.Close()
	last := until - 2*time.Minute.Milliseconds() // an instant that all shards have judged
	expected, missing, done := 0, 0, 0
	for done < partitions {
		fetches := client.PollFetches(b.Context())
		if err := fetches.Err(); err != nil {
			b.Fatal(err)
		}
		fetches.EachRecord(func(rec *kgo.Record) {
			var headers []event.Header
			for _, h := range rec.Headers {
				headers = append(headers, event.Header{Key: h.Key, Value: h.Value})
			}
			p, err := page.Decode(headers, rec.Value)
			if err != nil {
				b.Fatal(err)
			}
			for _, slot := range p.Slots {
				missing += int(slot.Missing)
				if p.Until == last && slot.At == last {
					expected += int(slot.Expected)
				}
			}
			if p.Until == last {
				done++
			}
		})
	}
	if expected < size.devices*99/100 || missing > 0 {
		b.Errorf("%d of %d devices are expected, %d are missing: the fleet is well", expected, size.devices, missing)
	}
}
