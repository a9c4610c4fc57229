package session

import (
	"time"

	"muster.dev/platform/mqtt/packet"
)

// greet takes CONNECT, asks the handler and answers.
func (c *Conn) greet() bool {
	h, ok := c.header(c.settings.Limits.ConnectBytes)
	if !ok {
		return false
	}
	if h.Type != packet.CONNECT {
		return c.refuse(packet.ProtocolError, h.Type.String()+" before CONNECT")
	}
	c.count(h)
	body, b, ok := c.small(h.Length)
	if !ok {
		return false
	}
	defer b.free()
	var k packet.Connect
	err := k.Decode(body)
	c.version, c.most, c.terse = k.Version, packet.MaxLength, k.NoProblemInfo
	if k.MaximumPacket != 0 {
		c.most = int(min(k.MaximumPacket, packet.MaxLength))
	}
	if err == nil {
		err = c.offer(&k)
	}
	if err != nil {
		e := err.(*packet.Error)
		c.connack(packet.Connack{Reason: e.Reason, Text: e.Detail}, e.Reason == packet.UnsupportedVersion || e.Reason == packet.BadClientID)
		return c.fault(err)
	}
	hello := Hello{Version: k.Version, ClientID: string(k.ClientID), User: string(k.User), HasUser: k.HasUser, Password: k.Password,
		CleanStart: k.CleanStart, ReceiveMaximum: int(k.ReceiveMaximum), Will: k.Will != nil}
	told := c.keepAlive(&hello, time.Duration(k.KeepAlive)*time.Second)
	c.expires = k.SessionExpiry != 0
	no, let := c.handler.Connect(c, &hello)
	if !let {
		if !no.Reason.Failed() {
			no.Reason = packet.NotAuthorized
		}
		c.connack(packet.Connack{Reason: no.Reason, Text: no.Text, ServerReference: no.ServerReference}, true)
		return c.refuse(no.Reason, no.Text)
	}
	c.let = true
	if !c.connack(c.welcome(&hello, told), true) {
		c.most = 0 // for no last words either
		return c.refuse(packet.PacketTooLarge, "the client takes no packet as large as the answer to CONNECT")
	}
	return true
}

// offer refuses what a client asks for and cannot have.
func (c *Conn) offer(k *packet.Connect) error {
	no := func(r packet.Reason, text string) error { return &packet.Error{Reason: r, Detail: text} }
	switch {
	case k.Version != packet.V5 && len(k.ClientID) == 0 && !k.CleanStart: // [MQTT-3.1.3-8]
		return no(packet.BadClientID, "CONNECT without a client identifier that asks for a session to go on")
	case k.Version != packet.V5:
	case k.AuthMethod != nil:
		return no(packet.BadAuthMethod, "no method of authentication is spoken here")
	case k.Will != nil && k.Will.Retain: // [MQTT-3.2.2-13]
		return no(packet.RetainNotSupported, "nothing is retained here, no will either")
	case k.Will != nil && k.Will.QoS == 2: // [MQTT-3.2.2-12]
		return no(packet.QoSNotSupported, "QoS 2 is not spoken here")
	}
	return nil
}

// keepAlive settles how long the client may be silent, and says whether it has to be told.
func (c *Conn) keepAlive(h *Hello, asked time.Duration) (tell bool) {
	l := &c.settings.Limits
	h.KeepAlive = min(max(asked, l.KeepAliveLeast), l.KeepAliveMost)
	switch {
	case asked == 0 && h.Version != packet.V5:
		h.KeepAlive, c.idle = 0, l.Silence
		return false
	case asked == 0:
		h.KeepAlive = l.KeepAliveDefault
	}
	c.idle = h.KeepAlive + h.KeepAlive/2
	return h.KeepAlive != asked
}

func (c *Conn) welcome(h *Hello, told bool) packet.Connack {
	l := &c.settings.Limits
	k := packet.Connack{ReceiveMaximum: uint16(l.ReceiveMaximum), MaximumPacket: uint32(l.Packet), TopicAliasMax: uint16(l.Aliases),
		AssignedID: h.Assigned, PublishOnly: true}
	if h.ClientID == "" && k.AssignedID == "" {
		k.AssignedID = randomID()
	}
	if told {
		seconds := uint16(h.KeepAlive / time.Second)
		k.KeepAlive = &seconds
	}
	if c.expires {
		k.SessionExpiry = new(uint32)
	}
	return k
}

// connack answers CONNECT, if the client can be answered: of 3.1.1's, only where it has a word for the reason.
func (c *Conn) connack(k packet.Connack, word bool) bool {
	if c.version == 0 && k.Reason == packet.UnsupportedVersion {
		c.version = packet.V311 // older than both: it reads that
	}
	if c.version == 0 || c.version != packet.V5 && !word {
		return false
	}
	k.Text = k.Text[:min(len(k.Text), 256)]
	dst := k.Append(nil, c.version)
	if len(dst) > c.most {
		k.Text, k.ServerReference = "", ""
		if dst = k.Append(nil, c.version); len(dst) > c.most {
			return false
		}
	}
	c.say(len(dst), func(to []byte) []byte { return append(to, dst...) })
	return true
}
