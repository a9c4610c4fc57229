package page

// Bounds of what a page may hold. A shard that has more to say counts the rest.
const (
	MaxDevices = 1_000 // named in one slot or arm
	MaxText    = 255
)

// Page is what one shard saw from From (exclusive) until Until (inclusive). All times are Unix milliseconds of event
// time; a score or value in micro is times 1e6, rounded, so that equal logs give equal bytes on every machine.
type Page struct {
	Part  int32
	N     uint64 // 1, 2, 3, ... without gaps
	From  int64
	Until int64 // all shards cut at the same instants

	Telemetry int64 // offset of the first record that the shard had not read when it cut
	Events    int64
	Registry  int64
	Late      uint64 // readings so far that came after their slot had closed
	Cut       uint32 // things left out here, because a page has no more room

	Outages  []Outage
	Slots    []Slot
	Arms     []Arm
	Ranks    []Rank
	Findings []Finding
	Volumes  []Volume
	Signs    []Sign

	Snapshot Snapshot
}

// Outage is a stretch in which we heard nothing because our own side was away.
type Outage struct {
	All    bool   // no gateway at all was heard: the log, or all of ours
	Region string // else: no gateway of the region
	From   int64
	Until  int64 // 0: it goes on
}

// Marks say what a missing device showed before it fell silent.
type Marks uint8

const (
	MarkPower   Marks = 1 << iota // a low battery or a brown-out
	MarkRadio                     // a signal that was weak, or fell
	MarkUpdated                   // an update not long ago
	MarkNever                     // it was never heard at all
)

// Slot is what one cohort's devices in one region did by one instant. A shard without such a device tells none.
type Slot struct {
	Cohort    string
	Region    string // the devices', then the cohort's; may be empty
	At        int64  // end of the slot
	Interval  int64  // expected between two signs of life, of the cohort
	Whole     bool   // the end of a whole interval: baselines and sums move; otherwise a look in between
	Ours      bool   // an outage of ours lies in it, or it follows one closely: nothing is decided
	Expected  uint32 // devices of which a sign was due
	Missing   uint32 // of these, silent for the number of intervals that count
	Heard     uint32 // of the expected, heard within their last interval
	Fresh     uint32 // of the missing, silent since this slot
	Never     uint32 // of the missing, never heard
	Asleep    uint32 // not expected: their silence is planned
	Members   uint32 // devices of the cohort here, expected or not; 0: the last has left, and this is the last slot
	Returned  uint32 // devices that were missing and are not, or have left
	PowerBack uint32 // devices that were missing, spoke, and have said since the last slot that they had lost their power

	Power, Radio, Updated          uint32 // of the missing, with the mark
	PowerAll, RadioAll, UpdatedAll uint32 // of the heard, with the mark

	Gone []Gone   // newly missing, in order of id
	Back []uint32 // numbers of those of the returned that were named as gone, in order; at most MaxDevices, the rest follow
	Left uint32   // of the returned, those that left: revoked, retired, moved away, held off
}

// Gone is a device that stopped.
type Gone struct {
	ID    string
	No    uint32
	Since int64 // its last sign of life; for a device that was never heard, when it was enrolled
	Marks Marks
	Every int64  // ms expected between two signs of its life, as told or learnt
	Phi   uint32 // chance in millionths that a run of missed intervals of this device goes on, as learnt
	Kind  string // of an arm's failure: crash, boot-loop, silence, os-errors
	Part  uint8  // of an arm's failure: 0 control, 1 treated; 2 and 3 the same, of who failed before it began or was heard
	Runs  uint32 // of missed intervals, from which Phi was learnt
	More  uint32 // intervals by which these went on after their first
	Gaps  uint32 // between two signs of life, of which Runs were more than one interval
}

// Arm is what became of one stratum of a stage's devices in this shard by the end of a tick of its rollout. It is told when
// anything in it changed. Its numbers are what was added since the stratum was told of last, in this stage: who adds up all that
// was told has what is. What became less is told modulo 2^32. So none may be left out.
type Arm struct {
	Rollout string
	Stage   uint8  // from 1
	Stratum string // devices that can be compared
	At      int64  // end of the tick

	RiskT, RiskC uint32 // at risk when the tick began: watched, and not failed before
	FailT, FailC uint32 // first failures
	Failed       []Gone // which, in order of id; at most MaxDevices

	ExposureMS  int64  // of treated devices
	InstallOK   uint32 // seen with the new firmware
	InstallBad  uint32 // said to have failed, or rolled back
	Paper       uint32 // said to be done, and still the old firmware
	Postponed   uint32 // by the device
	Assigned    uint32 // devices of the stage in this stratum
	Entered     uint32 // of these, updated
	SoakedUntil int64  // when the last of the entered has soaked: the time itself

	// At risk and failed for the first time, as above, of all devices as they were drawn for the stage: who is offered the
	// update, whether it began or not, and who is not.
	DrawnT, DrawnC         uint32
	DrawnFailT, DrawnFailC uint32
}

// Rank is one device's one number of a health metric, at its stage's end: what the metric was in the mean, or by how much it
// changed from the first quarter of the stage to the last.
type Rank struct {
	Rollout string
	Stage   uint8
	Stratum string // devices that can be compared
	Metric  string
	ID      string
	Treated bool
	At      int64
	Micro   int64
	Trend   bool // it is the change
}

// Finding is what the series detector says of one series, or of all of a cohort's.
type Finding struct {
	Kind      string // unusual, flat-line, noise, drift, jump, rate
	Cohort    string
	Metric    string
	ID        string // device
	No        uint32
	At        int64
	Score     int64  // micro, 0 to 1
	Value     int64  // micro; saturated
	Usual     int64  // micro; saturated
	Over      bool   // it is over: the series is usual again
	Reporting uint32 // series of the cohort and metric in this shard
}

// Volume is how much a cohort said in a part of an hour.
type Volume struct {
	Cohort string
	Metric string // empty: all of the cohort, with bytes
	Hour   int64  // its start
	Until  int64  // how far it is counted
	Values uint64
	Bytes  uint64
}

// Sign is something that an identity did which its owner should know.
type Sign struct {
	Kind   string // clone, knocking, enrolment-burst
	ID     string // device; empty where a gateway only counts
	No     uint32
	Cohort string
	At     int64
	Count  uint64
	Detail string
}

// Snapshot names the newest state of the shard that can be restored. It is in every page after it was taken.
type Snapshot struct {
	N         uint64 // the state is that after this page; 0: there is none
	Telemetry int64
	Events    int64
	Registry  int64
	SHA256    []byte
}
