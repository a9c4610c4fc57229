package stack

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"muster.dev/embedded/kafka"
	"muster.dev/platform/daemon"
	"muster.dev/platform/eventlog"
	"muster.dev/platform/principals"
	"muster.dev/proto/record"
)

func TestTheLocalLogKnowsThePrincipalsByTheirOneTableOfRights(t *testing.T) {
	secrets := map[string]daemon.Secret{}
	for _, name := range append(principals.Names(), principals.Admin) {
		secrets[name] = daemon.Secret(name + "'s")
	}
	users := logUsers(secrets)
	rights := 0
	for _, g := range principals.Grants() {
		rights += len(g.Operations)
	}
	for _, u := range users {
		if u.Secret != secrets[u.Name].Reveal() || u.Super != (u.Name == principals.Admin) {
			t.Errorf("%s: super %v, or another's secret", u.Name, u.Super)
		}
		rights -= len(u.ACLs)
	}
	if len(users) != len(secrets) || rights != 0 {
		t.Fatalf("%d users of %d, %d rights lost", len(users), len(secrets), rights)
	}

	broker, err := kafka.Start(kafka.Config{Listen: "127.0.0.1:0", Users: users})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(broker.Close)
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	as := func(name string) *kgo.Client {
		cfg := eventlog.Config{Brokers: []string{broker.Addr()}, User: name, Secret: secrets[name]}
		cl, err := kgo.NewClient(append(cfg.Options(), kgo.UnknownTopicRetries(0))...)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(cl.Close)
		return cl
	}
	if _, err := eventlog.EnsureTopics(ctx, as(principals.Registry), eventlog.Topics(1, true)); err != nil {
		t.Fatalf("the registry makes the topics: %v", err)
	}
	for name, allowed := range map[string]bool{principals.Registry: true, principals.Gateway: false, principals.Sink: false, principals.Anomaly: false, principals.Reader: false} {
		err := as(name).ProduceSync(ctx, &kgo.Record{Topic: record.TopicRegistry, Value: []byte("x")}).FirstErr()
		if allowed && err != nil || !allowed && !errors.Is(err, kerr.TopicAuthorizationFailed) && !errors.Is(err, kerr.ClusterAuthorizationFailed) {
			t.Errorf("%s writes the registry's log: %v, allowed %v", name, err, allowed)
		}
	}
	commit := func(name, group string) error {
		var o kadm.Offsets
		o.AddOffset(record.TopicTelemetry, 0, 0, -1)
		return kadm.NewClient(as(name)).CommitAllOffsets(ctx, group, o)
	}
	if err := commit(principals.Sink, principals.Group); err != nil {
		t.Errorf("the sink commits: %v", err)
	}
	if err := commit(principals.Reader, principals.ReaderGroups+"notebook"); err != nil {
		t.Errorf("a reader commits in a group of its own: %v", err)
	}
	if err := commit(principals.Reader, principals.Group); !errors.Is(err, kerr.GroupAuthorizationFailed) {
		t.Errorf("a reader moves the sink's offsets: %v", err)
	}
}
