package authority

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

func p256(t *testing.T) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func requestPEM(t *testing.T, template *x509.CertificateRequest, key crypto.Signer) []byte {
	t.Helper()
	der, err := x509.CreateCertificateRequest(rand.Reader, template, key)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der})
}

func request(t *testing.T, key crypto.Signer) *Request {
	t.Helper()
	r, err := ParseRequest(requestPEM(t, &x509.CertificateRequest{}, key))
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func parse(t *testing.T, chain []byte) (leaf *x509.Certificate, intermediates *x509.CertPool) {
	t.Helper()
	block, rest := pem.Decode(chain)
	leaf, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	intermediates = x509.NewCertPool()
	intermediates.AppendCertsFromPEM(rest)
	return leaf, intermediates
}

func roots(a *Authority) *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(a.CA())
	return pool
}

func TestEveryAllowedKeyIsIssuedAVerifiableCertificate(t *testing.T) {
	a, _ := initAuthority(t)
	_, ed, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	serials := map[string]bool{}
	for _, key := range []crypto.Signer{p256(t), ed, rsaKey} {
		issued, err := a.IssueDevice("d1", request(t, key))
		if err != nil {
			t.Fatalf("%T: %v", key, err)
		}
		leaf, intermediates := parse(t, issued.PEM)
		if _, err := leaf.Verify(x509.VerifyOptions{Roots: roots(a), Intermediates: intermediates,
			KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}); err != nil {
			t.Errorf("%T: %v", key, err)
		}
		if leaf.IsCA || leaf.KeyUsage != x509.KeyUsageDigitalSignature ||
			!slices.Equal(leaf.ExtKeyUsage, []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}) {
			t.Errorf("%T: ca %v, usage %v, extended %v", key, leaf.IsCA, leaf.KeyUsage, leaf.ExtKeyUsage)
		}
		if life := leaf.NotAfter.Sub(leaf.NotBefore); life > DefaultDeviceLife+time.Hour {
			t.Errorf("%T: lives %v", key, life)
		}
		if serials[issued.Serial] || leaf.SerialNumber.Text(16) != issued.Serial {
			t.Errorf("%T: serial %s", key, issued.Serial)
		}
		serials[issued.Serial] = true
	}
}

func TestNothingARequestAsksForIsGranted(t *testing.T) {
	a, _ := initAuthority(t)
	greedy := &x509.CertificateRequest{
		Subject:        pkix.Name{CommonName: "somebody-else", Organization: []string{"admins"}},
		DNSNames:       []string{"gateway.muster.test"},
		EmailAddresses: []string{"root@muster.test"},
		URIs:           []*url.URL{{Scheme: "spiffe", Host: "muster.test", Path: "/device/somebody-else"}},
		ExtraExtensions: []pkix.Extension{
			{Id: []int{2, 5, 29, 19}, Critical: true, Value: []byte{0x30, 0x03, 0x01, 0x01, 0xff}}, // CA:TRUE
		},
	}
	r, err := ParseRequest(requestPEM(t, greedy, p256(t)))
	if err != nil {
		t.Fatal(err)
	}
	issued, err := a.IssueDevice("honest", r)
	if err != nil {
		t.Fatal(err)
	}
	leaf, _ := parse(t, issued.PEM)
	if len(leaf.URIs) != 1 || leaf.URIs[0].String() != "spiffe://muster.test/device/honest" {
		t.Errorf("URIs %v", leaf.URIs)
	}
	if len(leaf.DNSNames)+len(leaf.EmailAddresses)+len(leaf.IPAddresses) != 0 || leaf.IsCA || leaf.Subject.String() != "CN=honest" {
		t.Errorf("granted: %v %v %v %v %v", leaf.DNSNames, leaf.EmailAddresses, leaf.IPAddresses, leaf.IsCA, leaf.Subject)
	}
}

func TestHostileRequestsAreRefused(t *testing.T) {
	weak, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		t.Fatal(err)
	}
	p384, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	good := requestPEM(t, &x509.CertificateRequest{}, p256(t))
	block, _ := pem.Decode(good)
	forged := slices.Clone(block.Bytes)
	forged[len(forged)-1] ^= 1
	armour := func(kind string, der []byte) []byte { return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}) }

	for name, c := range map[string]struct {
		data []byte
		want string
	}{
		"an RSA key of 1024 bits":  {requestPEM(t, &x509.CertificateRequest{}, weak), "1024 bits"},
		"a P-384 key":              {requestPEM(t, &x509.CertificateRequest{}, p384), "P-384"},
		"a signature of other key": {armour("CERTIFICATE REQUEST", forged), "signature"},
		"oversize":                 {append(slices.Clone(good), make([]byte, MaxRequest)...), "the limit is"},
		"empty":                    {nil, "not PEM"},
		"bare DER":                 {block.Bytes, "not PEM"},
		"a certificate's armour":   {armour("CERTIFICATE", block.Bytes), "want a PEM block"},
		"a long strange armour":    {armour(strings.Repeat("A", 5000), block.Bytes), "want a PEM block"},
		"two requests":             {append(slices.Clone(good), good...), "behind"},
		"cut short":                {armour("CERTIFICATE REQUEST", block.Bytes[:40]), "parse"},
	} {
		_, err := ParseRequest(c.data)
		var refusal *RequestError
		if !errors.As(err, &refusal) || !strings.Contains(refusal.Reason, c.want) {
			t.Errorf("%s: %v", name, err)
		}
		if refusal != nil && len(refusal.Reason) > 300 {
			t.Errorf("%s: a reason of %d bytes", name, len(refusal.Reason))
		}
	}
}

func FuzzParseRequest(f *testing.F) {
	f.Add([]byte("-----BEGIN CERTIFICATE REQUEST-----\nMAA=\n-----END CERTIFICATE REQUEST-----\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		r, err := ParseRequest(data)
		var refusal *RequestError
		if (r == nil) != (err != nil) || err != nil && !errors.As(err, &refusal) {
			t.Fatalf("%v, %v", r, err)
		}
	})
}

func TestALeafNeverOutlivesItsIssuer(t *testing.T) {
	a, _ := initAuthority(t)
	r := request(t, p256(t))
	issuing := a.Issuers()[0]
	a.now = func() time.Time { return issuing.NotAfter.Add(-time.Hour) }
	issued, err := a.IssueDevice("d1", r)
	if err != nil || !issued.NotAfter.Equal(issuing.NotAfter) {
		t.Errorf("ends %v, the issuer %v: %v", issued.NotAfter, issuing.NotAfter, err)
	}
	a.now = func() time.Time { return issuing.NotAfter.Add(time.Hour) }
	if _, err := a.IssueDevice("d1", r); err == nil {
		t.Error("an ended issuer issued")
	}
}

func TestTheIssuerCannotVouchForAnotherDomain(t *testing.T) {
	a, _ := initAuthority(t)
	a.held.Load().trustDomain = "victim.test"
	issued, err := a.IssueDevice("d1", request(t, p256(t)))
	if err != nil {
		t.Fatal(err)
	}
	leaf, intermediates := parse(t, issued.PEM)
	if _, err := leaf.Verify(x509.VerifyOptions{Roots: roots(a), Intermediates: intermediates,
		KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}); err == nil {
		t.Error("a certificate outside the trust domain verified")
	}
}

func TestAServerCertificateIsKeptWhileItIsGood(t *testing.T) {
	a, dir := initAuthority(t)
	certFile, keyFile := filepath.Join(dir, "s.pem"), filepath.Join(dir, "s.key")
	ensure := func(hosts ...string) string {
		t.Helper()
		if err := a.EnsureServer(certFile, keyFile, hosts...); err != nil {
			t.Fatal(err)
		}
		data, err := os.ReadFile(certFile)
		if err != nil {
			t.Fatal(err)
		}
		return string(data)
	}
	first := ensure(LoopbackHosts...)
	if ensure(LoopbackHosts...) != first {
		t.Error("a good certificate was replaced")
	}
	named := ensure("localhost", "gateway")
	if named == first {
		t.Error("a certificate without a wanted name was kept")
	}
	if err := os.Remove(keyFile); err != nil {
		t.Fatal(err)
	}
	rekeyed := ensure("localhost", "gateway")
	if rekeyed == named {
		t.Error("a certificate without its key was kept")
	}
	a.now = func() time.Time { return time.Now().Add(serverLife * 3 / 4) }
	if ensure("localhost", "gateway") == rekeyed {
		t.Error("a certificate near its end was kept")
	}
	if err := a.EnsureServer(certFile, keyFile); err == nil {
		t.Error("a server without a host")
	}
}
