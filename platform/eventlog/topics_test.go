package eventlog

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"

	"muster.dev/proto/record"
)

func configs(t *testing.T, adm *kadm.Client, name string) map[string]string {
	t.Helper()
	got, err := adm.DescribeTopicConfigs(within(t, aWhile), name)
	if err != nil || got[0].Err != nil {
		t.Fatal(err, got[0].Err)
	}
	out := map[string]string{}
	for _, c := range got[0].Configs {
		if c.Source == kmsg.ConfigSourceDynamicTopicConfig {
			out[c.Key] = c.MaybeValue()
		}
	}
	return out
}

// set is an operator's hand. A controller says yes before each broker has heard, so it waits until they have.
func set(t *testing.T, adm *kadm.Client, name, key, value string) {
	t.Helper()
	if _, err := adm.AlterTopicConfigs(within(t, aWhile), []kadm.AlterConfig{{Op: kadm.SetConfig, Name: key, Value: &value}}, name); err != nil {
		t.Fatal(err)
	}
	for ctx := within(t, aWhile); configs(t, adm, name)[key] != value; {
		if ctx.Err() != nil {
			t.Fatalf("%s of %s does not become %s", key, name, value)
		}
	}
}

func TestEveryTopicSaysItsOwnRetention(t *testing.T) {
	cfg := log(t, 0)
	for _, local := range []bool{true, false} {
		for _, topic := range Topics(4, local) {
			for _, key := range []string{"cleanup.policy", "retention.ms", "retention.bytes", "message.timestamp.type", "max.message.bytes"} {
				if v := topic.Configs[key]; v == nil || *v == "" {
					t.Errorf("%s (local %v) leaves %s to the broker", topic.Name, local, key)
				}
			}
			ms, bytes := *topic.Configs["retention.ms"], *topic.Configs["retention.bytes"]
			if bytes != "-1" {
				t.Errorf("%s is bounded by size, which eats what the store has not taken yet", topic.Name)
			}
			switch topic.Name {
			case record.TopicTelemetry:
				if ms != "604800000" || topic.Partitions != 4 {
					t.Errorf("telemetry: %s ms, %d partitions", ms, topic.Partitions)
				}
			case record.TopicRegistry:
				if ms != "-1" || bytes != "-1" || topic.Partitions != 1 || *topic.Configs["cleanup.policy"] != "delete" {
					t.Errorf("the registry's log is not for ever: %v", topic)
				}
			case record.TopicSnapshots:
				if *topic.Configs["cleanup.policy"] != "compact" {
					t.Error("snapshots are not compacted")
				}
			}
		}
	}
	want := Topics(4, true)
	if len(want) != 6 {
		t.Errorf("%d topics", len(want))
	}
	if _, err := EnsureTopics(within(t, aWhile), client(t, cfg), want); err != nil {
		t.Fatal(err)
	}
	adm := admin(t, cfg)
	for _, topic := range want {
		got := configs(t, adm, topic.Name)
		for key, value := range topic.Configs {
			if got[key] != *value {
				t.Errorf("%s: %s is %q, want %q", topic.Name, key, got[key], *value)
			}
		}
	}
}

func TestEnsuringTwiceChangesNothingAndKeepsTheIDs(t *testing.T) {
	cfg := log(t, 0)
	cl, adm := client(t, cfg), admin(t, cfg)
	first, err := EnsureTopics(within(t, aWhile), cl, Topics(4, true))
	if err != nil {
		t.Fatal(err)
	}
	// An operator keeps telemetry longer, in his own words.
	month := "2592000000"
	set(t, adm, record.TopicTelemetry, "retention.ms", month)
	second, err := EnsureTopics(within(t, aWhile), cl, Topics(4, true))
	if err != nil {
		t.Fatal(err)
	}
	if !maps.Equal(first, second) || len(first) != 6 || first[record.TopicTelemetry] == (TopicID{}) {
		t.Errorf("ids %v, then %v", first, second)
	}
	if got := configs(t, adm, record.TopicTelemetry)["retention.ms"]; got != month {
		t.Errorf("what an operator set became %s", got)
	}

	if _, err := adm.DeleteTopics(within(t, aWhile), record.TopicTelemetry); err != nil {
		t.Fatal(err)
	}
	// A broker that has not heard of the deletion yet still knows the old one.
	third := first
	for ctx := within(t, aWhile); third[record.TopicTelemetry] == first[record.TopicTelemetry]; {
		if third, err = EnsureTopics(ctx, cl, Topics(4, true)); err != nil {
			t.Fatalf("a topic that was made again has no new id: %v", err)
		}
	}
	if s := third[record.TopicTelemetry].String(); len(s) != 36 || strings.Count(s, "-") != 4 {
		t.Errorf("id prints as %s", s)
	}
}

func TestATopicThatSomebodyElseMadeGetsWhatItLacks(t *testing.T) {
	cfg := log(t, 0)
	adm := admin(t, cfg)
	if r, err := adm.CreateTopic(within(t, aWhile), 4, -1, nil, record.TopicTelemetry); err != nil || r.Err != nil {
		t.Fatal(err, r.Err)
	}
	if _, err := EnsureTopics(within(t, aWhile), client(t, cfg), Topics(4, true)); err != nil {
		t.Fatal(err)
	}
	// A controller says yes before each broker has heard.
	var got string
	for ctx := within(t, aWhile); got != "604800000"; got = configs(t, adm, record.TopicTelemetry)["retention.ms"] {
		if ctx.Err() != nil {
			t.Fatalf("retention.ms is %q", got)
		}
	}
}

// A broker that knows the bounds on a record's time is kfake with another key that it lists and that nobody has set.
func TestWhatOnlySomeBrokersKnowIsSetWhereItIsKnown(t *testing.T) {
	cfg := log(t, 0)
	adm := admin(t, cfg)
	topics := Topics(4, true)
	for _, topic := range topics {
		for _, key := range []string{"message.timestamp.before.max.ms", "message.timestamp.after.max.ms"} {
			if v := topic.Where[key]; v == nil || *v != "3153600000000" {
				t.Errorf("%s leaves %s to the broker", topic.Name, key)
			}
		}
	}
	week, strange := "604800000", "1"
	topic := topics[0]
	topic.Where = map[string]*string{"segment.ms": &week, "no.broker.knows": &strange}
	for range 2 { // when it is made, and when it is there
		if _, err := EnsureTopics(within(t, aWhile), client(t, cfg), []Topic{topic}); err != nil {
			t.Fatal(err)
		}
		var got map[string]string
		for ctx := within(t, aWhile); got["segment.ms"] != week && ctx.Err() == nil; {
			got = configs(t, adm, topic.Name)
		}
		if _, there := got["no.broker.knows"]; there || got["segment.ms"] != week || got["retention.ms"] != *topic.Configs["retention.ms"] {
			t.Errorf("%v", got)
		}
	}
	// What an operator has set stays.
	day := "86400000"
	set(t, adm, topic.Name, "segment.ms", day)
	if _, err := EnsureTopics(within(t, aWhile), client(t, cfg), []Topic{topic}); err != nil {
		t.Fatal(err)
	}
	if got := configs(t, adm, topic.Name)["segment.ms"]; got != day {
		t.Errorf("what an operator set became %s", got)
	}
}

func TestABoundThatTheBrokerRefusesIsNotInsistedOn(t *testing.T) {
	cluster, cfg := fake(t)
	refusals := 0
	cluster.ControlKey(int16(kmsg.IncrementalAlterConfigs), func(req kmsg.Request) (kmsg.Response, error, bool) {
		cluster.KeepControl()
		refusals++
		resp := req.ResponseKind().(*kmsg.IncrementalAlterConfigsResponse)
		for _, r := range req.(*kmsg.IncrementalAlterConfigsRequest).Resources {
			a := kmsg.NewIncrementalAlterConfigsResponseResource()
			a.ResourceType, a.ResourceName, a.ErrorCode = r.ResourceType, r.ResourceName, kerr.InvalidConfig.Code
			resp.Resources = append(resp.Resources, a)
		}
		return resp, nil, true
	})
	week := "604800000"
	topic := Topics(4, true)[0]
	topic.Where = map[string]*string{"segment.ms": &week}
	if _, err := EnsureTopics(within(t, aWhile), client(t, cfg), []Topic{topic}); err != nil || refusals == 0 {
		t.Errorf("%v, refused %d times", err, refusals)
	}
}

func TestAnotherNumberOfPartitionsIsRefusedAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, cfg := fake(t, kfake.SeedTopics(3, record.TopicTelemetry))
		start := time.Now()
		_, err := EnsureTopics(within(t, time.Minute), client(t, cfg), Topics(4, true))
		if !errors.Is(err, ErrPartitions) || !strings.Contains(err.Error(), "has 3 partitions, want 4") {
			t.Errorf("%v", err)
		}
		if time.Since(start) > time.Second {
			t.Errorf("after %v", time.Since(start))
		}
	})
}

func TestABrokerThatComesLateIsWaitedForUntilTheContextEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cluster, cfg := fake(t)
		cluster.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.CreateTopics}, Err: kerr.NotController, Count: 30})
		if _, err := EnsureTopics(within(t, 10*time.Minute), client(t, cfg), Topics(4, true)); err != nil {
			t.Error(err)
		}
		network := &kfake.VirtualNetwork{}
		cfg = Config{Brokers: []string{"localhost:1"}, Dialer: network.DialContext}
		start := time.Now()
		_, err := EnsureTopics(within(t, time.Minute), client(t, cfg), Topics(4, true))
		if err == nil || time.Since(start) > 61*time.Second {
			t.Errorf("%v after %v", err, time.Since(start))
		}
	})
}

func TestARefusalIsNotRetried(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, cfg := fake(t, kfake.EnableSASL(), kfake.EnableACLs(),
			kfake.Superuser("SCRAM-SHA-256", "admin", "a"), kfake.User("SCRAM-SHA-256", "reader", "r"))
		cfg.User, cfg.Secret = "reader", "r"
		start := time.Now()
		_, err := EnsureTopics(within(t, 20*time.Second), client(t, cfg), Topics(4, true))
		if err == nil || errors.Is(err, context.DeadlineExceeded) || time.Since(start) > 10*time.Second {
			t.Errorf("%v after %v", err, time.Since(start))
		}
	})
}

func TestTwoProcessesMayEnsureAtTheSameTime(t *testing.T) {
	cfg := log(t, 0)
	ids := make(chan map[string]TopicID, 2)
	for range 2 {
		cl := client(t, cfg)
		ctx := within(t, aWhile)
		go func() {
			got, err := EnsureTopics(ctx, cl, Topics(4, true))
			if err != nil {
				t.Error(err)
			}
			ids <- got
		}()
	}
	if a, b := <-ids, <-ids; !maps.Equal(a, b) {
		t.Errorf("%v and %v", slices.Sorted(maps.Keys(a)), slices.Sorted(maps.Keys(b)))
	}
}
