package stack

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"math/big"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"muster.dev/fleet/scenario"
	"muster.dev/fleet/simulator/world"
	"muster.dev/services/registry/client"

	v1 "muster.dev/services/registry/api/v1"
)

// reluctant is a registry that cannot write its log as often as asked, and then enrols.
func reluctant(t *testing.T, d Dir, times int) (reg *client.Client, asked *int) {
	t.Helper()
	asked = new(int)
	registry := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if *asked++; *asked <= times {
			w.WriteHeader(http.StatusServiceUnavailable)
			_ = json.NewEncoder(w).Encode(v1.Problem{Title: "Service Unavailable", Status: http.StatusServiceUnavailable, Detail: "ask again, it is safe to repeat"})
			return
		}
		_ = json.NewEncoder(w).Encode(v1.Enrolled{Certificate: "a certificate", CA: "an authority"})
	}))
	t.Cleanup(registry.Close)
	secret, err := d.Secret(SecretOperator)
	if err != nil {
		t.Fatal(err)
	}
	reg = client.New(registry.URL, secret.Reveal())
	t.Cleanup(reg.Close)
	return reg, asked
}

func TestARegistryThatCannotWriteNowIsAskedAgainAndThatIsSaid(t *testing.T) {
	d := newDir(t)
	reg, asked := reluctant(t, d, 1)
	var said []string
	err := enroll(t.Context(), reg, v1.Enrolment{Device: demoDevice, Cohort: demoDevice}, d.Demo(), func(s string) { said = append(said, s) })
	if err != nil || *asked != 2 {
		t.Errorf("asked %d times: %v", *asked, err)
	}
	if len(said) != 1 || !strings.Contains(said[0], "enrolling demo") || !strings.Contains(said[0], "asking again for up to 1m30s") {
		t.Errorf("said %q", said)
	}
	if raw, err := os.ReadFile(filepath.Join(d.Demo(), client.CertFile)); err != nil || string(raw) != "a certificate" {
		t.Errorf("%s, %v", raw, err)
	}
}

// A fleet whose certificates are to be renewed does not hold a start up, device after device.
func TestARenewalThatCannotBeNowIsLeftToTheNextLook(t *testing.T) {
	d := newDir(t)
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err == nil {
		err = errors.Join(os.MkdirAll(d.Demo(), 0o700), os.WriteFile(filepath.Join(d.Demo(), client.CertFile), pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600))
	}
	if err != nil {
		t.Fatal(err)
	}
	reg, asked := reluctant(t, d, 1)
	err = enroll(t.Context(), reg, v1.Enrolment{Device: demoDevice, Cohort: demoDevice}, d.Demo(), func(s string) { t.Errorf("said %q", s) })
	var p *v1.Problem
	if *asked != 1 || !errors.As(err, &p) || p.Status != http.StatusServiceUnavailable {
		t.Errorf("asked %d times: %v", *asked, err)
	}
}

func TestCohortsOfAScenarioAreDefinedOnceWithTheirPlannedSleep(t *testing.T) {
	defined := map[string]v1.CohortDefinition{}
	registry := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		name := filepath.Base(r.URL.Path)
		_, known := defined[name]
		switch {
		case r.Method == http.MethodGet && !known:
			w.WriteHeader(http.StatusNotFound)
			_ = json.NewEncoder(w).Encode(v1.Problem{Status: http.StatusNotFound})
			return
		case r.Method == http.MethodPut:
			var d v1.CohortDefinition
			if err := json.NewDecoder(r.Body).Decode(&d); err != nil || known {
				t.Errorf("%s is defined again, or %v", name, err)
			}
			defined[name] = d
		}
		_ = json.NewEncoder(w).Encode(v1.Cohort{Cohort: name})
	}))
	defer registry.Close()
	reg := client.New(registry.URL, "a-token-that-is-long-enough")
	defer reg.Close()
	w, err := world.New(&scenario.Scenario{Name: "night", Begins: time.Now(), Lasts: time.Hour, Cohorts: []scenario.Cohort{
		{Name: "pumps", Devices: 1, ID: "pump-%d", Interval: 10 * time.Second, Sleep: &scenario.Sleep{Every: 24 * time.Hour, From: scenario.Clocktime(22 * time.Hour), For: 8 * time.Hour}},
		{Name: "fans", Devices: 1, ID: "fan-%d", Interval: time.Minute},
		{Name: "doors", Devices: 1, ID: "door-%d", Interval: time.Minute, Sleep: &scenario.Sleep{Every: 7 * 24 * time.Hour, From: scenario.Clocktime(20 * time.Hour), For: 8 * time.Hour}},
	}}, 1)
	if err != nil {
		t.Fatal(err)
	}
	site := Site{World: w}
	for range 2 {
		if err := site.defineCohorts(t.Context(), reg, func(s string) { t.Error(s) }); err != nil {
			t.Fatal(err)
		}
	}
	pumps, fans := defined["pumps"], defined["fans"]
	if len(pumps.Sleep) != 1 || len(pumps.Sleep[0].Days) != 7 || pumps.Sleep[0].From != "22:00" || pumps.Sleep[0].To != "06:00" || pumps.IntervalMS != 10_000 || pumps.Why != "scenario night" {
		t.Errorf("%+v", pumps)
	}
	// Weeks begin with Unix time, on a Thursday.
	if doors := defined["doors"]; len(doors.Sleep) != 1 || !slices.Equal(doors.Sleep[0].Days, []string{"thu"}) || doors.Sleep[0].From != "20:00" || doors.Sleep[0].To != "04:00" {
		t.Errorf("%+v", doors)
	}
	if len(defined) != 3 || fans.Sleep != nil || fans.IntervalMS != 60_000 {
		t.Errorf("%+v", defined)
	}
}

func TestNobodyWaitsForWhatTheDemoDeviceSays(t *testing.T) {
	known, ok := v1.Cohort{}, false
	var defined []v1.CohortDefinition
	registry := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.Method == http.MethodPut:
			var d v1.CohortDefinition
			if err := json.NewDecoder(r.Body).Decode(&d); err != nil {
				t.Error(err)
			}
			defined, ok = append(defined, d), true
			known.IntervalMS, known.Region = d.IntervalMS, d.Region
		case !ok:
			w.WriteHeader(http.StatusNotFound)
			_ = json.NewEncoder(w).Encode(v1.Problem{Title: "Not Found", Status: http.StatusNotFound})
			return
		}
		_ = json.NewEncoder(w).Encode(known)
	}))
	t.Cleanup(registry.Close)
	reg := client.New(registry.URL, "a token")
	t.Cleanup(reg.Close)
	for _, c := range []struct {
		about string
		is    v1.Cohort
		there bool
		want  int
	}{
		{"there is none", v1.Cohort{}, false, 1},
		{"one of an earlier release", v1.Cohort{Region: "eu"}, true, 1},
		{"somebody has said how often", v1.Cohort{IntervalMS: 60_000}, true, 0},
		{"it was revoked", v1.Cohort{Revoked: true}, true, 0},
	} {
		known, ok, defined = c.is, c.there, nil
		for range 2 { // what was said once is not said again
			if err := expectSeldom(t.Context(), reg, demoDevice, demoInterval); err != nil {
				t.Errorf("%s: %v", c.about, err)
			}
		}
		if len(defined) != c.want || c.want > 0 && (defined[0].IntervalMS != demoInterval.Milliseconds() || defined[0].Region != c.is.Region || defined[0].Why == "") {
			t.Errorf("%s: %+v", c.about, defined)
		}
	}
}
