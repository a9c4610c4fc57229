package gateway

import (
	"strconv"

	"github.com/twmb/franz-go/pkg/kgo"

	"muster.dev/proto/batch"
	"muster.dev/proto/event"
	"muster.dev/proto/record"
	"muster.dev/services/ingest/gateway/answer"
)

// decodeEvents reads a message of device events. Whatever form it came in, the log holds one.
func (c *call) decodeEvents() *answer.Problem {
	parse := event.ParseDeviceMsgPack
	if c.form == easyJSON {
		parse = event.ParseDeviceJSON
	}
	m, err := parse(c.body)
	if err != nil {
		return c.unreadable(err)
	}
	if p := c.namesDevice(); p != nil {
		return p
	}
	if c.out, err = m.AppendTo(c.out[:0]); err != nil {
		return c.unreadable(err)
	}
	c.value = c.out
	c.keyed, c.boot, c.seq = m.Keyed, m.Boot, m.Seq
	c.receipt.Unkeyed = !m.Keyed
	oldest, newest := batch.Bounds(c.at.UnixMilli(), c.device.History)
	for i := range m.Events {
		e := &m.Events[i]
		reason := ""
		switch {
		case e.TS < oldest:
			reason = batch.ReasonTimePast
		case e.TS > newest:
			reason = batch.ReasonTimeFuture
		default:
			continue
		}
		c.faults = append(c.faults, batch.Fault{Step: i, Metric: e.Type, Reason: reason})
		if len(c.receipt.Quarantined) < answer.MaxQuarantined {
			c.receipt.Quarantined = append(c.receipt.Quarantined, answer.Quarantined{Metric: e.Type, Step: i, TS: e.TS, Reason: reason})
		}
	}
	c.receipt.Values = len(m.Events) - len(c.faults)
	c.receipt.Faults = len(c.faults)
	return nil
}

// cloudEvent gives the headers of CloudEvents 1.0, Kafka binding, binary mode: events are few and people read them.
func (c *call) cloudEvent() []kgo.RecordHeader {
	id := "unkeyed/" + strconv.FormatInt(c.at.UnixNano(), 10)
	if c.keyed {
		id = strconv.FormatUint(uint64(c.boot), 10) + "/" + strconv.FormatUint(c.seq, 10)
	}
	return []kgo.RecordHeader{
		{Key: record.HeaderType, Value: []byte(event.TypeDevice)},
		{Key: "ce_specversion", Value: []byte("1.0")},
		{Key: "ce_id", Value: []byte(id)},
		{Key: "ce_source", Value: []byte("/muster/device/" + string(c.device.ID))},
		{Key: "content-type", Value: []byte("application/msgpack")},
	}
}
