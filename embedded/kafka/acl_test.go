package kafka

import (
	"errors"
	"testing"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

func TestEachUserMayDoItsWorkAndNoOthers(t *testing.T) {
	b := start(t, Config{Users: StandardUsers(secrets)})
	reg := client(t, b.Addr(), "registry", secrets.Registry, kgo.TransactionalID("muster-registry"))
	createTopics(t, reg, topicTelemetry, topicEvents, topicRegistry)

	// The registry writes its topic in a transaction.
	if err := reg.BeginTransaction(); err != nil {
		t.Fatal(err)
	}
	if err := produce(t, reg, topicRegistry, "enrolled"); err != nil {
		t.Fatal(err)
	}
	if err := reg.EndTransaction(within(t), kgo.TryCommit); err != nil {
		t.Fatal(err)
	}

	secret := map[string]string{"admin": secrets.Admin, "gateway": secrets.Gateway, "sink": secrets.Sink, "registry": secrets.Registry, "reader": secrets.Reader}
	for _, c := range []struct {
		user, topic string
		write, read bool
	}{
		{"admin", topicTelemetry, true, true},
		{"admin", topicRegistry, true, true},
		{"gateway", topicTelemetry, true, false},
		{"gateway", topicEvents, true, false},
		{"gateway", topicRegistry, false, true},
		{"sink", topicTelemetry, false, true},
		{"sink", topicEvents, false, true},
		{"sink", topicRegistry, false, true},
		{"registry", topicTelemetry, false, false},
		{"registry", topicEvents, false, false},
		{"registry", topicRegistry, true, true},
		{"reader", topicTelemetry, false, true},
		{"reader", topicEvents, false, true},
		{"reader", topicRegistry, false, true},
	} {
		t.Run(c.user+" "+c.topic, func(t *testing.T) {
			err := produce(t, client(t, b.Addr(), c.user, secret[c.user]), c.topic, "x")
			if c.write && err != nil || !c.write && !refused(err) {
				t.Errorf("write: %v, allowed %v", err, c.write)
			}
			_, err = readAll(t, b.Addr(), c.user, secret[c.user], c.topic)
			if c.read && err != nil || !c.read && !refused(err) {
				t.Errorf("read: %v, allowed %v", err, c.read)
			}
		})
	}
}

func refused(err error) bool {
	return errors.Is(err, kerr.TopicAuthorizationFailed) || errors.Is(err, kerr.ClusterAuthorizationFailed)
}

func TestAReaderCannotMoveTheSinksOffsets(t *testing.T) {
	b := start(t, Config{Users: StandardUsers(secrets)})
	createTopics(t, client(t, b.Addr(), "admin", secrets.Admin), topicTelemetry)
	commit := func(user, secret, group string) error {
		o := make(kadm.Offsets)
		o.AddOffset(topicTelemetry, 0, 0, -1)
		return kadm.NewClient(client(t, b.Addr(), user, secret)).CommitAllOffsets(within(t), group, o)
	}
	if err := commit("sink", secrets.Sink, "muster-sink"); err != nil {
		t.Error("the sink's own commit:", err)
	}
	if err := commit("reader", secrets.Reader, "my-notebook"); err != nil {
		t.Error("the reader's own commit:", err)
	}
	if err := commit("reader", secrets.Reader, "muster-sink"); !errors.Is(err, kerr.GroupAuthorizationFailed) {
		t.Error("the reader moved the sink's offsets:", err)
	}
	if err := commit("gateway", secrets.Gateway, "muster-gateway"); !errors.Is(err, kerr.GroupAuthorizationFailed) {
		t.Error("the gateway has a group:", err)
	}
}

func TestStrangersAreRefused(t *testing.T) {
	b := start(t, Config{Users: StandardUsers(secrets)})
	if err := client(t, b.Addr(), "", "").Ping(within(t)); err == nil {
		t.Error("without credentials")
	}
	if err := client(t, b.Addr(), "gateway", "guess").Ping(within(t)); err == nil {
		t.Error("with a wrong secret")
	}
	if err := client(t, b.Addr(), steward, "").Ping(within(t)); err == nil {
		t.Error("as the steward")
	}
}
