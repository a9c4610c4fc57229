package roster

import (
	"slices"
	"strings"
	"time"

	"muster.dev/proto/batch"
	"muster.dev/proto/event"
	"muster.dev/proto/identity"
)

// MaxCertificates is the number of certificates of a device that are remembered: of more the oldest is forgotten, and
// with it no longer good.
const MaxCertificates = 4

// Device is what the registry says of a device.
type Device struct {
	ID       identity.Device
	No       uint32 // from 1, dense, never another device's
	Cohort   string
	Region   string        // its own, else its cohort's; empty is any
	Interval time.Duration // at which it means to report: its own, else its cohort's; 0 is not known
	SPKI     [32]byte      // SHA-256 of its newest certificate's public key; zero is not recorded
	Profile  uint16        // 0 is none
	Class    uint8
	History  bool // the lower bound of its readings' times is lifted
	Revoked  bool // for good

	Quarantined  bool   // it is, or its cohort
	Method       string // how it enrolled: operator, password, manufacturer; empty is before that was written
	Label        string // the product line by which it came; empty is none
	Replaces     uint32 // the device into whose place it came; 0 is none
	ReplacedBy   uint32
	EnrolledAt   int64         // Unix ms
	Attributes   []Attribute   // by key; not to be written to
	Certificates []Certificate // newest first, at most MaxCertificates; not to be written to
}

// Attribute finds an attribute's value.
func (d *Device) Attribute(key string) (string, bool) {
	i, ok := slices.BinarySearchFunc(d.Attributes, key, func(a Attribute, key string) int { return strings.Compare(a.Key, key) })
	if !ok {
		return "", false
	}
	return d.Attributes[i].Value, true
}

// Attribute is something that operators know of a device.
type Attribute struct{ Key, Value string }

// Certificate is one that the registry gave to a device.
type Certificate struct {
	Serial    string   // lower-case hex without leading zeros
	SPKI      [32]byte // SHA-256 of the public key
	CSR       [32]byte // SHA-256 of the request's DER; zero for a legacy one
	Issuer    string   // as event.IssuerID names it; empty for a legacy one
	NotBefore int64    // Unix ms; zero for a legacy one
	NotAfter  int64
	Revoked   bool
	// Legacy is one that is known from the device's enrolment alone: it stands for all certificates of this key, which
	// were not written down one by one. A zero SPKI stands for any key.
	Legacy bool
}

// Cohort is a set of devices that roll out together. A device is in exactly one.
type Cohort struct {
	Name        string
	Interval    time.Duration // for devices without their own; 0 is not known
	Region      string        // likewise; empty is any
	Sleep       []Sleep       // not to be written to
	Devices     int           // that are in it and not revoked
	Revoked     bool          // it takes no more devices
	Quarantined bool          // all its devices are
}

// Sleep is a time of the week at which silence is planned.
type Sleep struct {
	Days     uint8  // on which it begins: bit 0 is Monday
	From, To uint16 // minutes of the day, UTC; To before From lies on the next day
}

// Group is a name for the devices that a selector selects, for reports.
type Group struct {
	Name     string
	Selector Selector
}

// Region is a part of the world that data must not leave.
type Region struct{ Name, Gateway string }

// Issuer is a certificate that issues those of devices.
type Issuer struct {
	ID          string // as event.IssuerID names it
	Certificate []byte // DER; not to be written to
	Revoked     bool
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
	Time    int64  // Unix ms, as the event says it
	Body    event.Body
	Device  Device // of events about one device, as it now is; of DeviceReplaced the old one
	Profile uint16 // of ProfileDefined and MetricAdded
	Schema  uint32 // of SchemaDefined
	Topic   Topic  // of TopicDefined
	// Forgotten is the certificate that one more has pushed out, of CertificateIssued and DeviceEnrolled; else zero.
	Forgotten Certificate
}
