package simulator

import (
	"bufio"
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"go.uber.org/goleak"

	"muster.dev/proto/batch"
	"muster.dev/proto/record"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// gateway takes what a fleet sends, holds it to the codec, and remembers it by key. Each third request is answered
// 503 before it is looked at.
type gateway struct {
	*httptest.Server
	mu       sync.Mutex
	requests int
	bodies   map[string][]byte // device/boot/seq
	order    map[string][]string
	faults   []string
}

func (g *gateway) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.requests++; err != nil || g.requests%3 == 0 {
		w.WriteHeader(http.StatusServiceUnavailable)
		return
	}
	var b batch.Batch
	if err := b.Decode(body); err != nil {
		g.faults = append(g.faults, err.Error())
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	name := filepath.Base(r.TLS.PeerCertificates[0].URIs[0].Path)
	key := fmt.Sprintf("%s/%d/%d", name, b.Boot, b.Seq)
	before, known := g.bodies[key]
	if known && !bytes.Equal(before, body) {
		g.faults = append(g.faults, key+" was used for two messages")
	}
	if !known {
		g.order[name] = append(g.order[name], fmt.Sprintf("%d/%d", b.Boot, b.Seq))
	}
	g.bodies[key] = body
	fmt.Fprintf(w, `{"status":"stored","values":%d,"duplicate":%v}`, b.Values, known)
}

// fleet enrols devices with a gateway by hand.
func fleet(t *testing.T, devices int) (*gateway, Config) {
	t.Helper()
	g := &gateway{bodies: map[string][]byte{}, order: map[string][]string{}}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	ca := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, ca, ca, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	if ca, err = x509.ParseCertificate(der); err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(ca)
	g.Server = httptest.NewUnstartedServer(g)
	g.TLS = &tls.Config{MinVersion: tls.VersionTLS13, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: pool}
	g.StartTLS()
	t.Cleanup(g.Close)

	cfg := DefaultConfig()
	cfg.Identities, cfg.Gateway.Gateway = t.TempDir(), g.URL
	cfg.Gateway.FirstPause, cfg.Gateway.LastPause, cfg.Gateway.Timeout = time.Millisecond, 5*time.Millisecond, patience
	kder, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	for i := range devices {
		name := fmt.Sprintf("sim-%02d", i)
		leaf := &x509.Certificate{
			SerialNumber: big.NewInt(int64(i) + 2), NotAfter: time.Now().Add(time.Hour),
			ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
			URIs:        []*url.URL{{Scheme: "spiffe", Host: "muster.local", Path: "/device/" + name}},
		}
		der, err := x509.CreateCertificate(rand.Reader, leaf, ca, &key.PublicKey, key)
		if err != nil {
			t.Fatal(err)
		}
		dir := filepath.Join(cfg.Identities, name)
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		for file, block := range map[string]*pem.Block{
			"cert.pem": {Type: "CERTIFICATE", Bytes: der}, "key.pem": {Type: "PRIVATE KEY", Bytes: kder},
			"ca.pem": {Type: "CERTIFICATE", Bytes: g.Certificate().Raw},
		} {
			if err := os.WriteFile(filepath.Join(dir, file), pem.EncodeToMemory(block), 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	return g, cfg
}

// patience is how long tests wait for what is promised without a time.
const patience = 3 * time.Minute

func run(t *testing.T, cfg Config, until func() bool) (*Fleet, *prometheus.Registry) {
	t.Helper()
	reg := prometheus.NewRegistry()
	f, err := New(cfg, Settings{Log: slog.New(slog.DiscardHandler), Metrics: reg})
	if err != nil {
		t.Fatal(err)
	}
	f.last = patience // a busy machine has more to deliver at the end
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- f.Run(ctx) }()
	for end := time.Now().Add(patience); !until(); <-time.After(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Errorf("not within %v", patience)
			break
		}
	}
	stop()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	return f, reg
}

func TestAFleetDeliversInOrderThroughRetriesRebootsAndRestarts(t *testing.T) {
	g, cfg := fleet(t, 5)
	cfg.Step, cfg.Post, cfg.Reboot, cfg.Resend = 5*time.Millisecond, 20*time.Millisecond, 300*time.Millisecond, 0.2
	cfg.Journal = filepath.Join(t.TempDir(), "journal")
	seen := func(n int) func() bool {
		return func() bool { g.mu.Lock(); defer g.mu.Unlock(); return len(g.bodies) >= n }
	}
	f, reg := run(t, cfg, seen(100))
	first := f.Counts()
	g.mu.Lock()
	n := len(g.bodies) + 50
	g.mu.Unlock()
	second := first
	if f, _ := run(t, cfg, seen(n)); f != nil {
		second = f.Counts()
	}

	for _, fault := range g.faults {
		t.Error(fault)
	}
	boots := 0
	for name, keys := range g.order {
		boot, seq := 0, -1
		for _, key := range keys {
			var b, s int
			if _, err := fmt.Sscanf(key, "%d/%d", &b, &s); err != nil {
				t.Fatal(err)
			}
			if !(b == boot && s == seq+1 || b > boot && s == 0) {
				t.Errorf("%s: %d/%d after %d/%d", name, b, s, boot, seq)
			}
			boot, seq = b, s
		}
		boots = max(boots, boot)
	}
	if boots < 3 {
		t.Errorf("at most %d boots", boots)
	}
	for _, c := range []struct {
		what string
		n    int
	}{{"refused", first.Refused}, {"dropped", first.Dropped}, {"waiting", first.Waiting}} {
		if c.n != 0 {
			t.Errorf("%d %s", c.n, c.what)
		}
	}
	if first.Put != first.Stored || first.Retries == 0 || first.Duplicates == 0 {
		t.Errorf("%+v", first)
	}
	if got := testutil.CollectAndCount(reg, "muster_fleet_messages_total"); got != 4 {
		t.Errorf("%d series of messages", got)
	}

	// The journal holds each accepted message once, as it was sent.
	file, err := os.Open(cfg.Journal)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	lines := 0
	for in := bufio.NewScanner(file); in.Scan(); lines++ {
		var l Line
		if err := json.Unmarshal(in.Bytes(), &l); err != nil {
			t.Fatal(err)
		}
		body := g.bodies[fmt.Sprintf("%s/%d/%d", l.Device, l.Boot, l.Seq)]
		if body == nil || record.Hash(body) != l.Hash {
			t.Errorf("journal line %+v is of no message", l)
		}
	}
	if lines != first.Stored+second.Stored || lines != len(g.bodies) {
		t.Errorf("%d lines, %d + %d stored, %d messages", lines, first.Stored, second.Stored, len(g.bodies))
	}
}

func TestADeviceThatIsNotEnrolledStopsTheStart(t *testing.T) {
	_, cfg := fleet(t, 1)
	cfg.Devices = []string{"sim-00", "sim-07"}
	if _, err := New(cfg, Settings{Log: slog.New(slog.DiscardHandler), Metrics: prometheus.NewRegistry()}); err == nil || !strings.Contains(err.Error(), "sim-07 is not enrolled") {
		t.Error(err)
	}
	if err := os.Rename(filepath.Join(cfg.Identities, "sim-00"), filepath.Join(cfg.Identities, "sim-07")); err != nil {
		t.Fatal(err)
	}
	cfg.Devices = nil
	if _, err := New(cfg, Settings{Log: slog.New(slog.DiscardHandler), Metrics: prometheus.NewRegistry()}); err == nil || !strings.Contains(err.Error(), "is that of sim-00") {
		t.Error(err)
	}
}

func TestAConfigurationThatCannotWorkIsNamed(t *testing.T) {
	for want, change := range map[string]func(*Config){
		"gateway":    func(c *Config) { c.Gateway.Gateway = "" },
		"identities": func(c *Config) { c.Identities = "" },
		"step":       func(c *Config) { c.Step = 0 },
		"post":       func(c *Config) { c.Post = time.Hour },
		"reboot":     func(c *Config) { c.Reboot = -1 },
		"resend":     func(c *Config) { c.Resend = 1.5 },
		"outbox":     func(c *Config) { c.Outbox = 0 },
	} {
		cfg := DefaultConfig()
		cfg.Identities = "x"
		if err := cfg.Validate(); err != nil {
			t.Fatal(err)
		}
		change(&cfg)
		if err := cfg.Validate(); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%s: %v", want, err)
		}
	}
}
