package gateway_test

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"sync"
	"testing"
	"time"

	"muster.dev/platform/mqtt/packet"
	"muster.dev/platform/mqtt/publisher"
	"muster.dev/proto/record"
	"muster.dev/services/ingest/gateway"
	"muster.dev/services/ingest/gateway/gatewaytest"
	"muster.dev/services/ingest/sign"
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

// stored is how many messages of a device a topic of the log holds.
func (s *site) stored(topic, device string) (n int) {
	s.t.Helper()
	for _, r := range s.records(topic) {
		if kind := string(header(r, record.HeaderType)); string(r.Key) == device && !record.IsControl(kind) && kind != sign.CEType {
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

// Every name that a topic and a body may have, to the same end.
func TestTopicsAndFormsOfOthersMeanTheSame(t *testing.T) {
	s := open(t, nil, "boiler-1")
	id := s.ca.Device("boiler-1")
	now := time.Now().UnixMilli()
	easy := []byte{0x83, 0xa4, 'b', 'o', 'o', 't', 9, 0xa3, 's', 'e', 'q', 0, 0xa8, 'r', 'e', 'a', 'd', 'i', 'n', 'g', 's', 0x91, 0x82, 0xa2, 't', 's', 0xcf}
	for shift := 56; shift >= 0; shift -= 8 {
		easy = append(easy, byte(now>>shift))
	}
	easy = append(easy, 0xa7, 'm', 'e', 't', 'r', 'i', 'c', 's', 0x81, 0xa1, 't', 1)
	heartbeat := func(seq int) []byte {
		return fmt.Appendf(nil, `{"boot":1,"seq":%d,"events":[{"ts":%d,"type":"heartbeat"}]}`, seq, now)
	}
	compact := gatewaytest.NewMessage(1)
	telemetry, events := 0, 0
	for _, v := range versions {
		p := s.mqttAs(id, publisher.Options{Version: v, ClientID: "boiler-1"})
		boot := 100 * int(v)
		for i, m := range []publisher.Message{
			{Topic: "telemetry", Payload: message(boot, 0, "")},
			{Topic: "telemetry/boiler-1", Payload: message(boot, 1, "")},
			{Topic: "t", Payload: message(boot, 2, "")},
			{Topic: "t//boiler-1", Payload: message(boot, 3, "")},
			{Topic: "t/default/boiler-1/?on-error=ignore", Payload: message(boot, 4, "")},
			{Topic: "telemetry", Payload: append([]byte(" \n"), message(boot, 5, "")...)},
			{Topic: "telemetry", Payload: append([]byte(nil), compact.Next()...)},
			{Topic: "telemetry", Payload: append([]byte(nil), compact.Next()...), ContentType: typeCompact},
			{Topic: "v1/devices/me/telemetry", Payload: []byte(`{"temp_c":21.5,"device":7}`)},
			{Topic: "v1/devices/me/telemetry", Payload: fmt.Appendf(nil, `[{"ts":%d,"values":{"temp_c":21}},{"ts":%d,"values":{"temp_c":22}}]`, now-1000, now)},
			{Topic: "telemetry/?content-type=application%2Fmsgpack", Payload: easy[:len(easy):len(easy)]},
		} {
			if i == 10 {
				easy[6] = byte(v) // another boot
			}
			m.QoS = 1
			s.stores(p, m)
			telemetry++
		}
		for i, to := range []string{"events", "events/boiler-1", "e", "event", "e//boiler-1", "event/default/boiler-1"} {
			s.stores(p, publisher.Message{Topic: to, QoS: 1, Payload: heartbeat(10*int(v) + i)})
			events++
		}
		// QoS 0 is counted and kept as well, and nothing is said of what is refused.
		for _, payload := range [][]byte{message(boot, 6, ""), []byte("nonsense")} {
			if err := s.publish(p, publisher.Message{Topic: "telemetry", Payload: payload}); err != nil {
				t.Fatal(err)
			}
		}
		telemetry++
		s.stores(p, publisher.Message{Topic: "telemetry", QoS: 1, Payload: message(boot, 7, "")}) // the connection lives
		telemetry++
		_ = p.Close()
	}
	s.eventually("all are answered", func() bool {
		return s.answered("stored") == float64(telemetry+events) && s.answered("malformed") == float64(len(versions))
	})
	if n, e := s.stored(record.TopicTelemetry, "boiler-1"), s.stored(record.TopicEvents, "boiler-1"); n != telemetry || e != events {
		t.Errorf("%d records of %d, %d of %d", n, telemetry, e, events)
	}
	s.balanced()
}

// 3.1.1 has no word for a refusal: PUBACK would say that the message is stored. Its owner may want one all the same, or none.
func TestWhatBecomesOfARefusalIn311IsItsOwnersChoice(t *testing.T) {
	s := open(t, nil, "boiler-1")
	bad := func(topic string) publisher.Message {
		return publisher.Message{Topic: topic, QoS: 1, Payload: []byte(`{"readings":[]}`)}
	}
	old := func() *publisher.Publisher {
		return s.mqttAs(s.ca.Device("boiler-1"), publisher.Options{Version: packet.V311, ClientID: "boiler-1"})
	}
	for _, topic := range []string{"telemetry", "t/?on-error=default", "nowhere"} {
		if _, _, ended := refused(s.publish(old(), bad(topic))); !ended {
			t.Errorf("%s: the connection lives", topic)
		}
	}
	p := old()
	s.stores(p, bad("t/?on-error=ignore")) // said to be, because its owner wants that
	unanswered := make(chan error, 1)
	if err := p.Send(t.Context(), bad("t/?on-error=skip-ack"), func(err error) { unanswered <- err }); err != nil {
		t.Fatal(err)
	}
	s.stores(p, telemetry(message(1, 0, "")))
	if len(unanswered) > 0 {
		t.Error("what was to be skipped is answered")
	}
	if n := s.stored(record.TopicTelemetry, "boiler-1"); n != 1 || s.answered("unprocessable") != 4 || s.answered("not-found") != 1 {
		t.Errorf("%d records, %v and %v refused", n, s.answered("unprocessable"), s.answered("not-found"))
	}
	_ = p.Close()
	s.balanced()
}

// Row 32.
func TestWhoSaysNothingIsReaped(t *testing.T) {
	s := open(t, func(c *gateway.Config) { c.MQTT.KeepAlive, c.MQTT.KeepAliveMost = time.Second, time.Second }, "boiler-1")
	var both sync.WaitGroup
	for _, v := range versions {
		c, err := s.tlsTo(s.ca.Device("boiler-1"))
		if err != nil {
			t.Fatal(err)
		}
		both.Go(func() {
			defer c.Close()
			s.reaped(c, v)
		})
	}
	both.Wait()
	s.eventually("both are gone", func() bool { return s.metric("muster_gateway_connections") == 0 })
	if n := s.metric("muster_gateway_mqtt_ends_total", "by", "server", "reason", "keep alive timeout"); n != 2 {
		t.Errorf("%v are counted", n)
	}
}

func (s *site) reaped(c *tls.Conn, v packet.Version) {
	t := s.t
	if _, err := c.Write((&packet.Connect{Version: v, CleanStart: true}).Append(nil)); err != nil { // keep alive 0
		t.Error(err)
		return
	}
	_ = c.SetDeadline(time.Now().Add(patience))
	_, body, err := readPacket(c)
	if err != nil {
		t.Error(err)
		return
	}
	var k packet.Connack
	if err := k.Decode(body, v); err != nil || k.Reason != packet.Success || v == packet.V5 && (k.KeepAlive == nil || *k.KeepAlive != 1) {
		t.Errorf("%v: %+v, %v", v, k, err)
	}
	h, body, err := readPacket(c)
	if v != packet.V5 {
		if err == nil {
			t.Errorf("%v to one of 3.1.1", h.Type)
		}
		return
	}
	var d packet.Disconnect
	if err != nil || h.Type != packet.DISCONNECT || d.Decode(body, v) != nil || d.Reason != packet.KeepAliveTimeout {
		t.Errorf("%v, %+v, %v", h.Type, d, err)
	}
}
