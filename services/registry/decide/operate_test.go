package decide

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"math/big"
	"strings"
	"testing"
	"time"

	"muster.dev/platform/roster"
	"muster.dev/proto/event"
	"muster.dev/proto/identity"
)

// authority is a certificate that may sign others.
func authority(t testing.TB, name string) []byte {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, IsCA: true, BasicConstraintsValid: true, NotAfter: now.Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

func TestACohortIsRevokedByOneEvent(t *testing.T) {
	s := NewState()
	for i := range 10 {
		c := enrolled(fmt.Sprint("d", i), fmt.Sprint("k", i))
		if i%2 == 1 {
			c.Cohort = "south"
		}
		do(t, s, c)
	}
	do(t, s, RevokeDevice{"d0"})
	out := do(t, s, RevokeCohort{"north"})
	if len(out.Events) != 1 || out.Count != 4 {
		t.Errorf("%+v", out)
	}
	for i := range 10 {
		d, _ := s.Device(identity.Device(fmt.Sprint("d", i)))
		if d.Revoked != (i%2 == 0) {
			t.Errorf("%s: revoked %v", d.ID, d.Revoked)
		}
	}
	if out := do(t, s, RevokeCohort{"north"}); len(out.Events) != 0 {
		t.Errorf("%+v", out)
	}
	// It takes nobody any more.
	refused(t, s, enrolled("e", "ke"), Conflict, "cohort")
	refused(t, s, Move{Devices: []identity.Device{"d1"}, Cohort: "north"}, Conflict, "cohort")
	refused(t, s, DefineLine{Label: "l", Cohort: "north"}, Conflict, "cohort")
	refused(t, s, RevokeCohort{"none"}, NotFound, "cohort")
	if c, _ := s.Cohort("north"); c.Devices != 0 || !c.Revoked {
		t.Errorf("%+v", c)
	}
}

func TestAQuarantineIsADevicesOrItsCohorts(t *testing.T) {
	s := NewState()
	do(t, s, enrolled("a", "ka"))
	do(t, s, enrolled("b", "kb"))
	standing := func(id string) roster.Standing {
		c := cert("k"+id, "csr of k"+id)
		_, standing := s.Standing(identity.Device(id), c.Serial, c.SPKI)
		return standing
	}
	want := func(a, b roster.Standing) {
		t.Helper()
		if standing("a") != a || standing("b") != b {
			t.Errorf("a is %v, b is %v", standing("a"), standing("b"))
		}
	}
	do(t, s, Quarantine{Device: "a", On: true})
	want(roster.Quarantined, roster.Good)
	do(t, s, Quarantine{Cohort: "north", On: true})
	want(roster.Quarantined, roster.Quarantined)
	do(t, s, Quarantine{Device: "a"})
	want(roster.Quarantined, roster.Quarantined)
	if out := do(t, s, Quarantine{Device: "a"}); len(out.Events) != 0 {
		t.Errorf("%+v", out)
	}
	do(t, s, Quarantine{Cohort: "north"})
	want(roster.Good, roster.Good)
	do(t, s, RevokeDevice{"a"})
	refused(t, s, Quarantine{Device: "a", On: true}, Conflict, "device")
	refused(t, s, Quarantine{Device: "x", On: true}, NotFound, "device")
	refused(t, s, Quarantine{Cohort: "x", On: true}, NotFound, "cohort")
	refused(t, s, Quarantine{On: true}, Invalid, "device")
	refused(t, s, Quarantine{Device: "a", Cohort: "north"}, Invalid, "device")
}

func TestOneDeviceComesIntoThePlaceOfAnother(t *testing.T) {
	s := NewState()
	for _, id := range []string{"a", "b", "c", "d"} {
		do(t, s, enrolled(id, "k"+id))
	}
	do(t, s, Replace{Old: "a", New: "b"})
	before, _ := s.Device("a")
	after, _ := s.Device("b")
	if !before.Revoked || before.ReplacedBy != after.No || after.Replaces != before.No || after.Revoked {
		t.Errorf("%+v, %+v", before, after)
	}
	if out := do(t, s, Replace{Old: "a", New: "b"}); len(out.Events) != 0 {
		t.Errorf("%+v", out)
	}
	refused(t, s, Replace{Old: "a", New: "c"}, Conflict, "old")
	refused(t, s, Replace{Old: "c", New: "b"}, Conflict, "new")
	refused(t, s, Replace{Old: "c", New: "c"}, Invalid, "new")
	refused(t, s, Replace{Old: "x", New: "c"}, NotFound, "old")
	refused(t, s, Replace{Old: "c", New: "x"}, NotFound, "new")
	do(t, s, RevokeDevice{"d"})
	refused(t, s, Replace{Old: "c", New: "d"}, Conflict, "new")
	do(t, s, Replace{Old: "d", New: "c"}) // one that is lost and revoked already
	refused(t, s, enrolled("a", "ka"), Conflict, "device")
}

func TestDevicesMoveTogetherOrNotAtAll(t *testing.T) {
	s := NewState()
	for _, id := range []string{"a", "b", "c"} {
		do(t, s, enrolled(id, "k"+id))
	}
	out := do(t, s, Move{Devices: []identity.Device{"a", "b", "a"}, Cohort: "south"})
	if len(out.Events) != 2 || out.Count != 2 {
		t.Errorf("%+v", out)
	}
	if c, _ := s.Cohort("south"); c.Devices != 2 {
		t.Errorf("%+v", c)
	}
	refused(t, s, Move{Devices: []identity.Device{"c", "x"}, Cohort: "south"}, NotFound, "devices")
	do(t, s, RevokeDevice{"b"})
	refused(t, s, Move{Devices: []identity.Device{"c", "b"}, Cohort: "east"}, Conflict, "devices")
	refused(t, s, Move{Devices: []identity.Device{"c"}, Cohort: "East"}, Invalid, "cohort")
	refused(t, s, Move{Cohort: "east"}, Invalid, "devices")
	if d, _ := s.Device("c"); d.Cohort != "north" {
		t.Errorf("%+v", d)
	}
}

// A tag is no rollout: whatever is said of a device, its cohort is what was said of its cohort.
func TestDescribingNeverMoves(t *testing.T) {
	s := NewState()
	do(t, s, enrolled("a", "ka"))
	do(t, s, DefineGroup{Group: "kiel", Selector: "site=Kiel, cohort = north"})
	do(t, s, Describe{Device: "a", Set: map[string]string{"site": "Kiel", "line": "3"}})
	d, _ := s.Device("a")
	if got := s.GroupsOf(d); len(got) != 1 || got[0] != "kiel" || d.Cohort != "north" {
		t.Errorf("%v, %+v", got, d)
	}
	if out := do(t, s, Describe{Device: "a", Set: map[string]string{"site": "Kiel"}, Unset: []string{"none"}}); len(out.Events) != 0 {
		t.Errorf("%+v", out)
	}
	do(t, s, Describe{Device: "a", Set: map[string]string{"site": "Oslo"}, Unset: []string{"line"}})
	d, _ = s.Device("a")
	if len(s.GroupsOf(d)) != 0 || d.Cohort != "north" || len(d.Attributes) != 1 {
		t.Errorf("%+v", d)
	}
	refused(t, s, Describe{Device: "a", Set: map[string]string{"cohort": "south"}}, Invalid, "attributes")
	refused(t, s, Describe{Device: "a", Set: map[string]string{"Site": "x"}}, Invalid, "attributes")
	refused(t, s, Describe{Device: "a", Set: map[string]string{"site": "x\n"}}, Invalid, "attributes.site")
	refused(t, s, Describe{Device: "a", Unset: []string{"Site"}}, Invalid, "unset")
	refused(t, s, Describe{Device: "x"}, NotFound, "device")
	many := map[string]string{}
	for i := range event.MaxAttributes {
		many[fmt.Sprint("a", i)] = "x"
	}
	refused(t, s, Describe{Device: "a", Set: many}, Invalid, "attributes") // one was there already
	do(t, s, Describe{Device: "a", Set: many, Unset: []string{"site"}})
}

func TestADeviceHasFromItsCohortWhatItHasNot(t *testing.T) {
	s := NewState()
	own := enrolled("own", "k1")
	own.Interval, own.Region = time.Hour, "us"
	do(t, s, own)
	do(t, s, enrolled("none", "k2"))
	do(t, s, DefineCohort{Cohort: "north", Interval: time.Minute, Region: "eu", Sleep: []Sleep{{Days: 3, From: 1_320, To: 360}}})
	for id, want := range map[identity.Device]roster.Device{"own": {Interval: time.Hour, Region: "us"}, "none": {Interval: time.Minute, Region: "eu"}} {
		if d, _ := s.Device(id); d.Interval != want.Interval || d.Region != want.Region {
			t.Errorf("%+v", d)
		}
	}
	do(t, s, enrolled("none", "k2")) // asked again, it is still the same device
	if out := do(t, s, DefineCohort{Cohort: "north", Interval: time.Minute, Region: "eu", Sleep: []Sleep{{Days: 3, From: 1_320, To: 360}}}); len(out.Events) != 0 || out.Count != 2 {
		t.Errorf("%+v", out)
	}
	for field, c := range map[string]DefineCohort{
		"cohort": {Cohort: "North"}, "region": {Cohort: "x", Region: "e u"}, "interval": {Cohort: "x", Interval: -1}, "sleep": {Cohort: "x", Sleep: []Sleep{{}}},
	} {
		refused(t, s, c, Invalid, field)
	}
}

func TestGroupsAndRegionsAreNamed(t *testing.T) {
	s := NewState()
	do(t, s, DefineGroup{Group: "g", Selector: "site"})
	if out := do(t, s, DefineGroup{Group: "g", Selector: " site "}); len(out.Events) != 0 {
		t.Errorf("%+v", out)
	}
	refused(t, s, DefineGroup{Group: "g", Selector: "site="}, Invalid, "selector")
	refused(t, s, DefineGroup{Group: "G", Selector: "site"}, Invalid, "group")
	do(t, s, RemoveGroup{"g"})
	refused(t, s, RemoveGroup{"g"}, NotFound, "group")
	do(t, s, DefineRegion{Region: "eu", Gateway: "eu.example:8443"})
	if out := do(t, s, DefineRegion{Region: "eu", Gateway: "eu.example:8443"}); len(out.Events) != 0 {
		t.Errorf("%+v", out)
	}
	refused(t, s, DefineRegion{Region: "eu"}, Invalid, "gateway")
	refused(t, s, DefineRegion{Region: "E", Gateway: "x"}, Invalid, "region")
	for i := range MaxGroups {
		do(t, s, DefineGroup{Group: fmt.Sprint("g", i), Selector: "site"})
	}
	refused(t, s, DefineGroup{Group: "one-more", Selector: "site"}, Conflict, "group")
}

func TestNobodyMakesMoreCohortsThanThereMayBe(t *testing.T) {
	s := site(t)
	do(t, s, enrolled("d", "k"))
	for i := 0; s.CohortCount() < MaxCohorts; i++ {
		do(t, s, DefineCohort{Cohort: fmt.Sprint("more-", i)})
	}
	other := enrolled("e", "l")
	other.Cohort = "one-more"
	refused(t, s, other, Conflict, "cohort")
	refused(t, s, DefineCohort{Cohort: "one-more"}, Conflict, "cohort")
	refused(t, s, Move{Devices: []identity.Device{"d"}, Cohort: "one-more"}, Conflict, "cohort")
	refused(t, s, DefineLine{Label: "l", Profile: "p", Cohort: "one-more"}, Conflict, "cohort")
	do(t, s, Move{Devices: []identity.Device{"d"}, Cohort: "more-1"})
}

func TestTokensHaveARoleAndALife(t *testing.T) {
	s := NewState()
	good := MakeToken{ID: "t", Name: "ci", Role: RoleReleaser, Hash: secret("t"), NotAfter: now.Add(time.Hour)}
	do(t, s, good)
	if out := do(t, s, good); len(out.Events) != 0 {
		t.Errorf("%+v", out)
	}
	if got, ok := s.Token(secret("t")); !ok || got.Name != "ci" || got.Role != RoleReleaser {
		t.Errorf("%+v", got)
	}
	other := good
	other.Role = RoleAdmin
	refused(t, s, other, Conflict, "id")
	other.ID = "u"
	refused(t, s, other, Conflict, "hash")
	other.Role = "root"
	refused(t, s, other, Invalid, "role")
	other = MakeToken{ID: "u", Name: "x", Role: RoleAdmin, Hash: secret("u"), NotAfter: now}
	refused(t, s, other, Invalid, "not_after")
	do(t, s, WithdrawToken{"t"})
	if _, ok := s.Token(secret("t")); ok || len(s.Tokens()) != 1 {
		t.Error("a withdrawn token is good")
	}
	if out := do(t, s, good); len(out.Events) != 0 { // it is not made anew
		t.Errorf("%+v", out)
	}
	refused(t, s, WithdrawToken{"x"}, NotFound, "id")
}

func TestARefusalIsNotedInPlainWords(t *testing.T) {
	s := NewState()
	out := do(t, s, NoteRefusal{What: "enrol", Subject: "a\x00b\xff\n" + strings.Repeat("é", 400), Reason: "r", Source: "192.0.2.1", More: 3})
	b := out.Events[0].(event.AttemptRefused)
	if !strings.HasPrefix(b.Subject, "a?b??é") || len(b.Subject) > maxWords || b.More != 3 {
		t.Errorf("%q", b.Subject)
	}
	out = do(t, s, NoteRefusal{What: "enrol", Subject: "a\u009b31m\u202eb\u2028c\U000e0041 d\u00a0e"})
	if b := out.Events[0].(event.AttemptRefused); b.Subject != "a?31m?b?c? d?e" {
		t.Errorf("%q", b.Subject)
	}
	refused(t, s, NoteRefusal{}, Invalid, "what")
}

func TestIssuersAreAuthorities(t *testing.T) {
	s := NewState()
	der := authority(t, "issuing")
	do(t, s, DefineIssuer{der})
	if out := do(t, s, DefineIssuer{der}); len(out.Events) != 0 {
		t.Errorf("%+v", out)
	}
	refused(t, s, DefineIssuer{[]byte("x")}, Invalid, "certificate")
	refused(t, s, RevokeIssuer{"x"}, NotFound, "issuer")
	id := event.IssuerID(der)
	c := enrolled("d", "k")
	c.Certificate.Issuer = id
	do(t, s, c)
	do(t, s, RevokeIssuer{id})
	if _, standing := s.Standing("d", c.Certificate.Serial, c.Certificate.SPKI); standing != roster.AuthorityRevoked {
		t.Errorf("%v", standing)
	}
	next := enrolled("e", "ke")
	next.Certificate.Issuer = id
	refused(t, s, next, Conflict, "issuer")

	// The same request is no repeat any more: it would bring a certificate that nobody takes.
	c.Certificate = cert("k", "csr of k again")
	c.Certificate.CSR = enrolled("d", "k").Certificate.CSR
	out := do(t, s, c)
	if _, standing := s.Standing("d", out.Certificate.Serial, out.Certificate.SPKI); len(out.Events) != 1 || standing != roster.Good {
		t.Errorf("%+v: %v", out, standing)
	}
}
