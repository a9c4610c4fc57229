package packet

import (
	"bytes"
	"encoding/binary"
)

// Subscribe is a SUBSCRIBE or an UNSUBSCRIBE: its identifier, and the filters as they came, checked. A server that gives nothing
// needs no more of it than the refusal.
type Subscribe struct {
	ID      uint16
	Count   int // of the filters
	t       Type
	filters []byte
}

var (
	subscribeMay   = of(propSubscriptionID, propUser)
	unsubscribeMay = of(propUser)
	sharePrefix    = []byte("$share/")
)

// Decode reads the body that follows h, which is of one of the two types.
func (s *Subscribe) Decode(h Header, body []byte, v Version) error {
	*s = Subscribe{t: h.Type}
	c := cursor{b: body, t: h.Type}
	s.ID = c.id()
	if v == V5 {
		may := subscribeMay
		if h.Type == UNSUBSCRIBE {
			may = unsubscribeMay
		}
		p := c.properties(may)
		for p.next() {
			if p.id == propSubscriptionID {
				p.zero("subscription identifier")
			}
		}
		c.err = p.err
	}
	s.filters = c.b
	for c.err == nil && len(c.b) > 0 {
		filter := c.text("topic filter")
		if c.err == nil && len(filter) == 0 { // [MQTT-4.7.3-1]
			c.fail(refuse(ProtocolError, "%v with an empty topic filter", c.t))
		}
		if h.Type == SUBSCRIBE {
			c.options(c.byte("options"), filter, v)
		}
		s.Count++
	}
	if c.err == nil && s.Count == 0 { // [MQTT-3.8.3-2, 3.10.3-2]
		c.fail(refuse(ProtocolError, "%v without a topic filter", c.t))
	}
	return c.err
}

func (c *cursor) options(o byte, filter []byte, v Version) {
	switch {
	case c.err != nil:
	case o&3 == 3: // [MQTT-3.8.3-4] of 3.1.1
		c.fail(malformed("SUBSCRIBE with the QoS 3"))
	case v != V5 && o&^3 != 0, o&0xC0 != 0: // [MQTT-3.8.3-5]
		c.fail(malformed("SUBSCRIBE with reserved options set"))
	case o>>4&3 == 3:
		c.fail(refuse(ProtocolError, "SUBSCRIBE with the retain handling 3"))
	case o&4 != 0 && bytes.HasPrefix(filter, sharePrefix): // [MQTT-3.8.3-4]
		c.fail(refuse(ProtocolError, "SUBSCRIBE with No Local on a shared subscription"))
	}
}

// AppendRefusal is the bytes of the SUBACK or the UNSUBACK that a server gives who lets nobody subscribe: one word for each filter.
func (s *Subscribe) AppendRefusal(dst []byte, v Version) []byte {
	t := SUBACK
	if s.t == UNSUBSCRIBE {
		t = UNSUBACK
	}
	if v != V5 {
		if t == UNSUBACK {
			return binary.BigEndian.AppendUint16(appendHeader(dst, t, 0, 2), s.ID)
		}
		dst = binary.BigEndian.AppendUint16(appendHeader(dst, t, 0, 2+s.Count), s.ID)
	} else {
		dst = binary.BigEndian.AppendUint16(appendHeader(dst, t, 0, 3+s.Count), s.ID)
		dst = append(dst, 0) // no properties
	}
	c := cursor{b: s.filters}
	for range s.Count {
		filter := c.binary("")
		word := NoSubscriptionExisted
		if t == SUBACK {
			c.byte("")
			word = refusal(filter, v)
		}
		dst = append(dst, byte(word))
	}
	return dst
}

func refusal(filter []byte, v Version) Reason {
	switch {
	case v != V5:
		return Unspecified // its one word for failure
	case bytes.HasPrefix(filter, sharePrefix):
		return SharedNotSupported
	case bytes.ContainsAny(filter, "+#"):
		return WildcardNotSupported
	}
	return NotAuthorized
}

// AppendSubscribe is the bytes of a SUBSCRIBE for QoS 1 or, with t UNSUBSCRIBE, of its end.
func AppendSubscribe(dst []byte, t Type, v Version, id uint16, filters ...string) []byte {
	n := 2
	if v == V5 {
		n++
	}
	for _, f := range filters {
		n += 2 + len(f)
		if t == SUBSCRIBE {
			n++
		}
	}
	dst = binary.BigEndian.AppendUint16(appendHeader(dst, t, 2, n), id)
	if v == V5 {
		dst = append(dst, 0)
	}
	for _, f := range filters {
		dst = appendText(dst, f)
		if t == SUBSCRIBE {
			dst = append(dst, 1)
		}
	}
	return dst
}

// Suback is a SUBACK or an UNSUBACK as a client reads it. Its Reasons alias the body; an UNSUBACK of 3.1.1 has none.
type Suback struct {
	ID      uint16
	Reasons []byte
}

// Decode reads the body of either.
func (s *Suback) Decode(t Type, body []byte, v Version) error {
	c := cursor{b: body, t: t}
	*s = Suback{ID: c.id()}
	if v == V5 {
		c.reasonString(answerMay)
	}
	if c.err == nil && len(c.b) == 0 != (t == UNSUBACK && v != V5) {
		c.fail(malformed("%v with %d reason codes", t, len(c.b)))
	}
	s.Reasons = c.b
	return c.err
}
