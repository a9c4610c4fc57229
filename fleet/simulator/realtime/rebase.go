package realtime

import (
	"encoding/binary"

	"muster.dev/fleet/simulator/world"
)

// rebase copies a message with its boot raised. A world counts a device's boots from 1 each time; on a stack that has seen
// the device before, the same key with other readings would be a conflict. The boot is the first number after what every
// keyed message begins with: of a compact batch after the head and the version, of events after "v" and "boot".
func rebase(stream world.Stream, body []byte, by uint32) []byte {
	at := len("\x98\x01")
	if stream == world.Events {
		at = len("\x80\xa1v\x01\xa4boot")
	}
	boot, size := number(body[at:])
	out := make([]byte, 0, len(body)+5-size)
	out = append(out, body[:at]...)
	out = appendNumber(out, boot+by)
	return append(out, body[at+size:]...)
}

// number reads an unsigned MsgPack integer of at most 32 bits, as the builders of messages write it.
func number(p []byte) (n uint32, size int) {
	switch p[0] {
	case 0xcc:
		return uint32(p[1]), 2
	case 0xcd:
		return uint32(binary.BigEndian.Uint16(p[1:])), 3
	case 0xce:
		return binary.BigEndian.Uint32(p[1:]), 5
	}
	return uint32(p[0]), 1
}

// appendNumber writes the shortest form, as the log has it.
func appendNumber(dst []byte, n uint32) []byte {
	switch {
	case n < 1<<7:
		return append(dst, byte(n))
	case n < 1<<8:
		return append(dst, 0xcc, byte(n))
	case n < 1<<16:
		return binary.BigEndian.AppendUint16(append(dst, 0xcd), uint16(n))
	}
	return binary.BigEndian.AppendUint32(append(dst, 0xce), n)
}
