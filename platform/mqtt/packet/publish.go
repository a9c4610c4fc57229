package packet

import (
	"bytes"
	"encoding/binary"
)

// Publish is a message. Its slices alias what it was decoded from.
type Publish struct {
	Dup     bool
	QoS     byte
	Retain  bool
	Topic   []byte // empty where an alias stands for it
	ID      uint16 // 0 with QoS 0
	Payload []byte

	// Of 5.0 alone.
	Alias       uint16 // 0: none
	ContentType []byte
	Text        bool   // the payload says that it is UTF-8; nobody looked
	Expiry      uint32 // seconds; 0: none was told
	props       []byte // as they came, checked
}

var publishMay = of(propPayloadFormat, propMessageExpiry, propTopicAlias, propResponseTopic, propCorrelation, propUser, propSubscriptionID,
	propContentType)

// Decode reads the body that follows h.
func (m *Publish) Decode(h Header, body []byte, v Version) error {
	*m = Publish{Dup: h.Flags&flagDup != 0, QoS: h.QoS(), Retain: h.Flags&flagRetain != 0}
	c := cursor{b: body, t: PUBLISH}
	m.Topic = c.text("topic")
	if m.QoS > 0 {
		m.ID = c.id()
	}
	if v == V5 {
		m.properties(&c)
	}
	if c.err != nil {
		return c.err
	}
	m.Payload = c.b // of a body that is cut within it, what is there
	if len(m.Topic) == 0 && m.Alias != 0 {
		return nil
	}
	return checkTopic(PUBLISH, m.Topic)
}

func (m *Publish) properties(c *cursor) {
	p := c.properties(publishMay)
	m.props = p.b
	for p.next() {
		switch p.id {
		case propTopicAlias:
			if p.num == 0 { // [MQTT-3.3.2-8]
				p.fail(refuse(TopicAliasInvalid, "PUBLISH with the topic alias 0"))
			}
			m.Alias = uint16(p.num)
		case propContentType:
			m.ContentType = p.value
		case propPayloadFormat:
			m.Text = p.num == 1
		case propMessageExpiry:
			m.Expiry = p.num
		case propResponseTopic:
			if bytes.ContainsAny(p.value, "+#") { // [MQTT-3.3.2-14]
				p.fail(refuse(ProtocolError, "PUBLISH with a wildcard in its response topic"))
			}
		case propSubscriptionID: // [MQTT-3.3.4-6]: of servers alone
			p.fail(refuse(ProtocolError, "PUBLISH of a client with a subscription identifier"))
		}
	}
	c.err = p.err
}

// UserProperty is the first of the name.
func (m *Publish) UserProperty(name string) ([]byte, bool) {
	if len(m.props) == 0 {
		return nil, false
	}
	return userProperty(m.props, name)
}

// checkTopic holds a topic's name, which is UTF-8 already, to the rest of the rules.
func checkTopic(t Type, topic []byte) error {
	switch {
	case len(topic) == 0: // [MQTT-4.7.3-1]
		return refuse(ProtocolError, "%v with an empty topic", t)
	case bytes.ContainsAny(topic, "+#"): // [MQTT-3.3.2-2]
		return refuse(TopicNameInvalid, "%v with a wildcard in its topic", t)
	case !plain(topic):
		return refuse(TopicNameInvalid, "%v with a control character in its topic", t)
	}
	return nil
}

// Property is a user property: 5.0's way to say more about a message.
type Property struct{ Name, Value string }

// Append is the packet's bytes; of the properties it writes Alias, ContentType, Expiry, and user.
func (m *Publish) Append(dst []byte, v Version, user ...Property) []byte {
	n := 2 + len(m.Topic) + len(m.Payload)
	if m.QoS > 0 {
		n += 2
	}
	var room [128]byte
	a := appender(room[:0])
	if v == V5 {
		if m.Alias != 0 {
			a = a.uint16(propTopicAlias, m.Alias)
		}
		if m.ContentType != nil {
			a = appendText(append(a, propContentType), m.ContentType)
		}
		if m.Text {
			a = a.uint8(propPayloadFormat, 1)
		}
		if m.Expiry != 0 {
			a = a.uint32(propMessageExpiry, m.Expiry)
		}
		for _, u := range user {
			a = a.pair(u.Name, u.Value)
		}
		n += varintLen(len(a)) + len(a)
	}
	flags := m.QoS << 1
	if m.Dup {
		flags |= flagDup
	}
	if m.Retain {
		flags |= flagRetain
	}
	dst = appendText(appendHeader(dst, PUBLISH, flags, n), m.Topic)
	if m.QoS > 0 {
		dst = binary.BigEndian.AppendUint16(dst, m.ID)
	}
	if v == V5 {
		dst = append(appendVarint(dst, len(a)), a...)
	}
	return append(dst, m.Payload...)
}
