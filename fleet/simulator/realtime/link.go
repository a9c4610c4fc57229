package realtime

import (
	"bufio"
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
	"strconv"
	"sync"
	"time"

	"muster.dev/fleet/device"
	"muster.dev/fleet/simulator/world"
)

// The paths of the gateway, and the forms of what is sent there.
const (
	pathTelemetry = "/v1/telemetry"
	pathEvents    = "/v1/events"
	typeEvents    = "application/msgpack"
)

// answerTimeout is longer than the gateway's own patience with its log.
const answerTimeout = 20 * time.Second

// maxAnswer bounds what is read of an answer.
const maxAnswer = 64 << 10

// link is one device's connection to the gateway: HTTP/1.1 over TLS, kept open between messages. It owns no goroutine and no
// buffers: thousands of devices wait most of their time, and what waits costs a TLS connection and nothing else. One goroutine
// at a time may use it. For a device of its own, fleet/device has a client with all that net/http gives.
type link struct {
	gateway *url.URL
	tls     *tls.Config
	conn    *tls.Conn
	dials   *counted
}

func newLink(gateway *url.URL, id device.Identity, dials *counted) *link {
	return &link{gateway: gateway, dials: dials, tls: &tls.Config{
		MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{id.Certificate}, RootCAs: id.Roots, ServerName: gateway.Hostname(),
	}}
}

// buffers are lent for one exchange.
var buffers = sync.Pool{New: func() any { return &exchange{in: bufio.NewReaderSize(nil, 4<<10)} }}

type exchange struct {
	in  *bufio.Reader
	out []byte
}

// post makes one attempt, or two where a kept connection turns out to be closed: the same bytes under the same key are
// no second message. The error is a *device.Refusal, a *device.Unsure, or the end of ctx.
func (l *link) post(ctx context.Context, stream world.Stream, backlog bool, body []byte) (device.Receipt, error) {
	path, contentType := pathTelemetry, device.MediaType
	if stream == world.Events {
		path, contentType = pathEvents, typeEvents
	}
	x := buffers.Get().(*exchange)
	defer buffers.Put(x)
	x.out = l.request(x.out[:0], path, contentType, backlog, body)
	kept := l.conn != nil
	receipt, err := l.attempt(ctx, x)
	var unsure *device.Unsure
	if kept && errors.As(err, &unsure) && unsure.Status == 0 && ctx.Err() == nil {
		receipt, err = l.attempt(ctx, x)
	}
	return receipt, err
}

func (l *link) request(dst []byte, path, contentType string, backlog bool, body []byte) []byte {
	dst = append(dst, "POST "...)
	dst = append(dst, path...)
	dst = append(dst, " HTTP/1.1\r\nHost: "...)
	dst = append(dst, l.gateway.Host...)
	dst = append(dst, "\r\nContent-Type: "...)
	dst = append(dst, contentType...)
	if backlog {
		dst = append(dst, "\r\nMuster-Backlog: 1"...)
	}
	dst = append(dst, "\r\nContent-Length: "...)
	dst = strconv.AppendInt(dst, int64(len(body)), 10)
	dst = append(dst, "\r\n\r\n"...)
	return append(dst, body...)
}

func (l *link) attempt(ctx context.Context, x *exchange) (device.Receipt, error) {
	if err := l.connect(ctx); err != nil {
		return device.Receipt{}, l.unsure(ctx, 0, err)
	}
	deadline := time.Now().Add(answerTimeout)
	if at, ok := ctx.Deadline(); ok && at.Before(deadline) {
		deadline = at
	}
	if err := l.conn.SetDeadline(deadline); err != nil {
		return device.Receipt{}, l.unsure(ctx, 0, err)
	}
	if _, err := l.conn.Write(x.out); err != nil {
		return device.Receipt{}, l.unsure(ctx, 0, err)
	}
	x.in.Reset(l.conn)
	resp, err := http.ReadResponse(x.in, nil)
	if err != nil {
		return device.Receipt{}, l.unsure(ctx, 0, err)
	}
	text, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	resp.Body.Close()
	if err != nil {
		return device.Receipt{}, l.unsure(ctx, resp.StatusCode, err)
	}
	if resp.Close {
		l.close()
	}
	return l.judge(resp, text)
}

func (l *link) connect(ctx context.Context) error {
	if l.conn != nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	raw, err := (&net.Dialer{}).DialContext(ctx, "tcp", l.gateway.Host)
	if err != nil {
		return err
	}
	conn := tls.Client(raw, l.tls)
	if err := conn.HandshakeContext(ctx); err != nil {
		raw.Close()
		return err
	}
	l.dials.add(1)
	l.conn = conn
	return nil
}

// unsure drops the connection: nobody knows what of the exchange is still on it.
func (l *link) unsure(ctx context.Context, status int, err error) error {
	l.close()
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return &device.Unsure{Status: status, Cause: fmt.Errorf("posting to the gateway: %w", err)}
}

func (l *link) judge(resp *http.Response, text []byte) (device.Receipt, error) {
	if resp.StatusCode == http.StatusOK {
		return device.Receipt{Duplicate: bytes.Contains(text, []byte(`"duplicate":true`))}, nil
	}
	refusal := &device.Refusal{Title: resp.Status}
	_ = json.Unmarshal(text, refusal) // an answer that is no problem document keeps its status line
	refusal.Status = resp.StatusCode
	switch {
	case resp.StatusCode == http.StatusForbidden && refusal.Reason == "not-enrolled": // the gateway hears of an enrolment a moment later
	case resp.StatusCode == http.StatusTooManyRequests, resp.StatusCode == http.StatusRequestTimeout, resp.StatusCode >= 500:
	default:
		return device.Receipt{}, refusal
	}
	after, _ := strconv.Atoi(resp.Header.Get("Retry-After")) // absent is none
	return device.Receipt{}, &device.Unsure{Status: resp.StatusCode, RetryAfter: time.Duration(max(0, after)) * time.Second, Cause: errors.New(refusal.Title)}
}

// close hangs up.
func (l *link) close() {
	if l.conn != nil {
		l.conn.Close()
		l.conn = nil
	}
}
