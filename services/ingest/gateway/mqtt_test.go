package gateway_test

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"testing"
	"time"

	"muster.dev/platform/mqtt/packet"
	"muster.dev/platform/mqtt/publisher"
	"muster.dev/proto/record"
	"muster.dev/services/ingest/gateway/gatewaytest"
)

var versions = []packet.Version{packet.V311, packet.V5}

// tlsTo is a TLS connection to the MQTT side.
func (s *site) tlsTo(id gatewaytest.Identity) (*tls.Conn, error) {
	d := &net.Dialer{Timeout: patience}
	return tls.DialWithDialer(d, "tcp", s.gateway.MQTTAddr(), s.ca.Client(id))
}

// mqttTry connects, with the rules as the options have them.
func (s *site) mqttTry(id gatewaytest.Identity, o publisher.Options) (*publisher.Publisher, error) {
	s.t.Helper()
	c, err := s.tlsTo(id)
	if err != nil {
		return nil, err
	}
	if o.Patience == 0 {
		o.Patience = patience
	}
	p, err := publisher.Dial(s.t.Context(), c, o)
	if err == nil {
		s.t.Cleanup(func() { _ = p.Close() })
	}
	return p, err
}

func (s *site) mqttAs(id gatewaytest.Identity, o publisher.Options) *publisher.Publisher {
	s.t.Helper()
	p, err := s.mqttTry(id, o)
	if err != nil {
		s.t.Fatal(err)
	}
	return p
}

// mqtt is a device's connection of 5.0.
func (s *site) mqtt(device string) *publisher.Publisher {
	s.t.Helper()
	return s.mqttAs(s.ca.Device(device), publisher.Options{ClientID: device})
}

func telemetry(payload []byte) publisher.Message {
	return publisher.Message{Topic: "telemetry", Payload: payload, QoS: 1}
}

// publish is a message and its answer.
func (s *site) publish(p *publisher.Publisher, m publisher.Message) error {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), patience)
	defer cancel()
	return p.Publish(ctx, m)
}

func (s *site) stores(p *publisher.Publisher, m publisher.Message) {
	s.t.Helper()
	if err := s.publish(p, m); err != nil {
		s.t.Fatalf("%s: %v", m.Topic, err)
	}
}

// refused is the reason of a refusal, else of an end.
func refused(err error) (r packet.Reason, text string, ended bool) {
	var no *publisher.Refused
	var end *publisher.Ended
	switch {
	case errors.As(err, &no):
		return no.Reason, no.Text, false
	case errors.As(err, &end):
		return end.Reason, end.Text, true
	}
	return packet.Success, "", false
}

// outcome is where a device's message is in the log, how often.
func (s *site) stored(topic, device string) (n int) {
	s.t.Helper()
	for _, r := range s.records(topic) {
		if string(r.Key) == device && !record.IsControl(string(header(r, record.HeaderType))) {
			n++
		}
	}
	return n
}

func TestAMessageByMQTTIsStoredAsOneByHTTPSIs(t *testing.T) {
	s := open(t, nil, "boiler-1")
	for i, v := range versions {
		p := s.mqttAs(s.ca.Device("boiler-1"), publisher.Options{Version: v, ClientID: "boiler-1"})
		s.stores(p, telemetry(message(1, 10*i, "")))
		s.stores(p, telemetry(gatewaytest.NewMessage(i).Next()))
		s.stores(p, publisher.Message{Topic: "events", QoS: 1, Payload: fmt.Appendf(nil, `{"boot":1,"seq":%d,"events":[{"ts":%d,"type":"heartbeat"}]}`, i, time.Now().UnixMilli())})
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	}
	if n, e := s.stored(record.TopicTelemetry, "boiler-1"), s.stored(record.TopicEvents, "boiler-1"); n != 4 || e != 2 {
		t.Errorf("%d and %d records", n, e)
	}
	if n := s.answered("stored"); n != 6 {
		t.Errorf("%v stored", n)
	}
	s.balanced()
}
