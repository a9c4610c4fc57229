package est

import (
	"bytes"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"fmt"
	"net/http"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"muster.dev/proto/event"
	"muster.dev/services/registry/decide"
)

func TestCACertsAreWhatADeviceBuildsThePathFrom(t *testing.T) {
	s := open(t, nil)
	for _, path := range []string{"/cacerts", "/pumps/cacerts", "/whatever/cacerts"} {
		r := device{s: s}.ask(http.MethodGet, path, "", nil)
		certs := r.certificates(t)
		if len(certs) != 2 || r.header.Get("Content-Type") != "application/pkcs7-mime" {
			t.Fatalf("%s: %d certificates of type %s", path, len(certs), r.header.Get("Content-Type"))
		}
		for _, c := range certs {
			if !c.IsCA {
				t.Errorf("%s: %s is no authority's", path, c.Subject)
			}
		}
	}
}

func TestAttributesHintAtTheKey(t *testing.T) {
	s := open(t, nil)
	r := device{s: s}.ask(http.MethodGet, "/csrattrs", "", nil)
	r.want(t, http.StatusOK)
	der, err := base64.StdEncoding.DecodeString(string(r.body))
	if err != nil || r.header.Get("Content-Type") != "application/csrattrs" {
		t.Fatalf("type %s, %v", r.header.Get("Content-Type"), err)
	}
	cmd := exec.CommandContext(t.Context(), program(t, "openssl"), "asn1parse", "-inform", "DER")
	cmd.Stdin = bytes.NewReader(der)
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"id-ecPublicKey", "prime256v1", "ecdsa-with-SHA256"} {
		if !strings.Contains(string(out), want) {
			t.Errorf("no %s in %s", want, out)
		}
	}
}

func TestAPasswordEnrolsOneDeviceOnce(t *testing.T) {
	s := open(t, nil)
	d := device{s: s, user: "pump-1", password: s.password("p1", "pump-1")}
	body := csr(t, newKey(t), "pump-1")
	first := d.post("/simpleenroll", body)
	leaf := first.enrolled(t)
	if len(leaf.URIs) != 1 || leaf.URIs[0].String() != "spiffe://muster.test/device/pump-1" || first.header.Get("Content-Type") != "application/pkcs7-mime; smime-type=certs-only" {
		t.Errorf("%v, %s", leaf.URIs, first.header.Get("Content-Type"))
	}
	if err := leaf.CheckSignatureFrom(s.ca.Issuers()[0]); err != nil {
		t.Error(err)
	}
	// Whoever lost the answer asks again, with line breaks this time, and gets the same.
	var wrapped []byte
	for chunk := range slices.Chunk(body, 64) {
		wrapped = append(append(wrapped, chunk...), "\r\n"...)
	}
	if again := d.post("/pumps/simpleenroll", wrapped); again.code != http.StatusOK || !bytes.Equal(again.body, first.body) {
		t.Errorf("the repeat answers %d, the same: %v", again.code, bytes.Equal(again.body, first.body))
	}
	if issued := events[event.CertificateIssued](s); len(issued) != 1 {
		t.Errorf("%d certificates stand in the log", len(issued))
	}
	// Whoever overheard the password has another key.
	replay := d.post("/simpleenroll", csr(t, newKey(t), "pump-1"))
	replay.want(t, http.StatusUnauthorized, "one-time password is not good")
	if !strings.HasPrefix(replay.header.Get("WWW-Authenticate"), "Basic ") {
		t.Errorf("challenge %q", replay.header.Get("WWW-Authenticate"))
	}
	got := s.refused(1)[0]
	if got.What != "simpleenroll" || got.Subject != "pump-1" || got.Source != "127.0.0.1" || !strings.Contains(got.Reason, "password") {
		t.Errorf("%+v", got)
	}
	if enrolled := events[event.DeviceEnrolled](s); len(enrolled) != 1 || enrolled[0].Label != "pumps" || enrolled[0].Method != decide.MethodPassword {
		t.Errorf("%+v", enrolled)
	}
}

func TestWithoutCredentialsThereIsAChallengeAndNoEvent(t *testing.T) {
	s := open(t, nil)
	for _, path := range []string{"/simpleenroll", "/simplereenroll"} {
		r := device{s: s}.post(path, csr(t, newKey(t), "x"))
		r.want(t, http.StatusUnauthorized)
		if r.header.Get("WWW-Authenticate") == "" {
			t.Errorf("%s: no challenge", path)
		}
	}
	device{s: s}.ask(http.MethodGet, "/simpleenroll", "", nil).want(t, http.StatusMethodNotAllowed, "takes POST")
	device{s: s}.ask(http.MethodGet, "/serverkeygen", "", nil).want(t, http.StatusNotFound, "cacerts")
	s.refused(0)
}

func TestAManufacturersCertificateEnrolsWhatIsClaimed(t *testing.T) {
	s, acme := open(t, nil), newFactory(t)
	s.do(decide.TrustManufacturer{Name: "acme", Certificates: [][]byte{acme.cert.Raw}})
	s.do(decide.ClaimSerials{Manufacturer: "acme", Label: "pumps", Claims: []decide.Claim{{Serial: "SN-1", Device: "pump-1"}, {Serial: "SN-2", Device: "pump-2"}}})
	one := acme.idevid(t, pkix.Name{CommonName: "Acme pump 1", SerialNumber: "SN-1"}, nil)
	leaf := device{s: s, cert: one}.post("/pumps/simpleenroll", csr(t, newKey(t), "Acme pump 1")).enrolled(t)
	if leaf.URIs[0].Path != "/device/pump-1" || leaf.Subject.CommonName != "pump-1" {
		t.Errorf("%v, %v", leaf.URIs, leaf.Subject)
	}
	// Its alternative name is of a kind that only its maker knows, and critical.
	hardware := acme.idevid(t, pkix.Name{SerialNumber: "SN-2"}, func(c *x509.Certificate) {
		c.ExtraExtensions = []pkix.Extension{{Id: oidSAN, Critical: true, Value: []byte{0x30, 0x0b, 0xa0, 0x09, 0x06, 0x03, 0x2a, 0x03, 0x04, 0xa0, 0x02, 0x05, 0x00}}}
	})
	if leaf := (device{s: s, cert: hardware}).post("/simpleenroll", csr(t, newKey(t), "")).enrolled(t); leaf.URIs[0].Path != "/device/pump-2" {
		t.Errorf("%v", leaf.URIs)
	}
	enrolled := events[event.DeviceEnrolled](s)
	if len(enrolled) != 2 || enrolled[0].Via != "acme/SN-1" || enrolled[0].Method != decide.MethodManufacturer {
		t.Errorf("%+v", enrolled)
	}

	unclaimed := acme.idevid(t, pkix.Name{SerialNumber: "SN-9"}, nil)
	device{s: s, cert: unclaimed}.post("/simpleenroll", csr(t, newKey(t), "")).want(t, http.StatusForbidden, "SN-9", "not claimed")
	nameless := acme.idevid(t, pkix.Name{CommonName: "Acme pump 1"}, nil)
	device{s: s, cert: nameless}.post("/simpleenroll", csr(t, newKey(t), "")).want(t, http.StatusForbidden, "no serial number")
	ended := acme.idevid(t, pkix.Name{SerialNumber: "SN-1"}, func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Minute) })
	device{s: s, cert: ended}.post("/simpleenroll", csr(t, newKey(t), "")).want(t, http.StatusForbidden, "expired")
	strange := newFactory(t).idevid(t, pkix.Name{SerialNumber: "SN-1"}, nil)
	device{s: s, cert: strange}.post("/simpleenroll", csr(t, newKey(t), "")).want(t, http.StatusForbidden, "no trusted manufacturer")
	device{s: s, cert: one}.post("/simpleenroll", csr(t, newKey(t), "pump-2")).want(t, http.StatusForbidden, "another name")
	device{s: s, cert: one}.post("/simplereenroll", csr(t, newKey(t), "")).want(t, http.StatusForbidden, "not accepted")
	s.refused(6)
	if n := len(events[event.CertificateIssued](s)); n != 2 {
		t.Errorf("%d certificates", n)
	}
}

// enrolledPump is a device with a certificate of ours.
func enrolledPump(t *testing.T, s *site, id string) (device, *x509.Certificate) {
	t.Helper()
	key := newKey(t)
	d := device{s: s, user: id, password: s.password("of-"+id, id)}
	leaf := d.post("/simpleenroll", csr(t, key, id)).enrolled(t)
	return device{s: s, cert: pair(key, leaf)}, leaf
}

func TestADeviceRenewsItsCertificate(t *testing.T) {
	s := open(t, nil)
	d, first := enrolledPump(t, s, "pump-1")
	key := newKey(t)
	body := csr(t, key, "pump-1", "spiffe://muster.test/device/pump-1")
	second := d.post("/simplereenroll", body).enrolled(t)
	if second.SerialNumber.Cmp(first.SerialNumber) == 0 || second.URIs[0].String() != first.URIs[0].String() {
		t.Errorf("%v, %v", second.SerialNumber, second.URIs)
	}
	if repeat := d.post("/simplereenroll", body).enrolled(t); !repeat.Equal(second) {
		t.Error("the repeat is another certificate")
	}
	// With the new one, without alternative names, as strongSwan asks.
	third := device{s: s, cert: pair(key, second)}.post("/pumps/simplereenroll", csr(t, newKey(t), "pump-1")).enrolled(t)
	if third.URIs[0].String() != first.URIs[0].String() {
		t.Errorf("%v", third.URIs)
	}
	s.refused(0)
}

func TestARenewalForAnotherNameIsRefused(t *testing.T) {
	s := open(t, nil)
	d, _ := enrolledPump(t, s, "pump-1")
	enrolledPump(t, s, "pump-2")
	d.post("/simplereenroll", csr(t, newKey(t), "pump-2")).want(t, http.StatusForbidden, "subject")
	d.post("/simplereenroll", csr(t, newKey(t), "pump-1", "spiffe://muster.test/device/pump-2")).want(t, http.StatusForbidden, "alternative names")
	d.post("/simplereenroll", csr(t, newKey(t), "pump-1", "spiffe://muster.test/device/pump-1", "spiffe://muster.test/device/pump-2")).want(t, http.StatusForbidden, "alternative names")
	for _, got := range s.refused(3) {
		if got.What != "simplereenroll" || got.Subject != "pump-1" {
			t.Errorf("%+v", got)
		}
	}
	if n := len(events[event.CertificateIssued](s)); n != 2 {
		t.Errorf("%d certificates", n)
	}
}

func TestWhoMayNotRenewIsToldWhy(t *testing.T) {
	s := open(t, nil)
	d, leaf := enrolledPump(t, s, "pump-1")
	held, _ := enrolledPump(t, s, "pump-2")
	gone, _ := enrolledPump(t, s, "pump-3")
	s.do(decide.RevokeCertificate{Serial: leaf.SerialNumber.Text(16)})
	s.do(decide.Quarantine{Device: "pump-2", On: true})
	s.do(decide.RevokeDevice{Device: "pump-3"})
	d.post("/simplereenroll", csr(t, newKey(t), "pump-1")).want(t, http.StatusForbidden, "certificate revoked", "one-time password")
	held.post("/simplereenroll", csr(t, newKey(t), "pump-2")).want(t, http.StatusForbidden, "quarantined")
	gone.post("/simplereenroll", csr(t, newKey(t), "pump-3")).want(t, http.StatusForbidden, "device revoked")
	// The revoked key does not come back by a password.
	again := device{s: s, user: "pump-1", password: s.password("again", "pump-1")}
	again.post("/simpleenroll", csr(t, d.cert.PrivateKey.(crypto.Signer), "pump-1")).want(t, http.StatusForbidden, "revoked")
	s.refused(4)
	again.post("/simpleenroll", csr(t, newKey(t), "pump-1")).enrolled(t)
}

func TestOurCertificateIsNoManufacturersAndNoServersIsOurs(t *testing.T) {
	s := open(t, nil)
	d, _ := enrolledPump(t, s, "pump-1")
	d.post("/simpleenroll", csr(t, newKey(t), "pump-1")).want(t, http.StatusForbidden, "simplereenroll")
	server, err := tls.LoadX509KeyPair(s.dir+"/server.pem", s.dir+"/server.key")
	if err != nil {
		t.Fatal(err)
	}
	device{s: s, cert: &server}.post("/simplereenroll", csr(t, newKey(t), "localhost")).want(t, http.StatusForbidden, "not accepted")
	s.refused(2)
}

func TestBadRequestsAreRefusedInWordsAndIssueNothing(t *testing.T) {
	s := open(t, nil)
	weak, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		t.Fatal(err)
	}
	good := csr(t, newKey(t), "pump-1")
	der, err := base64.StdEncoding.DecodeString(string(good))
	if err != nil {
		t.Fatal(err)
	}
	der[len(der)-1] ^= 1
	const pkcs10 = "application/pkcs10"
	cases := map[string]struct {
		kind  string
		body  []byte
		code  int
		words string
	}{
		"a forged signature":   {pkcs10, []byte(base64.StdEncoding.EncodeToString(der)), 400, "signature"},
		"an RSA key of 1024":   {pkcs10, csr(t, weak, "pump-1"), 400, "1024 bits"},
		"another device":       {pkcs10, csr(t, newKey(t), "pump-2"), 403, "another name"},
		"another device's SAN": {pkcs10, csr(t, newKey(t), "pump-1", "spiffe://muster.test/device/pump-2"), 403, "another name"},
		"a MiB":                {pkcs10, bytes.Repeat([]byte("A"), 1<<20), 413, "16384"},
		"no base64":            {pkcs10, []byte("!!!!"), 400, "not base64"},
		"nothing":              {pkcs10, nil, 400, "empty"},
		"PEM":                  {pkcs10, []byte("-----BEGIN CERTIFICATE REQUEST-----\nMAA=\n"), 400, "leave out"},
		"rubbish in base64":    {pkcs10, []byte("MAA="), 400, "parse"},
		"JSON":                 {"application/json", good, 415, "application/pkcs10"},
	}
	n := 0
	for name, c := range cases {
		user := "pump-1"
		if c.code != http.StatusForbidden {
			user = "pump-3" // refusals slow the one down in whose name they are
		}
		n++
		t.Log(name)
		device{s: s, user: user, password: s.password(fmt.Sprintf("p%d", n), user)}.ask(http.MethodPost, "/simpleenroll", c.kind, c.body).want(t, c.code, c.words)
	}
	device{s: s, user: "Pump/1", password: "x"}.post("/simpleenroll", good).want(t, http.StatusUnauthorized, "user")
	device{s: s, user: "pump-1", password: "x"}.post("/nowhere/simpleenroll", good).want(t, http.StatusUnauthorized)
	device{s: s, user: "pump-1", password: "x"}.post("/No%2fwhere/simpleenroll", good).want(t, http.StatusNotFound, "no label")
	s.refused(len(cases) + 3)
	if issued, enrolled := events[event.CertificateIssued](s), events[event.DeviceEnrolled](s); len(issued)+len(enrolled) != 0 {
		t.Errorf("issued %+v, enrolled %+v", issued, enrolled)
	}
	// None of it used the passwords up.
	device{s: s, user: "pump-1", password: s.password("p", "pump-1")}.ask(http.MethodPost, "/simpleenroll", "", good).enrolled(t)
	for id, p := range passwords(s) {
		if id != "p" && p.Used != 0 {
			t.Errorf("password %s is used up", id)
		}
	}
}

func passwords(s *site) map[string]decide.Password {
	s.t.Helper()
	found := map[string]decide.Password{}
	if err := s.writer.View(s.t.Context(), func(state *decide.State) {
		for _, p := range state.Passwords() {
			found[p.ID] = p
		}
	}); err != nil {
		s.t.Fatal(err)
	}
	return found
}

func TestWhoGuessesIsSlowedDownAndNobodyElse(t *testing.T) {
	s := open(t, atOnce)
	body := csr(t, newKey(t), "pump-1")
	var last reply
	for range failBurst + 1 {
		last = device{s: s, user: "pump-1", password: "guess"}.post("/simpleenroll", body)
	}
	last.want(t, http.StatusTooManyRequests, "refused")
	if last.header.Get("Retry-After") == "" {
		t.Error("no Retry-After")
	}
	enrolledPump(t, s, "pump-2")
	s.refused(failBurst + 1)
}

func TestAnAddressThatFloodsWaits(t *testing.T) {
	s := open(t, func(c *Settings) { c.Rate, c.Burst = 0.001, 3 })
	for range 3 {
		device{s: s}.ask(http.MethodGet, "/cacerts", "", nil).want(t, http.StatusOK)
	}
	r := device{s: s}.ask(http.MethodGet, "/cacerts", "", nil)
	r.want(t, http.StatusTooManyRequests, "this address")
	if r.header.Get("Retry-After") == "" {
		t.Error("no Retry-After")
	}
}
