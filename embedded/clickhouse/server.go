package clickhouse

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"sync"
	"syscall"
	"time"

	"muster.dev/embedded/datadir"
)

// Server is a running store.
type Server struct {
	cfg      Config
	addr     string
	version  string
	engine   *engine
	lock     *os.File
	http     *http.Server
	queries  *queries
	services lane
	analysts lane // queries that run
	lobby    lane // requests of analysts, from their headers to their end

	serving sync.WaitGroup // the listener's goroutine
	working sync.WaitGroup // requests that hold a connection
	stop    sync.Once
}

// Run starts a store and stops it in order when ctx ends: running queries may finish, for Config.DrainTimeout.
func Run(ctx context.Context, cfg Config) error {
	s, err := Start(cfg)
	if err != nil {
		return err
	}
	<-ctx.Done()
	return s.Close()
}

// Start returns when the store answers. The error says what to do when the engine is not installed, or the port or
// the data directory belongs to another process.
func Start(cfg Config) (*Server, error) {
	cfg = cfg.withDefaults()
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("clickhouse: %w", err)
	}
	s := &Server{
		cfg: cfg, queries: newQueries(),
		services: make(lane, cfg.MaxServices), analysts: make(lane, cfg.Analysts.Queries),
		lobby: make(lane, cfg.Analysts.Requests),
	}
	if err := s.start(); err != nil {
		s.release()
		return nil, fmt.Errorf("clickhouse: %w", err)
	}
	return s, nil
}

var versionText = regexp.MustCompile(`^\d+(\.\d+)+`)

func (s *Server) start() error {
	ln, err := listen(s.cfg.Listen)
	if err != nil {
		return err
	}
	s.addr = ln.Addr().String()
	if err := s.open(); err != nil {
		ln.Close()
		return err
	}
	s.http = &http.Server{
		Handler:           s,
		ReadHeaderTimeout: 5 * time.Second,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    1 << 20, // a query may stand in the URL
	}
	s.serving.Go(func() {
		if err := s.http.Serve(&bounded{Listener: ln, open: make(lane, s.cfg.MaxConnections)}); !errors.Is(err, http.ErrServerClosed) {
			s.cfg.Log.Error("serve the store", "error", err)
		}
	})
	s.cfg.Log.Info("clickhouse serves", "addr", s.addr, "version", s.version, "data", s.cfg.DataDir, "sync", s.cfg.Sync)
	return nil
}

// open starts the engine and makes the database.
func (s *Server) open() error {
	path := s.cfg.Library
	if path == "" {
		var err error
		if path, err = FindLibrary(); err != nil {
			return err
		}
	}
	var err error
	if s.lock, err = datadir.Lock(s.cfg.DataDir, "store"); err != nil {
		return err
	}
	lib, err := loadLibrary(path)
	if err != nil {
		return err
	}
	err = mend(filepath.Join(s.cfg.DataDir, "data"), s.cfg.Derived, func(view string) {
		s.cfg.Log.Error("a view's definition was empty, as after a full disk: removed, its owner makes it anew", "view", view)
	})
	if err != nil {
		return err
	}
	if s.engine, err = openEngine(lib, s.cfg); err != nil {
		return err
	}
	r, err := s.engine.keeper.query("SELECT version()", "TabSeparatedRaw", nil)
	if err != nil {
		return fmt.Errorf("ask the engine's version: %w", err)
	}
	s.version = versionText.FindString(string(r.bytes()))
	r.close()
	if s.version == "" {
		return fmt.Errorf("%s tells no version: run `make engine`", path)
	}
	if err := s.engine.keeper.exec("CREATE DATABASE IF NOT EXISTS " + s.cfg.Database + " ENGINE = Atomic"); err != nil {
		return fmt.Errorf("create database %s: %w", s.cfg.Database, err)
	}
	// Whoever reads it makes the engine send a signal to every thread of the process; one that runs Go code then has
	// the handler on a goroutine's small stack, which ends the process.
	if err := s.engine.keeper.exec("DETACH TABLE IF EXISTS system.stack_trace"); err != nil {
		return fmt.Errorf("take away system.stack_trace: %w", err)
	}
	return nil
}

// listen opens the port before anything on disk is touched, and says what to do when it is taken.
func listen(addr string) (net.Listener, error) {
	ln, err := net.Listen("tcp", addr)
	if errors.Is(err, syscall.EADDRINUSE) {
		_, port, _ := net.SplitHostPort(addr)
		return nil, fmt.Errorf("port %s is taken: stop what listens on %s (`muster status`, `ss -ltnp`), or move every port with --listen-offset: %w", port, addr, err)
	}
	if err != nil {
		return nil, fmt.Errorf("listen on %s: %w", addr, err)
	}
	return ln, nil
}

// Addr is where clients connect: host and port.
func (s *Server) Addr() string { return s.addr }

// Version is the engine's.
func (s *Server) Version() string { return s.version }

// Check reports whether the engine answers, for a readiness probe.
func (s *Server) Check(context.Context) error {
	c, err := s.engine.connect()
	if err != nil {
		return err
	}
	defer c.close()
	return c.exec("SELECT 1")
}

// Close stops accepting, lets running queries finish for Config.DrainTimeout, cancels the rest and stops the engine.
// It may be called more than once.
func (s *Server) Close() error {
	var err error
	s.stop.Do(func() { err = s.close() })
	return err
}

func (s *Server) close() error {
	ctx, cancel := context.WithTimeout(context.Background(), s.cfg.DrainTimeout)
	defer cancel()
	err := s.http.Shutdown(ctx)
	if err != nil {
		s.cfg.Log.Warn("queries outlived the drain and are cancelled", "after", s.cfg.DrainTimeout)
		for _, q := range s.queries.all() {
			s.cancelUntilDone(context.Background(), q)
		}
		err = s.http.Close()
	}
	s.serving.Wait()
	s.working.Wait()
	s.release()
	return err
}

// release gives back what start took.
func (s *Server) release() {
	if s.engine != nil {
		s.engine.close()
	}
	if s.lock != nil {
		s.lock.Close()
	}
}

// cancelUntilDone repeats the cancel until the query is over: the first may come before the engine knows it.
func (s *Server) cancelUntilDone(ctx context.Context, q *query) {
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		if err := q.cancelIn(s.engine); err != nil {
			s.cfg.Log.Warn("cancel a query", "id", q.id, "error", err)
		}
		select {
		case <-q.done:
			return
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}
