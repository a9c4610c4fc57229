package est

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"muster.dev/services/registry/authority"
)

func TestConnectionsBeyondTheBoundAreClosedAndComeBack(t *testing.T) {
	s := open(t, func(c *Settings) { c.Connections, c.PerAddress = 8, 2 })
	dial := func() net.Conn {
		c, err := net.Dial("tcp", s.est.Addr())
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	first, second, third := dial(), dial(), dial()
	defer first.Close()
	defer third.Close()
	if err := third.SetReadDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	if _, err := third.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
		t.Errorf("the third of one address: %v", err)
	}
	if n := testutil.ToFloat64(s.est.metrics.refused.WithLabelValues("address")); n != 1 {
		t.Errorf("%v refused", n)
	}
	second.Close()
	deadline := time.Now().Add(patience)
	for testutil.ToFloat64(s.est.metrics.open) > 1 && time.Now().Before(deadline) {
		<-time.After(time.Millisecond)
	}
	device{s: s}.ask(http.MethodGet, "/cacerts", "", nil).want(t, http.StatusOK)
}

func TestRatesAreBoundedInMemory(t *testing.T) {
	now := time.Now()
	r := newRates[string](1, 2, func() time.Time { return now })
	for i := range 3 * mostBuckets {
		r.take(fmt.Sprint(i))
	}
	if n := len(r.buckets); n > mostBuckets+1 {
		t.Errorf("%d buckets", n)
	}
	for range 2 {
		if wait := r.take("x"); wait != 0 {
			t.Errorf("within the burst it waits %v", wait)
		}
	}
	if wait := r.take("x"); wait <= 0 || wait > time.Second {
		t.Errorf("the third waits %v", wait)
	}
	now = now.Add(time.Second)
	if r.take("x") != 0 {
		t.Error("after a second there is one")
	}
}

func TestANewServerCertificateIsShownWithoutARestart(t *testing.T) {
	s := open(t, nil)
	shown := func() *x509.Certificate {
		roots := x509.NewCertPool()
		roots.AppendCertsFromPEM(s.ca.CA())
		c, err := tls.Dial("tcp", s.est.Addr(), &tls.Config{RootCAs: roots, MaxVersion: tls.VersionTLS12})
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if c.ConnectionState().DidResume {
			t.Error("it resumed")
		}
		return c.ConnectionState().PeerCertificates[0]
	}
	before := shown()
	if err := os.Remove(s.est.material.keyFile); err != nil {
		t.Fatal(err)
	}
	if changed, err := s.est.material.reload(); changed || err == nil {
		t.Errorf("half a pair: %v, %v", changed, err)
	}
	if !shown().Equal(before) {
		t.Error("the old one is gone")
	}
	if err := s.ca.EnsureServer(s.est.material.certFile, s.est.material.keyFile, authority.LoopbackHosts...); err != nil {
		t.Fatal(err)
	}
	if _, err := s.est.material.reload(); err != nil { // if it has not seen the new one by itself
		t.Error(err)
	}
	if shown().Equal(before) {
		t.Error("the new one is not shown")
	}
}
