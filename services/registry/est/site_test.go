package est

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/pem"
	"io"
	"log/slog"
	"math/big"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kgo"
	"go.uber.org/goleak"

	"muster.dev/platform/eventlog"
	"muster.dev/platform/eventlog/logtest"
	"muster.dev/proto/event"
	"muster.dev/proto/identity"
	"muster.dev/proto/record"
	"muster.dev/services/registry/authority"
	"muster.dev/services/registry/decide"
	"muster.dev/services/registry/refusals"
	"muster.dev/services/registry/writer"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const domain = "muster.test"

// patience is how long a test waits where no time is promised.
const patience = 2 * time.Minute

// atOnce has all requests come at one time: the buckets of rates do not fill while they are asked.
func atOnce(c *Settings) {
	now := time.Now()
	c.Now = func() time.Time { return now }
}

// site is a devices' side on a log of its own.
type site struct {
	t      testing.TB
	dir    string
	log    eventlog.Config
	seal   authority.Option
	ca     *authority.Authority
	writer *writer.Writer
	est    *EST
	url    string
}

func open(t testing.TB, change func(*Settings)) *site {
	t.Helper()
	return openOn(t, logtest.Start(t, registryTopic), change)
}

var registryTopic = logtest.Topic{Name: record.TopicRegistry, Partitions: 1}

func openOn(t testing.TB, brokers []string, change func(*Settings)) *site {
	t.Helper()
	s := &site{t: t, dir: t.TempDir(), log: eventlog.Config{Brokers: brokers}}
	text, err := authority.NewSeal()
	if err != nil {
		t.Fatal(err)
	}
	seal, err := authority.ParseSeal(text)
	if err != nil {
		t.Fatal(err)
	}
	s.seal = authority.WithSeal(seal)
	if s.ca, err = authority.Init(filepath.Join(s.dir, "ca"), domain, s.seal); err != nil {
		t.Fatal(err)
	}
	cfg := DefaultConfig()
	cfg.Listen, cfg.CertFile, cfg.KeyFile = "127.0.0.1:0", filepath.Join(s.dir, "server.pem"), filepath.Join(s.dir, "server.key")
	if err := s.ca.EnsureServer(cfg.CertFile, cfg.KeyFile, authority.LoopbackHosts...); err != nil {
		t.Fatal(err)
	}
	s.serve("first", cfg, change)
	der, _ := s.ca.Issuing()
	s.do(decide.DefineIssuer{Certificate: der})
	s.do(decide.DefineLine{Label: "pumps", Profile: "pump", Cohort: "first"})
	return s
}

// serve runs a registry on the site's log.
func (s *site) serve(name string, cfg Config, change func(*Settings)) {
	s.t.Helper()
	quiet, reg := slog.New(slog.DiscardHandler), prometheus.NewRegistry()
	s.writer = writer.New(writer.Settings{Log: s.log, Logger: quiet, Metrics: reg, Name: name})
	s.run(s.writer.Run)
	room := refusals.New(refusals.Settings{Writer: s.writer, Log: quiet, Metrics: reg})
	s.run(room.Run)
	settings := Settings{Config: cfg, Writer: s.writer, Authority: s.ca, Refusals: room, Log: quiet, Metrics: reg}
	if change != nil {
		change(&settings)
	}
	var err error
	if s.est, err = New(settings); err != nil {
		s.t.Fatal(err)
	}
	s.run(s.est.Run)
	s.url = "https://" + s.est.Addr() + "/.well-known/est"
}

// run has a room work until the test's end; what was started last ends first.
func (s *site) run(room func(context.Context) error) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- room(ctx) }()
	s.t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			s.t.Error(err)
		}
	})
}

func (s *site) do(c decide.Command) decide.Outcome {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	out, err := s.writer.Do(ctx, "test", "test", c)
	if err != nil {
		s.t.Fatalf("%T: %v", c, err)
	}
	return out
}

// password makes a one-time password for a device.
func (s *site) password(id, device string) (secret string) {
	s.t.Helper()
	secret = "secret-of-" + id
	s.do(decide.MakePassword{ID: id, Hash: sha256.Sum256([]byte(secret)), Label: "pumps", Device: identity.Device(device), NotAfter: time.Now().Add(time.Hour), Uses: 1})
	return secret
}

// events are those of a kind that stand in the log.
func events[B event.Body](s *site) (found []B) {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	err := eventlog.Tail(ctx, s.log, eventlog.TailSettings{Topics: []string{record.TopicRegistry}}, func(rec *kgo.Record) error {
		headers := make([]event.Header, 0, len(rec.Headers))
		for _, h := range rec.Headers {
			headers = append(headers, event.Header{Key: h.Key, Value: h.Value})
		}
		e, err := event.DecodeRegistry(headers, rec.Value)
		if b, ok := e.Body.(B); ok {
			found = append(found, b)
		}
		return err
	})
	if err != nil {
		s.t.Fatal(err)
	}
	return found
}

// refused waits for as many events of refused attempts, and sees that no more come with them.
func (s *site) refused(n int) []event.AttemptRefused {
	s.t.Helper()
	deadline := time.Now().Add(patience)
	for {
		found := events[event.AttemptRefused](s)
		if len(found) == n {
			return found
		}
		if len(found) > n || time.Now().After(deadline) {
			s.t.Fatalf("%d refused attempts stand in the log, want %d: %+v", len(found), n, found)
		}
		<-time.After(10 * time.Millisecond)
	}
}

func newKey(t testing.TB) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// csr is the body of a request for names.
func csr(t testing.TB, key crypto.Signer, name string, sans ...string) []byte {
	t.Helper()
	template := &x509.CertificateRequest{}
	if name != "" {
		template.Subject.CommonName = name
	}
	for _, san := range sans {
		u, err := url.Parse(san)
		if err != nil {
			t.Fatal(err)
		}
		template.URIs = append(template.URIs, u)
	}
	der, err := x509.CreateCertificateRequest(rand.Reader, template, key)
	if err != nil {
		t.Fatal(err)
	}
	return []byte(base64.StdEncoding.EncodeToString(der))
}

// device is a client as devices are.
type device struct {
	s              *site
	user, password string
	cert           *tls.Certificate
}

type reply struct {
	code   int
	header http.Header
	body   []byte
}

func (d device) ask(method, path, contentType string, body []byte) reply {
	d.s.t.Helper()
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(d.s.ca.CA())
	cfg := &tls.Config{RootCAs: roots}
	if d.cert != nil {
		cfg.Certificates = []tls.Certificate{*d.cert}
	}
	transport := &http.Transport{TLSClientConfig: cfg}
	defer transport.CloseIdleConnections()
	req, err := http.NewRequestWithContext(d.s.t.Context(), method, d.s.url+path, bytes.NewReader(body))
	if err != nil {
		d.s.t.Fatal(err)
	}
	if contentType != "" {
		req.Header.Set("Content-Type", contentType)
	}
	if d.user != "" {
		req.SetBasicAuth(d.user, d.password)
	}
	resp, err := (&http.Client{Transport: transport, Timeout: patience}).Do(req)
	if err != nil {
		d.s.t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		d.s.t.Fatal(err)
	}
	return reply{resp.StatusCode, resp.Header, text}
}

func (d device) post(path string, body []byte) reply {
	d.s.t.Helper()
	return d.ask(http.MethodPost, path, "application/pkcs10", body)
}

// want is a refusal with words in it.
func (r reply) want(t testing.TB, code int, words ...string) {
	t.Helper()
	if r.code != code {
		t.Fatalf("answered %d, want %d: %s", r.code, code, r.body)
	}
	for _, w := range words {
		if !strings.Contains(string(r.body), w) {
			t.Errorf("%d says %q, want %q in it", code, r.body, w)
		}
	}
	if kind := r.header.Get("Content-Type"); code >= 400 && !strings.HasPrefix(kind, "text/plain") {
		t.Errorf("a refusal of type %s", kind)
	}
}

// certificates are those in an answer, as openssl reads them.
func (r reply) certificates(t testing.TB) (found []*x509.Certificate) {
	t.Helper()
	if r.code != http.StatusOK {
		t.Fatalf("answered %d: %s", r.code, r.body)
	}
	if bytes.ContainsAny(r.body, "\r\n ") {
		t.Error("the base64 is not one line")
	}
	der, err := base64.StdEncoding.DecodeString(string(r.body))
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), program(t, "openssl"), "pkcs7", "-inform", "DER", "-print_certs")
	cmd.Stdin = bytes.NewReader(der)
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	for {
		var block *pem.Block
		if block, out = pem.Decode(out); block == nil {
			return found
		}
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			t.Fatal(err)
		}
		found = append(found, cert)
	}
}

// enrolled is the one certificate of an answer.
func (r reply) enrolled(t testing.TB) *x509.Certificate {
	t.Helper()
	certs := r.certificates(t)
	if len(certs) != 1 {
		t.Fatalf("%d certificates, want 1", len(certs))
	}
	return certs[0]
}

// program finds one, skips loudly where it is missing, and fails where CI promised it.
func program(t testing.TB, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		if os.Getenv("CI") != "" {
			t.Fatalf("CI must have %s", name)
		}
		t.Skipf("SKIPPED: needs %s", name)
	}
	return path
}

// pair is a certificate with its key, as a TLS client holds it.
func pair(key crypto.PrivateKey, certs ...*x509.Certificate) *tls.Certificate {
	p := &tls.Certificate{PrivateKey: key}
	for _, c := range certs {
		p.Certificate = append(p.Certificate, c.Raw)
	}
	return p
}

// maker is a manufacturer.
type factory struct {
	key  *ecdsa.PrivateKey
	cert *x509.Certificate
}

func newFactory(t testing.TB) factory {
	t.Helper()
	f := factory{key: newKey(t)}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "Acme root"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
	f.cert = signed(t, template, template, f.key, f.key)
	return f
}

// idevid is a device's certificate as it leaves the factory: for ever, and for nothing in particular.
func (f factory) idevid(t testing.TB, subject pkix.Name, change func(*x509.Certificate)) *tls.Certificate {
	t.Helper()
	key := newKey(t)
	template := &x509.Certificate{SerialNumber: big.NewInt(7), Subject: subject, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC), KeyUsage: x509.KeyUsageDigitalSignature}
	if change != nil {
		change(template)
	}
	return pair(key, signed(t, template, f.cert, key, f.key))
}

func signed(t testing.TB, template, parent *x509.Certificate, key, by *ecdsa.PrivateKey) *x509.Certificate {
	t.Helper()
	der, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), by)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return cert
}
