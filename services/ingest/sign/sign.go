package sign

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/vmihailenco/msgpack/v5"

	"muster.dev/proto/batch"
	"muster.dev/proto/event"
	"muster.dev/proto/record"
)

const (
	// CEType is the ce_type of the record.
	CEType = "muster.gateway.sign.v1"
	// EventType is the type of the event, in the log and in the table of events. Devices cannot send it.
	EventType = "clone-sign"
)

// Kind is what was seen. Its values are stored: they never change their meaning.
type Kind string

// The kinds.
const (
	TwoAddresses    Kind = "two-addresses"    // messages from two addresses, in turns
	TwoCertificates Kind = "two-certificates" // messages under two keys, in turns
	SeqBack         Kind = "seq-back"         // a seq far below one that this boot has used
	KeyConflict     Kind = "key-conflict"     // one boot and seq, two payloads
	OtherName       Kind = "other-name"       // a message that says it is another device's
)

// Kinds is all of them.
func Kinds() []Kind { return []Kind{TwoAddresses, TwoCertificates, SeqBack, KeyConflict, OtherName} }

// Sign is one of them: what was seen of a device, and by whom.
type Sign struct {
	Kind    Kind
	Time    int64  // Unix ms
	Gateway string // that saw it
	Stream  string // of the message that showed it: telemetry or events
	// Address and Certificate (its serial, hex) are of the connection that showed it. The others are where the device was
	// just before, for the kinds that compare two places.
	Address, OtherAddress         string
	Certificate, OtherCertificate string
	// Boot and Seq are the message's, if it has a key; High is the highest seq of that boot before it, of SeqBack alone.
	Keyed     bool
	Boot      uint32
	Seq, High uint64
	// Named is the device whose message it is said to be, of OtherName alone; empty is no device's name.
	Named string
	// More is how many like it were seen and not written since the last one of this device and kind.
	More uint64
}

// fields are the event's: only those that say something.
func (s *Sign) fields() map[string]any {
	f := map[string]any{"sign": string(s.Kind), "gateway": s.Gateway}
	for name, text := range map[string]string{
		"stream": s.Stream, "address": s.Address, "other_address": s.OtherAddress,
		"certificate": s.Certificate, "other_certificate": s.OtherCertificate, "named": s.Named,
	} {
		if text != "" {
			f[name] = text
		}
	}
	if s.Keyed {
		f["boot"], f["seq"] = int64(s.Boot), int64(s.Seq)
	}
	if s.Kind == SeqBack {
		f["high_seq"] = int64(s.High)
	}
	if s.More > 0 {
		f["more"] = int64(s.More)
	}
	return f
}

// Record is what goes into the log: key, value, headers and time. device is what every record of a device is stamped
// with.
func (s *Sign) Record(id string, device record.Device) (*kgo.Record, error) {
	fields := s.fields()
	var b bytes.Buffer
	enc := msgpack.NewEncoder(&b)
	enc.UseCompactInts(true)
	err := errors.Join(
		enc.EncodeMapLen(2),
		enc.EncodeString("v"), enc.EncodeInt(event.Version),
		enc.EncodeString("events"), enc.EncodeArrayLen(1), enc.EncodeMapLen(2+len(fields)),
		enc.EncodeString("ts"), enc.EncodeInt(s.Time),
		enc.EncodeString("type"), enc.EncodeString(EventType),
	)
	for _, name := range slices.Sorted(maps.Keys(fields)) {
		err = errors.Join(err, enc.EncodeString(name), enc.Encode(fields[name]))
	}
	if err != nil {
		return nil, fmt.Errorf("write a sign: %w", err)
	}
	return &kgo.Record{
		Topic: record.TopicEvents, Key: []byte(id), Value: b.Bytes(), Timestamp: time.UnixMilli(s.Time),
		Headers: []kgo.RecordHeader{
			{Key: record.HeaderDevice, Value: device.Append(nil)},
			{Key: record.HeaderType, Value: []byte(CEType)},
			{Key: "ce_specversion", Value: []byte("1.0")},
			{Key: "ce_id", Value: []byte(id + "/" + string(s.Kind) + "/" + strconv.FormatInt(s.Time, 10))},
			{Key: "ce_source", Value: []byte("/muster/gateway/" + s.Gateway)},
			{Key: "content-type", Value: []byte("application/msgpack")},
		},
	}, nil
}

// Decode reads a record's value as what a device's message is read as: one event of EventType, no key. A refusal is a
// *batch.Error, as of any other value of the topic.
func Decode(value []byte) (event.Message, error) {
	if err := batch.Scan(value, batch.DefaultLimits()); err != nil {
		return event.Message{}, err
	}
	var in struct {
		V      uint64           `msgpack:"v"`
		Events []map[string]any `msgpack:"events"`
	}
	dec := msgpack.NewDecoder(bytes.NewReader(value))
	dec.UseLooseInterfaceDecoding(true)
	if err := dec.Decode(&in); err != nil {
		return event.Message{}, &batch.Error{Code: batch.Malformed, Field: "value", Detail: err.Error()}
	}
	if in.V != event.Version {
		return event.Message{}, &batch.Error{Code: batch.UnknownVersion, Field: "v", Detail: strconv.FormatUint(in.V, 10) + " is not known here", Limit: event.Version}
	}
	if len(in.Events) != 1 {
		return event.Message{}, bad("events", "must be one")
	}
	e := event.Device{Type: EventType}
	ts, timed := integer(in.Events[0]["ts"])
	switch {
	case in.Events[0]["type"] != EventType:
		return event.Message{}, bad("events[0].type", "is no sign's")
	case !timed || ts < 0 || ts > batch.MaxTime:
		return event.Message{}, bad("events[0].ts", "must be Unix milliseconds")
	case len(in.Events[0]) > 2+event.MaxFields:
		return event.Message{}, bad("events[0]", "has too many fields")
	}
	e.TS = ts
	for name, v := range in.Events[0] {
		if name == "ts" || name == "type" {
			continue
		}
		if !batch.MetricName(name) {
			return event.Message{}, bad("events[0]", "has a field whose name must be a-z or _, then a-z, 0-9 or _")
		}
		if e.Fields == nil {
			e.Fields = map[string]any{}
		}
		if n, ok := integer(v); ok {
			v = n
		}
		switch v := v.(type) {
		case int64, bool:
		case string:
			if len(v) > batch.MaxText {
				return event.Message{}, bad("events[0]."+name, "is too long")
			}
		default:
			return event.Message{}, bad("events[0]."+name, "must be an integer, true, false or a text")
		}
		e.Fields[name] = v
	}
	return event.Message{Events: []event.Device{e}}, nil
}

func bad(field, detail string) *batch.Error {
	return &batch.Error{Code: batch.Unprocessable, Field: field, Detail: detail}
}

func integer(v any) (int64, bool) {
	switch v := v.(type) {
	case int64:
		return v, true
	case uint64:
		return int64(v), v <= math.MaxInt64
	}
	return 0, false
}
