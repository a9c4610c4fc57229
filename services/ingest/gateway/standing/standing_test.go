package standing_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"math/big"
	"testing"
	"time"

	"go.uber.org/goleak"

	"muster.dev/platform/roster"
	"muster.dev/proto/event"
	"muster.dev/proto/identity"
	"muster.dev/services/ingest/gateway/standing"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var start = time.Date(2026, 3, 14, 15, 9, 26, 0, time.UTC)

// registry is the fold of a log, and how often it was asked.
type registry struct {
	*roster.State
	t     testing.TB
	asked int
}

func (r *registry) Standing(id identity.Device, serial string, spki [32]byte) (roster.Device, roster.Standing) {
	r.asked++
	return r.State.Standing(id, serial, spki)
}

func (r *registry) declare(bodies ...event.Body) {
	r.t.Helper()
	for _, b := range bodies {
		n, prev := r.Link()
		if err := r.Apply(int64(n), event.Registry{N: n, Prev: prev, Time: start.UnixMilli(), Who: "test", Why: "test", Body: b}); err != nil {
			r.t.Fatal(err)
		}
	}
}

func newRegistry(t testing.TB) *registry { return &registry{State: roster.NewState(), t: t} }

const issuer = "0123456789abcdef0123456789abcdef"

// certificate is one as the registry would give it, and as a connection shows it.
func certificate(t testing.TB, id identity.Device, serial int64, from time.Time) (*standing.Card, event.CertificateIssued) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(serial), NotBefore: from, NotAfter: from.Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	c := &standing.Card{}
	c.Fill(id, leaf)
	csr := sha256.Sum256(der)
	return c, event.CertificateIssued{
		No: 1, Serial: c.Serial, SPKI: c.SPKI[:], CSR: csr[:], NotBefore: from.UnixMilli(), NotAfter: from.Add(time.Hour).UnixMilli(), Issuer: issuer, Method: "operator",
	}
}

func TestTheAnswerIsKeptUntilTheRegistryChanges(t *testing.T) {
	r := newRegistry(t)
	card, issued := certificate(t, "boiler-1", 0xab12, start)
	r.declare(event.DeviceEnrolled{Device: "boiler-1", No: 1, Cohort: "test", Serial: card.Serial, SPKI: card.SPKI[:]}, issued)
	if card.Serial != "ab12" {
		t.Errorf("serial %s", card.Serial)
	}
	desk := standing.NewDesk(r)
	for range 100 {
		if v := desk.Look(card); v.Standing != roster.Good || v.Device.ID != "boiler-1" || v.Ends() {
			t.Fatalf("%+v", v)
		}
	}
	if r.asked != 1 {
		t.Errorf("asked %d times", r.asked)
	}
	r.declare(event.DeviceEnrolled{Device: "other", No: 2, Cohort: "test"})
	if desk.Look(card); r.asked != 2 {
		t.Errorf("after an event asked %d times", r.asked)
	}
	r.declare(event.DeviceRevoked{No: 1})
	if v := desk.Look(card); v.Standing != roster.DeviceRevoked || !v.Ends() {
		t.Errorf("%+v", v)
	}
}

func TestEachEndIsToldFromTheOthers(t *testing.T) {
	for name, x := range map[string]struct {
		events []event.Body
		want   roster.Standing
		ends   bool
	}{
		"nothing":         {nil, roster.Good, false},
		"the device":      {[]event.Body{event.DeviceRevoked{No: 1}}, roster.DeviceRevoked, true},
		"the certificate": {[]event.Body{event.CertificateRevoked{No: 1, Serial: "1"}}, roster.CertificateRevoked, true},
		"the cohort":      {[]event.Body{event.CohortRevoked{Cohort: "test"}}, roster.DeviceRevoked, true},
		"replaced":        {[]event.Body{event.DeviceEnrolled{Device: "new", No: 2, Cohort: "test"}, event.DeviceReplaced{Old: 1, New: 2}}, roster.DeviceRevoked, true},
		"held off":        {[]event.Body{event.DeviceQuarantined{No: 1, On: true}}, roster.Quarantined, false},
		"cohort held off": {[]event.Body{event.CohortQuarantined{Cohort: "test", On: true}}, roster.Quarantined, false},
	} {
		r := newRegistry(t)
		card, issued := certificate(t, "boiler-1", 1, start)
		r.declare(event.DeviceEnrolled{Device: "boiler-1", No: 1, Cohort: "test", Serial: card.Serial, SPKI: card.SPKI[:]}, issued)
		r.declare(x.events...)
		if v := standing.NewDesk(r).Look(card); v.Standing != x.want || v.Ends() != x.ends {
			t.Errorf("%s: %v, ends %v", name, v.Standing, v.Ends())
		}
	}
}

func TestACertificateThatMayBeTooNewToBeKnownIsNotAtItsEnd(t *testing.T) {
	r := newRegistry(t)
	old, _ := certificate(t, "boiler-1", 1, start.Add(-time.Hour))
	known, issued := certificate(t, "boiler-1", 2, start)
	fresh, next := certificate(t, "boiler-1", 3, start)
	r.declare(event.DeviceEnrolled{Device: "boiler-1", No: 1, Cohort: "test", Serial: known.Serial, SPKI: known.SPKI[:]}, issued)
	desk := standing.NewDesk(r)
	if v := desk.Look(old); v.Standing != roster.Superseded || v.Young || !v.Ends() {
		t.Errorf("an old one that was never written down: %+v", v)
	}
	if v := desk.Look(fresh); v.Standing != roster.Superseded || !v.Young || v.Ends() {
		t.Errorf("a new one that is not known yet: %+v", v)
	}
	r.declare(next)
	for name, c := range map[string]*standing.Card{"the new one": fresh, "the one before": known} {
		if v := desk.Look(c); v.Standing != roster.Good {
			t.Errorf("%s: %v", name, v.Standing)
		}
	}
}

func TestOneWhoIsUnknownIsToldInWords(t *testing.T) {
	card, _ := certificate(t, "stranger", 1, start)
	if v := standing.NewDesk(newRegistry(t)).Look(card); v.Standing != roster.Unknown || v.Ends() {
		t.Errorf("%+v", v)
	}
}

// What a message costs when the registry has not changed, and when it has.
func BenchmarkLook(b *testing.B) {
	for _, changes := range []bool{false, true} {
		b.Run(map[bool]string{false: "kept", true: "asked"}[changes], func(b *testing.B) {
			r := newRegistry(b)
			card, issued := certificate(b, "boiler-1", 1, start)
			r.declare(event.DeviceEnrolled{Device: "boiler-1", No: 1, Cohort: "test", Serial: card.Serial, SPKI: card.SPKI[:]}, issued)
			v := &versions{registry: r}
			desk := standing.NewDesk(v)
			b.ReportAllocs()
			for b.Loop() {
				if changes {
					v.n++
				}
				if desk.Look(card).Standing != roster.Good {
					b.Fatal("not good")
				}
			}
		})
	}
}

// versions is a registry whose version is counted by hand.
type versions struct {
	*registry
	n uint64
}

func (v *versions) Version() uint64 { return v.n }
