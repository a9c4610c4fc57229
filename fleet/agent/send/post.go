package send

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
	"slices"
	"strconv"
	"strings"
	"time"

	"muster.dev/fleet/agent/est"
)

// fate is what an answer means for a message.
type fate uint8

const (
	stored  fate = iota
	refused      // the message never will be
	unsure       // not stored, or nobody knows
	held         // the device or the way is refused, not the message
)

type verdict struct {
	fate       fate
	duplicate  bool
	faults     int
	retryAfter time.Duration
	gateway    string // another one that the device belongs to
	says       string
}

const (
	maxAnswer = 64 << 10
	maxSaid   = 300
	// settling is how long after the identity came into use "not enrolled" is taken for "not known yet": a gateway hears of
	// an enrolment through the log, a moment after the device.
	settling = 10 * time.Second
	// longest is the most that a server can make a device wait.
	longest = time.Hour
)

// way is one identity's connection to one gateway.
type way struct {
	http      *http.Client
	transport *http.Transport
	opened    time.Time
}

func open(cfg Config, id est.Identity) *way {
	t := &http.Transport{
		TLSClientConfig: &tls.Config{
			MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{id.Certificate}, RootCAs: id.Roots, Time: id.Now,
		},
		DialContext:         (&net.Dialer{Timeout: 10 * time.Second}).DialContext,
		TLSHandshakeTimeout: 10 * time.Second,
		MaxConnsPerHost:     1, // a device is one connection
		IdleConnTimeout:     55 * time.Second,
		DisableCompression:  true,
	}
	return &way{transport: t, opened: time.Now(), http: &http.Client{
		Transport: t, Timeout: cfg.Timeout,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

func (w *way) close() { w.transport.CloseIdleConnections() }

// post makes one attempt.
func (w *way) post(ctx context.Context, gateway string, kind uint8, body []byte, backlog bool) verdict {
	path, form := "/v1/telemetry", "application/vnd.muster.batch+msgpack"
	if kind == Events {
		path, form = "/v1/events", "application/msgpack"
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, strings.TrimSuffix(gateway, "/")+path, bytes.NewReader(body))
	if err != nil {
		return verdict{fate: held, says: err.Error()}
	}
	req.Header.Set("Content-Type", form)
	if backlog {
		req.Header.Set(BacklogHeader, "1")
	}
	resp, err := w.http.Do(req)
	if err != nil {
		if isBarred(err) {
			return verdict{fate: held, says: "the gateway refuses the certificate: it was revoked, replaced or has ended, or is another fleet's; ask an operator, and enrol again: " + err.Error()}
		}
		return verdict{fate: unsure, says: err.Error()}
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return verdict{fate: unsure, says: "reading the gateway's answer: " + err.Error()}
	}
	return w.judge(resp, text)
}

func (w *way) judge(resp *http.Response, text []byte) verdict {
	var said struct {
		Duplicate bool   `json:"duplicate"`
		Faults    int    `json:"quarantined_values"`
		Title     string `json:"title"`
		Detail    string `json:"detail"`
		Reason    string `json:"reason"`
		Gateway   string `json:"gateway"`
	}
	err := json.Unmarshal(text, &said) // an answer that is no document keeps its status
	v := verdict{duplicate: said.Duplicate, faults: said.Faults, retryAfter: retryAfter(resp.Header)}
	v.says = printable(fmt.Sprintf("%d %s %s %s", resp.StatusCode, said.Reason, said.Title, said.Detail))
	switch code := resp.StatusCode; {
	case code == http.StatusOK && err != nil:
		v.fate, v.says = unsure, "the answer is no gateway's receipt: "+err.Error()
	case code == http.StatusOK:
		v.fate = stored
	case code == http.StatusTooManyRequests, code == http.StatusRequestTimeout, code >= 500:
		v.fate = unsure
	case code == http.StatusForbidden && said.Reason == "device-mismatch":
		v.fate = refused
	case code == http.StatusForbidden && said.Reason == "not-enrolled" && time.Since(w.opened) < settling:
		v.fate = unsure
	case code == http.StatusForbidden && said.Reason == "other-region" && isGateway(said.Gateway):
		v.fate, v.gateway = held, said.Gateway
	case code < 400, code == http.StatusUnauthorized, code == http.StatusForbidden, code == http.StatusNotFound, code == http.StatusMethodNotAllowed:
		v.fate = held
	default:
		v.fate = refused
	}
	return v
}

// printable is a server's words as far as they can stand in a log.
func printable(s string) string {
	s = strings.Join(strings.FieldsFunc(strings.ToValidUTF8(s, "?"), func(c rune) bool { return c <= 0x20 || c >= 0x7f && c <= 0xa0 }), " ")
	return s[:min(len(s), maxSaid)]
}

// retryAfter reads the header in its form of seconds, the only one that the gateway uses.
func retryAfter(h http.Header) time.Duration {
	n, err := strconv.Atoi(h.Get("Retry-After"))
	if err != nil || n < 0 {
		return 0
	}
	return min(time.Duration(min(n, int(longest/time.Second)))*time.Second, longest)
}

// barred are the alerts by which a peer refuses a certificate (RFC 8446 section 6.2), as crypto/tls words them.
var barred = []string{
	"tls: bad certificate", "tls: unsupported certificate", "tls: revoked certificate", "tls: expired certificate", "tls: unknown certificate",
	"tls: unknown certificate authority", "tls: access denied", "tls: certificate required",
}

func isBarred(err error) bool {
	var op *net.OpError
	return errors.As(err, &op) && op.Op == "remote error" && slices.Contains(barred, op.Err.Error())
}
