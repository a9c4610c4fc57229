package session

import (
	"time"

	"muster.dev/platform/mqtt/packet"
)

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
