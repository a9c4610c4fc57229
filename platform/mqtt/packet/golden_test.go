package packet

// golden are packets by their bytes, written out from the texts. Eclipse Paho's two codecs read them with the same meaning.
var golden = []struct {
	name    string
	version Version
	bytes   string
	packet  any
	user    []Property
	oneWay  bool // it is read here, and written otherwise
}{
	{name: "CONNECT 3.1.1 with all that it may have", version: V311, // user name and password, a will of QoS 1, clean session, 10 s
		bytes: "\x10\x1b\x00\x04MQTT\x04\xce\x00\x0a\x00\x01d\x00\x01w\x00\x02mm\x00\x01u\x00\x02pw",
		packet: Connect{Version: V311, CleanStart: true, KeepAlive: 10, ClientID: []byte("d"), ReceiveMaximum: 65_535, HasUser: true, HasPass: true,
			User: []byte("u"), Password: []byte("pw"), Will: &Will{QoS: 1, Topic: []byte("w"), Payload: []byte("mm")}}},
	{name: "CONNECT 5.0", version: V5,
		bytes: "\x10\x22\x00\x04MQTT\x05\x02\x00\x3c\x14\x11\x00\x00\x00\x0a\x21\x00\x14\x27\x00\x00\x10\x00\x22\x00\x0a\x19\x01\x17\x00\x00\x01d",
		packet: Connect{Version: V5, CleanStart: true, KeepAlive: 60, ClientID: []byte("d"), SessionExpiry: 10, ReceiveMaximum: 20, MaximumPacket: 4096,
			TopicAliasMax: 10, WantResponseInfo: true, NoProblemInfo: true}},
	{name: "CONNECT 5.0 with a will's properties", version: V5, oneWay: true,
		bytes: "\x10\x25\x00\x04MQTT\x05\x2c\x00\x3c\x00\x00\x01d\x0f\x18\x00\x00\x00\x05\x01\x01\x26\x00\x01k\x00\x02vv\x00\x01w\x00\x02mm",
		packet: Connect{Version: V5, KeepAlive: 60, ClientID: []byte("d"), ReceiveMaximum: 65_535,
			Will: &Will{QoS: 1, Retain: true, Topic: []byte("w"), Payload: []byte("mm")}}},
	{name: "CONNECT 3.1.1 of mosquitto's bridge", version: V311, bytes: "\x10\x0d\x00\x04MQTT\x84\x02\x00\x3c\x00\x01d",
		packet: Connect{Version: V311, Bridge: true, CleanStart: true, KeepAlive: 60, ClientID: []byte("d"), ReceiveMaximum: 65_535}},
	{name: "CONNACK 3.1.1", version: V311, bytes: "\x20\x02\x00\x05", packet: Connack{Reason: NotAuthorized}},
	{name: "CONNACK 3.1.1 of a session that goes on", version: V311, bytes: "\x20\x02\x01\x00", packet: Connack{SessionPresent: true}},
	{name: "CONNACK 5.0", version: V5,
		bytes: "\x20\x24\x00\x00\x21\x11\x00\x00\x00\x00\x21\x00\x40\x25\x00\x28\x00\x29\x00\x2a\x00\x24\x01\x27\x00\x04\x00\x00\x22\x00\x10\x12\x00\x01a\x13\x00\x3c",
		packet: Connack{SessionExpiry: new(uint32), ReceiveMaximum: 64, PublishOnly: true, MaximumPacket: 256 << 10, TopicAliasMax: 16, AssignedID: "a",
			KeepAlive: new(uint16(60))}},
	{name: "CONNACK 5.0 of a refusal", version: V5, bytes: "\x20\x0e\x00\x9d\x0b\x1f\x00\x02no\x1c\x00\x03o:1",
		packet: Connack{Reason: ServerMoved, Text: "no", ServerReference: "o:1"}},
	{name: "PUBLISH 3.1.1", version: V311, bytes: "\x32\x07\x00\x03a/b\x00\x0a", packet: Publish{QoS: 1, ID: 10, Topic: []byte("a/b"), Payload: []byte{}}},
	{name: "PUBLISH of QoS 0", version: V311, bytes: "\x30\x05\x00\x01thi", packet: Publish{Topic: []byte("t"), Payload: []byte("hi")}},
	{name: "PUBLISH of a duplicate to be retained", version: V311, bytes: "\x3b\x06\x00\x01t\x00\x01x",
		packet: Publish{Dup: true, Retain: true, QoS: 1, ID: 1, Topic: []byte("t"), Payload: []byte("x")}},
	{name: "PUBLISH 5.0", version: V5, bytes: "\x32\x1a\x00\x01t\x01\x02\x13\x23\x00\x05\x03\x00\x01j\x02\x00\x00\x00\x1e\x26\x00\x01k\x00\x01vh", user: []Property{{"k", "v"}},
		packet: Publish{QoS: 1, ID: 258, Topic: []byte("t"), Alias: 5, ContentType: []byte("j"), Expiry: 30, Payload: []byte("h")}},
	{name: "PUBLISH 5.0 by its alias", version: V5, bytes: "\x30\x07\x00\x00\x03\x23\x00\x05x", packet: Publish{Topic: []byte{}, Alias: 5, Payload: []byte("x")}, oneWay: true},
	{name: "PUBACK 3.1.1", version: V311, bytes: "\x40\x02\x12\x34", packet: Puback{ID: 0x1234}},
	{name: "PUBACK 5.0 of success", version: V5, bytes: "\x40\x02\x12\x34", packet: Puback{ID: 0x1234}},
	{name: "PUBACK 5.0 of a quota", version: V5, bytes: "\x40\x03\x12\x34\x97", packet: Puback{ID: 0x1234, Reason: QuotaExceeded}},
	{name: "PUBACK 5.0 with words", version: V5, bytes: "\x40\x0b\x12\x34\x97\x07\x1f\x00\x04slow", packet: Puback{ID: 0x1234, Reason: QuotaExceeded, Text: "slow"}},
	{name: "DISCONNECT 3.1.1", version: V311, bytes: "\xe0\x00", packet: Disconnect{}},
	{name: "DISCONNECT 5.0", version: V5, bytes: "\xe0\x01\x04", packet: Disconnect{Reason: DisconnectWithWill}},
	{name: "DISCONNECT 5.0 with words", version: V5, bytes: "\xe0\x12\x98\x10\x11\x00\x00\x00\x05\x1f\x00\x02no\x1c\x00\x03o:1",
		packet: Disconnect{Reason: AdministrativeAction, SessionExpiry: 5, Text: "no", ServerReference: "o:1"}},
}
