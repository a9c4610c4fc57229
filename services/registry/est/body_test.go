package est

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"testing"

	"muster.dev/services/registry/authority"
	"muster.dev/services/registry/decide"
	"muster.dev/services/registry/writer"
)

func FuzzABodyIsDecodedOrRefused(f *testing.F) {
	f.Add([]byte("TUlJ\r\nQg==\n"))
	f.Add([]byte("-----BEGIN CERTIFICATE REQUEST-----"))
	f.Add([]byte("\xff\x00="))
	f.Fuzz(func(t *testing.T, body []byte) {
		der, err := decode(body)
		var p *problem
		if err != nil {
			if !errors.As(err, &p) || p.status != http.StatusBadRequest || len(p.body()) > 1024 {
				t.Fatalf("%v", err)
			}
			return
		}
		back, err := decode([]byte(base64.StdEncoding.EncodeToString(der)))
		if err != nil && len(der) > 0 || !bytes.Equal(back, der) {
			t.Fatalf("%x became %x, %v", der, back, err)
		}
		if _, err := authority.ParseRequestDER(der); err != nil {
			asProblem(err)
		}
	})
}

func TestEachFaultHasItsStatus(t *testing.T) {
	for _, c := range []struct {
		err   error
		code  int
		retry bool
	}{
		{fmt.Errorf("do: %w", writer.ErrUnavailable), 503, true},
		{fmt.Errorf("do: %w", writer.ErrStandby), 503, true},
		{&decide.Refusal{Kind: decide.Forbidden, Field: "password"}, 401, false},
		{&decide.Refusal{Kind: decide.Forbidden, Field: "serial"}, 403, false},
		{&decide.Refusal{Kind: decide.Conflict, Field: "serial"}, 503, true},
		{&decide.Refusal{Kind: decide.Conflict, Field: "issuer"}, 503, true},
		{&decide.Refusal{Kind: decide.Conflict, Field: "csr"}, 403, false},
		{&decide.Refusal{Kind: decide.NotFound, Field: "label"}, 404, false},
		{&decide.Refusal{Kind: decide.Invalid, Field: "class"}, 400, false},
		{&authority.RequestError{Reason: "weak"}, 400, false},
		{&http.MaxBytesError{Limit: maxBody}, 413, false},
		{errors.Join(later(60, "ended"), errors.New("ended")), 503, true},
		{errors.New("what nobody foresaw"), 500, false},
	} {
		p := asProblem(c.err)
		if p.status != c.code || (p.retry > 0) != c.retry {
			t.Errorf("%v: %d, retry %d", c.err, p.status, p.retry)
		}
	}
}
