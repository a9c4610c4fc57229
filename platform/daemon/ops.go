package daemon

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/pprof"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// errStarting keeps a process unready until its run function has built it; errStopping from the moment it is asked
// to stop, so that a balancer looks elsewhere while the rooms drain.
var (
	errStarting = errors.New("starting")
	errStopping = errors.New("stopping")
)

type checks struct {
	mu    sync.Mutex
	names []string // in the order of SetReady
	by    map[string]func() error
	phase error // errStarting, nil or errStopping
}

func (c *checks) set(name string, check func() error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, known := c.by[name]; !known {
		c.names = append(c.names, name)
	}
	c.by[name] = check
}

func (c *checks) setPhase(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.phase != errStopping { // which is the last
		c.phase = err
	}
}

// Failed is one check that does not hold.
type Failed struct {
	Name  string `json:"name"`
	Error string `json:"error"`
}

// Readiness is the body of /readyz: 200 when Status is "ready", else 503.
type Readiness struct {
	Status string   `json:"status"` // ready, unready, starting, stopping
	Failed []Failed `json:"failed,omitempty"`
}

func (c *checks) readiness() Readiness {
	c.mu.Lock()
	names := append([]string(nil), c.names...)
	by := make([]func() error, len(names))
	for i, n := range names {
		by[i] = c.by[n]
	}
	phase := c.phase
	c.mu.Unlock()

	r := Readiness{Status: "ready"}
	for i, check := range by { // outside the lock: a check may take its time
		if err := check(); err != nil {
			r.Status = "unready"
			r.Failed = append(r.Failed, Failed{Name: names[i], Error: err.Error()})
		}
	}
	if phase != nil {
		r.Status = phase.Error()
	}
	return r
}

func (p *Process) serveOps(pprofToo bool) error {
	ln, err := net.Listen("tcp", p.listen)
	if err != nil {
		return fmt.Errorf("listen for health and metrics: %w", err)
	}
	p.addr = ln.Addr().String()
	mux := http.NewServeMux()
	live := func(w http.ResponseWriter, _ *http.Request) { writeJSON(w, http.StatusOK, Readiness{Status: "alive"}) }
	mux.HandleFunc("GET /livez", live)
	ready := func(w http.ResponseWriter, _ *http.Request) {
		r := p.checks.readiness()
		code := http.StatusOK
		if r.Status != "ready" {
			code = http.StatusServiceUnavailable
		}
		writeJSON(w, code, r)
	}
	mux.HandleFunc("GET /readyz", ready)
	mux.HandleFunc("GET /healthz", ready)
	mux.Handle("GET /metrics", promhttp.HandlerFor(p.Metrics, promhttp.HandlerOpts{Registry: p.Metrics}))
	if pprofToo {
		mux.HandleFunc("/debug/pprof/", pprof.Index)
		mux.HandleFunc("/debug/pprof/cmdline", pprof.Cmdline)
		mux.HandleFunc("/debug/pprof/profile", pprof.Profile)
		mux.HandleFunc("/debug/pprof/symbol", pprof.Symbol)
		mux.HandleFunc("/debug/pprof/trace", pprof.Trace)
	}
	p.ops = &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second, IdleTimeout: time.Minute, MaxHeaderBytes: 16 << 10}
	p.opsDone = make(chan struct{})
	go func() { // owned by Wait, which closes the server last and waits for opsDone
		defer close(p.opsDone)
		if err := p.ops.Serve(ln); err != nil && !errors.Is(err, http.ErrServerClosed) {
			p.fail(fmt.Errorf("serve health and metrics: %w", err))
		}
	}()
	return nil
}

func writeJSON(w http.ResponseWriter, code int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(code)
	_ = json.NewEncoder(w).Encode(body) // the peer has gone: nothing to tell it
}
