package deliver

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"strconv"
	"strings"
	"sync/atomic"
	"time"
)

const (
	// maxAnswer is how much of an answer is read; what follows is not waited for.
	maxAnswer = 4 << 10
	// maxQuoted is how much of it an error repeats.
	maxQuoted = 200
	// maxWait bounds the wait that a receiver may ask for.
	maxWait = 10 * time.Minute
)

// poster sends requests, and tells nobody its secrets.
type poster struct {
	client  *http.Client
	timeout time.Duration
	secrets []string
}

// failure is a request that was not taken.
type failure struct {
	status  int // 0: there was no answer
	after   time.Duration
	unknown bool // the receiver may have taken it all the same
	text    string
	err     error
}

func (f *failure) Error() string {
	if f.status == 0 {
		return f.text
	}
	return fmt.Sprintf("HTTP %d: %s", f.status, f.text)
}

func (f *failure) Unwrap() error { return f.err }

// refused says that the receiver will not take this very message, ever.
func (f *failure) refused() bool {
	return f.status == http.StatusBadRequest || f.status == http.StatusRequestEntityTooLarge || f.status == http.StatusUnprocessableEntity
}

// post sends a body; nil is a 2xx.
func (p *poster) post(ctx context.Context, to string, body []byte, header http.Header) *failure {
	ctx, cancel := context.WithTimeout(ctx, p.timeout)
	defer cancel()
	// Doubt begins with the connection, before a byte could leave. The transport tells from its own goroutine.
	var sent atomic.Bool
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{GotConn: func(httptrace.GotConnInfo) { sent.Store(true) }})
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, to, bytes.NewReader(body))
	if err != nil {
		return &failure{text: p.hide(err), err: err}
	}
	for k, v := range header {
		req.Header[k] = v
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("User-Agent", "muster")
	resp, err := p.client.Do(req)
	if err != nil {
		return &failure{unknown: sent.Load(), text: p.hide(err), err: err}
	}
	defer resp.Body.Close()
	answer, _ := io.ReadAll(io.LimitReader(resp.Body, maxAnswer)) // the status is the answer
	if resp.StatusCode/100 == 2 {
		return nil
	}
	f := &failure{status: resp.StatusCode, text: p.quote(answer)}
	switch resp.StatusCode {
	case http.StatusBadGateway, http.StatusGatewayTimeout:
		f.unknown = true
	case http.StatusTooManyRequests, http.StatusServiceUnavailable:
		f.after = retryAfter(resp.Header.Get("Retry-After"), time.Now())
	}
	if resp.StatusCode/100 == 3 {
		f.text = "redirects are not followed: the route must name the place itself"
	}
	return f
}

// hide gives an error without the URL, whose path may be a secret.
func (p *poster) hide(err error) string {
	var at *url.Error
	if errors.As(err, &at) {
		err = at.Err
	}
	return p.quoteless(err.Error())
}

func (p *poster) quoteless(s string) string {
	for _, secret := range p.secrets {
		if secret != "" {
			s = strings.ReplaceAll(s, secret, "[redacted]")
		}
	}
	return s
}

// quote is the beginning of an answer, fit for a log.
func (p *poster) quote(answer []byte) string {
	s := p.quoteless(string(answer))
	return strconv.QuoteToASCII(s[:min(len(s), maxQuoted)])
}

// retryAfter reads the header: seconds, or a date.
func retryAfter(s string, now time.Time) time.Duration {
	var wait time.Duration
	if n, err := strconv.Atoi(s); err == nil && n > 0 {
		wait = time.Duration(min(n, int(maxWait/time.Second))) * time.Second
	} else if at, err := http.ParseTime(s); err == nil {
		wait = at.Sub(now)
	}
	return max(0, min(wait, maxWait))
}
