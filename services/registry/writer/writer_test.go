package writer

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"muster.dev/platform/eventlog"
	"muster.dev/platform/eventlog/logtest"
	"muster.dev/platform/roster"
	"muster.dev/proto/event"
	"muster.dev/proto/identity"
	"muster.dev/proto/record"
	"muster.dev/services/registry/decide"
)

var topics = []logtest.Topic{{Name: record.TopicRegistry, Partitions: 1}, {Name: record.TopicSnapshots, Partitions: 1}}

// cluster is a broker that does what it is told.
func cluster(t *testing.T) (*kfake.Cluster, eventlog.Config) {
	t.Helper()
	c, seeds := logtest.Fake(t, topics)
	return c, eventlog.Config{Brokers: seeds}
}

// onLog is any broker: one in memory, or the real one of logtest.Env.
func onLog(t *testing.T) eventlog.Config {
	t.Helper()
	return eventlog.Config{Brokers: logtest.Start(t, topics...)}
}

// run makes a writer work until the test, or stop, ends it.
func run(t *testing.T, cfg eventlog.Config) (w *Writer, stop func() error) {
	t.Helper()
	w = New(Settings{Log: cfg, Logger: slog.New(slog.NewTextHandler(io.Discard, nil)), Metrics: prometheus.NewRegistry()})
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- w.Run(ctx) }()
	stop = sync.OnceValue(func() error { cancel(); return <-done })
	t.Cleanup(func() { stop() })
	return w, stop
}

func enrol(id string) decide.Enrol {
	return decide.Enrol{Device: identity.Device(id), Cohort: "c", SPKI: event.Chain([]byte(id))}
}

// certified is an enrolment with a certificate that is written down.
func certified(id string) decide.Enrol {
	sum := event.Chain([]byte(id))
	return decide.Enrol{Device: identity.Device(id), Cohort: "c", Certificate: decide.Certificate{
		Serial: "1" + hex.EncodeToString(sum[:15]), SPKI: sum, CSR: event.Chain(sum[:]), Issuer: strings.Repeat("a", 32),
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(90 * 24 * time.Hour),
	}}
}

// patience is how long a test waits where no time is promised.
const patience = 2 * time.Minute

func soon(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	return ctx
}

func adm(t *testing.T, cfg eventlog.Config) *kadm.Client {
	t.Helper()
	client, err := kgo.NewClient(cfg.Options()...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	return kadm.NewClient(client)
}

func fold(t *testing.T, cfg eventlog.Config) *roster.State {
	t.Helper()
	s := roster.NewState()
	err := eventlog.Tail(soon(t), cfg, eventlog.TailSettings{Topics: []string{record.TopicRegistry}}, func(rec *kgo.Record) error {
		_, err := s.ApplyRecord(rec)
		if string(rec.Value) == "x" {
			return nil
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestWhoAsksAWriterThatStopsIsToldAtOnce(t *testing.T) {
	nobody := eventlog.Config{Brokers: []string{"127.0.0.1:1"}}
	w, stop := run(t, nobody)
	waits, asked := soon(t), make(chan error, 1)
	go func() {
		_, err := w.Do(waits, "test", "", enrol("a"))
		asked <- err
	}()
	for len(w.requests) == 0 && waits.Err() == nil {
		<-time.After(time.Millisecond)
	}
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	_, err := w.Do(waits, "test", "", enrol("b"))
	for _, err := range []error{<-asked, err} {
		if !errors.Is(err, ErrUnavailable) || waits.Err() != nil {
			t.Errorf("%v, and the time was over: %v", err, waits.Err())
		}
	}
}

func TestWhatWasAnsweredStandsInTheLog(t *testing.T) {
	cfg := onLog(t)
	w, stop := run(t, cfg)
	for i, want := range []uint32{1, 2, 2, 3} {
		id := []string{"a", "b", "b", "c"}[i]
		out, err := w.Do(soon(t), "test", "because", enrol(id))
		if err != nil || out.No != want {
			t.Fatalf("%s: %+v, %v", id, out, err)
		}
	}
	var refusal *decide.Refusal
	other := enrol("a")
	other.Cohort = "d"
	if _, err := w.Do(soon(t), "test", "", other); !errors.As(err, &refusal) || refusal.Kind != decide.Conflict {
		t.Fatalf("another cohort: %v", err)
	}
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	s := fold(t, cfg)
	if counts := s.Counts(); counts.Devices != 3 || s.Last() != 4 { // a profile, three devices
		t.Fatalf("the log holds %+v in %d events", counts, s.Last())
	}

	again, _ := run(t, cfg)
	out, err := again.Do(soon(t), "test", "", enrol("d"))
	if err != nil || out.No != 4 {
		t.Fatalf("after a restart: %+v, %v", out, err)
	}
}

func TestManyAtOnceGetDenseNumbers(t *testing.T) {
	cfg := onLog(t)
	w, _ := run(t, cfg)
	const devices = 500
	var mu sync.Mutex
	numbers := map[uint32]string{}
	var wg sync.WaitGroup
	for i := range devices {
		wg.Go(func() {
			id := fmt.Sprintf("d%d", i)
			out, err := w.Do(soon(t), "test", "", enrol(id))
			if err != nil {
				t.Errorf("%s: %v", id, err)
			}
			mu.Lock()
			defer mu.Unlock()
			if was, ok := numbers[out.No]; ok {
				t.Errorf("%s and %s are both number %d", id, was, out.No)
			}
			numbers[out.No] = id
		})
	}
	wg.Wait()
	for no := uint32(1); no <= devices; no++ {
		if _, ok := numbers[no]; !ok {
			t.Errorf("number %d was left out", no)
		}
	}
	if got := fold(t, cfg).Counts().Devices; got != devices {
		t.Errorf("the log holds %d devices", got)
	}
}

// The old writer is the zombie: it believes that it has the place, and must learn that it has not before anything of
// its own is in the log.
func TestTheLastWriterFencesTheFormer(t *testing.T) {
	cfg := onLog(t)
	old, stopOld := run(t, cfg)
	if _, err := old.Do(soon(t), "old", "", enrol("a")); err != nil {
		t.Fatal(err)
	}
	next, _ := run(t, cfg)
	if out, err := next.Do(soon(t), "next", "", enrol("b")); err != nil || out.No != 2 {
		t.Fatalf("%+v, %v", out, err)
	}
	if _, err := old.Do(soon(t), "old", "", enrol("c")); !errors.Is(err, ErrUnavailable) {
		t.Fatalf("the zombie answered %v", err)
	}
	// It has stepped back, and follows.
	if err := old.Sync(soon(t)); err != nil {
		t.Fatal(err)
	}
	if err := old.View(soon(t), func(s *decide.State) {
		if _, ok := s.Device("b"); !ok || s.Counts().Devices != 2 {
			t.Errorf("the standby sees %+v", s.Counts())
		}
	}); err != nil {
		t.Fatal(err)
	}
	if _, err := old.Do(soon(t), "old", "", enrol("c")); !errors.Is(err, ErrStandby) || old.Role() != Standby || next.Role() != Leader || old.Ready() != nil {
		t.Fatalf("the standby answered %v, as %s beside %s", err, old.Role(), next.Role())
	}
	if err := stopOld(); err != nil {
		t.Fatalf("the zombie ended with %v", err)
	}
	if out, err := next.Do(soon(t), "next", "", enrol("c")); err != nil || out.No != 3 {
		t.Fatalf("%+v, %v", out, err)
	}
	s := fold(t, cfg)
	if s.Counts().Devices != 3 || len(s.Ignored()) != 0 {
		t.Fatalf("%+v, ignored %v", s.Counts(), s.Ignored())
	}
}

// A write whose outcome was not heard may be in the log or not. The state must follow the log, and numbers stay dense.
func TestAFailedWriteIsFoldedAgain(t *testing.T) {
	c, cfg := cluster(t)
	w, _ := run(t, cfg)
	if _, err := w.Do(soon(t), "test", "", enrol("a")); err != nil {
		t.Fatal(err)
	}
	fault := c.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.EndTxn}, Err: kerr.InvalidTxnState, Count: 1})
	_, err := w.Do(soon(t), "test", "", enrol("b"))
	fault.Remove()
	if !errors.Is(err, ErrUnavailable) {
		t.Fatalf("a failed write answered %v", err)
	}
	for id, want := range map[string]uint32{"b": 2} {
		if out, err := w.Do(soon(t), "test", "", enrol(id)); err != nil || out.No != want {
			t.Fatalf("%s: %+v, %v", id, out, err)
		}
	}
	if n := testutil.ToFloat64(w.metrics.refolds); n != 1 {
		t.Errorf("refolded %v times", n)
	}
	var devices int
	if err := w.View(soon(t), func(s *decide.State) { devices = s.Counts().Devices }); err != nil || devices != 2 {
		t.Errorf("%d devices, %v", devices, err)
	}
}

func TestAForeignRecordIsIgnored(t *testing.T) {
	cfg := onLog(t)
	client, err := kgo.NewClient(append(cfg.Options(), kgo.RecordPartitioner(kgo.ManualPartitioner()))...)
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	forged := decide.NewState()
	rec, err := forged.Extend(time.Now(), "mallory", "", event.ProfileDefined{Profile: 1, Name: "x"})
	if err != nil {
		t.Fatal(err)
	}
	rec.Value = append(rec.Value, 0xc1)
	if err := client.ProduceSync(soon(t), rec).FirstErr(); err != nil {
		t.Fatal(err)
	}
	w, _ := run(t, cfg)
	if out, err := w.Do(soon(t), "test", "", enrol("a")); err != nil || out.No != 1 {
		t.Fatalf("%+v, %v", out, err)
	}
	if n := testutil.ToFloat64(w.metrics.ignored); n != 1 {
		t.Errorf("ignored %v records", n)
	}
}

func TestWithoutALogNothingIsAnswered(t *testing.T) {
	c, cfg := cluster(t)
	c.Close()
	w, _ := run(t, cfg)
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	if _, err := w.Do(ctx, "test", "", enrol("a")); !errors.Is(err, ErrUnavailable) {
		t.Errorf("%v", err)
	}
	if err := w.View(ctx, func(*decide.State) { t.Error("a view of nothing") }); !errors.Is(err, ErrUnavailable) {
		t.Errorf("%v", err)
	}
	if w.Ready() == nil {
		t.Error("ready without a log")
	}
}

func BenchmarkEnrol(b *testing.B) {
	c, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(1, record.TopicRegistry))
	if err != nil {
		b.Fatal(err)
	}
	defer c.Close()
	w := New(Settings{Log: eventlog.Config{Brokers: c.ListenAddrs()}, Logger: slog.New(slog.DiscardHandler), Metrics: prometheus.NewRegistry()})
	ctx, cancel := context.WithCancel(b.Context())
	done := make(chan error, 1)
	go func() { done <- w.Run(ctx) }()
	var next sync.Mutex
	i := 0
	b.SetParallelism(16)
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			next.Lock()
			i++
			id := fmt.Sprintf("d%d", i)
			next.Unlock()
			if _, err := w.Do(b.Context(), "bench", "", enrol(id)); err != nil {
				b.Error(err)
			}
		}
	})
	b.StopTimer()
	cancel()
	if err := <-done; err != nil {
		b.Fatal(err)
	}
}

// A refusal, and what was so already, need no event, and so no write that would tell the zombie that it is one.
func TestAZombieAnswersNothingFromWhatItKnew(t *testing.T) {
	cfg := onLog(t)
	old, _ := runWith(t, Settings{Log: cfg, Name: "same", Beat: time.Minute}) // it does not look at its lease for so long
	if _, err := old.Do(soon(t), "old", "", enrol("a")); err != nil {
		t.Fatal(err)
	}
	next, _ := runWith(t, Settings{Log: cfg, Name: "same"})
	if _, err := next.Do(soon(t), "next", "", decide.RevokeDevice{Device: "a"}); err != nil {
		t.Fatal(err)
	}
	for _, c := range []decide.Command{enrol("a"), decide.RevokeDevice{Device: "b"}} {
		if out, err := old.Do(soon(t), "old", "", c); !errors.Is(err, ErrUnavailable) {
			t.Errorf("%+v was answered %+v, %v", c, out, err)
		}
	}
}

// What is in the log and counts for nothing takes offsets, as the beginning of a transaction does at some brokers.
func TestOffsetsThatHoldNothingStopNothing(t *testing.T) {
	cfg := onLog(t)
	client, err := kgo.NewClient(cfg.Options()...)
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	w, _ := run(t, cfg)
	hole := func() {
		t.Helper()
		if err := client.ProduceSync(soon(t), &kgo.Record{Topic: record.TopicRegistry, Value: []byte("x")}).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := w.Do(soon(t), "test", "", enrol("a")); err != nil {
		t.Fatal(err)
	}
	for i := range 3 {
		for range 3 - i {
			hole()
		}
		if out, err := w.Do(soon(t), "test", "", enrol(fmt.Sprint("b", i))); err != nil || int(out.No) != i+2 {
			t.Fatalf("%+v, %v", out, err)
		}
	}
	// Where no hole is, it was guessed wrong, and is found right.
	if _, err := w.Do(soon(t), "test", "", enrol("c")); err != nil {
		t.Fatal(err)
	}
	if end, err := (leases{adm(t, cfg)}).end(soon(t)); err != nil || w.Position() != end {
		t.Errorf("position %d, the log ends at %d, %v", w.Position(), end, err)
	}
	if n := testutil.ToFloat64(w.metrics.refolds); n != 0 {
		t.Errorf("refolded %v times", n)
	}
	hole()
	if _, err := w.Do(soon(t), "test", "", enrol("a")); err != nil { // which needs no event
		t.Fatal(err)
	}
	// The offset of a schema is its revision, and must be that of the log.
	for i := range 3 {
		out, err := w.Do(soon(t), "test", "", decide.DefineSchema{Metrics: []decide.Metric{{Name: fmt.Sprint("m", i)}}})
		if err != nil || int(out.Schema) != i+1 {
			t.Fatalf("%+v, %v", out, err)
		}
	}
	if err := w.Sync(soon(t)); err != nil {
		t.Fatal(err)
	}
	want := fold(t, cfg)
	if err := w.View(soon(t), func(s *decide.State) {
		if s.Rev() != want.Rev() || s.Counts() != want.Counts() {
			t.Errorf("revision %d of %+v, the log has %d of %+v", s.Rev(), s.Counts(), want.Rev(), want.Counts())
		}
	}); err != nil {
		t.Fatal(err)
	}
}
