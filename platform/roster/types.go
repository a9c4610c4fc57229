package roster

import (
	"time"

	"muster.dev/proto/batch"
	"muster.dev/proto/identity"
)

// Device is what the registry says of a device.
type Device struct {
	ID       identity.Device
	No       uint32 // from 1, dense, never another device's
	Cohort   string
	Region   string
	Interval time.Duration // at which it means to report; 0 is not known
	SPKI     [32]byte      // SHA-256 of its certificate's public key; zero is not recorded
	Profile  uint16        // 0 is none
	Class    uint8
	History  bool // the lower bound of its readings' times is lifted
	Revoked  bool // for good
}

// Profile is a make of device, whose metrics share a table.
type Profile struct {
	No      uint16
	Name    string // fit for an identifier
	Class   uint8
	Since   uint64   // the revision that defined it
	Metrics []Metric // in the order in which they were added; not to be written to
}

// Metric is a column of a profile.
type Metric struct {
	Name  string // fit for an identifier
	Kind  batch.Kind
	Scale uint8
	Since uint64 // the revision that added it
}

// Schema is a list of metrics that batches name by index. It never changes.
type Schema struct {
	No      uint32
	Metrics []SchemaMetric // not to be written to
}

// SchemaMetric is one metric of a schema.
type SchemaMetric struct {
	Name  string
	Kind  batch.Kind
	Scale uint8
}

// Topic is a Kafka topic and the small number that stands for its id in tables.
type Topic struct {
	Name       string
	ID         [16]byte
	Gen        uint16
	Partitions int32
}

// Counts is how much a State holds.
type Counts struct{ Devices, Revoked, Profiles, Schemas, Topics int }

// Change is an event that was folded in.
type Change struct {
	Offset  int64
	Type    string // ce_type
	Device  Device // of DeviceEnrolled and DeviceRevoked, as it now is
	Profile uint16 // of ProfileDefined and MetricAdded
	Schema  uint32 // of SchemaDefined
	Topic   Topic  // of TopicDefined
}
