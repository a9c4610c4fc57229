package gateway

import (
	"context"
	"errors"
	"io"
	"log/slog"

	"muster.dev/services/ingest/gateway/answer"
	"muster.dev/services/ingest/gateway/body"
	"muster.dev/services/ingest/gateway/fastpath"
)

// read takes the body into the call's memory.
func (g *Gateway) read(c *call, src io.Reader, declared int64) *answer.Problem {
	p, wire, err := c.reader.Read(src, declared, c.encoding, g.cfg.Limits.body(), g.bytes)
	g.metrics.wire[c.stream].Add(float64(wire))
	if declared < 0 {
		g.chargeMore(c, wire)
	}
	if err == nil {
		c.body = p
		return nil
	}
	// Nobody reads what is left of a body that is too much or too slow.
	c.hangUp = true
	l := g.cfg.Limits
	switch {
	case errors.Is(err, body.ErrBudget):
		c.hangUp = false
		return c.problemf(answer.Overloaded, "", g.bytes.Limit(), "The gateway holds as many bytes as it may; the message was not taken. Send it again.")
	case errors.Is(err, body.ErrTooLarge):
		limit := l.Body
		if c.encoding != body.Identity && wire >= l.Compressed {
			limit = l.Compressed
		}
		return c.problemf(answer.TooLarge, "body", limit, "Too much: %v. Send several messages.", err)
	case errors.Is(err, body.ErrRatio):
		return c.problemf(answer.Ratio, "body", l.Ratio, "Too much: %v. Send it with less compression, or as several messages.", err)
	case errors.Is(err, body.ErrSlow):
		return c.problemf(answer.SlowBody, "body", int64(l.BodyTimeout.Seconds()), "The body did not come in time: %v. It was not stored.", err)
	case errors.Is(err, body.ErrDamaged):
		c.hangUp = false // all of it was read
		return c.problemf(answer.BadEncoding, "body", 0, "The body cannot be decompressed: %v.", err)
	default:
		return c.problemf(answer.CutBody, "body", 0, "The body did not come whole: %v.", err)
	}
}

// reply is what the device is told. Its body is valid until the call is released.
func (g *Gateway) reply(c *call, reason answer.Reason, refused *answer.Problem) fastpath.Answer {
	a := fastpath.Answer{Status: reason.Status(), Type: answer.Type, Close: c.hangUp}
	if refused != nil {
		a.Type, a.RetryAfter = answer.ProblemType, refused.Retry()
		c.reply = refused.Append(c.reply[:0])
		g.note(c, refused)
	} else {
		c.receipt.Duplicate = reason == answer.Duplicate
		c.reply = c.receipt.Append(c.reply[:0])
	}
	a.Body = c.reply
	return a
}

// note logs a refusal, for somebody who looks for one device's.
func (g *Gateway) note(c *call, p *answer.Problem) {
	ctx := context.Background()
	if g.log.Enabled(ctx, slog.LevelDebug) {
		g.log.DebugContext(ctx, "refused", "device", string(c.device.ID), "stream", c.stream.String(), "reason", p.Reason.String(), "detail", p.Detail)
	}
}
