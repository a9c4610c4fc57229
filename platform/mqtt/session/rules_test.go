package session

import (
	"bytes"
	"strings"
	"testing"
	"testing/synctest"

	"muster.dev/platform/mqtt/packet"
)

// What breaks the rules after CONNECT, each with the reason that 5.0's client is told. A client of 3.1.1 is told nothing: the
// connection ends. The bytes are a client's, as they stand; $ is where 5.0 has the length of its properties.
var broken = []struct {
	name   string
	v5     string
	v311   string // "" is: there is no such thing
	reason packet.Reason
}{
	{"SUBSCRIBE of eight bytes that ends before its options", "\x82\x06\x00\x01\x00\x00\x01a", "\x82\x05\x00\x01\x00\x01a", packet.MalformedPacket},
	{"SUBSCRIBE that ends inside its filter", "\x82\x06\x00\x01\x00\x00\xff\x61", "\x82\x06\x00\x01\x00\xff\x61\x62", packet.MalformedPacket},
	{"SUBSCRIBE that ends inside its properties", "\x82\x04\x00\x01\x7f\x26", "", packet.MalformedPacket},
	{"SUBSCRIBE of nothing", "\x82\x00", "\x82\x00", packet.MalformedPacket},
	{"SUBSCRIBE without filters", "\x82\x03\x00\x01\x00", "\x82\x02\x00\x01", packet.ProtocolError},
	{"SUBSCRIBE with an empty filter", "\x82\x06\x00\x01\x00\x00\x00\x01", "\x82\x05\x00\x01\x00\x00\x01", packet.ProtocolError},
	{"SUBSCRIBE with the identifier 0", "\x82\x07\x00\x00\x00\x00\x01a\x01", "\x82\x06\x00\x00\x00\x01a\x01", packet.ProtocolError},
	{"SUBSCRIBE with wrong reserved flags", "\x80\x07\x00\x01\x00\x00\x01a\x01", "\x80\x06\x00\x01\x00\x01a\x01", packet.MalformedPacket},
	{"SUBSCRIBE with QoS 3", "\x82\x07\x00\x01\x00\x00\x01a\x03", "\x82\x06\x00\x01\x00\x01a\x03", packet.MalformedPacket},
	{"SUBSCRIBE with reserved options", "\x82\x07\x00\x01\x00\x00\x01a\x41", "\x82\x06\x00\x01\x00\x01a\x05", packet.MalformedPacket},
	{"SUBSCRIBE with retain handling 3", "\x82\x07\x00\x01\x00\x00\x01a\x31", "", packet.ProtocolError},
	{"SUBSCRIBE with the subscription identifier 0", "\x82\x09\x00\x01\x02\x0b\x00\x00\x01a\x01", "", packet.ProtocolError},
	{"SUBSCRIBE with a filter that is not UTF-8", "\x82\x07\x00\x01\x00\x00\x01\xff\x01", "\x82\x06\x00\x01\x00\x01\xff\x01", packet.MalformedPacket},
	{"UNSUBSCRIBE without filters", "\xa2\x03\x00\x01\x00", "\xa2\x02\x00\x01", packet.ProtocolError},
	{"UNSUBSCRIBE with wrong reserved flags", "\xa0\x06\x00\x01\x00\x00\x01a", "\xa0\x05\x00\x01\x00\x01a", packet.MalformedPacket},

	{"PUBLISH that ends inside its topic", "\x30\x03\x00\x09t", "\x30\x03\x00\x09t", packet.MalformedPacket},
	{"PUBLISH of nothing", "\x30\x00", "\x30\x00", packet.MalformedPacket},
	{"PUBLISH that ends before its identifier", "\x32\x03\x00\x01t", "\x32\x03\x00\x01t", packet.MalformedPacket},
	{"PUBLISH that ends inside its properties", "\x30\x05\x00\x01t\x7f\x01", "", packet.MalformedPacket},
	{"PUBLISH whose properties' length is five bytes", "\x30\x08\x00\x01t\x80\x80\x80\x80\x00", "", packet.MalformedPacket},
	{"PUBLISH with an empty topic", "\x30\x04\x00\x00\x00x", "\x30\x03\x00\x00x", packet.ProtocolError},
	{"PUBLISH with the identifier 0", "\x32\x06\x00\x01t\x00\x00\x00", "\x32\x05\x00\x01t\x00\x00", packet.ProtocolError},
	{"PUBLISH with QoS 3", "\x36\x06\x00\x01t\x00\x01\x00", "\x36\x05\x00\x01t\x00\x01", packet.MalformedPacket},
	{"PUBLISH of QoS 0 that is a duplicate", "\x38\x04\x00\x01t\x00", "\x38\x03\x00\x01t", packet.MalformedPacket},
	{"PUBLISH of QoS 2", "\x34\x06\x00\x01t\x00\x01\x00", "\x34\x05\x00\x01t\x00\x01", packet.QoSNotSupported},
	{"PUBLISH that is to be retained", "\x31\x04\x00\x01t\x00", "", packet.RetainNotSupported},
	{"PUBLISH with a wildcard in its topic", "\x30\x06\x00\x03a/#\x00", "\x30\x05\x00\x03a/#", packet.TopicNameInvalid},
	{"PUBLISH with U+0000 in its topic", "\x30\x05\x00\x02a\x00\x00", "\x30\x04\x00\x02a\x00", packet.MalformedPacket},
	{"PUBLISH with a surrogate in its topic", "\x30\x06\x00\x03\xed\xa0\x80\x00", "\x30\x05\x00\x03\xed\xa0\x80", packet.MalformedPacket},
	{"PUBLISH with a control character in its topic", "\x30\x05\x00\x02a\x1b\x00", "\x30\x04\x00\x02a\x1b", packet.TopicNameInvalid},
	{"PUBLISH with the topic alias 0", "\x30\x07\x00\x01t\x03\x23\x00\x00", "", packet.TopicAliasInvalid},
	{"PUBLISH with a topic alias above the maximum", "\x30\x07\x00\x01t\x03\x23\x00\x11", "", packet.TopicAliasInvalid},
	{"PUBLISH with a topic alias that stands for nothing", "\x30\x06\x00\x00\x03\x23\x00\x02", "", packet.ProtocolError},
	{"PUBLISH with a topic alias twice", "\x30\x0a\x00\x01t\x06\x23\x00\x01\x23\x00\x01", "", packet.ProtocolError},
	{"PUBLISH with a subscription identifier", "\x30\x06\x00\x01t\x02\x0b\x01", "", packet.ProtocolError},
	{"PUBLISH with a property that is none", "\x30\x06\x00\x01t\x02\x7e\x01", "", packet.MalformedPacket},
	{"PUBLISH with a property of CONNECT", "\x30\x07\x00\x01t\x03\x21\x00\x01", "", packet.ProtocolError},
	{"PUBLISH with a payload format of 2", "\x30\x06\x00\x01t\x02\x01\x02", "", packet.ProtocolError},
	{"PUBLISH with a wildcard in its response topic", "\x30\x08\x00\x01t\x04\x08\x00\x01+", "", packet.ProtocolError},
	{"PUBLISH of more bytes than a packet may have", "\x30\x80\x80\x10", "\x30\x80\x80\x10", packet.PacketTooLarge},
	{"PUBLISH of 256 MiB", "\x30\xff\xff\xff\x7f", "\x30\xff\xff\xff\x7f", packet.PacketTooLarge},
	{"a length of five bytes", "\x30\x80\x80\x80\x80\x01", "\x30\x80\x80\x80\x80\x01", packet.MalformedPacket},
	{"a length in more bytes than it needs", "\xc0\x80\x00", "\xc0\x80\x00", packet.MalformedPacket},

	{"a second CONNECT", "\x10\x0d\x00\x04MQTT\x05\x02\x00\x00\x00\x00\x00", "\x10\x0c\x00\x04MQTT\x04\x02\x00\x00\x00\x00", packet.ProtocolError},
	{"a packet of type 0", "\x00\x00", "\x00\x00", packet.MalformedPacket},
	{"AUTH", "\xf0\x00", "\xf0\x00", packet.ProtocolError},
	{"CONNACK of a client", "\x20\x03\x00\x00\x00", "\x20\x02\x00\x00", packet.ProtocolError},
	{"PUBACK of a client", "\x40\x02\x00\x01", "\x40\x02\x00\x01", packet.ProtocolError},
	{"PUBREL of a client", "\x62\x02\x00\x01", "\x62\x02\x00\x01", packet.ProtocolError},
	{"PUBREL with wrong reserved flags", "\x60\x02\x00\x01", "\x60\x02\x00\x01", packet.MalformedPacket},
	{"SUBACK of a client", "\x90\x04\x00\x01\x00\x00", "\x90\x03\x00\x01\x00", packet.ProtocolError},
	{"PINGRESP of a client", "\xd0\x00", "\xd0\x00", packet.ProtocolError},
	{"PINGREQ with a body", "\xc0\x01x", "\xc0\x01x", packet.MalformedPacket},
	{"PINGREQ with flags", "\xc1\x00", "\xc1\x00", packet.MalformedPacket},
	{"DISCONNECT with flags", "\xe1\x00", "\xe1\x00", packet.MalformedPacket},
	{"DISCONNECT with a body", "\xe0\x03\x00\x00x", "\xe0\x01\x00", packet.MalformedPacket},
	{"DISCONNECT with a session expiry out of nothing", "\xe0\x07\x00\x05\x11\x00\x00\x00\x01", "", packet.ProtocolError},
}

func TestWhatBreaksTheRulesEndsTheConnectionForItsReason(t *testing.T) {
	for _, b := range broken {
		for v, bytes := range map[packet.Version]string{packet.V5: b.v5, packet.V311: b.v311} {
			if bytes == "" {
				continue
			}
			t.Run(b.name+" in "+v.String(), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					r := &recorder{}
					w := connect(t, settings(), r)
					w.in(hello(v))
					w.write([]byte(bytes)...)
					said := w.bye()
					e := w.over()
					want := b.reason
					if v == packet.V311 && b.name == "AUTH" {
						want = packet.MalformedPacket // it does not know the type
					}
					if e.By != ByServer || e.Reason != want || e.Text == "" || !e.Let {
						t.Errorf("ended by %v: %v (%q), and should for %v", e.By, e.Reason, e.Text, want)
					}
					if v == packet.V5 && (said.Reason != want || said.Text != e.Text) {
						t.Errorf("the client is told %v (%q)", said.Reason, said.Text)
					}
					if len(r.messages) > 0 {
						t.Errorf("published %q", r.messages)
					}
					if len(r.closed) != 1 || r.closed[0] != e {
						t.Errorf("the handler was told %v", r.closed)
					}
				})
			})
		}
	}
}

func TestAFirstPacketThatIsNoConnectEndsTheConnectionWithoutAWord(t *testing.T) {
	for name, bytes := range map[string]string{
		"PUBLISH": "\x30\x03\x00\x01t", "PINGREQ": "\xc0\x00", "SUBSCRIBE": "\x82\x06\x00\x01\x00\x01a\x01", "DISCONNECT": "\xe0\x00",
		"CONNECT of 256 MiB": "\x10\xff\xff\xff\x7f", "CONNECT of 4 KiB and a byte": "\x10\x81\x20", "HTTP": "GET / HTTP/1.1\r\n\r\n",
		"CONNECT of nothing": "\x10\x00", "CONNECT with flags": "\x11\x0c\x00\x04MQTT\x04\x02\x00\x00\x00\x00",
		"the reserved flag": "\x10\x0c\x00\x04MQTT\x04\x03\x00\x00\x00\x00", "a will's flags without a will": "\x10\x0c\x00\x04MQTT\x04\x0a\x00\x00\x00\x00",
		"a password without a user name": "\x10\x0f\x00\x04MQTT\x04\x42\x00\x00\x00\x00\x00\x01p",
		"what follows its end":           "\x10\x0d\x00\x04MQTT\x04\x02\x00\x00\x00\x00x",
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := &recorder{connect: func(*Conn, *Hello) (Refusal, bool) { t.Error("asked"); return Refusal{}, false }}
				w := connect(t, settings(), r)
				w.write([]byte(bytes)...)
				if p := w.next(); p != nil {
					t.Errorf("answered by % x", p)
				}
				if e := w.over(); e.By != ByServer || !e.Reason.Failed() || e.Let {
					t.Errorf("ended %v", e)
				}
				if len(r.closed) > 0 {
					t.Error("Closed without Connect")
				}
			})
		})
	}
}

func TestAConnectThatCannotBeTakenIsAnsweredInItsVersion(t *testing.T) {
	with := func(change func(*packet.Connect)) []byte {
		k := hello(packet.V5)
		change(&k)
		return k.Append(nil)
	}
	for _, c := range []struct {
		name   string
		bytes  []byte
		reason packet.Reason
		told   packet.Version
	}{
		{"MQTT 3.1", []byte("\x10\x0f\x00\x06MQIsdp\x03\x02\x00\x3c\x00\x01d"), packet.UnsupportedVersion, packet.V311},
		{"level 3", []byte("\x10\x0d\x00\x04MQTT\x03\x02\x00\x3c\x00\x01d"), packet.UnsupportedVersion, packet.V311},
		{"3.1 of a bridge", []byte("\x10\x0d\x00\x04MQTT\x83\x02\x00\x3c\x00\x01d"), packet.UnsupportedVersion, packet.V311},
		{"a level that is none of a bridge", []byte("\x10\x0d\x00\x04MQTT\x86\x02\x00\x3c\x00\x01d"), packet.UnsupportedVersion, packet.V311},
		{"another protocol", []byte("\x10\x0c\x00\x04MQTX\x04\x02\x00\x00\x00\x00"), packet.UnsupportedVersion, packet.V311},
		{"level 6", []byte("\x10\x0e\x00\x04MQTT\x06\x02\x00\x3c\x00\x00\x01d"), packet.UnsupportedVersion, packet.V5},
		{"3.1.1 without an identifier, whose session is to go on", []byte("\x10\x0c\x00\x04MQTT\x04\x00\x00\x3c\x00\x00"), packet.BadClientID, packet.V311},
		{"the reserved flag", []byte("\x10\x0e\x00\x04MQTT\x05\x03\x00\x3c\x00\x00\x01d"), packet.MalformedPacket, packet.V5},
		{"a will's flags without a will", []byte("\x10\x0e\x00\x04MQTT\x05\x22\x00\x3c\x00\x00\x01d"), packet.MalformedPacket, packet.V5},
		{"a will of QoS 3", []byte("\x10\x14\x00\x04MQTT\x05\x1e\x00\x3c\x00\x00\x01d\x00\x00\x01w\x00\x00"), packet.MalformedPacket, packet.V5},
		{"a receive maximum of 0", []byte("\x10\x11\x00\x04MQTT\x05\x02\x00\x3c\x03\x21\x00\x00\x00\x01d"), packet.ProtocolError, packet.V5},
		{"a maximum packet of 0", []byte("\x10\x13\x00\x04MQTT\x05\x02\x00\x3c\x05\x27\x00\x00\x00\x00\x00\x01d"), packet.ProtocolError, packet.V5},
		{"authentication data without a method", []byte("\x10\x12\x00\x04MQTT\x05\x02\x00\x3c\x04\x16\x00\x01x\x00\x01d"), packet.ProtocolError, packet.V5},
		{"a property of PUBLISH", []byte("\x10\x11\x00\x04MQTT\x05\x02\x00\x3c\x03\x23\x00\x01\x00\x01d"), packet.ProtocolError, packet.V5},
		{"a method of authentication", with(func(k *packet.Connect) { k.AuthMethod = []byte("SCRAM") }), packet.BadAuthMethod, packet.V5},
		{"a will to be retained", with(func(k *packet.Connect) { k.Will = &packet.Will{Topic: []byte("w"), Retain: true} }), packet.RetainNotSupported, packet.V5},
		{"a will of QoS 2", with(func(k *packet.Connect) { k.Will = &packet.Will{Topic: []byte("w"), QoS: 2} }), packet.QoSNotSupported, packet.V5},
		{"a will to a wildcard", with(func(k *packet.Connect) { k.Will = &packet.Will{Topic: []byte("#")} }), packet.TopicNameInvalid, packet.V5},
		{"a control character in the identifier", with(func(k *packet.Connect) { k.ClientID = []byte("d\n") }), packet.BadClientID, packet.V5},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := connect(t, settings(), &recorder{connect: func(*Conn, *Hello) (Refusal, bool) { t.Error("asked"); return Refusal{}, false }})
				w.write(c.bytes...)
				p := w.next()
				if p == nil {
					t.Fatal("no CONNACK")
				}
				var k packet.Connack
				if err := k.Decode(p[2:], c.told); err != nil {
					t.Fatal(err)
				}
				if k.Reason != c.reason || c.told == packet.V5 && k.Text == "" {
					t.Errorf("told %v (%q), and should %v", k.Reason, k.Text, c.reason)
				}
				if p := w.next(); p != nil {
					t.Errorf("and then % x", p)
				}
				if e := w.over(); e.By != ByServer || e.Reason != c.reason {
					t.Errorf("ended %v", e)
				}
			})
		})
	}
}

func TestASubscriptionIsRefusedAndTheConnectionLives(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		filters := []string{"a", "a/+", "#", "$share/g/a"}
		five := connect(t, settings(), &recorder{})
		five.in(hello(packet.V5))
		five.write(packet.AppendSubscribe(nil, packet.SUBSCRIBE, packet.V5, 7, filters...)...)
		five.expect(0x90, 7, 0, 7, 0, 0x87, 0xa2, 0xa2, 0x9e)
		five.write(packet.AppendSubscribe(nil, packet.UNSUBSCRIBE, packet.V5, 8, filters...)...)
		five.expect(0xb0, 7, 0, 8, 0, 0x11, 0x11, 0x11, 0x11)
		five.write(packet.AppendPingreq(nil)...)
		five.expect(0xd0, 0)

		old := connect(t, settings(), &recorder{})
		old.in(hello(packet.V311))
		old.write(packet.AppendSubscribe(nil, packet.SUBSCRIBE, packet.V311, 7, filters...)...)
		old.expect(0x90, 6, 0, 7, 0x80, 0x80, 0x80, 0x80)
		old.write(packet.AppendSubscribe(nil, packet.UNSUBSCRIBE, packet.V311, 8, filters...)...)
		old.expect(0xb0, 2, 0, 8)

		// one that is as long as a packet may be
		long := strings.Repeat("x", 60_000)
		old.write(packet.AppendSubscribe(nil, packet.SUBSCRIBE, packet.V311, 9, long, long, long, long)...)
		old.expect(0x90, 6, 0, 9, 0x80, 0x80, 0x80, 0x80)
		many := bytes.Repeat([]byte("\x00\x01a\x01"), 60_000)
		old.write(append([]byte{0x82, 0x82, 0xd3, 0x0e, 0, 10}, many...)...)
		if p := old.next(); len(p) != 60_000+6 {
			t.Errorf("60,000 filters are answered by %d bytes", len(p))
		}
	})
}
