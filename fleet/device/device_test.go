package device

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// door is a gateway as a script: it answers the n-th request by the n-th step, the last one for ever.
type door struct {
	*httptest.Server
	mu     sync.Mutex
	bodies []string
	types  []string
	steps  []func(http.ResponseWriter)
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

// patience is how long tests wait for what is promised without a time.
const patience = 3 * time.Minute

var stored = status(200, `{"status":"stored","values":7}`)

func cut(w http.ResponseWriter) { panic(http.ErrAbortHandler) }

func (d *door) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	b, _ := io.ReadAll(r.Body)
	d.mu.Lock()
	step := d.steps[min(len(d.bodies), len(d.steps)-1)]
	d.bodies = append(d.bodies, string(b))
	d.types = append(d.types, r.Header.Get("Content-Type")+" "+r.TLS.PeerCertificates[0].URIs[0].Path)
	d.mu.Unlock()
	step(w)
}

func (d *door) saw() []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return append([]string(nil), d.bodies...)
}

// open starts a door with its own authority and an identity for one device, and a client between them.
func open(t *testing.T, steps ...func(http.ResponseWriter)) (*door, *Client) {
	t.Helper()
	d := &door{steps: steps}
	dir := t.TempDir()
	roots := identityFiles(t, dir)
	d.Server = httptest.NewUnstartedServer(d)
	d.TLS = &tls.Config{MinVersion: tls.VersionTLS13, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: roots}
	d.StartTLS()
	t.Cleanup(d.Close)
	// The device trusts the test server's own certificate.
	if err := os.WriteFile(filepath.Join(dir, "ca.pem"), pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: d.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	id, err := LoadIdentity(dir)
	if err != nil {
		t.Fatal(err)
	}
	if id.Device != "boiler-7" {
		t.Errorf("identity of %q", id.Device)
	}
	cfg := DefaultConfig()
	// No attempt is given up because the machine is busy: a test says which are.
	cfg.Gateway, cfg.FirstPause, cfg.LastPause, cfg.Timeout = d.URL, time.Millisecond, 5*time.Millisecond, patience
	c, err := NewClient(cfg, id)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return d, c
}

func identityFiles(t *testing.T, dir string) *x509.CertPool {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
		URIs: []*url.URL{{Scheme: "spiffe", Host: "muster.local", Path: "/device/boiler-7"}}, IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	kder, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	for name, block := range map[string]*pem.Block{"cert.pem": {Type: "CERTIFICATE", Bytes: der}, "key.pem": {Type: "PRIVATE KEY", Bytes: kder}} {
		if err := os.WriteFile(filepath.Join(dir, name), pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	leaf, _ := x509.ParseCertificate(der)
	pool := x509.NewCertPool()
	pool.AddCert(leaf)
	return pool
}

func TestTheSameBytesAreSentUntilTheGatewayAnswersForThem(t *testing.T) {
	d, c := open(t,
		status(503, `{"title":"The log did not answer in time","status":503,"outcome":"unknown"}`, "Retry-After", "0"),
		status(429, `{"title":"The gateway is at its limit"}`),
		status(408, `slow`), cut, stored)
	var heard []int
	r, err := c.Deliver(t.Context(), []byte("batch"), func(u *Unsure) { heard = append(heard, u.Status) })
	if err != nil {
		t.Fatal(err)
	}
	if r.Values != 7 || r.Duplicate || r.Attempts != 5 {
		t.Errorf("receipt %+v", r)
	}
	if fmt.Sprint(heard) != "[503 429 408 0]" {
		t.Errorf("retried after %v", heard)
	}
	for _, b := range d.saw() {
		if b != "batch" {
			t.Errorf("sent %q", b)
		}
	}
	if d.types[0] != MediaType+" /device/boiler-7" {
		t.Errorf("sent as %q", d.types[0])
	}
}

func TestARefusalIsFinalAndSaysWhy(t *testing.T) {
	for _, code := range []int{400, 403, 409, 413, 415, 422} {
		d, c := open(t, status(code, `{"title":"The message is too large","detail":"steps: 1001 of at most 1000","field":"dt","limit":1000,"reason":"too-large"}`), stored)
		_, err := c.Deliver(t.Context(), []byte("x"), nil)
		var refusal *Refusal
		if !errors.As(err, &refusal) || refusal.Status != code || refusal.Limit != 1000 || refusal.Field != "dt" {
			t.Errorf("%d: %v", code, err)
		}
		if err != nil && !strings.Contains(err.Error(), "steps: 1001 of at most 1000") {
			t.Errorf("%d: %v", code, err)
		}
		if n := len(d.saw()); n != 1 {
			t.Errorf("%d: %d attempts", code, n)
		}
	}
}

func TestAGatewayThatHasNotHeardOfTheEnrolmentYetIsAskedAgain(t *testing.T) {
	_, c := open(t, status(403, `{"title":"The device is not enrolled here","reason":"not-enrolled"}`), stored)
	c.opened = time.Now().Add(patience) // it is young for the whole test
	if _, err := c.Deliver(t.Context(), []byte("x"), nil); err != nil {
		t.Error(err)
	}
	_, c = open(t, status(403, `{"title":"The device is not enrolled here","reason":"not-enrolled"}`), stored)
	c.opened = time.Now().Add(-settling)
	var refusal *Refusal
	if _, err := c.Deliver(t.Context(), []byte("x"), nil); !errors.As(err, &refusal) {
		t.Error(err)
	}
}

func TestRetryAfterIsWaited(t *testing.T) {
	_, c := open(t, status(429, `{}`, "Retry-After", "1"), stored)
	began := time.Now()
	if _, err := c.Deliver(t.Context(), []byte("x"), nil); err != nil {
		t.Fatal(err)
	}
	if took := time.Since(began); took < time.Second {
		t.Errorf("came back after %s", took)
	}
}

func TestDeliveryEndsWithItsContext(t *testing.T) {
	_, c := open(t, status(503, `{}`))
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := c.Deliver(ctx, []byte("x"), nil); !errors.Is(err, context.DeadlineExceeded) {
		t.Error(err)
	}
}

func TestTheOutboxKeepsOrderAndCountsWhatBecameOfEach(t *testing.T) {
	d, c := open(t, stored, status(503, `{}`), stored, status(422, `{"title":"no"}`), status(200, `{"values":1,"duplicate":true}`))
	var mu sync.Mutex
	var got []string
	done := make(chan struct{})
	o := NewOutbox(c, 100, func(m Message, out Outcome) {
		mu.Lock()
		defer mu.Unlock()
		got = append(got, fmt.Sprint(m.Seq, out.Refusal == nil))
		if m.Seq == 3 {
			close(done)
		}
	})
	for seq := range uint64(4) {
		o.Put(Message{Seq: seq, Body: fmt.Append(nil, seq)})
	}
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() { o.Run(ctx) })
	<-done
	cancel()
	wg.Wait()
	if s := strings.Join(got, ", "); s != "0 true, 1 true, 2 false, 3 true" {
		t.Error(s)
	}
	if s := strings.Join(d.saw(), " "); s != "0 1 1 2 3" {
		t.Errorf("sent %s", s)
	}
	if n := o.Counts(); n != (Counts{Put: 4, Stored: 3, Refused: 1, Retries: 1, Duplicates: 1}) {
		t.Errorf("%+v", n)
	}
}

func TestAFullOutboxDropsTheOldestThatIsNotOnItsWay(t *testing.T) {
	hold, arrived := make(chan struct{}), make(chan struct{}, 1)
	d, c := open(t, func(w http.ResponseWriter) { arrived <- struct{}{}; <-hold; stored(w) }, stored)
	done := make(chan struct{})
	o := NewOutbox(c, 3, func(m Message, _ Outcome) {
		if m.Seq == 5 {
			close(done)
		}
	})
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() { o.Run(ctx) })
	o.Put(Message{Seq: 0, Body: []byte("0")})
	<-arrived
	for seq := uint64(1); seq <= 5; seq++ {
		o.Put(Message{Seq: seq, Body: fmt.Append(nil, seq)})
	}
	if n := o.Counts(); n.Put != 6 || n.Dropped != 3 || n.Waiting != 3 {
		t.Errorf("%+v", n)
	}
	close(hold)
	<-done
	cancel()
	wg.Wait()
	if s := strings.Join(d.saw(), " "); s != "0 4 5" {
		t.Errorf("sent %s", s)
	}
}

func TestALostAnswerIsARetryBeforeTheNextMessage(t *testing.T) {
	d, c := open(t, stored, status(200, `{"values":7,"duplicate":true}`), stored)
	done := make(chan struct{})
	var outcomes []Outcome
	o := NewOutbox(c, 10, func(m Message, out Outcome) {
		outcomes = append(outcomes, out)
		if m.Seq == 1 {
			close(done)
		}
	})
	once := true
	o.LoseAnswers(func() bool { lose := once; once = false; return lose })
	o.Put(Message{Seq: 0, Body: []byte("0")})
	o.Put(Message{Seq: 1, Body: []byte("1")})
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() { o.Run(ctx) })
	<-done
	cancel()
	wg.Wait()
	if s := strings.Join(d.saw(), " "); s != "0 0 1" || len(outcomes) != 2 || !outcomes[0].Receipt.Duplicate {
		t.Errorf("sent %s, outcomes %+v", s, outcomes)
	}
	if n := o.Counts(); n.Stored != 2 || n.Duplicates != 1 || n.Retries != 1 {
		t.Errorf("%+v", n)
	}
}

func TestAnIdentityThatIsNoDevicesIsRefused(t *testing.T) {
	if _, err := LoadIdentity(t.TempDir()); err == nil || !strings.Contains(err.Error(), "identity in") {
		t.Error(err)
	}
	for _, path := range []string{"/device/", "/tenant/a/device/b", "/operator/x"} {
		cert := &x509.Certificate{URIs: []*url.URL{{Scheme: "spiffe", Host: "h", Path: path}}}
		if name, err := subject(cert); err == nil {
			t.Errorf("%s is %q", path, name)
		}
	}
	if _, err := subject(&x509.Certificate{}); err == nil {
		t.Error("no URI")
	}
}

func TestAConfigurationThatCannotWorkIsNamed(t *testing.T) {
	for want, change := range map[string]func(*Config){
		"gateway":     func(c *Config) { c.Gateway = "http://x" },
		"timeout":     func(c *Config) { c.Timeout = 0 },
		"first_pause": func(c *Config) { c.LastPause = 1 },
	} {
		cfg := DefaultConfig()
		change(&cfg)
		if err := cfg.Validate(); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%s: %v", want, err)
		}
	}
}
