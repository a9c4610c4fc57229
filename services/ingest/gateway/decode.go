package gateway

import (
	"bytes"
	"encoding/json"
	"strconv"

	"github.com/vmihailenco/msgpack/v5"

	"muster.dev/proto/batch"
	"muster.dev/services/ingest/gateway/answer"
	"muster.dev/services/ingest/gateway/thingsboard"
)

// decode reads the body and makes the record's value of it.
func (c *call) decode() *answer.Problem {
	if c.stream == events {
		return c.decodeEvents()
	}
	return c.decodeBatch()
}

func (c *call) decodeBatch() *answer.Problem {
	var err error
	c.value = c.body
	if c.message != nil && c.isForeign() {
		c.form = foreign
	}
	if c.form != compact {
		switch c.form {
		case easyJSON:
			err = batch.ParseJSON(c.body, c.builder)
		case thingsBoard:
			err = thingsboard.Parse(c.body, c.at.UnixMilli(), c.builder)
		case foreign:
			err = c.parseForeign()
		default:
			err = batch.ParseMsgPack(c.body, c.builder)
		}
		if err != nil {
			return c.unreadable(err)
		}
		if p := c.namesDevice(); p != nil {
			return p
		}
		if c.out, err = c.builder.AppendTo(c.out[:0]); err != nil {
			return c.unreadable(err)
		}
		c.value = c.out
	}
	b := &c.batch
	if err := b.Decode(c.value); err != nil {
		return c.unreadable(err)
	}
	if b.Schema != 0 {
		if p := c.checkSchema(); p != nil {
			return p
		}
	}
	c.keyed, c.boot, c.seq = b.Keyed, b.Boot, b.Seq
	if c.derived { // its timestamps say which it is
		c.derive()
	}
	c.faults = b.Judge(c.faults, c.at.UnixMilli(), c.device.History)
	c.receipt.Unkeyed = !b.Keyed
	c.receipt.Values = b.Values - len(c.faults)
	c.receipt.Faults = len(c.faults)
	for i := range c.faults[:min(len(c.faults), answer.MaxQuarantined)] {
		f := &c.faults[i]
		name := f.Metric
		if name == "" && c.schema != nil {
			name = c.schema.Metrics[b.Columns[f.Column].Index].Name
		}
		c.receipt.Quarantined = append(c.receipt.Quarantined, answer.Quarantined{Metric: name, Step: f.Step, TS: b.Times[f.Step], Reason: f.Reason})
	}
	return nil
}

// checkSchema holds a message to a schema that every reader of the log can find.
func (c *call) checkSchema() *answer.Problem {
	b := &c.batch
	schema, known := c.g.roster.Schema(b.Schema)
	if !known {
		return c.problemf(answer.UnknownSchema, "schema", 0, "Schema %d is not published in this fleet: send the metrics by name.", b.Schema)
	}
	for i := range b.Columns {
		if int(b.Columns[i].Index) >= len(schema.Metrics) {
			return c.problemf(answer.UnknownSchema, "columns["+strconv.Itoa(i)+"]", int64(len(schema.Metrics)),
				"Schema %d has %d metrics, the message names number %d, counted from 0.", b.Schema, len(schema.Metrics), b.Columns[i].Index)
		}
	}
	c.schema = &schema
	return nil
}

// unreadable turns the codec's refusal into the answer.
func (c *call) unreadable(err error) *answer.Problem {
	e, ok := batch.AsError(err)
	if !ok {
		return c.problemf(answer.Malformed, "body", 0, "The body cannot be read: %v.", err)
	}
	reason := answer.Unprocessable
	switch e.Code {
	case batch.Malformed:
		reason = answer.Malformed
	case batch.TooLarge:
		reason = answer.TooLarge
	}
	return c.problemf(reason, e.Field, e.Limit, "%s.", e.Error())
}

// namesDevice refuses an easy body that says it is another device's: the certificate alone decides, and a gap between
// the two is a wrong set-up or worse. The body has passed the codec's bounded reader.
func (c *call) namesDevice() *answer.Problem {
	const field = "device"
	if c.form == thingsBoard || c.form == foreign { // there it is a metric
		return nil
	}
	if !bytes.Contains(c.body, []byte(field)) && !(c.form == easyJSON && bytes.Contains(c.body, []byte(`\u`))) { // JSON has another way to write it
		return nil
	}
	var named any
	if c.form == easyJSON {
		var top struct {
			Device any `json:"device"`
		}
		if err := json.Unmarshal(c.body, &top); err != nil {
			return nil // two readers of JSON differ on something else; ours has the say
		}
		named = top.Device
	} else {
		named = topLevel(c.body, field)
	}
	if named == nil || named == string(c.device.ID) {
		return nil
	}
	c.named, _ = named.(string)
	return c.problemf(answer.DeviceMismatch, field, 0, "The body names device %.100q, the certificate %q: leave the field out, or connect as that device.", named, c.device.ID)
}

// topLevel finds a key of a MsgPack map that batch.Scan, or the easy form's reader, has passed.
func topLevel(p []byte, key string) any {
	dec := msgpack.NewDecoder(bytes.NewReader(p))
	n, err := dec.DecodeMapLen()
	if err != nil {
		return nil
	}
	for range n {
		k, err := dec.DecodeString()
		if err != nil {
			return nil
		}
		if k == key {
			v, err := dec.DecodeInterface()
			if err != nil {
				return nil
			}
			return v
		}
		if err := dec.Skip(); err != nil {
			return nil
		}
	}
	return nil
}
