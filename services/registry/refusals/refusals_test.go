package refusals

import (
	"context"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"go.uber.org/goleak"

	"muster.dev/platform/eventlog"
	"muster.dev/proto/event"
	"muster.dev/proto/record"
	"muster.dev/services/registry/writer"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// room works on a log of its own, in a bubble of time; end stops it, and gives what it wrote.
func room(t *testing.T, now func() time.Time) (r *Room, end func() []event.AttemptRefused) {
	t.Helper()
	r, _, end = roomAndWriter(t, now)
	return r, end
}

func roomAndWriter(t *testing.T, now func() time.Time) (r *Room, stopWriter func(), end func() []event.AttemptRefused) {
	t.Helper()
	network := &kfake.VirtualNetwork{}
	cluster, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.ListenFn(network.Listen), kfake.SeedTopics(1, record.TopicRegistry))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cluster.Close)
	cfg := eventlog.Config{Brokers: cluster.ListenAddrs(), Dialer: network.DialContext}
	quiet, reg := slog.New(slog.DiscardHandler), prometheus.NewRegistry()
	w := writer.New(writer.Settings{Log: cfg, Logger: quiet, Metrics: reg})
	r = New(Settings{Writer: w, Log: quiet, Metrics: reg, Now: now})
	start := func(run func(context.Context) error) func() {
		ctx, cancel := context.WithCancel(context.Background())
		done := make(chan error, 1)
		go func() { done <- run(ctx) }()
		stop := sync.OnceFunc(func() {
			cancel()
			if err := <-done; err != nil {
				t.Error(err)
			}
		})
		t.Cleanup(stop)
		return stop
	}
	stopWriter = start(w.Run)
	stop := start(r.Run)
	return r, stopWriter, func() (found []event.AttemptRefused) {
		t.Helper()
		stop()
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		defer cancel()
		err := eventlog.Tail(ctx, cfg, eventlog.TailSettings{Topics: []string{record.TopicRegistry}}, func(rec *kgo.Record) error {
			var headers []event.Header
			for _, h := range rec.Headers {
				headers = append(headers, event.Header{Key: h.Key, Value: h.Value})
			}
			e, err := event.DecodeRegistry(headers, rec.Value)
			if b, ok := e.Body.(event.AttemptRefused); ok {
				found = append(found, b)
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		return found
	}
}

func TestEachAttemptIsOneEvent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, end := room(t, nil)
		r.Note(Attempt{What: "simpleenroll", Subject: "pump-1", Reason: "wrong\npassword", Source: "192.0.2.1"})
		r.Note(Attempt{What: "simpleenroll", Subject: strings.Repeat("é", 10_000), Reason: "too long", Source: "192.0.2.1"})
		got := end()
		if len(got) != 2 || got[0].Subject != "pump-1" || got[0].Reason != "wrong?password" || got[0].More != 0 {
			t.Fatalf("%+v", got)
		}
		if len(got[1].Subject) > mostText {
			t.Errorf("%d bytes of a subject", len(got[1].Subject))
		}
	})
}

func TestAStopDoesNotWaitForAWriterThatHasStopped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, stopWriter, end := roomAndWriter(t, nil)
		stopWriter()
		for range burst {
			r.Note(Attempt{What: "simpleenroll", Subject: "pump-1", Reason: "wrong password", Source: "192.0.2.1"})
		}
		began := time.Now()
		if got := end(); len(got) != 0 {
			t.Errorf("%d events without a writer", len(got))
		}
		if took := time.Since(began); took > writeTimeout/2 {
			t.Errorf("the stop took %v", took)
		}
	})
}

// A log that is away is waited for once, however many attempts are in the queue.
func TestAStopDoesNotWaitForALogThatIsAwayAgainAndAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		quiet, reg := slog.New(slog.DiscardHandler), prometheus.NewRegistry()
		w := writer.New(writer.Settings{Logger: quiet, Metrics: reg}) // which does not run: nothing is answered
		r := New(Settings{Writer: w, Log: quiet, Metrics: reg})
		ctx, stop := context.WithCancel(context.Background())
		defer stop()
		for range burst {
			r.Note(Attempt{What: "simpleenroll"})
		}
		done := make(chan error, 1)
		go func() { done <- r.Run(ctx) }()
		if synctest.Wait(); len(r.queue) == burst {
			t.Fatal("nothing is written")
		}
		began := time.Now()
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
		if took := time.Since(began); took > stopTimeout {
			t.Errorf("the stop took %v", took)
		}
	})
}

func TestAFloodIsCountedAndNotWritten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		at := time.Now()
		r, end := room(t, func() time.Time { mu.Lock(); defer mu.Unlock(); return at })
		const flood = 5_000
		for range flood {
			r.Note(Attempt{What: "simpleenroll", Subject: "x", Reason: "guess"})
		}
		r.Note(Attempt{What: "operator", Subject: "y", Reason: "role"})
		mu.Lock()
		at = at.Add(10 * every)
		mu.Unlock()
		r.Note(Attempt{What: "operator", Subject: "z", Reason: "role"})
		got := end()
		sums := map[string]uint64{}
		for _, a := range got {
			sums[a.What] += 1 + a.More
		}
		if len(got) > burst+10 || sums["simpleenroll"] != flood || sums["operator"] != 2 {
			t.Errorf("%d events say %v", len(got), sums)
		}
	})
}
