package api_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pb33f/libopenapi"
	validator "github.com/pb33f/libopenapi-validator"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"go.uber.org/goleak"

	"muster.dev/platform/daemon"
	"muster.dev/platform/eventlog"
	"muster.dev/proto/event"
	"muster.dev/proto/record"
	"muster.dev/services/registry/api"
	"muster.dev/services/registry/authority"
	"muster.dev/services/registry/client"
	"muster.dev/services/registry/decide"
	"muster.dev/services/registry/refusals"
	"muster.dev/services/registry/writer"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const token = "0123456789abcdef0123456789abcdef"

// stack is the API over HTTP, with a writer on a broker. Every answer passes a reader that holds it to the document.
type stack struct {
	cluster   *kfake.Cluster
	authority *authority.Authority
	caDir     string
	writer    *writer.Writer
	clock     *clock
	base      string
	client    *client.Client
}

// clock is the wall clock, moved, or standing still.
type clock struct {
	ahead atomic.Int64
	stood atomic.Pointer[time.Time]
}

func (c *clock) now() time.Time {
	now := time.Now()
	if stood := c.stood.Load(); stood != nil {
		now = *stood
	}
	return now.Add(time.Duration(c.ahead.Load()))
}

func (c *clock) advance(d time.Duration) { c.ahead.Add(int64(d)) }

// stand makes it stand still but for what it is advanced.
func (c *clock) stand() {
	now := time.Now()
	c.stood.Store(&now)
}

// patience is how long a test waits where no time is promised.
const patience = 2 * time.Minute

func start(t *testing.T) stack {
	t.Helper()
	cluster, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(1, record.TopicRegistry))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cluster.Close)
	caDir := filepath.Join(t.TempDir(), "ca")
	ca, err := authority.Init(caDir, "muster.test")
	if err != nil {
		t.Fatal(err)
	}
	s := run(t, cluster, ca, "a")
	s.caDir = caDir
	der, _ := ca.Issuing()
	if _, err := s.writer.Do(t.Context(), "registry", "in use", decide.DefineIssuer{Certificate: der}); err != nil {
		t.Fatal(err)
	}
	return s
}

// run runs one process of the registry.
func run(t *testing.T, cluster *kfake.Cluster, ca *authority.Authority, name string) stack {
	t.Helper()
	log, metrics, c := slog.New(slog.NewTextHandler(io.Discard, nil)), prometheus.NewRegistry(), &clock{}
	w := writer.New(writer.Settings{Log: eventlog.Config{Brokers: cluster.ListenAddrs()}, Logger: log, Metrics: metrics, Name: name, Now: c.now})
	attempts := refusals.New(refusals.Settings{Writer: w, Log: log, Metrics: metrics})
	a, err := api.New(api.Settings{Config: api.Config{Listen: "127.0.0.1:0", Token: daemon.Secret(token)}, Writer: w, Authority: ca,
		Refusals: attempts, Log: log, Metrics: metrics, Now: c.now})
	if err != nil {
		t.Fatal(err)
	}
	for _, run := range []func(context.Context) error{w.Run, attempts.Run, a.Run} { // the last one stops first
		ctx, cancel := context.WithCancel(context.Background())
		var room sync.WaitGroup
		room.Go(func() {
			if err := run(ctx); err != nil {
				t.Error(err)
			}
		})
		t.Cleanup(func() { cancel(); room.Wait() })
	}
	base := hold(t, "http://"+a.Addr())
	s := stack{cluster: cluster, authority: ca, writer: w, clock: c, base: base, client: client.New(base, token)}
	t.Cleanup(func() {
		s.client.Close()
		http.DefaultClient.CloseIdleConnections()
	})
	return s
}

var theValidator = sync.OnceValues(func() (validator.Validator, error) {
	text, err := api.Document()
	if err != nil {
		return nil, err
	}
	document, err := libopenapi.NewDocument(text)
	if err != nil {
		return nil, err
	}
	v, errs := validator.NewValidator(document)
	if len(errs) > 0 {
		return nil, errs[0]
	}
	return v, nil
})

// hold stands between the tests and the API: what is answered must be as the document says, and so must what was asked
// when it was taken.
func hold(t *testing.T, target string) string {
	t.Helper()
	v, err := theValidator()
	if err != nil {
		t.Fatal(err)
	}
	to, err := url.Parse(target)
	if err != nil {
		t.Fatal(err)
	}
	transport := &http.Transport{}
	t.Cleanup(transport.CloseIdleConnections)
	var mu sync.Mutex // the validator is not said to be safe for concurrent use
	proxy := httputil.NewSingleHostReverseProxy(to)
	proxy.Transport = transport
	proxy.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelDebug)
	key := new(int)
	proxy.ModifyResponse = func(res *http.Response) error {
		if !strings.HasPrefix(res.Request.URL.Path, "/api/v1/") {
			return nil
		}
		answer, err := io.ReadAll(res.Body)
		if err != nil {
			return err
		}
		body := res.Request.Context().Value(key).([]byte)
		mu.Lock()
		defer mu.Unlock()
		again := func() (*http.Request, *http.Response) {
			req := res.Request.Clone(context.Background())
			req.Body = io.NopCloser(bytes.NewReader(body))
			out := *res
			out.Body = io.NopCloser(bytes.NewReader(answer))
			return req, &out
		}
		req, out := again()
		res.Body = io.NopCloser(bytes.NewReader(answer))
		ok, complaints := v.ValidateHttpResponse(req, out)
		if res.StatusCode < 300 {
			req, _ := again()
			taken, more := v.ValidateHttpRequest(req)
			ok, complaints = ok && taken, append(complaints, more...)
		}
		if !ok {
			for _, c := range complaints {
				if c.IsPathMissingError() && res.StatusCode == http.StatusNotFound || c.IsOperationMissingError() && res.StatusCode == http.StatusNotFound {
					continue
				}
				t.Errorf("%s %s, %d: the document says otherwise: %s: %s", req.Method, req.URL.Path, res.StatusCode, c.Message, c.Reason)
				for _, s := range c.SchemaValidationErrors {
					t.Errorf("  %s: %s", s.FieldPath, s.Reason)
				}
			}
		}
		return nil
	}
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		r.Body = io.NopCloser(bytes.NewReader(body))
		r.Header["X-Forwarded-For"] = nil
		proxy.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), key, body)))
	}))
	t.Cleanup(srv.Close)
	return srv.URL
}

// events are those of the registry's log, of which every one was said once at least.
func (s stack) events(t *testing.T) []event.Registry {
	t.Helper()
	cl, err := kgo.NewClient(kgo.SeedBrokers(s.cluster.ListenAddrs()...), kgo.ConsumeTopics(record.TopicRegistry),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.FetchIsolationLevel(kgo.ReadCommitted()))
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	var want uint64
	if err := s.writer.View(t.Context(), func(st *decide.State) { want = st.Last() }); err != nil {
		t.Fatal(err)
	}
	var out []event.Registry
	for uint64(len(out)) < want {
		for _, rec := range cl.PollFetches(t.Context()).Records() {
			var headers []event.Header
			for _, h := range rec.Headers {
				headers = append(headers, event.Header{Key: h.Key, Value: h.Value})
			}
			e, err := event.DecodeRegistry(headers, rec.Value)
			if err != nil {
				t.Fatal(err)
			}
			out = append(out, e)
		}
	}
	return out
}

func csr(t *testing.T, template *x509.CertificateRequest, key any) string {
	t.Helper()
	der, err := x509.CreateCertificateRequest(rand.Reader, template, key)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der}))
}

func newKey(t *testing.T) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func leaf(t *testing.T, chain string) *x509.Certificate {
	t.Helper()
	block, _ := pem.Decode([]byte(chain))
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	return cert
}
