package est

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/hex"
	"encoding/pem"
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

	"muster.dev/proto/pkcs7"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience is how long tests wait for what is promised without a time.
const patience = 3 * time.Minute

// authority is a root, an issuing certificate, and what it signed.
type authority struct {
	t                 *testing.T
	root, issuing     *x509.Certificate
	rootKey, issueKey *ecdsa.PrivateKey
	serial            int64
}

func newAuthority(t *testing.T) *authority {
	a := &authority{t: t}
	a.rootKey, a.issueKey = key(t), key(t)
	a.root = a.sign(&x509.Certificate{Subject: pkix.Name{CommonName: "root"}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}, nil, a.rootKey.Public(), a.rootKey)
	a.issuing = a.sign(&x509.Certificate{Subject: pkix.Name{CommonName: "issuing"}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}, a.root, a.issueKey.Public(), a.rootKey)
	return a
}

func key(t *testing.T) *ecdsa.PrivateKey {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func (a *authority) sign(template, parent *x509.Certificate, public any, by any) *x509.Certificate {
	a.t.Helper()
	a.serial++
	template.SerialNumber = big.NewInt(a.serial)
	if template.NotAfter.IsZero() {
		template.NotBefore, template.NotAfter = time.Now().Add(-time.Hour), time.Now().Add(90*24*time.Hour)
	}
	if parent == nil {
		parent = template
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, public, by)
	if err != nil {
		a.t.Error(err)
		return nil
	}
	c, err := x509.ParseCertificate(der)
	if err != nil {
		a.t.Error(err)
	}
	return c
}

func (a *authority) device(name string, public any) *x509.Certificate {
	return a.sign(&x509.Certificate{
		Subject: pkix.Name{CommonName: name}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}, KeyUsage: x509.KeyUsageDigitalSignature,
		URIs: []*url.URL{{Scheme: "spiffe", Host: "muster.local", Path: "/device/" + name}},
	}, a.issuing, public, a.issueKey)
}

func (a *authority) pin() string {
	sum := sha256.Sum256(a.root.Raw)
	return "sha256:" + hex.EncodeToString(sum[:])
}

// registry is an EST server for one password; odd, if not nil, may answer in its stead.
type registry struct {
	*httptest.Server
	*authority
	mu       sync.Mutex
	odd      func(w http.ResponseWriter, r *http.Request) bool
	requests []string // what was asked of it, with the user
	issued   map[string][]byte
}

func newRegistry(t *testing.T) *registry {
	a := newAuthority(t)
	r := &registry{authority: a, issued: map[string][]byte{}}
	server := key(t)
	cert := a.sign(&x509.Certificate{DNSNames: []string{"localhost"}, IPAddresses: loopback, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}, a.issuing, server.Public(), a.issueKey)
	clients := x509.NewCertPool()
	clients.AddCert(a.root)
	r.Server = httptest.NewUnstartedServer(r)
	r.Config.ErrorLog = quiet()
	r.TLS = &tls.Config{
		Certificates: []tls.Certificate{{Certificate: [][]byte{cert.Raw, a.issuing.Raw}, PrivateKey: server}},
		ClientAuth:   tls.VerifyClientCertIfGiven, ClientCAs: clients,
	}
	r.StartTLS()
	t.Cleanup(r.Close)
	return r
}

func (r *registry) oddly(f func(http.ResponseWriter, *http.Request) bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.odd = f
}

func (r *registry) saw() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]string(nil), r.requests...)
}

func (r *registry) ServeHTTP(w http.ResponseWriter, q *http.Request) {
	user, password, _ := q.BasicAuth()
	r.mu.Lock()
	defer r.mu.Unlock()
	r.requests = append(r.requests, strings.TrimSpace(q.Method+" "+q.URL.Path+" "+user))
	if r.odd != nil && r.odd(w, q) {
		return
	}
	if strings.HasSuffix(q.URL.Path, "/cacerts") {
		r.answer(w, r.root.Raw, r.issuing.Raw)
		return
	}
	body, _ := io.ReadAll(q.Body)
	der, err := base64.StdEncoding.DecodeString(string(body))
	if err != nil {
		http.Error(w, "not base64", http.StatusBadRequest)
		return
	}
	request, err := x509.ParseCertificateRequest(der)
	if err != nil || request.CheckSignature() != nil {
		http.Error(w, "no request", http.StatusBadRequest)
		return
	}
	name := user
	if strings.HasSuffix(q.URL.Path, "/simplereenroll") {
		if len(q.TLS.PeerCertificates) == 0 {
			http.Error(w, "show the certificate", http.StatusUnauthorized)
			return
		}
		name = q.TLS.PeerCertificates[0].Subject.CommonName
	} else if user == "" && len(q.TLS.PeerCertificates) == 1 && q.TLS.PeerCertificates[0].Subject.SerialNumber == "SN-1" {
		name = "claimed-1"
	} else if before, same := r.issued[string(der)]; same {
		r.answer(w, before) // the answer was lost: the password is not used up twice
		return
	} else if password != "once" || len(r.issued) > 0 {
		http.Error(w, "the password is none, or was used", http.StatusUnauthorized)
		return
	}
	cert := r.device(name, request.PublicKey)
	r.issued[string(der)] = cert.Raw
	r.answer(w, cert.Raw)
}

func (r *registry) answer(w http.ResponseWriter, certs ...[]byte) {
	der, err := pkcs7.CertsOnly(certs...)
	if err != nil {
		r.t.Error(err)
	}
	w.Header().Set("Content-Type", "application/pkcs7-mime; smime-type=certs-only")
	_, _ = io.WriteString(w, base64.StdEncoding.EncodeToString(der))
}

func (r *registry) config(t *testing.T) Config {
	return Config{URL: r.URL, Line: "pis", Dir: filepath.Join(t.TempDir(), "identity"), Timeout: patience}
}

func (r *registry) caFile(t *testing.T) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(name, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: r.root.Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

func (r *registry) proof() Proof { return Proof{Device: "pi-1", Password: "once", Pin: r.pin()} }
