package eventlog

import (
	"context"
	"fmt"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
)

// BenchmarkPublishByWaitingCallers is 512 callers who each wait for the log's answer before the next record: the
// most that a linger lets through.
func BenchmarkPublishByWaitingCallers(b *testing.B) {
	const callers = 512
	eachSetting(b, func(b *testing.B, publish func(device int)) {
		var wg sync.WaitGroup
		next := make(chan struct{}, callers)
		for device := range callers {
			wg.Go(func() {
				for range next {
					publish(device)
				}
			})
		}
		for range b.N {
			next <- struct{}{}
		}
		close(next)
		wg.Wait()
		b.ReportMetric(b.Elapsed().Seconds()*1000*callers/float64(b.N), "ms/answer")
	})
}

// BenchmarkPublishAtARate is 20,000 records a second in bursts of a millisecond, whatever the log takes: what a
// record costs in CPU when a gateway is half busy.
func BenchmarkPublishAtARate(b *testing.B) {
	const burst = 20
	eachSetting(b, func(b *testing.B, publish func(device int)) {
		tick := time.NewTicker(time.Millisecond)
		defer tick.Stop()
		var wg sync.WaitGroup
		for done := 0; done < b.N; {
			<-tick.C
			for range min(burst, b.N-done) {
				done++
				device := done
				wg.Go(func() { publish(device) })
			}
		}
		wg.Wait()
	})
}

// eachSetting runs a load for each linger and codec and reports the CPU time of a record, the broker's included.
func eachSetting(b *testing.B, load func(b *testing.B, publish func(device int))) {
	for _, linger := range []time.Duration{0, 2 * time.Millisecond, 5 * time.Millisecond, 10 * time.Millisecond} {
		for _, codec := range []string{"none", "lz4", "snappy"} {
			b.Run(fmt.Sprintf("linger=%v/%s", linger, codec), func(b *testing.B) {
				cluster, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(4, topic))
				if err != nil {
					b.Fatal(err)
				}
				defer cluster.Close()
				s := DefaultProducerSettings()
				s.Linger, s.Compression = linger, codec
				p, err := NewProducer(Config{Brokers: cluster.ListenAddrs()}, s, prometheus.NewRegistry())
				if err != nil {
					b.Fatal(err)
				}
				defer p.Close()
				value := make([]byte, 300)
				for i := range value {
					value[i] = byte(i * i >> 3)
				}
				b.SetBytes(int64(len(value)))
				b.ReportAllocs()
				b.ResetTimer()
				before := cpu(b)
				load(b, func(device int) {
					rec := &kgo.Record{Topic: topic, Key: fmt.Appendf(nil, "device-%d", device%4096), Value: value}
					if err := p.Publish(context.Background(), rec); err != nil {
						b.Error(err)
					}
				})
				b.StopTimer()
				b.ReportMetric(float64((cpu(b)-before).Nanoseconds())/float64(b.N), "cpu-ns/op")
				var stored int64
				for _, part := range cluster.PartitionInfos(topic) {
					stored += part.HighWatermark
				}
				if stored != int64(b.N) {
					b.Fatalf("%d records in the log, want %d", stored, b.N)
				}
			})
		}
	}
}

func cpu(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
