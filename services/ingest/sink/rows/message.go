package rows

import (
	"errors"
	"strconv"
	"unsafe"

	"github.com/twmb/franz-go/pkg/kgo"

	"muster.dev/proto/batch"
	"muster.dev/proto/event"
	"muster.dev/proto/record"
	"muster.dev/services/ingest/sign"
)

// Form is what kind of record a Message was read from.
type Form uint8

const (
	Telemetry  Form = iota
	Events          // device events, and what a gateway says of a device
	Control         // the pipeline's own word: a watermark of a gateway
	Unreadable      // goes to quarantine whole
)

// Reasons for which a whole record goes to quarantine. Those of single values
// are the batch package's.
const (
	ReasonStamp         = "device_stamp"
	ReasonMalformed     = "malformed"
	ReasonVersion       = "unknown_version"
	ReasonUnknownSchema = "unknown_schema"
	ReasonConflict      = "conflict"
	ReasonControl       = "unknown_control"
)

// Message is one log record, read. It is reused: what it holds lives until the
// next Read, and aliases the record's value.
type Message struct {
	Form   Form
	Offset int64
	Time   int64 // the record's CreateTime, Unix ms
	Value  []byte
	Hash   uint32
	Device record.Device // zero where the record has none
	Name   []byte        // the device's id, which is the record's key

	Keyed bool
	Boot  uint32
	Seq   uint64

	Reason, Detail string // of Unreadable

	batch  batch.Batch
	events event.Message
	schema []string // names by index, where the batch has a schema id
}

// Key is a message's identity within its stream.
type Key struct {
	Device, Boot uint32
	Seq          uint64
}

// Key is meaningful where Keyed is set.
func (m *Message) Key() Key { return Key{m.Device.No, m.Boot, m.Seq} }

// Read reads a record of a topic. It never fails: what cannot be read is
// Unreadable, with the reason.
func (m *Message) Read(r *kgo.Record, catalog Catalog) {
	m.Form, m.Offset, m.Time, m.Value = Telemetry, r.Offset, r.Timestamp.UnixMilli(), r.Value
	m.Hash, m.Name = record.Hash(r.Value), r.Key
	m.Device, m.Keyed, m.Boot, m.Seq = record.Device{}, false, 0, record.Unkeyed
	m.Reason, m.Detail, m.schema = "", "", nil

	stamp, stamped := header(r, record.HeaderDevice)
	if !stamped {
		if kind, ok := header(r, record.HeaderType); ok && record.IsControl(string(kind)) {
			m.Form = Control
			return
		}
		m.refuse(ReasonStamp, "the record has no device header")
		return
	}
	d, err := record.ParseDevice(stamp)
	if err != nil {
		m.refuse(ReasonStamp, err.Error())
		return
	}
	m.Device = d
	if r.Topic == record.TopicEvents {
		m.readEvents(r)
		return
	}
	if err := m.batch.Decode(r.Value); err != nil {
		m.refuseDecode(err)
		return
	}
	m.Keyed, m.Boot = m.batch.Keyed, m.batch.Boot
	if m.Keyed {
		m.Seq = m.batch.Seq
	} else {
		m.Boot = 0
	}
	if m.batch.Schema != 0 {
		m.readSchema(catalog)
	}
}

// readEvents reads a record of the event topic. What a gateway says is told by its ce_type, which no device sets, and
// only it may have the type of a sign: in a device's message that type is refused as one that is not known.
func (m *Message) readEvents(r *kgo.Record) {
	m.Form = Events
	decode := event.DecodeMessage
	if kind, ok := header(r, record.HeaderType); ok && string(kind) == sign.CEType {
		decode = sign.Decode
	}
	events, err := decode(r.Value)
	if err != nil {
		m.refuseDecode(err)
		return
	}
	m.events = events
	if m.Keyed = m.events.Keyed; m.Keyed {
		m.Boot, m.Seq = m.events.Boot, m.events.Seq
	}
}

// readSchema finds the names of the batch's columns. The schema was published before the record was written, and
// never changes.
func (m *Message) readSchema(catalog Catalog) {
	names, ok := catalog.Schema(m.batch.Schema)
	if !ok {
		m.refuse(ReasonUnknownSchema, "schema "+strconv.FormatUint(uint64(m.batch.Schema), 10)+" was never defined")
		return
	}
	for i := range m.batch.Columns {
		if c := &m.batch.Columns[i]; int(c.Index) >= len(names) {
			m.refuse(ReasonUnknownSchema, "schema "+strconv.FormatUint(uint64(m.batch.Schema), 10)+" has no metric "+strconv.FormatUint(uint64(c.Index), 10))
			return
		}
	}
	m.schema = names
}

// SchemaID is the schema that the batch names, 0 for none.
func (m *Message) SchemaID() uint32 {
	if m.Form != Telemetry && m.Reason != ReasonUnknownSchema {
		return 0
	}
	return m.batch.Schema
}

// metric is the name of a column's metric.
func (m *Message) metric(c *batch.Column) string {
	if m.schema != nil {
		return m.schema[c.Index]
	}
	return unsafe.String(unsafe.SliceData(c.Name), len(c.Name))
}

func (m *Message) refuse(reason, detail string) {
	m.Form, m.Reason, m.Detail = Unreadable, reason, detail
}

func (m *Message) refuseDecode(err error) {
	reason := ReasonMalformed
	var e *batch.Error
	if errors.As(err, &e) && e.Code == batch.UnknownVersion {
		reason = ReasonVersion
	}
	m.refuse(reason, err.Error())
}

func header(r *kgo.Record, key string) ([]byte, bool) {
	for i := range r.Headers {
		if r.Headers[i].Key == key {
			return r.Headers[i].Value, true
		}
	}
	return nil, false
}

// Traceparent is the trace context that the record carries, if any.
func Traceparent(r *kgo.Record) string {
	v, _ := header(r, record.HeaderTraceparent)
	return string(v)
}
