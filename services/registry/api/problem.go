package api

import (
	"cmp"
	"encoding/json"
	"errors"
	"net/http"

	"muster.dev/services/registry/authority"
	"muster.dev/services/registry/decide"
	"muster.dev/services/registry/writer"

	v1 "muster.dev/services/registry/api/v1"
)

func refuse(status int, field, detail string) *v1.Problem {
	return &v1.Problem{Type: "about:blank", Title: http.StatusText(status), Status: status, Field: field, Detail: detail}
}

// members are what bodies call what commands call otherwise.
var members = map[string]string{"interval": "interval_ms", "not_after": "life_seconds", "unset": "attributes", "old": "device"}

// problem turns what a room below said into what the caller is told.
func problem(err error) *v1.Problem {
	var (
		known   *v1.Problem
		refusal *decide.Refusal
		request *authority.RequestError
	)
	switch {
	case errors.As(err, &known):
		return known
	case errors.As(err, &request):
		return refuse(http.StatusUnprocessableEntity, "csr", request.Reason)
	case errors.As(err, &refusal):
		status := http.StatusUnprocessableEntity
		switch refusal.Kind {
		case decide.Conflict:
			status = http.StatusConflict
		case decide.NotFound:
			status = http.StatusNotFound
		case decide.Forbidden:
			status = http.StatusForbidden
		}
		return refuse(status, cmp.Or(members[refusal.Field], refusal.Field), refusal.Detail)
	case errors.Is(err, authority.ErrIssuerGone):
		return refuse(http.StatusConflict, "csr", "this very request has a certificate already, of an issuer that was retired: make another request")
	case errors.Is(err, writer.ErrStandby):
		return refuse(http.StatusServiceUnavailable, "", "this process of the registry stands by; another writes the log: ask that one, or ask again")
	case errors.Is(err, writer.ErrUnavailable):
		return refuse(http.StatusServiceUnavailable, "", "the registry cannot write its log now; ask again, it is safe to repeat")
	}
	return refuse(http.StatusInternalServerError, "", "the registry failed; its log says why")
}

func answer(w http.ResponseWriter, status int, body any) {
	data, err := json.Marshal(body)
	if err != nil { // the bodies are structs of strings and numbers
		status, data = http.StatusInternalServerError, []byte(`{}`)
	}
	contentType := "application/json"
	if _, ok := body.(*v1.Problem); ok {
		contentType = v1.ProblemType
	}
	w.Header().Set("Content-Type", contentType)
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	if status == http.StatusServiceUnavailable {
		w.Header().Set("Retry-After", "1")
	}
	w.WriteHeader(status)
	_, _ = w.Write(append(data, '\n')) // the caller went away: nobody is left to tell
}
