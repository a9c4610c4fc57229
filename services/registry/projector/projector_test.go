package projector

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/twmb/franz-go/pkg/kgo"
	"go.uber.org/goleak"

	"muster.dev/embedded/kafka"
	"muster.dev/platform/eventlog"
	"muster.dev/platform/roster"
	"muster.dev/platform/warehouse"
	"muster.dev/platform/warehouse/warehousetest"
	"muster.dev/proto/event"
	"muster.dev/proto/record"
)

func TestMain(m *testing.M) {
	code := warehousetest.Main(m)
	if err := goleak.Find(); err != nil && code == 0 {
		os.Stderr.WriteString("goroutines are left: " + err.Error() + "\n")
		code = 1
	}
	os.Exit(code)
}

// registry is a log on a real broker, and the state of who writes it.
type registry struct {
	cfg eventlog.Config
	out *eventlog.Writer

	mu    sync.Mutex // over state
	state *roster.State
	at    int64 // offset of the next record
}

var start = time.Date(2026, 11, 20, 8, 0, 0, 0, time.UTC)

func newRegistry(t testing.TB) *registry {
	t.Helper()
	broker, err := kafka.Start(kafka.Config{Listen: "127.0.0.1:0", DataDir: t.TempDir(), NoAuth: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(broker.Close)
	r := &registry{cfg: eventlog.Config{Brokers: []string{broker.Addr()}, ClientID: "test"}, state: roster.NewState()}
	cl, err := kgo.NewClient(r.cfg.Options()...)
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	ids, err := eventlog.EnsureTopics(t.Context(), cl, eventlog.Topics(1, true))
	if err != nil {
		t.Fatal(err)
	}
	if r.out, err = eventlog.OpenWriter(t.Context(), r.cfg, "registry"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.out.Close)
	id := ids[record.TopicRegistry]
	r.say(t, event.TopicDefined{Name: record.TopicRegistry, ID: id[:], Gen: 1, Partitions: 1}, event.ProfileDefined{Profile: 1, Name: "pump"})
	return r
}

// say appends events, a minute apart, in one transaction.
func (r *registry) say(t testing.TB, bodies ...event.Body) {
	t.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	var records []*kgo.Record
	for i, b := range bodies {
		n, prev := r.state.Link()
		e := event.Registry{N: n, Prev: prev, Time: start.Add(time.Duration(n) * time.Minute).UnixMilli(), Who: "operator", Why: "test", Body: b}
		value, headers, err := e.Encode()
		if err != nil {
			t.Fatal(err)
		}
		rec := &kgo.Record{Topic: record.TopicRegistry, Value: value, Timestamp: time.UnixMilli(e.Time)}
		for _, h := range headers {
			rec.Headers = append(rec.Headers, kgo.RecordHeader{Key: h.Key, Value: h.Value})
		}
		if err := r.state.Apply(r.at+int64(i), e); err != nil {
			t.Fatalf("%T: %v", b, err)
		}
		records = append(records, rec)
	}
	if err := r.out.Append(t.Context(), records); err != nil {
		t.Fatal(err)
	}
	r.at = records[len(records)-1].Offset + 1
}

// view is the state as a writer shows it.
func (r *registry) view(_ context.Context, fn func(*roster.State)) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	fn(r.state)
	return nil
}

// both runs a test with the projector's own fold and with the writer's state.
func both(t *testing.T, run func(t *testing.T, r *registry, view view)) {
	t.Run("own fold", func(t *testing.T) { run(t, newRegistry(t), nil) })
	t.Run("writer's state", func(t *testing.T) { r := newRegistry(t); run(t, r, r.view) })
}

// running is a projector at work.
type running struct {
	*Projector
	stop func()
}

func project(t testing.TB, r *registry, w *warehouse.Warehouse, v view) *running {
	t.Helper()
	p := New(Settings{Log: r.cfg, Store: w, Logger: slog.New(slog.DiscardHandler), Metrics: prometheus.NewRegistry(), View: v, Check: 100 * time.Millisecond})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- p.Run(ctx) }()
	out := &running{p, sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})}
	t.Cleanup(out.stop)
	return out
}

// patience is how long a test waits where no time is promised.
const patience = 3 * time.Minute

// counted waits until so many rows were counted, which is after they are seen.
func (r *running) counted(t testing.TB, of table, want float64) {
	t.Helper()
	n := 0.0
	for end := time.Now().Add(patience); time.Now().Before(end); <-time.After(10 * time.Millisecond) {
		if n = testutil.ToFloat64(r.rows.WithLabelValues(string(of))); n == want {
			return
		}
	}
	t.Errorf("%v rows of %s were counted, want %v", n, of, want)
}

// settled waits until the tables hold the last event, and what it changed.
func (r *registry) settled(t testing.TB, w *warehouse.Warehouse) {
	t.Helper()
	r.mu.Lock()
	last := fmt.Sprint(r.at - 1)
	r.mu.Unlock()
	warehousetest.Shows(t, w, "SELECT toString(max(off)) FROM muster.registry_events", last)
	warehousetest.Shows(t, w, "SELECT toString(max(off)) FROM muster.device_rows", last)
}

func enrolled(no int, cohort string) event.Body {
	return event.DeviceEnrolled{Device: fmt.Sprintf("pump-%d", no), No: uint32(no), Cohort: cohort, Profile: 1, Method: "operator"}
}

func issued(no int, serial string) event.Body {
	return event.CertificateIssued{No: uint32(no), Serial: serial, SPKI: sum("key" + serial), CSR: sum("csr" + serial), Method: "operator",
		Issuer: strings.Repeat("ab", 16), NotBefore: start.UnixMilli(), NotAfter: start.AddDate(0, 0, 90).UnixMilli()}
}

func sum(s string) []byte { h := event.Chain([]byte(s)); return h[:] }

// everything is what the tables show, to be held against another reading of the log.
func everything(t testing.TB, w *warehouse.Warehouse) string {
	return strings.Join(slices.Concat(
		warehousetest.Column(t, w, "SELECT toString(tuple(*)) FROM muster.devices ORDER BY no"),
		warehousetest.Column(t, w, "SELECT toString(tuple(*)) FROM muster.device_rows FINAL ORDER BY no"),
		warehousetest.Column(t, w, "SELECT toString(tuple(*)) FROM muster.registry_events FINAL ORDER BY n"),
		warehousetest.Column(t, w, "SELECT toString(tuple(*)) FROM muster.audit ORDER BY n")), "\n")
}

// life is what may happen to devices.
func life(t testing.TB, r *registry) {
	r.say(t, event.CohortDefined{Cohort: "north", Interval: 60_000, Region: "eu"})
	for no := 1; no <= 6; no++ {
		r.say(t, enrolled(no, []string{"north", "south"}[no%2]), issued(no, fmt.Sprintf("a%d", no)))
	}
	r.say(t, event.DeviceRevoked{No: 1})
	r.say(t, event.DeviceDescribed{No: 2, Attributes: map[string]string{"site": "ulm", "room": "b"}}, event.GroupDefined{Group: "ulm", Selector: "site=ulm"})
	r.say(t, event.DeviceMoved{No: 2, Cohort: "south"}, event.DeviceQuarantined{No: 4, On: true})
	r.say(t, event.DeviceReplaced{Old: 3, New: 6}, issued(4, "b4"), event.CertificateRevoked{No: 4, Serial: "b4"})
	r.say(t, event.CohortRevoked{Cohort: "south"}, event.CohortDefined{Cohort: "north", Interval: 30_000, Region: "us"})
}

const rowsOf = "SELECT toString(tuple(device, cohort, region, interval_ms, revoked, toUnixTimestamp(revoked_at), quarantined, replaces, replaced_by, serial, method, attributes, groups)) FROM muster.devices ORDER BY no"

func TestDevicesAreAsTheRegistrySaysAfterEverythingThatMayHappenToThem(t *testing.T) {
	both(t, func(t *testing.T, r *registry, v view) {
		w := warehousetest.Start(t)
		p := project(t, r, w, v)
		life(t, r)
		at := func(n int) int64 { return start.Add(time.Duration(n) * time.Minute).Unix() }
		warehousetest.Shows(t, w, rowsOf,
			fmt.Sprintf("('pump-1','south','',0,true,%d,false,'','','a1','operator',{},[])", at(16)),
			fmt.Sprintf("('pump-2','south','',0,true,%d,false,'','','a2','operator',{'room':'b','site':'ulm'},['ulm'])", at(24)),
			fmt.Sprintf("('pump-3','south','',0,true,%d,false,'','pump-6','a3','operator',{},[])", at(21)),
			"('pump-4','north','us',30000,false,NULL,true,'','','a4','operator',{},[])",
			fmt.Sprintf("('pump-5','south','',0,true,%d,false,'','','a5','operator',{},[])", at(24)),
			"('pump-6','north','us',30000,false,NULL,false,'pump-3','','a6','operator',{},[])",
		)
		warehousetest.Shows(t, w, "SELECT toString(tuple(n, who, type, device, subject)) FROM muster.audit WHERE type IN ('device-revoked', 'device-replaced', 'cohort-revoked') ORDER BY n",
			"(16,'operator','device-revoked','pump-1','')", "(21,'operator','device-replaced','pump-3','by pump-6')", "(24,'operator','cohort-revoked','','cohort south')")
		r.settled(t, w)
		p.counted(t, eventRows, 25)
	})
}

func TestATableThatIsMadeAnewHasTheSameRows(t *testing.T) {
	both(t, func(t *testing.T, r *registry, v view) {
		w := warehousetest.Start(t)
		p := project(t, r, w, v)
		life(t, r) // while it is read
		r.settled(t, w)
		before := everything(t, w)
		p.stop()
		if err := w.DropAll(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := w.Migrate(t.Context(), nil); err != nil {
			t.Fatal(err)
		}
		project(t, r, w, v)
		r.settled(t, w)
		if after := everything(t, w); after != before {
			t.Errorf("before\n%s\nafter\n%s", before, after)
		}
	})
}

func TestTablesThatAreLostWhileItWorksAreFilledAgain(t *testing.T) {
	both(t, func(t *testing.T, r *registry, v view) {
		w := warehousetest.Start(t)
		p := project(t, r, w, v)
		life(t, r)
		r.settled(t, w)
		before := warehousetest.Column(t, w, rowsOf)
		for _, table := range []table{deviceRows, eventRows} {
			if err := w.Conn().Exec(t.Context(), "TRUNCATE TABLE "+w.Database()+"."+string(table)); err != nil {
				t.Fatal(err)
			}
			warehousetest.Shows(t, w, rowsOf, before...)
			warehousetest.Shows(t, w, "SELECT toString(count()) FROM muster.audit", "25")
		}
		if testutil.ToFloat64(p.failed) == 0 {
			t.Error("the loss was not counted")
		}
	})
}

func TestAStoreThatIsAwayIsWaitedFor(t *testing.T) {
	both(t, func(t *testing.T, r *registry, v view) {
		w := warehousetest.Empty(t) // there is no table: every question fails, as it does of a store that is away
		p := project(t, r, w, v)
		life(t, r)
		for end := time.Now().Add(patience); testutil.ToFloat64(p.failed) < 2; <-time.After(20 * time.Millisecond) {
			if time.Now().After(end) {
				t.Fatal("nothing has failed")
			}
		}
		if err := w.Migrate(t.Context(), nil); err != nil {
			t.Fatal(err)
		}
		r.settled(t, w)
	})
}

func TestItGoesOnFromWhereItStood(t *testing.T) {
	both(t, func(t *testing.T, r *registry, v view) {
		w := warehousetest.Start(t)
		p := project(t, r, w, v)
		life(t, r)
		r.settled(t, w)
		p.stop()
		r.say(t, enrolled(7, "east"))
		again := project(t, r, w, v)
		warehousetest.Shows(t, w, "SELECT device FROM muster.devices WHERE no = 7", "pump-7")
		warehousetest.Shows(t, w, "SELECT toString(count()) FROM muster.audit", "26")
		// The last event of before changed a whole cohort: its devices are sent again, and nothing else.
		again.counted(t, eventRows, 1)
		again.counted(t, deviceRows, 3)
		// Later rows of those that ended before keep the time of it.
		r.say(t, event.GroupRemoved{Group: "ulm"})
		warehousetest.Shows(t, w, "SELECT toString(tuple(groups, toUnixTimestamp(revoked_at))) FROM muster.devices WHERE no = 2", fmt.Sprintf("([],%d)", start.Add(24*time.Minute).Unix()))
		warehousetest.Shows(t, w, "SELECT toString(countIf(revoked AND revoked_at IS NULL)) FROM muster.devices", "0")
	})
}

func TestRowsOfBeforeAreWrittenAnew(t *testing.T) {
	both(t, func(t *testing.T, r *registry, v view) {
		w := warehousetest.Start(t)
		b := warehousetest.NewDeviceBlock() // as a projector of before has left it
		for no := 1; no <= 3; no++ {
			r.say(t, enrolled(no, "north"))
			b.No.Append(uint32(no))
			b.Device.AppendString(fmt.Sprintf("pump-%d", no))
			b.Cohort.AppendString("north")
			b.Append(1, 0, uint64(r.at-1), 1)
		}
		b.PadTo(3)
		in, err := warehousetest.InsertOf(string(deviceRows), b.Block, "old", "old")
		if err == nil {
			err = w.Insert(t.Context(), in)
		}
		if err != nil {
			t.Fatal(err)
		}
		project(t, r, w, v)
		// The rows stand under the offsets of before: those that came later hold.
		warehousetest.Shows(t, w, "SELECT toString(tuple(min(form), count())) FROM muster.device_rows FINAL", "(1,3)")
		warehousetest.Shows(t, w, "SELECT toString(groupUniqArray((method, profile))) FROM muster.devices", "[('operator','pump')]")
	})
}

func TestAForeignEventIsNoRow(t *testing.T) {
	both(t, func(t *testing.T, r *registry, v view) {
		w := warehousetest.Start(t)
		project(t, r, w, v)
		r.say(t, enrolled(1, "north"))
		value, headers, err := event.Registry{N: 3, Prev: [32]byte{7}, Time: start.UnixMilli(), Who: "nobody", Body: event.DeviceRevoked{No: 1}}.Encode()
		if err != nil {
			t.Fatal(err)
		}
		rec := &kgo.Record{Topic: record.TopicRegistry, Value: value}
		for _, h := range headers {
			rec.Headers = append(rec.Headers, kgo.RecordHeader{Key: h.Key, Value: h.Value})
		}
		if err := r.out.Append(t.Context(), []*kgo.Record{rec}); err != nil {
			t.Fatal(err)
		}
		r.at = rec.Offset + 1
		r.say(t, enrolled(2, "north"))
		warehousetest.Shows(t, w, "SELECT toString(tuple(device, revoked)) FROM muster.devices ORDER BY no", "('pump-1',false)", "('pump-2',false)")
		warehousetest.Shows(t, w, "SELECT toString(count()) FROM muster.audit WHERE who = 'nobody'", "0")
	})
}

func TestACohortOfManyIsSentInBlocks(t *testing.T) {
	if testing.Short() {
		t.Skip("SKIPPED: thousands of devices, left out by -short")
	}
	both(t, func(t *testing.T, r *registry, v view) {
		const many = 12_500
		w := warehousetest.Start(t)
		for no := 1; no <= many; {
			var bodies []event.Body
			for ; no <= many && len(bodies) < 1000; no++ {
				bodies = append(bodies, enrolled(no, []string{"a", "b"}[no%2]))
			}
			r.say(t, bodies...)
		}
		r.say(t, event.CohortQuarantined{Cohort: "a", On: true}, event.CohortRevoked{Cohort: "b"})
		project(t, r, w, v)
		warehousetest.Shows(t, w, "SELECT toString(tuple(cohort, count(), countIf(quarantined), countIf(revoked), countIf(revoked_at IS NOT NULL))) FROM muster.devices GROUP BY cohort ORDER BY cohort",
			"('a',6250,6250,0,0)", "('b',6250,0,6250,6250)")
		warehousetest.Shows(t, w, "SELECT toString(count()) FROM muster.audit", fmt.Sprint(many+4))
	})
}

func TestASecretsHashStaysInTheLog(t *testing.T) {
	r := newRegistry(t)
	w := warehousetest.Start(t)
	project(t, r, w, nil)
	r.say(t, event.TokenMade{ID: "t1", Name: "ann", Role: "viewer", Hash: sum("secret"), NotAfter: start.AddDate(1, 0, 0).UnixMilli()},
		event.TokenWithdrawn{ID: "t1"})
	warehousetest.Shows(t, w, "SELECT toString(tuple(type, subject, body)) FROM muster.audit WHERE n > 2 ORDER BY n", "('token-made','token t1 of ann','')", `('token-withdrawn','token t1','{"id":"t1"}')`)
}
