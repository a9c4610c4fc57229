package world

import "muster.dev/fleet/simulator/truth"

// Kind says what a happening is.
type Kind uint8

// Kinds of happenings.
const (
	Deliver Kind = iota // Message arrives at the gateway
	Lost                // Message was made and never arrives; it has no body
	Fact                // Truth happened to the device; Truth.At and Until may lie before or after At
	Tally               // Day and Count: what the device counted on a day that is over
	Held                // Message was made and is on its way when the scenario ends; it has no body
)

// Stream says which topic a message belongs to.
type Stream uint8

// Streams.
const (
	Telemetry Stream = iota // Body is a compact batch
	Events                  // Body is a message of device events, as it lies on the log
)

// Happening is one thing in a device's life. It is reused: what it points to is valid until the next call.
type Happening struct {
	At      int64 // Unix ms
	Device  int
	Kind    Kind
	Message Message
	Truth   truth.Line
	Day     int
	Count   truth.Count
}

// Message is what a device sends.
type Message struct {
	Stream  Stream
	Boot    uint32
	Seq     uint64
	Made    int64 // Unix ms of the true time at which it was made
	Off     int64 // by how many ms the device's clock was off then; of telemetry alone
	Values  int   // or events
	Copy    bool  // it arrived before
	Backlog bool  // it lay in the device's store
	Clone   bool  // somebody else made it under the device's identity
	Revoked bool  // a gateway that knows the registry refuses it
	Body    []byte
}
