package tail

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"muster.dev/proto/batch"
	"muster.dev/proto/event"
	"muster.dev/proto/record"
	"muster.dev/services/ingest/sign"
)

// Entry is one record, readable.
type Entry struct {
	Topic     string    `json:"topic"`
	Partition int32     `json:"partition"`
	Offset    int64     `json:"offset"`
	Time      time.Time `json:"time"` // of the record, as the gateway or the registry set it
	Type      string    `json:"type"` // telemetry, or the event's own
	Device    string    `json:"device,omitempty"`
	DeviceNo  uint32    `json:"device_no,omitempty"`
	Via       uint32    `json:"via,omitempty"` // number of the device that sent it for this one
	Boot      *uint32   `json:"boot,omitempty"`
	Seq       *uint64   `json:"seq,omitempty"`
	Firmware  string    `json:"fw,omitempty"`
	Bytes     int       `json:"bytes"`
	Steps     int       `json:"steps,omitempty"`
	Values    int       `json:"values,omitempty"`
	Readings  []Reading `json:"readings,omitempty"`
	Body      any       `json:"body,omitempty"` // of an event
	Error     string    `json:"error,omitempty"`
}

// Reading is one step.
type Reading struct {
	TS      int64                      `json:"ts"`
	Metrics map[string]json.RawMessage `json:"metrics"`
}

// link is an event of the registry without what only machines need: the hash that chains it.
type link struct {
	N    uint64     `json:"n"`
	Who  string     `json:"who"`
	Why  string     `json:"why"`
	Body event.Body `json:"body"`
}

// Reader remembers the schemas that it has seen, by which messages name their metrics. It is for one goroutine.
type Reader struct {
	schemas map[uint32][]event.SchemaMetric
	batch   batch.Batch
}

// NewReader knows no schema yet: feed it the registry's topic first.
func NewReader() *Reader { return &Reader{schemas: map[uint32][]event.SchemaMetric{}} }

// Read makes an entry of a record.
func (r *Reader) Read(rec *kgo.Record) Entry {
	e := Entry{
		Topic: rec.Topic, Partition: rec.Partition, Offset: rec.Offset, Time: rec.Timestamp.UTC(), Bytes: len(rec.Value), Device: string(rec.Key),
	}
	headers := make([]event.Header, len(rec.Headers))
	for i, h := range rec.Headers {
		headers[i] = event.Header{Key: h.Key, Value: h.Value}
		switch h.Key {
		case record.HeaderType:
			e.Type = string(h.Value)
		case record.HeaderDevice:
			if d, err := record.ParseDevice(h.Value); err == nil {
				e.DeviceNo = d.No
			}
		case record.HeaderVia:
			if no, err := record.ParseVia(h.Value); err == nil {
				e.Via = no
			}
		}
	}
	var err error
	switch {
	case record.IsControl(e.Type):
		e.Body, err = event.DecodeWatermark(rec.Value)
	case rec.Topic == record.TopicTelemetry:
		e.Type = "telemetry"
		err = r.telemetry(&e, rec.Value)
	case rec.Topic == record.TopicEvents:
		decode := event.DecodeMessage
		if e.Type == sign.CEType { // a gateway's word, of a type that no device can send
			decode = sign.Decode
		}
		var m event.Message
		if m, err = decode(rec.Value); err == nil {
			e.Firmware, e.Body = m.Firmware, m.Events
			if m.Keyed {
				e.Boot, e.Seq = &m.Boot, &m.Seq
			}
		}
	case rec.Topic == record.TopicRegistry:
		var reg event.Registry
		if reg, err = event.DecodeRegistry(headers, rec.Value); err == nil {
			e.Body = link{N: reg.N, Who: reg.Who, Why: reg.Why, Body: reg.Body}
			switch b := reg.Body.(type) {
			case event.SchemaDefined:
				r.schemas[b.Schema] = slices.Clone(b.Metrics)
			case event.DeviceEnrolled:
				e.Device, e.DeviceNo = b.Device, b.No
			case event.DeviceRevoked:
				e.DeviceNo = b.No
			case event.ActingGranted:
				e.DeviceNo = b.Agent
			case event.ActingWithdrawn:
				e.DeviceNo = b.Agent
			}
		}
	}
	if err == nil && rec.Topic == record.TopicIncidents && !record.IsControl(e.Type) {
		e.Device = "" // the key is an incident, or a rollout
		e.Body, err = found(e.Type, headers, rec.Value)
	}
	if err != nil {
		e.Error = err.Error()
	}
	return e
}

// found is what the detectors said; what is of another type has no body.
func found(ceType string, headers []event.Header, value []byte) (any, error) {
	switch ceType {
	case event.TypeIncidentOpened, event.TypeIncidentUpdated, event.TypeIncidentResolved:
		return orNone(event.DecodeIncident(headers, value))
	case event.TypeVerdict:
		return orNone(event.DecodeVerdict(headers, value))
	}
	return nil, nil
}

func orNone[T any](v T, err error) (any, error) {
	if err != nil {
		return nil, err
	}
	return v, nil
}

func (r *Reader) telemetry(e *Entry, value []byte) error {
	b := &r.batch
	if err := b.Decode(value); err != nil {
		return err
	}
	e.Firmware, e.Steps, e.Values = string(b.Firmware), len(b.Times), b.Values
	if b.Keyed {
		boot, seq := b.Boot, b.Seq
		e.Boot, e.Seq = &boot, &seq
	}
	e.Readings = make([]Reading, len(b.Times))
	for i, ts := range b.Times {
		e.Readings[i] = Reading{TS: ts, Metrics: map[string]json.RawMessage{}}
	}
	for c := range b.Columns {
		col := &b.Columns[c]
		name := r.name(b, col)
		for step := range b.Times {
			if col.Has(step) {
				e.Readings[step].Metrics[name] = cell(col.Kind, b.AppendValue(nil, c, step))
			}
		}
	}
	return nil
}

func (r *Reader) name(b *batch.Batch, c *batch.Column) string {
	if b.Schema == 0 {
		return string(c.Name)
	}
	if s := r.schemas[b.Schema]; int(c.Index) < len(s) {
		return s[c.Index].Name
	}
	return fmt.Sprintf("schema_%d_%d", b.Schema, c.Index)
}

// cell is a value as JSON; what is no JSON number (NaN, or a value at fault) is shown as text.
func cell(k batch.Kind, text []byte) json.RawMessage {
	if k != batch.Text && json.Valid(text) {
		return text
	}
	return json.RawMessage(strconv.AppendQuote(nil, strings.ToValidUTF8(string(text), "?")))
}

// String is the entry on one line.
func (e Entry) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s/%d@%d %s", e.Time.Format("2006-01-02T15:04:05.000Z"), strings.TrimSuffix(strings.TrimPrefix(e.Topic, "muster."), ".v1"), e.Partition, e.Offset, e.Type)
	if e.Device != "" {
		fmt.Fprintf(&b, " %s", e.Device)
	}
	if e.Boot != nil && e.Seq != nil {
		fmt.Fprintf(&b, " %d/%d", *e.Boot, *e.Seq)
	}
	if e.Via != 0 {
		fmt.Fprintf(&b, " via #%d", e.Via)
	}
	switch {
	case e.Error != "":
		fmt.Fprintf(&b, ": cannot be read (%d bytes): %s", e.Bytes, e.Error)
	case e.Readings != nil:
		last := e.Readings[len(e.Readings)-1]
		fmt.Fprintf(&b, ": %d values in %d steps, the last %s", e.Values, e.Steps, time.UnixMilli(last.TS).UTC().Format("15:04:05.000"))
		names := make([]string, 0, len(last.Metrics))
		for name := range last.Metrics {
			names = append(names, name)
		}
		slices.Sort(names)
		for _, name := range names {
			fmt.Fprintf(&b, " %s=%s", name, last.Metrics[name])
		}
	case e.Body != nil:
		if body, err := json.Marshal(e.Body); err == nil {
			fmt.Fprintf(&b, ": %s", body)
		}
	}
	return b.String()
}
