package writer

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/twmb/franz-go/pkg/kgo"

	"muster.dev/platform/eventlog"
	"muster.dev/platform/roster"
	"muster.dev/platform/snapshot"
	"muster.dev/proto/event"
	"muster.dev/proto/identity"
	"muster.dev/proto/record"
	"muster.dev/services/registry/decide"
)

// sumOf is a state as one number: equal states have equal snapshots.
func sumOf(t testing.TB, s *decide.State) [32]byte {
	t.Helper()
	h := sha256.New()
	if err := s.Freeze().Write(h); err != nil {
		t.Fatal(err)
	}
	return [32]byte(h.Sum(nil))
}

// whole folds the whole log.
func whole(t testing.TB, cfg eventlog.Config) *decide.State {
	t.Helper()
	s := decide.NewState()
	err := eventlog.Tail(t.Context(), cfg, eventlog.TailSettings{Topics: []string{record.TopicRegistry}}, func(rec *kgo.Record) error {
		_ = s.Apply(rec) // what is ignored is counted in the state
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// populate tells a writer of a fleet and of all kinds of things.
func populate(t *testing.T, w *Writer, devices int) {
	t.Helper()
	var next atomic.Int64
	var callers sync.WaitGroup
	for range 256 {
		callers.Go(func() {
			for i := next.Add(1); i <= int64(devices); i = next.Add(1) {
				c := certified(fmt.Sprint("d-", i))
				c.Cohort = fmt.Sprint("c-", i%7)
				c.Attributes = map[string]string{"site": fmt.Sprint("s", i%50), "mac": fmt.Sprintf("02:00:%08x", i)}
				if _, err := w.Do(soon(t), "test", "", c); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	callers.Wait()
	hash := func(s string) [32]byte { return sha256.Sum256([]byte(s)) }
	for _, c := range []decide.Command{
		decide.DefineLine{Label: "pumps", Profile: "pump", Cohort: "c-1"},
		decide.DefineCohort{Cohort: "c-2", Interval: time.Minute, Region: "eu", Sleep: []decide.Sleep{{Days: 1, From: 1, To: 2}}},
		decide.DefineGroup{Group: "g", Selector: `site in (s1,"s 2"),mac`}, decide.DefineRegion{Region: "eu", Gateway: "eu:8443"},
		decide.MakePassword{ID: "p", Hash: hash("p"), Label: "pumps", Prefix: "p-", NotAfter: time.Now().Add(time.Hour), Uses: 3},
		decide.MakeToken{ID: "t", Name: "ci", Role: decide.RoleViewer, Hash: hash("t"), NotAfter: time.Now().Add(time.Hour)},
		decide.DefineSchema{Metrics: []decide.Metric{{Name: "a"}}}, decide.DefineTopic{Name: "t", ID: [16]byte{1}, Partitions: 2},
		decide.RevokeDevice{Device: "d-1"}, decide.Quarantine{Device: "d-2", On: true}, decide.Quarantine{Cohort: "c-3", On: true},
		decide.Move{Devices: []identity.Device{"d-3", "d-4"}, Cohort: "c-9"}, decide.Describe{Device: "d-5", Set: map[string]string{"x": "y"}, Unset: []string{"mac"}},
		decide.Replace{Old: "d-6", New: "d-7"}, decide.RevokeCohort{Cohort: "c-5"}, decide.RevokeCertificate{Serial: certified("d-9").Certificate.Serial},
		decide.EnrolByPassword{User: "p-1", Secret: hash("p"), Certificate: certified("p-1").Certificate},
	} {
		if _, err := w.Do(soon(t), "test", "", c); err != nil {
			t.Fatalf("%+v: %v", c, err)
		}
	}
}

func runWith(t *testing.T, s Settings) (w *Writer, stop func() error) {
	t.Helper()
	s.Logger, s.Metrics = slog.New(slog.DiscardHandler), prometheus.NewRegistry()
	w = New(s)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- w.Run(ctx) }()
	stop = sync.OnceValue(func() error { cancel(); return <-done })
	t.Cleanup(func() { stop() })
	return w, stop
}

// view is the sum of a writer's state once it has all of the log.
func view(t *testing.T, w *Writer) (sum [32]byte) {
	t.Helper()
	if err := w.Sync(soon(t)); err != nil {
		t.Fatal(err)
	}
	if err := w.View(soon(t), func(s *decide.State) { sum = sumOf(t, s) }); err != nil {
		t.Fatal(err)
	}
	return sum
}

func TestAStateFromASnapshotIsThatOfTheWholeLog(t *testing.T) {
	cfg := onLog(t)
	w, stop := runWith(t, Settings{Log: cfg, SnapshotEvery: 7_000, SnapshotAtStop: 10})
	populate(t, w, 20_000)
	// A snapshot is taken beside the rounds, however long they take, and the next one begins with a round: until none is
	// due there are rounds, of what was done before and is no event.
	due := func() (yes bool) {
		if err := w.View(soon(t), func(s *decide.State) { yes = s.Last() >= s.Snapshot().Event+7_000 }); err != nil {
			t.Fatal(err)
		}
		return yes
	}
	taken := func() float64 { return testutil.ToFloat64(w.metrics.snapshots.WithLabelValues("taken")) }
	for ctx := soon(t); due() || taken() < 2; <-time.After(time.Millisecond) {
		if _, err := w.Do(ctx, "test", "", decide.RevokeDevice{Device: "d-1"}); err != nil {
			t.Fatalf("%v; %v snapshots were taken while it ran", err, taken())
		}
	}
	before := view(t, w)
	if got := sumOf(t, whole(t, cfg)); got != before {
		t.Fatal("the writer's state is not that of the log")
	}
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	truth := sumOf(t, whole(t, cfg)) // with the event that names the last snapshot

	again, stopAgain := runWith(t, Settings{Log: cfg})
	if got := view(t, again); got != truth {
		t.Error("the state from the snapshot is another than that of the whole log")
	}
	if n := testutil.ToFloat64(again.metrics.restored); n != 1 {
		t.Errorf("began with a snapshot %v times", n)
	}
	// It is good for decisions too: keys, serials and passwords are known.
	reused := certified("d-11")
	reused.Device = "thief"
	var refusal *decide.Refusal
	if _, err := again.Do(soon(t), "test", "", reused); !errors.As(err, &refusal) || refusal.Field != "csr" {
		t.Errorf("a key that is another's: %v", err)
	}
	if out, err := again.Do(soon(t), "test", "", certified("d-new")); err != nil || out.No != 20_002 {
		t.Errorf("%+v, %v", out, err)
	}
	if err := stopAgain(); err != nil {
		t.Fatal(err)
	}

	// A roster begins with it as well.
	r, err := roster.Follow(cfg, roster.Settings{Snapshot: true})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- r.Run(ctx) }()
	if err := r.WaitReady(soon(t)); err != nil {
		t.Fatal(err)
	}
	if d, ok := r.Device("d-5"); !ok || r.Counts() != whole(t, cfg).Counts() || len(d.Certificates) != 1 {
		t.Errorf("the roster has %+v, %+v", r.Counts(), d)
	}
	cancel()
	<-done
}

// A snapshot decides nothing: whatever is wrong with one, the state is that of the log.
func TestASnapshotThatIsNotInOrderIsPassedOver(t *testing.T) {
	evil := func(s *decide.State) *decide.State { // one device more than the log tells
		if _, err := s.Extend(time.Now(), "mallory", "", event.DeviceEnrolled{Device: "evil", No: uint32(s.Counts().Devices) + 1}); err != nil {
			t.Fatal(err)
		}
		return s
	}
	for name, spoil := range map[string]func(t *testing.T, cfg eventlog.Config, s *decide.State) (taken event.SnapshotTaken, chained bool){
		"cut short": func(t *testing.T, cfg eventlog.Config, s *decide.State) (event.SnapshotTaken, bool) {
			frozen, draft := freeze(s)
			var all bytes.Buffer
			if err := frozen.Write(&all); err != nil {
				t.Fatal(err)
			}
			return put(t, cfg, draft, all.Bytes()[:all.Len()-100]), true
		},
		"a bit turned": func(t *testing.T, cfg eventlog.Config, s *decide.State) (event.SnapshotTaken, bool) {
			frozen, draft := freeze(s)
			var all bytes.Buffer
			if err := frozen.Write(&all); err != nil {
				t.Fatal(err)
			}
			sum := sha256.Sum256(all.Bytes())
			all.Bytes()[all.Len()/2] ^= 1
			taken := put(t, cfg, draft, all.Bytes())
			taken.Sum = sum[:]
			return taken, true
		},
		"a chunk missing": func(t *testing.T, cfg eventlog.Config, s *decide.State) (event.SnapshotTaken, bool) {
			frozen, draft := freeze(s)
			taken := take(t, cfg, frozen, draft)
			taken.Chunks++
			return taken, true
		},
		"of another place": func(t *testing.T, cfg eventlog.Config, s *decide.State) (event.SnapshotTaken, bool) {
			frozen, draft := freeze(s)
			taken := take(t, cfg, frozen, draft)
			taken.Start += 1000
			return taken, true
		},
		"of another state, and named in the chain": func(t *testing.T, cfg eventlog.Config, s *decide.State) (event.SnapshotTaken, bool) {
			copied := whole(t, cfg)
			frozen, draft := freeze(evil(copied))
			return take(t, cfg, frozen, draft), true
		},
		"forged, and named outside of the chain": func(t *testing.T, cfg eventlog.Config, s *decide.State) (event.SnapshotTaken, bool) {
			copied := whole(t, cfg)
			copied.Pass(s.Offset())
			frozen, draft := freeze(evil(copied))
			draft.Offset = s.Offset()
			return take(t, cfg, frozen, draft), false
		},
		"of the time to come": func(t *testing.T, cfg eventlog.Config, s *decide.State) (event.SnapshotTaken, bool) {
			frozen, draft := freeze(s)
			draft.Offset += 1_000
			return take(t, cfg, frozen, draft), true
		},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := eventlog.Config{Brokers: slices.Clone(onLog(t).Brokers)}
			w, stop := runWith(t, Settings{Log: cfg})
			populate(t, w, 100)
			if err := stop(); err != nil {
				t.Fatal(err)
			}
			out, err := eventlog.OpenWriter(soon(t), cfg, TransactionalID)
			if err != nil {
				t.Fatal(err)
			}
			defer out.Close()
			s := whole(t, cfg)
			end, err := leases{adm(t, cfg)}.end(soon(t))
			if err != nil {
				t.Fatal(err)
			}
			s.Pass(end)
			taken, chained := spoil(t, cfg, s)
			if !chained {
				s = evil(whole(t, cfg)) // what follows from a state that the log does not have
			}
			rec, err := s.Extend(time.Now(), "registry", "", taken)
			if err != nil {
				t.Fatal(err)
			}
			if err := out.Append(soon(t), []*kgo.Record{rec}); err != nil {
				t.Fatal(err)
			}
			truth := whole(t, cfg)
			again, _ := runWith(t, Settings{Log: cfg})
			if got := view(t, again); got != sumOf(t, truth) {
				t.Error("the state is not that of the log")
			}
			if n := testutil.ToFloat64(again.metrics.restored); n != 0 {
				t.Error("it was believed")
			}
			if err := again.View(soon(t), func(s *decide.State) {
				if _, ok := s.Device("evil"); ok {
					t.Error("a forged device is known")
				}
			}); err != nil {
				t.Error(err)
			}
		})
	}
}

func take(t *testing.T, cfg eventlog.Config, frozen *decide.Frozen, draft event.SnapshotTaken) event.SnapshotTaken {
	t.Helper()
	var all bytes.Buffer
	if err := frozen.Write(&all); err != nil {
		t.Fatal(err)
	}
	return put(t, cfg, draft, all.Bytes())
}

func put(t *testing.T, cfg eventlog.Config, draft event.SnapshotTaken, stream []byte) event.SnapshotTaken {
	t.Helper()
	written, err := snapshot.Put(soon(t), cfg, draft.Slot, func(w io.Writer) error { _, err := w.Write(stream); return err })
	if err != nil {
		t.Fatal(err)
	}
	draft.Start, draft.Chunks, draft.Sum = written.Start, written.Chunks, written.Sum
	return draft
}

// million makes TestAMillionDevicesAreReadySoon run, with as many devices as it says.
const million = "MUSTER_MILLION"

// A million devices: `MUSTER_MILLION=1000000 go test -run Million -v -timeout 20m ./writer`. The log before the snapshot
// is filled with records of no meaning, as nobody reads them.
func TestAMillionDevicesAreReadySoon(t *testing.T) {
	var devices int
	if _, err := fmt.Sscan(os.Getenv(million), &devices); err != nil {
		t.Skip(million + " does not say how many devices")
	}
	cfg := durable(t)
	s, events := decide.NewState(), 0
	began := time.Now()
	extend := func(bodies ...event.Body) {
		for _, body := range bodies {
			events++
			if _, err := s.Extend(time.Now(), "test", "", body); err != nil {
				t.Fatal(err)
			}
		}
	}
	for i := range devices {
		c := certified(fmt.Sprintf("device-%08d", i))
		c.Cohort, c.Profile = fmt.Sprint("c-", i%100), "pump"
		c.Attributes = map[string]string{"site": fmt.Sprint("s", i%500), "board": "rev-c", "mac": fmt.Sprintf("02:00:%08x", i)}
		out, err := decide.Decide(s, time.Now(), c)
		if err != nil {
			t.Fatal(err)
		}
		extend(out.Events...)
	}
	t.Logf("folded %d events in %v", events, time.Since(began))
	client, err := kgo.NewClient(append(cfg.Options(), kgo.MaxBufferedRecords(1<<20))...)
	if err != nil {
		t.Fatal(err)
	}
	for range events {
		client.Produce(t.Context(), &kgo.Record{Topic: record.TopicRegistry, Value: []byte{0}}, nil)
	}
	if err := client.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	client.Close()
	out, err := eventlog.OpenWriter(t.Context(), cfg, TransactionalID)
	if err != nil {
		t.Fatal(err)
	}
	began = time.Now()
	frozen, draft := freeze(s)
	t.Logf("frozen in %v", time.Since(began))
	began = time.Now()
	written, err := snapshot.Put(t.Context(), cfg, draft.Slot, frozen.Write)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%d chunks written in %v", written.Chunks, time.Since(began))
	draft.Start, draft.Chunks, draft.Sum = written.Start, written.Chunks, written.Sum
	rec, err := s.Extend(time.Now(), "registry", "", draft)
	if err != nil {
		t.Fatal(err)
	}
	if err := out.Append(t.Context(), []*kgo.Record{rec}); err != nil {
		t.Fatal(err)
	}
	out.Close()

	began = time.Now()
	p := start(t, cfg.Brokers[0], "registry")
	p.next(t)
	took := time.Since(began)
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	var peak int
	for _, line := range strings.Split(string(status), "\n") {
		if rest, ok := strings.CutPrefix(line, "VmHWM:"); ok {
			if _, err := fmt.Sscan(rest, &peak); err != nil {
				t.Fatal(err)
			}
		}
	}
	t.Logf("%d devices: from its start to the first command decided %v, at most %d MiB", devices, took, peak>>10)
	if took > 15*time.Second || peak > 1536<<10 {
		t.Errorf("the bounds are 15 s and 1,536 MiB")
	}
}
