package packet

import "encoding/binary"

// Connect is a client's first packet. Its slices alias what it was decoded from.
type Connect struct {
	Version    Version
	Bridge     bool // it is another broker, by a bit of the level that mosquitto's bridges set
	CleanStart bool // 3.1.1: clean session
	KeepAlive  uint16
	ClientID   []byte
	Will       *Will // a pointer to memory of the Connect
	User       []byte
	Password   []byte // for nobody's eyes: not in a log, an error or a metric
	HasUser    bool
	HasPass    bool

	// Of 5.0 alone; what is not there has the value that the text gives it.
	SessionExpiry    uint32
	ReceiveMaximum   uint16
	MaximumPacket    uint32 // 0: no limit
	TopicAliasMax    uint16
	NoProblemInfo    bool   // the client wants no reason strings but in CONNACK and DISCONNECT
	AuthMethod       []byte // it wants an exchange of AUTH packets
	WantResponseInfo bool

	will Will
}

// Will is the message that a client leaves for when it is gone.
type Will struct {
	QoS     byte
	Retain  bool
	Topic   []byte
	Payload []byte
}

const (
	connectClean    = 1 << 1
	connectWill     = 1 << 2
	connectRetain   = 1 << 5
	connectPassword = 1 << 6
	connectUser     = 1 << 7

	bridgeBit = 0x80
)

var (
	connectMay = of(propSessionExpiry, propReceiveMaximum, propMaximumPacket, propTopicAliasMax, propRequestResponse,
		propRequestProblem, propUser, propAuthMethod, propAuthData)
	willMay = of(propWillDelay, propPayloadFormat, propMessageExpiry, propContentType, propResponseTopic, propCorrelation, propUser)
)

// Decode reads the body of a CONNECT. After an error, Version is that of the packet if it was read, else 0.
func (k *Connect) Decode(body []byte) error {
	*k = Connect{CleanStart: true, ReceiveMaximum: 65_535}
	c := cursor{b: body, t: CONNECT}
	name := c.binary("protocol's name")
	level := Version(c.byte("protocol's level"))
	// No text has this bit. A bridge comes without it when it is refused for the level, but half a minute later.
	bridge := level&bridgeBit != 0
	level &^= bridgeBit
	if c.err != nil {
		return c.err
	}
	switch {
	case string(name) == "MQIsdp": // 3.1, by its name
		return refuse(UnsupportedVersion, "MQTT 3.1 is not spoken here; 3.1.1 and 5.0 are")
	case string(name) != "MQTT": // [MQTT-3.1.2-1]
		return refuse(UnsupportedVersion, "CONNECT of another protocol than MQTT")
	case level != V311 && level != V5: // [MQTT-3.1.2-2]
		if level > V5 && !bridge {
			k.Version = V5 // it reads what 5.0 answers
		}
		return refuse(UnsupportedVersion, "MQTT of protocol level %d is not spoken here; 4 (3.1.1) and 5 (5.0) are", byte(level))
	}
	k.Version, k.Bridge = level, bridge

	flags := c.byte("flags")
	if c.err == nil && flags&1 != 0 { // [MQTT-3.1.2-3]
		c.fail(malformed("CONNECT with its reserved flag set"))
	}
	k.CleanStart = flags&connectClean != 0
	k.HasUser, k.HasPass = flags&connectUser != 0, flags&connectPassword != 0
	k.will.QoS, k.will.Retain = flags>>3&3, flags&connectRetain != 0
	switch {
	case c.err != nil:
	case flags&connectWill == 0 && (k.will.QoS != 0 || k.will.Retain): // [MQTT-3.1.2-11, -13]
		c.fail(malformed("CONNECT without a will, with a will's flags"))
	case k.will.QoS == 3: // [MQTT-3.1.2-12]
		c.fail(malformed("CONNECT with both bits of its will's QoS set"))
	case level == V311 && k.HasPass && !k.HasUser: // [MQTT-3.1.2-22] of 3.1.1; 5.0 allows it
		c.fail(malformed("CONNECT with a password and without a user name"))
	}
	k.KeepAlive = c.uint16("keep alive")
	if level == V5 {
		k.properties(&c)
	}
	k.ClientID = c.text("client identifier")
	if c.err == nil && !plain(k.ClientID) {
		c.fail(refuse(BadClientID, "CONNECT with a control character in its client identifier"))
	}
	if flags&connectWill != 0 {
		k.Will = &k.will
		if level == V5 {
			p := c.properties(willMay)
			for p.next() {
			}
			c.err = p.err
		}
		k.will.Topic = c.text("will's topic")
		if c.err == nil {
			c.err = checkTopic(CONNECT, k.will.Topic)
		}
		k.will.Payload = c.binary("will's payload")
	}
	if k.HasUser {
		k.User = c.text("user name")
	}
	if k.HasPass {
		k.Password = c.binary("password")
	}
	return c.end()
}

func (k *Connect) properties(c *cursor) {
	p := c.properties(connectMay)
	for p.next() {
		switch p.id {
		case propSessionExpiry:
			k.SessionExpiry = p.num
		case propReceiveMaximum:
			if !p.zero("receive maximum") {
				k.ReceiveMaximum = uint16(p.num)
			}
		case propMaximumPacket:
			if !p.zero("maximum packet size") {
				k.MaximumPacket = p.num
			}
		case propTopicAliasMax:
			k.TopicAliasMax = uint16(p.num)
		case propRequestResponse:
			k.WantResponseInfo = p.num == 1
		case propRequestProblem:
			k.NoProblemInfo = p.num == 0
		case propAuthMethod:
			k.AuthMethod = p.value
		}
	}
	if p.err == nil && p.seen&of(propAuthData) != 0 && p.seen&of(propAuthMethod) == 0 {
		p.fail(refuse(ProtocolError, "CONNECT with authentication data and without a method"))
	}
	c.err = p.err
}

// Append is the packet's bytes; Will.QoS and Retain too are as they stand.
func (k *Connect) Append(dst []byte) []byte {
	flags, n := byte(0), 10+2+len(k.ClientID)
	if k.CleanStart {
		flags |= connectClean
	}
	var props appender
	if k.Version == V5 {
		props = k.appendProperties(nil)
		n += varintLen(len(props)) + len(props)
	}
	if w := k.Will; w != nil {
		flags |= connectWill | w.QoS<<3
		if w.Retain {
			flags |= connectRetain
		}
		n += 4 + len(w.Topic) + len(w.Payload)
		if k.Version == V5 {
			n++
		}
	}
	if k.HasUser {
		flags |= connectUser
		n += 2 + len(k.User)
	}
	if k.HasPass {
		flags |= connectPassword
		n += 2 + len(k.Password)
	}
	dst = appendHeader(dst, CONNECT, 0, n)
	level := byte(k.Version)
	if k.Bridge {
		level |= bridgeBit
	}
	dst = append(appendText(dst, "MQTT"), level, flags)
	dst = binary.BigEndian.AppendUint16(dst, k.KeepAlive)
	if k.Version == V5 {
		dst = append(appendVarint(dst, len(props)), props...)
	}
	dst = appendText(dst, k.ClientID)
	if w := k.Will; w != nil {
		if k.Version == V5 {
			dst = append(dst, 0) // no properties
		}
		dst = appendText(appendText(dst, w.Topic), w.Payload)
	}
	if k.HasUser {
		dst = appendText(dst, k.User)
	}
	if k.HasPass {
		dst = appendText(dst, k.Password)
	}
	return dst
}

func (k *Connect) appendProperties(a appender) appender {
	if k.SessionExpiry != 0 {
		a = a.uint32(propSessionExpiry, k.SessionExpiry)
	}
	if k.ReceiveMaximum != 0 && k.ReceiveMaximum != 65_535 {
		a = a.uint16(propReceiveMaximum, k.ReceiveMaximum)
	}
	if k.MaximumPacket != 0 {
		a = a.uint32(propMaximumPacket, k.MaximumPacket)
	}
	if k.TopicAliasMax != 0 {
		a = a.uint16(propTopicAliasMax, k.TopicAliasMax)
	}
	if k.WantResponseInfo {
		a = a.uint8(propRequestResponse, 1)
	}
	if k.NoProblemInfo {
		a = a.uint8(propRequestProblem, 0)
	}
	if k.AuthMethod != nil {
		a = a.text(propAuthMethod, string(k.AuthMethod))
	}
	return a
}
