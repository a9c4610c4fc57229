package api

import (
	"cmp"
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"fmt"
	"net"
	"net/http"
	"strings"
	"time"

	"muster.dev/services/registry/decide"
	"muster.dev/services/registry/refusals"
	"muster.dev/services/registry/writer"

	v1 "muster.dev/services/registry/api/v1"
)

// fileOperator is the name of the bearer of the configured token, which no other token may have.
const fileOperator = "operator"

// caller is who calls, as their token says.
type caller struct {
	name string
	role Role
}

// guard lets the bearer of a token in whose role suffices, bounds what they send, and writes what the operation says.
func (a *API) guard(o operation) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		r.Body = http.MaxBytesReader(w, r.Body, maxBody)
		ctx, cancel := context.WithTimeout(r.Context(), decideTimeout)
		defer cancel()
		c := &call{Request: r.WithContext(ctx), status: http.StatusOK}
		body, err := a.serve(o, c)
		if err != nil {
			p := problem(err)
			if p.Status >= http.StatusInternalServerError {
				a.log.Warn("request failed", "method", r.Method, "path", r.URL.Path, "status", p.Status, "error", err)
			}
			if p.Status == http.StatusUnauthorized {
				w.Header().Set("WWW-Authenticate", `Bearer realm="muster"`)
			}
			a.note(o, c, p)
			c.status, body = p.Status, p
		}
		answer(w, c.status, body)
	}
}

// syncTimeout bounds how long a standby waits until it has all that the log holds.
const syncTimeout = time.Second

// sync makes a standby answer from a state, of devices and of tokens, that has all that was acknowledged before it was
// asked. If the log does not tell in time what that is, what is known here has to do: whoever reads in an outage of the
// log is better off with that than with nothing, and changes are decided elsewhere.
func (a *API) sync(ctx context.Context) {
	if a.writer.Role() != writer.Standby {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, syncTimeout)
	defer cancel()
	if err := a.writer.Sync(ctx); err != nil {
		a.log.Debug("a standby answers from what it has", "error", err)
	}
}

func (a *API) serve(o operation, c *call) (any, error) {
	a.sync(c.Context())
	var err error
	if c.caller, err = a.admit(c.Request); err != nil {
		return nil, err
	}
	if !c.caller.role.May(o.least) {
		return nil, refuse(http.StatusForbidden, "", fmt.Sprintf("%s needs the role %s, and the token of %s has %s", o.route(), o.least, c.caller.name, c.caller.role))
	}
	return o.handle(a, c)
}

// admit says who calls. A token is looked up by its digest, so that neither its length nor how much of it was right
// shows in time.
func (a *API) admit(r *http.Request) (caller, error) {
	scheme, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	digest := sha256.Sum256([]byte(strings.TrimSpace(token)))
	if !strings.EqualFold(scheme, "Bearer") {
		return caller{}, refuse(http.StatusUnauthorized, "", "want an operator's token as Authorization: Bearer")
	}
	if subtle.ConstantTimeCompare(digest[:], a.token[:]) == 1 {
		return caller{fileOperator, Admin}, nil
	}
	var known caller
	err := a.see(r.Context(), func(s *decide.State) error {
		t, ok := s.Token(digest)
		switch {
		case !ok:
			return refuse(http.StatusUnauthorized, "", "the token is not one that the registry knows, or was withdrawn")
		case !a.now().Before(t.NotAfter):
			return refuse(http.StatusUnauthorized, "", fmt.Sprintf("token %s of %s ended at %s", t.ID, t.Name, t.NotAfter.UTC().Format(time.RFC3339)))
		}
		known = caller{t.Name, Role(t.Role)}
		return nil
	})
	return known, err
}

// note tells auditors of an attempt at what is not allowed.
func (a *API) note(o operation, c *call, p *v1.Problem) {
	if a.refusals == nil || p.Status != http.StatusUnauthorized && p.Status != http.StatusForbidden {
		return
	}
	source, _, err := net.SplitHostPort(c.RemoteAddr)
	if err != nil {
		source = c.RemoteAddr
	}
	subject := cmp.Or(c.caller.name, "nobody")
	a.refusals.Note(refusals.Attempt{What: "operators' API", Subject: subject, Reason: o.id + ": " + p.Detail, Source: source})
}
