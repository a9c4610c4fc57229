package authority

import (
	"bytes"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"muster.dev/services/registry/decide"
)

func TestTheSameDraftIsSignedToTheSameBytes(t *testing.T) {
	a, dir := initAuthority(t)
	r := request(t, p256(t))
	draft := a.Draft(r)
	first, err := a.Sign("pump-1", r, draft)
	if err != nil {
		t.Fatal(err)
	}
	again, err := Open(dir, sealed)
	if err != nil {
		t.Fatal(err)
	}
	later := time.UnixMilli(draft.NotAfter.UnixMilli()) // as the log gives it back, in another zone
	draft.NotAfter = later.In(time.FixedZone("", 3600))
	second, err := again.Sign("pump-1", r, draft)
	if err != nil || !bytes.Equal(first.DER, second.DER) || !bytes.Equal(first.PEM, second.PEM) {
		t.Fatalf("the second differs: %v", err)
	}
	leaf, err := x509.ParseCertificate(first.DER)
	if err != nil {
		t.Fatal(err)
	}
	if leaf.SerialNumber.Text(16) != draft.Serial || !leaf.NotAfter.Equal(draft.NotAfter) || !leaf.NotBefore.Equal(draft.NotBefore) {
		t.Errorf("%v to %v, serial %x, drafted %+v", leaf.NotBefore, leaf.NotAfter, leaf.SerialNumber, draft)
	}
	if _, id := a.Issuing(); draft.Issuer != id || draft.CSR != r.Hash() || draft.SPKI != r.SPKI() {
		t.Errorf("%+v", draft)
	}
	if one, other := a.Draft(r), a.Draft(r); one.Serial == other.Serial || strings.HasPrefix(one.Serial, "0") {
		t.Errorf("serials %s and %s", one.Serial, other.Serial)
	}
}

func TestADraftIsSignedForItsKeyAlone(t *testing.T) {
	a, _ := initAuthority(t)
	r := request(t, p256(t))
	for name, change := range map[string]func(*decide.Certificate){
		"another key":        func(d *decide.Certificate) { d.SPKI[0] ^= 1 },
		"an unknown issuer":  func(d *decide.Certificate) { d.Issuer = "00" },
		"no number":          func(d *decide.Certificate) { d.Serial = "xyz" },
		"serial 0":           func(d *decide.Certificate) { d.Serial = "0" },
		"an end before time": func(d *decide.Certificate) { d.NotAfter = d.NotBefore },
	} {
		draft := a.Draft(r)
		change(&draft)
		if _, err := a.Sign("d", r, draft); err == nil {
			t.Errorf("%s was signed", name)
		}
	}
	draft := a.Draft(r)
	draft.Issuer = "gone"
	if _, err := a.Sign("d", r, draft); !errors.Is(err, ErrIssuerGone) {
		t.Errorf("%v", err)
	}
}

func TestTheLifeOfACertificateIsConfigured(t *testing.T) {
	_, dir := initAuthority(t)
	a, err := Open(dir, sealed, WithDeviceLife(time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	if d := a.Draft(request(t, p256(t))); d.NotAfter.Sub(d.NotBefore) != time.Hour+backdate {
		t.Errorf("lives %v", d.NotAfter.Sub(d.NotBefore))
	}
}

func TestAFileOfKeysIsUselessWithoutItsSeal(t *testing.T) {
	_, dir := initAuthority(t)
	for name, content := range readAll(t, dir) {
		if strings.Contains(content, "PRIVATE KEY") {
			t.Errorf("%s holds a key in the clear", name)
		}
	}
	if _, err := Open(dir); err == nil || !strings.Contains(err.Error(), "is sealed") {
		t.Errorf("without the seal: %v", err)
	}
	text, err := NewSeal()
	if err != nil {
		t.Fatal(err)
	}
	strange, err := ParseSeal("# made by hand\n" + text + "\n")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Open(dir, WithSeal(strange)); err == nil || !strings.Contains(err.Error(), "does not open") {
		t.Errorf("with another seal: %v", err)
	}
}

func TestARecipientClosesWhatItCannotOpen(t *testing.T) {
	text, err := NewSeal()
	if err != nil {
		t.Fatal(err)
	}
	whole, err := ParseSeal(text)
	if err != nil {
		t.Fatal(err)
	}
	half, err := ParseSeal(whole.recipient.(interface{ String() string }).String())
	if err != nil {
		t.Fatal(err)
	}
	closed, err := half.close([]byte("secret"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := half.open(closed); !errors.Is(err, errCannotOpen) {
		t.Errorf("%v", err)
	}
	if back, err := whole.open(closed); err != nil || string(back) != "secret" {
		t.Errorf("%q, %v", back, err)
	}
	dir := filepath.Join(t.TempDir(), "ca")
	safe := filepath.Join(t.TempDir(), "safe", "root.key.age")
	if _, err := Init(dir, "muster.test", sealed, WithRootKey(safe, half)); err != nil {
		t.Fatal(err)
	}
	if _, err := RollIssuing(dir, sealed, WithRootKey(safe, half)); err == nil || !strings.Contains(err.Error(), "give its passphrase") {
		t.Errorf("the root's key was used by who can only close it: %v", err)
	}
	if _, err := RollIssuing(dir, sealed, WithRootKey(safe, whole)); err != nil {
		t.Error(err)
	}
}

func TestSealsAreRefusedInWords(t *testing.T) {
	for _, bad := range []string{"", "AGE-SECRET-KEY-1QQQQ", "age1zzz", "hunter2", "age1x\nage1y"} {
		if _, err := ParseSeal(bad); err == nil || strings.Contains(err.Error(), "QQQQ") {
			t.Errorf("%q: %v", bad, err)
		}
	}
	if _, err := PassphraseSeal("short"); err == nil {
		t.Error("a short passphrase")
	}
}

func TestNamesOfARequestAreToldAndCompared(t *testing.T) {
	a, _ := initAuthority(t)
	key := p256(t)
	issued, err := a.IssueDevice("pump-1", request(t, key))
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(issued.DER)
	if err != nil {
		t.Fatal(err)
	}
	uri := func(path string) *url.URL { return &url.URL{Scheme: "spiffe", Host: "muster.test", Path: path} }
	same := pkix.Name{CommonName: "pump-1"}
	for name, c := range map[string]struct {
		template x509.CertificateRequest
		names    []string
		differs  string
	}{
		"the same":         {x509.CertificateRequest{Subject: same, URIs: []*url.URL{uri("/device/pump-1")}}, []string{"pump-1", "spiffe://muster.test/device/pump-1"}, ""},
		"no SAN":           {x509.CertificateRequest{Subject: same}, []string{"pump-1"}, ""},
		"another subject":  {x509.CertificateRequest{Subject: pkix.Name{CommonName: "pump-2"}}, []string{"pump-2"}, "subject"},
		"more subject":     {x509.CertificateRequest{Subject: pkix.Name{CommonName: "pump-1", Organization: []string{"x"}}}, []string{"pump-1"}, "subject"},
		"another SAN":      {x509.CertificateRequest{Subject: same, URIs: []*url.URL{uri("/device/pump-2")}}, []string{"pump-1", "spiffe://muster.test/device/pump-2"}, "alternative"},
		"one more SAN":     {x509.CertificateRequest{Subject: same, URIs: []*url.URL{uri("/device/pump-1")}, DNSNames: []string{"x"}}, []string{"pump-1", "x", "spiffe://muster.test/device/pump-1"}, "alternative"},
		"no name whatever": {x509.CertificateRequest{}, nil, "subject"},
	} {
		r, err := ParseRequest(requestPEM(t, &c.template, key))
		if err != nil {
			t.Fatal(err)
		}
		if got := r.Names(); !slices.Equal(got, c.names) {
			t.Errorf("%s: names %q", name, got)
		}
		if got := r.NamedAs(leaf); (got == "") != (c.differs == "") || !strings.Contains(got, c.differs) {
			t.Errorf("%s: %q", name, got)
		}
	}
}
