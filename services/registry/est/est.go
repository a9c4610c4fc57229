package est

import (
	"context"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"muster.dev/platform/share"
	"muster.dev/proto/pkcs7"
	"muster.dev/services/registry/authority"
	"muster.dev/services/registry/refusals"
	"muster.dev/services/registry/writer"
)

const (
	maxHeaders    = 16 << 10
	decideTimeout = 8 * time.Second // how long a request waits for its decision to stand in the log

	// Refusals of one subject from one address: a device that loops with a wrong password is slowed down, its neighbours are
	// not, and neither is it by a stranger elsewhere who calls himself by its name.
	failRate  = 1.0
	failBurst = 10

	// New certificates of one device. An honest one renews a few times a year; each is an event that the log keeps for ever,
	// so one that asks again and again, with a new request each time, would fill it. Passwords have a count of their own.
	issueRate  = 1.0 / 300
	issueBurst = 20

	maxSubject = 256 // bytes of a name that is remembered: a client's certificate may have one of 100 KB
)

// Settings is what code passes to New.
type Settings struct {
	Config
	Writer    *writer.Writer
	Authority *authority.Authority
	Refusals  *refusals.Room
	Log       *slog.Logger
	Metrics   prometheus.Registerer
	Now       func() time.Time // nil is the wall clock
}

// EST serves devices.
type EST struct {
	writer    *writer.Writer
	authority *authority.Authority
	refusals  *refusals.Room
	log       *slog.Logger
	metrics   *metrics
	material  *material
	now       func() time.Time
	requests  *rates[netip.Prefix]
	failures  *rates[failing]
	issues    *rates[string] // by device, or by manufacturer and serial
	attribute []byte
	makers    makers
	server    *http.Server
	listener  net.Listener
}

// New listens; Run serves.
func New(s Settings) (*EST, error) {
	if err := s.Config.Validate(); err != nil {
		return nil, fmt.Errorf("est: %w", err)
	}
	e := &EST{writer: s.Writer, authority: s.Authority, refusals: s.Refusals, log: s.Log, metrics: newMetrics(s.Metrics), now: s.Now}
	if e.now == nil {
		e.now = time.Now
	}
	e.requests, e.failures = newRates[netip.Prefix](s.Rate, s.Burst, e.now), newRates[failing](failRate, failBurst, e.now)
	e.issues = newRates[string](issueRate, issueBurst, e.now)
	var err error
	if e.attribute, err = wanted(); err != nil {
		return nil, err
	}
	if e.material, err = loadMaterial(s.CertFile, s.KeyFile, e.metrics); err != nil {
		return nil, err
	}
	listener, err := net.Listen("tcp", s.Listen)
	if err != nil {
		return nil, fmt.Errorf("the devices' side cannot listen; another process may hold the port: %w", err)
	}
	e.listener = bound(listener, s.Connections, s.PerAddress, e.metrics)
	e.server = &http.Server{
		Handler: e.routes(),
		// The first of these three bounds the handshake too.
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       10 * time.Second,
		WriteTimeout:      20 * time.Second,
		IdleTimeout:       30 * time.Second,
		MaxHeaderBytes:    maxHeaders,
		ErrorLog:          slog.NewLogLogger(s.Log.Handler(), slog.LevelDebug),
	}
	return e, nil
}

// Addr is where it listens.
func (e *EST) Addr() string { return e.listener.Addr().String() }

// Run serves until ctx ends, and lets requests under way finish.
func (e *EST) Run(ctx context.Context) error {
	watch, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()
	wg.Go(func() { e.material.watch(watch, lookEvery, e.log) })
	done := make(chan error, 1)
	go func() { done <- e.server.Serve(tls.NewListener(e.listener, e.material.config())) }()
	select {
	case err := <-done:
		return fmt.Errorf("the devices' side: %w", err)
	case <-ctx.Done():
	}
	stop, end := context.WithTimeout(context.WithoutCancel(ctx), decideTimeout+2*time.Second)
	defer end()
	err := e.server.Shutdown(stop)
	if err != nil {
		err = errors.Join(err, e.server.Close())
	}
	<-done
	return err
}

// answer is what a device gets.
type answer struct {
	contentType string
	der         []byte
}

const (
	typeCerts     = "application/pkcs7-mime"
	typeCertsOnly = "application/pkcs7-mime; smime-type=certs-only"
	typeAttrs     = "application/csrattrs"
)

// The operations, as metrics and events call them.
const (
	opCACerts  = "cacerts"
	opAttrs    = "csrattrs"
	opEnrol    = "simpleenroll"
	opReenrol  = "simplereenroll"
	opElsewise = "other"
)

func (e *EST) routes() http.Handler {
	mux := http.NewServeMux()
	for _, at := range []string{"/.well-known/est/", "/.well-known/est/{label}/"} {
		for operation, o := range map[string]struct {
			method string
			serve  func(http.ResponseWriter, *http.Request, *attempt) (answer, error)
		}{
			opCACerts: {http.MethodGet, e.caCerts}, opAttrs: {http.MethodGet, e.attributes},
			opEnrol: {http.MethodPost, e.enrol}, opReenrol: {http.MethodPost, e.reenrol},
		} {
			mux.Handle(o.method+" "+at+operation, e.guard(operation, o.serve))
			mux.Handle(at+operation, e.guard(operation, func(w http.ResponseWriter, r *http.Request, _ *attempt) (answer, error) {
				w.Header().Set("Allow", o.method)
				return answer{}, refuse(http.StatusMethodNotAllowed, "", "%s takes %s, not %.20q", operation, o.method, r.Method).quietly()
			}))
		}
	}
	mux.Handle("/", e.guard(opElsewise, func(_ http.ResponseWriter, r *http.Request, _ *attempt) (answer, error) {
		return answer{}, refuse(http.StatusNotFound, "There are /.well-known/est/cacerts, csrattrs, simpleenroll and simplereenroll, each also below a label: /.well-known/est/LABEL/cacerts.",
			"this registry has nothing at %.100q", r.URL.Path).quietly()
	}))
	return mux
}

// failing is whose refusals are counted.
type failing struct {
	subject string
	from    netip.Prefix
}

// attempt gathers who asks, for the refusal if it comes to that.
type attempt struct{ subject string }

// by says in whose name the attempt is. What is kept of it holds nothing else of the request in memory.
func (a *attempt) by(subject string) {
	a.subject = strings.Clone(subject[:min(len(subject), maxSubject)])
}

// guard bounds what comes, writes what the operation says, and tells auditors of a refusal.
func (e *EST) guard(operation string, serve func(http.ResponseWriter, *http.Request, *attempt) (answer, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		began := time.Now()
		var a attempt
		out, err := e.limited(w, r, &a, serve)
		code := http.StatusOK
		if err == nil {
			w.Header().Set("Content-Type", out.contentType)
			// RFC 8951 has no use for it; clients of RFC 7030's time look for it.
			w.Header().Set("Content-Transfer-Encoding", "base64")
			body := make([]byte, base64.StdEncoding.EncodedLen(len(out.der)))
			base64.StdEncoding.Encode(body, out.der) // one line: strongSwan reads no other
			w.Header().Set("Content-Length", strconv.Itoa(len(body)))
			_, _ = w.Write(body) // the device went away: it asks again
		} else {
			code = e.refuse(w, r, operation, a.subject, asProblem(err), err)
		}
		e.metrics.requests.WithLabelValues(operation, strconv.Itoa(code)).Inc()
		e.metrics.seconds.WithLabelValues(operation).Observe(time.Since(began).Seconds())
	}
}

func (e *EST) limited(w http.ResponseWriter, r *http.Request, a *attempt, serve func(http.ResponseWriter, *http.Request, *attempt) (answer, error)) (answer, error) {
	if wait := e.requests.take(share.Address(r.RemoteAddr)); wait > 0 {
		return answer{}, slower(wait, "too many requests come from this address")
	}
	ctx, cancel := context.WithTimeout(r.Context(), decideTimeout)
	defer cancel()
	return serve(w, r.WithContext(ctx), a)
}

func slower(wait time.Duration, says string) *problem {
	p := refuse(http.StatusTooManyRequests, "Wait as long as Retry-After says.", "%s", says)
	p.retry = max(int(math.Ceil(wait.Seconds())), 1)
	return p
}

func (e *EST) refuse(w http.ResponseWriter, r *http.Request, operation, subject string, p *problem, err error) int {
	if p.status >= http.StatusInternalServerError {
		e.log.Warn("request failed", "operation", operation, "subject", subject, "source", r.RemoteAddr, "status", p.status, "error", err)
	}
	if p.audit && (operation == opEnrol || operation == opReenrol) && p.status < http.StatusInternalServerError {
		host, _, _ := net.SplitHostPort(r.RemoteAddr) // the server's own: it has a port
		e.refusals.Note(refusals.Attempt{What: operation, Subject: subject, Reason: p.says, Source: host})
		if subject != "" && p.status != http.StatusTooManyRequests {
			e.failures.take(failing{subject, share.Address(r.RemoteAddr)})
		}
	}
	h := w.Header()
	h.Set("Content-Type", "text/plain; charset=utf-8")
	h.Set("X-Content-Type-Options", "nosniff")
	if p.challenge {
		h.Set("WWW-Authenticate", `Basic realm="muster", charset="UTF-8"`)
	}
	if p.retry > 0 {
		h.Set("Retry-After", strconv.Itoa(p.retry))
	}
	if p.status == http.StatusRequestEntityTooLarge {
		h.Set("Connection", "close")
	}
	w.WriteHeader(p.status)
	_, _ = w.Write(p.body()) // as above
	return p.status
}

// caCerts gives every trusted root, and what stands between them and the certificates that are issued now. Older issuing
// certificates are left out: servers know them, and an answer that net/http writes in two parts is more than strongSwan reads.
func (e *EST) caCerts(http.ResponseWriter, *http.Request, *attempt) (answer, error) {
	var certs [][]byte
	seen := map[string]bool{}
	add := func(der []byte) {
		if !seen[string(der)] {
			seen[string(der)] = true
			certs = append(certs, der)
		}
	}
	for _, c := range e.authority.Roots() {
		add(c.Raw)
	}
	for _, c := range e.authority.Chain() {
		add(c.Raw)
	}
	der, err := pkcs7.CertsOnly(certs...)
	return answer{typeCerts, der}, err
}

func (e *EST) attributes(http.ResponseWriter, *http.Request, *attempt) (answer, error) {
	return answer{typeAttrs, e.attribute}, nil
}
