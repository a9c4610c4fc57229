package est

import (
	"errors"
	"fmt"
	"net/http"

	"muster.dev/services/registry/authority"
	"muster.dev/services/registry/decide"
	"muster.dev/services/registry/writer"
)

// problem is a refusal as the device is told it: what, and what to do.
type problem struct {
	status int
	says   string
	todo   string
	retry  int // seconds, 0 is not to be tried again as it is
	// challenge asks for a one-time password.
	challenge bool
	audit     bool // an attempt that an auditor is told of
}

func (p *problem) Error() string { return p.says }

func (p *problem) body() []byte {
	if p.todo == "" {
		return []byte(p.says + "\n")
	}
	return []byte(p.says + "\n" + p.todo + "\n")
}

func refuse(status int, todo, format string, args ...any) *problem {
	return &problem{status: status, says: fmt.Sprintf(format, args...), todo: todo, audit: true}
}

// quietly is for what is no attempt: a challenge, a wrong address, a fault of ours.
func (p *problem) quietly() *problem { p.audit = false; return p }

func later(seconds int, format string, args ...any) *problem {
	return &problem{status: http.StatusServiceUnavailable, says: fmt.Sprintf(format, args...), todo: "Try again; the same request is safe to repeat.", retry: seconds}
}

// asProblem turns what a room below said into what the device is told.
func asProblem(err error) *problem {
	var (
		known   *problem
		request *authority.RequestError
		refusal *decide.Refusal
		large   *http.MaxBytesError
	)
	switch {
	case errors.As(err, &known):
		return known
	case errors.As(err, &large):
		return refuse(http.StatusRequestEntityTooLarge, "Send the request alone, in DER as base64.", "the body is larger than %d bytes", maxBody)
	case errors.As(err, &request):
		return refuse(http.StatusBadRequest, "Want a PKCS #10 request, signed by its own key: P-256, Ed25519, or RSA of 2048 to 8192 bits.", "the certificate request is refused: %s", request.Reason)
	case errors.As(err, &refusal):
		return decided(refusal)
	case errors.Is(err, authority.ErrIssuerGone):
		return refuse(http.StatusForbidden, "Make a new request.", "the certificate of this request is of an authority that was retired")
	case errors.Is(err, writer.ErrStandby):
		return later(2, "this registry stands by for another, which enrols")
	case errors.Is(err, writer.ErrUnavailable):
		return later(1, "the registry cannot write its log now")
	}
	return &problem{status: http.StatusInternalServerError, says: "the registry failed; its log says why"}
}

// decided turns a decision into what the device is told.
func decided(r *decide.Refusal) *problem {
	switch {
	case r.Field == "password":
		p := refuse(http.StatusUnauthorized, "Ask an operator for a new one-time password; the user name is the device's name.", "the one-time password is not good for this device, here and now")
		p.challenge = true
		return p
	case r.Field == "issuer" || r.Field == "serial" && r.Kind != decide.Forbidden || r.Field == "not_after":
		// What the registry drafted does not hold: its own issuing certificate was revoked or is at its end.
		return later(60, "the registry cannot issue certificates now: %s", r.Detail)
	case r.Kind == decide.NotFound:
		return refuse(http.StatusNotFound, "Use the address of a product line that an operator has defined.", "%s: %s", r.Field, r.Detail)
	case r.Kind == decide.Invalid:
		return refuse(http.StatusBadRequest, "", "%s: %s", r.Field, r.Detail)
	case r.Field == "csr":
		return refuse(http.StatusForbidden, "Make a request for the device's own name, with a key of its own.", "the certificate request is refused: %s", r.Detail)
	}
	return refuse(http.StatusForbidden, "Ask an operator.", "%s: %s", r.Field, r.Detail)
}
