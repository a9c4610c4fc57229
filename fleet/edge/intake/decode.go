package intake

import (
	"bytes"
	"encoding/json"
	"errors"
	"math"
	"mime"
	"strconv"

	"github.com/vmihailenco/msgpack/v5"

	"muster.dev/fleet/edge/parcel"
	"muster.dev/fleet/edge/rule"
	"muster.dev/proto/batch"
	"muster.dev/proto/event"
)

// said is a message that was read: exactly one of its parts is there.
type said struct {
	keyed    bool           // as it came, under the device's own key
	form     parcel.Form    // of keyed
	events   *event.Message // without a key
	readings []rule.Reading // without a key, all of them sound
	firmware string         // of readings
	odd      []byte         // a compact batch without a key that is not taken apart: a schema's, or with values at fault
}

// formOf tells how a body is written, by its media type if that is one of ours, else by its first byte.
func formOf(mediaType string, body []byte) (parcel.Form, bool) {
	if kind, _, err := mime.ParseMediaType(mediaType); err == nil {
		for _, f := range []parcel.Form{parcel.Compact, parcel.MsgPack, parcel.JSON} {
			if kind == f.MediaType() {
				return f, true
			}
		}
	}
	rest := bytes.TrimLeft(body, " \t\r\n")
	switch {
	case len(rest) > 0 && rest[0] == '{':
		return parcel.JSON, true
	case len(body) == 0:
		return 0, false
	case body[0]&0xf0 == 0x90, body[0] == 0xdc, body[0] == 0xdd:
		return parcel.Compact, true
	case body[0]&0xf0 == 0x80, body[0] == 0xde, body[0] == 0xdf:
		return parcel.MsgPack, true
	}
	return 0, false
}

var errForm = &batch.Error{Code: batch.Malformed, Field: "body", Detail: "is neither JSON, nor MsgPack, nor a compact batch: begin with { or send a content type"}

// read takes a message apart as far as is needed. nowMS is for readings that come without a time.
func read(m *Message, nowMS int64) (said, error) {
	form, ok := formOf(m.Type, m.Body)
	if !ok {
		return said{}, errForm
	}
	if named := names(form, m.Body); named != nil && named != string(m.Device) {
		return said{}, &batch.Error{Code: batch.Unprocessable, Field: "device", Detail: "names another device than the topic: leave the field out, or publish as that device"}
	}
	if m.Stream == parcel.Events {
		return readEvents(form, m.Body)
	}
	return readTelemetry(form, m.Body, nowMS)
}

// names is whose an easy body says that it is; nil is that it does not, or cannot be read.
func names(form parcel.Form, body []byte) any {
	const field = "device"
	if form == parcel.Compact || !bytes.Contains(body, []byte(field)) && !(form == parcel.JSON && bytes.Contains(body, []byte(`\u`))) { // JSON has another way to write it
		return nil
	}
	if form == parcel.JSON {
		var top struct {
			Device any `json:"device"`
		}
		_ = json.Unmarshal(body, &top) // who reads it next says what is wrong with it
		return top.Device
	}
	if batch.Scan(body, batch.DefaultLimits()) != nil {
		return nil
	}
	d := msgpack.NewDecoder(bytes.NewReader(body))
	n, err := d.DecodeMapLen()
	for range max(n, 0) {
		if err != nil {
			return nil
		}
		var key string
		if key, err = d.DecodeString(); err != nil {
			return nil
		}
		if key == field {
			v, _ := d.DecodeInterface()
			return v
		}
		err = d.Skip()
	}
	return nil
}

func readEvents(form parcel.Form, body []byte) (said, error) {
	var e event.Message
	var err error
	switch form {
	case parcel.JSON:
		e, err = event.ParseDeviceJSON(body)
	case parcel.MsgPack:
		e, err = event.ParseDeviceMsgPack(body)
	default:
		err = &batch.Error{Code: batch.Malformed, Field: "body", Detail: "is a list: device events are a map of MsgPack, or JSON"}
	}
	if err != nil {
		return said{}, err
	}
	if e.Keyed {
		return said{keyed: true, form: form}, nil
	}
	return said{events: &e}, nil
}

func readTelemetry(form parcel.Form, body []byte, nowMS int64) (said, error) {
	b := batch.NewBuilder()
	compact := body
	switch form {
	case parcel.JSON:
		if err := batch.ParseJSON(body, b); err != nil {
			wrapped, flat := flatReadings(body, nowMS)
			if !flat {
				return said{}, err
			}
			if err := batch.ParseJSON(wrapped, b); err != nil {
				return said{}, err
			}
		}
	case parcel.MsgPack:
		if err := batch.ParseMsgPack(body, b); err != nil {
			return said{}, err
		}
	}
	if form != parcel.Compact {
		if _, _, keyed := b.Key(); keyed {
			return said{keyed: true, form: form}, nil
		}
		var err error
		if compact, err = b.AppendTo(nil); err != nil {
			return said{}, err
		}
	}
	var d batch.Batch
	if err := d.Decode(compact); err != nil {
		return said{}, err
	}
	if d.Keyed {
		return said{keyed: true, form: form}, nil
	}
	// Times are the gateway's to judge, when it has the message.
	if d.Schema != 0 || len(d.Judge(nil, math.MaxInt64, true)) > 0 {
		return said{odd: compact}, nil
	}
	return said{readings: readingsOf(&d), firmware: string(d.Firmware)}, nil
}

// flatReadings makes the easy form of what small devices send: {"temp_c":21.5}, which is now, or {"ts":…,"values":{…}}. An object
// that has a field of the easy form is none.
func flatReadings(body []byte, nowMS int64) ([]byte, bool) {
	var fields map[string]json.RawMessage
	if json.Unmarshal(body, &fields) != nil || len(fields) == 0 {
		return nil, false
	}
	for _, ours := range []string{"boot", "seq", "fw", "readings", "events", "device"} {
		if _, has := fields[ours]; has {
			return nil, false
		}
	}
	at, metrics := strconv.FormatInt(nowMS, 10), body
	if ts, values := fields["ts"], fields["values"]; len(fields) == 2 && ts != nil && values != nil {
		at, metrics = string(ts), values
	}
	out := make([]byte, 0, len(metrics)+64)
	out = append(append(out, `{"readings":[{"ts":`...), at...)
	out = append(append(out, `,"metrics":`...), metrics...)
	return append(out, `}]}`...), true
}

func readingsOf(d *batch.Batch) []rule.Reading {
	out := make([]rule.Reading, 0, d.Values)
	for i := range d.Columns {
		c := &d.Columns[i]
		metric, word := string(c.Name), 0
		for step, at := range d.Times {
			if !c.Has(step) {
				continue
			}
			r := rule.Reading{At: at, Metric: metric, Kind: c.Kind}
			switch c.Kind {
			case batch.Int:
				r.Int, r.Scale = c.Ints[word], c.Scale
			case batch.Float:
				r.Float = c.Floats()[word]
			case batch.Bool:
				r.Int = c.Ints[word]
			case batch.Text:
				r.Text = string(d.Text(c, word))
			}
			out = append(out, r)
			word++
		}
	}
	return out
}

// refusal is the verdict on a message that cannot be read.
func refusal(err error) Verdict {
	var e *batch.Error
	if !errors.As(err, &e) {
		return Verdict{Malformed, err.Error()}
	}
	switch e.Code {
	case batch.TooLarge:
		return Verdict{TooLarge, e.Error()}
	case batch.Malformed:
		return Verdict{Malformed, e.Error()}
	}
	return Verdict{Unprocessable, e.Error()}
}
