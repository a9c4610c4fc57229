package session

import "muster.dev/platform/mqtt/packet"

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

// headBytes is how much of a message's properties are read of which no more is.
const headBytes = 1 << 10

// crowded answers a message for which there is no memory. Its head is read all the same: for its identifier, and for what an alias stands
// for from now on.
func (c *Conn) crowded(h packet.Header) bool {
	const text = "the server has no room for a message now; send it again later"
	head := min(h.Length, 4+c.settings.Limits.Topic+headBytes)
	b, ok := c.large(head)
	if !ok {
		return false
	}
	m := newMessage(c, b, h.Length, 0)
	err := m.Decode(h, b.b[:head], c.version)
	if err == nil {
		err = c.alias(m)
	}
	id := m.ID
	m.free()
	switch {
	case err != nil && head < h.Length: // it may be in order, and longer
		return c.refuse(packet.QuotaExceeded, text)
	case err != nil:
		return c.fault(err)
	case !c.skip(h.Length - head):
		return false
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
