package packet

import (
	"encoding/binary"
	"unicode/utf8"
)

// varint reads a variable byte integer: four bytes at most, and the fewest that its value needs [MQTT-1.5.5-1]. Without an error,
// n = 0 says that b ends before it does.
func varint(b []byte) (v, n int, err error) {
	for i := range 4 {
		if i >= len(b) {
			return 0, 0, nil
		}
		v |= int(b[i]&0x7f) << (7 * i)
		if b[i]&0x80 == 0 {
			if i > 0 && b[i] == 0 {
				return 0, 0, malformed("a length in more bytes than it needs")
			}
			return v, i + 1, nil
		}
	}
	return 0, 0, malformed("a length of more than four bytes")
}

func appendVarint(dst []byte, v int) []byte {
	for v >= 0x80 {
		dst, v = append(dst, byte(v)|0x80), v>>7
	}
	return append(dst, byte(v))
}

func varintLen(v int) int {
	switch {
	case v < 1<<7:
		return 1
	case v < 1<<14:
		return 2
	case v < 1<<21:
		return 3
	}
	return 4
}

// cursor reads a body from its start. Its first error stays, and what is read after it is zero.
type cursor struct {
	b   []byte
	t   Type // for the words of an error
	err error
}

func (c *cursor) fail(err error) {
	if c.err == nil {
		c.err = err
	}
	c.b = nil
}

func (c *cursor) take(n int, what string) []byte {
	if n > len(c.b) {
		if c.err == nil { // the words are not made for a reader that failed before
			c.fail(malformed("%v ends inside its %s", c.t, what))
		}
		return nil
	}
	out := c.b[:n:n]
	c.b = c.b[n:]
	return out
}

func (c *cursor) byte(what string) byte {
	if b := c.take(1, what); b != nil {
		return b[0]
	}
	return 0
}

func (c *cursor) uint16(what string) uint16 {
	if b := c.take(2, what); b != nil {
		return binary.BigEndian.Uint16(b)
	}
	return 0
}

func (c *cursor) uint32(what string) uint32 {
	if b := c.take(4, what); b != nil {
		return binary.BigEndian.Uint32(b)
	}
	return 0
}

func (c *cursor) varint(what string) int {
	v, n, err := varint(c.b)
	switch {
	case c.err != nil:
		return 0
	case err != nil:
		c.fail(err)
		return 0
	case n == 0:
		c.fail(malformed("%v ends inside its %s", c.t, what))
		return 0
	}
	c.b = c.b[n:]
	return v
}

func (c *cursor) binary(what string) []byte {
	return c.take(int(c.uint16(what)), what)
}

// text is a UTF-8 string as the format has it: no surrogates, no more bytes than needed, no U+0000 [MQTT-1.5.4-1, -2].
func (c *cursor) text(what string) []byte {
	b := c.binary(what)
	for _, ch := range b {
		if ch == 0 {
			c.fail(malformed("%v with U+0000 in its %s", c.t, what))
			return nil
		}
	}
	if !utf8.Valid(b) {
		c.fail(malformed("%v whose %s is not UTF-8", c.t, what))
		return nil
	}
	return b
}

// end refuses what is left.
func (c *cursor) end() error {
	if c.err == nil && len(c.b) > 0 {
		c.fail(malformed("%v with %d bytes after its end", c.t, len(c.b)))
	}
	return c.err
}

// id is a packet identifier, which is not 0 [MQTT-2.2.1-3, 2.3.1-1].
func (c *cursor) id() uint16 {
	id := c.uint16("packet identifier")
	if id == 0 && c.err == nil {
		c.fail(refuse(ProtocolError, "%v with the packet identifier 0", c.t))
	}
	return id
}

func appendText[T string | []byte](dst []byte, s T) []byte {
	s = s[:min(len(s), 65_535)]
	return append(binary.BigEndian.AppendUint16(dst, uint16(len(s))), s...)
}

// plain says whether a topic or a client identifier is without control characters, which the format lets a server refuse: nobody
// needs them there, and logs and terminals do not want them.
func plain(s []byte) bool {
	for i, ch := range s {
		if ch < 0x20 || ch == 0x7f || ch == 0xc2 && i+1 < len(s) && s[i+1] < 0xa0 {
			return false
		}
	}
	return true
}
