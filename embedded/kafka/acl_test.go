package kafka

import (
	"errors"
	"testing"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

func TestEachUserMayDoItsWorkAndNoOthers(t *testing.T) {
	b := start(t, Config{Users: users()})
	owner := client(t, b.Addr(), "owner", secretOf("owner"), kgo.TransactionalID("muster-registry"))
	createTopics(t, owner, topicTelemetry, topicEvents, topicRegistry)

	// The owner makes the topics, and writes its own in a transaction.
	if err := owner.BeginTransaction(); err != nil {
		t.Fatal(err)
	}
	if err := produce(t, owner, topicRegistry, "enrolled"); err != nil {
		t.Fatal(err)
	}
	if err := owner.EndTransaction(within(t), kgo.TryCommit); err != nil {
		t.Fatal(err)
	}

	for _, c := range []struct {
		user, topic string
		write, read bool
	}{
		{"admin", topicTelemetry, true, true},
		{"admin", topicRegistry, true, true},
		{"writer", topicTelemetry, true, false},
		{"writer", topicEvents, true, false},
		{"writer", topicRegistry, false, true},
		{"follower", topicTelemetry, false, true},
		{"follower", topicEvents, false, true},
		{"follower", topicRegistry, false, true},
		{"owner", topicTelemetry, false, false},
		{"owner", topicEvents, false, false},
		{"owner", topicRegistry, true, true},
		{"guest", topicTelemetry, false, true},
		{"guest", topicEvents, false, true},
		{"guest", topicRegistry, false, true},
	} {
		t.Run(c.user+" "+c.topic, func(t *testing.T) {
			err := produce(t, client(t, b.Addr(), c.user, secretOf(c.user)), c.topic, "x")
			if c.write && err != nil || !c.write && !refused(err) {
				t.Errorf("write: %v, allowed %v", err, c.write)
			}
			_, err = readAll(t, b.Addr(), c.user, secretOf(c.user), c.topic)
			if c.read && err != nil || !c.read && !refused(err) {
				t.Errorf("read: %v, allowed %v", err, c.read)
			}
		})
	}
}

func refused(err error) bool {
	return errors.Is(err, kerr.TopicAuthorizationFailed) || errors.Is(err, kerr.ClusterAuthorizationFailed)
}

func TestAUserIsKeptOutOfTheGroupsItIsDenied(t *testing.T) {
	b := start(t, Config{Users: users()})
	createTopics(t, client(t, b.Addr(), "admin", secretOf("admin")), topicTelemetry)
	commit := func(user, group string) error {
		o := make(kadm.Offsets)
		o.AddOffset(topicTelemetry, 0, 0, -1)
		return kadm.NewClient(client(t, b.Addr(), user, secretOf(user))).CommitAllOffsets(within(t), group, o)
	}
	if err := commit("follower", "muster-sink"); err != nil {
		t.Error("the follower's own commit:", err)
	}
	if err := commit("guest", "my-notebook"); err != nil {
		t.Error("the guest's own commit:", err)
	}
	if err := commit("guest", "muster-sink"); !errors.Is(err, kerr.GroupAuthorizationFailed) {
		t.Error("the guest moved the follower's offsets:", err)
	}
	if err := commit("writer", "muster-writer"); !errors.Is(err, kerr.GroupAuthorizationFailed) {
		t.Error("the writer has a group:", err)
	}
}

func TestStrangersAreRefused(t *testing.T) {
	b := start(t, Config{Users: users()})
	if err := client(t, b.Addr(), "", "").Ping(within(t)); err == nil {
		t.Error("without credentials")
	}
	if err := client(t, b.Addr(), "writer", "guess").Ping(within(t)); err == nil {
		t.Error("with a wrong secret")
	}
	if err := client(t, b.Addr(), steward, "").Ping(within(t)); err == nil {
		t.Error("as the steward")
	}
}
