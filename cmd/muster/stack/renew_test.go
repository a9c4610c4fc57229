package stack

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"muster.dev/services/ingest/gateway/door"
	"muster.dev/services/registry/authority"
	"muster.dev/services/registry/client"
)

// shortly replaces the gateway's pair by one that is as good, but ends after life.
func shortly(t *testing.T, d Dir, life time.Duration) {
	t.Helper()
	options, err := d.Authority()
	if err != nil {
		t.Fatal(err)
	}
	ca, err := authority.Open(d.CA(), append(options, authority.WithServerLife(life))...)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(os.Remove(d.Certificate(Gateway)), ca.EnsureServer(d.Certificate(Gateway), d.Key(Gateway), authority.LoopbackHosts...)); err != nil {
		t.Fatal(err)
	}
}

// In virtual time: a certificate that ends soon leaves a busy machine too little of it.
func TestAStackThatRunsLongerThanItsCertificateStaysOpen(t *testing.T) {
	synctest.Test(t, stayOpen)
}

func stayOpen(t *testing.T) {
	d := newDir(t)
	ports, err := PortsAt(0)
	if err != nil {
		t.Fatal(err)
	}
	site := Site{Dir: d, Ports: ports}
	if err := prepare(site); err != nil {
		t.Fatal(err)
	}
	const life = 3 * time.Second
	shortly(t, d, life)
	ends := time.Now().Add(life)

	// The gateway's own door, on the files that the gateway is told.
	material, err := door.LoadMaterial(door.Files{Certificate: d.Certificate(Gateway), Key: d.Key(Gateway), ClientCA: d.ClientBundle()})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()
	wg.Go(func() { _ = material.Watch(ctx, 50*time.Millisecond, slog.New(slog.DiscardHandler)) })
	root, err := os.ReadFile(d.RootCertificate())
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(root)
	shake := func() (left time.Duration, err error) {
		here, there := net.Pipe()
		defer here.Close()
		wg.Go(func() {
			defer there.Close()
			_ = tls.Server(there, material.Config()).HandshakeContext(ctx) // it asks for a certificate that this client has none of
		})
		c := tls.Client(here, &tls.Config{RootCAs: roots, ServerName: "localhost"})
		if err := c.HandshakeContext(ctx); err != nil {
			return 0, err
		}
		_, _ = io.Copy(io.Discard, here) // the server's refusal
		return time.Until(c.ConnectionState().PeerCertificates[0].NotAfter), nil
	}
	if left, err := shake(); err != nil || left > life {
		t.Fatalf("before the renewal: %v left, %v", left, err)
	}
	wg.Go(func() {
		renew(ctx, 100*time.Millisecond, site.renewals(func() {})[:1], func(sentence string) { t.Error(sentence) })
	})
	for last := false; !last; <-time.After(100 * time.Millisecond) {
		last = time.Now().After(ends.Add(500 * time.Millisecond))
		left, err := shake()
		if err != nil {
			t.Fatalf("%v before its certificate's end: %v", time.Until(ends), err)
		}
		if last && left < 24*time.Hour {
			t.Errorf("the certificate ends in %v", left)
		}
	}
}

func TestARenewalThatFailsIsSaidOnceAndTriedAgain(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	tries := 0
	var said []string
	look := func(context.Context) error {
		switch tries++; tries {
		case 1, 2:
			return errors.New("no right")
		case 5:
			return errors.New("no right")
		case 6:
			cancel()
		}
		return nil
	}
	renew(ctx, time.Millisecond, []func(context.Context) error{look}, func(s string) { said = append(said, s) })
	if want := "no right; trying again every 1ms"; !slices.Equal(said, []string{want, want}) {
		t.Errorf("%q", said)
	}
}

func TestAnIdentityIsFreshForTwoThirdsOfItsLife(t *testing.T) {
	d := newDir(t)
	if err := prepare(Site{Dir: d, Ports: Ports{Ops: map[string]int{}}}); err != nil {
		t.Fatal(err)
	}
	shortly(t, d, 20*time.Minute) // of thirty
	dir := d.Identity("sim-0001")
	if fresh(dir, time.Now()) || usable(dir, time.Now()) {
		t.Error("there is none yet")
	}
	raw, err := os.ReadFile(d.Certificate(Gateway)) // any will do
	if err == nil {
		err = os.MkdirAll(dir, 0o700)
	}
	if err == nil {
		err = writeFile(filepath.Join(dir, client.CertFile), raw)
	}
	if err != nil {
		t.Fatal(err)
	}
	for after, want := range map[time.Duration][2]bool{0: {true, true}, 9 * time.Minute: {true, true}, 11 * time.Minute: {false, true}, 21 * time.Minute: {false, false}} {
		if at := time.Now().Add(after); fresh(dir, at) != want[0] || usable(dir, at) != want[1] {
			t.Errorf("after %v: fresh %v, usable %v, want %v", after, fresh(dir, at), usable(dir, at), want)
		}
	}
}

func TestTheIssuingCertificateIsRenewedWithWhatItSignedForServers(t *testing.T) {
	d := newDir(t)
	if err := prepare(Site{Dir: d, Ports: Ports{Ops: map[string]int{}}}); err != nil {
		t.Fatal(err)
	}
	read := func(path string) string {
		raw, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		return string(raw)
	}
	issuing, server := filepath.Join(d.CA(), authority.IssuingFile), d.Certificate(Registry)
	first, shown := read(issuing), read(server)
	if err := d.renewAuthority(time.Now()); err != nil || read(issuing) != first || read(server) != shown {
		t.Errorf("at its begin: %v", err)
	}
	late := time.Now().AddDate(4, 0, 0)
	if err := d.renewAuthority(late); err != nil || read(issuing) == first || read(server) == shown {
		t.Errorf("in its last third: %v", err)
	}
	if err := os.Remove(filepath.Join(d.CA(), "root.key.age")); err != nil {
		t.Fatal(err)
	}
	if err := d.renewAuthority(late); !errors.Is(err, authority.ErrRootKeyAway) {
		t.Errorf("with the root's key in a safe: %v", err)
	}
}

func TestADirectoryOfAnOlderVersionIsSealedAtTheNextStart(t *testing.T) {
	d := newDir(t)
	old, err := authority.Init(d.CA(), authority.DefaultTrustDomain) // unsealed
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(d.SecretFile(SecretCASeal)); err != nil {
		t.Fatal(err)
	}
	if err := d.makeSecrets(); err != nil {
		t.Fatal(err)
	}
	if err := prepare(Site{Dir: d, Ports: Ports{Ops: map[string]int{}}}); err != nil {
		t.Fatal(err)
	}
	files, err := os.ReadDir(d.CA())
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		raw, err := os.ReadFile(filepath.Join(d.CA(), f.Name()))
		if err != nil || strings.Contains(string(raw), "PRIVATE KEY") {
			t.Errorf("%s is in the clear, %v", f.Name(), err)
		}
	}
	root, err := os.ReadFile(d.RootCertificate())
	if err != nil || string(root) != string(old.CA()) {
		t.Errorf("another root: %v", err)
	}
}
