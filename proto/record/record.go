package record

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"time"
)

// The topics. A number at the end is the version of what the topic holds; another format is another topic.
const (
	TopicTelemetry = "muster.telemetry.v1"
	TopicEvents    = "muster.events.v1"
	TopicRegistry  = "muster.registry.v1"
	TopicIncidents = "muster.incidents.v1"
	TopicCohorts   = "muster.cohorts.v1"
	TopicSnapshots = "muster.snapshots.v1"
)

// Record headers. HeaderType and the other ce_ headers are CloudEvents 1.0 in binary mode; telemetry carries none.
const (
	HeaderDevice      = "device" // Device.Append
	HeaderSchema      = "schema" // decimal schema id, if the value uses one
	HeaderTraceparent = "traceparent"
	HeaderVia         = "via" // AppendVia; of a message that another device sent for this one
	HeaderType        = "ce_type"
)

// TypeWatermark is the ce_type of the control record that a gateway writes to each partition.
const TypeWatermark = "muster.gateway.watermark.v1"

// Unkeyed is the seq in the ledger of a message that came without boot and seq. A keyed seq ends at 2^53-1, so
// it never meets this value.
const Unkeyed = ^uint64(0)

// A reading's time lies in [record time - MaxSkewPast, record time + MaxSkewFuture]. A device that was enrolled
// with history has no lower bound but 1970.
const (
	MaxSkewPast   = 30 * 24 * time.Hour
	MaxSkewFuture = 10 * time.Minute
)

// IsControl reports whether a record of this ce_type is the pipeline's own word and no device's.
func IsControl(ceType string) bool { return ceType == TypeWatermark }

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Hash is the CRC-32C of a record's value. The same (device, boot, seq) with another hash is a conflict: two
// devices that share an identity, or a device that counts wrongly. It is no defence against a forger, who would
// need the device's key to begin with.
func Hash(value []byte) uint32 { return crc32.Checksum(value, castagnoli) }

// Device is what the gateway knew of the sender when it accepted the message. The sink decides by the stamp and
// not by the registry as it is today, so that a replay gives the same rows.
type Device struct {
	No      uint32 // dense number, never reused
	Profile uint16 // 0 = none: all metrics go to the overflow table
	Class   uint8  // retention class, 0..3
	History bool   // enrolled with history: the lower bound of times is lifted
}

const (
	stampLen    = 8
	flagHistory = 1
)

// Append writes the stamp: no u32, profile u16 (both big-endian), class u8, flags u8.
func (d Device) Append(dst []byte) []byte {
	dst = binary.BigEndian.AppendUint32(dst, d.No)
	dst = binary.BigEndian.AppendUint16(dst, d.Profile)
	var flags byte
	if d.History {
		flags |= flagHistory
	}
	return append(dst, d.Class, flags)
}

// ParseDevice reads a stamp. Bytes after the eighth and unknown flags are ignored: a later version may add some.
func ParseDevice(b []byte) (Device, error) {
	if len(b) < stampLen {
		return Device{}, fmt.Errorf("header %q has %d bytes, a device stamp has %d", HeaderDevice, len(b), stampLen)
	}
	d := Device{
		No:      binary.BigEndian.Uint32(b),
		Profile: binary.BigEndian.Uint16(b[4:]),
		Class:   b[6],
		History: b[7]&flagHistory != 0,
	}
	if d.Class > 3 {
		return Device{}, fmt.Errorf("header %q has class %d, the classes are 0 to 3", HeaderDevice, d.Class)
	}
	return d, nil
}

// AppendVia writes the value of HeaderVia: the number of the device that sent the message.
func AppendVia(dst []byte, no uint32) []byte { return binary.BigEndian.AppendUint32(dst, no) }

// ParseVia reads the value of HeaderVia. Bytes after the fourth are ignored: a later version may add some.
func ParseVia(b []byte) (no uint32, err error) {
	if len(b) < 4 {
		return 0, fmt.Errorf("header %q has %d bytes, a device's number has 4", HeaderVia, len(b))
	}
	return binary.BigEndian.Uint32(b), nil
}
