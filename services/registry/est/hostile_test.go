package est

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"math/big"
	"net/http"
	"strings"
	"testing"
	"time"

	"muster.dev/proto/event"
	"muster.dev/services/registry/decide"
)

// maze is a client's chain that nobody signed and that takes long to find out: authorities of one name, each of which
// may have signed each.
func maze(t testing.TB, curve elliptic.Curve) *tls.Certificate {
	t.Helper()
	key := func() *ecdsa.PrivateKey {
		k, err := ecdsa.GenerateKey(curve, rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		return k
	}
	name := pkix.Name{CommonName: "nobody"}
	from, until := time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
	root := key()
	signer := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: name, NotBefore: from, NotAfter: until, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
	top := signed(t, signer, signer, root, root)
	leafKey := key()
	leaf := signed(t, &x509.Certificate{SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "x", SerialNumber: "7"}, NotBefore: from, NotAfter: until, KeyUsage: x509.KeyUsageDigitalSignature}, top, leafKey, root)
	// Each was signed by the one key, and shows the one key: any of them may stand above any other.
	chain := []*x509.Certificate{leaf}
	for n := range 7 {
		signer.SerialNumber = big.NewInt(int64(10 + n))
		signer.ExtraExtensions = nil
		signer.DNSNames = []string{strings.Repeat("a", n+1)} // Go passes over the same name and key a second time, but for its alternative names
		chain = append(chain, signed(t, signer, top, root, root))
	}
	return pair(leafKey, chain...)
}

func TestAMazeOfAuthoritiesIsNotWalked(t *testing.T) {
	s := open(t, nil)
	for _, name := range []string{"acme", "bolt"} {
		f := newFactory(t)
		s.do(decide.TrustManufacturer{Name: name, Certificates: [][]byte{f.cert.Raw}})
	}
	d := device{s: s, cert: maze(t, elliptic.P521())}
	// A verifier that walks it gives up after a hundred signatures, and says so.
	d.post("/simpleenroll", csr(t, newKey(t), "")).want(t, http.StatusForbidden, "no trusted manufacturer signed it")
	d.post("/simplereenroll", csr(t, newKey(t), "")).want(t, http.StatusForbidden, "unknown authority")
}

func TestAManufacturersChainIsFollowedInAnyOrder(t *testing.T) {
	s := open(t, nil)
	f, other := newFactory(t), newFactory(t)
	s.do(decide.TrustManufacturer{Name: "acme", Certificates: [][]byte{f.cert.Raw}})
	s.do(decide.TrustManufacturer{Name: "other", Certificates: [][]byte{other.cert.Raw}})
	s.do(decide.ClaimSerials{Manufacturer: "acme", Label: "pumps", Claims: []decide.Claim{{Serial: "7", Device: "pump-7"}}})
	authority := func(name string, by factory) factory {
		between := factory{key: newKey(t)}
		between.cert = signed(t, &x509.Certificate{SerialNumber: big.NewInt(3), Subject: pkix.Name{CommonName: name}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}, by.cert, between.key, by.key)
		return between
	}
	upper := authority("upper", f)
	lower := authority("lower", upper)
	d := device{s: s, cert: lower.idevid(t, pkix.Name{CommonName: "p7", SerialNumber: "7"}, nil)}
	d.cert.Certificate = append(d.cert.Certificate, other.cert.Raw, upper.cert.Raw, lower.cert.Raw)
	d.post("/simpleenroll", csr(t, newKey(t), "p7")).enrolled(t)
}

func TestALongNameIsNotKept(t *testing.T) {
	s := open(t, nil)
	f := newFactory(t)
	long := strings.Repeat("x", 8<<10)
	device{s: s, cert: f.idevid(t, pkix.Name{CommonName: long}, nil)}.post("/simpleenroll", csr(t, newKey(t), "")).want(t, http.StatusForbidden)
	device{s: s, cert: f.idevid(t, pkix.Name{CommonName: long}, nil)}.post("/simplereenroll", csr(t, newKey(t), "")).want(t, http.StatusForbidden)
	device{s: s, user: long, password: "x"}.post("/simpleenroll", csr(t, newKey(t), "")).want(t, http.StatusUnauthorized)
	s.est.failures.mu.Lock()
	defer s.est.failures.mu.Unlock()
	if len(s.est.failures.buckets) == 0 {
		t.Error("no refusal is counted")
	}
	for who := range s.est.failures.buckets {
		if len(who.subject) > maxSubject {
			t.Errorf("a name of %d bytes is kept", len(who.subject))
		}
	}
}

func TestADeviceDoesNotFillTheLogWithCertificates(t *testing.T) {
	s := open(t, atOnce)
	d, _ := enrolledPump(t, s, "pump-1")
	key := newKey(t)
	for range issueBurst {
		// Signatures differ, and so does each request.
		leaf := d.post("/simplereenroll", csr(t, key, "pump-1")).enrolled(t)
		d.cert = pair(key, leaf)
	}
	last := d.post("/simplereenroll", csr(t, key, "pump-1"))
	last.want(t, http.StatusTooManyRequests, "too many new certificates")
	if last.header.Get("Retry-After") == "" {
		t.Error("no Retry-After")
	}
	other, _ := enrolledPump(t, s, "pump-2")
	other.post("/simplereenroll", csr(t, newKey(t), "pump-2")).enrolled(t)
	if n := len(events[event.CertificateIssued](s)); n != issueBurst+3 {
		t.Errorf("%d certificates", n)
	}
}
