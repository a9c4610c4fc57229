package report

import "time"

// Facts is what was counted of one simulation. Times are Unix ms.
type Facts struct {
	Scenario string
	Seed     uint64
	Fast     bool // event time straight onto a log; else real time through the gateway
	Begins   int64
	Until    int64
	Took     time.Duration // by a wall clock, until the last record was on the log
	Settled  time.Duration // likewise, until the store had it
	Cohorts  []Cohort
	Members  []Member
	Spells   []Spell
	Silences []Silence
	Lags     []Lag // of the cohorts, in their order, without messages whose times nobody believes
	// Quarantine says why values were not stored.
	Quarantine []Quarantine
	Real       *Quantiles // from the gateway's acceptance to the store, by a wall clock; nil where record times are simulated
	Disk       Disk
}

// Cohort is a group of like devices.
type Cohort struct {
	Name     string
	Interval time.Duration // between two messages
	Sleep    *Sleep        // planned
}

// Sleep is a time of each period, counted from midnight UTC, in which devices are silent because they were told to.
type Sleep struct{ Every, From, For time.Duration }

// Member is one device: what the world says of it, and what the store does.
type Member struct {
	ID     string
	Cohort int
	Region string
	From   int64 // enrolled
	Until  int64 // taken down, or the end
	Told   Told
	Heard  Heard
}

// Told is what the world says that a device did.
type Told struct {
	Made      uint64   // messages of telemetry that it made
	Arrived   uint64   // of them that a gateway took, each counted once
	Again     uint64   // arrivals of one that had arrived
	Lost      uint64   // that will never arrive
	Cloned    uint64   // arrivals under its identity that were not its own
	Refused   uint64   // arrivals after its identity was revoked, or that the gateway would not have
	Known     uint64   // arrivals that the gateway knew and kept out of the log: suppressed there
	Telemetry Print    // of its own messages that arrived
	Events    Print    // of its own messages of events that arrived
	LostAt    []uint32 // when the lost ones were made, in seconds from the beginning, ascending
	HeldAt    []uint32 // likewise of those that were on their way at the end
	Clock     Clock    // by which the times of its messages are
}

// Arrival is a message that a gateway took.
type Arrival struct {
	Events bool // not telemetry
	Copy   bool // it had arrived
	Clone  bool // it is not the device's own
	Boot   uint32
	Seq    uint64
	Hash   uint32 // CRC-32C of its bytes
}

// Arrive counts a message that a gateway took.
func (t *Told) Arrive(a Arrival) {
	switch {
	case a.Clone:
		t.Cloned++
	case a.Copy && a.Events:
	case a.Copy:
		t.Again++
	case a.Events:
		t.Events.Add(a.Boot, a.Seq, a.Hash)
	default:
		t.Arrived++
		t.Telemetry.Add(a.Boot, a.Seq, a.Hash)
	}
}

// waiting is how many messages were neither lost nor there at the end.
func (t *Told) waiting() uint64 { return t.Made - min(t.Made, t.Arrived+t.Lost) }

// Print is the same for two sets of messages only if they are the same messages, but for chance: a sum over the messages, so
// that their order does not matter and a message that is there twice shows.
type Print struct{ Count, Keys, Bytes uint64 }

// Add adds one message by its key, and the CRC-32C of its bytes.
func (p *Print) Add(boot uint32, seq uint64, hash uint32) {
	key := uint64(boot)<<40 + seq
	p.Count++
	p.Keys += key
	p.Bytes += (key + 1) * uint64(hash)
}

// Heard is what the store holds of a device.
type Heard struct {
	Telemetry   Print  // of the stored messages
	Events      Print  // of the stored messages of events
	Doubles     uint64 // messages that are stored more than once
	Duplicates  uint64 // that were told and left out
	Conflicts   uint64 // a key again with other bytes
	Quarantined uint64 // messages that are not stored, value by value or whole
	Values      uint64 // stored
	Faults      uint64 // values in quarantine
	Bytes       uint64 // of the messages' bodies, duplicates too
	Late        uint64 // messages that came later than one interval after their newest reading
	Latest      int64  // the most that one was late, in ms
	First, Last int64  // times of the first and the last message
}

// Quarantine is how much was not stored for a reason, in the store's words.
type Quarantine struct {
	Reason  string `json:"reason"`
	Values  uint64 `json:"values"`
	Devices int    `json:"devices"`
}

// Class is whose silence a silence is.
type Class string

// The classes. Unexplained is what a fault of our own looks like.
const (
	Planned     Class = "planned"
	Device      Class = "device"
	Radio       Class = "radio"
	Pipeline    Class = "pipeline"
	Unexplained Class = "unexplained"
)

// Classes are all of them, in the order in which they are told.
func Classes() []Class { return []Class{Planned, Device, Radio, Pipeline, Unexplained} }

// Spell is a time in which something befell a device, or every device of a region.
type Spell struct {
	Member      int    // -1: all of the region
	Region      string // empty: all regions
	From, Until int64
	Class       Class
	Kind        string // in the truth's words
}

// Silence is a row of intervals in which nothing was heard of a device, though it was enrolled.
type Silence struct {
	Member      int
	From, Until int64
	Missed      uint64 // intervals
}

// Lag is how long after its newest reading a message arrived, in the simulation's time.
type Lag struct{ P50, P99, Max time.Duration }

// Quantiles are of times by a wall clock.
type Quantiles struct{ P50, P99, Max time.Duration }

// Disk is what lies on the disk at the end.
type Disk struct {
	Log    uint64            // bytes of the log
	Store  uint64            // bytes of the store's tables
	Tables map[string]uint64 // by table
}
