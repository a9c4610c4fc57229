package gateway

import (
	"crypto/rand"
	"errors"
	"fmt"
	"runtime/debug"
	"sync"
	"time"

	"muster.dev/platform/mqtt/packet"
	"muster.dev/platform/mqtt/session"
	"muster.dev/services/ingest/gateway/answer"
	"muster.dev/services/ingest/gateway/door"
	"muster.dev/services/ingest/gateway/standing"
	"muster.dev/services/ingest/gateway/topic"
)

// link is one connection of MQTT. Its messages go the way of HTTP's, in the goroutine that reads the connection; but what
// the log says of them is heard in the log's client, which finishes the call and goes on.
type link struct {
	q    *mqtt
	g    *Gateway
	peer *door.Peer
	id   string // the client identifier that it sits under; empty is none

	// The reader's alone.
	conn  *session.Conn
	said  []byte      // the topic of the last message,
	meant topic.Topic // what it means,
	wrong error       // or why it means nothing

	mu          sync.Mutex
	first, last *call       // guarded by mu: messages with the log, oldest first
	timer       *time.Timer // guarded by mu: nil until the first message
	armed       bool        // guarded by mu
}

// Connect lets a device in. What only may pass, as quarantine, is told at each message.
func (l *link) Connect(conn *session.Conn, h *session.Hello) (session.Refusal, bool) {
	c := l.g.calls.Get().(*call)
	c.begin(noStream)
	defer c.release()
	if p := l.g.judge(c, l.peer); p != nil && p.Reason != answer.Isolated {
		return session.Refusal{Reason: connackOf(p.Reason), Text: words(p), ServerReference: p.Gateway}, false
	}
	device := l.peer.Device
	if !clientID(h.ClientID, device) {
		return session.Refusal{Reason: packet.BadClientID,
			Text: fmt.Sprintf("The client identifier has to be the device's id, %q as the certificate has it, or empty.", device)}, false
	}
	if h.ClientID == "" {
		h.Assigned = string(device) + assigned + rand.Text()[:12]
	}
	l.conn, l.id = conn, h.ClientID
	if before := l.q.sit(l); before != nil {
		before.conn.End(packet.SessionTakenOver, "Another connection has come under this client identifier: one device holds one.", "")
	}
	l.peer.Farewell(l.farewell)
	l.q.metrics.came(h.Version)
	return session.Refusal{}, true
}

// Closed is the end of the connection. What the log still has is heard all the same.
func (l *link) Closed(conn *session.Conn, _ session.Ended) {
	l.q.rise(l)
	l.q.metrics.went(conn.Version())
}

// farewell ends the connection in words, for what the registry says now.
func (l *link) farewell(v *standing.Verdict) {
	c := l.g.calls.Get().(*call)
	c.begin(noStream)
	defer c.release()
	p := c.standing(v, l.peer)
	l.conn.End(disconnectOf(p.Reason), words(p), "")
}

// Publish is one message, from its arrival until it is with the log or answered. It is counted in once and out once.
func (l *link) Publish(_ *session.Conn, m *session.Message) {
	if l.said == nil || string(m.Topic) != string(l.said) {
		l.said = append(l.said[:0], m.Topic...)
		l.meant, l.wrong = topic.Parse(string(m.Topic))
	}
	s := telemetry
	switch {
	case l.wrong != nil:
		s = noStream
	case l.meant.Events:
		s = events
	}
	l.g.metrics.received[s].Add(1)
	c := l.g.calls.Get().(*call)
	c.begin(s)
	c.waiter, c.message, c.topic = l, m, l.meant
	defer l.settle(c)
	if reason, p, known := l.take(c); known {
		l.idle(c)
		ends := l.g.tire(c, l.peer, reason)
		l.answer(c, reason, p)
		if ends {
			l.conn.End(packet.MessageRateTooHigh, "Message after message is refused: mend what is sent, and connect again.", "")
		}
	}
}

// settle ends the reader's part in a call, also in one that panics: the session ends its connection then and no other.
func (l *link) settle(c *call) {
	if v := recover(); v != nil {
		c.spoiled.Store(true) // nobody knows who still looks at it
		l.g.log.Error("an MQTT message panicked", "device", string(c.device.ID), "stream", c.stream.String(), "panic", v, "stack", string(debug.Stack()))
		l.conn.End(packet.Unspecified, "the gateway is at fault", "")
		if !c.handed {
			l.idle(c)
			c.message.Done(session.Answer{Kind: session.Unsure})
		}
	}
	c.release()
}

// take carries the message to the log; known says that it needs no more than the answer.
func (l *link) take(c *call) (reason answer.Reason, p *answer.Problem, known bool) {
	g, m := l.g, c.message
	if p = l.admit(c); p != nil {
		return p.Reason, p, true
	}
	if !g.requests.Take(1) {
		p = c.crowded()
		return p.Reason, p, true
	}
	c.working = true
	g.metrics.wire[c.stream].Add(float64(len(m.Payload)))
	c.body = m.Payload
	if p = c.understand(); p != nil {
		return p.Reason, p, true
	}
	if c.form == compact {
		// The message's memory is given back when the client is answered, and that may be before the log's client is done.
		c.out = append(c.out[:0], c.value...)
		c.value = c.out
	}
	header := c.traceparent()
	c.handed = true
	l.push(c)
	h := g.submit(c, header)
	if !h.known {
		return 0, nil, false
	}
	if !l.pull(c) { // its time was up meanwhile
		c.message.Done(session.Answer{Kind: session.Unsure})
		return 0, nil, false
	}
	return h.reason, h.problem, true
}

// admit decides by everything but the body.
func (l *link) admit(c *call) *answer.Problem {
	if l.wrong != nil && !errors.Is(l.wrong, topic.ErrDevice) {
		return c.problemf(answer.NotFound, "topic", 0, "Nothing is sent to the topic %.100q: telemetry goes to %q, device events to %q.", c.message.Topic, "telemetry", "events")
	}
	if p := l.g.enter(c, l.peer); p != nil {
		return p
	}
	if l.wrong != nil {
		return c.mayNotAct("")
	}
	if d := c.topic.Device; d != "" {
		if p := l.g.actFor(c, string(d)); p != nil {
			return p
		}
	}
	if p := c.bodyForm(); p != nil {
		return p
	}
	if back, ok := c.message.UserProperty(propertyBacklog); ok {
		c.backlog = string(back) == "1"
	}
	return l.g.afford(c, int64(len(c.message.Payload)))
}

// heard is what became of a message, from the log's client.
func (l *link) heard(c *call, f fate) {
	if !l.pull(c) { // it was counted when its time was up, and the connection ended
		if c.traced != nil {
			c.traced.failed(errSilent, answer.LogSilent)
		}
		c.message.Done(session.Answer{Kind: session.Unsure})
		return
	}
	reason, p := l.g.conclude(c, f)
	l.answer(c, reason, p)
}

// answer counts a message out, and tells the client.
func (l *link) answer(c *call, reason answer.Reason, p *answer.Problem) {
	g := l.g
	g.metrics.answered[c.stream][reason].Add(1) // before it is said: whoever has the answer finds it in the counters
	l.idle(c)
	if p != nil {
		g.note(c, p)
		if reason == answer.OtherRegion && c.hangUp {
			l.conn.End(packet.ServerMoved, words(p), p.Gateway)
		}
	}
	said := say(reason, p, c.topic.OnError, l.conn.Version())
	if said.Kind == session.Unsure && !c.hangUp && (reason == answer.Revoked || reason == answer.OtherRegion) {
		said.Kind, said.Reason = session.Refused, packet.NotAuthorized // of a device that is spoken for: the agent goes on
	}
	c.message.Done(said)
}

// idle gives back what a call at work holds.
func (l *link) idle(c *call) {
	if c.working {
		c.working = false
		l.g.requests.Give(1)
	}
}

// push enters a message among those with the log. There is one timer for all of a connection, which looks at the oldest.
func (l *link) push(c *call) {
	l.mu.Lock()
	defer l.mu.Unlock()
	c.before, c.after, c.pending = l.last, nil, true
	if l.last != nil {
		l.last.after = c
	} else {
		l.first = c
	}
	l.last = c
	switch {
	case l.armed:
		return
	case l.timer == nil:
		l.timer = time.AfterFunc(l.g.cfg.AckTimeout, l.overdue)
	default:
		l.timer.Reset(l.g.cfg.AckTimeout)
	}
	l.armed = true
}

// pull takes it out again, and says whether it was still there.
func (l *link) pull(c *call) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.remove(c)
}

func (l *link) remove(c *call) bool {
	if !c.pending {
		return false
	}
	if c.before != nil {
		c.before.after = c.after
	} else {
		l.first = c.after
	}
	if c.after != nil {
		c.after.before = c.before
	} else {
		l.last = c.before
	}
	c.before, c.after, c.pending = nil, nil, false
	return true
}

// overdue is when the oldest message could have been with the log for too long. If it was, nobody knows what became of
// it: it gets no PUBACK, and the connection ends, so that the client sends it again.
func (l *link) overdue() {
	var over int
	l.mu.Lock()
	now, patience := time.Now(), l.g.cfg.AckTimeout
	for c := l.first; c != nil && now.Sub(c.at) >= patience; c = l.first {
		l.remove(c)
		l.g.metrics.answered[c.stream][answer.LogSilent].Add(1)
		l.idle(c)
		over++
	}
	if l.armed = l.first != nil; l.armed {
		l.timer.Reset(patience - now.Sub(l.first.at))
	}
	l.mu.Unlock()
	if over > 0 {
		l.conn.End(packet.ServerBusy, fmt.Sprintf("The log did not answer within %v, so nobody knows whether it has %d of the messages. Send them again under the same seq.", patience, over), "")
	}
}
