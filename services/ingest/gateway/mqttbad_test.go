package gateway_test

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
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

// neighbour publishes until the test ends, and fails it if that ever fails. What it stored is told by finish.
func (s *site) neighbour(device string) (finish func() int) {
	s.t.Helper()
	p := s.mqtt(device)
	stop := make(chan struct{})
	var sending sync.WaitGroup
	n := 0
	sending.Go(func() {
		for {
			if err := s.publish(p, telemetry(message(1, n, ""))); err != nil {
				s.t.Errorf("the neighbour: %v", err)
				return
			}
			n++
			select {
			case <-stop:
				return
			case <-time.After(5 * time.Millisecond):
			}
		}
	})
	finish = sync.OnceValue(func() int {
		close(stop)
		sending.Wait()
		return n
	})
	s.t.Cleanup(func() { finish() })
	return finish
}

// A refusal is of the message alone: the connection goes on with the next.
func TestBadInputByMQTTIsRefusedInASentenceAndStoresNothing(t *testing.T) {
	s := open(t, manyConnections, "boiler-1", "neighbour")
	finish := s.neighbour("neighbour")
	p := s.mqtt("boiler-1")
	for _, x := range badInputs(t) {
		if x.encoding != "" || strings.HasPrefix(x.name, "14: no type") { // MQTT has no encodings, and no need of a type
			continue
		}
		var want []packet.Reason
		for _, code := range x.codes {
			switch code {
			case 400:
				want = append(want, packet.PayloadFormatInvalid)
			default:
				want = append(want, packet.ImplementationSpecific)
			}
		}
		if len(x.body) > 256<<10 {
			want = []packet.Reason{packet.PacketTooLarge}
		}
		for _, typed := range []bool{true, false} {
			if !typed && x.contentType == "text/plain" {
				continue // what it holds is good
			}
			m := telemetry(x.body)
			if typed {
				m.ContentType = x.contentType
			}
			if len(x.body) > 256<<10 {
				got, text := s.raw("boiler-1", (&packet.Publish{QoS: 1, ID: 1, Topic: []byte("telemetry"), Payload: x.body}).Append(nil, packet.V5))
				if got != packet.PacketTooLarge {
					t.Errorf("%s: DISCONNECT %v %q", x.name, got, text)
				}
				continue
			}
			reason, text, ended := refused(s.publish(p, m))
			if ended || !slices.Contains(want, reason) || text == "" {
				t.Errorf("%s, typed %v: %v %q, ended %v", x.name, typed, reason, text, ended)
			}
		}
	}
	s.stores(p, telemetry(message(1, 1, "")))
	n := finish()
	if got := s.stored(record.TopicTelemetry, "boiler-1"); got != 1 {
		t.Errorf("%d records", got)
	}
	if got := s.stored(record.TopicTelemetry, "neighbour"); got != n {
		t.Errorf("the neighbour has %d records, and was told of %d", got, n)
	}
	s.balanced()
}

// raw introduces a device of 5.0, writes p, and reads how the gateway ends the connection.
func (s *site) raw(device string, p []byte) (packet.Reason, string) {
	s.t.Helper()
	hello := packet.Connect{Version: packet.V5, CleanStart: true, KeepAlive: 60} // an identifier of its own would end who speaks under that
	return s.rawAs(device, append(hello.Append(nil), p...))
}

// rawAs is raw with a CONNECT of its own, or with none.
func (s *site) rawAs(device string, p []byte) (packet.Reason, string) {
	s.t.Helper()
	c, err := s.tlsTo(s.ca.Device(device))
	if err != nil {
		s.t.Fatal(err)
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(patience))
	go func() { _, _ = c.Write(p) }() // the gateway may end the connection before it has read all
	for {
		h, body, err := readPacket(c)
		if err != nil {
			return packet.Success, err.Error()
		}
		switch h.Type {
		case packet.CONNACK:
			var k packet.Connack
			if err := k.Decode(body, packet.V5); err != nil {
				s.t.Error(err)
			}
			if k.Reason != packet.Success {
				return k.Reason, k.Text
			}
		case packet.DISCONNECT:
			var d packet.Disconnect
			if err := d.Decode(body, packet.V5); err != nil {
				s.t.Error(err)
			}
			return d.Reason, d.Text
		}
	}
}

func readPacket(r io.Reader) (h packet.Header, body []byte, err error) {
	var head []byte
	for n := 0; n == 0; {
		var one [1]byte
		if _, err := io.ReadFull(r, one[:]); err != nil {
			return h, nil, err
		}
		head = append(head, one[0])
		if h, n, err = packet.ParseHeader(head); err != nil {
			return h, nil, err
		}
	}
	body = make([]byte, h.Length)
	_, err = io.ReadFull(r, body)
	return h, body, err
}

// Rows 3 and 30 to 33 of the bad-input table, as they come over TLS to a gateway that has others to serve.
func TestWhatBreaksTheRulesOfMQTTEndsItsConnectionAlone(t *testing.T) {
	s := open(t, manyConnections, "boiler-1", "neighbour")
	finish := s.neighbour("neighbour")
	hello := (&packet.Connect{Version: packet.V5, CleanStart: true, KeepAlive: 60, ClientID: []byte("boiler-1")}).Append(nil)
	good := message(1, 1, "")
	pub := func(change func(*packet.Publish)) []byte {
		m := packet.Publish{QoS: 1, ID: 1, Topic: []byte("telemetry"), Payload: good}
		change(&m)
		return m.Append(nil, packet.V5)
	}
	for _, x := range []struct {
		name string
		p    []byte
		want packet.Reason // Success: closed without a word
	}{
		{"3: a packet of 16 MiB", append([]byte{0x32, 0x80, 0x80, 0x80, 0x08}, bytes.Repeat([]byte{0x91}, 1<<20)...), packet.PacketTooLarge},
		{"31: a SUBSCRIBE of 8 bytes that ends early", []byte{0x82, 0x06, 0, 1, 0, 0, 9, 'a'}, packet.MalformedPacket},
		{"31: a PUBLISH whose topic is longer than it", []byte{0x32, 0x04, 0xff, 0xff, 'a', 'b'}, packet.MalformedPacket},
		{"31: properties longer than their packet", []byte{0x32, 0x09, 0, 1, 't', 0, 1, 0x7f, 0x26, 0, 0}, packet.MalformedPacket},
		{"31: a topic of no bytes", pub(func(m *packet.Publish) { m.Topic = nil }), packet.ProtocolError},
		{"31: reserved flags of a PINGREQ", []byte{0xc3, 0}, packet.MalformedPacket},
		{"31: QoS 3", []byte{0x36, 0x05, 0, 1, 't', 0, 1}, packet.MalformedPacket},
		{"31: a second CONNECT", hello, packet.ProtocolError},
		{"31: packet identifier 0", pub(func(m *packet.Publish) { m.ID = 0 }), packet.ProtocolError},
		{"31: a length of five bytes", []byte{0x32, 0xff, 0xff, 0xff, 0xff, 0x01}, packet.MalformedPacket},
		{"33: a topic alias above the maximum", pub(func(m *packet.Publish) { m.Alias = 17 }), packet.TopicAliasInvalid},
		{"33: a topic alias of 0", []byte{0x32, 0x0b, 0, 1, 't', 0, 1, 3, 0x23, 0, 0, 'x', 'y'}, packet.TopicAliasInvalid},
		{"33: an alias that stands for nothing", pub(func(m *packet.Publish) { m.Topic, m.Alias = nil, 3 }), packet.ProtocolError},
		{"33: retained", pub(func(m *packet.Publish) { m.Retain = true }), packet.RetainNotSupported},
		{"33: QoS 2", pub(func(m *packet.Publish) { m.QoS = 2 }), packet.QoSNotSupported},
		{"33: a wildcard in a topic", pub(func(m *packet.Publish) { m.Topic = []byte("telemetry/#") }), packet.TopicNameInvalid},
	} {
		if reason, text := s.raw("boiler-1", x.p); reason != x.want {
			t.Errorf("%s: %v %q", x.name, reason, text)
		}
	}
	for name, p := range map[string][]byte{
		"30: a CONNECT of 256 MiB":        {0x10, 0xff, 0xff, 0xff, 0x7f},
		"31: something else than CONNECT": {0xc0, 0},
		"31: HTTP":                        []byte("GET / HTTP/1.1\r\n\r\n"),
	} {
		if reason, text := s.rawAs("boiler-1", p); reason != packet.Success {
			t.Errorf("%s: %v %q", name, reason, text)
		}
	}
	n := finish()
	if got := s.stored(record.TopicTelemetry, "neighbour"); got != n || s.stored(record.TopicTelemetry, "boiler-1") != 0 {
		t.Errorf("the neighbour has %d records, and was told of %d; or the other has some", got, n)
	}
	s.balanced()
}

// Rows 24 to 27.
func TestKeysAndTimesByMQTTAreJudgedAsByHTTPS(t *testing.T) {
	s := open(t, nil, "boiler-1")
	p := s.mqtt("boiler-1")
	first := message(7, 1000, "")
	s.stores(p, telemetry(first))
	s.stores(p, telemetry(first))
	if n := s.answered("duplicate"); n != 1 {
		t.Errorf("%v duplicates", n)
	}
	if reason, text, ended := refused(s.publish(p, telemetry(message(7, 1000, `,"fw":"2"`)))); reason != packet.ImplementationSpecific || ended || !strings.Contains(text, "seq 1000") {
		t.Errorf("%v %q %v", reason, text, ended)
	}
	// A backlog is no sign; the same without its mark is one.
	s.stores(p, publisher.Message{Topic: "telemetry", QoS: 1, Payload: message(7, 10, ""), User: []packet.Property{{Name: "muster-backlog", Value: "1"}}})
	if s.metric("muster_gateway_seq_regressions_total") != 0 {
		t.Error("a backlog counts as a seq that goes back")
	}
	s.stores(p, telemetry(message(7, 20, "")))
	s.eventually("both signs are written", func() bool {
		return s.written(sign.SeqBack, "written") == 1 && s.written(sign.KeyConflict, "written") == 1
	})
	for _, ts := range []int64{0, 9_999_999_999_999, time.Now().Add(24 * time.Hour).UnixMilli()} {
		s.stores(p, telemetry(fmt.Appendf(nil, `{"readings":[{"ts":%d,"metrics":{"t":1}}]}`, ts)))
	}
	if n := s.metric("muster_gateway_faulty_values_total"); n != 3 {
		t.Errorf("%v values at fault", n)
	}
	s.balanced()
}

// Rows 18, 19 and 21.
func TestOnlyADevicesCertificateComesInByMQTT(t *testing.T) {
	s := open(t, nil, "boiler-1", "neighbour")
	finish := s.neighbour("neighbour")
	client := []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
	own := gatewaytest.URI(t, "spiffe://"+gatewaytest.TrustDomain+"/device/boiler-1")
	stranger := gatewaytest.NewAuthority(t)
	none := s.ca.Client(s.ca.Device("boiler-1"))
	none.Certificates = nil
	for name, cfg := range map[string]*tls.Config{
		"18: none":             none,
		"18: another's":        s.ca.Client(stranger.Device("boiler-1")),
		"18: ended":            s.ca.Client(s.ca.Issue("ended", &x509.Certificate{URIs: []*url.URL{own}, ExtKeyUsage: client, NotBefore: time.Now().Add(-2 * time.Hour), NotAfter: time.Now().Add(-time.Minute)})),
		"18: not yet valid":    s.ca.Client(s.ca.Issue("early", &x509.Certificate{URIs: []*url.URL{own}, ExtKeyUsage: client, NotBefore: time.Now().Add(time.Hour), NotAfter: time.Now().Add(2 * time.Hour)})),
		"18: not for a client": s.ca.Client(s.ca.Server("boiler-1-server")),
	} {
		c, err := tls.Dial("tcp", s.gateway.MQTTAddr(), cfg)
		if err == nil { // of TLS 1.3, a client hears of it when it reads
			_, err = c.Read(make([]byte, 1))
			c.Close()
		}
		if err == nil || !strings.Contains(err.Error(), "remote error: tls: ") {
			t.Errorf("%s: %v", name, err)
		}
	}
	uris := func(all ...string) (out []*url.URL) {
		for _, u := range all {
			out = append(out, gatewaytest.URI(t, u))
		}
		return out
	}
	domain := "spiffe://" + gatewaytest.TrustDomain + "/device/"
	for name, names := range map[string][]*url.URL{
		"19: no name of a device": nil,
		"21: two names":           uris(domain+"boiler-1", domain+"boiler-2"),
		"21: a path":              uris(domain + "a/../boiler-1"),
		"21: an escaped slash":    uris(domain + "boiler%2f1"),
		"21: upper case":          uris(domain + "BOILER-1"),
		"21: another domain":      uris("spiffe://other.test/device/boiler-1"),
		"not enrolled":            uris(domain + "nobody"),
	} {
		id := s.ca.Issue(strings.ReplaceAll(name, " ", "-"), &x509.Certificate{URIs: names, ExtKeyUsage: client})
		for _, v := range versions {
			_, err := s.mqttTry(id, publisher.Options{Version: v, ClientID: "boiler-1"})
			if reason, text, _ := refused(err); reason != packet.NotAuthorized || (v == packet.V5) != (text != "") {
				t.Errorf("%s, %v: %v", name, v, err)
			}
		}
	}
	finish()
	if n := s.stored(record.TopicTelemetry, "boiler-1"); n != 0 {
		t.Errorf("%d records", n)
	}
	s.balanced()
}

// Rows 22 and 23: whose a message is says the certificate alone.
func TestATopicOrABodyOfAnotherDeviceIsRefusedAndTold(t *testing.T) {
	s := open(t, nil, "boiler-1", "boiler-2")
	p := s.mqtt("boiler-1")
	good := message(1, 1, "")
	texts := map[string]bool{}
	for _, to := range []string{"telemetry/boiler-2", "telemetry/unknown", "t//boiler-2", "t/acme/boiler-2", "events/boiler-2", "v1/boiler-2/telemetry", "telemetry/BOILER"} {
		reason, text, ended := refused(s.publish(p, publisher.Message{Topic: to, QoS: 1, Payload: good}))
		if reason != packet.NotAuthorized || ended {
			t.Errorf("%s: %v %q %v", to, reason, text, ended)
		}
		texts[strings.ReplaceAll(text, to, "")] = true
	}
	if len(texts) != 1 {
		t.Errorf("what is said tells devices that there are from others: %v", texts)
	}
	if reason, text, _ := refused(s.publish(p, telemetry(message(1, 2, `,"device":"boiler-2"`)))); reason != packet.NotAuthorized || !strings.Contains(text, "boiler-2") {
		t.Errorf("%v %q", reason, text)
	}
	s.stores(p, publisher.Message{Topic: "telemetry/boiler-1", QoS: 1, Payload: good}) // its own
	s.eventually("it is told", func() bool { return s.written(sign.OtherName, "written") == 1 })
	if n := s.stored(record.TopicTelemetry, "boiler-2") + s.stored(record.TopicEvents, "boiler-2"); n != 0 {
		t.Errorf("%d records of another", n)
	}
	s.balanced()
}

// What is refused costs its sender no rate. It waits all the same, and nobody with it: the least time that so many refusals
// take is fixed, whatever the machine does.
func TestWhoIsRefusedAgainAndAgainWaitsAlone(t *testing.T) {
	s := open(t, nil, "storm", "calm")
	const many, least = 260, 500 * time.Millisecond // 200 at once, and 100 a second
	p, c := s.mqtt("storm"), s.device("storm")
	for name, ask := range map[string]func(){
		"by MQTT": func() {
			if reason, _, ended := refused(s.publish(p, publisher.Message{Topic: "nothing/here", QoS: 1, Payload: []byte("x")})); reason != packet.TopicNameInvalid || ended {
				t.Fatalf("%v %v", reason, ended)
			}
		},
		"by HTTPS": func() {
			if r := s.post(c, "/v1/telemetry/calm", typeJSON, message(1, 0, "")); r.Code != http.StatusForbidden {
				t.Fatal(r.Raw)
			}
		},
	} {
		began := time.Now()
		for range many {
			ask()
		}
		if d := time.Since(began); d < least {
			t.Errorf("%s: %d refusals in %v", name, many, d)
		}
	}
	s.stores(s.mqtt("calm"), telemetry(message(1, 0, "")))
	s.stores(p, telemetry(message(1, 0, "")))
	s.balanced()
}

// Row 28, and what it is in 3.1.1: no PUBACK, and the end of the connection after a while.
func TestADeviceAboveItsRateKeepsItsMessage(t *testing.T) {
	s := open(t, func(c *gateway.Config) { c.Limits.DeviceMessages, c.Limits.DeviceMessagesBurst = 0.001, 3 }, "eager", "older", "calm")
	p := s.mqtt("eager")
	old := s.mqttAs(s.ca.Device("older"), publisher.Options{Version: packet.V311, ClientID: "older"})
	for i := range 3 {
		s.stores(p, telemetry(message(1, i, "")))
		s.stores(old, telemetry(message(1, i, "")))
	}
	if reason, text, ended := refused(s.publish(p, telemetry(message(1, 3, "")))); reason != packet.QuotaExceeded || ended || text == "" {
		t.Errorf("%v %q %v", reason, text, ended)
	}
	if _, _, ended := refused(s.publish(old, telemetry(message(1, 3, "")))); !ended {
		t.Error("3.1.1 has a word for it")
	}
	// By HTTPS it is above its rate as well: both are one device.
	if r := s.post(s.device("eager"), "/v1/telemetry", typeJSON, message(1, 3, "")); r.Code != 429 {
		t.Errorf("by HTTPS: %s", r.Raw)
	}
	s.stores(s.mqtt("calm"), telemetry(message(1, 0, "")))
	if n := len(s.records(record.TopicTelemetry)); n != 7 {
		t.Errorf("%d records", n)
	}
	s.balanced()
}
