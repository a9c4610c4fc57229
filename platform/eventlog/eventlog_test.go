package eventlog

import (
	"context"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"go.uber.org/goleak"

	"muster.dev/platform/eventlog/logtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// log is one for a test that holds on any broker: a log in memory, or the real one of logtest.Env, with topics of so
// many partitions.
func log(t *testing.T, partitions int32, topics ...string) Config {
	t.Helper()
	var want []logtest.Topic
	for _, name := range topics {
		want = append(want, logtest.Topic{Name: name, Partitions: partitions})
	}
	return Config{Brokers: logtest.Start(t, want...), ClientID: "test"}
}

// fake is a broker that does what it is told, on a network in memory, so that it may stand in a synctest bubble.
func fake(t *testing.T, opts ...kfake.Opt) (*kfake.Cluster, Config) {
	t.Helper()
	logtest.OnlyFake(t)
	network := &kfake.VirtualNetwork{}
	cluster, err := kfake.NewCluster(append([]kfake.Opt{kfake.NumBrokers(1), kfake.ListenFn(network.Listen)}, opts...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cluster.Close)
	return cluster, Config{Brokers: cluster.ListenAddrs(), ClientID: "test", Dialer: network.DialContext}
}

func producer(t *testing.T, cfg Config, change func(*ProducerSettings)) (*Producer, *prometheus.Registry) {
	t.Helper()
	s := DefaultProducerSettings()
	if change != nil {
		change(&s)
	}
	reg := prometheus.NewRegistry()
	p, err := NewProducer(cfg, s, reg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Close)
	return p, reg
}

// counted is the value of a metric, summed over the series that have all of the labels.
func counted(t *testing.T, reg *prometheus.Registry, name string, labels ...string) float64 {
	t.Helper()
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	var sum float64
	for _, f := range families {
		if f.GetName() != name {
			continue
		}
	series:
		for _, m := range f.GetMetric() {
			has := map[string]string{}
			for _, l := range m.GetLabel() {
				has[l.GetName()] = l.GetValue()
			}
			for i := 0; i < len(labels); i += 2 {
				if has[labels[i]] != labels[i+1] {
					continue series
				}
			}
			sum += m.GetCounter().GetValue() + m.GetGauge().GetValue() + float64(m.GetHistogram().GetSampleCount())
		}
	}
	return sum
}

// read is every committed record of the topics.
func read(t *testing.T, cfg Config, topics ...string) []*kgo.Record {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), aWhile)
	defer cancel()
	var got []*kgo.Record
	if err := Tail(ctx, cfg, TailSettings{Topics: topics}, func(r *kgo.Record) error {
		got = append(got, r)
		return nil
	}); err != nil {
		t.Fatalf("read the log: %v", err)
	}
	return got
}

func admin(t *testing.T, cfg Config) *kadm.Client {
	t.Helper()
	return kadm.NewClient(client(t, cfg))
}

func client(t *testing.T, cfg Config) *kgo.Client {
	t.Helper()
	cl, err := kgo.NewClient(cfg.Options()...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cl.Close)
	return cl
}

// aWhile is what anything may take of which nobody has said how long it takes.
const aWhile = 2 * time.Minute

func within(t *testing.T, d time.Duration) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}
