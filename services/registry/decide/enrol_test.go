package decide

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"
	"testing"
	"time"

	"muster.dev/platform/roster"
	"muster.dev/proto/event"
	"muster.dev/proto/identity"
)

var issuer = strings.Repeat("ab", 16)

// cert drafts a certificate for a key and a request, each told by a word.
func cert(key, csr string) Certificate {
	serial := sha256.Sum256([]byte(key + "/" + csr))
	return Certificate{
		Serial: "1" + hex.EncodeToString(serial[:10]), SPKI: event.Chain([]byte(key)), CSR: event.Chain([]byte(csr)), Issuer: issuer,
		NotBefore: now.Add(-time.Hour), NotAfter: now.Add(90 * 24 * time.Hour),
	}
}

func secret(word string) [32]byte { return sha256.Sum256([]byte(word)) }

func enrolled(id, key string) Enrol {
	return Enrol{Device: identity.Device(id), Cohort: "north", Profile: "pump", Certificate: cert(key, "csr of "+key)}
}

// site is a registry that knows a line, a manufacturer and a claim.
func site(t *testing.T) *State {
	t.Helper()
	s := NewState()
	do(t, s, DefineLine{Label: "pumps", Profile: "pump", Cohort: "canary", Class: 1, Interval: time.Minute, Region: "eu"})
	do(t, s, DefineLine{Label: "fans", Cohort: "canary"})
	do(t, s, TrustManufacturer{Name: "acme", Certificates: [][]byte{authority(t, "acme")}})
	do(t, s, ClaimSerials{Manufacturer: "acme", Label: "pumps", Claims: []Claim{{Serial: "SN1", Device: "pump-1"}}})
	return s
}

// later decides as Decide, at another time.
func later(t *testing.T, s *State, at time.Time, c Command) (Outcome, error) {
	t.Helper()
	out, err := Decide(s, at, c)
	for _, body := range out.Events {
		if _, err := s.Extend(at, "test", "", body); err != nil {
			t.Fatal(err)
		}
	}
	return out, err
}

func TestAnEnrolmentStandsInTheLogWithItsCertificate(t *testing.T) {
	s := NewState()
	c := enrolled("d", "k")
	c.Attributes = map[string]string{"site": "Kiel"}
	out := do(t, s, c)
	if out.No != 1 || out.Device != "d" || out.Certificate != c.Certificate.noted() || len(out.Events) != 3 {
		t.Fatalf("%+v", out)
	}
	d, standing := s.Standing("d", c.Certificate.Serial, c.Certificate.SPKI)
	if standing != roster.Good || d.Method != MethodOperator || len(d.Certificates) != 1 || d.Certificates[0].Legacy || d.Attributes[0] != (roster.Attribute{Key: "site", Value: "Kiel"}) {
		t.Errorf("%+v, %v", d, standing)
	}
	if by, ok := s.DeviceBySerial(c.Certificate.Serial); !ok || by.ID != "d" {
		t.Errorf("by serial: %+v", by)
	}
}

func TestTheSameRequestGetsTheSameCertificate(t *testing.T) {
	s := NewState()
	first := do(t, s, enrolled("d", "k"))
	again := enrolled("d", "k")
	again.Certificate.Serial = "5e" // a new draft, as the authority makes one each time
	if out := do(t, s, again); out.Certificate.Serial != first.Certificate.Serial || !out.Certificate.NotAfter.Equal(first.Certificate.NotAfter) || len(out.Events) != 0 || out.No != 1 {
		t.Errorf("%+v", out)
	}
	// Another request for the same key is a renewal.
	renewed := enrolled("d", "k")
	renewed.Certificate = cert("k", "another")
	if out := do(t, s, renewed); out.Certificate.Serial != renewed.Certificate.Serial || len(out.Events) != 1 {
		t.Errorf("%+v", out)
	}
	// In the last third of its life the same request is for a new one.
	again.Certificate = cert("k", "csr of k")
	again.Certificate.Serial, again.Certificate.NotAfter = "7e", now.Add(180*24*time.Hour)
	if out, err := later(t, s, now.Add(59*24*time.Hour), again); err != nil || len(out.Events) != 0 {
		t.Errorf("early: %+v, %v", out, err)
	}
	if out, err := later(t, s, now.Add(61*24*time.Hour), again); err != nil || out.Certificate.Serial != "7e" || len(out.Events) != 1 {
		t.Errorf("late: %+v, %v", out, err)
	}
}

func TestAKeyIsOneDevicesAndARevokedOneNobodys(t *testing.T) {
	s := NewState()
	do(t, s, enrolled("a", "ka"))
	do(t, s, enrolled("b", "kb"))
	refused(t, s, enrolled("c", "ka"), Conflict, "csr")
	other := enrolled("a", "kx")
	refused(t, s, other, Conflict, "csr") // a new key for a device that is known takes a password, or the old one

	do(t, s, RevokeDevice{"b"})
	refused(t, s, enrolled("c", "kb"), Conflict, "csr")
	refused(t, s, enrolled("b", "kb"), Conflict, "device")
	refused(t, s, enrolled("b", "new"), Conflict, "device")

	do(t, s, RevokeCertificate{cert("ka", "csr of ka").Serial})
	again := enrolled("a", "ka")
	again.Certificate = cert("ka", "next")
	refused(t, s, again, Conflict, "csr")
	if _, standing := s.Standing("a", cert("ka", "csr of ka").Serial, cert("ka", "").SPKI); standing != roster.CertificateRevoked {
		t.Errorf("%v", standing)
	}

	used := enrolled("e", "ke")
	used.Certificate.Serial = cert("kb", "csr of kb").Serial
	refused(t, s, used, Conflict, "serial")
}

// A revoked key stays revoked when its certificate is long forgotten.
func TestARevokedKeyIsNotForgotten(t *testing.T) {
	s := NewState()
	do(t, s, enrolled("d", "k0"))
	renew := func(old, key string) {
		t.Helper()
		have := cert(old, "csr of "+old)
		do(t, s, Reenrol{Device: "d", Serial: have.Serial, SPKI: have.SPKI, Certificate: cert(key, "csr of "+key)})
	}
	renew("k0", "k1")
	do(t, s, RevokeCertificate{cert("k0", "csr of k0").Serial})
	renew("k1", "k2")
	renew("k2", "k3")
	renew("k3", "k4")
	d, _ := s.Device("d")
	if len(d.Certificates) != roster.MaxCertificates || holds(d, cert("k0", "").SPKI) {
		t.Fatalf("%+v", d.Certificates)
	}
	refused(t, s, enrolled("e", "k0"), Conflict, "csr")
	have := cert("k4", "csr of k4")
	refused(t, s, Reenrol{Device: "d", Serial: have.Serial, SPKI: have.SPKI, Certificate: cert("k0", "x")}, Conflict, "csr")
	if _, standing := s.Standing("d", cert("k0", "csr of k0").Serial, cert("k0", "").SPKI); standing != roster.Superseded {
		t.Errorf("a forgotten certificate is %v", standing)
	}
	renew("k4", "k5") // pushes k1 out, which was not revoked
	if out := do(t, s, enrolled("f", "k1")); out.No != 2 {
		t.Errorf("%+v", out)
	}
}

func TestARequestForAnotherNameIsRefused(t *testing.T) {
	s := site(t)
	do(t, s, MakePassword{ID: "p", Hash: secret("s"), Label: "pumps", Prefix: "pump-", NotAfter: now.Add(time.Hour), Uses: 1})
	for _, names := range [][]string{{"pump-8"}, {"pump-9", "admin"}, {"spiffe://fleet.example/device/pump-8"}, {"spiffe://fleet.example/device/pump-9/x"}, {"PUMP-9"}, {"10.0.0.1"}} {
		refused(t, s, EnrolByPassword{User: "pump-9", Secret: secret("s"), Certificate: cert("k9", "c9"), Names: names}, Forbidden, "csr")
		c := enrolled("pump-9", "k9")
		c.Names = names
		refused(t, s, c, Forbidden, "csr")
		refused(t, s, EnrolByManufacturer{Manufacturer: "acme", Serial: "SN1", Certificate: cert("k1", "c1"), Names: names, Aliases: []string{"ACME SN1"}}, Forbidden, "csr")
	}
	if p, _ := s.Password("p"); p.Used != 0 {
		t.Errorf("a refused request used the password: %+v", p)
	}
	do(t, s, EnrolByPassword{User: "pump-9", Secret: secret("s"), Certificate: cert("k9", "c9"), Names: []string{"", "pump-9", "spiffe://fleet.example/device/pump-9"}})
	do(t, s, EnrolByManufacturer{Manufacturer: "acme", Serial: "SN1", Certificate: cert("k1", "c1"), Names: []string{"ACME SN1", "pump-1"}, Aliases: []string{"ACME SN1"}})
}

func TestAPasswordHasALifeAndACount(t *testing.T) {
	by := func(user, word, key string) EnrolByPassword {
		return EnrolByPassword{User: user, Secret: secret(word), Certificate: cert(key, "csr of "+key)}
	}
	s := site(t)
	make := func(p MakePassword) {
		t.Helper()
		p.Hash, p.NotAfter = secret(p.ID), now.Add(time.Hour)
		do(t, s, p)
	}
	make(MakePassword{ID: "two", Label: "pumps", Prefix: "pump-", Uses: 2})
	make(MakePassword{ID: "one", Label: "pumps", Device: "pump-7", Uses: 1})
	make(MakePassword{ID: "gone", Label: "pumps", Prefix: "pump-", Uses: 9})
	do(t, s, WithdrawPassword{"gone"})

	out := do(t, s, by("pump-2", "two", "k2"))
	d, _ := s.Device("pump-2")
	if out.No != 1 || d.Cohort != "canary" || d.Class != 1 || d.Interval != time.Minute || d.Region != "eu" || d.Method != MethodPassword || d.Label != "pumps" {
		t.Errorf("%+v", d)
	}
	// A replay with the same request is answered alike and costs nothing; with another it is denied.
	if again := do(t, s, by("pump-2", "two", "k2")); again.Certificate.Serial != out.Certificate.Serial || len(again.Events) != 0 {
		t.Errorf("%+v", again)
	}
	if p, _ := s.Password("two"); p.Used != 1 {
		t.Errorf("%+v", p)
	}
	refused(t, s, by("pump-2", "two", "other"), Forbidden, "password")

	for name, c := range map[string]EnrolByPassword{
		"a wrong secret": by("pump-3", "nothing", "k3"), "another's name": by("valve-3", "two", "k3"), "no name": by("", "two", "k3"),
		"another device than its own": by("pump-8", "one", "k3"), "withdrawn": by("pump-3", "gone", "k3"),
		"another line": {User: "pump-3", Secret: secret("two"), Label: "fans", Certificate: cert("k3", "c3")},
	} {
		t.Run(name, func(t *testing.T) { refused(t, s, c, Forbidden, "password") })
	}
	if _, err := Decide(s, now.Add(time.Hour), by("pump-3", "two", "k3")); err == nil {
		t.Error("a password outlived its life")
	}
	do(t, s, by("pump-4", "two", "k4"))
	refused(t, s, by("pump-5", "two", "k5"), Forbidden, "password") // used up
	if again := do(t, s, by("pump-4", "two", "k4")); len(again.Events) != 0 {
		t.Errorf("%+v", again)
	}

	// Bound to one device, it enrols it; used up, it does nothing more.
	do(t, s, by("pump-7", "one", "k7"))
	refused(t, s, by("pump-7", "one", "k7-new"), Forbidden, "password")
	// A new one gives the device that exists another key; the old certificate stays good.
	make(MakePassword{ID: "re", Device: "pump-7", Uses: 1})
	if out := do(t, s, by("pump-7", "re", "k7-new")); len(out.Events) != 1 {
		t.Errorf("%+v", out)
	}
	for _, key := range []string{"k7", "k7-new"} {
		c := cert(key, "csr of "+key)
		if _, standing := s.Standing("pump-7", c.Serial, c.SPKI); standing != roster.Good {
			t.Errorf("%s is %v", key, standing)
		}
	}
	// Not one that was revoked.
	make(MakePassword{ID: "late", Device: "pump-7", Uses: 1})
	do(t, s, RevokeDevice{"pump-7"})
	refused(t, s, by("pump-7", "late", "k7-last"), Forbidden, "device")
	refused(t, s, by("pump-7", "re", "k7-new"), Forbidden, "password")
	// Not with another device's key.
	make(MakePassword{ID: "more", Label: "pumps", Prefix: "pump-", Uses: 9})
	refused(t, s, by("pump-6", "more", "k4"), Conflict, "csr")
	if p, _ := s.Password("more"); p.Used != 0 {
		t.Errorf("%+v", p)
	}
}

func TestPasswordsAreMadeOnce(t *testing.T) {
	s := site(t)
	good := MakePassword{ID: "p", Hash: secret("p"), Label: "pumps", Prefix: "pump-", NotAfter: now.Add(time.Hour), Uses: 1}
	do(t, s, good)
	if out := do(t, s, good); len(out.Events) != 0 {
		t.Errorf("%+v", out)
	}
	change := func(f func(*MakePassword)) MakePassword {
		c := good
		c.ID, c.Hash = "q", secret("q")
		f(&c)
		return c
	}
	refused(t, s, change(func(c *MakePassword) { c.ID = "p" }), Conflict, "id")
	refused(t, s, change(func(c *MakePassword) { c.Hash = secret("p") }), Conflict, "hash")
	refused(t, s, change(func(c *MakePassword) { c.Label = "none" }), NotFound, "label")
	refused(t, s, change(func(c *MakePassword) { c.Label = "" }), NotFound, "label")
	refused(t, s, change(func(c *MakePassword) { c.Device = "a" }), Invalid, "device")
	refused(t, s, change(func(c *MakePassword) { c.Prefix = "" }), Invalid, "device")
	refused(t, s, change(func(c *MakePassword) { c.Prefix = "A" }), Invalid, "prefix")
	refused(t, s, change(func(c *MakePassword) { c.Uses = 0 }), Invalid, "uses")
	refused(t, s, change(func(c *MakePassword) { c.NotAfter = now }), Invalid, "not_after")
	refused(t, s, change(func(c *MakePassword) { c.ID = "A" }), Invalid, "id")
	refused(t, s, change(func(c *MakePassword) { c.Hash = [32]byte{} }), Invalid, "hash")
	refused(t, s, WithdrawPassword{"none"}, NotFound, "id")
	do(t, s, WithdrawPassword{"p"})
	if out := do(t, s, WithdrawPassword{"p"}); len(out.Events) != 0 {
		t.Errorf("%+v", out)
	}
}

func TestAManufacturersDeviceComesInByItsClaim(t *testing.T) {
	s := site(t)
	by := func(serial, key string) EnrolByManufacturer {
		return EnrolByManufacturer{Manufacturer: "acme", Serial: serial, Certificate: cert(key, "csr of "+key)}
	}
	refused(t, s, by("SN2", "k"), Forbidden, "serial")
	other := by("SN1", "k")
	other.Label = "fans"
	refused(t, s, other, Forbidden, "serial")
	other = by("SN1", "k")
	other.Manufacturer = "evil"
	refused(t, s, other, Forbidden, "serial")

	out := do(t, s, by("SN1", "k"))
	d, _ := s.Device("pump-1")
	if out.Device != "pump-1" || d.Method != MethodManufacturer || d.Cohort != "canary" {
		t.Errorf("%+v, %+v", out, d)
	}
	if again := do(t, s, by("SN1", "k")); len(again.Events) != 0 || again.Certificate.Serial != out.Certificate.Serial {
		t.Errorf("%+v", again)
	}
	// After a factory reset it comes with a new key.
	if again := do(t, s, by("SN1", "k2")); len(again.Events) != 1 || again.No != out.No {
		t.Errorf("%+v", again)
	}
	do(t, s, RevokeDevice{"pump-1"})
	refused(t, s, by("SN1", "k3"), Forbidden, "device")
	do(t, s, DistrustManufacturer{"acme"})
	refused(t, s, by("SN1", "k"), Forbidden, "serial")
}

func TestASerialIsClaimedOnce(t *testing.T) {
	s := site(t)
	claim := func(claims ...Claim) ClaimSerials {
		return ClaimSerials{Manufacturer: "acme", Label: "pumps", Claims: claims}
	}
	if out := do(t, s, claim(Claim{Serial: "SN1", Device: "pump-1"})); len(out.Events) != 0 {
		t.Errorf("%+v", out)
	}
	refused(t, s, claim(Claim{Serial: "SN1", Device: "pump-2"}), Conflict, "claims")
	refused(t, s, claim(Claim{Serial: "SN2", Device: "pump-1"}), Conflict, "claims")
	refused(t, s, claim(Claim{Serial: "SN2", Device: "b"}, Claim{Serial: "SN2", Device: "c"}), Invalid, "claims")
	refused(t, s, claim(Claim{Serial: "SN2", Device: "b"}, Claim{Serial: "SN3", Device: "b"}), Invalid, "claims")
	refused(t, s, claim(Claim{Serial: "S N"}), Invalid, "claims")
	refused(t, s, claim(Claim{Serial: "S/N"}), Invalid, "claims") // no name can be made of it
	refused(t, s, claim(), Invalid, "claims")
	refused(t, s, ClaimSerials{Manufacturer: "evil", Label: "pumps", Claims: []Claim{{Serial: "1"}}}, NotFound, "manufacturer")
	refused(t, s, ClaimSerials{Manufacturer: "acme", Label: "none", Claims: []Claim{{Serial: "1"}}}, NotFound, "label")
	if out := do(t, s, claim(Claim{Serial: "SN1", Device: "pump-1"}, Claim{Serial: "SN9"})); out.Count != 1 {
		t.Errorf("%+v", out)
	}
	if c, ok := s.Claim("acme", "SN9"); !ok || c.Device != "acme-sn9" || s.Claims("acme") != 2 {
		t.Errorf("%+v", c)
	}
	refused(t, s, ReleaseSerials{Manufacturer: "acme", Serials: []string{"SN1", "SN7"}}, NotFound, "serials")
	do(t, s, ReleaseSerials{Manufacturer: "acme", Serials: []string{"SN1"}})
	do(t, s, claim(Claim{Serial: "SN2", Device: "pump-1"}))
	refused(t, s, TrustManufacturer{Name: "x", Certificates: [][]byte{[]byte("no certificate")}}, Invalid, "certificates")
	refused(t, s, TrustManufacturer{Name: "x"}, Invalid, "certificates")
	if out := do(t, s, TrustManufacturer{Name: "acme", Certificates: s.Manufacturers()[0].Certificates}); len(out.Events) != 0 {
		t.Errorf("%+v", out)
	}
}

func TestADeviceRenewsWithTheCertificateThatItHas(t *testing.T) {
	s := NewState()
	do(t, s, enrolled("d", "k"))
	have := cert("k", "csr of k")
	renew := func(key, csr string) Reenrol {
		return Reenrol{Device: "d", Serial: have.Serial, SPKI: have.SPKI, Certificate: cert(key, csr), Names: []string{"d"}}
	}
	out := do(t, s, renew("k2", "c2"))
	if again := do(t, s, renew("k2", "c2")); len(again.Events) != 0 || again.Certificate.Serial != out.Certificate.Serial {
		t.Errorf("%+v", again)
	}
	same := do(t, s, renew("k", "c3")) // it may keep its key
	if d, _ := s.Device("d"); len(d.Certificates) != 3 || d.Certificates[0].Serial != same.Certificate.Serial || d.SPKI != have.SPKI {
		t.Errorf("%+v", d)
	}
	bad := renew("k4", "c4")
	bad.Serial = "99"
	refused(t, s, bad, Forbidden, "device")
	bad = renew("k4", "c4")
	bad.Device = "e"
	refused(t, s, bad, Forbidden, "device")
	bad = renew("k4", "c4")
	bad.Names = []string{"e"}
	refused(t, s, bad, Forbidden, "csr")
	do(t, s, Quarantine{Device: "d", On: true})
	refused(t, s, renew("k4", "c4"), Forbidden, "device")
	do(t, s, Quarantine{Device: "d"})
	do(t, s, RevokeCertificate{have.Serial})
	refused(t, s, renew("k4", "c4"), Forbidden, "device")
	ended := cert("k5", "c5")
	ended.NotAfter = now
	refused(t, s, Reenrol{Device: "d", Serial: out.Certificate.Serial, SPKI: out.Certificate.SPKI, Certificate: ended}, Invalid, "not_after")
}

// A device of before: its log tells of a key and of no certificate.
func TestALegacyDeviceHasAllCertificatesOfItsKey(t *testing.T) {
	s := NewState()
	do(t, s, Enrol{Device: "old", Cohort: "north", Profile: "pump", SPKI: event.Chain([]byte("k")), Serial: "1a"})
	spki := event.Chain([]byte("k"))
	for _, serial := range []string{"1a", "2b", "anything"} {
		if _, standing := s.Standing("old", serial, spki); standing != roster.Good {
			t.Errorf("%s is %v", serial, standing)
		}
	}
	if _, standing := s.Standing("old", "1a", event.Chain([]byte("x"))); standing != roster.Superseded {
		t.Errorf("another key is %v", standing)
	}
	out := do(t, s, Reenrol{Device: "old", Serial: "2b", SPKI: spki, Certificate: cert("k2", "c2")})
	for serial, key := range map[string][32]byte{"2b": spki, out.Certificate.Serial: out.Certificate.SPKI} {
		if _, standing := s.Standing("old", serial, key); standing != roster.Good {
			t.Errorf("%s is %v", serial, standing)
		}
	}
	// The first issuer that the log defines issued them.
	do(t, s, DefineIssuer{authority(t, "first")})
	do(t, s, DefineIssuer{authority(t, "second")})
	do(t, s, RevokeIssuer{s.Issuers()[1].ID})
	if _, standing := s.Standing("old", "2b", spki); standing != roster.Good {
		t.Errorf("%v", standing)
	}
	do(t, s, RevokeIssuer{s.Issuers()[0].ID})
	if _, standing := s.Standing("old", "2b", spki); standing != roster.AuthorityRevoked {
		t.Errorf("%v", standing)
	}
}

func TestClaimsAreReadInTheOrderOfTheirSerials(t *testing.T) {
	s := NewState()
	do(t, s, DefineLine{Label: "pumps", Cohort: "intake"})
	for _, m := range []string{"acme", "bolt"} {
		do(t, s, TrustManufacturer{Name: m, Certificates: [][]byte{authority(t, m)}})
		var all []Claim
		for n := range 500 {
			all = append(all, Claim{Serial: fmt.Sprintf("SN%03d", (n*7)%500)})
		}
		do(t, s, ClaimSerials{Manufacturer: m, Label: "pumps", Claims: all})
	}
	n := 0
	for after := ""; ; {
		page := s.ClaimsAfter("acme", after, 64)
		if len(page) > 64 {
			t.Fatalf("%d in a page", len(page))
		}
		for _, c := range page {
			if want := fmt.Sprintf("SN%03d", n); c.Serial != want || c.Label != "pumps" || string(c.Device) != "acme-"+strings.ToLower(want) {
				t.Fatalf("%d is %+v", n, c)
			}
			n++
		}
		if len(page) == 0 {
			break
		}
		after = page[len(page)-1].Serial
	}
	if n != 500 || len(s.ClaimsAfter("acme", "", 0)) != 0 {
		t.Errorf("%d of 500", n)
	}
}
