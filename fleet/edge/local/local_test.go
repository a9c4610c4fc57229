package local

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"log/slog"
	"math/big"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"muster.dev/fleet/edge/intake"
	"muster.dev/fleet/edge/parcel"
	"muster.dev/platform/mqtt/packet"
	"muster.dev/platform/mqtt/publisher"
	"muster.dev/proto/identity"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const patience = 2 * time.Minute

// site is a listener on an intake that keeps in memory.
type site struct {
	*Listener
	t *testing.T

	mu     sync.Mutex
	kept   []parcel.Parcel
	full   error
	strays map[string]int
	open   int
	hold   chan struct{} // if not nil, what is to be kept waits for it
}

func open(t *testing.T, change func(*Config)) *site {
	t.Helper()
	s := &site{t: t, strays: map[string]int{}}
	cfg := DefaultConfig()
	cfg.Listen = "127.0.0.1:0"
	if change != nil {
		change(&cfg)
	}
	if err := cfg.Validate(); err != nil {
		t.Fatal(err)
	}
	var err error
	if s.Listener, err = Open(cfg, Settings{
		Log: slog.New(slog.DiscardHandler), Opened: func() { s.count(1) }, Closed: func() { s.count(-1) },
		Refused: func(reason string) { s.mu.Lock(); defer s.mu.Unlock(); s.strays[reason]++ },
	}); err != nil {
		t.Fatal(err)
	}
	taken := intake.DefaultConfig()
	taken.Window = 0
	in := intake.New(taken, intake.Settings{
		Keep: s.keep, Boot: 1, Now: time.Now, Answered: func(parcel.Stream, intake.Outcome) {}, Dropped: func(int) {},
		Refused: func(d identity.Device) string {
			if d == "stranger" {
				return "the gateway does not let this edge speak for it"
			}
			return ""
		},
	})
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx, in) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		in.Close()
		if s.open != 0 {
			t.Errorf("%d connections are open", s.open)
		}
	})
	return s
}

func (s *site) count(n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.open += n
}

func (s *site) keep(value []byte) error {
	s.mu.Lock()
	hold := s.hold
	s.mu.Unlock()
	if hold != nil {
		<-hold
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.full != nil {
		return s.full
	}
	p, err := parcel.Parse(value)
	if err != nil {
		s.t.Error(err)
	}
	s.kept = append(s.kept, p)
	return nil
}

// has is whose messages were kept, with their streams.
func (s *site) has() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []string
	for _, p := range s.kept {
		out = append(out, p.Stream.String()+"/"+string(p.Device))
	}
	return strings.Join(out, " ")
}

func (s *site) dial(o publisher.Options, secure *tls.Config) (*publisher.Publisher, error) {
	s.t.Helper()
	conn, err := net.Dial("tcp", s.Addr())
	if err != nil {
		s.t.Fatal(err)
	}
	if secure != nil {
		conn = tls.Client(conn, secure)
	}
	p, err := publisher.Dial(s.t.Context(), conn, o)
	if err == nil {
		s.t.Cleanup(func() { _ = p.Close() })
	}
	return p, err
}

func (s *site) must(o publisher.Options) *publisher.Publisher {
	s.t.Helper()
	p, err := s.dial(o, nil)
	if err != nil {
		s.t.Fatal(err)
	}
	return p
}

func publish(t *testing.T, p *publisher.Publisher, topic, body string) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	return p.Publish(ctx, publisher.Message{Topic: topic, Payload: []byte(body), QoS: 1})
}

func reason(err error) packet.Reason {
	var refused *publisher.Refused
	if errors.As(err, &refused) {
		return refused.Reason
	}
	var ended *publisher.Ended
	if errors.As(err, &ended) {
		return ended.Reason
	}
	return 0
}

func TestATopicSaysWhoseMessageItIs(t *testing.T) {
	s := open(t, nil)
	p := s.must(publisher.Options{ClientID: "boiler-7"})
	for _, topic := range []string{"telemetry", "t", "v1/devices/me/telemetry", "telemetry/kiln-1", "t//kiln-1", "t/default/kiln-1"} {
		if err := publish(t, p, topic, `{"x":1}`); err != nil {
			t.Errorf("%s: %v", topic, err)
		}
	}
	for _, topic := range []string{"events", "e", "events/kiln-1", "e//kiln-1"} {
		if err := publish(t, p, topic, `{"events":[{"ts":1,"type":"boot"}]}`); err != nil {
			t.Errorf("%s: %v", topic, err)
		}
	}
	want := "telemetry/boiler-7 telemetry/boiler-7 telemetry/boiler-7 telemetry/kiln-1 telemetry/kiln-1 telemetry/kiln-1 events/boiler-7 events/boiler-7 events/kiln-1 events/kiln-1"
	if got := s.has(); got != want {
		t.Errorf("kept %s", got)
	}
	for _, topic := range []string{"x", "telemetry/", "telemetry/KILN", "telemetry/a/b", "t/kiln-1", "t/tenant/kiln-1", "$SYS/x", "v1/devices/me/attributes"} {
		if r := reason(publish(t, p, topic, `{"x":1}`)); r != packet.TopicNameInvalid {
			t.Errorf("%s: %v", topic, r)
		}
	}
	nameless := s.must(publisher.Options{ClientID: "Not A Device"})
	if r := reason(publish(t, nameless, "telemetry", `{"x":1}`)); r != packet.TopicNameInvalid {
		t.Errorf("a client without a device's name: %v", r)
	}
}

func TestWhatIsNotKeptIsSaidInTheProtocolsWords(t *testing.T) {
	s := open(t, nil)
	p := s.must(publisher.Options{ClientID: "boiler-7"})
	if r := reason(publish(t, p, "telemetry", "{")); r != packet.PayloadFormatInvalid {
		t.Errorf("malformed: %v", r)
	}
	if r := reason(publish(t, p, "telemetry", `{"X":1}`)); r != packet.ImplementationSpecific {
		t.Errorf("unprocessable: %v", r)
	}
	if r := reason(publish(t, p, "telemetry/stranger", `{"x":1}`)); r != packet.NotAuthorized {
		t.Errorf("forbidden: %v", r)
	}
	s.mu.Lock()
	s.full = errors.New("no space left on device")
	s.mu.Unlock()
	if r := reason(publish(t, p, "telemetry", `{"x":1}`)); r != packet.QuotaExceeded {
		t.Errorf("a full disk: %v", r)
	}
	if s.has() != "" {
		t.Errorf("kept %s", s.has())
	}
	// 3.1.1 has no words but the end: no PUBACK, or it would let go of the message.
	old := s.must(publisher.Options{Version: packet.V311, ClientID: "kiln-1"})
	if err := publish(t, old, "telemetry", "{"); err == nil {
		t.Error("a 3.1.1 client has a PUBACK for what was refused")
	}
}

func TestPUBACKWaitsForTheDisk(t *testing.T) {
	s := open(t, nil)
	s.hold = make(chan struct{})
	p := s.must(publisher.Options{ClientID: "boiler-7"})
	acked := make(chan error, 1)
	if err := p.Send(t.Context(), publisher.Message{Topic: "telemetry", Payload: []byte(`{"x":1}`), QoS: 1}, func(err error) { acked <- err }); err != nil {
		t.Fatal(err)
	}
	// A word of the connection that comes behind it is answered: the PUBACK is not just late.
	if r := reason(publish(t, p, "nowhere", "x")); r != packet.TopicNameInvalid {
		t.Fatal(r)
	}
	select {
	case err := <-acked:
		t.Fatalf("answered before it is on the disk: %v", err)
	default:
	}
	close(s.hold)
	if err := <-acked; err != nil {
		t.Error(err)
	}
}

// Many clients with large messages share what there is; one that finds none left is told to wait, and lives.
func TestMemoryIsBounded(t *testing.T) {
	s := open(t, func(c *Config) { c.Memory = 1 << 20 })
	s.hold = make(chan struct{})
	body := []byte(`{"readings":[{"ts":1,"metrics":{"x":1}}]` + strings.Repeat(" ", 200<<10) + "}")
	acked := make(chan error, 8)
	var last *publisher.Publisher
	for i := range 8 {
		last = s.must(publisher.Options{ClientID: "boiler-" + string(rune('a'+i))})
		if err := last.Send(t.Context(), publisher.Message{Topic: "telemetry", Payload: body, QoS: 1}, func(err error) { acked <- err }); err != nil {
			t.Fatal(err)
		}
	}
	for range 3 {
		if r := reason(<-acked); r != packet.QuotaExceeded {
			t.Errorf("answered %v", r)
		}
	}
	close(s.hold)
	for range 5 {
		if err := <-acked; err != nil {
			t.Error(err)
		}
	}
	if err := publish(t, last, "telemetry", `{"x":1}`); err != nil {
		t.Errorf("afterwards: %v", err)
	}
}

func TestANewConnectionOfAClientEndsTheOneBefore(t *testing.T) {
	s := open(t, nil)
	first := s.must(publisher.Options{ClientID: "boiler-7"})
	second := s.must(publisher.Options{ClientID: "boiler-7"})
	select {
	case <-first.Ended():
	case <-time.After(patience):
		t.Fatal("the first connection lives")
	}
	if r := reason(first.Err()); r != packet.SessionTakenOver {
		t.Errorf("it ended for %v", r)
	}
	if err := publish(t, second, "telemetry", `{"x":1}`); err != nil {
		t.Error(err)
	}
}

func TestConnectionsAreBounded(t *testing.T) {
	s := open(t, func(c *Config) { c.Connections = 1 })
	s.must(publisher.Options{ClientID: "boiler-7"})
	if _, err := s.dial(publisher.Options{ClientID: "boiler-8"}, nil); err == nil {
		t.Error("a second one was let in")
	}
}

func TestAClientSpeaksForItsOwnNameUnlessItIsASpeaker(t *testing.T) {
	file := filepath.Join(t.TempDir(), "passwords")
	var lines []string
	for _, name := range []string{"boiler-7", "collector"} {
		line, err := HashPassword(name, "secret of "+name)
		if err != nil {
			t.Fatal(err)
		}
		lines = append(lines, line)
	}
	if err := os.WriteFile(file, []byte("# the site's\n\n"+strings.Join(lines, "\n")), 0o600); err != nil {
		t.Fatal(err)
	}
	s := open(t, func(c *Config) { c.Passwords, c.Speakers = file, []string{"collector"} })
	for _, o := range []publisher.Options{
		{ClientID: "boiler-7"}, {ClientID: "boiler-7", User: "boiler-7"}, {User: "boiler-7", Password: []byte("secret of collector")}, {User: "nobody", Password: []byte("x")},
	} {
		if _, err := s.dial(o, nil); reason(err) != packet.BadUserOrPassword {
			t.Errorf("%+v was let in, or refused as %v", o, err)
		}
	}
	own := s.must(publisher.Options{ClientID: "any id", User: "boiler-7", Password: []byte("secret of boiler-7")})
	if err := publish(t, own, "telemetry", `{"x":1}`); err != nil {
		t.Error(err)
	}
	if r := reason(publish(t, own, "telemetry/kiln-1", `{"x":1}`)); r != packet.NotAuthorized {
		t.Errorf("for another: %v", r)
	}
	speaker := s.must(publisher.Options{User: "collector", Password: []byte("secret of collector")})
	if err := publish(t, speaker, "telemetry/kiln-1", `{"x":1}`); err != nil {
		t.Error(err)
	}
	if got := s.has(); got != "telemetry/boiler-7 telemetry/kiln-1" {
		t.Errorf("kept %s", got)
	}
	// The file may change while the edge runs; a file that cannot be read changes nothing.
	if err := os.WriteFile(file, []byte(lines[1]+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := s.dial(publisher.Options{User: "boiler-7", Password: []byte("secret of boiler-7")}, nil); err == nil {
		t.Error("a client that was taken out of the file was let in")
	}
	if err := os.WriteFile(file, []byte("nonsense"), 0o600); err != nil {
		t.Fatal(err)
	}
	s.must(publisher.Options{User: "collector", Password: []byte("secret of collector")})
}

// authority signs the certificates of a site's clients.
type authority struct {
	t    *testing.T
	dir  string
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	a := &authority{t: t, dir: t.TempDir(), key: key}
	a.cert = a.sign("ca", &x509.Certificate{IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign, Subject: pkix.Name{CommonName: "site"}}, key)
	return a
}

func (a *authority) sign(name string, c *x509.Certificate, key *ecdsa.PrivateKey) *x509.Certificate {
	a.t.Helper()
	c.SerialNumber, c.NotBefore, c.NotAfter = big.NewInt(time.Now().UnixNano()), time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
	parent := a.cert
	if parent == nil {
		parent = c
	}
	der, err := x509.CreateCertificate(rand.Reader, c, parent, key.Public(), a.key)
	if err != nil {
		a.t.Fatal(err)
	}
	raw, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		a.t.Fatal(err)
	}
	for file, block := range map[string]*pem.Block{a.file(name, "pem"): {Type: "CERTIFICATE", Bytes: der}, a.file(name, "key"): {Type: "PRIVATE KEY", Bytes: raw}} {
		if err := os.WriteFile(file, pem.EncodeToMemory(block), 0o600); err != nil {
			a.t.Fatal(err)
		}
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		a.t.Fatal(err)
	}
	return cert
}

func (a *authority) file(name, kind string) string { return filepath.Join(a.dir, name+"."+kind) }

func (a *authority) issue(name string, c *x509.Certificate) {
	a.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		a.t.Fatal(err)
	}
	a.sign(name, c, key)
}

func (a *authority) client(name string) *tls.Config {
	a.t.Helper()
	pool := x509.NewCertPool()
	pool.AddCert(a.cert)
	c := &tls.Config{RootCAs: pool, ServerName: "127.0.0.1"}
	if name != "" {
		pair, err := tls.LoadX509KeyPair(a.file(name, "pem"), a.file(name, "key"))
		if err != nil {
			a.t.Fatal(err)
		}
		c.Certificates = []tls.Certificate{pair}
	}
	return c
}

func TestACertificateSaysWhoSpeaks(t *testing.T) {
	a := newAuthority(t)
	spiffe := func(s string) []*url.URL {
		u, err := url.Parse(s)
		if err != nil {
			t.Fatal(err)
		}
		return []*url.URL{u}
	}
	a.issue("server", &x509.Certificate{IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}})
	a.issue("boiler-7", &x509.Certificate{URIs: spiffe("spiffe://any.domain/device/boiler-7")})
	a.issue("kiln-1", &x509.Certificate{Subject: pkix.Name{CommonName: "kiln-1"}})
	a.issue("odd", &x509.Certificate{URIs: spiffe("spiffe://any.domain/service/x"), Subject: pkix.Name{CommonName: "kiln-1"}})
	s := open(t, func(c *Config) {
		c.TLS = Files{Certificate: a.file("server", "pem"), Key: a.file("server", "key"), ClientCA: a.file("ca", "pem")}
	})
	for _, name := range []string{"boiler-7", "kiln-1"} {
		p, err := s.dial(publisher.Options{ClientID: "x"}, a.client(name))
		if err != nil {
			t.Fatal(err)
		}
		if err := publish(t, p, "telemetry", `{"x":1}`); err != nil {
			t.Error(err)
		}
		if r := reason(publish(t, p, "telemetry/another", `{"x":1}`)); r != packet.NotAuthorized {
			t.Errorf("for another: %v", r)
		}
	}
	if _, err := s.dial(publisher.Options{}, a.client("odd")); reason(err) != packet.NotAuthorized {
		t.Errorf("a certificate of no device: %v", err)
	}
	if _, err := s.dial(publisher.Options{}, a.client("")); err == nil {
		t.Error("a client without a certificate was let in")
	}
	if got := s.has(); got != "telemetry/boiler-7 telemetry/kiln-1" {
		t.Errorf("kept %s", got)
	}
}

// The real client of both versions.
func TestMosquittosPublisher(t *testing.T) {
	if _, err := exec.LookPath("mosquitto_pub"); err != nil {
		if os.Getenv("CI") != "" {
			t.Fatal("mosquitto_pub is missing")
		}
		t.Skip("SKIPPED: mosquitto_pub is missing")
	}
	s := open(t, nil)
	_, port, _ := net.SplitHostPort(s.Addr())
	for _, version := range []string{"mqttv311", "mqttv5"} {
		out, err := exec.Command("mosquitto_pub", "-V", version, "-h", "127.0.0.1", "-p", port, "-q", "1", "-i", "boiler-7", "-t", "telemetry", "-m", `{"temp_c":21.5}`).CombinedOutput()
		if err != nil || len(out) > 0 {
			t.Errorf("%s: %v %s", version, err, out)
		}
	}
	if got := s.has(); got != "telemetry/boiler-7 telemetry/boiler-7" {
		t.Errorf("kept %s", got)
	}
}

// The file may be written by mosquitto's own tool.
func TestMosquittosPasswordsAreKnown(t *testing.T) {
	tool, err := exec.LookPath("mosquitto_passwd")
	if err != nil {
		if os.Getenv("CI") != "" {
			t.Fatal("mosquitto_passwd is missing")
		}
		t.Skip("SKIPPED: mosquitto_passwd is missing")
	}
	file := filepath.Join(t.TempDir(), "passwords")
	if out, err := exec.Command(tool, "-b", "-c", file, "boiler-7", "a secret").CombinedOutput(); err != nil {
		t.Fatalf("%v %s", err, out)
	}
	p, err := openPasswords(file)
	if err != nil {
		t.Fatal(err)
	}
	for password, want := range map[string]bool{"a secret": true, "another": false, "": false} {
		if ok, err := p.knows("boiler-7", []byte(password)); ok != want || err != nil {
			t.Errorf("%q: %v %v", password, ok, err)
		}
	}
}

func TestAPasswordFileNamesTheLineAtFault(t *testing.T) {
	good, err := HashPassword("a", "b")
	if err != nil {
		t.Fatal(err)
	}
	for text, want := range map[string]string{
		"A:x": "line 1", good + "\nb": "line 2", good + "\n" + good: "twice", "a:$6$x$y": "want $7$", "a:$7$0$MDEyMzQ1Njc=$eA==": "rounds",
		"a:$7$9999999$MDEyMzQ1Njc=$eA==": "rounds", "a:$7$1$eA==$eA==": "salt", "a:$7$1$MDEyMzQ1Njc=$eA==": "hash",
	} {
		if _, err := parsePasswords([]byte(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %s", text, err, want)
		}
	}
	for _, bad := range [][2]string{{"A", "x"}, {"a", ""}} {
		if line, err := HashPassword(bad[0], bad[1]); err == nil {
			t.Errorf("%v: %s", bad, line)
		}
	}
}

func TestNothingIsOpenedToANetworkUnsaid(t *testing.T) {
	for want, change := range map[string]func(*Config){
		"plain_beyond_loopback":   func(c *Config) { c.Listen = "0.0.0.0:1883" },
		"anybody_beyond_loopback": func(c *Config) { c.Listen, c.PlainBeyondLoopback = "[::]:1883", true },
		"host:port":               func(c *Config) { c.Listen = "x" },
		"tls.certificate":         func(c *Config) { c.TLS.Key = "k" },
		"tls.client_ca":           func(c *Config) { c.TLS.ClientCA = "c" },
		"speakers:":               func(c *Config) { c.Speakers = []string{"a"} },
		"speakers[0]":             func(c *Config) { c.Speakers, c.Passwords = []string{"A"}, "p" },
		"connections":             func(c *Config) { c.Connections = 0 },
		"in_flight":               func(c *Config) { c.InFlight = 0 },
		"memory":                  func(c *Config) { c.Memory = 0 },
	} {
		c := DefaultConfig()
		change(&c)
		if err := c.Validate(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %s", err, want)
		}
	}
	for _, listen := range []string{":1883", "localhost:1883", "[::1]:1883", "127.0.0.2:0"} {
		c := DefaultConfig()
		c.Listen = listen
		if err := c.Validate(); err != nil || !strings.Contains(c.address(), ":") || strings.HasPrefix(c.address(), ":") {
			t.Errorf("%s: %v %s", listen, err, c.address())
		}
	}
}
