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

// fate is what became of a message that was handed over.
type fate struct {
	err    error
	joined bool // another's record was its own
}

// publish hands the message over and waits for the log's answer.
func (g *Gateway) publish(c *call, header http.Header) (answer.Reason, *answer.Problem) {
	h := g.submit(c, header)
	if h.known {
		return h.reason, h.problem
	}
	c.timer.Reset(g.cfg.AckTimeout)
	select {
	case err := <-c.acked:
		c.timer.Stop()
		return g.conclude(c, fate{err, h.joined})
	case <-c.timer.C:
		// The record stays with the log's client, which goes on trying, and with it the call's memory.
		c.spoiled.Store(true)
		return g.silent(c, h.joined)
	}
}

// handed is what became of a message at once.
type handed struct {
	known   bool // it needs no record: reason and problem are the answer, and nobody will hear of it again
	reason  answer.Reason
	problem *answer.Problem
	joined  bool // it has no record of its own: the same message is on its way already
}

// submit hands the message over and does not wait. Unless its fate is known at once, the call's waiter hears it, or
// acked does, maybe before submit returns: one who has a waiter does not touch the call any more, but to release it.
func (g *Gateway) submit(c *call, header http.Header) handed {
	c.holders.Add(1) // the log's answer, or the flight that is joined
	if c.keyed || c.derived {
		key := c.content
		if c.keyed {
			key = recent.Key{Device: c.device.No, Boot: c.boot, Seq: c.seq, Stream: uint8(c.stream)}
		}
		verdict, back := g.recent.Begin(key, record.Hash(c.value), &c.flight, c)
		switch verdict {
		case recent.Known:
			c.holders.Add(-1)
			return handed{known: true, reason: answer.Duplicate}
		case recent.Conflict:
			c.holders.Add(-1)
			g.tell(c, sign.KeyConflict, nil, 0)
			return handed{known: true, reason: answer.Conflict, problem: c.problemf(answer.Conflict, "seq", 0,
				"boot %d, seq %d was sent before with another payload: a seq is for one message, and for its retries as they were. Two devices under one identity look like this too.", c.boot, c.seq)}
		case recent.Flying:
			return handed{joined: true}
		}
		if back > 0 && c.keyed {
			g.wentBack(c, back)
		}
	}
	c.traced = g.trace(c, header)
	c.compose(c.traced)
	g.producer.TryPublish(&c.record, c.landed)
	return handed{}
}

// wentBack is for a seq below the highest of its boot. One who sends what it had stored says so, and is no sign.
func (g *Gateway) wentBack(c *call, back uint64) {
	c.receipt.Regressed = true
	if c.backlog {
		return
	}
	g.metrics.regressed.Inc()
	if back > reorder {
		g.tell(c, sign.SeqBack, nil, back)
	}
}

// conclude is the answer for a message whose fate is known.
func (g *Gateway) conclude(c *call, f fate) (answer.Reason, *answer.Problem) {
	if f.err != nil {
		p := c.unconfirmed(f.err)
		if c.traced != nil {
			c.traced.failed(f.err, p.Reason)
		}
		return p.Reason, p
	}
	if f.joined {
		return answer.Duplicate, nil
	}
	if c.traced != nil {
		c.traced.stored(&c.record)
	}
	g.metrics.accepted(c.stream, c.receipt.Values, c.faults, time.Since(c.at))
	return answer.Stored, nil
}

// silent is the answer for a message of which nothing was heard in time.
func (g *Gateway) silent(c *call, joined bool) (answer.Reason, *answer.Problem) {
	already := ""
	if joined {
		already = ", which was on its way already"
	}
	p := c.problemf(answer.LogSilent, "", int64(g.cfg.AckTimeout.Seconds()), "The log did not answer within %v, so nobody knows whether it has the message%s. Send it again under the same seq.", g.cfg.AckTimeout, already)
	if c.traced != nil {
		c.traced.failed(errSilent, p.Reason)
	}
	return p.Reason, p
}

var errSilent = errors.New("no answer in time")

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
	if c.keyed || c.derived {
		c.g.recent.Settle(&c.flight, err)
	}
	c.hear(fate{err: err})
}

// Joined is the answer that another's record got, for the same message.
func (c *call) Joined(err error) { c.hear(fate{err, true}) }

func (c *call) hear(f fate) {
	if c.waiter != nil {
		c.waiter.heard(c, f)
	} else {
		c.acked <- f.err
	}
	c.release()
}

// compose fills the record. Its parts lie in the call.
func (c *call) compose(traced *spans) {
	headers := append(c.headers[:0], kgo.RecordHeader{Key: record.HeaderDevice, Value: c.stampOf().Append(c.stamp[:0])})
	if c.schema != nil {
		headers = append(headers, kgo.RecordHeader{Key: record.HeaderSchema, Value: strconv.AppendUint(c.number[:0], uint64(c.batch.Schema), 10)})
	}
	if c.agent != nil {
		headers = append(headers, kgo.RecordHeader{Key: record.HeaderVia, Value: c.sender()})
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
