package uplink

import (
	"time"

	"muster.dev/fleet/agent/ring"
	"muster.dev/fleet/edge/parcel"
	"muster.dev/proto/identity"
)

// perLane is how many messages of one device are in hand; the others of it are only remembered by their ids, so that a device
// that has to wait does not make others wait.
const perLane = 16

// lane is what waits of one device. All of it is guarded by Uplink.mu.
type lane struct {
	device identity.Device
	queue  []item        // in hand, in order
	aside  []ring.ID     // ascending: handed out by the ring, and to be given back to it when there is room
	due    time.Time     // nothing is sent before
	pause  time.Duration // the next one of a message that fails alone
	busy   bool          // a worker has the first item
	ready  bool          // in Uplink.ready

	since time.Time // when the gateway first said that the edge may not speak for the device; zero: it may, or nobody knows
	why   string
	let   time.Time // when one message was last let in to ask again
}

type item struct {
	id      ring.ID
	parcel  parcel.Parcel
	backlog bool
}

// wants says that the lane has room for what was put aside.
func (l *lane) wants() bool { return len(l.aside) > 0 && len(l.queue) <= perLane/2 }

// empty says that nothing is known of the device that would have to be remembered.
func (l *lane) empty() bool {
	return len(l.queue)+len(l.aside) == 0 && !l.busy && !l.ready && l.since.IsZero()
}

// suspicion is what speaks against one message: it failed while others passed.
type suspicion struct {
	failures int
	stored   uint64 // Uplink.stored at the last one
}

const (
	maxSuspects = 4_096 // that are remembered
	suspect     = 3     // so many such failures, and it is no longer taken for a failure of the gateway
	hopeless    = 200   // so many, which takes more than an hour, and it is given up. On a line that fails nine times of ten that is one message of 10^9
)
