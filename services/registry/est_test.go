package registry_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"io"
	"log/slog"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kgo"

	"muster.dev/platform/daemon"
	"muster.dev/platform/eventlog"
	"muster.dev/platform/roster"
	"muster.dev/services/registry"
	"muster.dev/services/registry/authority"
	"muster.dev/services/registry/decide"
	"muster.dev/services/registry/writer"
)

// twin starts a registry of a name on the site's log, with a devices' side of its own.
func (s *site) twin(name string) (est string, stop func()) {
	s.t.Helper()
	cfg := s.cfg
	cfg.Name = name
	dir := s.t.TempDir()
	cfg.EST.CertFile, cfg.EST.KeyFile = filepath.Join(dir, "server.pem"), filepath.Join(dir, "server.key")
	ca, err := authority.Open(cfg.CA)
	if err != nil {
		s.t.Fatal(err)
	}
	if err := ca.EnsureServer(cfg.EST.CertFile, cfg.EST.KeyFile, authority.LoopbackHosts...); err != nil {
		s.t.Fatal(err)
	}
	cfg.EST.Listen = "127.0.0.1:0"
	ctx, cancel := context.WithCancel(context.Background())
	said := new(said)
	p, err := daemon.New(ctx, daemon.Settings{Name: "registry", Config: cfg.Ops, Output: said})
	if err != nil {
		s.t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() {
		done <- p.Run(func(ctx context.Context, p *daemon.Process) error { return registry.Run(ctx, p, cfg) })
	}()
	stopped := false
	stop = func() {
		if stopped {
			return
		}
		stopped = true
		cancel()
		if err := <-done; err != nil {
			s.t.Errorf("%s: %v", name, err)
		}
	}
	s.t.Cleanup(stop)
	s.until(name+" is ready", func() bool {
		res, err := http.Get("http://" + p.Addr() + "/readyz")
		if err != nil {
			return false
		}
		res.Body.Close()
		return res.StatusCode == http.StatusOK
	})
	return "https://" + s.listens(said, "devices' side") + "/.well-known/est", stop
}

// enrolAt asks a devices' side for a certificate by password.
func (s *site) enrolAt(est, device, secret string) (code int, body string) {
	s.t.Helper()
	ca, err := authority.Open(s.cfg.CA)
	if err != nil {
		s.t.Fatal(err)
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		s.t.Fatal(err)
	}
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{Subject: pkix.Name{CommonName: device}}, key)
	if err != nil {
		s.t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(ca.CA())
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}}
	defer transport.CloseIdleConnections()
	req, err := http.NewRequestWithContext(s.t.Context(), http.MethodPost, est+"/simpleenroll", strings.NewReader(base64.StdEncoding.EncodeToString(der)))
	if err != nil {
		s.t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/pkcs10")
	req.SetBasicAuth(device, secret)
	resp, err := (&http.Client{Transport: transport, Timeout: patience}).Do(req)
	if err != nil {
		s.t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		s.t.Fatal(err)
	}
	return resp.StatusCode, string(text)
}

// before has commands decided while no process runs yet.
func (s *site) before(commands ...decide.Command) {
	s.t.Helper()
	cl, err := kgo.NewClient(s.cfg.Log.Options()...)
	if err != nil {
		s.t.Fatal(err)
	}
	defer cl.Close()
	if _, err := eventlog.EnsureTopics(s.t.Context(), cl, eventlog.Topics(s.cfg.Topics.Partitions, s.cfg.Topics.Local)); err != nil {
		s.t.Fatal(err)
	}
	w := writer.New(writer.Settings{Log: s.cfg.Log, Logger: slog.New(slog.DiscardHandler), Metrics: prometheus.NewRegistry(), Name: "before"})
	ctx, cancel := context.WithCancel(s.t.Context())
	done := make(chan error, 1)
	go func() { done <- w.Run(ctx) }()
	defer func() { cancel(); <-done }()
	for _, c := range commands {
		wait, end := context.WithTimeout(ctx, patience)
		_, err := w.Do(wait, "test", "test", c)
		end()
		if err != nil {
			s.t.Fatalf("%T: %v", c, err)
		}
	}
}

func TestOfTwoRegistriesTheOtherEnrolsWhenOneStops(t *testing.T) {
	s := open(t)
	s.before(
		decide.DefineLine{Label: "pumps", Cohort: "first"},
		decide.MakePassword{ID: "many", Hash: sha256.Sum256([]byte("secret")), Label: "pumps", Prefix: "pump-", NotAfter: time.Now().Add(time.Hour), Uses: 9},
	)
	first, stop := s.twin("one")
	// It is ready before it has the writer's place, which the second would take from it or before it.
	s.until("the first enrols", func() bool {
		code, _ := s.enrolAt(first, "pump-1", "secret")
		return code == http.StatusOK
	})
	second, _ := s.twin("two")
	if code, body := s.enrolAt(second, "pump-2", "secret"); code != http.StatusServiceUnavailable || !strings.Contains(body, "stands by") {
		t.Errorf("the second beside it: %d: %s", code, body)
	}
	stop()
	s.until("the second enrols", func() bool {
		code, _ := s.enrolAt(second, "pump-2", "secret")
		return code == http.StatusOK
	})
	ca, err := authority.Open(s.cfg.CA)
	if err != nil {
		t.Fatal(err)
	}
	der, id := ca.Issuing()
	var found []roster.Issuer
	s.read(func(r *roster.Roster) { found = r.Issuers() })
	if len(found) != 1 || found[0].ID != id || !bytes.Equal(found[0].Certificate, der) {
		t.Errorf("the log names %d issuers", len(found))
	}
}
