package principals

import (
	"context"
	"errors"
	"os"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/sasl/scram"

	"muster.dev/platform/daemon"
	"muster.dev/platform/eventlog"
	"muster.dev/platform/eventlog/logtest"
	"muster.dev/proto/record"
)

// aWhile is what anything may take of which nobody has said how long it takes.
const aWhile = 2 * time.Minute

func client(t *testing.T, seeds []string, user, secret string, opts ...kgo.Opt) *kgo.Client {
	t.Helper()
	cl, err := kgo.NewClient(append(opts, kgo.SeedBrokers(seeds...),
		kgo.SASL(scram.Auth{User: user, Pass: secret}.AsSha256Mechanism()),
		kgo.UnknownTopicRetries(0), kgo.RecordDeliveryTimeout(aWhile))...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cl.Close)
	return cl
}

// envSASL names a real broker's host:port where users log in; its administrator's secret is adminSecret.
const (
	envSASL     = "MUSTER_TEST_KAFKA_SASL"
	adminSecret = "root-secret"
)

var topics = []logtest.Topic{{Name: record.TopicTelemetry, Partitions: 1}, {Name: record.TopicEvents, Partitions: 1}, {Name: record.TopicRegistry, Partitions: 1}, {Name: record.TopicSnapshots, Partitions: 1}, {Name: record.TopicCohorts, Partitions: 1}, {Name: record.TopicIncidents, Partitions: 1}}

// broker is one in memory or a real one, with users and rights.
func broker(t *testing.T) []string {
	t.Helper()
	if !logtest.Real() {
		_, seeds := logtest.Fake(t, topics, kfake.EnableSASL(), kfake.EnableACLs(), kfake.Superuser("SCRAM-SHA-256", Admin, adminSecret))
		return seeds
	}
	at := os.Getenv(envSASL)
	if at == "" {
		t.Skip("the broker of " + logtest.Env + " has no address at which users log in: " + envSASL + " is not set")
	}
	logtest.Start(t, topics...) // empties it, as somebody who may do anything
	return []string{at}
}

var secrets = map[string]string{Gateway: "g", Sink: "s", Registry: "r", Anomaly: "a", Reader: "o"}

func TestEachLogIsWrittenByWhoMayAlone(t *testing.T) {
	seeds := broker(t)
	admin := client(t, seeds, Admin, adminSecret)
	ctx, cancel := context.WithTimeout(t.Context(), aWhile)
	defer cancel()
	for range 2 { // repeatable
		if err := Ensure(ctx, admin, secrets); err != nil {
			t.Fatal(err)
		}
	}
	tests := []struct {
		user, topic string
		allowed     bool
	}{
		{Registry, record.TopicRegistry, true},
		{Gateway, record.TopicRegistry, false},
		{Sink, record.TopicRegistry, false},
		{Reader, record.TopicRegistry, false},
		{Registry, record.TopicSnapshots, true},
		{Gateway, record.TopicSnapshots, false},
		{Sink, record.TopicSnapshots, false},
		{Reader, record.TopicSnapshots, false},
		{Gateway, record.TopicTelemetry, true},
		{Gateway, record.TopicEvents, true},
		{Sink, record.TopicTelemetry, false},
		{Reader, record.TopicTelemetry, false},
		{Registry, record.TopicTelemetry, false},
		{Anomaly, record.TopicCohorts, true},
		{Anomaly, record.TopicIncidents, true},
		{Anomaly, record.TopicSnapshots, true},
		{Anomaly, record.TopicRegistry, false},
		{Anomaly, record.TopicTelemetry, false},
		{Anomaly, record.TopicEvents, false},
		{Registry, record.TopicIncidents, false},
		{Gateway, record.TopicIncidents, false},
		{Sink, record.TopicCohorts, false},
		{Reader, record.TopicIncidents, false},
	}
	write := func(user, topic string) error {
		return client(t, seeds, user, secrets[user]).ProduceSync(ctx, &kgo.Record{Topic: topic, Value: []byte("x")}).FirstErr()
	}
	allKnown(ctx, t, seeds)
	for _, tt := range tests {
		if tt.allowed {
			settled(t, tt.user+" writes "+tt.topic, func() error { return write(tt.user, tt.topic) })
		}
	}
	for _, tt := range tests {
		if tt.allowed {
			continue
		}
		// Who may write nothing at all is refused a producer id already.
		if err := write(tt.user, tt.topic); !errors.Is(err, kerr.TopicAuthorizationFailed) && !errors.Is(err, kerr.ClusterAuthorizationFailed) {
			t.Errorf("%s writes %s: got %v, want a refusal", tt.user, tt.topic, err)
		}
	}
}

func TestNobodyCommitsForTheGroupOfAnother(t *testing.T) {
	seeds := broker(t)
	ctx, cancel := context.WithTimeout(t.Context(), aWhile)
	defer cancel()
	if err := Ensure(ctx, client(t, seeds, Admin, adminSecret), secrets); err != nil {
		t.Fatal(err)
	}
	commit := func(user, group, topic string) error {
		var os kadm.Offsets
		os.AddOffset(topic, 0, 1, -1)
		got, err := kadm.NewClient(client(t, seeds, user, secrets[user])).CommitOffsets(ctx, group, os)
		if err != nil {
			return err
		}
		return got.Error()
	}
	allKnown(ctx, t, seeds)
	for _, owns := range []struct{ user, group, topic string }{
		{Sink, Group, record.TopicTelemetry}, {Registry, RegistryGroup, record.TopicRegistry}, {Anomaly, AnomalyPrefix + "-pager", record.TopicRegistry},
	} {
		settled(t, owns.user+" commits", func() error { return commit(owns.user, owns.group, owns.topic) })
		for _, user := range Names() {
			if user == owns.user {
				continue
			}
			if err := commit(user, owns.group, owns.topic); !errors.Is(err, kerr.GroupAuthorizationFailed) {
				t.Errorf("%s commits for the %s: got %v, want a refusal", user, owns.user, err)
			}
		}
	}
}

// settled repeats what a broker may refuse until each of its pieces has heard of new users and grants.
func settled(t *testing.T, what string, do func() error) {
	t.Helper()
	var err error
	for deadline := time.Now().Add(aWhile); time.Now().Before(deadline); <-time.After(50 * time.Millisecond) {
		if err = do(); err == nil {
			return
		}
	}
	t.Errorf("%s: %v", what, err)
}

// allKnown waits until each principal can log in: one whom a broker does not know yet is refused for another reason.
func allKnown(ctx context.Context, t *testing.T, seeds []string) {
	t.Helper()
	for user, secret := range secrets {
		settled(t, user+" logs in", func() error { return client(t, seeds, user, secret).Ping(ctx) })
	}
}

func TestEachPrincipalCanDoItsWork(t *testing.T) {
	seeds := broker(t)
	ctx, cancel := context.WithTimeout(t.Context(), aWhile)
	defer cancel()
	if err := Ensure(ctx, client(t, seeds, Admin, adminSecret), secrets); err != nil {
		t.Fatal(err)
	}
	as := func(user string) eventlog.Config {
		return eventlog.Config{Brokers: seeds, User: user, Secret: daemon.Secret(secrets[user])}
	}
	settled(t, "the registry makes what topics are missing", func() error {
		_, err := eventlog.EnsureTopics(ctx, client(t, seeds, Registry, secrets[Registry]), eventlog.Topics(1, true))
		return err
	})
	settled(t, "the registry writes its log", func() error {
		w, err := eventlog.OpenWriter(ctx, as(Registry), TransactionalPrefix)
		if err != nil {
			return err
		}
		defer w.Close()
		return w.Append(ctx, []*kgo.Record{{Topic: record.TopicRegistry, Value: []byte("x")}})
	})
	settled(t, "the registry writes a snapshot", func() error {
		return client(t, seeds, Registry, secrets[Registry]).ProduceSync(ctx, &kgo.Record{Topic: record.TopicSnapshots, Key: []byte("k"), Value: []byte("x")}).FirstErr()
	})
	for _, line := range []string{"-0", "-judge"} {
		settled(t, "a detector says something", func() error {
			w, err := eventlog.OpenWriter(ctx, as(Anomaly), AnomalyPrefix+line)
			if err != nil {
				return err
			}
			defer w.Close()
			return w.Append(ctx, []*kgo.Record{
				{Topic: record.TopicCohorts, Value: []byte("x")}, {Topic: record.TopicIncidents, Value: []byte("x")}, {Topic: record.TopicSnapshots, Key: []byte("a"), Value: []byte("x")},
			})
		})
	}
	settled(t, "the gateway publishes", func() error {
		p, err := eventlog.NewProducer(as(Gateway), eventlog.DefaultProducerSettings(), prometheus.NewRegistry())
		if err != nil {
			return err
		}
		defer p.Close()
		if _, err := p.Partitions(ctx, record.TopicTelemetry); err != nil {
			return err
		}
		return errors.Join(p.Publish(ctx, &kgo.Record{Topic: record.TopicTelemetry, Key: []byte("k")}), p.Publish(ctx, &kgo.Record{Topic: record.TopicEvents, Key: []byte("k")}))
	})
	for _, reads := range []struct {
		user   string
		topics []string
	}{
		{Gateway, []string{record.TopicRegistry, record.TopicSnapshots}},
		{Sink, []string{record.TopicRegistry, record.TopicSnapshots, record.TopicTelemetry, record.TopicEvents}},
		{Registry, []string{record.TopicRegistry, record.TopicSnapshots}},
		{Anomaly, []string{record.TopicRegistry, record.TopicSnapshots, record.TopicTelemetry, record.TopicEvents, record.TopicCohorts, record.TopicIncidents}},
		{Reader, []string{record.TopicRegistry, record.TopicTelemetry, record.TopicEvents, record.TopicCohorts, record.TopicIncidents}},
	} {
		for _, name := range reads.topics {
			settled(t, reads.user+" reads "+name, func() error {
				n := 0
				err := eventlog.Tail(ctx, as(reads.user), eventlog.TailSettings{Topics: []string{name}}, func(*kgo.Record) error { n++; return nil })
				if err == nil && n == 0 {
					err = errors.New("nothing was read")
				}
				return err
			})
		}
	}
	for user, group := range map[string]string{Sink: Group, Anomaly: AnomalyPrefix, Reader: ReaderGroups + "one"} {
		settled(t, user+" follows in its group", func() error {
			cl := client(t, seeds, user, secrets[user], kgo.ConsumerGroup(group), kgo.ConsumeTopics(record.TopicTelemetry), kgo.DisableAutoCommit(),
				kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.FetchIsolationLevel(kgo.ReadCommitted()))
			defer cl.Close()
			fetches := cl.PollFetches(ctx)
			if err := fetches.Err(); err != nil {
				return err
			}
			return cl.CommitRecords(ctx, fetches.Records()...)
		})
	}
	if w, err := eventlog.OpenWriter(ctx, as(Gateway), TransactionalPrefix); err == nil {
		w.Close()
		t.Error("the gateway takes the registry's place")
	}
	if w, err := eventlog.OpenWriter(ctx, as(Registry), AnomalyPrefix+"-judge"); err == nil {
		w.Close()
		t.Error("the registry takes the judge's place")
	}
	if w, err := eventlog.OpenWriter(ctx, as(Anomaly), TransactionalPrefix); err == nil {
		w.Close()
		t.Error("a detector takes the registry's place")
	}
	other := client(t, seeds, Reader, secrets[Reader], kgo.ConsumerGroup(Group), kgo.ConsumeTopics(record.TopicTelemetry))
	if err := other.PollFetches(ctx).Err(); !errors.Is(err, kerr.GroupAuthorizationFailed) {
		t.Errorf("a reader joins the sink's group: %v", err)
	}
}

func TestAUserWithoutASecretIsNotCreated(t *testing.T) {
	seeds := broker(t)
	err := Ensure(t.Context(), client(t, seeds, Admin, adminSecret), map[string]string{Gateway: "g"})
	if err == nil {
		t.Fatal("want an error that names the principal")
	}
}
