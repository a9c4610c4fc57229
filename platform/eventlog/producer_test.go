package eventlog

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"muster.dev/platform/daemon"
)

const topic = "t"

func TestAPublishedRecordIsInTheLogAsItWasGiven(t *testing.T) {
	cfg := log(t, 4, topic)
	p, reg := producer(t, cfg, nil)
	at := time.Date(2014, 7, 1, 12, 0, 0, 123_456_789, time.UTC)
	rec := &kgo.Record{Topic: topic, Key: []byte("pump-1"), Value: []byte("value"), Timestamp: at, Headers: []kgo.RecordHeader{{Key: "device", Value: []byte{1}}}}
	if err := p.Publish(within(t, aWhile), rec); err != nil {
		t.Fatal(err)
	}
	got := read(t, cfg, topic)
	if len(got) != 1 {
		t.Fatalf("%d records", len(got))
	}
	r := got[0]
	if string(r.Value) != "value" || string(r.Key) != "pump-1" || len(r.Headers) != 1 {
		t.Errorf("read %+v", r)
	}
	if want := at.Truncate(time.Millisecond); !r.Timestamp.Equal(want) || r.Attrs.TimestampType() != 0 {
		t.Errorf("CreateTime %v (type %d), the caller set %v", r.Timestamp, r.Attrs.TimestampType(), want)
	}
	if r.Partition != PartitionOf([]byte("pump-1"), 4) || r.Partition != rec.Partition || r.Offset != rec.Offset {
		t.Errorf("partition %d offset %d, told %d %d", r.Partition, r.Offset, rec.Partition, rec.Offset)
	}
	if err := p.Flush(within(t, aWhile)); err != nil { // a record is taken off the buffered ones after it was answered
		t.Fatal(err)
	}
	for name, want := range map[string]float64{
		"muster_eventlog_produced_records_total":   1,
		"muster_eventlog_produced_bytes_total":     5,
		"muster_eventlog_produce_duration_seconds": 1,
		"muster_eventlog_produce_failures_total":   0,
		"muster_eventlog_buffered_records":         0,
	} {
		if got := counted(t, reg, name); got != want {
			t.Errorf("%s = %v, want %v", name, got, want)
		}
	}
}

func TestEachKeyHasTheSamePartitionInEveryProducerAndAKeylessRecordItsOwn(t *testing.T) {
	cfg := log(t, 4, topic)
	gateway, _ := producer(t, cfg, nil)
	other, _ := producer(t, cfg, func(s *ProducerSettings) { s.Compression = "snappy" })
	ctx := within(t, aWhile)
	used := map[int32]bool{}
	for i := range 64 {
		key := fmt.Appendf(nil, "device-%d", i)
		var parts []int32
		for _, p := range []*Producer{gateway, other, gateway} {
			rec := &kgo.Record{Topic: topic, Key: key, Partition: 3}
			if err := p.Publish(ctx, rec); err != nil {
				t.Fatal(err)
			}
			parts = append(parts, rec.Partition)
		}
		if want := PartitionOf(key, 4); !slices.Equal(parts, []int32{want, want, want}) {
			t.Errorf("%s went to %v, want %d", key, parts, want)
		}
		used[parts[0]] = true
	}
	if len(used) != 4 {
		t.Errorf("64 devices use partitions %v", used)
	}
	// What Java's client and librdkafka (murmur2_random) do with the same key: toPositive(murmur2(key)) % n.
	if got := PartitionOf([]byte("foobar"), 1000); got != 166 {
		t.Errorf("foobar goes to %d", got)
	}
	n, err := gateway.Partitions(ctx, topic)
	if err != nil || n != 4 {
		t.Fatalf("Partitions = %d, %v", n, err)
	}
	for part := range n {
		rec := &kgo.Record{Topic: topic, Partition: part, Value: []byte("watermark")}
		if err := gateway.Publish(ctx, rec); err != nil || rec.Partition != part {
			t.Errorf("control record for %d went to %d: %v", part, rec.Partition, err)
		}
	}
	if err := gateway.Publish(ctx, &kgo.Record{Topic: topic, Partition: 4}); err == nil {
		t.Error("a partition that is not there was taken")
	}
}

func TestANeighboursDisconnectFailsNobodyElse(t *testing.T) {
	cluster, cfg := fake(t, kfake.SeedTopics(1, topic))
	p, _ := producer(t, cfg, nil)
	// The first try fails, so that kgo looks at the contexts of what it has buffered.
	cluster.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Err: kerr.NotEnoughReplicas, Count: 2})
	gone, disconnect := context.WithCancel(t.Context())
	answers := make(chan error, 2)
	for _, ctx := range []context.Context{gone, t.Context()} {
		p.TryPublish(&kgo.Record{Topic: topic, Key: []byte("k"), Context: ctx}, func(_ *kgo.Record, err error) { answers <- err })
	}
	disconnect()
	for range 2 {
		select {
		case err := <-answers:
			if err != nil {
				t.Errorf("failed: %v", err)
			}
		case <-time.After(aWhile):
			t.Fatal("no answer")
		}
	}
	if n := len(read(t, cfg, topic)); n != 2 {
		t.Errorf("%d records in the log", n)
	}
}

func TestWhatWasAppliedThoughItTimedOutIsInTheLogOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cluster, cfg := fake(t, kfake.SeedTopics(1, topic))
		p, reg := producer(t, cfg, nil)
		cluster.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Err: kerr.RequestTimedOut, Count: 3})
		if err := p.Publish(within(t, time.Minute), &kgo.Record{Topic: topic, Key: []byte("k"), Value: []byte("v")}); err != nil {
			t.Fatal(err)
		}
		if got := cluster.PartitionInfo(topic, 0).HighWatermark; got != 1 {
			t.Errorf("high watermark %d after three tries, want 1", got)
		}
		if got := counted(t, reg, "muster_eventlog_produce_failures_total"); got != 0 {
			t.Errorf("%v failures counted", got)
		}
	})
}

func TestFullBuffersAreSaidAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cluster, cfg := fake(t, kfake.SeedTopics(1, topic))
		swallow(cluster)
		for name, tc := range map[string]struct {
			change func(*ProducerSettings)
			fits   int
		}{
			"records": {func(s *ProducerSettings) { s.MaxBufferedRecords = 10 }, 10},
			"bytes":   {func(s *ProducerSettings) { s.MaxBufferedBytes = 64 << 10 }, 63},
		} {
			p, reg := producer(t, cfg, tc.change)
			start := time.Now()
			var full int
			var mu sync.Mutex
			for range 100 {
				p.TryPublish(&kgo.Record{Topic: topic, Key: []byte("k"), Value: make([]byte, 1<<10)}, func(_ *kgo.Record, err error) {
					if errors.Is(err, ErrFull) {
						mu.Lock()
						full++
						mu.Unlock()
					}
				})
			}
			synctest.Wait()
			mu.Lock()
			if full != 100-tc.fits || time.Since(start) != 0 {
				t.Errorf("%s: %d of 100 refused after %v, want %d at once", name, full, time.Since(start), 100-tc.fits)
			}
			mu.Unlock()
			if got := counted(t, reg, "muster_eventlog_produce_failures_total", "class", "full"); got != float64(100-tc.fits) {
				t.Errorf("%s: %v counted as full", name, got)
			}
			if got := counted(t, reg, "muster_eventlog_buffered_records"); got != float64(tc.fits) {
				t.Errorf("%s: %v buffered", name, got)
			}
			if got := counted(t, reg, "muster_eventlog_buffered_bytes"); got > 64<<10 {
				t.Errorf("%s: %v bytes buffered", name, got)
			}
		}
	})
}

// swallow makes the broker take produce requests and never answer; the returned function lets it answer again.
func swallow(c *kfake.Cluster) func() {
	var mu sync.Mutex
	on := true
	c.ControlKey(int16(kmsg.Produce), func(kmsg.Request) (kmsg.Response, error, bool) {
		c.KeepControl()
		mu.Lock()
		defer mu.Unlock()
		return nil, nil, on
	})
	return func() {
		mu.Lock()
		defer mu.Unlock()
		on = false
	}
}

func TestASilentBrokerIsAStallUntilItAnswersAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cluster, cfg := fake(t, kfake.SeedTopics(1, topic))
		p, reg := producer(t, cfg, nil)
		if p.Stalled() || p.OldestInFlight() != 0 {
			t.Error("an idle producer is stalled")
		}
		answer := swallow(cluster)
		done := make(chan error, 1)
		p.TryPublish(&kgo.Record{Topic: topic, Key: []byte("k")}, func(_ *kgo.Record, err error) { done <- err })
		time.Sleep(1900 * time.Millisecond)
		if p.Stalled() {
			t.Error("stalled after 1.9 s")
		}
		time.Sleep(200 * time.Millisecond)
		if !p.Stalled() {
			t.Error("not stalled after 2.1 s")
		}
		if got := counted(t, reg, "muster_eventlog_oldest_in_flight_seconds"); got < 2 {
			t.Errorf("oldest in flight %v s", got)
		}
		if err := p.Flush(within(t, time.Second)); err == nil || !strings.Contains(err.Error(), "1 buffered") {
			t.Errorf("Flush = %v", err)
		}
		answer()
		select {
		case err := <-done:
			if err != nil {
				t.Error(err)
			}
		case <-time.After(time.Minute):
			t.Fatal("no answer a minute after the broker's return")
		}
		if p.Stalled() {
			t.Error("still stalled")
		}
		if got := cluster.PartitionInfo(topic, 0).HighWatermark; got != 1 {
			t.Errorf("high watermark %d", got)
		}
		if err := p.Flush(within(t, time.Second)); err != nil {
			t.Error(err)
		}
	})
}

func TestWhatWasNeverSentFailsAfterTheDeliveryTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		network := &kfake.VirtualNetwork{} // nobody listens
		p, reg := producer(t, Config{Brokers: []string{"localhost:9092"}, Dialer: network.DialContext}, nil)
		start := time.Now()
		err := p.Publish(within(t, 5*time.Minute), &kgo.Record{Topic: topic, Key: []byte("k")})
		took := time.Since(start)
		if err == nil || took < 25*time.Second || took > 50*time.Second {
			t.Errorf("%v after %v, want a failure after about 30 s", err, took)
		}
		if got := counted(t, reg, "muster_eventlog_produce_failures_total"); got != 1 {
			t.Errorf("%v failures counted: %v", got, err)
		}
	})
}

func TestARecordsTimestampIsNotItsDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cluster, cfg := fake(t, kfake.SeedTopics(1, topic))
		p, reg := producer(t, cfg, nil)
		for _, at := range []time.Time{time.Now().AddDate(-12, 0, 0), time.Now().AddDate(12, 0, 0)} {
			if err := p.Publish(within(t, time.Minute), &kgo.Record{Topic: topic, Key: []byte("k"), Timestamp: at}); err != nil {
				t.Errorf("created %v: %v", at, err)
			}
		}
		if got := cluster.PartitionInfo(topic, 0).HighWatermark; got != 2 {
			t.Errorf("high watermark %d", got)
		}
		if got := counted(t, reg, "muster_eventlog_produce_failures_total"); got != 0 {
			t.Errorf("%v failures", got)
		}
	})
}

func TestALargeRecordOfTheLargestBodyFits(t *testing.T) {
	cfg := log(t, 0)
	if _, err := EnsureTopics(within(t, aWhile), client(t, cfg), []Topic{Topics(1, true)[0]}); err != nil {
		t.Fatal(err)
	}
	p, _ := producer(t, cfg, func(s *ProducerSettings) { s.Compression = "none" })
	name := Topics(1, true)[0].Name
	if err := p.Publish(within(t, aWhile), &kgo.Record{Topic: name, Key: []byte("k"), Value: make([]byte, 4<<20)}); err != nil {
		t.Error(err)
	}
	err := p.Publish(within(t, aWhile), &kgo.Record{Topic: name, Key: []byte("k"), Value: make([]byte, 6<<20)})
	if !errors.Is(err, kerr.MessageTooLarge) {
		t.Errorf("6 MiB: %v", err)
	}
}

func TestARecordForATopicThatIsMadeLaterWaitsForIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, cfg := fake(t)
		p, _ := producer(t, cfg, nil)
		done := make(chan error, 1)
		p.TryPublish(&kgo.Record{Topic: topic, Key: []byte("k")}, func(_ *kgo.Record, err error) { done <- err })
		time.Sleep(10 * time.Second)
		r, err := admin(t, cfg).CreateTopic(t.Context(), 1, -1, nil, topic)
		if err != nil || r.Err != nil {
			t.Fatal(err, r.Err)
		}
		select {
		case err := <-done:
			if err != nil {
				t.Error(err)
			}
		case <-time.After(time.Minute):
			t.Fatal("no answer")
		}
	})
}

func TestCloseFailsWhatIsBufferedAndCountsIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cluster, cfg := fake(t, kfake.SeedTopics(1, topic))
		swallow(cluster)
		s := DefaultProducerSettings()
		reg := prometheus.NewRegistry()
		p, err := NewProducer(cfg, s, reg)
		if err != nil {
			t.Fatal(err)
		}
		done := make(chan error, 1)
		p.TryPublish(&kgo.Record{Topic: topic, Key: []byte("k")}, func(_ *kgo.Record, err error) { done <- err })
		metrics := p.metrics
		p.Close()
		if err := <-done; err == nil {
			t.Error("no error")
		}
		if err := reg.Register(metrics.failures); err != nil {
			t.Errorf("metrics are still registered after Close: %v", err)
		}
		if got := counted(t, reg, "muster_eventlog_produce_failures_total", "class", "closed"); got != 1 {
			t.Errorf("%v counted as closed", got)
		}
	})
}

func TestTheMetricsAreWhatPrometheusAdvises(t *testing.T) {
	cfg := log(t, 1, topic)
	p, reg := producer(t, cfg, nil)
	if err := p.Publish(within(t, aWhile), &kgo.Record{Topic: topic, Key: []byte("k")}); err != nil {
		t.Fatal(err)
	}
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	problems, err := promlint.NewWithMetricFamilies(families).Lint()
	if err != nil || len(problems) > 0 {
		t.Errorf("%v %v", problems, err)
	}
	if _, err := NewProducer(cfg, DefaultProducerSettings(), reg); err == nil {
		t.Error("two producers in one registry: their gauges would hide each other")
	}
}

func TestSettingsAndConfigNameWhatTheyRefuse(t *testing.T) {
	reg := prometheus.NewRegistry()
	s := DefaultProducerSettings()
	s.Compression = "rar"
	if _, err := NewProducer(DefaultConfig(), s, reg); err == nil || !strings.Contains(err.Error(), "rar") {
		t.Errorf("compression: %v", err)
	}
	for want, cfg := range map[string]Config{
		"brokers":     {},
		"nowhere":     {Brokers: []string{"nowhere"}},
		"secret":      {Brokers: []string{"a:1"}, User: "gateway"},
		"a user":      {Brokers: []string{"a:1"}, Secret: "x"},
		"\":9092\"":   {Brokers: []string{":9092"}},
		"secret_file": {Brokers: []string{"a:1"}, User: "u"},
	} {
		if err := cfg.Validate(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v", want, err)
		}
		if _, err := NewProducer(cfg, DefaultProducerSettings(), reg); err == nil {
			t.Errorf("%q: a producer was made", want)
		}
	}
}

func TestLoginIsBySCRAMAndAWrongSecretIsRefused(t *testing.T) {
	_, cfg := fake(t, kfake.SeedTopics(1, topic), kfake.EnableSASL(), kfake.Superuser("SCRAM-SHA-256", "gateway", "right"))
	cfg.User, cfg.Secret = "gateway", daemon.Secret("right")
	p, _ := producer(t, cfg, nil)
	if err := p.Publish(within(t, aWhile), &kgo.Record{Topic: topic, Key: []byte("k")}); err != nil {
		t.Error(err)
	}
	cfg.Secret = "wrong"
	p, _ = producer(t, cfg, nil)
	err := p.Ping(within(t, aWhile))
	if err == nil || strings.Contains(err.Error(), "wrong") {
		t.Errorf("Ping = %v", err)
	}
}
