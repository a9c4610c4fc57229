package stack

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"

	v1 "muster.dev/services/registry/api/v1"
	"muster.dev/services/registry/client"
)

func TestARegistryThatCannotWriteNowIsAskedAgain(t *testing.T) {
	d := newDir(t)
	asked := 0
	registry := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if asked++; asked == 1 {
			w.WriteHeader(http.StatusServiceUnavailable)
			_ = json.NewEncoder(w).Encode(v1.Problem{Title: "Service Unavailable", Detail: "ask again, it is safe to repeat"})
			return
		}
		_ = json.NewEncoder(w).Encode(v1.Enrolled{Certificate: "a certificate", CA: "an authority"})
	}))
	defer registry.Close()
	secret, err := d.Secret(SecretOperator)
	if err != nil {
		t.Fatal(err)
	}
	reg := client.New(registry.URL, secret.Reveal())
	defer reg.Close()
	if err := enroll(t.Context(), reg, v1.Enrolment{Device: demoDevice, Cohort: demoDevice}, d.Demo()); err != nil || asked != 2 {
		t.Errorf("asked %d times: %v", asked, err)
	}
	if raw, err := os.ReadFile(filepath.Join(d.Demo(), client.CertFile)); err != nil || string(raw) != "a certificate" {
		t.Errorf("%s, %v", raw, err)
	}
}
