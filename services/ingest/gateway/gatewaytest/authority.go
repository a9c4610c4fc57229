package gatewaytest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	mathrand "math/rand/v2"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// TrustDomain is the one of every test.
const TrustDomain = "fleet.test"

// Authority signs certificates for one test.
type Authority struct {
	t    testing.TB
	Dir  string
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	next int64
}

// NewAuthority makes one in a directory of its own.
func NewAuthority(t testing.TB) *Authority {
	t.Helper()
	// Serials are the registry's key: those of two authorities must not meet.
	a := &Authority{t: t, Dir: t.TempDir(), key: newKey(t), next: mathrand.Int64N(1 << 48)}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test authority"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		IsCA: true, BasicConstraintsValid: true, MaxPathLenZero: true, KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, a.key.Public(), a.key)
	if err != nil {
		t.Fatal(err)
	}
	if a.cert, err = x509.ParseCertificate(der); err != nil {
		t.Fatal(err)
	}
	a.write("ca.pem", "CERTIFICATE", der)
	return a
}

func newKey(t testing.TB) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func (a *Authority) write(name, kind string, der []byte) string {
	a.t.Helper()
	path := filepath.Join(a.Dir, name)
	if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
		a.t.Fatal(err)
	}
	return path
}

// CA is the file with the authority's certificate.
func (a *Authority) CA() string { return filepath.Join(a.Dir, "ca.pem") }

// DER is the authority's certificate.
func (a *Authority) DER() []byte { return a.cert.Raw }

// Pool holds the authority's certificate.
func (a *Authority) Pool() *x509.CertPool {
	p := x509.NewCertPool()
	p.AddCert(a.cert)
	return p
}

// Identity is a certificate with its key, as files and as Go has it.
type Identity struct {
	Cert, Key string
	TLS       tls.Certificate
}

// Issue signs template's names and usages under a new key. Validity is an hour around now unless the template says
// otherwise.
func (a *Authority) Issue(name string, template *x509.Certificate) Identity {
	a.t.Helper()
	a.next++
	template.SerialNumber = big.NewInt(a.next)
	if template.NotAfter.IsZero() {
		template.NotBefore, template.NotAfter = time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
	}
	template.KeyUsage = x509.KeyUsageDigitalSignature
	key := newKey(a.t)
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, key.Public(), a.key)
	if err != nil {
		a.t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		a.t.Fatal(err)
	}
	id := Identity{Cert: a.write(name+".pem", "CERTIFICATE", der), Key: a.write(name+".key", "PRIVATE KEY", keyDER)}
	if id.TLS, err = tls.LoadX509KeyPair(id.Cert, id.Key); err != nil {
		a.t.Fatal(err)
	}
	return id
}

// Server is a certificate for 127.0.0.1 and localhost.
func (a *Authority) Server(name string) Identity {
	a.t.Helper()
	return a.Issue(name, &x509.Certificate{
		DNSNames: []string{"localhost"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1), net.IPv6loopback},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	})
}

// Device is a good certificate of a device.
func (a *Authority) Device(id string) Identity {
	a.t.Helper()
	return a.Issue("device-"+id, &x509.Certificate{
		URIs:        []*url.URL{URI(a.t, "spiffe://"+TrustDomain+"/device/"+id)},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	})
}

// URI parses s.
func URI(t testing.TB, s string) *url.URL {
	t.Helper()
	u, err := url.Parse(s)
	if err != nil {
		t.Fatal(err)
	}
	return u
}

// Also makes the authority's file hold another one too, so that devices of both are let in.
func (a *Authority) Also(other *Authority) {
	a.t.Helper()
	both := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: a.cert.Raw})
	both = append(both, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: other.cert.Raw})...)
	if err := os.WriteFile(a.CA(), both, 0o600); err != nil {
		a.t.Fatal(err)
	}
}

// Client is a TLS configuration that trusts the authority and shows the identity.
func (a *Authority) Client(id Identity) *tls.Config {
	return &tls.Config{MinVersion: tls.VersionTLS13, RootCAs: a.Pool(), ServerName: "localhost", Certificates: []tls.Certificate{id.TLS}}
}
