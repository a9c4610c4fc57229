package principals

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/sasl/scram"

	"muster.dev/proto/record"
)

func client(t *testing.T, seeds []string, user, secret string, opts ...kgo.Opt) *kgo.Client {
	t.Helper()
	cl, err := kgo.NewClient(append(opts, kgo.SeedBrokers(seeds...),
		kgo.SASL(scram.Auth{User: user, Pass: secret}.AsSha256Mechanism()),
		kgo.UnknownTopicRetries(0), kgo.RecordDeliveryTimeout(5*time.Second))...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cl.Close)
	return cl
}

func broker(t *testing.T) []string {
	t.Helper()
	c, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.EnableSASL(), kfake.EnableACLs(),
		kfake.Superuser("SCRAM-SHA-256", Admin, "root-secret"),
		kfake.SeedTopics(1, record.TopicTelemetry, record.TopicEvents, record.TopicRegistry))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c.ListenAddrs()
}

var secrets = map[string]string{Gateway: "g", Sink: "s", Registry: "r", Reader: "o"}

func TestOnlyTheRegistryWritesTheRegistryLog(t *testing.T) {
	seeds := broker(t)
	admin := client(t, seeds, Admin, "root-secret")
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
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
		{Gateway, record.TopicTelemetry, true},
		{Gateway, record.TopicEvents, true},
		{Sink, record.TopicTelemetry, false},
		{Reader, record.TopicTelemetry, false},
		{Registry, record.TopicTelemetry, false},
	}
	for _, tt := range tests {
		cl := client(t, seeds, tt.user, secrets[tt.user])
		err := cl.ProduceSync(ctx, &kgo.Record{Topic: tt.topic, Value: []byte("x")}).FirstErr()
		if tt.allowed && err != nil {
			t.Errorf("%s writes %s: %v", tt.user, tt.topic, err)
		}
		// Who may write nothing at all is refused a producer id already.
		if !tt.allowed && !errors.Is(err, kerr.TopicAuthorizationFailed) && !errors.Is(err, kerr.ClusterAuthorizationFailed) {
			t.Errorf("%s writes %s: got %v, want a refusal", tt.user, tt.topic, err)
		}
	}
}

func TestOnlyTheSinkCommitsForItsGroup(t *testing.T) {
	seeds := broker(t)
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	if err := Ensure(ctx, client(t, seeds, Admin, "root-secret"), secrets); err != nil {
		t.Fatal(err)
	}
	commit := func(user string) error {
		var os kadm.Offsets
		os.AddOffset(record.TopicTelemetry, 0, 1, -1)
		got, err := kadm.NewClient(client(t, seeds, user, secrets[user])).CommitOffsets(ctx, Group, os)
		if err != nil {
			return err
		}
		return got.Error()
	}
	if err := commit(Sink); err != nil {
		t.Errorf("sink commits: %v", err)
	}
	for _, user := range []string{Reader, Gateway, Registry} {
		if err := commit(user); !errors.Is(err, kerr.GroupAuthorizationFailed) {
			t.Errorf("%s commits for the sink: got %v, want a refusal", user, err)
		}
	}
}

func TestAUserWithoutASecretIsNotCreated(t *testing.T) {
	seeds := broker(t)
	err := Ensure(t.Context(), client(t, seeds, Admin, "root-secret"), map[string]string{Gateway: "g"})
	if err == nil {
		t.Fatal("want an error that names the principal")
	}
}
