package api

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"muster.dev/services/registry/authority"
	"muster.dev/services/registry/refusals"
	"muster.dev/services/registry/writer"
)

const (
	maxHeaders = 16 << 10
	// How long a request waits for its decision to stand in the log.
	decideTimeout = 8 * time.Second
)

// Settings is what code passes to New.
type Settings struct {
	Config
	Writer    *writer.Writer
	Authority *authority.Authority
	Refusals  *refusals.Room // told of attempts; nil tells nobody
	Log       *slog.Logger
	Metrics   prometheus.Registerer
	Now       func() time.Time // nil is the wall clock
}

// API serves the operators' API.
type API struct {
	writer    *writer.Writer
	authority *authority.Authority
	refusals  *refusals.Room
	log       *slog.Logger
	now       func() time.Time
	survey    survey
	token     [sha256.Size]byte
	server    *http.Server
	listener  net.Listener
	certFile  string
	keyFile   string
}

// New listens; Run serves.
func New(s Settings) (*API, error) {
	if err := s.Config.Validate(); err != nil {
		return nil, fmt.Errorf("api: %w", err)
	}
	a := &API{writer: s.Writer, authority: s.Authority, refusals: s.Refusals, log: s.Log, now: s.Now, certFile: s.CertFile, keyFile: s.KeyFile,
		token: sha256.Sum256([]byte(s.Token.Reveal()))}
	if a.now == nil {
		a.now = time.Now
	}
	listener, err := net.Listen("tcp", s.Listen)
	if err != nil {
		return nil, fmt.Errorf("the operators' API cannot listen; another process may hold the port: %w", err)
	}
	a.listener = listener
	routes, err := a.routes(newMetrics(s.Metrics))
	if err != nil {
		return nil, errors.Join(err, listener.Close())
	}
	a.server = &http.Server{
		Handler:           routes,
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       10 * time.Second,
		WriteTimeout:      20 * time.Second,
		IdleTimeout:       60 * time.Second,
		MaxHeaderBytes:    maxHeaders,
		ErrorLog:          slog.NewLogLogger(s.Log.Handler(), slog.LevelDebug),
	}
	return a, nil
}

// Addr is where it listens.
func (a *API) Addr() string { return a.listener.Addr().String() }

// Run serves until ctx ends, and lets requests under way finish.
func (a *API) Run(ctx context.Context) error {
	done := make(chan error, 1)
	go func() {
		if a.certFile != "" {
			done <- a.server.ServeTLS(a.listener, a.certFile, a.keyFile)
		} else {
			done <- a.server.Serve(a.listener)
		}
	}()
	select {
	case err := <-done:
		return fmt.Errorf("operators' API: %w", err)
	case <-ctx.Done():
	}
	stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), decideTimeout+2*time.Second)
	defer cancel()
	err := a.server.Shutdown(stop)
	if err != nil {
		err = errors.Join(err, a.server.Close())
	}
	<-done
	return err
}

func (a *API) routes(m *metrics) (http.Handler, error) {
	mux := http.NewServeMux()
	for _, o := range operations() {
		mux.Handle(o.route(), m.count(o.route(), a.guard(o)))
	}
	document, err := Document()
	if err != nil {
		return nil, err
	}
	mux.Handle(documentRoute, m.count(documentRoute, serveDocument(document)))
	other := on(operation{least: Viewer}, func(_ *API, c *call, _ *nothing) (nothing, error) {
		return nothing{}, missing("", "the operators' API has no %s here", c.Method)
	})
	mux.Handle("/", m.count("other", a.guard(other)))
	return mux, nil
}
