package door_test

import (
	"bufio"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/url"
	"os"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"

	"muster.dev/platform/roster"
	"muster.dev/proto/event"
	"muster.dev/proto/identity"
	"muster.dev/services/ingest/gateway/clones"
	"muster.dev/services/ingest/gateway/door"
	"muster.dev/services/ingest/gateway/gatewaytest"
	"muster.dev/services/ingest/gateway/standing"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

type house struct {
	*door.Door
	ca       *gatewaytest.Authority
	material *door.Material
	reg      *prometheus.Registry
	files    door.Files
	registry *registry
}

// registry is the fold of a log that a test writes.
type registry struct {
	mu    sync.Mutex
	state *roster.State // guarded by mu
}

func (r *registry) Version() uint64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.state.Version()
}

func (r *registry) Standing(id identity.Device, serial string, spki [32]byte) (roster.Device, roster.Standing) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.state.Standing(id, serial, spki)
}

func (r *registry) declare(t *testing.T, bodies ...event.Body) {
	t.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, b := range bodies {
		n, prev := r.state.Link()
		if err := r.state.Apply(int64(n), event.Registry{N: n, Prev: prev, Who: "test", Why: "test", Body: b}); err != nil {
			t.Fatal(err)
		}
	}
}

var limits = door.Limits{Connections: 50, PerAddress: 40, PerDevice: 4, Handshakes: 8, HandshakesPerAddress: 8, HandshakeTimeout: time.Minute}

// patience is how long tests wait for what is promised without a time.
const patience = 3 * time.Minute

// open starts a door behind which each connection hears who it is.
func open(t *testing.T, l door.Limits) *house {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return openOn(t, l, ln)
}

func openOn(t *testing.T, l door.Limits, ln net.Listener) *house {
	t.Helper()
	h := &house{ca: gatewaytest.NewAuthority(t), reg: prometheus.NewRegistry()}
	server := h.ca.Server("server")
	h.files = door.Files{Certificate: server.Cert, Key: server.Key, ClientCA: h.ca.CA()}
	var err error
	if h.material, err = door.LoadMaterial(h.files); err != nil {
		t.Fatal(err)
	}
	h.registry = &registry{state: roster.NewState()}
	h.Door = door.Open(ln, h.material, door.Settings{
		TrustDomain: gatewaytest.TrustDomain, Limits: l, Desk: standing.NewDesk(h.registry), Clones: clones.NewWatch(100), Registerer: h.reg,
		Protocol: "https", ALPN: []string{"h2", "http/1.1"},
	})
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			c, err := h.Accept()
			if err != nil {
				return
			}
			t.Cleanup(func() { _ = c.Close() })
			p := door.PeerOf(c)
			fmt.Fprintf(c, "device=%s crowded=%v err=%v\n", p.Device, p.Crowded, p.Err)
		}
	}()
	t.Cleanup(func() {
		if err := h.Close(); err != nil {
			t.Error(err)
		}
		<-done
	})
	return h
}

// enter connects and reads what the door made of it. TLS 1.3 tells a client of a refusal on its first read.
func (h *house) enter(t *testing.T, cfg *tls.Config) (string, *tls.Conn, error) {
	t.Helper()
	d := &net.Dialer{Timeout: patience}
	c, err := tls.DialWithDialer(d, "tcp", h.Addr().String(), cfg)
	if err != nil {
		return "", nil, err
	}
	t.Cleanup(func() { _ = c.Close() })
	if err := c.SetReadDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(c).ReadString('\n')
	return line, c, err
}

func (h *house) metric(t *testing.T, name string, labels ...string) float64 {
	t.Helper()
	families, err := h.reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() != name {
			continue
		}
		for _, m := range f.GetMetric() {
			match := len(m.GetLabel()) == len(labels)
			for i, l := range m.GetLabel() {
				match = match && l.GetValue() == labels[i]
			}
			if match {
				return m.GetCounter().GetValue() + m.GetGauge().GetValue()
			}
		}
	}
	t.Fatalf("no metric %s %v", name, labels)
	return 0
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !ok(); {
		if time.Now().After(end) {
			t.Fatal(what)
		}
		<-time.After(5 * time.Millisecond)
	}
}

func TestADeviceIsWhoItsCertificateSays(t *testing.T) {
	h := open(t, limits)
	line, c, err := h.enter(t, h.ca.Client(h.ca.Device("boiler-1.a_b")))
	if err != nil || line != "device=boiler-1.a_b crowded=false err=<nil>\n" {
		t.Errorf("%q, %v", line, err)
	}
	if c.ConnectionState().DidResume {
		t.Error("resumed")
	}
	if h.metric(t, "muster_gateway_connections", "https") != 1 || h.metric(t, "muster_gateway_connections_accepted_total", "https") != 1 {
		t.Error("not counted")
	}
}

func TestNoSessionIsResumed(t *testing.T) {
	h := open(t, limits)
	cfg := h.ca.Client(h.ca.Device("boiler-1"))
	cfg.ClientSessionCache = tls.NewLRUClientSessionCache(4)
	for range 2 {
		_, c, err := h.enter(t, cfg)
		if err != nil || c.ConnectionState().DidResume {
			t.Fatalf("%v, resumed %v", err, c != nil && c.ConnectionState().DidResume)
		}
	}
}

func TestACertificateWithoutOneSPIFFEIdentityNamesNoDevice(t *testing.T) {
	h := open(t, limits)
	client := []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
	uri := func(path string) *url.URL { return gatewaytest.URI(t, path) }
	base := "spiffe://" + gatewaytest.TrustDomain + "/device/"
	for name, cert := range map[string]*x509.Certificate{
		"none":           {ExtKeyUsage: client},
		"cn-only":        {ExtKeyUsage: client, Subject: pkix.Name{CommonName: "boiler-1"}},
		"two":            {ExtKeyUsage: client, URIs: []*url.URL{uri(base + "a"), uri(base + "b")}},
		"other-domain":   {ExtKeyUsage: client, URIs: []*url.URL{uri("spiffe://other.test/device/a")}},
		"upper-case":     {ExtKeyUsage: client, URIs: []*url.URL{uri(base + "Boiler")}},
		"dots":           {ExtKeyUsage: client, URIs: []*url.URL{uri(base + "a/../b")}},
		"escaped":        {ExtKeyUsage: client, URIs: []*url.URL{uri(base + "a%2fb")}},
		"service":        {ExtKeyUsage: client, URIs: []*url.URL{uri("spiffe://" + gatewaytest.TrustDomain + "/service/sink")}},
		"dns-is-no-name": {ExtKeyUsage: client, DNSNames: []string{"boiler-1"}},
	} {
		line, _, err := h.enter(t, h.ca.Client(h.ca.Issue(name, cert)))
		if err != nil || !strings.HasPrefix(line, "device= ") || strings.Contains(line, "err=<nil>") {
			t.Errorf("%s: %q, %v", name, line, err)
		}
	}
}

func TestWhoCannotProveAnythingDoesNotComeIn(t *testing.T) {
	h := open(t, limits)
	good := h.ca.Device("boiler-1")
	stranger := gatewaytest.NewAuthority(t).Device("boiler-1")
	old := h.ca.Issue("old", &x509.Certificate{NotBefore: time.Now().Add(-2 * time.Hour), NotAfter: time.Now().Add(-time.Hour), ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}})
	early := h.ca.Issue("early", &x509.Certificate{NotBefore: time.Now().Add(time.Hour), NotAfter: time.Now().Add(2 * time.Hour), ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}})
	server := h.ca.Server("as-client")
	anyUse := h.ca.Issue("any-use", &x509.Certificate{URIs: []*url.URL{gatewaytest.URI(t, "spiffe://"+gatewaytest.TrustDomain+"/device/a")}})
	without := h.ca.Client(good)
	without.Certificates = nil
	tls12 := h.ca.Client(good)
	tls12.MinVersion, tls12.MaxVersion = tls.VersionTLS12, tls.VersionTLS12
	for name, cfg := range map[string]*tls.Config{
		"no certificate": without, "another authority": h.ca.Client(stranger), "expired": h.ca.Client(old), "not yet valid": h.ca.Client(early),
		"for servers": h.ca.Client(server), "for no use in particular": h.ca.Client(anyUse), "TLS 1.2": tls12,
	} {
		if line, _, err := h.enter(t, cfg); err == nil {
			t.Errorf("%s: came in: %q", name, line)
		}
	}
	eventually(t, "failures are counted and connections gone", func() bool {
		return h.metric(t, "muster_gateway_handshake_errors_total", "certificate") == 6 &&
			h.metric(t, "muster_gateway_handshake_errors_total", "protocol") == 1 && h.metric(t, "muster_gateway_connections", "https") == 0
	})
}

func TestPlainHTTPIsTold(t *testing.T) {
	h := open(t, limits)
	c, err := net.Dial("tcp", h.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	fmt.Fprint(c, "POST /v1/telemetry HTTP/1.1\r\n\r\n")
	got, _ := io.ReadAll(c)
	if !strings.HasPrefix(string(got), "HTTP/1.0 400") || !strings.Contains(string(got), "client certificate") {
		t.Errorf("%q", got)
	}
	eventually(t, "counted", func() bool { return h.metric(t, "muster_gateway_handshake_errors_total", "plain") == 1 })
}

// In a bubble, where a handshake that computes takes no time.
func TestASilentHandshakeEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := limits
		l.HandshakeTimeout, l.Handshakes = 100*time.Millisecond, 2
		ln := &pipes{conns: make(chan net.Conn, 5), gone: make(chan struct{})}
		h := openOn(t, l, ln)
		for range 4 { // twice as many as may shake hands at once
			defer ln.dial().Close()
		}
		c := tls.Client(ln.dial(), h.ca.Client(h.ca.Device("patient")))
		defer c.Close()
		if _, err := bufio.NewReader(c).ReadString('\n'); err != nil {
			t.Errorf("an honest one behind them: %v", err)
		}
		synctest.Wait()
		if n := h.metric(t, "muster_gateway_handshake_errors_total", "timeout"); n != 4 {
			t.Errorf("%v timeouts, want four", n)
		}
	})
}

// pipes is a listener whose connections lie in memory.
type pipes struct {
	conns chan net.Conn
	gone  chan struct{}
	once  sync.Once
}

// pipe is one end, which has an address.
type pipe struct{ net.Conn }

func (pipe) RemoteAddr() net.Addr { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 1} }

func (p *pipes) dial() net.Conn {
	here, there := net.Pipe()
	p.conns <- pipe{there}
	return here
}

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.gone:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Addr() net.Addr { return &net.TCPAddr{} }

func (p *pipes) Close() error {
	p.once.Do(func() { close(p.gone) })
	return nil
}

// More silent connections than handshakes may compute, all of one address: others of it come in as long as it has its
// share, and other addresses always.
func TestOneWhoOnlyKnocksKeepsNobodyOut(t *testing.T) {
	l := limits
	l.Connections, l.PerAddress, l.Handshakes, l.HandshakesPerAddress, l.HandshakeTimeout = 500, 400, 200, 100, time.Minute
	h := open(t, l)
	knock := func() net.Conn {
		t.Helper()
		c, err := net.Dial("tcp", h.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = c.Close() })
		return c
	}
	for i := range l.HandshakesPerAddress - 1 {
		if c := knock(); i%2 == 0 {
			if _, err := c.Write([]byte{22, 3, 1}); err != nil { // the beginning of a handshake
				t.Fatal(err)
			}
		}
	}
	if _, _, err := h.enter(t, h.ca.Client(h.ca.Device("patient"))); err != nil {
		t.Errorf("an honest one of the same address: %v", err)
	}
	last := knock()
	eventually(t, "all knock", func() bool { return h.metric(t, "muster_gateway_connections", "https") == 101 })
	knock()
	eventually(t, "a refusal", func() bool {
		return h.metric(t, "muster_gateway_connections_refused_total", "handshakes") == 1
	})
	elsewhere := &net.Dialer{Timeout: patience, LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 2)}}
	c, err := tls.DialWithDialer(elsewhere, "tcp", h.Addr().String(), h.ca.Client(h.ca.Device("elsewhere")))
	if err != nil {
		t.Fatalf("an honest one of another address: %v", err)
	}
	defer c.Close()
	if _, err := bufio.NewReader(c).ReadString('\n'); err != nil {
		t.Errorf("an honest one of another address: %v", err)
	}
	_ = last.Close()
	eventually(t, "its place again", func() bool {
		_, _, err := h.enter(t, h.ca.Client(h.ca.Device("later")))
		return err == nil
	})
}

func TestConnectionsAreCapped(t *testing.T) {
	l := limits
	l.PerAddress, l.PerDevice = 5, 2
	h := open(t, l)
	one := h.ca.Client(h.ca.Device("one"))
	var first *tls.Conn
	for i := range 3 {
		line, c, err := h.enter(t, one)
		if want := fmt.Sprintf("device=one crowded=%v err=<nil>\n", i == 2); err != nil || line != want {
			t.Fatalf("connection %d: %q, %v", i, line, err)
		}
		if i == 0 {
			first = c
		}
	}
	for range 2 {
		if _, _, err := h.enter(t, h.ca.Client(h.ca.Device("two"))); err != nil {
			t.Fatal(err)
		}
	}
	if line, _, err := h.enter(t, h.ca.Client(h.ca.Device("three"))); err == nil {
		t.Fatalf("a sixth connection of the address: %q", line)
	}
	if h.metric(t, "muster_gateway_connections_refused_total", "address") != 1 {
		t.Error("not counted")
	}
	_ = first
}

// issued is the registry's word for a certificate of the authority.
func issued(t *testing.T, no uint32, id gatewaytest.Identity, issuer string) event.CertificateIssued {
	t.Helper()
	leaf := id.TLS.Leaf
	spki, csr := sha256.Sum256(leaf.RawSubjectPublicKeyInfo), sha256.Sum256(leaf.Raw)
	return event.CertificateIssued{
		No: no, Serial: leaf.SerialNumber.Text(16), SPKI: spki[:], CSR: csr[:], NotBefore: leaf.NotBefore.UnixMilli(), NotAfter: leaf.NotAfter.UnixMilli(),
		Issuer: issuer, Method: "operator",
	}
}

func TestACertificateThatHasEndedDoesNotOpenTheDoorAndEndsItsConnections(t *testing.T) {
	for reason, x := range map[string]struct {
		ends func(serial string, issuer string) []event.Body
		all  bool // of what ends many at once
	}{
		"device-revoked": {func(string, string) []event.Body { return []event.Body{event.DeviceRevoked{No: 1}} }, false},
		"certificate-revoked": {func(serial, _ string) []event.Body {
			return []event.Body{event.CertificateRevoked{No: 1, Serial: serial}}
		}, false},
		"authority-revoked": {func(_, issuer string) []event.Body { return []event.Body{event.IssuerRevoked{Issuer: issuer}} }, true},
		"superseded":        {nil, false},
	} {
		t.Run(reason, func(t *testing.T) {
			h := open(t, limits)
			bad, good := h.ca.Device("bad"), h.ca.Device("good")
			issuer := event.IssuerDefined{Certificate: h.ca.DER()}
			issuer.Issuer = event.IssuerID(issuer.Certificate)
			h.registry.declare(t, issuer, event.DeviceEnrolled{Device: "bad", No: 1, Cohort: "test"}, event.DeviceEnrolled{Device: "good", No: 2, Cohort: "other"})
			first, other := issued(t, 1, bad, issuer.Issuer), issued(t, 2, good, "0123456789abcdef0123456789abcdef")
			h.registry.declare(t, first, other)
			cfg := h.ca.Client(bad)
			cfg.ClientSessionCache = tls.NewLRUClientSessionCache(4)
			line, open, err := h.enter(t, cfg)
			if err != nil || !strings.HasPrefix(line, "device=bad ") {
				t.Fatalf("%q %v", line, err)
			}
			_, neighbour, err := h.enter(t, h.ca.Client(good))
			if err != nil {
				t.Fatal(err)
			}
			if n := h.RecheckAll(); n != 0 {
				t.Errorf("%d good ones were ended", n)
			}
			if x.ends != nil {
				h.registry.declare(t, x.ends(first.Serial, issuer.Issuer)...)
			} else { // four newer ones
				for i := range roster.MaxCertificates {
					newer := issued(t, 1, h.ca.Issue(fmt.Sprint("newer-", i), &x509.Certificate{NotBefore: time.Now(), NotAfter: time.Now().Add(time.Hour)}), issuer.Issuer)
					h.registry.declare(t, newer)
				}
			}
			n := 0
			if x.all {
				n = h.RecheckAll()
			} else {
				n = h.Recheck("bad")
			}
			if n != 1 || h.metric(t, "muster_gateway_connections_ended_total", reason) != 1 {
				t.Errorf("%d ended, counted %v", n, h.metric(t, "muster_gateway_connections_ended_total", reason))
			}
			var one [1]byte
			if _, err := open.Read(one[:]); err == nil {
				t.Error("still open")
			}
			if err := neighbour.SetReadDeadline(time.Now().Add(20 * time.Millisecond)); err != nil {
				t.Fatal(err)
			}
			if _, err := neighbour.Read(one[:]); err == nil || !strings.Contains(err.Error(), "timeout") {
				t.Errorf("the neighbour: %v", err)
			}
			for _, how := range []string{"again, with the session of before", "again"} {
				_, _, err := h.enter(t, cfg)
				var alert tls.AlertError
				if err == nil || !errors.As(err, &alert) && !strings.Contains(err.Error(), "bad certificate") {
					t.Errorf("%s: %v", how, err)
				}
				cfg.ClientSessionCache = nil
			}
			eventually(t, "both are counted", func() bool {
				return h.metric(t, "muster_gateway_handshake_errors_total", reason) == 2 && h.metric(t, "muster_gateway_connections", "https") == 1
			})
		})
	}
}

// Tickets are disabled; were they not, what stands in VerifyConnection would hold all the same.
func TestASessionThatIsResumedIsAskedForItsStandingToo(t *testing.T) {
	h := open(t, limits)
	id := h.ca.Device("bad")
	h.registry.declare(t, event.DeviceEnrolled{Device: "bad", No: 1, Cohort: "test"})
	server := h.material.Config().Clone()
	server.SessionTicketsDisabled = false
	client := h.ca.Client(id)
	client.ClientSessionCache = tls.NewLRUClientSessionCache(4)
	shake := func() (resumed bool, here error) {
		t.Helper()
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer ln.Close()
		done := make(chan struct{})
		go func() {
			defer close(done)
			nc, err := ln.Accept()
			if err != nil {
				here = err
				return
			}
			defer nc.Close()
			s := tls.Server(nc, server)
			if here = s.HandshakeContext(t.Context()); here == nil {
				_, here = s.Write([]byte("x"))
			}
		}()
		c, err := tls.Dial("tcp", ln.Addr().String(), client)
		if err == nil {
			_, _ = io.ReadAll(c) // the ticket, or the alert
			resumed = c.ConnectionState().DidResume
			_ = c.Close()
		}
		<-done
		return resumed, here
	}
	if _, err := shake(); err != nil {
		t.Fatal(err)
	}
	if resumed, err := shake(); err != nil || !resumed {
		t.Fatalf("resumed %v, %v: this test shows nothing", resumed, err)
	}
	h.registry.declare(t, event.DeviceRevoked{No: 1})
	if resumed, err := shake(); err == nil || !resumed || !strings.Contains(err.Error(), "device revoked") {
		t.Errorf("resumed %v, %v", resumed, err)
	}
}

// What is held off, not known, or too new to be known comes in, to be told so in words.
func TestWhoCanBeToldInWordsComesIn(t *testing.T) {
	h := open(t, limits)
	held, renewed := h.ca.Device("held"), h.ca.Device("renewed")
	before := h.ca.Issue("before", &x509.Certificate{NotBefore: time.Now().Add(-2 * time.Hour), NotAfter: time.Now().Add(time.Hour)})
	h.registry.declare(t, event.DeviceEnrolled{Device: "held", No: 1, Cohort: "test"}, event.DeviceQuarantined{No: 1, On: true})
	first := issued(t, 2, before, "0123456789abcdef0123456789abcdef")
	h.registry.declare(t, event.DeviceEnrolled{Device: "renewed", No: 2, Cohort: "test", Serial: first.Serial, SPKI: first.SPKI}, first)
	for _, id := range []gatewaytest.Identity{held, renewed, h.ca.Device("stranger")} {
		if _, _, err := h.enter(t, h.ca.Client(id)); err != nil {
			t.Error(err)
		}
	}
	if n := h.RecheckAll(); n != 0 {
		t.Errorf("%d were ended", n)
	}
}

func TestANewCertificateIsTakenWithoutAStop(t *testing.T) {
	h := open(t, limits)
	cfg := h.ca.Client(h.ca.Device("one"))
	_, before, err := h.enter(t, cfg)
	if err != nil {
		t.Fatal(err)
	}
	if changed, err := h.material.Reload(); changed || err != nil {
		t.Fatalf("nothing changed: %v %v", changed, err)
	}
	ends := func() int64 { return int64(h.metric(t, "muster_gateway_certificate_not_after_timestamp_seconds")) }
	if got, want := ends(), before.ConnectionState().PeerCertificates[0].NotAfter.Unix(); got != want {
		t.Errorf("it is said to end at %d, it ends at %d", got, want)
	}
	until := time.Now().Add(5 * time.Hour)
	next := h.ca.Issue("next", &x509.Certificate{DNSNames: []string{"localhost"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: until, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}})
	replace(t, next.Cert, h.files.Certificate)
	if _, err := h.material.Reload(); err == nil {
		t.Error("a certificate without its key is taken")
	}
	if _, _, err := h.enter(t, cfg); err != nil {
		t.Errorf("in between: %v", err)
	}
	replace(t, next.Key, h.files.Key)
	ctx := t.Context()
	watched := make(chan error, 1)
	go func() { watched <- h.material.Watch(ctx, 5*time.Millisecond, slog.New(slog.DiscardHandler)) }()
	eventually(t, "the new certificate is not said to end when it does", func() bool { return ends() == until.Unix() })
	_, after, err := h.enter(t, cfg)
	if err != nil {
		t.Fatal(err)
	}
	if after.ConnectionState().PeerCertificates[0].SerialNumber.Cmp(before.ConnectionState().PeerCertificates[0].SerialNumber) == 0 {
		t.Error("the new certificate is not shown")
	}
	t.Cleanup(func() {
		if err := <-watched; err != nil {
			t.Error(err)
		}
	})
}

func replace(t *testing.T, from, to string) {
	t.Helper()
	b, err := os.ReadFile(from)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(to, b, 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestFilesThatCannotBeUsedAreNamed(t *testing.T) {
	ca := gatewaytest.NewAuthority(t)
	s := ca.Server("server")
	for name, f := range map[string]door.Files{
		"missing.pem": {Certificate: "missing.pem", Key: s.Key, ClientCA: ca.CA()},
		s.Key:         {Certificate: s.Cert, Key: s.Cert, ClientCA: ca.CA()},
		"client_ca":   {Certificate: s.Cert, Key: s.Key, ClientCA: s.Key},
	} {
		_, err := door.LoadMaterial(f)
		if err == nil || (name != s.Key && !strings.Contains(err.Error(), name)) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// Two doors of one house count a device's connections together, and each has its own limits and protocols.
func TestADoorBesideAnotherSharesADevicesConnections(t *testing.T) {
	l := limits
	l.PerDevice = 2
	h := open(t, l)
	h.registry.declare(t, event.DeviceEnrolled{Device: "boiler-1", No: 1, Cohort: "test"})
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l.Connections = 1
	second := h.Beside(ln, l, "mqtt", []string{"mqtt"})
	defer second.Close()
	came := make(chan net.Conn)
	go func() {
		defer close(came)
		for {
			c, err := second.Accept()
			if err != nil {
				return
			}
			came <- c
		}
	}()
	if got, _, err := h.enter(t, h.ca.Client(h.ca.Device("boiler-1"))); err != nil || !strings.Contains(got, "crowded=false") {
		t.Fatal(got, err)
	}
	cfg := h.ca.Client(h.ca.Device("boiler-1"))
	cfg.NextProtos = []string{"h2"}
	if _, err := tls.Dial("tcp", second.Addr().String(), cfg); err == nil || !strings.Contains(err.Error(), "no application protocol") {
		t.Errorf("HTTP/2 at the other door: %v", err)
	}
	cfg.NextProtos = []string{"mqtt"}
	// Its one place comes back when the first has gone.
	var c *tls.Conn
	eventually(t, "it comes in", func() bool {
		c, err = tls.Dial("tcp", second.Addr().String(), cfg)
		return err == nil
	})
	defer c.Close()
	in := <-came
	if p := door.PeerOf(in); p.Device != "boiler-1" || p.Crowded {
		t.Errorf("%+v", p)
	}
	if got, _, err := h.enter(t, h.ca.Client(h.ca.Device("boiler-1"))); err != nil || !strings.Contains(got, "crowded=true") {
		t.Error(got, err)
	}
	if h.metric(t, "muster_gateway_connections", "mqtt") != 1 || h.metric(t, "muster_gateway_connections", "https") != 2 {
		t.Error("connections are not counted by door")
	}
	_ = in.Close()
}

func TestWhoeverServesAConnectionMaySayGoodbyeOnIt(t *testing.T) {
	h := open(t, limits)
	h.registry.declare(t, event.DeviceEnrolled{Device: "boiler-1", No: 1, Cohort: "test"})
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	second := h.Beside(ln, limits, "mqtt", []string{"mqtt"})
	defer second.Close()
	c, err := tls.Dial("tcp", second.Addr().String(), h.ca.Client(h.ca.Device("boiler-1")))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	in, err := second.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	heard := make(chan *standing.Verdict, 1)
	door.PeerOf(in).Farewell(func(v *standing.Verdict) { heard <- v })
	if n := second.Recheck("boiler-1"); n != 0 || len(heard) > 0 {
		t.Fatalf("%d ended, and nothing has happened", n)
	}
	h.registry.declare(t, event.DeviceRevoked{No: 1})
	if n := second.RecheckAll(); n != 1 || len(heard) != 1 {
		t.Fatalf("%d ended, %d told", n, len(heard))
	}
	if v := <-heard; v.Standing != roster.DeviceRevoked {
		t.Error(v.Standing)
	}
	if _, err := in.Write([]byte("goodbye")); err != nil { // it is closed by whoever was told
		t.Error(err)
	}
}
