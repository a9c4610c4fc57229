package agent

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io"
	"log"
	"log/slog"
	"math"
	"math/big"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"muster.dev/fleet/agent/health"
	"muster.dev/proto/batch"
	"muster.dev/proto/event"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience is how long tests wait for what is promised without a time.
const patience = 3 * time.Minute

// door is a gateway: it takes messages as they are, and knows a key that it has seen.
type door struct {
	*httptest.Server
	mu     sync.Mutex
	closed bool              // answers 503
	seen   map[string]string // body by key
	values map[string][]string
	events []event.Device
	firm   map[string]bool
	faults []string
}

func (d *door) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	d.mu.Lock()
	defer d.mu.Unlock()
	if err != nil || d.closed {
		w.WriteHeader(http.StatusServiceUnavailable)
		return
	}
	if err := d.take(r.URL.Path, body); err != nil {
		d.faults = append(d.faults, err.Error())
		w.WriteHeader(http.StatusUnprocessableEntity)
		return
	}
	_, _ = io.WriteString(w, `{"status":"stored"}`)
}

func (d *door) take(path string, body []byte) error {
	if path == "/v1/events" {
		m, err := event.ParseDeviceMsgPack(body)
		if err != nil {
			return err
		}
		d.firm[m.Firmware] = true
		if d.known(fmt.Sprint("e", m.Boot, "/", m.Seq), body) {
			d.events = append(d.events, m.Events...)
		}
		return nil
	}
	var b batch.Batch
	if err := b.Decode(body); err != nil {
		return err
	}
	d.firm[string(b.Firmware)] = true
	if !b.Keyed || !d.known(fmt.Sprint("t", b.Boot, "/", b.Seq), body) {
		return nil
	}
	for _, c := range b.Columns {
		n := 0
		for i, at := range b.Times {
			if c.Missing != nil && c.Missing[i/64]&(1<<(i%64)) != 0 {
				continue
			}
			var v any
			switch c.Kind {
			case batch.Int:
				v = float64(c.Ints[n]) / math.Pow10(int(c.Scale))
			case batch.Float:
				v = c.Floats()[n]
			case batch.Bool:
				v = c.Ints[n] == 1
			case batch.Text:
				v = string(b.Text(&c, n))
			}
			n++
			d.values[string(c.Name)] = append(d.values[string(c.Name)], fmt.Sprint(v))
			if at <= 0 || time.Since(time.UnixMilli(at)).Abs() > time.Hour {
				return fmt.Errorf("%s at %d", c.Name, at)
			}
		}
	}
	return nil
}

// known says whether the key is new, and notes one that is used for something else.
func (d *door) known(key string, body []byte) bool {
	before, ok := d.seen[key]
	if ok && before != string(body) {
		d.faults = append(d.faults, "another message under "+key)
	}
	d.seen[key] = string(body)
	return !ok
}

func (d *door) got(metric string) []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Sorted(slices.Values(d.values[metric]))
}

func (d *door) kinds() (out []string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, e := range d.events {
		out = append(out, e.Type)
	}
	return out
}

func (d *door) shut(closed bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.closed = closed
}

// site is a door, a device's identity for it, and a configuration.
func site(t *testing.T, begin time.Time) (*door, Config) {
	t.Helper()
	d := &door{seen: map[string]string{}, values: map[string][]string{}, firm: map[string]bool{}}
	cfg := DefaultConfig()
	cfg.Identity = t.TempDir()
	roots := identity(t, cfg.Identity, begin)
	d.Server = httptest.NewUnstartedServer(d)
	d.Config.ErrorLog = log.New(io.Discard, "", 0)
	d.TLS = &tls.Config{MinVersion: tls.VersionTLS13, ClientAuth: tls.RequireAnyClientCert}
	d.StartTLS()
	t.Cleanup(d.Close)
	t.Cleanup(func() {
		if len(d.faults) > 0 {
			t.Errorf("%q", d.faults)
		}
	})
	ca := append(roots, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: d.Certificate().Raw})...)
	if err := os.WriteFile(filepath.Join(cfg.Identity, "ca.pem"), ca, 0o600); err != nil {
		t.Fatal(err)
	}
	cfg.State = filepath.Join(t.TempDir(), "state")
	cfg.Send.Gateway, cfg.Send.Timeout, cfg.Send.FirstPause, cfg.Send.LastPause = d.URL, patience, time.Millisecond, 20*time.Millisecond
	cfg.Errors, cfg.BatchAge = "", 5*time.Millisecond
	return d, cfg
}

func identity(t *testing.T, dir string, begin time.Time) []byte {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: begin, NotAfter: begin.Add(90 * 24 * time.Hour), IsCA: true, BasicConstraintsValid: true,
		URIs: []*url.URL{{Scheme: "spiffe", Host: "muster.local", Path: "/device/pi-1"}},
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	kder, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	cert := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	for name, p := range map[string][]byte{"cert.pem": cert, "key.pem": pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: kder})} {
		if err := os.WriteFile(filepath.Join(dir, name), p, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return cert
}

func start(t *testing.T, cfg Config, firmware string) *Agent {
	t.Helper()
	if err := os.MkdirAll(cfg.State, 0o700); err != nil {
		t.Fatal(err)
	}
	u, err := NewObserved(firmware, "", filepath.Join(cfg.State, "firmware"))
	if err != nil {
		t.Fatal(err)
	}
	a, err := New(cfg, "test", u, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func run(t *testing.T, a *Agent) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := a.Run(ctx); err != nil {
			t.Error(err)
		}
	})
	stop = func() { cancel(); wg.Wait() }
	t.Cleanup(stop)
	return stop
}

func until(t *testing.T, what string, is func() bool) {
	t.Helper()
	for late := time.Now().Add(patience); !is(); time.Sleep(time.Millisecond) {
		if time.Now().After(late) {
			t.Fatalf("%s: not within %s", what, patience)
		}
	}
}

func record(t *testing.T, a *Agent, metric string, value any) {
	t.Helper()
	if err := a.Record(metric, value, time.Time{}); err != nil {
		t.Fatal(err)
	}
}

func hour() time.Time { return time.Now().Add(-time.Hour) }

func TestReadingsOfEveryKindAndTheAgentsOwnEventsArrive(t *testing.T) {
	d, cfg := site(t, hour())
	cfg.Crashes = t.TempDir()
	if err := os.WriteFile(filepath.Join(cfg.Crashes, "pump.log"), []byte("it broke"), 0o600); err != nil {
		t.Fatal(err)
	}
	a := start(t, cfg, "1.4.0")
	record(t, a, "n", int64(7))
	record(t, a, "temp_c", 21.5)
	record(t, a, "door", "open")
	record(t, a, "on", true)
	run(t, a)
	until(t, "all arrive", func() bool {
		return len(d.got("n")) == 1 && len(d.got("temp_c")) == 1 && len(d.got("door")) == 1 && len(d.got("on")) == 1 && len(d.kinds()) >= 3
	})
	if s := fmt.Sprint(d.got("n"), d.got("temp_c"), d.got("door"), d.got("on")); s != "[7] [21.5] [open] [true]" {
		t.Error(s)
	}
	if k := d.kinds(); k[0] != event.Boot || !slices.Contains(k, event.Crash) || !slices.Contains(k, event.Heartbeat) {
		t.Error(k)
	}
	until(t, "the crash report's file is removed", func() bool { left, _ := os.ReadDir(cfg.Crashes); return len(left) == 0 })
	if !d.firm["1.4.0"] || len(d.firm) != 1 {
		t.Errorf("firmware %v", d.firm)
	}
	st := a.Status()
	if st.Device != "pi-1" || !st.ClockSet || st.Boot == 0 || st.Send.Refused != 0 {
		t.Errorf("%+v", st)
	}
}

// TestNoGapThroughOutagesAndEnds is what the agent is for: readings are taken while the gateway is away, the agent ends
// without a word, starts again, and everything that Sync said is on the disk arrives once.
func TestNoGapThroughOutagesAndEnds(t *testing.T) {
	d, cfg := site(t, hour())
	d.shut(true)
	var want []string
	boots := map[uint32]bool{}
	for round := range 3 {
		a := start(t, cfg, "")
		for i := range 50 {
			v := int64(1000*round + i + 1000)
			record(t, a, "n", v)
			want = append(want, fmt.Sprint(v))
			if i%10 == 0 {
				if _, err := a.Sync(); err != nil {
					t.Fatal(err)
				}
			}
		}
		if _, err := a.Sync(); err != nil {
			t.Fatal(err)
		}
		boots[a.boot] = true
		// The power goes: nothing is closed in order but the lock, which the kernel lets go.
		if err := a.ring.Close(); err != nil {
			t.Fatal(err)
		}
	}
	a := start(t, cfg, "")
	if boots[a.boot] = true; len(boots) != 4 {
		t.Errorf("boots %v", boots)
	}
	stop := run(t, a)
	until(t, "it tries", func() bool { return a.Status().Send.Retries > 0 })
	d.shut(false)
	until(t, "all arrive", func() bool { return len(d.got("n")) >= len(want) })
	// Also what was behind them, and its answer.
	until(t, "nothing is left", func() bool { c := a.ring.Counts(); return c.Waiting+c.InFlight == 0 })
	stop()
	if got := d.got("n"); !slices.Equal(got, want) {
		t.Errorf("%d readings, want %d", len(got), len(want))
	}
	if c := a.Status().Ring; c.Waiting+c.InFlight != 0 || c.Dropped.Messages != 0 {
		t.Errorf("%+v", c)
	}
	for _, e := range d.events {
		if e.Type == event.Boot && (e.Fields["reason"] != health.Killed || e.Fields["clean"] != false) {
			t.Errorf("%+v", e.Fields)
		}
	}
}

func TestWhileTheClockIsNotSetReadingsWaitAndGetTheirTimeAfterwards(t *testing.T) {
	d, cfg := site(t, time.Now().Add(24*time.Hour)) // the clock is a day behind the certificate
	a := start(t, cfg, "")
	record(t, a, "n", int64(1))
	if err := a.Event(event.Device{Type: event.Heartbeat}); err != nil {
		t.Fatal(err)
	}
	if waiting, err := a.Sync(); err != nil || waiting != 2 {
		t.Errorf("%d wait, %v", waiting, err)
	}
	if c := a.ring.Counts(); c.Put != 0 {
		t.Errorf("%+v", c)
	}
	// It is set: what a day does here, a synchronised clock does on a device.
	a.mu.Lock()
	a.identity.Certificate.Leaf.NotBefore = hour()
	a.mu.Unlock()
	if waiting, err := a.Sync(); err != nil || waiting != 0 {
		t.Errorf("%d wait, %v", waiting, err)
	}
	run(t, a)
	until(t, "both arrive, with a time of now", func() bool { return len(d.got("n")) == 1 && slices.Contains(d.kinds(), event.Heartbeat) })
}

func TestWhenTheDiskTakesNothingReadingsAreKeptAsFarAsTheyFit(t *testing.T) {
	d, cfg := site(t, hour())
	a := start(t, cfg, "")
	dir := filepath.Join(cfg.State, "ring")
	if err := os.Rename(dir, dir+".away"); err != nil {
		t.Fatal(err)
	}
	record(t, a, "n", int64(1))
	for range 2 {
		if _, err := a.Sync(); err == nil {
			t.Fatal("it was to fail")
		}
		record(t, a, "n", int64(2))
	}
	if err := a.Event(event.Device{Type: event.Heartbeat}); err == nil {
		t.Error("an event that is not on the disk was taken")
	}
	if err := os.Rename(dir+".away", dir); err != nil {
		t.Fatal(err)
	}
	run(t, a)
	until(t, "all arrive", func() bool { return len(d.got("n")) == 3 })
	g := &gather{enough: math.MaxInt}
	for range maxGathered + 5 {
		g.add(reading{at: 1, metric: "m", value: true})
	}
	if n, dropped := g.count(); n != maxGathered || dropped != 5 {
		t.Errorf("%d readings in memory, %d dropped", n, dropped)
	}
}

func TestAMessageHasNoMoreThanItMay(t *testing.T) {
	g := &gather{enough: math.MaxInt, full: make(chan struct{}, 1)}
	for i := range 3000 {
		g.add(reading{at: int64(1_700_000_000_000 + i), metric: fmt.Sprintf("m%d", i%100), value: strings.Repeat("x", i%50)})
	}
	g.add(reading{at: 5, metric: "twice", value: true}, reading{at: 5, metric: "twice", value: false})
	total, b := 0, batch.NewBuilder()
	for seq := uint64(0); ; seq++ {
		r := g.take(true, 1000, 32<<10)
		if len(r) == 0 {
			break
		}
		p, err := build(b, 1, seq, "", r)
		if err != nil || len(p) > 32<<10+room {
			t.Fatalf("%d bytes of %d readings, %v", len(p), len(r), err)
		}
		var back batch.Batch
		if err := back.Decode(p); err != nil || back.Values != len(r) {
			t.Fatalf("%d of %d values, %v", back.Values, len(r), err)
		}
		total += len(r)
	}
	if total != 3002 {
		t.Errorf("%d readings in messages", total)
	}
}

func TestWhatCannotBeSentIsRefusedAtOnce(t *testing.T) {
	_, cfg := site(t, hour())
	a := start(t, cfg, "")
	defer a.Close()
	for metric, v := range map[string]any{"Upper": int64(1), "": int64(1), "nan": math.NaN(), "inf": math.Inf(1), "long": strings.Repeat("x", batch.MaxText+1), "bad": "\xff", "int": 1} {
		if err := a.Record(metric, v, time.Time{}); err == nil {
			t.Errorf("%s: %v was taken", metric, v)
		}
	}
	if err := a.RecordSet(map[string]any{"ok": true, "N O": true}, time.Time{}); err == nil {
		t.Error("a bad name was taken")
	}
	if n, _ := a.gather.count(); n != 1 {
		t.Errorf("%d readings were taken, want the good one", n)
	}
	if err := a.Event(event.Device{Type: "none"}); err == nil {
		t.Error("an event of no type was taken")
	}
}

func TestTheBootCounterRisesAndNeverGoesBack(t *testing.T) {
	path := filepath.Join(t.TempDir(), "boot")
	now := time.Unix(1_800_000_000, 0)
	first, err := nextBoot(path, now, hour())
	if err != nil || first != 1_800_000_000 {
		t.Errorf("%d, %v", first, err)
	}
	if n, err := nextBoot(path, time.Unix(0, 0), time.Unix(0, 0)); err != nil || n != first+1 {
		t.Errorf("%d, %v", n, err)
	}
	for _, bad := range []string{"", "x", "-1", "4294967295"} {
		if err := os.WriteFile(path, []byte(bad), 0o600); err != nil {
			t.Fatal(err)
		}
		if n, err := nextBoot(path, now, now); err == nil {
			t.Errorf("%q gives %d", bad, n)
		}
	}
	os.Remove(path)
	if n, err := nextBoot(path, time.Unix(5, 0), now); err != nil || n != uint32(now.Unix()) {
		t.Errorf("with a clock that is not set: %d, %v", n, err)
	}
}

func TestANewFirmwareIsToldOnce(t *testing.T) {
	path := filepath.Join(t.TempDir(), "firmware")
	var told []event.Device
	for _, version := range []string{"1.0", "1.0", "1.1", "1.1", ""} {
		o, err := NewObserved(version, "", path)
		if err != nil {
			t.Fatal(err)
		}
		if err := o.Run(t.Context(), func(e event.Device) error { told = append(told, e); return nil }); err != nil {
			t.Fatal(err)
		}
	}
	if len(told) != 1 || told[0].Fields["from"] != "1.0" || told[0].Fields["to"] != "1.1" {
		t.Errorf("%+v", told)
	}
	if err := (&event.Message{Events: told}).Validate(); err != nil {
		t.Error(err)
	}
	file := filepath.Join(t.TempDir(), "version")
	if err := os.WriteFile(file, []byte(" 2.0 \nmore\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if o, err := NewObserved("", file, path); err != nil || o.Firmware() != "2.0" {
		t.Errorf("%v, %v", o, err)
	}
	if _, err := NewObserved("a\nb", "", path); err == nil {
		t.Error("a version of two lines was taken")
	}
}

func TestAConfigurationThatCannotWorkIsNamed(t *testing.T) {
	for want, change := range map[string]func(*Config){
		"identity": func(c *Config) { c.Identity = "" }, "state": func(c *Config) { c.State = "" }, "ring": func(c *Config) { c.Ring.Bytes = 1 },
		"batch_age": func(c *Config) { c.BatchAge = 0 }, "batch_values": func(c *Config) { c.BatchValues = 0 },
		"batch_bytes": func(c *Config) { c.Ring.Bytes, c.BatchBytes = 1<<20, 1<<20 }, "heartbeat": func(c *Config) { c.Heartbeat = 1 },
		"gateway": func(c *Config) { c.Send.Gateway = "x" },
	} {
		cfg := DefaultConfig()
		change(&cfg)
		if err := cfg.Validate(); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%s: %v", want, err)
		}
	}
}
