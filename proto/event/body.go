package event

import (
	"slices"
	"strconv"

	"muster.dev/proto/batch"
	"muster.dev/proto/identity"
)

// The ce_types of registry events.
const (
	TypeDeviceEnrolled = "muster.registry.device-enrolled.v1"
	TypeDeviceRevoked  = "muster.registry.device-revoked.v1"
	TypeProfileDefined = "muster.registry.profile-defined.v1"
	TypeMetricAdded    = "muster.registry.metric-added.v1"
	TypeSchemaDefined  = "muster.registry.schema-defined.v1"
	TypeTopicDefined   = "muster.registry.topic-defined.v1"
)

// Classes of retention. There are four, and there will not be more: tables are partitioned by them.
const (
	ClassStandard uint8 = iota
	ClassDebug
	ClassAudit
	ClassCold
)

// MaxSchemaMetrics is the number of metrics that a schema may have.
const MaxSchemaMetrics = 4_096

// DeviceEnrolled makes a device known, or replaces what was known of it but its number.
type DeviceEnrolled struct {
	Device   string `msgpack:"device"`
	No       uint32 `msgpack:"no"` // from 1, dense, never reused
	Cohort   string `msgpack:"cohort"`
	Class    uint8  `msgpack:"class"`
	Profile  uint16 `msgpack:"profile"` // 0 = none
	History  bool   `msgpack:"history"`
	Interval int64  `msgpack:"interval_ms"` // at which it means to report; 0 = unknown
	Region   string `msgpack:"region"`
	Serial   string `msgpack:"serial"` // of its first certificate, hex
	SPKI     []byte `msgpack:"spki"`   // SHA-256 of the certificate's public key

	Method     string            `msgpack:"method,omitempty"` // how it enrolled: operator, password, manufacturer
	Via        string            `msgpack:"via,omitempty"`    // the password's id, or manufacturer/serial
	Label      string            `msgpack:"label,omitempty"`  // the product line that it came by
	Attributes map[string]string `msgpack:"attributes,omitempty"`
}

// DeviceRevoked ends a device: nothing more is accepted from it.
type DeviceRevoked struct {
	No uint32 `msgpack:"no"`
}

// ProfileDefined opens a profile: devices of one make, whose metrics share a table.
type ProfileDefined struct {
	Profile uint16 `msgpack:"profile"` // from 1
	Name    string `msgpack:"name"`
	Class   uint8  `msgpack:"class"`
}

// MetricAdded gives a profile's table a column. It is published after the column is there.
type MetricAdded struct {
	Profile uint16     `msgpack:"profile"`
	Metric  string     `msgpack:"metric"`
	Kind    batch.Kind `msgpack:"kind"`
	Scale   uint8      `msgpack:"scale"`
}

// SchemaDefined gives an id to a list of metrics, for batches that name them by index. A schema never changes.
type SchemaDefined struct {
	Schema  uint32         `msgpack:"schema"` // from 1
	Metrics []SchemaMetric `msgpack:"metrics"`
}

// SchemaMetric is one metric of a schema. Kind and Scale say what to expect; what a value is, its batch says.
type SchemaMetric struct {
	Name  string     `msgpack:"name"`
	Kind  batch.Kind `msgpack:"kind"`
	Scale uint8      `msgpack:"scale"`
}

// TopicDefined gives a small number to a Kafka topic's UUID. A topic that was deleted and made again is another one.
type TopicDefined struct {
	Name       string `msgpack:"name"`
	ID         []byte `msgpack:"id"`  // 16 bytes
	Gen        uint16 `msgpack:"gen"` // dense, from 1, never reused
	Partitions int32  `msgpack:"partitions"`
}

// Type is the ce_type.
func (DeviceEnrolled) Type() string { return TypeDeviceEnrolled }

// Type is the ce_type.
func (DeviceRevoked) Type() string { return TypeDeviceRevoked }

// Type is the ce_type.
func (ProfileDefined) Type() string { return TypeProfileDefined }

// Type is the ce_type.
func (MetricAdded) Type() string { return TypeMetricAdded }

// Type is the ce_type.
func (SchemaDefined) Type() string { return TypeSchemaDefined }

// Type is the ce_type.
func (TopicDefined) Type() string { return TypeTopicDefined }

func bad(field, detail string) *batch.Error { return refuse(batch.Unprocessable, field, detail, 0) }

func (d DeviceEnrolled) validate() *batch.Error {
	if _, err := identity.ParseDevice(d.Device); err != nil {
		return bad("device", err.Error())
	}
	switch {
	case d.No == 0:
		return bad("no", "must count from 1")
	case d.Class > ClassCold:
		return bad("class", "must be 0 to 3")
	case d.Interval < 0:
		return bad("interval_ms", "must not be negative")
	case len(d.SPKI) != 0 && len(d.SPKI) != 32:
		return bad("spki", "must have 32 bytes")
	}
	for field, s := range map[string]string{"cohort": d.Cohort, "region": d.Region, "serial": d.Serial, "method": d.Method, "via": d.Via, "label": d.Label} {
		if err := checkText(field, s); err != nil {
			return err
		}
	}
	return checkAttributes(d.Attributes)
}

// normal makes what was left out and what was written as nothing the same.
func (d *DeviceEnrolled) normal() {
	if len(d.Attributes) == 0 {
		d.Attributes = nil
	}
}

func (d DeviceRevoked) validate() *batch.Error {
	if d.No == 0 {
		return bad("no", "must count from 1")
	}
	return nil
}

func (p ProfileDefined) validate() *batch.Error {
	switch {
	case p.Profile == 0:
		return bad("profile", "must count from 1")
	case !batch.MetricName(p.Name): // it becomes a table's name
		return bad("name", strconv.Quote(p.Name[:min(len(p.Name), 64)])+" must be a-z or _, then a-z, 0-9 or _, at most 63")
	case p.Class > ClassCold:
		return bad("class", "must be 0 to 3")
	}
	return nil
}

func (m MetricAdded) validate() *batch.Error {
	if m.Profile == 0 {
		return bad("profile", "must count from 1")
	}
	return SchemaMetric{m.Metric, m.Kind, m.Scale}.validate("metric")
}

func (m SchemaMetric) validate(field string) *batch.Error {
	switch {
	case !batch.MetricName(m.Name): // it becomes a column's name
		return bad(field, strconv.Quote(m.Name[:min(len(m.Name), 64)])+" must be a-z or _, then a-z, 0-9 or _, at most 63")
	case m.Kind > batch.Text:
		return bad("kind", "must be 0 to 3")
	case m.Scale > batch.MaxScale || m.Scale > 0 && m.Kind != batch.Int:
		return bad("scale", "must be 0 to 9, and 0 unless the kind is int")
	}
	return nil
}

func (s SchemaDefined) validate() *batch.Error {
	switch {
	case s.Schema == 0:
		return bad("schema", "must count from 1")
	case len(s.Metrics) == 0 || len(s.Metrics) > MaxSchemaMetrics:
		return refuse(batch.Unprocessable, "metrics", "must be one or more", MaxSchemaMetrics)
	}
	names := make([]string, len(s.Metrics))
	for i, m := range s.Metrics {
		if err := m.validate("metrics"); err != nil {
			return err
		}
		names[i] = m.Name
	}
	slices.Sort(names)
	if len(slices.Compact(names)) != len(s.Metrics) {
		return bad("metrics", "has a name twice")
	}
	return nil
}

func (t TopicDefined) validate() *batch.Error {
	switch {
	case t.Name == "" || len(t.Name) > 249:
		return bad("name", "must be a topic's name")
	case len(t.ID) != 16:
		return bad("id", "must have 16 bytes")
	case t.Gen == 0:
		return bad("gen", "must count from 1")
	case t.Partitions <= 0:
		return bad("partitions", "must be 1 or more")
	}
	return checkText("name", t.Name)
}
