package device

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"time"
)

// MediaType is the compact batch's.
const MediaType = "application/vnd.muster.batch+msgpack"

// Config is what an operator sets about a device's way to the gateway.
type Config struct {
	// Gateway is the base URL, as https://127.0.0.1:8443.
	Gateway string `yaml:"gateway"`
	// Timeout is how long one attempt may take.
	Timeout time.Duration `yaml:"timeout"`
	// FirstPause follows the first failed attempt; each next one is twice as long, up to LastPause. What is
	// waited is between half of it and all, so that a fleet does not come back at one instant.
	FirstPause time.Duration `yaml:"first_pause"`
	LastPause  time.Duration `yaml:"last_pause"`
}

// DefaultConfig is the local stack's gateway.
func DefaultConfig() Config {
	return Config{Gateway: "https://127.0.0.1:8443", Timeout: 10 * time.Second, FirstPause: 250 * time.Millisecond, LastPause: 15 * time.Second}
}

// Validate names the first key that cannot be used.
func (c Config) Validate() error {
	if u, err := url.Parse(c.Gateway); err != nil || u.Scheme != "https" || u.Host == "" {
		return fmt.Errorf("gateway %q: want https://host:port", c.Gateway)
	}
	if c.Timeout <= 0 {
		return fmt.Errorf("timeout %v: want more than 0s", c.Timeout)
	}
	if c.FirstPause <= 0 || c.LastPause < c.FirstPause {
		return fmt.Errorf("first_pause %v, last_pause %v: want 0s < first_pause <= last_pause", c.FirstPause, c.LastPause)
	}
	return nil
}

// Receipt is the gateway's word that a message is in the log.
type Receipt struct {
	Values      int  `json:"values"`
	Duplicate   bool `json:"duplicate"`
	Quarantined int  `json:"quarantined_values"`
	Attempts    int  `json:"-"` // of this message, this one included
}

// Refusal says that a message will not be stored, as RFC 9457 puts it.
type Refusal struct {
	Status int    `json:"status"`
	Title  string `json:"title"`
	Detail string `json:"detail"`
	Field  string `json:"field"`
	Limit  int64  `json:"limit"`
	Reason string `json:"reason"`
}

func (r *Refusal) Error() string {
	s := "refused: " + r.Title
	if r.Detail != "" {
		s += ": " + r.Detail
	}
	return s
}

// Unsure says that a message is not stored, or that nobody knows: the same bytes must be sent again.
type Unsure struct {
	Status     int           // 0: no answer
	RetryAfter time.Duration // 0: not said
	Cause      error
}

func (u *Unsure) Error() string { return "not confirmed: " + u.Cause.Error() }
func (u *Unsure) Unwrap() error { return u.Cause }

// Barred says that the gateway refuses the device's certificate: sending the same again with it helps nobody.
type Barred struct{ Cause error }

func (b *Barred) Error() string {
	return "the gateway refuses the device's certificate: it was revoked, replaced or has ended, or is another fleet's; ask an operator, and enrol again: " + b.Cause.Error()
}
func (b *Barred) Unwrap() error { return b.Cause }

// barred are the alerts by which a peer refuses a certificate (RFC 8446 section 6.2), as crypto/tls words them.
var barred = []string{
	"tls: bad certificate", "tls: unsupported certificate", "tls: revoked certificate", "tls: expired certificate", "tls: unknown certificate",
	"tls: unknown certificate authority", "tls: access denied", "tls: certificate required",
}

// isBarred finds a peer's alert; crypto/tls has no type for it.
func isBarred(err error) bool {
	var op *net.OpError
	return errors.As(err, &op) && op.Op == "remote error" && slices.Contains(barred, op.Err.Error())
}

// Client posts one device's messages. It may be used by several goroutines; order is then the caller's.
type Client struct {
	cfg       Config
	url       string
	http      *http.Client
	transport *http.Transport
	opened    time.Time
}

// settling is how long after its first use a client takes "not enrolled" for "not known yet": a gateway hears of
// an enrolment through the log, a moment after whoever asked for it.
const settling = 3 * time.Second

// maxAnswer bounds what is read of an answer.
const maxAnswer = 64 << 10

// NewClient makes a client; it connects at the first message.
func NewClient(cfg Config, id Identity) (*Client, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	t := &http.Transport{
		TLSClientConfig: &tls.Config{
			MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{id.Certificate}, RootCAs: id.Roots,
		},
		DialContext:         (&net.Dialer{Timeout: 5 * time.Second}).DialContext,
		TLSHandshakeTimeout: 5 * time.Second,
		MaxConnsPerHost:     1, // a device is one connection
		IdleConnTimeout:     55 * time.Second,
		DisableCompression:  true,
	}
	return &Client{
		cfg: cfg, url: cfg.Gateway + "/v1/telemetry", transport: t, opened: time.Now(),
		http: &http.Client{Transport: t, Timeout: cfg.Timeout},
	}, nil
}

// Close drops the connection.
func (c *Client) Close() { c.transport.CloseIdleConnections() }

// Post makes one attempt. The error is a *Refusal, a *Barred, an *Unsure, or the end of ctx, which is unsure too.
func (c *Client) Post(ctx context.Context, body []byte) (Receipt, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, c.url, bytes.NewReader(body))
	if err != nil {
		return Receipt{}, fmt.Errorf("posting to the gateway: %w", err)
	}
	req.Header.Set("Content-Type", MediaType)
	resp, err := c.http.Do(req)
	if err != nil {
		if ctx.Err() != nil {
			return Receipt{}, context.Cause(ctx)
		}
		if isBarred(err) {
			return Receipt{}, &Barred{err}
		}
		return Receipt{}, &Unsure{Cause: fmt.Errorf("posting to the gateway: %w", err)}
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return Receipt{}, &Unsure{Status: resp.StatusCode, Cause: fmt.Errorf("reading the gateway's answer: %w", err)}
	}
	return c.judge(resp, text)
}

func (c *Client) judge(resp *http.Response, text []byte) (Receipt, error) {
	if resp.StatusCode == http.StatusOK {
		var r Receipt
		if err := json.Unmarshal(text, &r); err != nil {
			return Receipt{}, &Unsure{Status: resp.StatusCode, Cause: fmt.Errorf("reading the gateway's receipt: %w", err)}
		}
		return r, nil
	}
	p := &Refusal{Title: resp.Status}
	_ = json.Unmarshal(text, p) // an answer that is no problem document keeps its status line
	p.Status = resp.StatusCode
	switch {
	case resp.StatusCode == http.StatusForbidden && p.Reason == "not-enrolled" && time.Since(c.opened) < settling:
	case resp.StatusCode == http.StatusTooManyRequests, resp.StatusCode == http.StatusRequestTimeout, resp.StatusCode >= 500:
	default:
		return Receipt{}, p
	}
	return Receipt{}, &Unsure{Status: resp.StatusCode, RetryAfter: retryAfter(resp.Header), Cause: errors.New(p.Title)}
}

// retryAfter reads the header in its form of seconds, the only one that the gateway uses.
func retryAfter(h http.Header) time.Duration {
	n, err := strconv.Atoi(h.Get("Retry-After"))
	if err != nil || n < 0 {
		return 0
	}
	return time.Duration(n) * time.Second
}
