package roster

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"muster.dev/embedded/kafka"
	"muster.dev/platform/daemon"
	"muster.dev/platform/eventlog"
	"muster.dev/platform/principals"
	"muster.dev/proto/event"
	"muster.dev/proto/record"
)

// The rights of the principals are enough for what each does, and no one but the registry can write
// what the roster reads.
func TestEachPrincipalMayDoItsWorkAndOnlyTheRegistryWritesItsLog(t *testing.T) {
	broker, err := kafka.Start(kafka.Config{
		Listen: "127.0.0.1:0", DataDir: t.TempDir(),
		Users: []kafka.User{{Name: principals.Admin, Secret: "a", Super: true}},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(broker.Close)
	as := func(user string, secret daemon.Secret) eventlog.Config {
		return eventlog.Config{Brokers: []string{broker.Addr()}, User: user, Secret: secret}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	t.Cleanup(cancel)

	admin, err := kgo.NewClient(as(principals.Admin, "a").Options()...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(admin.Close)
	if err := principals.Ensure(ctx, admin, map[string]string{principals.Gateway: "g", principals.Sink: "s", principals.Registry: "r", principals.Anomaly: "a", principals.Reader: "e"}); err != nil {
		t.Fatal(err)
	}

	cl, err := kgo.NewClient(as(principals.Registry, "r").Options()...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cl.Close)
	for range 2 { // the second time it looks at what is there
		if _, err := eventlog.EnsureTopics(ctx, cl, eventlog.Topics(4, true)); err != nil {
			t.Fatalf("the registry makes the topics: %v", err)
		}
	}
	w, err := eventlog.OpenWriter(ctx, as(principals.Registry, "r"), principals.TransactionalPrefix)
	if err != nil {
		t.Fatalf("the registry opens its log: %v", err)
	}
	t.Cleanup(w.Close)
	if err := w.Append(ctx, (&chain{t: t}).records(0, life()...)); err != nil {
		t.Fatalf("the registry writes its log: %v", err)
	}

	for user, secret := range map[string]daemon.Secret{principals.Gateway: "g", principals.Sink: "s"} {
		r, err := Follow(as(user, secret), Settings{})
		if err != nil {
			t.Fatal(err)
		}
		run, stop := context.WithCancel(ctx)
		ended := make(chan error, 1)
		go func() { ended <- r.Run(run) }()
		if err := r.WaitReady(ctx); err != nil {
			t.Errorf("%s follows the registry: %v", user, err)
		}
		if d, _ := r.DeviceByNo(2); !d.Revoked {
			t.Errorf("%s sees %+v", user, d)
		}
		stop()
		<-ended
	}

	p, err := eventlog.NewProducer(as(principals.Gateway, "g"), eventlog.DefaultProducerSettings(), prometheus.NewRegistry())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Close)
	if n, err := p.Partitions(ctx, record.TopicTelemetry); err != nil || n != 4 {
		t.Errorf("the gateway asks for the partitions: %d, %v", n, err)
	}
	if err := p.Publish(ctx, &kgo.Record{Topic: record.TopicTelemetry, Key: []byte("pump-1")}); err != nil {
		t.Errorf("the gateway publishes telemetry: %v", err)
	}
	forged := encode(t, (&chain{t: t}).next(event.DeviceEnrolled{Device: "evil", No: 1}))
	if err := p.Publish(ctx, forged); !errors.Is(err, kerr.TopicAuthorizationFailed) {
		t.Errorf("the gateway writes the registry's log: %v", err)
	}
	if w, err := eventlog.OpenWriter(ctx, as(principals.Gateway, "g"), principals.TransactionalPrefix); err == nil {
		w.Close()
		t.Error("the gateway takes the registry's place")
	}
	if err := eventlog.Tail(ctx, as(principals.Reader, "e"), eventlog.TailSettings{Topics: []string{record.TopicTelemetry}}, func(*kgo.Record) error { return nil }); err != nil {
		t.Errorf("a reader reads telemetry: %v", err)
	}
}
