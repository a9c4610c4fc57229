package gateway

import (
	"errors"
	"net/http"
	"strconv"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"muster.dev/platform/eventlog"
	"muster.dev/proto/record"
	"muster.dev/services/ingest/gateway/answer"
	"muster.dev/services/ingest/gateway/recent"
	"muster.dev/services/ingest/sign"
)

// publish hands the record over and waits for the log's answer.
func (g *Gateway) publish(c *call, header http.Header) (answer.Reason, *answer.Problem) {
	if c.keyed {
		key := recent.Key{Device: c.device.No, Boot: c.boot, Seq: c.seq, Stream: uint8(c.stream)}
		verdict, flight, back := g.recent.Begin(key, record.Hash(c.value), &c.flight)
		switch verdict {
		case recent.Known:
			return answer.Duplicate, nil
		case recent.Conflict:
			g.tell(c, sign.KeyConflict, nil, 0)
			p := c.problemf(answer.Conflict, "seq", 0,
				"boot %d, seq %d was sent before with another payload: a seq is for one message, and for its retries as they were. Two devices under one identity look like this too.", c.boot, c.seq)
			return p.Reason, p
		case recent.Flying:
			return g.join(c, flight)
		}
		if back > 0 {
			g.metrics.regressed.Inc()
			c.receipt.Regressed = true
			if back > reorder {
				g.tell(c, sign.SeqBack, nil, back)
			}
		}
	}
	traced := g.trace(c, header)
	c.compose(traced)
	c.holders.Add(1) // the log's answer
	g.producer.TryPublish(&c.record, c.landed)
	c.timer.Reset(g.cfg.AckTimeout)
	select {
	case err := <-c.acked:
		c.timer.Stop()
		if err != nil {
			p := c.unconfirmed(err)
			if traced != nil {
				traced.failed(err, p.Reason)
			}
			return p.Reason, p
		}
		if traced != nil {
			traced.stored(&c.record)
		}
		g.metrics.accepted(c.stream, c.receipt.Values, c.faults, time.Since(c.at))
		return answer.Stored, nil
	case <-c.timer.C:
		// The record stays with the log's client, which goes on trying, and with it the call's memory.
		c.spoiled.Store(true)
		p := c.problemf(answer.LogSilent, "", int64(g.cfg.AckTimeout.Seconds()), "The log did not answer within %v, so nobody knows whether it has the message. Send it again under the same seq.", g.cfg.AckTimeout)
		if traced != nil {
			traced.failed(errSilent, p.Reason)
		}
		return p.Reason, p
	}
}

var errSilent = errors.New("no answer in time")

// join waits for the same message, which another request has on its way.
func (g *Gateway) join(c *call, flight *recent.Flight) (answer.Reason, *answer.Problem) {
	c.timer.Reset(g.cfg.AckTimeout)
	select {
	case <-flight.Done():
		c.timer.Stop()
		if err := flight.Err(); err != nil {
			p := c.unconfirmed(err)
			return p.Reason, p
		}
		return answer.Duplicate, nil
	case <-c.timer.C:
		p := c.problemf(answer.LogSilent, "", int64(g.cfg.AckTimeout.Seconds()), "The log did not answer within %v, so nobody knows whether it has the message, which was on its way already. Send it again under the same seq.", g.cfg.AckTimeout)
		return p.Reason, p
	}
}

// unconfirmed is the answer for a record that the log's client gave back.
func (c *call) unconfirmed(err error) *answer.Problem {
	if errors.Is(err, eventlog.ErrFull) {
		return c.problemf(answer.LogFull, "", 0, "The gateway holds as many messages for the log as it may; this one was not taken. Send it again.")
	}
	return c.problemf(answer.LogFailed, "", 0, "The log did not confirm the message, so nobody knows whether it has it. Send it again under the same seq.")
}

// land is the log's answer. It runs in the log's client, one after another, and must not wait.
func (c *call) land(_ *kgo.Record, err error) {
	if err != nil {
		// The client may still look at what it gave up: only what the log has acknowledged is used again.
		c.spoiled.Store(true)
	}
	if c.keyed {
		c.g.recent.Settle(&c.flight, err)
		if c.flight.Joined() {
			c.spoiled.Store(true) // others may still look at the flight
		}
	}
	c.acked <- err
	c.release()
}

// compose fills the record. Its parts lie in the call.
func (c *call) compose(traced *spans) {
	headers := append(c.headers[:0], kgo.RecordHeader{Key: record.HeaderDevice, Value: c.stampOf().Append(c.stamp[:0])})
	if c.schema != nil {
		headers = append(headers, kgo.RecordHeader{Key: record.HeaderSchema, Value: strconv.AppendUint(c.number[:0], uint64(c.batch.Schema), 10)})
	}
	if traced != nil {
		headers = append(headers, kgo.RecordHeader{Key: record.HeaderTraceparent, Value: traced.traceparent()})
	}
	if c.stream == events {
		headers = append(headers, c.cloudEvent()...)
	}
	c.record = kgo.Record{
		Topic: c.stream.topic(), Key: c.key, Value: c.value, Headers: headers,
		Timestamp: time.UnixMilli(c.at.UnixMilli()), // what Judge judged by
	}
}

// path is where the stream's messages are posted.
func (s stream) path() string {
	if s == events {
		return pathEvents
	}
	return pathTelemetry
}

// topic is where the stream's messages go.
func (s stream) topic() string {
	if s == events {
		return record.TopicEvents
	}
	return record.TopicTelemetry
}

// stampOf is what the sink decides by.
func (c *call) stampOf() record.Device {
	d := c.device
	return record.Device{No: d.No, Profile: d.Profile, Class: d.Class, History: d.History}
}
