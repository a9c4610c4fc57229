package intake

import (
	"context"

	"muster.dev/fleet/edge/parcel"
	"muster.dev/proto/identity"
)

// Source brings what local devices say: a listener that they connect to, or a field bus that is asked. An edge runs any
// number of them side by side. It knows who speaks; what is said is judged behind Taker.
type Source interface {
	// Name is the source's in logs and readiness.
	Name() string
	// Run brings messages until ctx ends, and returns when none is under way from it any more. An error ends the edge.
	Run(ctx context.Context, to Taker) error
}

// Taker takes messages. It is safe for concurrent use; messages of one device keep the order of the calls.
type Taker interface {
	// Take judges and keeps m. It does not wait; m.Body is the taker's until done is called.
	Take(m Message, done func(Verdict))
}

// Message is what a device said, as it came.
type Message struct {
	Device identity.Device
	Stream parcel.Stream
	// Type is the body's media type; empty is told by the body's first byte.
	Type string
	Body []byte
}

// Outcome is what became of a message.
type Outcome uint8

// The outcomes. Those up to Unkept are final; of the others the device may send the message again.
const (
	Stored Outcome = iota
	Malformed
	TooLarge
	Unprocessable
	NotAllowed // upstream does not let the edge speak for the device
	Unkept     // it is larger than the disk's share for one message
	TooMuch    // the device is over its rate, or too much of it waits for the disk
	DiskFull
	Closing
	outcomes
)

var outcomeNames = [outcomes]string{"stored", "malformed", "too_large", "unprocessable", "not_allowed", "unkept", "too_much", "disk_full", "closing"}

// String is the label value.
func (o Outcome) String() string { return outcomeNames[o] }

// Verdict is the answer to a message.
type Verdict struct {
	Outcome Outcome
	Text    string // one sentence for people, empty when it was stored
}
