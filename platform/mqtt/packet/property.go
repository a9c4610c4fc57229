package packet

import "encoding/binary"

// The properties of 5.0 by their identifiers (its table 2-4).
const (
	propPayloadFormat    = 1
	propMessageExpiry    = 2
	propContentType      = 3
	propResponseTopic    = 8
	propCorrelation      = 9
	propSubscriptionID   = 11
	propSessionExpiry    = 17
	propAssignedClientID = 18
	propServerKeepAlive  = 19
	propAuthMethod       = 21
	propAuthData         = 22
	propRequestProblem   = 23
	propWillDelay        = 24
	propRequestResponse  = 25
	propResponseInfo     = 26
	propServerReference  = 28
	propReasonString     = 31
	propReceiveMaximum   = 33
	propTopicAliasMax    = 34
	propTopicAlias       = 35
	propMaximumQoS       = 36
	propRetainAvailable  = 37
	propUser             = 38
	propMaximumPacket    = 39
	propWildcards        = 40
	propSubscriptionIDs  = 41
	propShared           = 42
)

type form byte

const (
	formNone form = iota
	formFlag      // one byte, 0 or 1
	formUint16
	formUint32
	formVarint
	formText
	formBinary
	formPair
)

var forms = [43]form{
	propPayloadFormat: formFlag, propMessageExpiry: formUint32, propContentType: formText, propResponseTopic: formText,
	propCorrelation: formBinary, propSubscriptionID: formVarint, propSessionExpiry: formUint32, propAssignedClientID: formText,
	propServerKeepAlive: formUint16, propAuthMethod: formText, propAuthData: formBinary, propRequestProblem: formFlag,
	propWillDelay: formUint32, propRequestResponse: formFlag, propResponseInfo: formText, propServerReference: formText,
	propReasonString: formText, propReceiveMaximum: formUint16, propTopicAliasMax: formUint16, propTopicAlias: formUint16,
	propMaximumQoS: formFlag, propRetainAvailable: formFlag, propUser: formPair, propMaximumPacket: formUint32,
	propWildcards: formFlag, propSubscriptionIDs: formFlag, propShared: formFlag,
}

// set is the properties that a packet may carry.
type set uint64

func of(ids ...byte) (s set) {
	for _, id := range ids {
		s |= 1 << id
	}
	return s
}

// properties reads those of one packet, one after the other.
type properties struct {
	cursor
	may, seen set

	id    byte
	num   uint32 // of flags and integers
	value []byte // of strings, binary data, and a pair's second
	name  []byte // a pair's first
}

// properties takes the length and what it counts off c.
func (c *cursor) properties(may set) properties {
	n := c.varint("properties' length")
	return properties{cursor: cursor{b: c.take(n, "properties"), t: c.t, err: c.err}, may: may}
}

// next reads one; false at the end, and at an error.
func (p *properties) next() bool {
	if len(p.b) == 0 || p.err != nil {
		return false
	}
	id := p.varint("property's identifier")
	switch {
	case p.err != nil:
		return false
	case id >= len(forms) || forms[id] == formNone:
		p.fail(malformed("%v with the property %d, which is none", p.t, id))
		return false
	case p.may&(1<<id) == 0:
		p.fail(refuse(ProtocolError, "%v with the property %d, which is not for it", p.t, id))
		return false
	case p.seen&(1<<id) != 0 && id != propUser:
		p.fail(refuse(ProtocolError, "%v with the property %d twice", p.t, id))
		return false
	}
	p.id = byte(id)
	p.seen |= 1 << id
	p.num, p.value, p.name = 0, nil, nil
	switch forms[id] {
	case formFlag:
		p.num = uint32(p.byte("properties"))
		if p.num > 1 {
			p.fail(refuse(ProtocolError, "%v whose property %d is %d, and has to be 0 or 1", p.t, id, p.num))
		}
	case formUint16:
		p.num = uint32(p.uint16("properties"))
	case formUint32:
		p.num = p.uint32("properties")
	case formVarint:
		p.num = uint32(p.varint("properties"))
	case formText:
		p.value = p.text("properties")
	case formBinary:
		p.value = p.binary("properties")
	case formPair:
		p.name = p.text("user property")
		p.value = p.text("user property")
	}
	return p.err == nil
}

// zero refuses the value 0 of a property that has to be more.
func (p *properties) zero(what string) bool {
	if p.num == 0 {
		p.fail(refuse(ProtocolError, "%v whose %s is 0", p.t, what))
		return true
	}
	return false
}

// userProperty finds the first of a name in properties that were checked before.
func userProperty(raw []byte, name string) ([]byte, bool) {
	p := properties{cursor: cursor{b: raw}, may: ^set(0)}
	for p.next() {
		if p.id == propUser && string(p.name) == name {
			return p.value, true
		}
	}
	return nil, false
}

// appender is properties that are written, each with its identifier.
type appender []byte

func (a appender) uint8(id, v byte) appender { return append(a, id, v) }
func (a appender) uint16(id byte, v uint16) appender {
	return binary.BigEndian.AppendUint16(append(a, id), v)
}
func (a appender) uint32(id byte, v uint32) appender {
	return binary.BigEndian.AppendUint32(append(a, id), v)
}
func (a appender) text(id byte, v string) appender { return appendText(append(a, id), v) }
func (a appender) pair(name, value string) appender {
	return appendText(appendText(append(a, propUser), name), value)
}
