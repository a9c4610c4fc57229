package gateway

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"time"

	"muster.dev/services/ingest/gateway/answer"
	"muster.dev/services/ingest/gateway/body"
	"muster.dev/services/ingest/gateway/repeat"
)

// read takes the body into the call's memory.
func (g *Gateway) read(c *call, src io.Reader, declared int64) *answer.Problem {
	p, wire, err := c.reader.Read(src, declared, c.encoding, g.cfg.Limits.body(), g.bytes)
	g.metrics.wire[c.stream].Add(float64(wire))
	if declared < 0 {
		g.rates.Charge(c.device.No, wire)
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

// confirm tells the device that the log has the message.
func (g *Gateway) confirm(w http.ResponseWriter, c *call, reason answer.Reason) {
	c.receipt.Duplicate = reason == answer.Duplicate
	c.reply = c.receipt.Append(c.reply[:0])
	w.Header()["Content-Type"] = typeJSON
	// An error means that the device has gone: it will send the same seq again.
	_, _ = w.Write(c.reply)
}

// refuse tells the device why not.
func (g *Gateway) refuse(w http.ResponseWriter, r *http.Request, c *call, p *answer.Problem) {
	h := w.Header()
	h["Content-Type"] = typeProblem
	if s := p.Retry(); s > 0 {
		h.Set("Retry-After", decimal(s))
	}
	if p.Reason == answer.Method {
		h.Set("Allow", http.MethodPost)
	}
	if c.hangUp {
		h.Set("Connection", "close")
	}
	c.reply = p.Append(c.reply[:0])
	w.WriteHeader(p.Reason.Status())
	if r.Method != http.MethodHead {
		_, _ = w.Write(c.reply) // as above
	}
	g.note(c, p)
}

// say tells what confirm and refuse tell, and whether the connection goes on.
func (g *Gateway) say(conn *line, c *call, reason answer.Reason, p *answer.Problem) (goesOn bool) {
	a := repeat.Answer{Status: reason.Status(), Type: answer.Type, Close: c.hangUp || g.draining.Load()}
	if p != nil {
		a.Type, a.RetryAfter = answer.ProblemType, p.Retry()
		c.reply = p.Append(c.reply[:0])
		g.note(c, p)
	} else {
		c.receipt.Duplicate = reason == answer.Duplicate
		c.reply = c.receipt.Append(c.reply[:0])
	}
	a.Body = c.reply
	c.wire = a.Append(c.wire[:0], time.Now())
	_, err := conn.Write(c.wire)
	return err == nil && !a.Close
}

// note logs a refusal, for somebody who looks for one device's.
func (g *Gateway) note(c *call, p *answer.Problem) {
	ctx := context.Background()
	if g.log.Enabled(ctx, slog.LevelDebug) {
		g.log.DebugContext(ctx, "refused", "device", string(c.device.ID), "stream", c.stream.String(), "reason", p.Reason.String(), "detail", p.Detail)
	}
}

// Header values that are shared by all answers and never changed.
var (
	typeJSON    = []string{answer.Type}
	typeProblem = []string{answer.ProblemType}
)
