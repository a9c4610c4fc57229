package parcel

import (
	"encoding/binary"
	"fmt"

	"muster.dev/proto/identity"
)

// Stream is what kind of message it is: each is counted for itself.
type Stream uint8

// The streams.
const (
	Telemetry Stream = iota
	Events
	Streams = 2
)

func (s Stream) String() string {
	if s == Events {
		return "events"
	}
	return "telemetry"
}

// Form is how a body is written.
type Form uint8

// The forms.
const (
	Compact Form = iota
	MsgPack
	JSON
)

// MediaType is what the gateway knows the form by.
func (f Form) MediaType() string {
	switch f {
	case Compact:
		return "application/vnd.muster.batch+msgpack"
	case MsgPack:
		return "application/msgpack"
	default:
		return "application/json"
	}
}

// Parcel is one message.
type Parcel struct {
	Device identity.Device // empty: the edge itself
	Stream Stream
	Form   Form
	At     int64 // Unix ms by the edge's clock, when it was taken
	Body   []byte
}

const (
	version = 1
	head    = 11
)

// Append writes the parcel behind dst.
func (p *Parcel) Append(dst []byte) []byte {
	dst = append(dst, version, byte(p.Form)<<1|byte(p.Stream))
	dst = binary.BigEndian.AppendUint64(dst, uint64(p.At))
	dst = append(dst, byte(len(p.Device)))
	dst = append(dst, p.Device...)
	return append(dst, p.Body...)
}

// Parse reads what Append wrote; the body aliases b.
func Parse(b []byte) (Parcel, error) {
	if len(b) < head || b[0] != version {
		return Parcel{}, fmt.Errorf("a parcel of %d bytes is none of version %d", len(b), version)
	}
	p := Parcel{Stream: Stream(b[1] & 1), Form: Form(b[1] >> 1), At: int64(binary.BigEndian.Uint64(b[2:]))}
	end := head + int(b[10])
	if p.Form > JSON || len(b) < end {
		return Parcel{}, fmt.Errorf("a parcel of %d bytes has form %d and a device's name of %d", len(b), p.Form, b[10])
	}
	if end > head {
		d, err := identity.ParseDevice(string(b[head:end]))
		if err != nil {
			return Parcel{}, fmt.Errorf("a parcel: %w", err)
		}
		p.Device = d
	}
	p.Body = b[end:]
	return p, nil
}
