package event

import "muster.dev/proto/batch"

// The ce_types of what becomes of a device after its enrolment.
const (
	TypeDeviceQuarantined = "muster.registry.device-quarantined.v1"
	TypeDeviceReplaced    = "muster.registry.device-replaced.v1"
	TypeDeviceMoved       = "muster.registry.device-moved.v1"
	TypeDeviceDescribed   = "muster.registry.device-described.v1"
)

// DeviceQuarantined holds a device off, or lets it in again. It keeps its identity.
type DeviceQuarantined struct {
	No uint32 `msgpack:"no"`
	On bool   `msgpack:"on"`
}

// DeviceReplaced says that one device has come into the place of another, which is revoked by it.
type DeviceReplaced struct {
	Old uint32 `msgpack:"old"`
	New uint32 `msgpack:"new"`
}

// DeviceMoved puts a device into another cohort.
type DeviceMoved struct {
	No     uint32 `msgpack:"no"`
	Cohort string `msgpack:"cohort"`
}

// DeviceDescribed replaces all attributes of a device. They never decide which cohort it is in.
type DeviceDescribed struct {
	No         uint32            `msgpack:"no"`
	Attributes map[string]string `msgpack:"attributes"`
}

// Type is the ce_type.
func (DeviceQuarantined) Type() string { return TypeDeviceQuarantined }

// Type is the ce_type.
func (DeviceReplaced) Type() string { return TypeDeviceReplaced }

// Type is the ce_type.
func (DeviceMoved) Type() string { return TypeDeviceMoved }

// Type is the ce_type.
func (DeviceDescribed) Type() string { return TypeDeviceDescribed }

func (d DeviceQuarantined) validate() *batch.Error { return checkNo("no", d.No) }

func (d DeviceReplaced) validate() *batch.Error {
	if d.Old == d.New {
		return bad("new", "must be another device")
	}
	if err := checkNo("old", d.Old); err != nil {
		return err
	}
	return checkNo("new", d.New)
}

func (d DeviceMoved) validate() *batch.Error {
	if err := checkNo("no", d.No); err != nil {
		return err
	}
	return checkName("cohort", d.Cohort)
}

func (d DeviceDescribed) validate() *batch.Error {
	if err := checkNo("no", d.No); err != nil {
		return err
	}
	return checkAttributes(d.Attributes)
}

// normal makes what was left out and what was written as nothing the same.
func (d *DeviceDescribed) normal() {
	if len(d.Attributes) == 0 {
		d.Attributes = nil
	}
}
