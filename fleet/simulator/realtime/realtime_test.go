package realtime

import (
	"bytes"
	"crypto/x509"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"muster.dev/fleet/device"
	"muster.dev/fleet/scenario"
	"muster.dev/fleet/simulator/chance"
	"muster.dev/fleet/simulator/report"
	"muster.dev/fleet/simulator/world"
	"muster.dev/proto/batch"
	"muster.dev/proto/event"
	"muster.dev/proto/record"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// gateway takes messages as the gateway does, and now and then does not.
type gateway struct {
	*httptest.Server
	mu       sync.Mutex // over those below
	seen     map[uint32]bool
	taken    report.Print
	events   report.Print
	requests int
	fails    func(n int) int // the status of the n-th request; 0 is 200, below 0 hangs up
}

func open(t *testing.T, fails func(n int) int) (*gateway, Config, func(string) (device.Identity, error)) {
	t.Helper()
	g := &gateway{seen: map[uint32]bool{}, fails: fails}
	g.Server = httptest.NewUnstartedServer(g)
	g.StartTLS()
	t.Cleanup(g.Close)
	roots := x509.NewCertPool()
	roots.AddCert(g.Certificate())
	cfg := DefaultConfig()
	cfg.Gateway, cfg.Workers = g.URL, 8
	return g, cfg, func(id string) (device.Identity, error) { return device.Identity{Device: id, Roots: roots}, nil }
}

func (g *gateway) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	g.mu.Lock()
	defer g.mu.Unlock()
	status := g.fails(g.requests)
	g.requests++
	switch {
	case status < 0:
		panic(http.ErrAbortHandler)
	case status > 0:
		w.Header().Set("Retry-After", "0")
		w.WriteHeader(status)
		return
	case err != nil:
		return // it has gone
	}
	hash := record.Hash(body)
	if g.seen[hash] {
		_, _ = io.WriteString(w, `{"duplicate":true}`)
		return
	}
	g.seen[hash] = true
	if r.URL.Path == pathEvents {
		if m, err := event.DecodeMessage(body); err == nil {
			g.events.Add(m.Boot, m.Seq, hash)
		}
		return
	}
	var b batch.Batch
	if err := b.Decode(body); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	g.taken.Add(b.Boot, b.Seq, hash)
	_, _ = io.WriteString(w, `{"values":1}`)
}

func soon(t *testing.T, text string) *world.World {
	t.Helper()
	s, err := scenario.Parse("test.yaml", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	s.Begins, s.Lasts = time.Now().UTC().Truncate(time.Second), 4*time.Second
	w, err := world.New(s, 1)
	if err != nil {
		t.Fatal(err)
	}
	return w
}

const busy = `
scenario: busy
lasts: 1m
cohorts:
  - name: city
    devices: 30
    interval: 1s
    heartbeat: 2s
    metrics: [{name: temperature, model: {base: 21, noise: 1}}]
    radio: {duplicates: 20%, latency: 10ms}
`

func TestWhatTheGatewayTookIsWhatTheDevicesWereToldOf(t *testing.T) {
	for name, fails := range map[string]func(int) int{
		"a gateway that is well":                  func(int) int { return 0 },
		"one that does not know now and then":     func(n int) int { return map[bool]int{true: 503}[n%5 == 2] },
		"one that hangs up now and then":          func(n int) int { return map[bool]int{true: -1}[n%7 == 3] },
		"one that does not know a device at once": func(n int) int { return map[bool]int{true: 429}[n < 10] },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g, cfg, identity := open(t, fails)
			result, err := Run(t.Context(), cfg, Settings{World: soon(t, busy), Identity: identity, Boots: 1_700_000_000})
			if err != nil {
				t.Fatal(err)
			}
			var told, events report.Print
			for _, x := range result.Told {
				told.Count, told.Keys, told.Bytes = told.Count+x.Telemetry.Count, told.Keys+x.Telemetry.Keys, told.Bytes+x.Telemetry.Bytes
				events.Count, events.Keys, events.Bytes = events.Count+x.Events.Count, events.Keys+x.Events.Keys, events.Bytes+x.Events.Bytes
			}
			g.mu.Lock()
			defer g.mu.Unlock()
			c := result.Counts
			// What is still unanswered when its last chance is over may have been taken.
			if c.Waiting == 0 && (told != g.taken || events != g.events) {
				t.Errorf("the devices were told of %+v and %+v, the gateway took %+v and %+v", told, events, g.taken, g.events)
			}
			if told.Count < 30 || events.Count == 0 || c.Refused > 0 || c.Dropped > 0 {
				t.Errorf("%d messages, %d of events, %+v", told.Count, events.Count, c)
			}
			if fails(0) == 0 && fails(2) == 0 && fails(3) == 0 && c.Dials > 30 {
				t.Errorf("%d handshakes of 30 devices: connections are not kept", c.Dials)
			}
		})
	}
}

func TestAMissingIdentityStopsTheStart(t *testing.T) {
	_, cfg, _ := open(t, func(int) int { return 0 })
	missing := func(id string) (device.Identity, error) { return device.LoadIdentity(t.TempDir()) }
	if _, err := Run(t.Context(), cfg, Settings{World: soon(t, busy), Identity: missing}); err == nil {
		t.Error("a fleet without identities began")
	}
}

func TestTheBootOfAMessageIsRaisedAndNothingElse(t *testing.T) {
	for _, boot := range []uint32{0, 1, 127, 128, 255, 256, 65_535, 65_536} {
		b := batch.NewBuilder()
		b.SetKey(boot, 77)
		b.SetFirmware("1.2.3")
		b.SetScaled(1_700_000_000_000, "temperature", 215, 1)
		body, err := b.AppendTo(nil)
		if err != nil {
			t.Fatal(err)
		}
		b.SetKey(boot+3_000_000_000, 77)
		want, err := b.AppendTo(nil)
		if err != nil {
			t.Fatal(err)
		}
		if got := rebase(world.Telemetry, body, 3_000_000_000); !bytes.Equal(got, want) {
			t.Errorf("boot %d: %x, want %x", boot, got, want)
		}
		m := event.Message{Keyed: true, Boot: boot, Seq: 3, Firmware: "1.2.3", Events: []event.Device{{TS: 5, Type: event.Boot}}}
		if body, err = m.AppendTo(nil); err != nil {
			t.Fatal(err)
		}
		m.Boot += 3_000_000_000
		if want, err = m.AppendTo(nil); err != nil {
			t.Fatal(err)
		}
		if got := rebase(world.Events, body, 3_000_000_000); !bytes.Equal(got, want) {
			t.Errorf("boot %d: %x, want %x", boot, got, want)
		}
	}
}

func TestSeatsComeInOrderOfTime(t *testing.T) {
	table := newTable()
	for i, wake := range []int64{50, 10, 40, 10, 30, chance.Never} {
		table.sit(&seat{index: i, wake: wake})
	}
	var order []int
	for {
		s, wait := table.due(45)
		if s == nil {
			if wait != 5*time.Millisecond {
				t.Errorf("the next one is due in %s, want 5ms", wait)
			}
			break
		}
		order = append(order, s.index)
	}
	if got := [4]int(order); got != [4]int{1, 3, 4, 2} {
		t.Errorf("they came as %v", got)
	}
}

func TestWhatIsNotPlayedIsSaid(t *testing.T) {
	w := soon(t, busy+`
faults:
  - {at: 1s, for: 1s, pipeline-stall: {stage: sink}}
  - {at: 2s, for: 1s, gateway-outage: {}}
`)
	said := strings.Join(Unplayed(w.Scenario(), w), "\n")
	for _, want := range []string{"stall of the sink at 1s is not played", "outage of gateway", "its devices are silent"} {
		if !strings.Contains(said, want) {
			t.Errorf("%q is not said in:\n%s", want, said)
		}
	}
}

func TestAConfigurationThatCannotBeUsedIsNamed(t *testing.T) {
	for want, change := range map[string]func(*Config){
		"gateway": func(c *Config) { c.Gateway = "http://127.0.0.1" },
		"share":   func(c *Config) { c.Share = 0.5 },
		"workers": func(c *Config) { c.Workers = 0 },
		"queue":   func(c *Config) { c.Queue = 0 },
	} {
		cfg := DefaultConfig()
		change(&cfg)
		if err := cfg.Validate(); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%v, want one that begins with %s", err, want)
		}
	}
}
