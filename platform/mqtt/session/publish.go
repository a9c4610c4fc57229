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
	b, used, room, ok := c.body(h.Length)
	switch {
	case ok:
	case used < 0:
		return false
	default:
		return c.crowded(h, b, used)
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

// body reads a message's body of n bytes, and takes room for it as it comes: one who sends nothing of a long message holds none that
// others could use. ok is false when there is none left, with the bytes that have come; used is below 0 when the connection is to end.
func (c *Conn) body(n int) (b *block, used, room int, ok bool) {
	r := c.settings.Room
	if r == nil {
		if b, ok = c.large(n); !ok {
			used = -1
		}
		return b, used, 0, ok
	}
	if room = min(n, firstBlock); !r.Take(int64(room)) {
		return nil, 0, 0, false
	}
	b = newBlock(room)
	used = c.buffered(b.b[:min(n, len(b.b))])
	for used < n {
		c.begin(c.settings.Limits.Body)
		if used == len(b.b) {
			next := min(n, 8*used)
			if !r.Take(int64(next - room)) {
				r.Give(int64(room))
				return b, used, 0, false
			}
			room = next
			b = b.grown(used, next)
		}
		got, alive := c.read(b.b[used:min(n, len(b.b))])
		if !alive {
			b.free()
			r.Give(int64(room))
			return nil, -1, 0, false
		}
		used += got
	}
	return b, used, room, true
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
// for from now on. have bytes of it are in b, which is nil where none are.
func (c *Conn) crowded(h packet.Header, b *block, have int) bool {
	const text = "the server has no room for a message now; send it again later"
	if b == nil {
		have = min(h.Length, 4+c.settings.Limits.Topic+headBytes)
		var ok bool
		if b, ok = c.large(have); !ok {
			return false
		}
	}
	m := newMessage(c, b, h.Length, 0)
	err := m.Decode(h, b.b[:have], c.version)
	if err == nil {
		err = c.alias(m)
	}
	id := m.ID
	m.free()
	switch {
	case err != nil && have < h.Length: // it may be in order, and longer
		return c.refuse(packet.QuotaExceeded, text)
	case err != nil:
		return c.fault(err)
	case !c.skip(h.Length - have):
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
