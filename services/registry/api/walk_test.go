package api_test

import (
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"muster.dev/services/registry/authority"
	"muster.dev/services/registry/client"
	"muster.dev/services/registry/decide"

	v1 "muster.dev/services/registry/api/v1"
)

// twice makes a change, and makes it again: the second answers the same and writes nothing.
func twice[A any](t *testing.T, s stack, what string, change func() (A, error)) A {
	t.Helper()
	first, err := change()
	if err != nil {
		t.Fatalf("%s: %v", what, err)
	}
	before := s.last(t)
	second, err := change()
	if err != nil || !reflect.DeepEqual(first, second) {
		t.Errorf("%s, again: %+v, %v; before %+v", what, second, err, first)
	}
	if after := s.last(t); after != before {
		t.Errorf("%s, again: %d events were written", what, after-before)
	}
	return first
}

// last is the number of the log's last event.
func (s stack) last(t *testing.T) (n uint64) {
	t.Helper()
	if err := s.writer.View(t.Context(), func(st *decide.State) { n = st.Last() }); err != nil {
		t.Fatal(err)
	}
	return n
}

func (s stack) enrol(t *testing.T, id, cohort string, attributes map[string]string) (v1.Enrolled, v1.Enrolment) {
	t.Helper()
	e := v1.Enrolment{Device: id, Cohort: cohort, Attributes: attributes, CSR: csr(t, &x509.CertificateRequest{}, newKey(t))}
	out, err := s.client.Enroll(t.Context(), e)
	if err != nil {
		t.Fatal(err)
	}
	return out, e
}

func TestTheSameRequestGivesTheSameCertificate(t *testing.T) {
	s := start(t)
	out, e := s.enrol(t, "pump-1", "pilot", map[string]string{"site": "berlin"})
	if events := s.events(t); events[len(events)-1].Why != "enrolled by the operators' API" {
		t.Errorf("%+v", events[len(events)-1])
	}
	said := v1.Enrolment{Device: "pump-2", Cohort: "pilot", Why: "spare part", CSR: csr(t, &x509.CertificateRequest{}, newKey(t))}
	if _, err := s.client.Enroll(t.Context(), said); err != nil {
		t.Fatal(err)
	}
	if events := s.events(t); events[len(events)-1].Why != "spare part" {
		t.Errorf("%+v", events[len(events)-1])
	}
	before := s.last(t)
	again, err := s.client.Enroll(t.Context(), e)
	if err != nil || again != out || s.last(t) != before {
		t.Errorf("%v; the same %v; %d events more", err, again == out, s.last(t)-before)
	}
}

func TestAnIssuerThatIsRetiredRepeatsNothing(t *testing.T) {
	s := start(t)
	_, e := s.enrol(t, "pump-1", "pilot", nil)
	_, old := s.authority.Issuing()
	if _, err := authority.RollIssuing(s.caDir); err != nil {
		t.Fatal(err)
	}
	if err := s.authority.Reload(); err != nil {
		t.Fatal(err)
	}
	if out, err := s.client.Enroll(t.Context(), e); err != nil || leaf(t, out.Certificate).CheckSignatureFrom(s.authority.Issuers()[0]) == nil {
		t.Errorf("while both are held the old one repeats it: %v", err)
	}
	if err := authority.Retire(s.caDir, old); err != nil {
		t.Fatal(err)
	}
	if err := s.authority.Reload(); err != nil {
		t.Fatal(err)
	}
	var problem *v1.Problem
	if _, err := s.client.Enroll(t.Context(), e); !errors.As(err, &problem) || problem.Status != http.StatusConflict || problem.Field != "csr" {
		t.Errorf("%v", err)
	}
}

func TestADevicesLife(t *testing.T) {
	s := start(t)
	s.enrol(t, "pump-1", "pilot", map[string]string{"site": "berlin", "owner": "alice"})
	put := func(text string) *string { return &text }
	d := twice(t, s, "describe", func() (v1.Device, error) {
		return s.client.Describe(t.Context(), "pump-1", v1.Description{Change: because, Attributes: map[string]*string{"model": put("p1"), "owner": nil}})
	})
	if !reflect.DeepEqual(d.Attributes, map[string]string{"site": "berlin", "model": "p1"}) {
		t.Errorf("%v", d.Attributes)
	}
	if d = twice(t, s, "move", func() (v1.Device, error) { return s.client.MoveDevice(t.Context(), "pump-1", "stable", "proven") }); d.Cohort != "stable" {
		t.Errorf("%+v", d)
	}
	if d = twice(t, s, "quarantine", func() (v1.Device, error) { return s.client.QuarantineDevice(t.Context(), "pump-1", true, "odd") }); d.State != v1.StateQuarantined {
		t.Errorf("%+v", d)
	}
	if d = twice(t, s, "release", func() (v1.Device, error) { return s.client.QuarantineDevice(t.Context(), "pump-1", false, "fine") }); d.State != v1.StateEnrolled {
		t.Errorf("%+v", d)
	}
	if _, err := s.client.DefineGroup(t.Context(), "berlin", v1.GroupDefinition{Change: because, Selector: "site=berlin"}); err != nil {
		t.Fatal(err)
	}
	if d, err := s.client.Device(t.Context(), "pump-1"); err != nil || !slices.Equal(d.Groups, []string{"berlin"}) || len(d.Certificates) != 1 {
		t.Errorf("%+v, %v", d, err)
	}

	serial := d.Certificates[0].Serial
	if c, err := s.client.Certificate(t.Context(), "00:"+strings.ToUpper(serial)); err != nil || c.Device != "pump-1" || c.Revoked {
		t.Errorf("%+v, %v", c, err)
	}
	if c := twice(t, s, "revoke a certificate", func() (v1.Certificate, error) { return s.client.RevokeCertificate(t.Context(), serial, "leaked") }); !c.Revoked {
		t.Errorf("%+v", c)
	}
	if d = twice(t, s, "revoke", func() (v1.Device, error) { return s.client.RevokeDevice(t.Context(), "pump-1", "stolen") }); d.State != v1.StateRevoked || !d.Revoked {
		t.Errorf("%+v", d)
	}
	if _, err := s.client.QuarantineDevice(t.Context(), "pump-1", true, "too late"); status(err) != http.StatusConflict {
		t.Errorf("quarantine of a revoked one: %v", err)
	}
	events := s.events(t)
	if last := events[len(events)-1]; last.Who != "operator" || last.Why != "stolen" {
		t.Errorf("%+v", last)
	}
}

func TestAReplacementTakesOverWhatTheOldOneWas(t *testing.T) {
	s := start(t)
	if _, err := s.client.DefineCohort(t.Context(), "pilot", v1.CohortDefinition{Change: because, IntervalMS: 30_000, Region: "eu"}); err != nil {
		t.Fatal(err)
	}
	old := v1.Enrolment{Device: "old", Cohort: "pilot", Profile: "pump", Class: "audit", History: true, Attributes: map[string]string{"site": "berlin"}, CSR: csr(t, &x509.CertificateRequest{}, newKey(t))}
	if _, err := s.client.Enroll(t.Context(), old); err != nil {
		t.Fatal(err)
	}
	r := v1.Replacement{Change: because, New: "new", CSR: csr(t, &x509.CertificateRequest{}, newKey(t))}
	out := twice(t, s, "replace", func() (v1.Enrolled, error) { return s.client.Replace(t.Context(), "old", r) })
	if out.Device != "new" || out.No != 2 || out.Replaces != "old" || leaf(t, out.Certificate).URIs[0].Path != "/device/new" {
		t.Errorf("%+v", out)
	}
	was, err := s.client.Device(t.Context(), "old")
	if err != nil || was.ReplacedBy != "new" || was.State != v1.StateRevoked {
		t.Errorf("%+v, %v", was, err)
	}
	is, err := s.client.Device(t.Context(), "new")
	if err != nil || is.Replaces != "old" || is.Cohort != "pilot" || is.Profile != "pump" || is.Class != "audit" || !is.History || is.IntervalMS != 30_000 || is.Region != "eu" ||
		!reflect.DeepEqual(is.Attributes, old.Attributes) {
		t.Errorf("%+v, %v", is, err)
	}
	// What it has from its cohort it goes on having from there.
	if _, err := s.client.DefineCohort(t.Context(), "pilot", v1.CohortDefinition{Change: because, IntervalMS: 60_000}); err != nil {
		t.Fatal(err)
	}
	if is, err := s.client.Device(t.Context(), "new"); err != nil || is.IntervalMS != 60_000 || is.Region != "" {
		t.Errorf("%+v, %v", is, err)
	}
	s.enrol(t, "third", "pilot", nil)
	for name, c := range map[string]struct {
		old    string
		r      v1.Replacement
		status int
	}{
		"by another":       {"old", v1.Replacement{Change: because, New: "third"}, 409},
		"of nothing":       {"ghost", v1.Replacement{Change: because, New: "third"}, 404},
		"by nothing":       {"third", v1.Replacement{Change: because, New: "ghost"}, 404},
		"by a bad name":    {"third", v1.Replacement{Change: because, New: "NEW"}, 422},
		"by itself":        {"third", v1.Replacement{Change: because, New: "third"}, 422},
		"by a bad request": {"third", v1.Replacement{Change: because, New: "fourth", CSR: "no"}, 422},
	} {
		if _, err := s.client.Replace(t.Context(), c.old, c.r); status(err) != c.status {
			t.Errorf("%s: %v", name, err)
		}
	}
	if linked, err := s.client.Replace(t.Context(), "new", v1.Replacement{Change: because, New: "third"}); err != nil || linked.Certificate != "" || linked.No != 3 {
		t.Errorf("of two that are enrolled: %+v, %v", linked, err)
	}
}

func TestACohortIsOneWord(t *testing.T) {
	s := start(t)
	for i := range 3 {
		s.enrol(t, fmt.Sprintf("d%d", i), "pilot", nil)
	}
	s.enrol(t, "other", "stable", nil)
	sleep := []v1.Sleep{{Days: []string{"mon", "fri"}, From: "22:00", To: "06:00"}}
	c := twice(t, s, "define", func() (v1.Cohort, error) {
		return s.client.DefineCohort(t.Context(), "pilot", v1.CohortDefinition{Change: because, IntervalMS: 1000, Region: "eu", Sleep: sleep})
	})
	if c.Devices != 3 || c.IntervalMS != 1000 || c.Region != "eu" || !reflect.DeepEqual(c.Sleep, sleep) {
		t.Errorf("%+v", c)
	}
	for name, bad := range map[string]v1.CohortDefinition{
		"sleep[0]": {Change: because, Sleep: []v1.Sleep{{Days: []string{"funday"}, From: "22:00", To: "06:00"}}}, "region": {Change: because, Region: "EU!"},
		"interval_ms": {Change: because, IntervalMS: -1}, "why": {},
	} {
		var problem *v1.Problem
		if _, err := s.client.DefineCohort(t.Context(), "pilot", bad); !errors.As(err, &problem) || problem.Status != 422 || !strings.HasPrefix(problem.Field, name) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if c = twice(t, s, "move in", func() (v1.Cohort, error) {
		return s.client.MoveDevices(t.Context(), "pilot", v1.Members{Change: because, Devices: []string{"other", "d0"}})
	}); c.Devices != 4 {
		t.Errorf("%+v", c)
	}
	if _, err := s.client.MoveDevices(t.Context(), "stable", v1.Members{Change: because, Devices: []string{"d0", "ghost"}}); status(err) != http.StatusNotFound {
		t.Errorf("%v", err)
	}
	if c, err := s.client.Cohort(t.Context(), "pilot"); err != nil || c.Devices != 4 {
		t.Errorf("half a move: %+v, %v", c, err)
	}
	twice(t, s, "quarantine", func() (v1.Cohort, error) { return s.client.QuarantineCohort(t.Context(), "pilot", true, "odd") })
	if held := s.find(t, client.Filter{State: v1.StateQuarantined}); len(held) != 4 {
		t.Errorf("%v", held)
	}
	twice(t, s, "release", func() (v1.Cohort, error) { return s.client.QuarantineCohort(t.Context(), "pilot", false, "fine") })
	if c := twice(t, s, "revoke", func() (v1.Cohort, error) { return s.client.RevokeCohort(t.Context(), "pilot", "all lost") }); c.Devices != 0 || !c.Revoked {
		t.Errorf("%+v", c)
	}
	if gone := s.find(t, client.Filter{Cohort: "pilot", State: v1.StateRevoked}); len(gone) != 4 {
		t.Errorf("%v", gone)
	}
	if all, err := s.client.Cohorts(t.Context()); err != nil || len(all.Cohorts) != 2 {
		t.Errorf("%+v, %v", all, err)
	}
}

func (s stack) find(t *testing.T, f client.Filter) (names []string) {
	t.Helper()
	for after := uint32(0); ; {
		page, err := s.client.Find(t.Context(), f, after, 2)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range page.Devices {
			names = append(names, d.Device)
		}
		if after = page.Next; after == 0 {
			return names
		}
	}
}

func TestDevicesAreFoundByWhatTheyAre(t *testing.T) {
	s := start(t)
	if _, err := s.client.DefineCohort(t.Context(), "eu", v1.CohortDefinition{Change: because, Region: "europe"}); err != nil {
		t.Fatal(err)
	}
	for i := range 6 {
		s.enrol(t, fmt.Sprintf("d%d", i), []string{"eu", "us"}[i%2], map[string]string{"model": fmt.Sprintf("m%d", i%3)})
	}
	for want, f := range map[string]client.Filter{
		"d0 d1 d2 d3 d4 d5": {}, "d0 d2 d4": {Cohort: "eu"}, "d0 d2 d4 ": {Region: "europe"}, "d1 d4": {Selector: "model=m1"}, "d4": {Selector: "model=m1", Cohort: "eu"},
		"d0 d1 d3 d4": {Selector: "model in (m0,m1)"}, "": {State: v1.StateRevoked}, "d1 d3 d5": {Selector: "cohort!=eu"},
	} {
		if got := strings.Join(s.find(t, f), " "); got != strings.TrimSpace(want) {
			t.Errorf("%+v: %s, want %s", f, got, want)
		}
	}
	for _, f := range []client.Filter{{State: "lost"}, {Selector: "=m1"}} {
		if _, err := s.client.Find(t.Context(), f, 0, 1); status(err) != http.StatusBadRequest {
			t.Errorf("%+v: %v", f, err)
		}
	}
}

func TestGroupsRegionsAndLines(t *testing.T) {
	s := start(t)
	g := twice(t, s, "group", func() (v1.Group, error) {
		return s.client.DefineGroup(t.Context(), "berlin", v1.GroupDefinition{Change: because, Selector: "site=berlin, model in (a,b)"})
	})
	if all, err := s.client.Groups(t.Context()); err != nil || len(all.Groups) != 1 || all.Groups[0] != g {
		t.Errorf("%+v, %v", all, err)
	}
	if _, err := s.client.DefineGroup(t.Context(), "berlin", v1.GroupDefinition{Change: because, Selector: "=berlin"}); status(err) != 422 {
		t.Errorf("%v", err)
	}
	if left, err := s.client.RemoveGroup(t.Context(), "berlin", "over"); err != nil || len(left.Groups) != 0 {
		t.Errorf("%+v, %v", left, err)
	}
	if _, err := s.client.RemoveGroup(t.Context(), "berlin", "over"); status(err) != http.StatusNotFound {
		t.Errorf("%v", err)
	}

	twice(t, s, "region", func() (v1.Region, error) {
		return s.client.DefineRegion(t.Context(), "eu", v1.RegionDefinition{Change: because, Gateway: "https://eu.example:8443"})
	})
	if all, err := s.client.Regions(t.Context()); err != nil || len(all.Regions) != 1 || all.Regions[0].Gateway != "https://eu.example:8443" {
		t.Errorf("%+v, %v", all, err)
	}

	l := twice(t, s, "line", func() (v1.Line, error) {
		return s.client.DefineLine(t.Context(), "pumps", v1.LineDefinition{Change: because, Profile: "pump", Cohort: "intake", Class: "audit", IntervalMS: 5000})
	})
	if all, err := s.client.Lines(t.Context()); err != nil || len(all.Lines) != 1 || all.Lines[0] != l || l.Cohort != "intake" || l.Class != "audit" {
		t.Errorf("%+v, %v", all, err)
	}
	if _, err := s.client.DefineLine(t.Context(), "pumps", v1.LineDefinition{Change: because, Cohort: "intake", Class: "vip"}); status(err) != 422 {
		t.Errorf("%v", err)
	}
}

func TestAPasswordsSecretIsShownOnce(t *testing.T) {
	s := start(t)
	if _, err := s.client.DefineLine(t.Context(), "pumps", v1.LineDefinition{Change: because, Cohort: "intake"}); err != nil {
		t.Fatal(err)
	}
	made, err := s.client.MakePassword(t.Context(), v1.NewPassword{Change: because, Label: "pumps", Device: "pump-1", LifeSeconds: 3600})
	if err != nil || len(made.Secret) != 32 || made.Uses != 1 || made.State != "usable" {
		t.Fatalf("%+v, %v", made, err)
	}
	other, err := s.client.MakePassword(t.Context(), v1.NewPassword{Change: because, Label: "pumps", Prefix: "pump-", Uses: 5})
	if err != nil || other.Secret == made.Secret || other.ID == made.ID {
		t.Errorf("%+v, %v", other, err)
	}
	for _, e := range s.events(t) {
		if strings.Contains(fmt.Sprintf("%+v", e), made.Secret) {
			t.Errorf("the secret stands in the log: %+v", e)
		}
	}
	for field, bad := range map[string]v1.NewPassword{
		"device": {Change: because, Label: "pumps"}, "label": {Change: because, Label: "ghosts", Device: "pump-1"}, "uses": {Change: because, Label: "pumps", Prefix: "p", Uses: 1 << 30},
		"life_seconds": {Change: because, Label: "pumps", Device: "pump-1", LifeSeconds: 1 << 40}, "why": {Label: "pumps", Device: "pump-1"},
	} {
		var problem *v1.Problem
		if _, err := s.client.MakePassword(t.Context(), bad); !errors.As(err, &problem) || problem.Field != field {
			t.Errorf("%s: %v", field, err)
		}
	}
	if p := twice(t, s, "withdraw", func() (v1.Password, error) { return s.client.WithdrawPassword(t.Context(), other.ID, "not needed") }); p.State != "withdrawn" {
		t.Errorf("%+v", p)
	}
	s.clock.advance(time.Hour)
	all, err := s.client.Passwords(t.Context(), "ended", "")
	if err != nil || len(all.Passwords) != 1 || all.Passwords[0].ID != made.ID {
		t.Errorf("%+v, %v", all, err)
	}
	if _, err := s.client.WithdrawPassword(t.Context(), "p-none", "x"); status(err) != http.StatusNotFound {
		t.Errorf("%v", err)
	}
}

func TestAManufacturerAndItsClaims(t *testing.T) {
	s := start(t)
	if _, err := s.client.DefineLine(t.Context(), "pumps", v1.LineDefinition{Change: because, Cohort: "intake"}); err != nil {
		t.Fatal(err)
	}
	trust := v1.ManufacturerTrust{Change: because, Certificates: string(s.authority.CA())} // any authority's will do
	m := twice(t, s, "trust", func() (v1.Manufacturer, error) { return s.client.TrustManufacturer(t.Context(), "acme", trust) })
	if len(m.Certificates) != 1 {
		t.Errorf("%+v", m)
	}
	enrolled, _ := s.enrol(t, "d1", "c", nil)
	for name, bad := range map[string]string{
		"nothing": "", "a device's": enrolled.Certificate, "a key": string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: []byte("x")})),
	} {
		var problem *v1.Problem
		if _, err := s.client.TrustManufacturer(t.Context(), "acme", v1.ManufacturerTrust{Change: because, Certificates: bad}); !errors.As(err, &problem) || problem.Field != "certificates" {
			t.Errorf("%s: %v", name, err)
		}
	}
	claims := v1.NewClaims{Change: because, Label: "pumps", Claims: []v1.Claim{{Serial: "SN/1", Device: "pump-1"}, {Serial: "SN2"}}}
	twice(t, s, "claim", func() (v1.Claimed, error) { return s.client.ClaimSerials(t.Context(), "acme", claims) })
	for serial, device := range map[string]string{"SN/1": "pump-1", "SN2": "acme-sn2"} {
		if c, err := s.client.Claim(t.Context(), "acme", serial); err != nil || c != (v1.Claim{Serial: serial, Device: device, Label: "pumps"}) {
			t.Errorf("%+v, %v", c, err)
		}
	}
	if _, err := s.client.ClaimSerials(t.Context(), "acme", v1.NewClaims{Change: because, Label: "pumps", Claims: []v1.Claim{{Serial: "SN3", Device: "pump-1"}}}); status(err) != http.StatusConflict {
		t.Errorf("%v", err)
	}
	if all, err := s.client.Manufacturers(t.Context()); err != nil || len(all.Manufacturers) != 1 || all.Manufacturers[0].Claims != 2 {
		t.Errorf("%+v, %v", all, err)
	}
	if all, err := s.client.Claims(t.Context(), "acme", ""); err != nil || all.Next != "" || !slices.Equal(all.Claims, []v1.Claim{{Serial: "SN/1", Device: "pump-1", Label: "pumps"}, {Serial: "SN2", Device: "acme-sn2", Label: "pumps"}}) {
		t.Errorf("%+v, %v", all, err)
	}
	if rest, err := s.client.Claims(t.Context(), "acme", "SN/1"); err != nil || len(rest.Claims) != 1 || rest.Claims[0].Serial != "SN2" {
		t.Errorf("%+v, %v", rest, err)
	}
	if _, err := s.client.Claims(t.Context(), "nobody", ""); status(err) != http.StatusNotFound {
		t.Errorf("%v", err)
	}
	if out, err := s.client.ReleaseSerials(t.Context(), "acme", v1.ClaimRelease{Change: because, Serials: []string{"SN/1"}}); err != nil || out.Serials != 1 {
		t.Errorf("%+v, %v", out, err)
	}
	if _, err := s.client.Claim(t.Context(), "acme", "SN/1"); status(err) != http.StatusNotFound {
		t.Errorf("%v", err)
	}
	var problem *v1.Problem
	if _, err := s.client.Passwords(t.Context(), "spent", ""); !errors.As(err, &problem) || problem.Status != http.StatusBadRequest || problem.Field != "state" || !strings.Contains(problem.Detail, "withdrawn") {
		t.Errorf("%v", err)
	}
	if left, err := s.client.DistrustManufacturer(t.Context(), "acme", "bankrupt"); err != nil || len(left.Manufacturers) != 0 {
		t.Errorf("%+v, %v", left, err)
	}
}

func TestSecurityIsCounted(t *testing.T) {
	s := start(t)
	s.clock.stand() // what is counted is kept for a while
	for i := range 4 {
		s.enrol(t, fmt.Sprintf("d%d", i), "c", nil)
	}
	if _, err := s.client.RevokeDevice(t.Context(), "d3", "gone"); err != nil {
		t.Fatal(err)
	}
	if _, err := s.client.QuarantineDevice(t.Context(), "d2", true, "odd"); err != nil {
		t.Fatal(err)
	}
	got, err := s.client.Security(t.Context())
	if err != nil || got.Devices != 3 || got.Revoked != 1 || got.Quarantined != 1 || got.Enrolments["operator"] != 4 || got.InTime != 1 || got.AgeSeconds.Count != 3 ||
		!found(got, "quarantined", 1) || !found(got, "authority", 1) || len(got.Findings) != 3 { // the root's key is here, and the issuing key is not sealed
		t.Errorf("%+v, %v", got, err)
	}
	s.enrol(t, "d4", "c", nil)
	if cached, err := s.client.Security(t.Context()); err != nil || cached.Devices != 3 {
		t.Errorf("counted anew at once: %+v, %v", cached, err)
	}
	s.clock.advance(75 * 24 * time.Hour) // of 90
	late, err := s.client.Security(t.Context())
	if err != nil || late.Devices != 4 || late.InTime != 0 || !found(late, "rotation-overdue", 4) || late.AgeSeconds.Min < 74*86400 || late.LeftSeconds.Max > 16*86400 {
		t.Errorf("%+v, %v", late, err)
	}
	a, err := s.client.Authority(t.Context())
	if err != nil || a.TrustDomain != "muster.test" || len(a.Roots) != 1 || len(a.Issuers) != 1 || a.Issuers[0].Issuer != a.Issuing || a.Issuers[0].Devices != 4 {
		t.Errorf("%+v, %v", a, err)
	}
	revoked := twice(t, s, "revoke the issuer", func() (v1.Authority, error) { return s.client.RevokeIssuer(t.Context(), a.Issuing, "key stolen") })
	if !revoked.Issuers[0].Revoked {
		t.Errorf("%+v", revoked)
	}
	s.clock.advance(20 * 24 * time.Hour)
	if worse, err := s.client.Security(t.Context()); err != nil || !found(worse, "issuer-revoked", 4) {
		t.Errorf("%+v, %v", worse, err)
	}
	if _, err := s.client.RevokeIssuer(t.Context(), "none", "x"); status(err) != http.StatusNotFound {
		t.Errorf("%v", err)
	}
	if st, err := s.client.Status(t.Context()); err != nil || st.Role != "writer" || !st.Ready || st.Devices != 5 || st.Position == 0 {
		t.Errorf("%+v, %v", st, err)
	}
}

func found(s v1.Security, name string, count int) bool {
	return slices.ContainsFunc(s.Findings, func(f v1.Finding) bool { return f.Finding == name && f.Count == count })
}

func TestWhyIsOneLineOfPlainText(t *testing.T) {
	s := start(t)
	s.enrol(t, "d1", "c", nil)
	for name, why := range map[string]string{
		"none": "", "blanks": "  ", "long": strings.Repeat("x", 501), "two lines": "a\nb", "an escape": "a\x1b[31mb", "turned round": "a\u202eb",
	} {
		var problem *v1.Problem
		if _, err := s.client.RevokeDevice(t.Context(), "d1", why); !errors.As(err, &problem) || problem.Status != 422 || problem.Field != "why" {
			t.Errorf("%s: %v", name, err)
		}
	}
	if d, err := s.client.Device(t.Context(), "d1"); err != nil || d.Revoked {
		t.Errorf("%+v, %v", d, err)
	}
	if _, err := s.client.RevokeDevice(t.Context(), "d1", " "+strings.Repeat("é", 250)); err != nil {
		t.Error(err)
	}
}
