package uplink

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"muster.dev/fleet/agent/ring"
	"muster.dev/fleet/edge/parcel"
	"muster.dev/proto/identity"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience is how long a test waits for what is promised without a time.
const patience = 2 * time.Minute

// gateway is a door whose words a test chooses.
type gateway struct {
	*httptest.Server

	mu      sync.Mutex
	say     func(path, body string) (status int, problem map[string]any)
	stored  []string // path and body, in order
	asked   int
	backlog int
	open    map[string]int // requests of a path under way
	twice   bool           // two of one path were under way at once
}

func serve(t *testing.T) *gateway {
	t.Helper()
	g := &gateway{open: map[string]int{}, say: func(string, string) (int, map[string]any) { return 200, nil }}
	g.Server = httptest.NewUnstartedServer(http.HandlerFunc(g.handle))
	g.EnableHTTP2 = true
	g.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	g.StartTLS()
	t.Cleanup(g.Close)
	return g
}

func (g *gateway) handle(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	g.mu.Lock()
	g.asked++
	g.open[r.URL.Path]++
	g.twice = g.twice || g.open[r.URL.Path] > 1
	status, problem := g.say(r.URL.Path, string(body))
	if status == 200 {
		g.stored = append(g.stored, r.URL.Path+" "+string(body))
		if r.Header.Get("Muster-Backlog") == "1" {
			g.backlog++
		}
		problem = map[string]any{"status": "stored", "values": 1}
	}
	g.open[r.URL.Path]--
	g.mu.Unlock()
	if status == 0 {
		panic(http.ErrAbortHandler)
	}
	if after, ok := problem["retry"]; ok {
		w.Header().Set("Retry-After", fmt.Sprint(after))
	}
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(problem)
}

func (g *gateway) answers(say func(path, body string) (int, map[string]any)) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.say = say
}

func (g *gateway) has() []string {
	g.mu.Lock()
	defer g.mu.Unlock()
	return slices.Clone(g.stored)
}

// line is an uplink to a gateway, on a ring of its own.
type line struct {
	*Uplink
	t    *testing.T
	ring *ring.Ring

	mu      sync.Mutex
	refused []Refused
	counts  map[string]int
}

// open makes one; run starts it.
func open(t *testing.T, g *gateway, order ring.Order, change func(*Config)) *line {
	t.Helper()
	r, err := ring.Open(t.TempDir(), ring.Config{Bytes: 8 << 20, Order: order})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = r.Close() })
	cfg := DefaultConfig()
	cfg.Gateway, cfg.FirstPause, cfg.LastPause, cfg.AskAgain, cfg.Grace = g.URL, time.Millisecond, 10*time.Millisecond, time.Millisecond, 0
	cfg.Timeout = patience
	if change != nil {
		change(&cfg)
	}
	l := &line{t: t, ring: r, counts: map[string]int{}}
	l.Uplink, err = New(cfg, Settings{
		Ring: r, Order: order, Log: slog.New(slog.DiscardHandler), Now: time.Now,
		ID: Identity{Roots: g.Client().Transport.(*http.Transport).TLSClientConfig.RootCAs},
		Answered: func(outcome string, _ time.Duration) {
			l.mu.Lock()
			defer l.mu.Unlock()
			l.counts[outcome]++
		},
		Refused: func(r Refused) {
			l.mu.Lock()
			defer l.mu.Unlock()
			l.refused = append(l.refused, r)
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// run starts the uplink; the function that it gives ends it.
func (l *line) run() (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- l.Run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			l.t.Error(err)
		}
	})
	l.t.Cleanup(stop)
	return stop
}

func (l *line) put(device string, body string) {
	l.t.Helper()
	p := parcel.Parcel{Device: identity.Device(device), Form: parcel.JSON, At: time.Now().UnixMilli(), Body: []byte(body)}
	if device == "" {
		p.Stream = parcel.Events
	}
	if _, err := l.ring.Put(p.Append(nil), 0); err != nil {
		l.t.Fatal(err)
	}
}

func (l *line) eventually(what string, ok func() bool) {
	l.t.Helper()
	for end := time.Now().Add(patience); !ok(); {
		if time.Now().After(end) {
			l.t.Fatal(what)
		}
		<-time.After(2 * time.Millisecond)
	}
}

// empty waits until the ring has let everything go.
func (l *line) empty() {
	l.t.Helper()
	l.eventually("the ring is not empty", func() bool { c := l.ring.Counts(); return c.Waiting+c.InFlight == 0 })
}

func (l *line) lost(reason string) (messages int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, r := range l.refused {
		if r.Reason == reason {
			messages += r.Messages
		}
	}
	return messages
}

// inOrder checks that each device's messages, which are numbers, came once and in order.
func inOrder(t *testing.T, stored []string, each int) {
	t.Helper()
	last := map[string]int{}
	for _, s := range stored {
		path, body, _ := strings.Cut(s, " ")
		n := 0
		if _, err := fmt.Sscan(body, &n); err != nil || n != last[path]+1 {
			t.Fatalf("%s: %s after %d", path, body, last[path])
		}
		last[path] = n
	}
	for path, n := range last {
		if n != each {
			t.Errorf("%s: %d messages of %d", path, n, each)
		}
	}
}

func TestEachDevicesMessagesGoUpInOrder(t *testing.T) {
	g := serve(t)
	l := open(t, g, ring.OldestFirst, func(c *Config) { c.InHand, c.Parallel = 32, 8 })
	for i := range 100 {
		for d := range 5 {
			l.put(fmt.Sprintf("d-%d", d), fmt.Sprint(i+1))
		}
		l.put("", fmt.Sprint(i+1))
	}
	stop := l.run()
	l.empty()
	stop()
	inOrder(t, g.has(), 100)
	if len(g.has()) != 600 || g.twice || g.backlog != 0 || l.counts["stored"] != 600 {
		t.Errorf("%d stored, two at once: %v, %d of a backlog, %v", len(g.has()), g.twice, g.backlog, l.counts)
	}
	if s := l.State(); !s.Up || s.Forbidden != 0 || !s.Oldest.IsZero() {
		t.Errorf("%+v", s)
	}
}

// Whatever fails, for whatever time: nothing is lost, nothing double, and each device's order stands.
func TestNothingIsLostWhileTheGatewayFails(t *testing.T) {
	g := serve(t)
	l := open(t, g, ring.OldestFirst, func(c *Config) { c.InHand, c.Parallel = 64, 8 })
	n := 0
	g.answers(func(path, _ string) (int, map[string]any) {
		n++
		switch {
		case n < 40, n%7 == 0:
			return 503, map[string]any{"reason": "log-silent"}
		case n%11 == 0:
			return 0, nil // the connection breaks
		case n%13 == 0 && path == "/v1/telemetry/d-1":
			return 429, map[string]any{"reason": "device-rate"}
		case n%17 == 0:
			return 502, map[string]any{"x": "a proxy's words"}
		case n%19 == 0:
			return 404, map[string]any{"x": "a proxy's words"}
		}
		return 200, nil
	})
	l.run()
	for i := range 60 {
		for d := range 5 {
			l.put(fmt.Sprintf("d-%d", d), fmt.Sprint(i+1))
		}
	}
	l.empty()
	inOrder(t, g.has(), 60)
	if len(g.has()) != 300 || len(l.refused) != 0 {
		t.Errorf("%d stored, refused %+v", len(g.has()), l.refused)
	}
}

func TestWhatCanNeverBeStoredIsLetGoAndReported(t *testing.T) {
	g := serve(t)
	l := open(t, g, ring.OldestFirst, nil)
	g.answers(func(_, body string) (int, map[string]any) {
		if body == "2" {
			return 422, map[string]any{"reason": "unprocessable", "detail": "x is bad"}
		}
		if body == "3" {
			return 409, map[string]any{"reason": "conflict"}
		}
		return 200, nil
	})
	if _, err := l.ring.Put([]byte("garbage"), 0); err != nil {
		t.Fatal(err)
	}
	for i := range 4 {
		l.put("d-1", fmt.Sprint(i+1))
	}
	stop := l.run()
	l.empty()
	stop()
	if got := g.has(); !slices.Equal(got, []string{"/v1/telemetry/d-1 1", "/v1/telemetry/d-1 4"}) {
		t.Errorf("stored %q", got)
	}
	if l.lost("unprocessable") != 1 || l.lost("conflict") != 1 || l.lost("unreadable") != 1 {
		t.Errorf("%+v", l.refused)
	}
}

func TestADeviceThatTheEdgeMayNotSpeakForStopsNobodyElse(t *testing.T) {
	g := serve(t)
	l := open(t, g, ring.OldestFirst, func(c *Config) { c.Grace = 24 * time.Hour })
	g.answers(func(path, _ string) (int, map[string]any) {
		if path == "/v1/telemetry/stranger" {
			return 403, map[string]any{"reason": "device-mismatch", "detail": "it may not", "field": "device"}
		}
		return 200, nil
	})
	for i := range 40 {
		l.put("stranger", fmt.Sprint(i+1))
		l.put("friend", fmt.Sprint(i+1))
	}
	l.run()
	l.eventually("the friend's messages do not come", func() bool { return len(g.has()) == 40 })
	l.eventually("the stranger is not known", func() bool { return strings.Contains(l.Forbids("stranger"), "it may not") })
	if why := l.Forbids("friend"); why != "" || l.State().Forbidden != 1 {
		t.Errorf("%q, %+v", why, l.State())
	}
	// The gateway has the friend's last message before the ring has let it go.
	l.eventually("not all of the stranger's messages are kept, or others", func() bool { c := l.ring.Counts(); return c.Waiting+c.InFlight == 40 })
	// Somebody lets the edge speak for it: nothing was lost.
	g.answers(func(string, string) (int, map[string]any) { return 200, nil })
	l.empty()
	inOrder(t, g.has(), 40)
	if why := l.Forbids("stranger"); why != "" || len(g.has()) != 80 {
		t.Errorf("%q, %d stored", why, len(g.has()))
	}
}

func TestAfterItsTimeWhatIsForbiddenIsLetGoAndOneMessageAsksAgain(t *testing.T) {
	g := serve(t)
	l := open(t, g, ring.OldestFirst, nil)
	may := false
	g.answers(func(string, string) (int, map[string]any) {
		if !may {
			return 403, map[string]any{"reason": "device-mismatch"}
		}
		return 200, nil
	})
	for i := range 40 {
		l.put("stranger", fmt.Sprint(i+1))
	}
	l.run()
	l.empty()
	// They are reported a moment after they were let go.
	l.eventually("not all are reported", func() bool { return l.lost("device-mismatch") == 40 })
	g.mu.Lock()
	may = true
	g.mu.Unlock()
	var asked time.Time
	l.eventually("nothing may ask again", func() bool { asked = time.Now(); return l.Forbids("stranger") == "" })
	if l.Forbids("stranger") == "" && time.Since(asked) < time.Second {
		t.Error("two may ask at once")
	}
	l.put("stranger", "41")
	l.eventually("it stays forbidden", func() bool { return len(g.has()) == 1 && l.State().Forbidden == 0 })
}

// An operator has isolated a device, and may let it go again: the gateway says itself that its messages are to be kept.
func TestWhatIsInQuarantineIsKept(t *testing.T) {
	g := serve(t)
	l := open(t, g, ring.OldestFirst, nil)
	g.answers(func(string, string) (int, map[string]any) {
		return 403, map[string]any{"reason": "quarantined", "field": "device"}
	})
	for i := range 40 {
		l.put("d-1", fmt.Sprint(i+1))
	}
	l.run()
	l.eventually("it is not asked again", func() bool { g.mu.Lock(); defer g.mu.Unlock(); return g.asked > 5 })
	if l.Forbids("d-1") == "" {
		t.Error("more of it is taken")
	}
	g.answers(func(string, string) (int, map[string]any) { return 200, nil })
	l.empty()
	inOrder(t, g.has(), 40)
}

func TestARefusedCertificateKeepsEverything(t *testing.T) {
	g := serve(t)
	l := open(t, g, ring.OldestFirst, nil)
	g.answers(func(string, string) (int, map[string]any) {
		return 403, map[string]any{"reason": "revoked", "field": "certificate", "detail": "the edge is revoked"}
	})
	for i := range 30 {
		l.put("d-1", fmt.Sprint(i+1))
	}
	l.run()
	l.eventually("it is ready", func() bool {
		err := l.Ready()
		return err != nil && strings.Contains(err.Error(), "the edge is revoked")
	})
	if c := l.ring.Counts(); c.Waiting+c.InFlight != 30 || len(l.refused) != 0 {
		t.Errorf("%+v, refused %+v", c, l.refused)
	}
	g.answers(func(string, string) (int, map[string]any) { return 200, nil })
	l.Use(l.s.ID)
	l.empty()
	inOrder(t, g.has(), 30)
	if err := l.Ready(); err != nil {
		t.Error(err)
	}
}

// A message that breaks whoever reads it stops its device at most.
func TestAMessageThatFailsAloneStopsNobodyElse(t *testing.T) {
	g := serve(t)
	l := open(t, g, ring.OldestFirst, nil)
	g.answers(func(_, body string) (int, map[string]any) {
		if body == "poison" {
			return 0, nil
		}
		return 200, nil
	})
	l.put("d-1", "poison")
	l.put("d-1", "1")
	l.run()
	for i := 1; l.lost("unanswered") == 0; i++ {
		l.put("d-2", fmt.Sprint(i))
		l.eventually("a neighbour waits", func() bool { return len(g.has()) >= i })
	}
	l.empty()
	if got := g.has(); !slices.Contains(got, "/v1/telemetry/d-1 1") {
		t.Error("what came after it is not stored")
	}
}

func TestNewestFirstSendsWhatIsNewAndMarksTheRest(t *testing.T) {
	g := serve(t)
	l := open(t, g, ring.NewestFirst, func(c *Config) { c.Parallel, c.InHand = 1, 1 })
	for i := range 50 {
		l.put("d-1", fmt.Sprint(i+1))
	}
	l.run()
	l.empty()
	got := g.has()
	if len(got) != 50 || got[0] != "/v1/telemetry/d-1 50" || g.backlog != 49 {
		t.Errorf("%d stored, %q first, %d of a backlog", len(got), got[0], g.backlog)
	}
}

func TestAnUplinkThatEndsLeavesInTheRingWhatIsNotAnswered(t *testing.T) {
	g := serve(t)
	l := open(t, g, ring.OldestFirst, nil)
	g.answers(func(string, string) (int, map[string]any) { return 503, map[string]any{"reason": "draining"} })
	for i := range 20 {
		l.put("d-1", fmt.Sprint(i+1))
	}
	stop := l.run()
	l.eventually("it is not tried", func() bool { g.mu.Lock(); defer g.mu.Unlock(); return g.asked > 2 })
	if s := l.State(); s.Up || s.Oldest.IsZero() || !strings.Contains(s.Said, "draining") {
		t.Errorf("%+v", s)
	}
	stop()
	if c := l.ring.Counts(); c.Waiting+c.InFlight != 20 {
		t.Errorf("%+v", c)
	}
}

func TestAConfigurationNamesWhatIsWrong(t *testing.T) {
	for want, change := range map[string]func(*Config){
		"gateway": func(c *Config) { c.Gateway = "http://x" }, "timeout": func(c *Config) { c.Timeout = 0 }, "first_pause": func(c *Config) { c.FirstPause = 0 },
		"ask_again": func(c *Config) { c.AskAgain = 0 }, "last_pause": func(c *Config) { c.LastPause = 1 }, "grace": func(c *Config) { c.Grace = -1 },
		"parallel": func(c *Config) { c.Parallel = 65 }, "in_hand": func(c *Config) { c.InHand = 1 },
	} {
		c := DefaultConfig()
		change(&c)
		if err := c.Validate(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %s", err, want)
		}
	}
}
