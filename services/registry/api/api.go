package api

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"mime"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"muster.dev/services/registry/authority"
	"muster.dev/services/registry/writer"
)

const (
	maxBody    = 64 << 10
	maxHeaders = 16 << 10
	// How long a request waits for its decision to stand in the log.
	decideTimeout = 8 * time.Second
)

// Settings is what code passes to New.
type Settings struct {
	Config
	Writer    *writer.Writer
	Authority *authority.Authority
	Log       *slog.Logger
	Metrics   prometheus.Registerer
}

// API serves the operators' API.
type API struct {
	writer    *writer.Writer
	authority *authority.Authority
	log       *slog.Logger
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
	a := &API{writer: s.Writer, authority: s.Authority, log: s.Log, certFile: s.CertFile, keyFile: s.KeyFile,
		token: sha256.Sum256([]byte(s.Token.Reveal()))}
	listener, err := net.Listen("tcp", s.Listen)
	if err != nil {
		return nil, fmt.Errorf("the operators' API cannot listen; another process may hold the port: %w", err)
	}
	a.listener = listener
	a.server = &http.Server{
		Handler:           a.routes(newMetrics(s.Metrics)),
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

func (a *API) routes(m *metrics) http.Handler {
	mux := http.NewServeMux()
	for route, handler := range map[string]func(*http.Request) (int, any, error){
		"POST /api/v1/devices":     a.enrol,
		"GET /api/v1/devices":      a.devices,
		"GET /api/v1/devices/{id}": a.device,
		"POST /api/v1/schemas":     a.defineSchema,
		"GET /api/v1/schemas/{id}": a.schema,
	} {
		mux.Handle(route, m.count(route, a.guard(handler)))
	}
	mux.Handle("/", m.count("other", a.guard(func(r *http.Request) (int, any, error) {
		return 0, nil, refuse(http.StatusNotFound, "", "the operators' API has no "+r.Method+" here")
	})))
	return mux
}

// guard lets the bearer of the token in, bounds what he sends, and writes what the handler says.
func (a *API) guard(handler func(*http.Request) (int, any, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if !a.admitted(r) {
			w.Header().Set("WWW-Authenticate", `Bearer realm="muster"`)
			answer(w, http.StatusUnauthorized, refuse(http.StatusUnauthorized, "", "want an operator's token as Authorization: Bearer"))
			return
		}
		r.Body = http.MaxBytesReader(w, r.Body, maxBody)
		ctx, cancel := context.WithTimeout(r.Context(), decideTimeout)
		defer cancel()
		status, body, err := handler(r.WithContext(ctx))
		if err != nil {
			p := problem(err)
			if p.Status >= http.StatusInternalServerError {
				a.log.Warn("request failed", "method", r.Method, "path", r.URL.Path, "status", p.Status, "error", err)
			}
			status, body = p.Status, p
		}
		answer(w, status, body)
	}
}

// admitted compares digests, so that neither the length of the token nor how much of it was right shows in time.
func (a *API) admitted(r *http.Request) bool {
	scheme, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	digest := sha256.Sum256([]byte(strings.TrimSpace(token)))
	return subtle.ConstantTimeCompare(digest[:], a.token[:]) == 1 && strings.EqualFold(scheme, "Bearer")
}

// read takes one JSON value of known members from the body.
func read(r *http.Request, into any) error {
	if mediaType, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || mediaType != "application/json" {
		return refuse(http.StatusUnsupportedMediaType, "", "want Content-Type: application/json")
	}
	decoder := json.NewDecoder(r.Body)
	decoder.DisallowUnknownFields()
	err := decoder.Decode(into)
	if err == nil {
		if _, end := decoder.Token(); !errors.Is(end, io.EOF) {
			err = errors.New("there is something behind the JSON value")
			var large *http.MaxBytesError
			if errors.As(end, &large) {
				err = end
			}
		}
	}
	var (
		large    *http.MaxBytesError
		mistyped *json.UnmarshalTypeError
	)
	switch {
	case err == nil:
		return nil
	case errors.As(err, &large):
		return refuse(http.StatusRequestEntityTooLarge, "", fmt.Sprintf("the body is larger than %d bytes", maxBody))
	case errors.As(err, &mistyped):
		return refuse(http.StatusBadRequest, mistyped.Field, fmt.Sprintf("a JSON %s does not fit", mistyped.Value))
	}
	return refuse(http.StatusBadRequest, "", fmt.Sprintf("the body does not parse: %.200s", err))
}
