package event

import (
	"maps"
	"math"
	"slices"
	"strconv"
	"unicode/utf8"

	"muster.dev/proto/batch"
	"muster.dev/proto/internal/wire"
)

// Bounds of a message of device events. Names and texts are bounded as a batch's are.
const (
	MaxEvents = 1_000
	MaxFields = 32 // of one event, beside ts and type
	Version   = 1
)

// Types of device events.
const (
	Boot      = "boot"
	Heartbeat = "heartbeat"
	Crash     = "crash"
	OSError   = "os-error"
	OTA       = "ota"
)

// TypeDevice is the ce_type of a record on the topic of device events.
const TypeDevice = "muster.device.events.v1"

// Message is what one device reports in one message: one record.
type Message struct {
	Keyed    bool
	Boot     uint32
	Seq      uint64
	Firmware string
	Events   []Device // in the order in which they were sent
}

// Device is one event of a device. A field's value is an int64, a float64, a bool or a string, and nothing else;
// a field that was null is not there.
type Device struct {
	TS     int64 // Unix ms
	Type   string
	Fields map[string]any
}

// required are the fields without which an event of the type says nothing. Any other field may be there.
var required = map[string][]string{
	Crash:   {"reason"},
	OSError: {"code"},
	OTA:     {"to", "result"},
}

var types = []string{Boot, Heartbeat, Crash, OSError, OTA}

func refuse(code batch.Code, field, detail string, limit int64) *batch.Error {
	return &batch.Error{Code: code, Field: field, Detail: detail, Limit: limit}
}

// Validate says what a gateway would refuse of m, as a *batch.Error.
func (m *Message) Validate() error {
	if err := m.validate(); err != nil {
		return err
	}
	return nil
}

func (m *Message) validate() *batch.Error {
	switch {
	case m.Keyed && m.Seq > batch.MaxSeq:
		return refuse(batch.Unprocessable, "seq", "is out of range: count from 0 and from a new boot", batch.MaxSeq)
	case len(m.Firmware) > batch.MaxFirmware:
		return refuse(batch.Unprocessable, "fw", "is too long: send a shorter firmware version", batch.MaxFirmware)
	case !plain(m.Firmware):
		return refuse(batch.Unprocessable, "fw", "holds a control character or is not UTF-8: send printable text", 0)
	case len(m.Events) == 0:
		return refuse(batch.Unprocessable, "events", "hold nothing: send at least one", 0)
	case len(m.Events) > MaxEvents:
		return refuse(batch.TooLarge, "events", "are "+strconv.Itoa(len(m.Events))+": send several messages", MaxEvents)
	}
	for i := range m.Events {
		if err := m.Events[i].validate(i); err != nil {
			return err
		}
	}
	return nil
}

func at(i int, rest string) string { return "events[" + strconv.Itoa(i) + "]" + rest }

func (d *Device) validate(i int) *batch.Error {
	if !slices.Contains(types, d.Type) {
		return refuse(batch.Unprocessable, at(i, ".type"), strconv.Quote(d.Type[:min(len(d.Type), 32)])+" is none: send boot, heartbeat, crash, os-error or ota", 0)
	}
	if d.TS < -batch.MaxSeq || d.TS > batch.MaxSeq {
		return refuse(batch.Unprocessable, at(i, ".ts"), "is out of range: send Unix milliseconds", batch.MaxSeq)
	}
	if len(d.Fields) > MaxFields {
		return refuse(batch.TooLarge, at(i, ""), "has "+strconv.Itoa(len(d.Fields))+" fields: send fewer", MaxFields)
	}
	for name, v := range d.Fields {
		if err := checkField(i, name, v); err != nil {
			return err
		}
	}
	for _, name := range required[d.Type] {
		if d.Fields[name] == nil {
			return refuse(batch.Unprocessable, at(i, "."+name), "is missing: an event "+d.Type+" needs it", 0)
		}
	}
	return nil
}

func checkField(i int, name string, v any) *batch.Error {
	if !batch.MetricName(name) || name == "ts" || name == "type" {
		return refuse(batch.Unprocessable, at(i, ""), "a field's name "+strconv.Quote(name[:min(len(name), 64)])+" must be a-z or _, then a-z, 0-9 or _: rename it", batch.MaxMetricName)
	}
	switch v := v.(type) {
	case int64, bool:
	case float64:
		if math.IsNaN(v) || math.IsInf(v, 0) {
			return refuse(batch.Unprocessable, at(i, "."+name), "is not a finite number: leave the field out", 0)
		}
	case string:
		if !utf8.ValidString(v) {
			return refuse(batch.Unprocessable, at(i, "."+name), "is not valid UTF-8: use UTF-8", 0)
		}
		if len(v) > batch.MaxText {
			return refuse(batch.Unprocessable, at(i, "."+name), "has "+strconv.Itoa(len(v))+" bytes: send a shorter text", batch.MaxText)
		}
	default:
		return refuse(batch.Unprocessable, at(i, "."+name), "must be an integer, a float, true, false or a text", 0)
	}
	return nil
}

func plain(s string) bool {
	for _, c := range s {
		if c < 0x20 || c == 0x7f {
			return false
		}
	}
	return utf8.ValidString(s)
}

// AppendTo appends the record's value: the easy form as MsgPack, keys of an event in order of name, so that equal
// messages have equal bytes. It fails with what Validate says.
func (m *Message) AppendTo(dst []byte) ([]byte, error) {
	if err := m.validate(); err != nil {
		return dst, err
	}
	entries := 2
	if m.Keyed {
		entries += 2
	}
	if m.Firmware != "" {
		entries++
	}
	dst = wire.AppendMapHead(dst, entries)
	dst = wire.AppendInt(wire.AppendText(dst, "v"), Version)
	if m.Keyed {
		dst = wire.AppendUint(wire.AppendText(dst, "boot"), uint64(m.Boot))
		dst = wire.AppendUint(wire.AppendText(dst, "seq"), m.Seq)
	}
	if m.Firmware != "" {
		dst = wire.AppendText(wire.AppendText(dst, "fw"), m.Firmware)
	}
	dst = wire.AppendArrayHead(wire.AppendText(dst, "events"), len(m.Events))
	for i := range m.Events {
		dst = m.Events[i].appendTo(dst)
	}
	return dst, nil
}

func (d *Device) appendTo(dst []byte) []byte {
	dst = wire.AppendMapHead(dst, 2+len(d.Fields))
	dst = wire.AppendInt(wire.AppendText(dst, "ts"), d.TS)
	dst = wire.AppendText(wire.AppendText(dst, "type"), d.Type)
	for _, name := range slices.Sorted(maps.Keys(d.Fields)) {
		dst = wire.AppendText(dst, name)
		switch v := d.Fields[name].(type) {
		case int64:
			dst = wire.AppendInt(dst, v)
		case float64:
			dst = wire.AppendFloat(dst, v)
		case bool:
			dst = wire.AppendBool(dst, v)
		case string:
			dst = wire.AppendText(dst, v)
		}
	}
	return dst
}
