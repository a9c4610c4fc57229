package daemon

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.opentelemetry.io/otel/trace"
)

func start(t *testing.T, change func(*Settings)) (*Process, *logBuffer) {
	t.Helper()
	log := &logBuffer{}
	s := Settings{Name: "test", Version: "v1", Config: DefaultConfig(), Output: log}
	s.StopTimeout = 2 * time.Minute // nothing here says how long an ordered stop takes
	if change != nil {
		change(&s)
	}
	p, err := New(t.Context(), s)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		p.Stop()
		_ = p.Wait()
		http.DefaultClient.CloseIdleConnections()
	})
	return p, log
}

type logBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *logBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *logBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

func get(t *testing.T, p *Process, path string) (int, string) {
	t.Helper()
	r, err := http.Get("http://" + p.Addr() + path)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	body, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	return r.StatusCode, string(body)
}

func TestRoomsStopOneAfterAnotherTheLastStartedFirst(t *testing.T) {
	p, _ := start(t, nil)
	var mu sync.Mutex
	var order []string
	note := func(s string) {
		mu.Lock()
		defer mu.Unlock()
		order = append(order, s)
	}
	for _, name := range []string{"store", "publish"} {
		p.Go(name, func(ctx context.Context) error {
			<-ctx.Done()
			note(name)
			return ctx.Err()
		})
	}
	p.OnStop("listen", func(context.Context) error { note("listen"); return nil })
	p.Go("done already", func(context.Context) error { return nil })
	p.Ready()
	p.Stop()
	if err := p.Wait(); err != nil {
		t.Fatalf("an ordered stop is no failure: %v", err)
	}
	if want := []string{"listen", "publish", "store"}; !slices.Equal(order, want) {
		t.Errorf("stopped in order %v, want %v", order, want)
	}
	if err := p.Wait(); err != nil {
		t.Errorf("the second Wait answers %v", err)
	}
}

func TestAFailingRoomStopsTheProcess(t *testing.T) {
	p, _ := start(t, nil)
	boom := errors.New("boom")
	var drained atomic.Bool
	p.Go("sink", func(ctx context.Context) error { <-ctx.Done(); drained.Store(true); return nil })
	p.Go("source", func(context.Context) error { return boom })
	err := p.Wait()
	if !errors.Is(err, boom) || !strings.Contains(err.Error(), "source") {
		t.Errorf("Wait = %v", err)
	}
	if !drained.Load() {
		t.Error("the other room was not stopped")
	}
}

func TestAPanicIsReportedWithItsStackAndStopsTheProcess(t *testing.T) {
	for name, begin := range map[string]func(p *Process){
		"in a goroutine": func(p *Process) { p.Go("decode", func(context.Context) error { panic("index") }) },
		"while stopping": func(p *Process) {
			p.OnStop("decode", func(context.Context) error { panic("index") })
			p.Stop()
		},
	} {
		t.Run(name, func(t *testing.T) {
			p, log := start(t, nil)
			begin(p)
			if err := p.Wait(); !errors.Is(err, ErrPanic) || !strings.Contains(err.Error(), "decode") {
				t.Errorf("Wait = %v", err)
			}
			if !strings.Contains(log.String(), "process_test.go") {
				t.Errorf("no stack in the log: %s", log)
			}
		})
	}
}

func TestARoomThatDoesNotStopIsNamedAndTheOthersStillStop(t *testing.T) {
	p, _ := start(t, func(s *Settings) { s.StopTimeout = 20 * time.Millisecond })
	release := make(chan struct{})
	defer close(release)
	stopped := make(chan struct{})
	p.Go("store", func(ctx context.Context) error { <-ctx.Done(); close(stopped); return nil })
	p.Go("stuck", func(context.Context) error { <-release; return nil })
	p.Stop()
	if err := p.Wait(); !errors.Is(err, ErrStopTimeout) || !strings.Contains(err.Error(), "stuck") {
		t.Errorf("Wait = %v", err)
	}
	<-stopped
}

func TestARoomThatStartsDuringTheStopIsStoppedAtOnce(t *testing.T) {
	p, _ := start(t, nil)
	late := make(chan struct{})
	p.OnStop("listen", func(context.Context) error {
		p.Go("late", func(ctx context.Context) error { <-ctx.Done(); close(late); return nil })
		return nil
	})
	p.Stop()
	if err := p.Wait(); err != nil {
		t.Fatal(err)
	}
	<-late
	closed, ran := false, false
	p.OnStop("later still", func(context.Context) error { closed = true; return nil })
	p.Go("latest", func(ctx context.Context) error { ran = true; return ctx.Err() })
	if !closed || !ran {
		t.Error("a room that starts after the stop is left open")
	}
	p.Ready()
	if got := p.checks.readiness().Status; got != "stopping" {
		t.Errorf("a stopped process says %s", got)
	}
}

func TestReadyzNamesEachCheckThatFails(t *testing.T) {
	p, _ := start(t, nil)
	var down atomic.Bool
	p.SetReady("kafka", func() error { return nil })
	p.SetReady("roster", func() error {
		if down.Load() {
			return errors.New("position is 3.2s old")
		}
		return nil
	})
	if code, body := get(t, p, "/readyz"); code != 503 || !strings.Contains(body, "starting") {
		t.Errorf("before Ready: %d %s", code, body)
	}
	if code, _ := get(t, p, "/livez"); code != 200 {
		t.Errorf("a starting process is alive, got %d", code)
	}
	p.Ready()
	for _, path := range []string{"/readyz", "/healthz"} {
		if code, body := get(t, p, path); code != 200 || strings.TrimSpace(body) != `{"status":"ready"}` {
			t.Errorf("%s: %d %s", path, code, body)
		}
	}
	down.Store(true)
	code, body := get(t, p, "/readyz")
	var got Readiness
	if err := json.Unmarshal([]byte(body), &got); err != nil {
		t.Fatal(err)
	}
	if code != 503 || got.Status != "unready" || !slices.Equal(got.Failed, []Failed{{"roster", "position is 3.2s old"}}) {
		t.Errorf("%d %s", code, body)
	}

	down.Store(false)
	seen := make(chan string, 1)
	p.OnStop("listen", func(context.Context) error {
		_, body := get(t, p, "/readyz")
		seen <- body
		return nil
	})
	p.Stop()
	if err := p.Wait(); err != nil {
		t.Fatal(err)
	}
	if body := <-seen; !strings.Contains(body, "stopping") {
		t.Errorf("while rooms drain: %s", body)
	}
}

func TestMetricsTellOfTheBuildAndTheProcess(t *testing.T) {
	p, _ := start(t, nil)
	_, body := get(t, p, "/metrics")
	for _, want := range []string{`muster_build_info{process="test",version="v1"} 1`, "go_goroutines", "process_resident_memory_bytes", "go_build_info"} {
		if !strings.Contains(body, want) {
			t.Errorf("no %s in the metrics", want)
		}
	}
}

func TestPprofIsServedOnlyWhenAskedFor(t *testing.T) {
	for want, on := range map[int]bool{200: true, 404: false} {
		p, _ := start(t, func(s *Settings) { s.Pprof = on })
		if code, _ := get(t, p, "/debug/pprof/cmdline"); code != want {
			t.Errorf("pprof %v: %d", on, code)
		}
	}
}

func TestATakenPortIsAnErrorThatNamesIt(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	cfg := DefaultConfig()
	cfg.Listen = ln.Addr().String()
	_, err = New(t.Context(), Settings{Name: "test", Config: cfg, Output: io.Discard})
	if err == nil || !strings.Contains(err.Error(), cfg.Listen) {
		t.Errorf("New = %v", err)
	}
}

func TestALogLineInsideASpanCarriesItsTrace(t *testing.T) {
	p, log := start(t, nil)
	sc := trace.NewSpanContext(trace.SpanContextConfig{TraceID: trace.TraceID{1}, SpanID: trace.SpanID{2}})
	p.Log.With("room", "admit").InfoContext(trace.ContextWithSpanContext(t.Context(), sc), "inside")
	p.Log.Info("outside")
	var inside, outside map[string]any
	lines := strings.Split(strings.TrimSpace(log.String()), "\n")
	for i, into := range []*map[string]any{&inside, &outside} {
		if err := json.Unmarshal([]byte(lines[i]), into); err != nil {
			t.Fatal(err)
		}
	}
	if inside["trace_id"] != sc.TraceID().String() || inside["room"] != "admit" || inside["process"] != "test" {
		t.Errorf("inside: %v", inside)
	}
	if _, has := outside["trace_id"]; has {
		t.Errorf("outside: %v", outside)
	}
}

func TestSpansReachTheCollectorAndItsAbsenceHoldsUpNothing(t *testing.T) {
	var got atomic.Int64
	collector := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/v1/traces" {
			got.Add(1)
		}
	}))
	p, _ := start(t, func(s *Settings) { s.OTLPEndpoint, s.TraceRatio = collector.URL, 1 })
	_, span := p.Tracer.Start(t.Context(), "accept")
	if !span.IsRecording() {
		t.Error("with a ratio of 1 a span is recorded")
	}
	span.End()
	p.Stop()
	if err := p.Wait(); err != nil {
		t.Fatal(err)
	}
	if got.Load() == 0 {
		t.Error("the collector got nothing")
	}
	collector.Close()

	p, log := start(t, func(s *Settings) {
		s.OTLPEndpoint, s.TraceRatio, s.StopTimeout = collector.URL, 1, 200*time.Millisecond
	})
	_, span = p.Tracer.Start(t.Context(), "accept")
	span.End()
	p.Stop()
	if err := p.Wait(); err != nil {
		t.Errorf("a collector that is away fails the process: %v", err)
	}
	if !strings.Contains(log.String(), "traces") {
		t.Errorf("nothing is said of it: %s", log)
	}
}

func TestACallersDecisionNotToTraceIsFollowed(t *testing.T) {
	collector := httptest.NewServer(http.NotFoundHandler())
	defer collector.Close()
	p, _ := start(t, func(s *Settings) { s.OTLPEndpoint, s.TraceRatio = collector.URL, 1 })
	remote := trace.NewSpanContext(trace.SpanContextConfig{TraceID: trace.TraceID{1}, SpanID: trace.SpanID{2}, Remote: true})
	_, span := p.Tracer.Start(trace.ContextWithRemoteSpanContext(t.Context(), remote), "accept")
	defer span.End()
	if span.IsRecording() {
		t.Error("the caller does not sample, we do")
	}
}

func TestExitCodesAndFlags(t *testing.T) {
	run := func(_ context.Context, p *Process) error { p.Stop(); return nil }
	good := file(t, "depth: 3\n")
	bad := file(t, "dept: 3\n")
	for _, tc := range []struct {
		name       string
		args       []string
		run        RunFunc
		code       int
		out, errIn string
	}{
		{"stopped in order", []string{"--config", good}, run, 0, "", "stopped"},
		{"failed", nil, func(context.Context, *Process) error { return errors.New("no broker") }, 1, "", "no broker"},
		{"panicked", nil, func(context.Context, *Process) error { panic("oh") }, 1, "", "oh"},
		{"an unknown key", []string{"--config", bad}, run, 2, "", "dept"},
		{"an unknown flag", []string{"--konfig"}, run, 2, "", "konfig"},
		{"an argument", []string{"now"}, run, 2, "", "now"},
		{"a wrong section of the process", []string{"--config", file(t, "ops:\n  listen: nowhere\n")}, run, 2, "", "ops.listen"},
		{"check", []string{"--config", good, "--check"}, nil, 0, "valid", ""},
		{"check of a wrong one", []string{"--config", bad, "--check"}, nil, 2, "", "dept"},
		{"dump", []string{"--config", good, "--dump"}, nil, 0, "depth: 3", ""},
		{"help", []string{"--help"}, nil, 0, "", "MUSTER_<SECTION>_<KEY>"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var out, errs logBuffer
			code := Execute(t.Context(), Program{Name: "test", Config: defaults(), Run: tc.run, LookupEnv: env()}, tc.args, &out, &errs)
			if code != tc.code || !strings.Contains(out.String(), tc.out) || !strings.Contains(errs.String(), tc.errIn) {
				t.Errorf("code %d, want %d\nout %s\nerr %s", code, tc.code, out.String(), errs.String())
			}
		})
	}
}

func TestASignalDuringTheStartIsNoFailure(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	run := func(ctx context.Context, _ *Process) error {
		cancel()
		<-ctx.Done()
		return fmt.Errorf("wait for the roster: %w", ctx.Err())
	}
	if code := Execute(ctx, Program{Name: "test", Config: defaults(), Run: run, LookupEnv: env()}, nil, io.Discard, io.Discard); code != ExitOK {
		t.Errorf("code %d", code)
	}
}
