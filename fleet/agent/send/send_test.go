package send

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log"
	"log/slog"
	"math/big"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"muster.dev/fleet/agent/est"
	"muster.dev/fleet/agent/ring"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience is how long tests wait for what is promised without a time.
const patience = 3 * time.Minute

// door is a gateway as a script: it answers the n-th request by the n-th step, the last one for ever.
type door struct {
	*httptest.Server
	mu    sync.Mutex
	saw   []string
	steps []func(http.ResponseWriter)
	came  chan struct{} // closed and made anew at each request
}

func status(code int, body string, header ...string) func(http.ResponseWriter) {
	return func(w http.ResponseWriter) {
		for i := 0; i < len(header); i += 2 {
			w.Header().Set(header[i], header[i+1])
		}
		w.WriteHeader(code)
		_, _ = io.WriteString(w, body)
	}
}

var good = status(200, `{"status":"stored","values":7}`)

func cut(http.ResponseWriter) { panic(http.ErrAbortHandler) }

func (d *door) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	b, _ := io.ReadAll(r.Body)
	d.mu.Lock()
	step := d.steps[min(len(d.saw), len(d.steps)-1)]
	line := r.URL.Path + " " + string(b)
	if r.Header.Get(BacklogHeader) != "" {
		line += " backlog"
	}
	d.saw = append(d.saw, line)
	close(d.came)
	d.came = make(chan struct{})
	d.mu.Unlock()
	step(w)
}

func (d *door) seen() []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Clone(d.saw)
}

// wait waits until n requests have come.
func (d *door) wait(t *testing.T, n int) {
	t.Helper()
	late := time.After(patience)
	for {
		d.mu.Lock()
		have, came := len(d.saw), d.came
		d.mu.Unlock()
		if have >= n {
			return
		}
		select {
		case <-came:
		case <-late:
			t.Fatalf("%d of %d requests came", have, n)
		}
	}
}

type site struct {
	*door
	*Sender
	ring *ring.Ring
	stop func()
}

// start runs a sender over a door with these steps. Nothing runs before go.
func start(t *testing.T, order ring.Order, steps ...func(http.ResponseWriter)) *site {
	t.Helper()
	d := &door{steps: steps, came: make(chan struct{})}
	id := identity(t)
	clients := x509.NewCertPool()
	clients.AddCert(id.Leaf())
	d.Server = httptest.NewUnstartedServer(d)
	d.Config.ErrorLog = log.New(io.Discard, "", 0)
	d.TLS = &tls.Config{MinVersion: tls.VersionTLS13, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: clients}
	d.StartTLS()
	t.Cleanup(d.Close)
	id.Roots = x509.NewCertPool()
	id.Roots.AddCert(d.Certificate())
	r, err := ring.Open(t.TempDir(), ring.Config{Bytes: 1 << 20, Order: order})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close() })
	cfg := DefaultConfig()
	cfg.Gateway, cfg.Timeout, cfg.FirstPause, cfg.LastPause, cfg.HeldPause = d.URL, patience, time.Millisecond, 5*time.Millisecond, 5*time.Millisecond
	s, err := New(cfg, id, r, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	return &site{door: d, Sender: s, ring: r}
}

func (s *site) run(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := s.Run(ctx); err != nil {
			t.Error(err)
		}
	})
	s.stop = func() { cancel(); wg.Wait() }
	t.Cleanup(s.stop)
}

func (s *site) put(t *testing.T, kind uint8, values ...string) {
	t.Helper()
	for _, v := range values {
		if _, err := s.ring.Put([]byte(v), kind); err != nil {
			t.Fatal(err)
		}
	}
}

// until waits for a status.
func (s *site) until(t *testing.T, what string, is func(Status) bool) {
	t.Helper()
	for late := time.Now().Add(patience); !is(s.Status()); time.Sleep(time.Millisecond) {
		if time.Now().After(late) {
			t.Fatalf("%s: %+v", what, s.Status())
		}
	}
}

func identity(t *testing.T) est.Identity {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}, URIs: []*url.URL{{Scheme: "spiffe", Host: "muster.local", Path: "/device/pi-1"}},
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return est.Identity{Device: "pi-1", Certificate: tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}}
}

func TestWhatIsNotAnsweredForIsSentAgainAsItWas(t *testing.T) {
	s := start(t, ring.OldestFirst, status(503, `{}`, "Retry-After", "0"), status(429, `{"title":"busy"}`), status(408, ``), cut, status(200, `<html>`), good,
		status(200, `{"values":1,"duplicate":true,"quarantined_values":2}`))
	s.put(t, Telemetry, "a")
	s.put(t, Events, "b")
	s.run(t)
	s.until(t, "both are stored", func(st Status) bool { return st.Stored == 2 })
	if got := strings.Join(s.seen(), ", "); got != strings.Repeat("/v1/telemetry a, ", 6)+"/v1/events b" {
		t.Error(got)
	}
	if st := s.Status(); st.Retries != 5 || st.Duplicates != 1 || st.Faults != 2 || st.Refused != 0 || !st.Connected || st.LastStored.IsZero() {
		t.Errorf("%+v", st)
	}
	if c := s.ring.Counts(); c.Waiting+c.InFlight != 0 {
		t.Errorf("%+v", c)
	}
}

func TestWhatNeverWillBeIsLetGoAndCounted(t *testing.T) {
	for _, code := range []int{400, 409, 413, 415, 422, 499} {
		s := start(t, ring.OldestFirst, status(code, `{"title":"no","reason":"bad\u001b[2J"}`), good)
		s.put(t, Telemetry, "a", "b")
		s.run(t)
		s.until(t, "one is stored", func(st Status) bool { return st.Stored == 1 })
		if st := s.Status(); st.Refused != 1 || strings.Contains(st.LastSaid, "\x1b") || !strings.Contains(st.LastSaid, fmt.Sprint(code)) {
			t.Errorf("%+v", st)
		}
		s.stop()
	}
}

func TestADeviceThatIsRefusedKeepsItsMessages(t *testing.T) {
	for _, answer := range []func(http.ResponseWriter){
		status(403, `{"reason":"quarantined"}`), status(403, `{"reason":"revoked"}`), status(403, ``), status(401, ``), status(404, ``), status(302, ``, "Location", "https://127.0.0.1:1"),
	} {
		s := start(t, ring.OldestFirst, answer, answer, good)
		s.put(t, Telemetry, "a")
		s.run(t)
		s.until(t, "it is stored", func(st Status) bool { return st.Stored == 1 })
		if st := s.Status(); st.Refused != 0 || st.Retries != 2 || st.Held {
			t.Errorf("%+v", st)
		}
		s.stop()
	}
	s := start(t, ring.OldestFirst, status(403, `{"reason":"device-mismatch"}`), good)
	s.put(t, Telemetry, "a", "b")
	s.run(t)
	s.until(t, "the message of another is let go", func(st Status) bool { return st.Refused == 1 && st.Stored == 1 })
}

func TestAnotherRegionsGatewayIsTaken(t *testing.T) {
	there := start(t, ring.OldestFirst, good)
	here := start(t, ring.OldestFirst, status(403, `{"reason":"other-region","gateway":"http://plain"}`), status(403, `{"reason":"other-region","gateway":"`+there.URL+`"}`))
	here.put(t, Telemetry, "a")
	here.run(t)
	// The other door does not know the device's authority: that it was asked is what counts.
	here.until(t, "it turns to the other", func(st Status) bool { return st.Gateway == there.URL })
	here.stop()
	if len(here.seen()) != 2 {
		t.Errorf("%q", here.seen())
	}
}

func TestABarredCertificateKeepsTheMessagesAndANewOneGoesOn(t *testing.T) {
	s := start(t, ring.OldestFirst, good)
	other := identity(t)
	other.Roots = x509.NewCertPool()
	other.Roots.AddCert(s.Certificate())
	own := *s.way
	s.way = open(s.cfg, other)
	s.put(t, Telemetry, "a")
	s.run(t)
	s.until(t, "it is barred", func(st Status) bool { return st.Held && strings.Contains(st.LastSaid, "enrol again") })
	s.Sender.mu.Lock()
	s.way = &own
	s.Sender.mu.Unlock()
	s.until(t, "it is stored", func(st Status) bool { return st.Stored == 1 && !st.Held })
}

func TestNewestFirstSaysWhatIsBacklog(t *testing.T) {
	hold := make(chan struct{})
	s := start(t, ring.NewestFirst, func(w http.ResponseWriter) { <-hold; status(503, ``)(w) }, good)
	s.put(t, Telemetry, "1", "2")
	s.run(t)
	s.door.wait(t, 1)
	s.put(t, Telemetry, "3")
	close(hold)
	s.until(t, "all are stored", func(st Status) bool { return st.Stored == 3 })
	want := []string{"/v1/telemetry 2", "/v1/telemetry 3", "/v1/telemetry 2 backlog", "/v1/telemetry 1 backlog"}
	if got := s.seen(); !slices.Equal(got, want) {
		t.Errorf("%q", got)
	}
}

func TestItEndsInTheMidstOfAPauseAndNothingIsLost(t *testing.T) {
	s := start(t, ring.OldestFirst, status(503, ``, "Retry-After", "3600"))
	s.put(t, Telemetry, "a")
	s.run(t)
	s.until(t, "one attempt", func(st Status) bool { return st.Retries == 1 })
	s.stop()
	if c := s.ring.Counts(); c.Waiting != 1 {
		t.Errorf("%+v", c)
	}
}

func TestAConfigurationThatCannotWorkIsNamed(t *testing.T) {
	for want, change := range map[string]func(*Config){
		"gateway": func(c *Config) { c.Gateway = "http://x" }, "timeout": func(c *Config) { c.Timeout = 0 }, "pauses": func(c *Config) { c.LastPause = 1 },
	} {
		cfg := DefaultConfig()
		change(&cfg)
		if err := cfg.Validate(); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%s: %v", want, err)
		}
	}
	if isBarred(errors.New("remote error: tls: bad certificate")) {
		t.Error("any error's words are taken for an alert")
	}
}
