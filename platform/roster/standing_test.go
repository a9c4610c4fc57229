package roster

import (
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"muster.dev/proto/event"
	"muster.dev/proto/identity"
)

func hash(word string) []byte {
	sum := event.Chain([]byte(word))
	return sum[:]
}

// issued is a certificate of a key, each told by a word.
func issued(no uint32, serial, key string) event.CertificateIssued {
	return event.CertificateIssued{No: no, Serial: serial, SPKI: hash(key), CSR: hash("csr " + serial), NotBefore: 1_000, NotAfter: 2_000, Issuer: event.IssuerID([]byte("ca")), Method: "operator"}
}

// told folds what it is told, and fails at what is ignored.
func told(t testing.TB, s *State, bodies ...event.Body) *State {
	t.Helper()
	for _, body := range bodies {
		if err := s.Check(body); err != nil {
			t.Fatalf("%+v: %v", body, err)
		}
		if err := s.Apply(int64(s.Last()), s.event(body)); err != nil {
			t.Fatalf("%+v: %v", body, err)
		}
	}
	return s
}

func enrolment(no uint32, id, key, serial string) event.DeviceEnrolled {
	return event.DeviceEnrolled{Device: id, No: no, Cohort: "c", SPKI: hash(key), Serial: serial, Method: "operator"}
}

func TestACertificateSpeaksForItsDevice(t *testing.T) {
	base := func() *State {
		return told(t, NewState(), event.IssuerDefined{Issuer: event.IssuerID([]byte("old")), Certificate: []byte("old")}, event.IssuerDefined{Issuer: event.IssuerID([]byte("ca")), Certificate: []byte("ca")},
			enrolment(1, "a", "k1", "11"), issued(1, "11", "k1"), issued(1, "12", "k2"),
			enrolment(2, "legacy", "kl", "21"), event.DeviceEnrolled{Device: "keyless", No: 3, Cohort: "d"})
	}
	for name, tc := range map[string]struct {
		events      []event.Body
		id          identity.Device
		serial, key string
		want        Standing
	}{
		"its newest":                   {nil, "a", "12", "k2", Good},
		"one that is older":            {nil, "a", "11", "k1", Good},
		"nobody's":                     {nil, "x", "12", "k2", Unknown},
		"another serial":               {nil, "a", "13", "k2", Superseded},
		"the serial with another key":  {nil, "a", "12", "k1", Superseded},
		"another device's":             {nil, "a", "21", "kl", Superseded},
		"legacy":                       {nil, "legacy", "21", "kl", Good},
		"legacy, any serial":           {nil, "legacy", "ff", "kl", Good},
		"legacy, another key":          {nil, "legacy", "21", "k1", Superseded},
		"whose key was not recorded":   {nil, "keyless", "1", "any", Good},
		"device revoked":               {[]event.Body{event.DeviceRevoked{No: 1}}, "a", "12", "k2", DeviceRevoked},
		"revoked, any certificate":     {[]event.Body{event.DeviceRevoked{No: 1}}, "a", "xx", "k9", DeviceRevoked},
		"certificate revoked":          {[]event.Body{event.CertificateRevoked{No: 1, Serial: "12"}}, "a", "12", "k2", CertificateRevoked},
		"another certificate revoked":  {[]event.Body{event.CertificateRevoked{No: 1, Serial: "12"}}, "a", "11", "k1", Good},
		"legacy revoked by its serial": {[]event.Body{event.CertificateRevoked{No: 2, Serial: "21"}}, "legacy", "ff", "kl", CertificateRevoked},
		"issuer revoked":               {[]event.Body{event.IssuerRevoked{Issuer: event.IssuerID([]byte("ca"))}}, "a", "12", "k2", AuthorityRevoked},
		"another issuer revoked":       {[]event.Body{event.IssuerRevoked{Issuer: event.IssuerID([]byte("old"))}}, "a", "12", "k2", Good},
		"legacy's issuer revoked":      {[]event.Body{event.IssuerRevoked{Issuer: event.IssuerID([]byte("old"))}}, "legacy", "21", "kl", AuthorityRevoked},
		"quarantined":                  {[]event.Body{event.DeviceQuarantined{No: 1, On: true}}, "a", "12", "k2", Quarantined},
		"let in again":                 {[]event.Body{event.DeviceQuarantined{No: 1, On: true}, event.DeviceQuarantined{No: 1}}, "a", "12", "k2", Good},
		"cohort quarantined":           {[]event.Body{event.CohortQuarantined{Cohort: "c", On: true}}, "a", "12", "k2", Quarantined},
		"another cohort quarantined":   {[]event.Body{event.CohortQuarantined{Cohort: "d", On: true}}, "a", "12", "k2", Good},
		"moved out of a quarantine":    {[]event.Body{event.CohortQuarantined{Cohort: "c", On: true}, event.DeviceMoved{No: 1, Cohort: "d"}}, "a", "12", "k2", Good},
		"quarantined, and a bad one":   {[]event.Body{event.DeviceQuarantined{No: 1, On: true}}, "a", "99", "k2", Superseded},
		"cohort revoked":               {[]event.Body{event.CohortRevoked{Cohort: "c"}}, "a", "12", "k2", DeviceRevoked},
		"moved too late":               {[]event.Body{event.CohortRevoked{Cohort: "c"}, event.DeviceMoved{No: 1, Cohort: "d"}}, "a", "12", "k2", DeviceRevoked},
		"replaced":                     {[]event.Body{event.DeviceReplaced{Old: 1, New: 2}}, "a", "12", "k2", DeviceRevoked},
		"come into its place":          {[]event.Body{event.DeviceReplaced{Old: 1, New: 2}}, "legacy", "21", "kl", Good},
		"four newer":                   {[]event.Body{issued(1, "13", "k3"), issued(1, "14", "k4"), issued(1, "15", "k5")}, "a", "11", "k1", Superseded},
		"three newer":                  {[]event.Body{issued(1, "13", "k3"), issued(1, "14", "k4")}, "a", "11", "k1", Good},
		"legacy, renewed":              {[]event.Body{issued(2, "22", "kl")}, "legacy", "ff", "kl", Good},
		"its serial written anew":      {[]event.Body{issued(2, "21", "kl")}, "legacy", "ff", "kl", Superseded},
		"revoked again by no event":    {[]event.Body{event.CertificateRevoked{No: 1, Serial: "12"}, issued(1, "12", "k2")}, "a", "12", "k2", CertificateRevoked},
	} {
		t.Run(name, func(t *testing.T) {
			s := told(t, base(), tc.events...)
			d, got := s.Standing(tc.id, tc.serial, [32]byte(hash(tc.key)))
			if got != tc.want || (got != Unknown) != (d.ID == tc.id) {
				t.Errorf("%v, of %+v, want %v", got, d, tc.want)
			}
		})
	}
}

func TestWhatCertificatesCannotBeIsPassedOver(t *testing.T) {
	for name, body := range map[string]event.Body{
		"a serial that another has":        issued(2, "12", "k"),
		"a serial of its own, another key": issued(1, "12", "k"),
		"of nobody":                        issued(9, "99", "k"),
		"of a revoked device":              issued(3, "99", "k"),
		"a revocation of nobody's":         event.CertificateRevoked{No: 9, Serial: "11"},
		"a revocation of another's":        event.CertificateRevoked{No: 2, Serial: "11"},
		"a quarantine of nobody":           event.DeviceQuarantined{No: 9, On: true},
		"a move of nobody":                 event.DeviceMoved{No: 9, Cohort: "c"},
		"a move to a closed cohort":        event.DeviceMoved{No: 1, Cohort: "closed"},
		"an enrolment to a closed cohort":  event.DeviceEnrolled{Device: "e", No: 4, Cohort: "closed"},
		"a description of nobody":          event.DeviceDescribed{No: 9},
		"a replacement of nobody":          event.DeviceReplaced{Old: 9, New: 1},
		"a replacement by nobody":          event.DeviceReplaced{Old: 1, New: 9},
		"a replacement by a revoked one":   event.DeviceReplaced{Old: 1, New: 3},
		"an issuer that is not defined":    event.IssuerRevoked{Issuer: strings.Repeat("a", 32)},
		"no cohort":                        event.CohortRevoked{Cohort: "none"},
		"no cohort to quarantine":          event.CohortQuarantined{Cohort: "none", On: true},
		"an agent that is none":            event.ActingGranted{Agent: 9, Devices: []uint32{1}},
		"an agent that was revoked":        event.ActingGranted{Agent: 3, Devices: []uint32{1}},
		"an agent for nobody":              event.ActingGranted{Agent: 1, Devices: []uint32{2, 9}},
		"an agent for no cohort":           event.ActingGranted{Agent: 1, Cohort: "none"},
		"nobody acting no more":            event.ActingWithdrawn{Agent: 9},
		"no group":                         event.GroupRemoved{Group: "none"},
		"no selector":                      event.GroupDefined{Group: "g", Selector: "a="},
	} {
		t.Run(name, func(t *testing.T) {
			s := told(t, NewState(), enrolment(1, "a", "k1", "11"), issued(1, "12", "k2"), enrolment(2, "b", "kb", "21"), enrolment(3, "c", "kc", "31"), event.DeviceRevoked{No: 3},
				event.CohortDefined{Cohort: "closed"}, event.CohortRevoked{Cohort: "closed"})
			before := dump(t, s)
			if err := s.Check(body); err == nil {
				t.Error("Check finds nothing wrong")
			}
			if got := dump(t, s); got != before {
				t.Error("Check changed the state")
			}
			if err := s.Apply(100, s.event(body)); err == nil {
				t.Error("it was taken")
			}
			if d, _ := s.Device("c"); !d.Revoked || s.Counts() != (Counts{Devices: 3, Revoked: 1}) {
				t.Errorf("%+v", s.Counts())
			}
		})
	}
}

func TestCohortsCountTheirDevicesAndGiveThemWhatTheyLack(t *testing.T) {
	s := told(t, NewState(), enrolment(1, "a", "k1", "11"), enrolment(2, "b", "k2", "21"), enrolment(3, "c", "k3", "31"),
		event.CohortDefined{Cohort: "c", Interval: 60_000, Region: "eu", Sleep: []event.Sleep{{Days: 1, From: 10, To: 5}}},
		event.DeviceMoved{No: 2, Cohort: "d"}, event.DeviceRevoked{No: 3}, event.DeviceRevoked{No: 3})
	if got := s.Cohorts(); !reflect.DeepEqual(got, []Cohort{
		{Name: "c", Interval: time.Minute, Region: "eu", Sleep: []Sleep{{Days: 1, From: 10, To: 5}}, Devices: 1}, {Name: "d", Devices: 1},
	}) {
		t.Errorf("%+v", got)
	}
	if d, _ := s.Device("a"); d.Interval != time.Minute || d.Region != "eu" {
		t.Errorf("%+v", d)
	}
	if d, _ := s.Own(1); d.Interval != 0 || d.Region != "" || d.Cohort != "c" {
		t.Errorf("%+v", d)
	}
	if d, _ := s.Device("b"); d.Interval != 0 || d.Region != "" {
		t.Errorf("%+v", d)
	}
	told(t, s, event.RegionDefined{Region: "eu", Gateway: "a:1"}, event.RegionDefined{Region: "eu", Gateway: "b:1"})
	if gateway, ok := s.Region("eu"); !ok || gateway != "b:1" || len(s.Regions()) != 1 {
		t.Errorf("%q", gateway)
	}
	told(t, s, event.GroupDefined{Group: "all", Selector: "cohort=c"}, event.GroupDefined{Group: "kiel", Selector: "site=Kiel"},
		event.DeviceDescribed{No: 1, Attributes: map[string]string{"site": "Kiel"}})
	if d, _ := s.Device("a"); !reflect.DeepEqual(s.GroupsOf(d), []string{"all", "kiel"}) || d.Cohort != "c" {
		t.Errorf("%v", s.GroupsOf(d))
	}
	if v := s.Version(); v != s.Last() {
		t.Errorf("version %d", v)
	}
}

func BenchmarkStanding(b *testing.B) {
	s := NewState()
	for i := range 1_000 {
		no := uint32(i + 1)
		told(b, s, enrolment(no, fmt.Sprint("d", i), fmt.Sprint("k", i), fmt.Sprintf("%x", no)), issued(no, fmt.Sprintf("%x", no), fmt.Sprint("k", i)))
	}
	spki := [32]byte(hash("k500"))
	b.ReportAllocs()
	for b.Loop() {
		if _, standing := s.Standing("d500", fmt501, spki); standing != Good {
			b.Fatal(standing)
		}
	}
}

const fmt501 = "1f5"
