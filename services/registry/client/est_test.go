package client

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"io"
	"math/big"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"muster.dev/proto/pkcs7"
)

// plant is an EST server's side as far as a client sees it: a root that signs whatever is asked of it.
type plant struct {
	t    *testing.T
	root *x509.Certificate
	key  *ecdsa.PrivateKey
	base string
	// refuse is the status of the next renewals; 0 lets them be.
	refuse int
	asked  []*x509.CertificateRequest
}

func makeKeyFor(t *testing.T) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func (p *plant) sign(subject string, public crypto.PublicKey) *x509.Certificate {
	p.t.Helper()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: subject}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		URIs: []*url.URL{{Scheme: "spiffe", Host: "muster.test", Path: "/device/" + subject}}, BasicConstraintsValid: true,
	}
	parent := p.root
	if parent == nil {
		template.IsCA, parent = true, template
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, public, p.key)
	if err != nil {
		p.t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		p.t.Fatal(err)
	}
	return cert
}

func startPlant(t *testing.T) *plant {
	p := &plant{t: t, key: makeKeyFor(t)}
	p.root = p.sign("root", p.key.Public())
	answer := func(w http.ResponseWriter, cert *x509.Certificate) {
		der, err := pkcs7.CertsOnly(cert.Raw)
		if err != nil {
			t.Error(err)
		}
		io.WriteString(w, base64.StdEncoding.EncodeToString(der))
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /.well-known/est/cacerts", func(w http.ResponseWriter, _ *http.Request) { answer(w, p.root) })
	mux.HandleFunc("POST /.well-known/est/simplereenroll", func(w http.ResponseWriter, r *http.Request) {
		if p.refuse != 0 {
			http.Error(w, "not now", p.refuse)
			return
		}
		body, err := io.ReadAll(r.Body)
		if err != nil || r.Header.Get("Content-Type") != "application/pkcs10" || len(r.TLS.PeerCertificates) == 0 {
			t.Errorf("%v, %v", err, r.Header)
			return
		}
		der, err := base64.StdEncoding.DecodeString(string(body))
		if err != nil {
			t.Error(err)
			return
		}
		csr, err := x509.ParseCertificateRequest(der)
		if err != nil || csr.CheckSignature() != nil {
			t.Error(err)
			return
		}
		p.asked = append(p.asked, csr)
		answer(w, p.sign("pump-1", csr.PublicKey))
	})
	srv := httptest.NewUnstartedServer(mux)
	srv.TLS = &tls.Config{ClientAuth: tls.RequestClientCert}
	srv.StartTLS()
	t.Cleanup(srv.Close)
	p.base = srv.URL
	return p
}

// identity writes a device's identity that trusts the server.
func (p *plant) identity() string {
	p.t.Helper()
	dir := p.t.TempDir()
	key, err := ensureKey(dir)
	if err != nil {
		p.t.Fatal(err)
	}
	conn, err := tls.Dial("tcp", strings.TrimPrefix(p.base, "https://"), &tls.Config{InsecureSkipVerify: true})
	if err != nil {
		p.t.Fatal(err)
	}
	conn.Close()
	for name, cert := range map[string]*x509.Certificate{CAFile: conn.ConnectionState().PeerCertificates[0], CertFile: p.sign("pump-1", key.Public())} {
		if err := os.WriteFile(filepath.Join(dir, name), pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert.Raw}), 0o600); err != nil {
			p.t.Fatal(err)
		}
	}
	return dir
}

func contents(t *testing.T, dir string) map[string]string {
	t.Helper()
	out := map[string]string{}
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		data, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err != nil {
			t.Fatal(err)
		}
		out[e.Name()] = string(data)
	}
	return out
}

func TestARenewalReplacesKeyAndCertificateTogether(t *testing.T) {
	for name, keep := range map[string]bool{"a new key": false, "the same key": true} {
		t.Run(name, func(t *testing.T) {
			p := startPlant(t)
			dir := p.identity()
			before := contents(t, dir)
			cert, err := Renew(t.Context(), Renewal{Base: p.base, Dir: dir, KeepKey: keep})
			if err != nil {
				t.Fatal(err)
			}
			after := contents(t, dir)
			if len(after) != 3 || after[CertFile] == before[CertFile] || (after[KeyFile] == before[KeyFile]) != keep {
				t.Errorf("files %d, key kept %v", len(after), after[KeyFile] == before[KeyFile])
			}
			pair, err := tls.LoadX509KeyPair(filepath.Join(dir, CertFile), filepath.Join(dir, KeyFile))
			if err != nil || !pair.Leaf.Equal(cert) {
				t.Errorf("the pair does not fit: %v", err)
			}
			if !strings.Contains(after[CAFile], string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: p.root.Raw}))) {
				t.Error("what the server trusts was not taken over")
			}
			asked := p.asked[0]
			if asked.Subject.CommonName != "pump-1" || len(asked.URIs) != 1 || asked.URIs[0].Path != "/device/pump-1" {
				t.Errorf("asked for %v %v", asked.Subject, asked.URIs)
			}
		})
	}
}

func TestARefusedRenewalLeavesTheIdentityAndSaysWhy(t *testing.T) {
	p := startPlant(t)
	dir := p.identity()
	before := contents(t, dir)
	p.refuse = http.StatusForbidden
	_, err := Renew(t.Context(), Renewal{Base: p.base, Dir: dir})
	var said *ESTError
	if !errors.As(err, &said) || said.Status != http.StatusForbidden || !strings.Contains(err.Error(), "not now") {
		t.Fatal(err)
	}
	for name, data := range before {
		if contents(t, dir)[name] != data {
			t.Errorf("%s was changed", name)
		}
	}
	// And the key that was made for it is the next one's.
	waiting := contents(t, dir)[nextKeyFile]
	p.refuse = 0
	if _, err := Renew(t.Context(), Renewal{Base: p.base, Dir: dir}); err != nil {
		t.Fatal(err)
	}
	if waiting == "" || contents(t, dir)[KeyFile] != waiting {
		t.Error("the key that waited was not used")
	}
}

func TestAnInterruptedRenewalIsFinishedByTheNext(t *testing.T) {
	p := startPlant(t)
	dir := p.identity()
	// As it stands when the process dies between the certificate and the key.
	next, err := ensureKeyIn(filepath.Join(dir, nextKeyFile))
	if err != nil {
		t.Fatal(err)
	}
	cert := p.sign("pump-1", next.Public())
	if err := os.WriteFile(filepath.Join(dir, CertFile), encodeChain([]*x509.Certificate{cert}), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Renew(t.Context(), Renewal{Base: p.base, Dir: dir}); err != nil {
		t.Fatal(err)
	}
	if _, err := tls.LoadX509KeyPair(filepath.Join(dir, CertFile), filepath.Join(dir, KeyFile)); err != nil {
		t.Error(err)
	}
}

func FuzzAnESTAnswerIsBounded(f *testing.F) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		f.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1)}
	cert, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		f.Fatal(err)
	}
	message, err := pkcs7.CertsOnly(cert)
	if err != nil {
		f.Fatal(err)
	}
	text := base64.StdEncoding.EncodeToString(message)
	f.Add([]byte(text))
	f.Add([]byte(text[:64] + "\r\n" + text[64:] + "\n"))
	f.Add([]byte("<html>"))
	f.Fuzz(func(t *testing.T, answer []byte) {
		certs, err := certificatesIn(answer)
		if err != nil && certs != nil {
			t.Error("certificates and an error")
		}
		for _, c := range certs {
			if len(c.Raw) > len(answer) {
				t.Error("a certificate that is longer than the answer")
			}
		}
	})
}
