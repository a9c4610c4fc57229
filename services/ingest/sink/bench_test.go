package sink

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"muster.dev/platform/daemon"
	"muster.dev/platform/warehouse"
	"muster.dev/proto/batch"
	"muster.dev/proto/event"
	"muster.dev/proto/record"
	"muster.dev/services/ingest/sink/rows"
)

const (
	benchMetrics = 20
	benchSteps   = 5
	benchRecords = 100_000
	envFloor     = "MUSTER_TEST_FLOOR" // how many records the floor reads
)

// What the sink's own process takes for a million samples, beside the floor: fetch, decode, and one prebuilt block
// sent as often as its rows make up the same number. Each is a process, so that the log's and the engine's CPU, which
// are in this one, do not count.
func BenchmarkSink(b *testing.B) {
	for range b.N {
		w := newWorld(b)
		samples := w.fillForBench(benchRecords)
		w.cfg.Linger = 500 * time.Millisecond
		cpu, took := w.timed(b, "", func() bool { return w.count("SELECT count() FROM DB.ledger") >= benchRecords })
		if n := w.count("SELECT count() FROM DB.w_bench"); n != benchRecords*benchSteps {
			b.Fatalf("%d rows, want %d", n, benchRecords*benchSteps)
		}
		floor, floorTook := w.timed(b, strconv.Itoa(benchRecords), nil)
		idle, _ := w.timed(b, "0", nil)
		million := float64(samples) / 1e6
		b.ReportMetric((cpu-idle)/million, "CPU-s/M")
		b.ReportMetric((floor-idle)/million, "floor-CPU-s/M")
		b.ReportMetric((cpu-idle)/(floor-idle), "ratio")
		b.ReportMetric(million/took, "M-samples/s")
		b.ReportMetric(million/floorTook, "floor-M-samples/s")
		b.ReportMetric(0, "ns/op")
	}
}

// fillForBench sends records of 100 samples of a profile and says how many samples that is.
func (w *world) fillForBench(n int) int {
	w.t.Helper()
	p := warehouse.Profile{Name: "bench"}
	bodies := []event.Body{event.ProfileDefined{Profile: 1, Name: p.Name}}
	for i := range benchMetrics {
		m := warehouse.Metric{Name: "m" + strconv.Itoa(i), Kind: batch.Int, Scale: 1}
		p.Metrics = append(p.Metrics, m)
		bodies = append(bodies, event.MetricAdded{Profile: 1, Metric: m.Name, Kind: m.Kind, Scale: m.Scale})
	}
	if err := w.house.EnsureProfile(w.t.Context(), p); err != nil {
		w.t.Fatal(err)
	}
	w.say(bodies...)
	now := time.Now().UnixMilli()
	b := batch.NewBuilder()
	for i := range n {
		no := uint32(1 + i%1000)
		b.Reset()
		b.SetKey(1, uint64(i/1000))
		b.SetFirmware("1.2.3")
		for step := range int64(benchSteps) {
			for m := range p.Metrics {
				b.SetScaled(now-int64(i)*50-step*10, p.Metrics[m].Name, 200+(int64(i)*7+step*int64(m))%50, 1)
			}
		}
		value, err := b.AppendTo(nil)
		if err != nil {
			w.t.Fatal(err)
		}
		w.cl.Produce(context.Background(), w.record(message{device: record.Device{No: no, Profile: 1}, value: value, at: time.Now()}, record.TopicTelemetry), nil)
	}
	if err := w.cl.Flush(w.t.Context()); err != nil {
		w.t.Fatal(err)
	}
	return n * benchSteps * benchMetrics
}

// timed runs a child until done says so, or to its own end, and gives the CPU seconds and the seconds that it took.
func (w *world) timed(b *testing.B, floor string, done func() bool) (cpu, took float64) {
	b.Helper()
	began := time.Now()
	var cmd *exec.Cmd
	if floor == "" {
		p := w.spawn(w.cfg)
		w.until("all is stored", 5*time.Minute, func() (bool, string) { return done(), p.out.String() })
		took = time.Since(began).Seconds()
		if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
			b.Fatal(err)
		}
		<-p.done
		cmd = p.cmd
	} else {
		path := b.TempDir() + "/sink.yaml"
		file, err := os.Create(path)
		if err != nil {
			b.Fatal(err)
		}
		if err := daemon.Dump(file, &w.cfg); err != nil {
			b.Fatal(err)
		}
		_ = file.Close()
		cmd = exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), envChild+"="+path, envFloor+"="+floor)
		cmd.Stderr = os.Stderr
		if err := cmd.Run(); err != nil {
			b.Fatal(err)
		}
		took = time.Since(began).Seconds()
	}
	return (cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()).Seconds(), took
}

// floorMain is the floor's process.
func floorMain(cfg Config, n int) error {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	cl, err := kgo.NewClient(append(cfg.Log.Options(), kgo.ConsumeTopics(record.TopicTelemetry), kgo.FetchMaxBytes(fetchBytes), kgo.FetchMaxPartitionBytes(partitionBytes))...)
	if err != nil {
		return err
	}
	defer cl.Close()
	house, err := warehouse.Open(cfg.Warehouse)
	if err != nil {
		return err
	}
	defer house.Close()
	var block rows.Block
	var b batch.Batch
	sheet := rows.NewSheet(benchCatalog{})
	sheet.Begin(rows.Settings{Gen: 60000, Rev: 1})
	sent, values := 0, 0
	send := func() error {
		segments, err := block.Data.Segments()
		if err != nil {
			return err
		}
		sent++
		token := fmt.Sprintf("floor-%d-%d", os.Getpid(), sent)
		return house.Insert(ctx, warehouse.Insert{Table: block.Table, Columns: block.Data.Names(), Token: token, QueryID: token, Body: segments, Rows: block.Rows})
	}
	const perBlock = 4000 // records in the prebuilt block
	for read := 0; read < n; {
		fetches := cl.PollFetches(ctx)
		if err := fetches.Err(); err != nil {
			return err
		}
		for _, r := range fetches.Records() {
			if block.Data == nil {
				var m rows.Message
				m.Read(r, benchCatalog{})
				for range perBlock {
					sheet.Put(&m, rows.Stored)
				}
				block = sheet.Blocks()[0]
			}
			if err := b.Decode(r.Value); err != nil {
				return err
			}
			values += b.Values
			if read++; read%perBlock == 0 {
				if err := send(); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// benchCatalog is the bench's profile without a registry.
type benchCatalog struct{}

func (benchCatalog) Profile(uint16, uint64) (rows.Profile, bool) {
	p := rows.Profile{Name: "bench"}
	for i := range benchMetrics {
		p.Metrics = append(p.Metrics, rows.Metric{Name: "m" + strconv.Itoa(i), Kind: batch.Int, Scale: 1})
	}
	return p, true
}

func (benchCatalog) Schema(uint32) ([]string, bool) { return nil, false }

// How long a record takes from its acceptance until it is to be queried, at a low rate; the contract is 7 s for 99 %.
func BenchmarkLag(b *testing.B) {
	w := newWorld(b)
	w.cfg.Linger = DefaultConfig().Linger
	s := w.start(w.cfg)
	for range 20 {
		w.send(5)
		<-time.After(200 * time.Millisecond)
	}
	w.stored(patience)
	s.stop()
	w.audit()
	families, err := s.reg.Gather()
	if err != nil {
		b.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() != "muster_sink_lag_seconds" {
			continue
		}
		h := f.GetMetric()[0].GetHistogram()
		b.ReportMetric(h.GetSampleSum()/float64(h.GetSampleCount()), "s-average")
		for _, bucket := range h.GetBucket() {
			if float64(bucket.GetCumulativeCount()) >= .99*float64(h.GetSampleCount()) {
				b.ReportMetric(bucket.GetUpperBound(), "s-p99")
				break
			}
		}
	}
}
