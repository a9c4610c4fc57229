package client

import (
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.uber.org/goleak"

	v1 "muster.dev/services/registry/api/v1"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func serve(t *testing.T, h http.HandlerFunc) string {
	t.Helper()
	srv := httptest.NewServer(h)
	t.Cleanup(srv.Close)
	return srv.URL
}

func TestEnrollWritesAnIdentityAndKeepsItsKey(t *testing.T) {
	var csrs []string
	base := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if got := r.Header.Get("Authorization"); got != "Bearer t0ken" {
			t.Errorf("Authorization %q", got)
		}
		var e v1.Enrolment
		if err := json.NewDecoder(r.Body).Decode(&e); err != nil || e.Device != "d1" || e.Cohort != "c" {
			t.Errorf("%+v, %v", e, err)
		}
		csrs = append(csrs, e.CSR)
		w.WriteHeader(http.StatusCreated)
		json.NewEncoder(w).Encode(v1.Enrolled{Device: "d1", No: 7, Certificate: "cert", CA: "ca"})
	})
	dir := filepath.Join(t.TempDir(), "d1")
	var keys []string
	for range 2 {
		out, err := Enroll(t.Context(), base, "t0ken", v1.Enrolment{Device: "d1", Cohort: "c"}, dir)
		if err != nil || out.No != 7 {
			t.Fatalf("%+v, %v", out, err)
		}
		for name, want := range map[string]string{CAFile: "ca", CertFile: "cert"} {
			if got, err := os.ReadFile(filepath.Join(dir, name)); err != nil || string(got) != want {
				t.Errorf("%s: %q, %v", name, got, err)
			}
		}
		info, err := os.Stat(filepath.Join(dir, KeyFile))
		if err != nil || info.Mode().Perm() != 0o600 {
			t.Fatalf("the key: %v, %v", info, err)
		}
		key, err := os.ReadFile(filepath.Join(dir, KeyFile))
		if err != nil {
			t.Fatal(err)
		}
		keys = append(keys, string(key))
	}
	if keys[0] != keys[1] {
		t.Error("a repeated Enroll made another key")
	}
	if entries, _ := os.ReadDir(dir); len(entries) != 3 {
		t.Errorf("%d files are left, want 3", len(entries))
	}
	if info, _ := os.Stat(dir); info.Mode().Perm() != 0o700 {
		t.Errorf("the directory has mode %v", info.Mode())
	}
}

func TestARefusalIsAProblem(t *testing.T) {
	base := serve(t, func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(http.StatusConflict)
		w.Write([]byte(`{"type":"about:blank","title":"Conflict","status":409,"detail":"another key","field":"csr"}`))
	})
	dir := t.TempDir()
	_, err := Enroll(t.Context(), base, "t", v1.Enrolment{Device: "d1"}, dir)
	var problem *v1.Problem
	if !errors.As(err, &problem) || problem.Status != 409 || problem.Error() != "Conflict: csr: another key" {
		t.Fatalf("%v", err)
	}
	if _, err := os.Stat(filepath.Join(dir, CertFile)); err == nil {
		t.Error("a refused enrolment wrote a certificate")
	}
}

func TestAnAnswerThatIsNotOursIsAnError(t *testing.T) {
	for body, status := range map[string]int{"<html>": 200, "nope": 502} {
		base := serve(t, func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(status); w.Write([]byte(body)) })
		c := New(base, "t")
		if _, err := c.Device(t.Context(), "d1"); err == nil {
			t.Errorf("%d %q was taken", status, body)
		}
		c.Close()
	}
}

func TestAKeyThatIsNoKeyIsLeftAlone(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, KeyFile)
	if err := os.WriteFile(path, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Enroll(t.Context(), "http://127.0.0.1:1", "t", v1.Enrolment{Device: "d1"}, dir); err == nil || !strings.Contains(err.Error(), "not PEM") {
		t.Fatal(err)
	}
	if data, _ := os.ReadFile(path); string(data) != "precious" {
		t.Error("the file was overwritten")
	}
}
