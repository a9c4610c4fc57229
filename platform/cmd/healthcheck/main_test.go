package main

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

func TestOnlyA200IsHealthy(t *testing.T) {
	for status, healthy := range map[int]bool{200: true, 204: false, 503: false} {
		srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(status)
		}))
		err := check([]string{srv.URL})
		if (err == nil) != healthy {
			t.Errorf("status %d: got %v", status, err)
		}
		srv.Close()
		if err := check([]string{srv.URL}); err == nil {
			t.Error("a closed port is healthy")
		}
	}
	if err := check(nil); err == nil || !strings.Contains(err.Error(), "usage") {
		t.Errorf("no URL: got %v", err)
	}
}
