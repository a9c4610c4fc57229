package est

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"

	"muster.dev/proto/pkcs7"
)

const (
	wellKnown = "/.well-known/est/"
	maxAnswer = 256 << 10
	maxSaid   = 500 // bytes of a server's words
	// unsaid is waited when the server says later and not when; longest is the most that it can make a device wait.
	unsaid  = time.Minute
	longest = 24 * time.Hour
)

// Later says that the server would not decide now: the same request is to be repeated after a while.
type Later struct {
	Status int
	After  time.Duration
	Says   string
}

func (l *Later) Error() string {
	return fmt.Sprintf("the server says later (%d, in %v): %s", l.Status, l.After, l.Says)
}

// Refused says that the server will not, as it was asked.
type Refused struct {
	Status int
	Says   string
}

func (r *Refused) Error() string {
	return fmt.Sprintf("refused (%d %s): %s", r.Status, http.StatusText(r.Status), r.Says)
}

// session asks one server.
type session struct {
	url            string
	user, password string // "": none
	http           *http.Client
}

func (c Config) open(t *tls.Config) *session {
	t.MinVersion = tls.VersionTLS12 // the registry speaks 1.3; another EST server may not
	url := strings.TrimSuffix(c.URL, "/") + wellKnown
	if c.Line != "" {
		url += c.Line + "/"
	}
	return &session{url: url, http: &http.Client{
		Timeout:       c.Timeout,
		Transport:     &http.Transport{TLSClientConfig: t, DialContext: (&net.Dialer{Timeout: 10 * time.Second}).DialContext, TLSHandshakeTimeout: 10 * time.Second},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

func (s *session) close() { s.http.CloseIdleConnections() }

// ask does one operation and reads the certificates that are its answer.
func (s *session) ask(ctx context.Context, operation string, request []byte) ([]*x509.Certificate, error) {
	method, body := http.MethodGet, io.Reader(nil)
	if request != nil {
		method, body = http.MethodPost, strings.NewReader(base64.StdEncoding.EncodeToString(request))
	}
	req, err := http.NewRequestWithContext(ctx, method, s.url+operation, body)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", operation, err)
	}
	if request != nil {
		req.Header.Set("Content-Type", "application/pkcs10")
		if s.user != "" {
			req.SetBasicAuth(s.user, s.password)
		}
	}
	res, err := s.http.Do(req)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", operation, err)
	}
	defer res.Body.Close()
	text, err := io.ReadAll(io.LimitReader(res.Body, maxAnswer+1))
	if err != nil {
		return nil, fmt.Errorf("%s: read the answer: %w", operation, err)
	}
	switch {
	case res.StatusCode == http.StatusAccepted, res.StatusCode == http.StatusTooManyRequests, res.StatusCode >= 500:
		return nil, fmt.Errorf("%s: %w", operation, &Later{res.StatusCode, retryAfter(res.Header), said(text)})
	case res.StatusCode != http.StatusOK:
		return nil, fmt.Errorf("%s: %w", operation, &Refused{res.StatusCode, said(text)})
	case len(text) > maxAnswer:
		return nil, fmt.Errorf("%s: the answer is longer than %d bytes", operation, maxAnswer)
	}
	der, err := base64.StdEncoding.DecodeString(strings.Join(strings.Fields(string(text)), ""))
	if err != nil {
		return nil, fmt.Errorf("%s: the answer is not base64: %w", operation, err)
	}
	certs, err := pkcs7.Certificates(der)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", operation, err)
	}
	return certs, nil
}

// said is what a server answered, as far as it can stand in a log, in one line.
func said(text []byte) string {
	text = bytes.ReplaceAll(bytes.TrimSpace(text[:min(len(text), maxSaid)]), []byte("\n"), []byte("; "))
	line := strings.Map(func(c rune) rune {
		if c < 0x20 || c >= 0x7f && c < 0xa0 {
			return ' '
		}
		return c
	}, strings.ToValidUTF8(string(text), "?"))
	return strings.TrimSpace(strings.ToValidUTF8(line[:min(len(line), maxSaid)], "")) // a line's end became two characters
}

// retryAfter reads both forms of the header.
func retryAfter(h http.Header) time.Duration {
	v := h.Get("Retry-After")
	wait := unsaid
	if n, err := strconv.ParseInt(v, 10, 64); err == nil && n >= 0 {
		wait = time.Duration(min(n, int64(longest/time.Second))) * time.Second
	} else if at, err := http.ParseTime(v); err == nil {
		wait = time.Until(at)
	}
	return min(max(wait, 0), longest)
}

// authorities asks whom to trust. between stand between a root and a device's certificate.
func (s *session) authorities(ctx context.Context) (roots, between []*x509.Certificate, err error) {
	all, err := s.ask(ctx, "cacerts", nil)
	if err != nil {
		return nil, nil, err
	}
	for _, c := range all {
		switch {
		case !c.IsCA:
		case bytes.Equal(c.RawIssuer, c.RawSubject) && c.CheckSignatureFrom(c) == nil:
			roots = append(roots, c)
		default:
			between = append(between, c)
		}
	}
	if len(roots) == 0 {
		return nil, nil, errors.New("cacerts: the server names no root")
	}
	return roots, between, nil
}

// parsePin reads a SHA-256 fingerprint as openssl, sha256sum or the registry print it.
func parsePin(pin string) ([sha256.Size]byte, error) {
	var sum [sha256.Size]byte
	text := strings.ToLower(strings.TrimSpace(pin))
	if _, after, ok := strings.Cut(text, "fingerprint="); ok { // as openssl says it
		text = after
	}
	text = strings.ReplaceAll(strings.TrimPrefix(text, "sha256:"), ":", "")
	raw, err := hex.DecodeString(text)
	if err != nil || len(raw) != len(sum) {
		return sum, fmt.Errorf("pin %q: want the SHA-256 of a root certificate in 64 hexadecimal digits", pin)
	}
	return [sha256.Size]byte(raw), nil
}
