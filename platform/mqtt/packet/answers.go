package packet

import "encoding/binary"

// Puback answers a PUBLISH of QoS 1.
type Puback struct {
	ID     uint16
	Reason Reason // 5.0
	Text   string // 5.0: why
}

var answerMay = of(propReasonString, propUser)

// Append is the packet's bytes. 3.1.1 has no word for a failure: whoever has one to tell may not send a PUBACK.
func (k *Puback) Append(dst []byte, v Version) []byte {
	if v != V5 || k.Reason == Success && k.Text == "" {
		return binary.BigEndian.AppendUint16(appendHeader(dst, PUBACK, 0, 2), k.ID)
	}
	if k.Text == "" {
		return append(binary.BigEndian.AppendUint16(appendHeader(dst, PUBACK, 0, 3), k.ID), byte(k.Reason))
	}
	n := 3 + len(k.Text)
	dst = binary.BigEndian.AppendUint16(appendHeader(dst, PUBACK, 0, 3+varintLen(n)+n), k.ID)
	dst = append(appendVarint(append(dst, byte(k.Reason)), n), propReasonString)
	return appendText(dst, k.Text)
}

// Decode reads the body of a PUBACK.
func (k *Puback) Decode(body []byte, v Version) error {
	*k = Puback{}
	c := cursor{b: body, t: PUBACK}
	k.ID = c.id()
	if v == V5 && c.err == nil && len(c.b) > 0 {
		k.Reason = Reason(c.byte("reason code"))
		if len(c.b) > 0 {
			k.Text = c.reasonString(answerMay)
		}
	}
	return c.end()
}

// reasonString reads the properties of an answer.
func (c *cursor) reasonString(may set) (text string) {
	p := c.properties(may)
	for p.next() {
		if p.id == propReasonString {
			text = string(p.value)
		}
	}
	c.err = p.err
	return text
}

// Disconnect ends a connection in words. 3.1.1 has it for clients alone, and empty.
type Disconnect struct {
	Reason          Reason
	SessionExpiry   uint32 // a client's
	Text            string
	ServerReference string // a server's
}

var disconnectMay = of(propSessionExpiry, propReasonString, propUser, propServerReference)

// Append is the packet's bytes.
func (k *Disconnect) Append(dst []byte, v Version) []byte {
	if v != V5 || *k == (Disconnect{}) {
		return appendHeader(dst, DISCONNECT, 0, 0)
	}
	var room [128]byte
	a := appender(room[:0])
	if k.SessionExpiry != 0 {
		a = a.uint32(propSessionExpiry, k.SessionExpiry)
	}
	if k.Text != "" {
		a = a.text(propReasonString, k.Text)
	}
	if k.ServerReference != "" {
		a = a.text(propServerReference, k.ServerReference)
	}
	if len(a) == 0 {
		return append(appendHeader(dst, DISCONNECT, 0, 1), byte(k.Reason))
	}
	dst = append(appendHeader(dst, DISCONNECT, 0, 1+varintLen(len(a))+len(a)), byte(k.Reason))
	return append(appendVarint(dst, len(a)), a...)
}

// Decode reads the body of a DISCONNECT.
func (k *Disconnect) Decode(body []byte, v Version) error {
	*k = Disconnect{}
	c := cursor{b: body, t: DISCONNECT}
	if v == V5 && len(c.b) > 0 {
		k.Reason = Reason(c.byte("reason code"))
		if len(c.b) > 0 {
			p := c.properties(disconnectMay)
			for p.next() {
				switch p.id {
				case propSessionExpiry:
					k.SessionExpiry = p.num
				case propReasonString:
					k.Text = string(p.value)
				case propServerReference:
					k.ServerReference = string(p.value)
				}
			}
			c.err = p.err
		}
	}
	return c.end()
}

// AppendPingreq and AppendPingresp are the two packets that say nothing.
func AppendPingreq(dst []byte) []byte  { return appendHeader(dst, PINGREQ, 0, 0) }
func AppendPingresp(dst []byte) []byte { return appendHeader(dst, PINGRESP, 0, 0) }

// Empty checks the body of a packet that has none.
func (h Header) Empty() error {
	if h.Length != 0 {
		return malformed("%v of %d bytes, and it has none", h.Type, h.Length)
	}
	return nil
}
