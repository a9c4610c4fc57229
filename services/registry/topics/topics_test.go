package topics

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"slices"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"go.uber.org/goleak"

	"muster.dev/platform/eventlog"
	"muster.dev/platform/eventlog/logtest"
	"muster.dev/platform/roster"
	"muster.dev/proto/record"
	"muster.dev/services/registry/decide"
	"muster.dev/services/registry/writer"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience is how long a test waits where no time is promised.
const patience = 2 * time.Minute

type keeping struct {
	cfg    eventlog.Config
	writer *writer.Writer
	ended  chan error // of the keeper
}

func start(t *testing.T) keeping {
	t.Helper()
	log := slog.New(slog.NewTextHandler(io.Discard, nil))
	k := keeping{cfg: eventlog.Config{Brokers: logtest.Start(t)}, ended: make(chan error, 1)}
	k.writer = writer.New(writer.Settings{Log: k.cfg, Logger: log, Metrics: prometheus.NewRegistry()})
	cfg := DefaultConfig()
	cfg.Interval = 20 * time.Millisecond
	keeper := New(cfg, k.cfg, k.writer, log)
	ctx, cancel := context.WithCancel(context.Background())
	written, kept := make(chan error, 1), make(chan struct{})
	go func() { written <- k.writer.Run(ctx) }()
	go func() { defer close(kept); k.ended <- keeper.Run(ctx) }()
	t.Cleanup(func() { cancel(); <-written; <-kept })
	return k
}

// topics waits for want topics to have generations.
func (k keeping) topics(t *testing.T, want int) []roster.Topic {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for {
		var got []roster.Topic
		if err := k.writer.View(ctx, func(s *decide.State) { got = s.Topics() }); err != nil {
			t.Fatalf("want %d topics: %v", want, err)
		}
		if len(got) >= want {
			return got
		}
		select {
		case <-time.After(5 * time.Millisecond):
		case <-ctx.Done():
			t.Fatalf("want %d topics, have %v", want, got)
		}
	}
}

func (k keeping) remove(t *testing.T, topic string) {
	t.Helper()
	client, err := kgo.NewClient(k.cfg.Options()...)
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	if _, err := kadm.NewClient(client).DeleteTopics(t.Context(), topic); err != nil {
		t.Fatal(err)
	}
}

func TestEveryTopicIsThereAndHasAGeneration(t *testing.T) {
	k := start(t)
	list := eventlog.Topics(4, true)
	got := k.topics(t, len(list))
	for i, topic := range got {
		if topic.Gen != uint16(i+1) || topic.Name != list[i].Name || topic.Partitions != list[i].Partitions {
			t.Errorf("%d: %+v", i, topic)
		}
	}
}

func TestATopicMadeAgainHasAnotherGeneration(t *testing.T) {
	k := start(t)
	first := k.topics(t, len(eventlog.Topics(4, true)))
	k.remove(t, record.TopicTelemetry)
	all := k.topics(t, len(first)+1)
	last := all[len(all)-1]
	if last.Name != record.TopicTelemetry || last.Gen != uint16(len(first)+1) || slices.ContainsFunc(first, func(t roster.Topic) bool { return t.ID == last.ID }) {
		t.Errorf("%+v", last)
	}
}

func TestTheLossOfTheRegistrysLogEndsTheProcess(t *testing.T) {
	k := start(t)
	k.topics(t, len(eventlog.Topics(4, true)))
	k.remove(t, record.TopicRegistry)
	select {
	case err := <-k.ended:
		k.ended <- err
		if !errors.Is(err, ErrReplaced) {
			t.Fatal(err)
		}
	case <-time.After(patience):
		t.Fatal("it goes on")
	}
}
