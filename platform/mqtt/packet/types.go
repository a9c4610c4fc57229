package packet

import "fmt"

// Version is the protocol's level, as CONNECT carries it.
type Version byte

const (
	V311 Version = 4
	V5   Version = 5
)

func (v Version) String() string {
	switch v {
	case V311:
		return "3.1.1"
	case V5:
		return "5.0"
	}
	return fmt.Sprintf("level %d", byte(v))
}

// Type is what a packet is: the first four bits of it.
type Type byte

const (
	CONNECT Type = iota + 1
	CONNACK
	PUBLISH
	PUBACK
	PUBREC // 5 to 7 belong to QoS 2, which nobody here speaks
	PUBREL
	PUBCOMP
	SUBSCRIBE
	SUBACK
	UNSUBSCRIBE
	UNSUBACK
	PINGREQ
	PINGRESP
	DISCONNECT
	AUTH
)

var typeNames = [16]string{"reserved", "CONNECT", "CONNACK", "PUBLISH", "PUBACK", "PUBREC", "PUBREL", "PUBCOMP", "SUBSCRIBE", "SUBACK",
	"UNSUBSCRIBE", "UNSUBACK", "PINGREQ", "PINGRESP", "DISCONNECT", "AUTH"}

func (t Type) String() string { return typeNames[t&15] }

// MaxLength is the longest that the format can say a packet is, after its fixed header.
const MaxLength = 268_435_455

// Header is the fixed header: what every packet begins with.
type Header struct {
	Type   Type
	Flags  byte // the lower four bits of the first byte
	Length int  // of what follows the header
}

// ParseHeader reads the header that b begins with; n is its length. Without an error, n = 0 says that b holds too little of it.
// The flags are checked as soon as the first byte is there.
func ParseHeader(b []byte) (h Header, n int, err error) {
	if len(b) == 0 {
		return h, 0, nil
	}
	h.Type, h.Flags = Type(b[0]>>4), b[0]&15
	if err := h.check(); err != nil {
		return h, 0, err
	}
	v, n, err := varint(b[1:])
	if n == 0 || err != nil {
		return h, 0, err
	}
	h.Length = v
	return h, n + 1, nil
}

func (h Header) check() error {
	var want byte
	switch h.Type {
	case 0:
		return malformed("a packet of type 0, which is reserved")
	case PUBLISH:
		switch {
		case h.QoS() == 3:
			return malformed("PUBLISH with both bits of its QoS set") // [MQTT-3.3.1-4]
		case h.QoS() == 0 && h.Flags&flagDup != 0:
			return malformed("PUBLISH of QoS 0 that says it is a duplicate") // [MQTT-3.3.1-2]
		}
		return nil
	case PUBREL, SUBSCRIBE, UNSUBSCRIBE:
		want = 2
	}
	if h.Flags != want { // [MQTT-2.2.2-2], [MQTT-2.1.3-1]
		return malformed("%v whose reserved flags are %04b, and have to be %04b", h.Type, h.Flags, want)
	}
	return nil
}

const (
	flagRetain = 1
	flagDup    = 8
)

// QoS is a PUBLISH's.
func (h Header) QoS() byte { return h.Flags >> 1 & 3 }

// appendHeader puts a header before a body of length bytes.
func appendHeader(dst []byte, t Type, flags byte, length int) []byte {
	return appendVarint(append(dst, byte(t)<<4|flags), length)
}
