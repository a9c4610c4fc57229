package realtime

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"

	"muster.dev/fleet/device"
	"muster.dev/fleet/simulator/world"
	"muster.dev/platform/mqtt/packet"
	"muster.dev/platform/mqtt/publisher"
)

// The topics of a device, and the property of a message that lay in a store.
const (
	topicTelemetry = "telemetry"
	topicEvents    = "events"
	backlogged     = "muster-backlog"
)

// session is a device's connection by MQTT 5, which is kept and keeps itself alive.
type session struct {
	addr  string
	tls   *tls.Config
	conn  *publisher.Publisher
	dials *counted
}

func newSession(addr string, id device.Identity, dials *counted) *session {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		host = addr // the dial says what is wrong with it
	}
	return &session{addr: addr, dials: dials, tls: &tls.Config{
		MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{id.Certificate}, RootCAs: id.Roots, ServerName: host,
	}}
}

func (s *session) post(ctx context.Context, stream world.Stream, backlog bool, body []byte) (device.Receipt, error) {
	if err := s.connect(ctx); err != nil {
		return device.Receipt{}, unsure(ctx, err)
	}
	m := publisher.Message{Topic: topicTelemetry, Payload: body, QoS: 1, ContentType: device.MediaType}
	if stream == world.Events {
		m.Topic, m.ContentType = topicEvents, typeEvents
	}
	if backlog {
		m.User = []packet.Property{{Name: backlogged, Value: "1"}}
	}
	ctx, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	err := s.conn.Publish(ctx, m)
	var no *publisher.Refused
	switch {
	case err == nil:
		return device.Receipt{}, nil
	case errors.As(err, &no) && no.Reason == packet.QuotaExceeded:
		return device.Receipt{}, &device.Unsure{Status: http.StatusTooManyRequests, RetryAfter: time.Second, Cause: err}
	case errors.As(err, &no):
		return device.Receipt{}, &device.Refusal{Title: no.Reason.String(), Detail: no.Text}
	}
	s.close()
	return device.Receipt{}, unsure(ctx, err)
}

func (s *session) connect(ctx context.Context) error {
	if s.conn != nil && s.conn.Err() == nil {
		return nil
	}
	s.close()
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	raw, err := (&net.Dialer{}).DialContext(ctx, "tcp", s.addr)
	if err != nil {
		return err
	}
	conn := tls.Client(raw, s.tls)
	if err := conn.HandshakeContext(ctx); err != nil {
		raw.Close()
		return err
	}
	s.conn, err = publisher.Dial(ctx, conn, publisher.Options{Window: 4})
	if err == nil {
		s.dials.add(1)
	}
	return err
}

// unsure is that nobody knows what became of the message.
func unsure(ctx context.Context, err error) error {
	if ctx.Err() != nil && errors.Is(context.Cause(ctx), context.Canceled) {
		return context.Cause(ctx)
	}
	return &device.Unsure{Cause: fmt.Errorf("publishing to the gateway: %w", err)}
}

func (s *session) close() {
	if s.conn != nil {
		_ = s.conn.Close() // a goodbye, which may find nobody
		s.conn = nil
	}
}
