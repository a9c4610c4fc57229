package daemon

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"runtime/debug"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"go.opentelemetry.io/otel/trace"
)

// ErrPanic is in the error of a process one of whose goroutines panicked.
var ErrPanic = errors.New("panic")

// ErrStopTimeout is in the error of a process whose rooms did not stop in time.
var ErrStopTimeout = errors.New("did not stop in time")

// Settings is what code passes to New.
type Settings struct {
	Name    string // gateway, sink, ...
	Version string
	Config            // what the operator set
	Output  io.Writer // of the log; nil is stderr
}

// Process is one running process. Its methods may be called from any goroutine.
type Process struct {
	Log     *slog.Logger
	Metrics *prometheus.Registry
	Tracer  trace.Tracer         // of the process's own name
	Traces  trace.TracerProvider // for libraries that take one

	name        string
	listen      string
	addr        string
	stopTimeout time.Duration
	checks      checks
	ops         *http.Server
	opsDone     chan struct{}
	flushTraces func(context.Context) error

	ctx    context.Context // ends when the process is asked to stop or has failed
	cancel context.CancelCauseFunc
	wait   func() error

	mu    sync.Mutex // over rooms, closed and errs
	rooms []room     // that run, in the order in which they started
	// closed: all rooms have stopped, none may start
	closed bool
	errs   []error
}

// room is one thing that was started and will be stopped: a goroutine (its cancel and done) or a function.
type room struct {
	name string
	stop func(ctx context.Context) error
}

// New makes a process that serves its health and metrics and has no rooms yet. It is not ready before Ready is
// called. The process ends with ctx. Who calls New calls Wait.
func New(ctx context.Context, s Settings) (*Process, error) {
	if s.Name == "" {
		return nil, errors.New("process without a name")
	}
	if s.Listen == "" {
		s.Listen = DefaultConfig().Listen
	}
	if s.StopTimeout == 0 {
		s.StopTimeout = DefaultConfig().StopTimeout
	}
	if err := s.Config.Validate(); err != nil {
		return nil, err
	}
	if s.Output == nil {
		s.Output = os.Stderr
	}
	if s.Version == "" {
		s.Version = buildVersion()
	}
	p := &Process{
		Log:         NewLog(s.Output, s.LogLevel, s.Name, s.Version),
		Metrics:     prometheus.NewRegistry(),
		name:        s.Name,
		listen:      s.listenAddress(),
		stopTimeout: s.StopTimeout,
		checks:      checks{by: map[string]func() error{}, phase: errStarting},
	}
	info := prometheus.NewGauge(prometheus.GaugeOpts{
		Name:        "muster_build_info",
		Help:        "Always 1; the labels say which process of which version this is.",
		ConstLabels: prometheus.Labels{"process": s.Name, "version": s.Version},
	})
	info.Set(1)
	p.Metrics.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}), collectors.NewBuildInfoCollector(), info)

	var err error
	p.Traces, p.flushTraces, err = newTracing(ctx, s, p.Log, p.Metrics)
	if err != nil {
		return nil, err
	}
	p.Tracer = p.Traces.Tracer("muster.dev/" + s.Name)
	p.ctx, p.cancel = context.WithCancelCause(ctx)
	p.wait = sync.OnceValue(p.stopAll)
	if err := p.serveOps(s.Pprof); err != nil {
		p.cancel(err)
		return nil, errors.Join(err, p.flushTraces(context.WithoutCancel(ctx)))
	}
	return p, nil
}

func buildVersion() string {
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" {
		return info.Main.Version
	}
	return "unknown"
}

// Addr is where health and metrics are served.
func (p *Process) Addr() string { return p.addr }

// Context ends when the process is asked to stop, or has failed.
func (p *Process) Context() context.Context { return p.ctx }

// SetReady adds a check of /readyz, or replaces the one of the same name. It is called at each request, from many
// goroutines, and must answer at once.
func (p *Process) SetReady(name string, check func() error) { p.checks.set(name, check) }

// Ready says that everything was started; from here on /readyz answers by the checks alone.
func (p *Process) Ready() {
	p.checks.setPhase(nil)
}

// Go starts fn as a room. Its ctx ends when it is this room's turn to stop, not before: whatever it feeds was
// started earlier and still runs, so it may drain into it. An error stops the process (a cancelled ctx is no
// error); nil means that the room has finished its work. A panic is reported and stops the process.
func (p *Process) Go(name string, fn func(ctx context.Context) error) {
	// Not derived from p.ctx: that ends for all rooms at once, and then nothing could drain forward.
	ctx, cancel := context.WithCancel(context.WithoutCancel(p.ctx))
	done := make(chan struct{})
	stop := func(wait context.Context) error {
		cancel()
		select {
		case <-done:
			return nil
		case <-wait.Done():
			return fmt.Errorf("%s: %w", name, ErrStopTimeout)
		}
	}
	run := func() {
		defer close(done)
		defer cancel()
		err := p.guard(name, func() error { return fn(ctx) })
		if err != nil && !(errors.Is(err, context.Canceled) && ctx.Err() != nil) {
			p.fail(err)
		}
	}
	if p.add(room{name, stop}) {
		go run()
		return
	}
	// Everything has stopped, and nobody would wait for it: it runs here, to let go of what it holds.
	cancel()
	run()
}

// OnStop registers what ends a room that was started otherwise. The functions of OnStop and the goroutines of Go
// are stopped one after another, the last one registered first; all of them share one deadline, the ctx of stop.
func (p *Process) OnStop(name string, stop func(ctx context.Context) error) {
	guarded := func(ctx context.Context) error { return p.guard(name, func() error { return stop(ctx) }) }
	if p.add(room{name, guarded}) {
		return
	}
	// Nobody else would call it.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(p.ctx), p.stopTimeout)
	defer cancel()
	if err := guarded(ctx); err != nil {
		p.fail(err)
	}
}

// add says false when all rooms have stopped.
func (p *Process) add(r room) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return false
	}
	p.rooms = append(p.rooms, r)
	return true
}

// last takes the room that started last; one that was started by a stopping room comes next.
func (p *Process) last() (room, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.rooms) == 0 {
		p.closed = true
		return room{}, false
	}
	r := p.rooms[len(p.rooms)-1]
	p.rooms = p.rooms[:len(p.rooms)-1]
	return r, true
}

func (p *Process) guard(name string, fn func() error) (err error) {
	defer func() {
		if v := recover(); v != nil {
			p.Log.Error("panic", "room", name, "panic", fmt.Sprint(v), "stack", string(debug.Stack()))
			err = fmt.Errorf("%s: %w: %v", name, ErrPanic, v)
		}
	}()
	if err := fn(); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return nil
}

func (p *Process) fail(err error) {
	p.mu.Lock()
	p.errs = append(p.errs, err)
	p.mu.Unlock()
	p.cancel(err)
}

// Stop asks the process to stop; Wait does the work.
func (p *Process) Stop() { p.cancel(nil) }

// Wait blocks until the process is asked to stop or fails, then stops all rooms in order. It returns what failed,
// nil after an ordered stop. It may be called more than once and answers the same.
func (p *Process) Wait() error { return p.wait() }

func (p *Process) stopAll() error {
	<-p.ctx.Done()
	p.checks.setPhase(errStopping)
	p.mu.Lock()
	failed := errors.Join(p.errs...)
	p.mu.Unlock()
	if failed != nil {
		p.Log.Error("stopping after a failure", "error", failed)
	} else {
		p.Log.Info("stopping")
	}

	ctx, cancel := context.WithTimeout(context.WithoutCancel(p.ctx), p.stopTimeout)
	defer cancel()
	for r, any := p.last(); any; r, any = p.last() {
		if err := r.stop(ctx); err != nil {
			p.fail(err)
		}
	}
	if err := p.flushTraces(ctx); err != nil {
		p.Log.Warn("traces were not flushed", "error", err)
	}
	// Health stays up to the last: a supervisor sees "stopping", not a refused connection.
	if err := p.ops.Shutdown(ctx); err != nil {
		_ = p.ops.Close()
	}
	<-p.opsDone

	p.mu.Lock()
	defer p.mu.Unlock()
	return errors.Join(p.errs...)
}
