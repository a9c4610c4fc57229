package edge

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"io"
	"log/slog"
	"math/big"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"muster.dev/fleet/agent/est"
	"muster.dev/fleet/edge/intake"
	"muster.dev/fleet/edge/parcel"
	"muster.dev/fleet/edge/uplink"
	"muster.dev/platform/daemon"
	"muster.dev/proto/event"
	"muster.dev/proto/identity"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const patience = 2 * time.Minute

// enroll writes an identity that signs itself.
func enroll(t *testing.T, dir, device string, until time.Time) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	uri, err := url.Parse(identity.URI("fleet.test", identity.Device(device)))
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{SerialNumber: big.NewInt(time.Now().UnixNano()), NotBefore: time.Now().Add(-time.Hour), NotAfter: until, URIs: []*url.URL{uri}}
	der, err := x509.CreateCertificate(rand.Reader, c, c, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	for name, b := range map[string]*pem.Block{est.CertFile: {Type: "CERTIFICATE", Bytes: der}, est.KeyFile: {Type: "PRIVATE KEY", Bytes: raw}} {
		put(t, filepath.Join(dir, name), pem.EncodeToMemory(b))
	}
	if _, err := os.Stat(filepath.Join(dir, est.CAFile)); err != nil {
		put(t, filepath.Join(dir, est.CAFile), pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
	}
}

func put(t *testing.T, path string, text []byte) {
	t.Helper()
	if err := os.WriteFile(path, text, 0o600); err != nil {
		t.Fatal(err)
	}
}

// upstream is a gateway that stores all.
type upstream struct {
	*httptest.Server
	mu     sync.Mutex
	bodies map[string][]string // by path
}

func serve(t *testing.T) *upstream {
	t.Helper()
	u := &upstream{bodies: map[string][]string{}}
	u.Server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		u.mu.Lock()
		u.bodies[r.URL.Path] = append(u.bodies[r.URL.Path], string(body))
		u.mu.Unlock()
		_, _ = w.Write([]byte(`{"status":"stored","values":1}`))
	}))
	u.EnableHTTP2 = true
	u.StartTLS()
	t.Cleanup(u.Close)
	return u
}

func (u *upstream) got(path string) []string {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.bodies[path]
}

func configure(t *testing.T, u *upstream) Config {
	t.Helper()
	cfg := DefaultConfig()
	cfg.Ops.Listen, cfg.MQTT.Listen, cfg.Identity, cfg.Data, cfg.Heartbeat = "127.0.0.1:0", "127.0.0.1:0", t.TempDir(), t.TempDir(), time.Second
	cfg.Uplink.Gateway, cfg.Uplink.Timeout = u.URL, patience
	put(t, filepath.Join(cfg.Identity, est.CAFile), pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: u.Certificate().Raw}))
	enroll(t, cfg.Identity, "edge-1", time.Now().Add(time.Hour))
	return cfg
}

func start(t *testing.T, cfg Config) (*Edge, *daemon.Process) {
	t.Helper()
	p, err := daemon.New(context.Background(), daemon.Settings{Name: "edge", Config: cfg.Ops, Output: io.Discard})
	if err != nil {
		t.Fatal(err)
	}
	e, err := Start(context.Background(), p, cfg)
	p.Ready()
	t.Cleanup(func() {
		p.Stop()
		if err := p.Wait(); err != nil {
			t.Error(err)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	return e, p
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

func TestAnEdgeTellsOfItselfAsADeviceDoes(t *testing.T) {
	u := serve(t)
	e, p := start(t, configure(t, u))
	answered := make(chan intake.Verdict, 1)
	e.intake.Take(intake.Message{Device: "d-1", Stream: parcel.Telemetry, Body: []byte(`{"x":1}`)}, func(v intake.Verdict) { answered <- v })
	if v := <-answered; v.Outcome != intake.Stored {
		t.Fatal(v)
	}
	eventually(t, "the message does not go up", func() bool { return len(u.got("/v1/telemetry/d-1")) == 1 })
	var beat event.Device
	eventually(t, "no heartbeat says that it did", func() bool {
		for _, body := range u.got("/v1/events") {
			m, err := event.DecodeMessage([]byte(body))
			if err != nil || !m.Keyed {
				t.Fatalf("%q: %v", body, err)
			}
			if beat = m.Events[0]; beat.Type == event.Heartbeat && beat.Fields["taken"] == int64(1) && beat.Fields["stored"].(int64) >= 1 {
				return true
			}
		}
		return false
	})
	if beat.Fields["role"] != "edge" || beat.Fields["devices"] != int64(1) || beat.Fields["uplink_up"] != true {
		t.Errorf("%+v", beat.Fields)
	}
	if first, err := event.DecodeMessage([]byte(u.got("/v1/events")[0])); err != nil || first.Events[0].Type != event.Boot {
		t.Errorf("%+v %v", first, err)
	}
	r, err := http.Get("http://" + p.Addr() + "/readyz")
	if err != nil || r.StatusCode != http.StatusOK {
		t.Errorf("%v %v", r, err)
	}
	if err == nil {
		_ = r.Body.Close()
	}
}

func TestNoClientSpeaksAsTheEdgeItself(t *testing.T) {
	u := serve(t)
	e, _ := start(t, configure(t, u))
	for _, m := range []intake.Message{
		{Stream: parcel.Telemetry, Body: []byte(`{"x":1}`)},
		{Stream: parcel.Events, Body: []byte(`{"boot":1,"seq":0,"events":[{"type":"heartbeat","ts":1795341850000}]}`)},
	} {
		m.Device = "edge-1"
		answered := make(chan intake.Verdict, 1)
		e.intake.Take(m, func(v intake.Verdict) { answered <- v })
		if v := <-answered; v.Outcome != intake.NotAllowed {
			t.Errorf("%v: %+v", m.Stream, v)
		}
	}
}

// However many troubles there are, what is told of them is bounded, and can be stored.
func TestWhatIsReportedIsBounded(t *testing.T) {
	u := serve(t)
	cfg := configure(t, u)
	cfg.Heartbeat = time.Hour
	e, _ := start(t, cfg)
	r := &reporter{edge: e, troubles: map[trouble]uplink.Refused{}}
	for i := range 10 * maxTroubles {
		r.refused(uplink.Refused{Device: identity.Device("d-" + strconv.Itoa(i)), Status: 422, Reason: "unprocessable", Detail: strings.Repeat("é", 700), Messages: 1})
	}
	r.refused(uplink.Refused{Device: "d-1", Status: 422, Reason: "unprocessable", Detail: "\xff", Messages: 2})
	events := r.events(time.Now())
	if len(events) != maxTroubles+2 {
		t.Errorf("%d events", len(events))
	}
	m := event.Message{Keyed: true, Events: events}
	if _, err := m.AppendTo(nil); err != nil {
		t.Error(err)
	}
	told := int64(0)
	for _, e := range events[1:] {
		told += e.Fields["messages"].(int64)
	}
	if told != 10*maxTroubles+2 {
		t.Errorf("%d messages were told of", told)
	}
	if again := r.events(time.Now()); len(again) != 1 {
		t.Errorf("%d events of what was told before", len(again))
	}
}

func TestNoRunIsCountedAsAnother(t *testing.T) {
	dir := t.TempDir()
	now := time.Unix(1_795_341_850, 0)
	var boots []uint32
	var firsts []uint64
	for _, at := range []time.Time{now, now, now.Add(-time.Hour), time.Unix(-5, 0), now.Add(time.Hour)} {
		boot, first, err := nextBoot(dir, at)
		if err != nil {
			t.Fatal(err)
		}
		if n := len(boots); n > 0 && (boot <= boots[n-1] || first == firsts[n-1]) {
			t.Errorf("run %d counts from %d after run %d from %d", boot, first, boots[n-1], firsts[n-1])
		}
		boots, firsts = append(boots, boot), append(firsts, first)
	}
	put(t, filepath.Join(dir, bootName), []byte("xx"))
	if _, _, err := nextBoot(dir, now); err == nil || !strings.Contains(err.Error(), "damaged") {
		t.Errorf("a damaged number: %v", err)
	}
}

func TestANewIdentityIsTakenIntoUse(t *testing.T) {
	dir := t.TempDir()
	enroll(t, dir, "edge-1", time.Now().Add(-time.Minute))
	k, err := openIdentity(dir, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	if err := k.ready(); err == nil || !strings.Contains(err.Error(), "has ended") || k.name() != "edge-1" {
		t.Errorf("%s: %v", k.name(), err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	used := make(chan uplink.Identity, 8)
	ended := make(chan error, 1)
	go func() { ended <- k.watch(ctx, func(id uplink.Identity) { used <- id }) }()
	put(t, filepath.Join(dir, est.CertFile), []byte("half of a certificate"))
	enroll(t, dir, "edge-1", time.Now().Add(time.Hour))
	select {
	case <-used:
	case <-time.After(patience):
		t.Error("it is not taken into use")
	}
	eventually(t, "it is not ready", func() bool { return k.ready() == nil })
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if _, err := openIdentity(t.TempDir(), slog.New(slog.DiscardHandler)); err == nil {
		t.Error("an edge without an identity starts")
	}
}

func TestAConfigurationNamesWhatIsWrong(t *testing.T) {
	for want, change := range map[string]func(*Config){
		"identity:": func(c *Config) { c.Identity = "" }, "data:": func(c *Config) { c.Data = "" }, "heartbeat": func(c *Config) { c.Heartbeat = 0 },
		"ops.": func(c *Config) { c.Ops.StopTimeout = 0 }, "mqtt.": func(c *Config) { c.MQTT.Listen = "" }, "intake.": func(c *Config) { c.Intake.Devices = 0 },
		"uplink.": func(c *Config) { c.Uplink.Gateway = "" }, "store.order": func(c *Config) { c.Store.Order = "x" }, "store.bytes": func(c *Config) { c.Store.Bytes = 1 },
		"at least four messages": func(c *Config) { c.Store.Bytes = 512 << 10 }, "renew": func(c *Config) { c.Renew.Registry = "http://x" },
	} {
		c := DefaultConfig()
		change(&c)
		if err := c.Validate(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %s", err, want)
		}
	}
	if err := DefaultConfig().Validate(); err != nil {
		t.Error(err)
	}
}
