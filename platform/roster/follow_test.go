package roster

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"muster.dev/platform/eventlog"
	"muster.dev/platform/eventlog/logtest"
	"muster.dev/proto/batch"
	"muster.dev/proto/event"
	"muster.dev/proto/identity"
	"muster.dev/proto/record"
)

// registry is a broker with the registry's log and the log's one writer.
type registry struct {
	t       *testing.T
	cluster *kfake.Cluster
	cfg     eventlog.Config
	writer  *eventlog.Writer
	chain   chain
}

func newRegistry(t *testing.T, opts ...kfake.Opt) *registry {
	t.Helper()
	logtest.OnlyFake(t)
	network := &kfake.VirtualNetwork{}
	cluster, err := kfake.NewCluster(append([]kfake.Opt{kfake.NumBrokers(1), kfake.ListenFn(network.Listen), kfake.SeedTopics(1, record.TopicRegistry)}, opts...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cluster.Close)
	r := &registry{t: t, cluster: cluster, chain: chain{t: t}, cfg: eventlog.Config{Brokers: cluster.ListenAddrs(), Dialer: network.DialContext}}
	r.open()
	return r
}

func (r *registry) open() {
	r.t.Helper()
	w, err := eventlog.OpenWriter(r.within(aWhile), r.cfg, "registry")
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(w.Close)
	r.writer = w
}

// aWhile is what anything may take of which nobody has said how long it takes.
const aWhile = 2 * time.Minute

func (r *registry) within(d time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(r.t.Context(), d)
	r.t.Cleanup(cancel)
	return ctx
}

// say writes bodies in one transaction and returns the offset after the last.
func (r *registry) say(bodies ...event.Body) int64 {
	r.t.Helper()
	records := r.chain.records(0, bodies...)
	if err := r.writer.Append(r.within(aWhile), records); err != nil {
		r.t.Fatal(err)
	}
	return records[len(records)-1].Offset + 1
}

func (r *registry) follow() (*Roster, *prometheus.Registry) {
	r.t.Helper()
	reg := prometheus.NewRegistry()
	roster, err := Follow(r.cfg, Settings{Registerer: reg})
	if err != nil {
		r.t.Fatal(err)
	}
	ctx, stop := context.WithCancel(r.t.Context())
	ended := make(chan error, 1)
	go func() { ended <- roster.Run(ctx) }()
	r.t.Cleanup(func() {
		stop()
		if err := <-ended; !errors.Is(err, context.Canceled) {
			r.t.Errorf("Run = %v", err)
		}
	})
	return roster, reg
}

func (r *registry) client() *kadm.Client {
	r.t.Helper()
	cl, err := kgo.NewClient(r.cfg.Options()...)
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(cl.Close)
	return kadm.NewClient(cl)
}

func counted(t *testing.T, reg *prometheus.Registry, name, label, value string) float64 {
	t.Helper()
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	var sum float64
	for _, f := range families {
		if f.GetName() != name {
			continue
		}
		for _, m := range f.GetMetric() {
			match := label == ""
			for _, l := range m.GetLabel() {
				match = match || l.GetName() == label && l.GetValue() == value
			}
			if match {
				sum += m.GetCounter().GetValue() + m.GetGauge().GetValue()
			}
		}
	}
	return sum
}

func TestARosterKnowsWhatTheRegistrySaidAndIsYoung(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRegistry(t)
		r.say(life()[:3]...)
		roster, reg := r.follow()
		if roster.Ready() || roster.Age() != Never || roster.Check(2*time.Second) == nil {
			t.Error("ready before it has read")
		}
		if err := roster.WaitReady(r.within(10 * time.Second)); err != nil {
			t.Fatal(err)
		}
		if d, ok := roster.Device("pump-1"); !ok || d.No != 1 {
			t.Errorf("pump-1 is %+v when the end is reached", d)
		}
		end := r.say(life()[3:]...)
		if err := roster.WaitRev(r.within(time.Second), uint64(end)); err != nil {
			t.Fatal(err)
		}
		if d, _ := roster.DeviceByNo(2); !d.Revoked {
			t.Error("the revocation has not come")
		}
		if p, ok := roster.ProfileAt(1, roster.Rev()); !ok || len(p.Metrics) != 2 {
			t.Errorf("profile %+v", p)
		}
		if got := roster.DevicesAfter(0, 10); len(got) != 2 || len(roster.DevicesAfter(1, 10)) != 1 || len(roster.DevicesAfter(0, 1)) != 1 {
			t.Errorf("devices %+v", got)
		}
		// Half an hour of nothing new: an idle log is not an old one.
		for range 6 {
			time.Sleep(5 * time.Minute)
			if age := roster.Age(); age > 600*time.Millisecond {
				t.Fatalf("%v old on an idle log", age)
			}
		}
		if err := roster.Check(2 * time.Second); err != nil {
			t.Error(err)
		}
		for name, want := range map[string]float64{
			"muster_roster_applied_events_total": 8,
			"muster_roster_ignored_events_total": 0,
			"muster_roster_failures_total":       0,
			"muster_roster_devices":              2,
			"muster_roster_revoked_devices":      1,
			"muster_roster_position_records":     float64(roster.Position()),
		} {
			if got := counted(t, reg, name, "", ""); got != want {
				t.Errorf("%s = %v, want %v", name, got, want)
			}
		}
	})
}

func TestARevocationIsKnownWithinMilliseconds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRegistry(t)
		r.say(life()[:4]...)
		roster, _ := r.follow()
		if err := roster.WaitReady(r.within(10 * time.Second)); err != nil {
			t.Fatal(err)
		}
		heard := make(chan Change, 8)
		stop := roster.Watch(func(c Change) { heard <- c })
		time.Sleep(3333 * time.Millisecond)
		start := time.Now()
		r.say(event.DeviceRevoked{No: 1})
		change := <-heard
		if took := time.Since(start); took > 200*time.Millisecond {
			t.Errorf("after %v", took)
		}
		if change.Type != event.TypeDeviceRevoked || change.Device.ID != "pump-1" || !change.Device.Revoked {
			t.Errorf("heard %+v", change)
		}
		if d, _ := roster.Device("pump-1"); !d.Revoked {
			t.Error("told before it was known")
		}
		stop()
		if err := roster.WaitRev(r.within(time.Second), uint64(r.say(event.DeviceRevoked{No: 2}))); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if len(heard) != 0 {
			t.Error("told after it stopped listening")
		}
	})
}

func TestWhenTheBrokerIsSilentTheRosterGrowsOldAndYoungAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRegistry(t)
		r.say(life()...)
		roster, reg := r.follow()
		if err := roster.WaitReady(r.within(10 * time.Second)); err != nil {
			t.Fatal(err)
		}
		var mu sync.Mutex
		silent := true
		r.cluster.Control(func(kmsg.Request) (kmsg.Response, error, bool) {
			r.cluster.KeepControl()
			mu.Lock()
			defer mu.Unlock()
			return nil, nil, silent
		})
		start := time.Now()
		for roster.Age() <= 2*time.Second {
			time.Sleep(100 * time.Millisecond)
		}
		if took := time.Since(start); took > 2500*time.Millisecond {
			t.Errorf("two seconds old after %v", took)
		}
		if err := roster.Check(2 * time.Second); err == nil || !strings.Contains(err.Error(), "old") {
			t.Errorf("Check = %v", err)
		}
		time.Sleep(5 * time.Minute)
		if age := roster.Age(); age < 5*time.Minute {
			t.Errorf("%v old after five minutes of silence", age)
		}
		if _, ok := roster.Device("pump-1"); !ok || !roster.Ready() {
			t.Error("it has forgotten what it knew")
		}
		if counted(t, reg, "muster_roster_failures_total", "step", stepAsk) == 0 {
			t.Error("no failure is counted")
		}
		mu.Lock()
		silent = false
		mu.Unlock()
		start = time.Now()
		for roster.Age() > time.Second {
			if time.Since(start) > time.Minute {
				t.Fatalf("still %v old a minute after the broker's return", roster.Age())
			}
			time.Sleep(50 * time.Millisecond)
		}
		t.Logf("young again %v after the broker's return", time.Since(start))
	})
}

func TestAReaderThatIsBehindIsOldThoughTheBrokerAnswers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRegistry(t)
		r.say(life()[:3]...)
		roster, _ := r.follow()
		if err := roster.WaitReady(r.within(10 * time.Second)); err != nil {
			t.Fatal(err)
		}
		// Fetches fail, asks do not.
		fault := r.cluster.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Fetch}, Err: kerr.NotLeaderForPartition, Count: -1})
		r.say(life()[3:]...)
		time.Sleep(time.Minute)
		if age := roster.Age(); age < 55*time.Second || age == Never {
			t.Errorf("%v old, a minute behind", age)
		}
		fault.Remove()
		time.Sleep(30 * time.Second)
		if age := roster.Age(); age > time.Second {
			t.Errorf("%v old after it could read again", age)
		}
		if d, _ := roster.DeviceByNo(2); !d.Revoked {
			t.Error("the revocation was missed")
		}
	})
}

func TestAnUnfinishedTransactionIsNotReadAndDoesNotMakeTheRosterOld(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRegistry(t)
		r.say(life()[:3]...)
		roster, _ := r.follow()
		if err := roster.WaitReady(r.within(10 * time.Second)); err != nil {
			t.Fatal(err)
		}
		var mu sync.Mutex
		swallow := true
		r.cluster.ControlKey(int16(kmsg.EndTxn), func(kmsg.Request) (kmsg.Response, error, bool) {
			r.cluster.KeepControl()
			mu.Lock()
			defer mu.Unlock()
			return nil, nil, swallow
		})
		dead := r.writer
		lost := encode(t, r.chain.next(event.DeviceEnrolled{Device: "never", No: 2}))
		failed := make(chan error, 1)
		go func() { failed <- dead.Append(t.Context(), []*kgo.Record{lost}) }()
		time.Sleep(4 * time.Second)
		if age := roster.Age(); age > time.Second {
			t.Errorf("%v old during a writer's transaction", age)
		}
		if err := <-failed; !errors.Is(err, eventlog.ErrUnknown) {
			t.Errorf("%v", err)
		}
		mu.Lock()
		swallow = false
		mu.Unlock()
		r.open()
		end := r.say(event.DeviceEnrolled{Device: "pump-2", No: 2})
		if err := roster.WaitRev(r.within(time.Minute), uint64(end)); err != nil {
			t.Fatal(err)
		}
		if d, _ := roster.DeviceByNo(2); d.ID != "pump-2" {
			t.Errorf("2 is %+v: an aborted event was read", d)
		}
		time.Sleep(2 * time.Second)
		if age := roster.Age(); age > time.Second {
			t.Errorf("%v old after an aborted transaction", age)
		}
	})
}

func TestARecordThatDoesNotChainIsPassedOverWhileFollowing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRegistry(t)
		r.say(life()[:3]...)
		forged := encode(t, event.Registry{N: 4, Body: event.DeviceEnrolled{Device: "evil", No: 2}})
		if err := r.writer.Append(r.within(time.Minute), []*kgo.Record{forged, {Topic: record.TopicRegistry, Value: []byte("junk")}}); err != nil {
			t.Fatal(err)
		}
		end := r.say(event.DeviceEnrolled{Device: "pump-2", No: 2})
		roster, reg := r.follow()
		if err := roster.WaitRev(r.within(time.Minute), uint64(end)); err != nil {
			t.Fatal(err)
		}
		if _, known := roster.Device("evil"); known {
			t.Error("a forged device is known")
		}
		if d, _ := roster.DeviceByNo(2); d.ID != "pump-2" {
			t.Errorf("2 is %+v", d)
		}
		for reason, want := range map[Reason]float64{Chain: 1, Decode: 1} {
			if got := counted(t, reg, "muster_roster_ignored_events_total", "reason", string(reason)); got != want || roster.Ignored()[reason] != uint64(want) {
				t.Errorf("%s: %v counted", reason, got)
			}
		}
	})
}

func TestALostLogIsSaidLoudlyAndTheRosterGrowsOld(t *testing.T) {
	for name, lose := range map[string]func(*registry){
		"made again": func(r *registry) {
			adm := r.client()
			if _, err := adm.DeleteTopics(r.within(time.Minute), record.TopicRegistry); err != nil {
				r.t.Fatal(err)
			}
			if _, err := adm.CreateTopic(r.within(time.Minute), 1, -1, nil, record.TopicRegistry); err != nil {
				r.t.Fatal(err)
			}
		},
		"made again and longer": func(r *registry) {
			adm := r.client()
			if _, err := adm.DeleteTopics(r.within(time.Minute), record.TopicRegistry); err != nil {
				r.t.Fatal(err)
			}
			if _, err := adm.CreateTopic(r.within(time.Minute), 1, -1, nil, record.TopicRegistry); err != nil {
				r.t.Fatal(err)
			}
			r.chain = chain{t: r.t}
			r.open()
			for i := range 5 {
				r.say(event.DeviceEnrolled{Device: fmt.Sprintf("new-%d", i), No: uint32(i + 1)})
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRegistry(t)
				r.say(life()[:4]...)
				roster, reg := r.follow()
				if err := roster.WaitReady(r.within(10 * time.Second)); err != nil {
					t.Fatal(err)
				}
				time.Sleep(time.Second)
				lose(r)
				time.Sleep(time.Minute)
				if err := roster.Err(); !errors.Is(err, ErrLost) || !errors.Is(roster.Check(time.Hour), ErrLost) {
					t.Errorf("Err = %v", err)
				}
				if age := roster.Age(); age < 50*time.Second {
					t.Errorf("%v old", age)
				}
				if _, ok := roster.Device("new-0"); ok {
					t.Error("the other log was folded in")
				}
				if got := counted(t, reg, "muster_roster_failures_total", "step", stepLost); got != 1 {
					t.Errorf("counted %v times", got)
				}
				if err := roster.WaitRev(r.within(time.Minute), 1<<40); !errors.Is(err, ErrLost) {
					t.Errorf("who waits is told %v", err)
				}
			})
		})
	}
}

func TestALogThatWasCutAtItsStartIsLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRegistry(t)
		r.say(life()...)
		offsets := kadm.Offsets{}
		offsets.AddOffset(record.TopicRegistry, 0, 3, -1)
		if _, err := r.client().DeleteRecords(r.within(time.Minute), offsets); err != nil {
			t.Fatal(err)
		}
		roster, _ := r.follow()
		time.Sleep(30 * time.Second)
		if err := roster.Err(); !errors.Is(err, ErrLost) || roster.Ready() || roster.Age() != Never {
			t.Errorf("Err = %v, ready %v, age %v", err, roster.Ready(), roster.Age())
		}
	})
}

func TestARosterMayBeThereBeforeTheLog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRegistry(t)
		if _, err := r.client().DeleteTopics(r.within(time.Minute), record.TopicRegistry); err != nil {
			t.Fatal(err)
		}
		roster, _ := r.follow()
		time.Sleep(30 * time.Second)
		if roster.Ready() || roster.Err() != nil {
			t.Errorf("ready %v, %v", roster.Ready(), roster.Err())
		}
		if _, err := r.client().CreateTopic(r.within(time.Minute), 1, -1, nil, record.TopicRegistry); err != nil {
			t.Fatal(err)
		}
		if err := roster.WaitReady(r.within(time.Minute)); err != nil {
			t.Fatal(err)
		}
		r.open()
		r.say(life()...)
		gen, err := roster.WaitTopicGen(r.within(time.Minute), [16]byte([]byte("0123456789abcdef")))
		if err != nil || gen != 1 {
			t.Errorf("generation %d, %v", gen, err)
		}
		if schema, known := roster.Schema(9); !known || len(schema.Metrics) != 2 {
			t.Errorf("%+v, %v", schema, known)
		}
	})
}

func TestWhoWaitsIsLetGoByHisContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRegistry(t)
		roster, _ := r.follow()
		start := time.Now()
		_, err := roster.WaitTopicGen(r.within(time.Second), [16]byte{1})
		if !errors.Is(err, context.DeadlineExceeded) || time.Since(start) != time.Second {
			t.Errorf("%v after %v", err, time.Since(start))
		}
	})
}

func TestManyReadAndOneFoldsAtTheSameTime(t *testing.T) {
	r := onLog(t)
	r.say(event.ProfileDefined{Profile: 1, Name: "pump"})
	roster, _ := r.follow()
	var readers sync.WaitGroup
	ctx, stop := context.WithCancel(t.Context())
	for range 4 {
		readers.Go(func() {
			// Without a pause the readers of one processor leave nothing of it to the log, whose answers are then minutes apart.
			for pause := time.NewTicker(time.Millisecond); ctx.Err() == nil; <-pause.C {
				for _, d := range roster.DevicesAfter(0, 1000) {
					if same, ok := roster.Device(d.ID); !ok || same.No != d.No {
						t.Errorf("%+v and %+v", d, same)
					}
				}
				p, _ := roster.ProfileAt(1, roster.Rev())
				for i, m := range p.Metrics {
					if m.Name != fmt.Sprintf("m_%d", i) {
						t.Errorf("metric %d is %s", i, m.Name)
					}
				}
				_ = roster.Profiles()
				_ = roster.Age()
			}
		})
	}
	var end int64
	for i := range 50 {
		end = r.say(event.DeviceEnrolled{Device: fmt.Sprintf("d-%d", i), No: uint32(i + 1), Profile: 1},
			event.MetricAdded{Profile: 1, Metric: fmt.Sprintf("m_%d", i), Kind: batch.Int})
	}
	err := roster.WaitRev(r.within(aWhile), uint64(end))
	stop()
	readers.Wait()
	if err != nil {
		t.Fatal(err)
	}
	if d, ok := roster.Device(identity.Device("d-49")); !ok || d.No != 50 {
		t.Errorf("%+v", d)
	}
}

func TestTheMetricsAreWhatPrometheusAdvises(t *testing.T) {
	reg := prometheus.NewRegistry()
	cfg := eventlog.DefaultConfig()
	roster, err := Follow(cfg, Settings{Registerer: reg})
	if err != nil {
		t.Fatal(err)
	}
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	problems, err := promlint.NewWithMetricFamilies(families).Lint()
	if err != nil || len(problems) > 0 {
		t.Errorf("%v %v", problems, err)
	}
	if _, err := Follow(cfg, Settings{Registerer: reg}); err == nil {
		t.Error("two rosters in one registry of metrics")
	}
	roster.Close()
	roster.Close()
	if families, _ := reg.Gather(); len(families) != 0 {
		t.Error("metrics are left after Close")
	}
	if _, err := Follow(eventlog.Config{}, Settings{}); err == nil {
		t.Error("a configuration without brokers was taken")
	}
}
