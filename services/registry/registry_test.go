package registry_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"muster.dev/platform/daemon"
	"muster.dev/platform/eventlog"
	"muster.dev/platform/eventlog/logtest"
	"muster.dev/platform/roster"
	"muster.dev/platform/warehouse"
	"muster.dev/platform/warehouse/warehousetest"
	"muster.dev/proto/batch"
	"muster.dev/services/registry"
	"muster.dev/services/registry/authority"
	"muster.dev/services/registry/client"

	v1 "muster.dev/services/registry/api/v1"
)

func TestMain(m *testing.M) {
	code := warehousetest.Main(m)
	http.DefaultClient.CloseIdleConnections()
	if code == 0 {
		if err := goleak.Find(); err != nil {
			os.Stderr.WriteString(err.Error() + "\n")
			code = 1
		}
	}
	os.Exit(code)
}

// patience is how long a test waits where no time is promised.
const patience = 3 * time.Minute

const bearer = "0123456789abcdef0123456789abcdef"

// site is a registry's process on a log and a store of its own. The way to the store can be cut.
type site struct {
	t      *testing.T
	store  *warehouse.Warehouse
	cfg    registry.Config
	down   *atomic.Bool
	client *client.Client
}

func open(t *testing.T) *site {
	t.Helper()
	s := &site{t: t, down: new(atomic.Bool), cfg: registry.DefaultConfig()}
	s.cfg.Warehouse = warehousetest.Config(t)
	store, err := warehouse.Open(s.cfg.Warehouse)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		// A process that stopped waits for no answer, and the engine may still be at what it was asked: a table that comes
		// into a database that is being dropped fails that.
		s.until("the engine has done all that was asked", func() bool {
			var under int64
			err := store.Conn().QueryRow(context.Background(), "SELECT toInt64(count()) FROM system.processes WHERE query LIKE '%"+store.Database()+"%' AND query NOT LIKE '%system.processes%'").Scan(&under)
			return err == nil && under == 0
		})
		if err := store.Conn().Exec(context.Background(), "DROP DATABASE IF EXISTS `"+store.Database()+"` SYNC"); err != nil {
			t.Error(err)
		}
		store.Close()
	})
	if err := store.Migrate(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	s.store = store

	engine, err := url.Parse(s.cfg.Warehouse.Addr)
	if err != nil {
		t.Fatal(err)
	}
	transport := &http.Transport{}
	proxy := &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(engine) }, Transport: transport, ErrorLog: log.New(io.Discard, "", 0)}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if s.down.Load() {
			panic(http.ErrAbortHandler)
		}
		proxy.ServeHTTP(w, r)
	})}
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if err := server.Shutdown(ctx); err != nil { // once nothing is on its way to the engine
			t.Error(err)
		}
		<-served
		transport.CloseIdleConnections()
	})
	s.cfg.Warehouse.Addr = "http://" + listener.Addr().String()

	s.cfg.Log = eventlog.Config{Brokers: logtest.Start(t)}
	s.cfg.CA = filepath.Join(t.TempDir(), "ca")
	if _, err := authority.Init(s.cfg.CA, authority.DefaultTrustDomain); err != nil {
		t.Fatal(err)
	}
	s.cfg.Ops.Listen, s.cfg.API.Listen, s.cfg.API.Token, s.cfg.EST.Listen = "127.0.0.1:0", "127.0.0.1:0", daemon.Secret(bearer), ""
	s.cfg.Schema.Interval = 50 * time.Millisecond
	return s
}

// start runs the process until stop is called.
func (s *site) start() (stop func()) {
	s.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	said := new(said)
	p, err := daemon.New(ctx, daemon.Settings{Name: "registry", Config: s.cfg.Ops, Output: said})
	if err != nil {
		s.t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() {
		done <- p.Run(func(ctx context.Context, p *daemon.Process) error { return registry.Run(ctx, p, s.cfg) })
	}()
	var stopped bool
	stop = func() {
		if stopped {
			return
		}
		stopped = true
		if s.client != nil {
			s.client.Close()
		}
		cancel()
		if err := <-done; err != nil {
			s.t.Error(err)
		}
	}
	s.t.Cleanup(stop)
	s.until("the process is ready", func() bool {
		res, err := http.Get("http://" + p.Addr() + "/readyz")
		if err != nil {
			return false
		}
		res.Body.Close()
		return res.StatusCode == http.StatusOK
	})
	s.client = client.New("http://"+s.listens(said, "operators' API"), bearer)
	return stop
}

// said is what a process logs.
type said struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *said) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

// listens gives the address at which a process says that a room listens: whoever picks a free port for it beforehand may
// lose it to somebody else.
func (s *site) listens(l *said, room string) (address string) {
	s.t.Helper()
	s.until("the address of the "+room, func() bool {
		l.mu.Lock()
		defer l.mu.Unlock()
		for line := range strings.Lines(l.text.String()) {
			var entry struct{ Msg, Address string }
			if json.Unmarshal([]byte(line), &entry) == nil && entry.Msg == room+" listens" {
				address = entry.Address
			}
		}
		return address != ""
	})
	return address
}

func (s *site) until(what string, held func() bool) {
	s.t.Helper()
	deadline := time.After(patience)
	for !held() {
		select {
		case <-deadline:
			s.t.Fatalf("it never came: %s", what)
		case <-time.After(10 * time.Millisecond):
		}
	}
}

func (s *site) number(format string, args ...any) (n int64) {
	s.t.Helper()
	sql := strings.ReplaceAll(fmt.Sprintf(format, args...), "${DB}", "`"+s.store.Database()+"`")
	if err := s.store.Conn().QueryRow(s.t.Context(), "SELECT toInt64(("+sql+"))").Scan(&n); err != nil {
		s.t.Fatalf("%s: %v", sql, err)
	}
	return n
}

func (s *site) enrol(id, profile string) v1.Enrolled {
	s.t.Helper()
	dir := filepath.Join(s.t.TempDir(), id)
	var out v1.Enrolled
	s.until(id+" enrols", func() bool {
		var err error
		out, err = s.client.EnrollInto(s.t.Context(), v1.Enrolment{Device: id, Cohort: "c", Profile: profile}, dir)
		var problem *v1.Problem
		if errors.As(err, &problem) && problem.Status == http.StatusServiceUnavailable {
			return false // the log took too long, and it is safe to repeat
		}
		if err != nil {
			s.t.Fatal(err)
		}
		return true
	})
	return out
}

// overflow puts rows into the narrow table as the sink does.
func (s *site) overflow(from, rows int, deviceNo uint32, metric string, scale int, value string) {
	s.t.Helper()
	err := s.store.Conn().Exec(s.t.Context(), fmt.Sprintf("INSERT INTO `%s`.s_other (class, metric, device_no, device, ts, value, text, scale, fw, topic_gen, part, off) "+
		"SELECT 'standard', '%s', %d, 'd', now64(3), %s, if(%d = -3, 'on', ''), %d, '1', 1, 0, %d + number FROM numbers(%d)",
		s.store.Database(), metric, deviceNo, value, scale, scale, from, rows))
	if err != nil {
		s.t.Fatal(err)
	}
}

// read shows what every reader of the log sees.
func (s *site) read(fn func(*roster.Roster)) {
	s.t.Helper()
	r, err := roster.Follow(s.cfg.Log, roster.Settings{})
	if err != nil {
		s.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(s.t.Context())
	done := make(chan error, 1)
	go func() { done <- r.Run(ctx) }()
	defer func() { cancel(); <-done }()
	wait, end := context.WithTimeout(ctx, patience)
	defer end()
	if err := r.WaitReady(wait); err != nil {
		s.t.Fatal(err)
	}
	fn(r)
}

// metrics are those of a profile as every reader of the log sees them.
func (s *site) metrics(profile string) map[string]roster.Metric {
	s.t.Helper()
	out := map[string]roster.Metric{}
	s.read(func(r *roster.Roster) {
		for _, p := range r.Profiles() {
			for _, m := range p.Metrics {
				if p.Name == profile {
					out[m.Name] = m
				}
			}
		}
	})
	return out
}

func TestAMetricGetsItsColumnWhileEverythingRuns(t *testing.T) {
	s := open(t)
	s.start()
	no := s.enrol("d", "pump").No
	s.until("the profile's table", func() bool {
		return s.number("SELECT count() FROM system.tables WHERE database = '%s' AND name = 'w_pump'", s.store.Database()) == 1
	})
	s.overflow(0, 30, no, "temp_c", 1, "number / 10")
	s.overflow(30, 30, no, "load", -1, "number / 7")
	s.overflow(60, 30, no, "mode", -3, "nan")
	s.overflow(90, 10, no, "rare", 0, "number")
	s.overflow(100, 10, no, "mixed", 0, "number") // too few by themselves: it may look between the two
	s.overflow(130, 30, no, "mixed", -2, "1")
	s.until("the columns", func() bool { return len(s.metrics("pump")) >= 3 })
	got := s.metrics("pump")
	for name, want := range map[string]roster.Metric{
		"temp_c": {Kind: batch.Int, Scale: 1}, "load": {Kind: batch.Float}, "mode": {Kind: batch.Text},
	} {
		m := got[name]
		if m.Kind != want.Kind || m.Scale != want.Scale {
			t.Errorf("%s is %+v", name, m)
		}
		if n := s.number("SELECT count() FROM system.columns WHERE database = '%s' AND table = 'w_pump' AND name = '%s'", s.store.Database(), name); n != 1 {
			t.Errorf("%s has no column", name)
		}
	}
	if len(got) != 3 {
		t.Errorf("promoted %v", got)
	}
	s.overflow(200, 10, no, "rare", 0, "number") // 20 in all
	s.until("the rare one", func() bool { _, ok := s.metrics("pump")["rare"]; return ok })
}

func TestEnrolmentGoesOnWithoutTheStoreWhichCatchesUp(t *testing.T) {
	s := open(t)
	s.down.Store(true)
	stop := s.start()
	for i := range 5 {
		if out := s.enrol(fmt.Sprintf("d%d", i), ""); int(out.No) != i+1 {
			t.Errorf("%+v", out)
		}
	}
	if n := s.number("SELECT count() FROM ${DB}.devices"); n != 0 {
		t.Fatalf("%d devices came through a cut way", n)
	}
	s.down.Store(false)
	s.until("the devices", func() bool {
		return s.number("SELECT count() FROM ${DB}.devices WHERE profile = 'default' AND cohort = 'c'") == 5
	})
	stop()

	s.start()
	s.enrol("d5", "")
	s.until("the sixth", func() bool { return s.number("SELECT count() FROM ${DB}.devices") == 6 })
	if n := s.number("SELECT count() - uniqExact(no, off) FROM ${DB}.device_rows"); n != 0 {
		t.Errorf("%d rows were sent twice", n)
	}
}

func TestAStoreMadeAnewIsFilledAgain(t *testing.T) {
	s := open(t)
	stop := s.start()
	no := s.enrol("d", "pump").No
	s.until("the device", func() bool { return s.number("SELECT count() FROM ${DB}.devices") == 1 })
	s.overflow(0, 30, no, "temp_c", 1, "number / 10")
	s.until("the column", func() bool { return len(s.metrics("pump")) == 1 })
	stop()
	if err := s.store.DropAll(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := s.store.Migrate(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	s.start()
	s.until("the device again", func() bool {
		return s.number("SELECT count() FROM ${DB}.devices WHERE no = 1 AND device = 'd' AND profile = 'pump'") == 1
	})
	s.until("the column again", func() bool {
		return s.number("SELECT count() FROM system.columns WHERE database = '%s' AND table = 'w_pump' AND name = 'temp_c'", s.store.Database()) == 1
	})
	if got := s.metrics("pump"); len(got) != 1 {
		t.Errorf("%v", got)
	}
}

func TestAColumnWithoutItsEventIsAdopted(t *testing.T) {
	s := open(t)
	if err := s.store.EnsureProfile(t.Context(), warehouse.Profile{Name: "pump", Metrics: []warehouse.Metric{{Name: "temp_c", Kind: batch.Int, Scale: 3}}}); err != nil {
		t.Fatal(err)
	}
	s.start()
	no := s.enrol("d", "pump").No
	s.until("the device", func() bool { return s.number("SELECT count() FROM ${DB}.devices") == 1 })
	s.overflow(0, 30, no, "temp_c", 1, "number / 10")
	s.until("the event", func() bool { return len(s.metrics("pump")) == 1 })
	if m := s.metrics("pump")["temp_c"]; m.Scale != 3 {
		t.Errorf("%+v, the column has scale 3", m)
	}
}
