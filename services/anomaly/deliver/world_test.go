package deliver

import (
	"context"
	"encoding/json"
	"encoding/pem"
	"io"
	"log"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"muster.dev/embedded/kafka"
	"muster.dev/platform/daemon"
	"muster.dev/proto/record"
	"muster.dev/services/anomaly/judgetest"
)

// limit is how long a test waits where no time is promised.
const limit = 2 * time.Minute

const (
	routingKey = "0123456789abcdef0123456789abcdef"
	secret     = "a secret of many bytes"
)

// eventually waits for a condition.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(limit); !ok(); <-time.After(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%s does not come", what)
		}
	}
}

// place is a receiver: it answers as it is told, and remembers what it took.
type place struct {
	*httptest.Server
	ca     string
	mu     sync.Mutex // over the fields below
	answer func(w http.ResponseWriter, r *http.Request, body []byte) bool
	took   []request
	asked  int
}

type request struct {
	header http.Header
	body   []byte
}

// newPlace listens with TLS on loopback. Without an answer it takes everything.
func newPlace(t testing.TB) *place {
	t.Helper()
	p := &place{ca: filepath.Join(t.TempDir(), "ca.pem")}
	p.Server = httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return
		}
		p.mu.Lock()
		p.asked++
		answer := p.answer
		p.mu.Unlock()
		if answer != nil && !answer(w, r, body) {
			return
		}
		p.mu.Lock()
		p.took = append(p.took, request{r.Header.Clone(), body})
		p.mu.Unlock()
	}))
	t.Cleanup(p.Close)
	raw := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: p.Certificate().Raw})
	if err := os.WriteFile(p.ca, raw, 0o600); err != nil {
		t.Fatal(err)
	}
	return p
}

func (p *place) set(answer func(w http.ResponseWriter, r *http.Request, body []byte) bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.answer = answer
}

func (p *place) got() []request {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.took)
}

func (p *place) times() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.asked
}

func (p *place) reach() Reach {
	return Reach{AllowNetworks: []string{"127.0.0.0/8"}, CAFile: p.ca}
}

// notices are what a webhook took, as "action id".
func (p *place) notices(t testing.TB) (out []string) {
	t.Helper()
	for _, r := range p.got() {
		if err := Verify([]byte(secret), r.header.Get(HeaderSignature), r.body, time.Now(), limit); err != nil {
			t.Error(err)
		}
		var n notice
		if err := json.Unmarshal(r.body, &n); err != nil {
			t.Error(err)
		}
		if n.Incident != nil {
			out = append(out, string(n.Action)+" "+n.Incident.ID)
		} else {
			out = append(out, string(n.Action)+" many")
		}
	}
	return out
}

// pages are what PagerDuty took, as "action key".
func (p *place) pages(t testing.TB) (out []string) {
	t.Helper()
	for _, r := range p.got() {
		var e page
		if err := json.Unmarshal(r.body, &e); err != nil || e.RoutingKey != routingKey {
			t.Errorf("%s: %v", r.body, err)
		}
		out = append(out, e.Action+" "+e.Key)
	}
	return out
}

func (p *place) webhook(name string) Route {
	return Route{Name: name, Webhook: &Webhook{URL: daemon.Secret(p.URL + "/hook/k3y"), Secret: secret, Reach: p.reach()}}
}

func (p *place) pager(name string) Route {
	return Route{Name: name, PagerDuty: &PagerDuty{URL: p.URL + "/v2/enqueue", RoutingKey: routingKey, Reach: p.reach()}}
}

// newLog is a log on which sessions may be short.
func newLog(t testing.TB) *judgetest.Judge {
	return judgetest.Start(t, kafka.Config{MinSession: 200 * time.Millisecond})
}

// delivering is a delivery at work.
type delivering struct {
	*Delivery
	log  *strings.Builder // after stop
	stop func()
}

type locked struct {
	mu  sync.Mutex // over out
	out *strings.Builder
}

func (l *locked) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.out.Write(p)
}

func deliverTo(t testing.TB, j *judgetest.Judge, routes ...Route) *delivering {
	t.Helper()
	out := &delivering{log: &strings.Builder{}}
	d, err := New(Settings{Log: j.Config, Config: Config{Session: 2 * time.Second, Routes: routes}, Logger: slog.New(slog.NewTextHandler(&locked{out: out.log}, nil)), Metrics: prometheus.NewRegistry()})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- d.Run(ctx) }()
	out.Delivery = d
	out.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		for _, r := range d.routes {
			r.close()
		}
	})
	t.Cleanup(out.stop)
	return out
}

// close lets go of connections, which end by themselves after a while.
func (r *route) close() {
	switch to := r.to.(type) {
	case *webhook:
		to.post.client.CloseIdleConnections()
	case *pagerDuty:
		to.post.client.CloseIdleConnections()
	case *alertmanager:
		to.post.client.CloseIdleConnections()
	}
}

func (d *delivering) count(outcome string) float64 {
	return testutil.ToFloat64(d.routes[0].m.messages.WithLabelValues(d.routes[0].name, outcome))
}

func (d *delivering) skipped(why string) float64 {
	return testutil.ToFloat64(d.routes[0].m.skipped.WithLabelValues(d.routes[0].name, why))
}

// committed is what a route's group keeps: offset and metadata.
func committed(t testing.TB, j *judgetest.Judge, route string) (int64, string) {
	t.Helper()
	cl, err := kgo.NewClient(j.Config.Options()...)
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	got, err := kadm.NewClient(cl).FetchOffsets(t.Context(), GroupPrefix+route)
	if err != nil {
		return -1, err.Error()
	}
	at, ok := got.Lookup(record.TopicIncidents, 0)
	if !ok {
		return -1, ""
	}
	return at.At, at.Metadata
}

// settled waits until everything on the log is committed.
func settled(t testing.TB, j *judgetest.Judge, route string) {
	t.Helper()
	eventually(t, "the commit behind the last record", func() bool {
		at, _ := committed(t, j, route)
		return at > j.Last
	})
}

func gauge(of *prometheus.GaugeVec, route string) float64 {
	return testutil.ToFloat64(of.WithLabelValues(route))
}

// quiet drops what a test provokes.
func quiet() *log.Logger { return log.New(io.Discard, "", 0) }
