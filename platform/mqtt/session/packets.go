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
		return no(packet.BadAuthMethod, "no authentication but by the certificate is spoken here")
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

func (c *Conn) count(h packet.Header) {
	if c.settings.Packet != nil {
		c.settings.Packet(h.Type)
	}
}

// packet does what a packet after CONNECT asks for. It is false when the connection is to end.
func (c *Conn) packet(h packet.Header) bool {
	c.count(h)
	switch h.Type {
	case packet.PUBLISH:
		return c.publish(h)
	case packet.PINGREQ:
		if !c.chat(h) {
			return false
		}
		if err := h.Empty(); err != nil {
			return c.fault(err)
		}
		c.say(2, packet.AppendPingresp)
		return true
	case packet.SUBSCRIBE, packet.UNSUBSCRIBE:
		return c.subscribe(h)
	case packet.DISCONNECT:
		return c.disconnect(h)
	case packet.CONNECT:
		return c.refuse(packet.ProtocolError, "a second CONNECT")
	case packet.AUTH:
		if c.version != packet.V5 {
			return c.refuse(packet.MalformedPacket, "a packet of type 15, which 3.1.1 does not have")
		}
	case packet.PUBREC, packet.PUBREL, packet.PUBCOMP:
		return c.refuse(packet.ProtocolError, h.Type.String()+" without a message of QoS 2")
	}
	return c.refuse(packet.ProtocolError, h.Type.String()+" is not for a client to send here")
}

// chat counts a packet that brings no message: each costs little, and any number of them may not be had.
func (c *Conn) chat(h packet.Header) bool {
	now := time.Now()
	if full := now.Add(-time.Minute); c.chatted.Before(full) {
		c.chatted = full
	}
	c.chatted = c.chatted.Add(time.Minute / time.Duration(c.settings.Limits.Chatter) * time.Duration(1+h.Length>>10))
	if c.chatted.After(now) {
		return c.refuse(packet.MessageRateTooHigh, "too many packets that bring no message")
	}
	return true
}

func (c *Conn) subscribe(h packet.Header) bool {
	if !c.chat(h) {
		return false
	}
	body, b, ok := c.small(h.Length)
	if !ok {
		return false
	}
	defer b.free()
	var s packet.Subscribe
	if err := s.Decode(h, body, c.version); err != nil {
		return c.fault(err)
	}
	n := 8 + s.Count
	if n > c.most {
		return c.refuse(packet.PacketTooLarge, "the answer to "+h.Type.String()+" is larger than the client takes")
	}
	c.say(n, func(dst []byte) []byte { return s.AppendRefusal(dst, c.version) })
	return true
}

func (c *Conn) disconnect(h packet.Header) bool {
	body, b, ok := c.small(h.Length)
	if !ok {
		return false
	}
	defer b.free()
	var d packet.Disconnect
	if err := d.Decode(body, c.version); err != nil {
		return c.fault(err)
	}
	if d.SessionExpiry != 0 && !c.expires { // [MQTT-3.14.2-2] and 3.14.2.2.2
		return c.refuse(packet.ProtocolError, "DISCONNECT with a session expiry, where CONNECT had none")
	}
	c.end(Ended{By: ByClient, Reason: d.Reason, Text: d.Text}, "")
	return false
}

func (c *Conn) publish(h packet.Header) bool {
	switch {
	case h.QoS() == 2:
		return c.refuse(packet.QoSNotSupported, "QoS 2 is not spoken here")
	case h.Flags&1 != 0 && c.version == packet.V5: // 3.1.1 has no word for it, and it would change nothing
		return c.refuse(packet.RetainNotSupported, "nothing is retained here")
	case h.QoS() == 1 && c.version == packet.V5 && c.tooMany():
		return c.refuse(packet.ReceiveMaximumExceeded, "more messages on their way than the receive maximum")
	}
	room := 0
	if r := c.settings.Room; r != nil {
		if !r.Take(int64(h.Length)) {
			return c.crowded(h)
		}
		room = h.Length
	}
	b, ok := c.large(h.Length)
	if !ok {
		c.give(room)
		return false
	}
	m := newMessage(c, b, h.Length, room)
	err := m.Decode(h, b.b[:h.Length], c.version)
	if err == nil && len(m.Topic) > c.settings.Limits.Topic {
		err = &packet.Error{Reason: packet.TopicNameInvalid, Detail: "PUBLISH with a topic longer than they may be here"}
	}
	if err == nil {
		err = c.alias(m)
	}
	again := false
	if err == nil {
		again, err = c.admit(m)
	}
	if err != nil || again {
		m.free()
		return err == nil || c.fault(err)
	}
	c.handler.Publish(c, m)
	return true
}

func (c *Conn) give(room int) {
	if room > 0 {
		c.settings.Room.Give(int64(room))
	}
}

func (c *Conn) tooMany() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.ids) >= c.settings.Limits.ReceiveMaximum
}

// admit enters a message among those on their way. A client of 3.1.1 may send one again of which it has not heard: the answer
// to the first is the answer to both.
func (c *Conn) admit(m *Message) (again bool, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if m.QoS > 0 {
		for _, f := range c.ids {
			if f.id != m.ID {
				continue
			}
			if m.Dup && c.version != packet.V5 {
				return true, nil
			}
			return false, &packet.Error{Reason: packet.ProtocolError, Detail: "PUBLISH with the packet identifier of a message on its way"}
		}
		c.ids = append(c.ids, inflight{id: m.ID})
	}
	c.open++
	return false, nil
}

// alias puts the topic in that an alias stands for, or keeps it for later.
func (c *Conn) alias(m *Message) error {
	if m.Alias == 0 {
		return nil
	}
	n := int(m.Alias)
	if n > c.settings.Limits.Aliases {
		return &packet.Error{Reason: packet.TopicAliasInvalid, Detail: "PUBLISH with a topic alias above the maximum"}
	}
	if len(m.Topic) > 0 {
		for len(c.aliases) < n {
			c.aliases = append(c.aliases, nil)
		}
		c.aliases[n-1] = append(c.aliases[n-1][:0], m.Topic...)
		return nil
	}
	if n > len(c.aliases) || len(c.aliases[n-1]) == 0 { // [MQTT-3.3.2-8] and 3.3.4
		return &packet.Error{Reason: packet.ProtocolError, Detail: "PUBLISH with a topic alias that stands for nothing yet"}
	}
	m.known = append(m.known[:0], c.aliases[n-1]...) // the message may outlive what the alias stands for
	m.Topic = m.known
	return nil
}

// crowded answers a message for which there is no memory.
func (c *Conn) crowded(h packet.Header) bool {
	const text = "the server has no room for a message now; send it again later"
	head := min(h.Length, 4+c.settings.Limits.Topic)
	b, ok := c.large(head)
	if !ok {
		return false
	}
	defer b.free()
	id, err := packet.PublishID(h, b.b[:head])
	if err != nil {
		return c.fault(err)
	}
	if !c.skip(h.Length - head) {
		return false
	}
	switch {
	case h.QoS() == 0:
	case c.version != packet.V5:
		c.leave(Ended{By: ByServer, Reason: packet.QuotaExceeded, Text: text}, c.settings.Limits.Pause, c.settings.Limits.Pause)
		return false
	default:
		c.mu.Lock()
		c.puback(packet.Puback{ID: id, Reason: packet.QuotaExceeded, Text: text})
		c.mu.Unlock()
	}
	return true
}
