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
	"strings"
	"testing"
	"time"

	v1 "muster.dev/services/registry/api/v1"
	"muster.dev/services/registry/client"
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
