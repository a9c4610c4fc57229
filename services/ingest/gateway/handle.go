package gateway

import (
	"io"
	"net/http"
	"runtime/debug"
	"strings"
	"time"

	"muster.dev/platform/roster"
	"muster.dev/services/ingest/gateway/answer"
	"muster.dev/services/ingest/gateway/body"
	"muster.dev/services/ingest/gateway/door"
	"muster.dev/services/ingest/gateway/fastpath"
)

// The endpoints.
const (
	pathTelemetry = "/v1/telemetry"
	pathEvents    = "/v1/events"
)

// form is how a body is written.
type form uint8

const (
	compact form = iota
	easyMsgPack
	easyJSON
	thingsBoard
	foreign // Telegraf's, see telegraf
)

// headerBacklog says that a message lay in a store, such as an agent's ring: its seq may lie far below what was sent
// since, and that is no sign of a clone.
const headerBacklog = "Muster-Backlog"

const typeCompact = "application/vnd.muster.batch+msgpack"

// heading is what a request's headers say of its body.
type heading struct {
	stream   stream
	form     form
	encoding body.Encoding
	backlog  bool   // it lay in a store before it was sent
	whose    string // the device that the path names; empty is the sender
}

// line is a connection of HTTP/1.1.
type line = fastpath.Conn[heading]

// caller is whose connection a request came on; line is nil over HTTP/2.
type caller struct {
	peer *door.Peer
	line *line
}

type callerKey struct{}

// handle is one request from its headers to its answer. It is counted in once and out once.
func (g *Gateway) handle(w http.ResponseWriter, r *http.Request) {
	s, whose := streamOf(r.URL.Path)
	g.metrics.received[s].Add(1)
	c := g.calls.Get().(*call)
	c.begin(s)
	c.whose = whose
	defer g.settle(c)
	who, _ := r.Context().Value(callerKey{}).(caller)
	src := bodyOf(r, who.peer)
	p := g.admit(c, r, who.peer)
	reason, p := g.take(c, p, src, r.ContentLength, r.Header)
	// Counted before it is said: whoever has the answer finds it in the counters.
	g.metrics.answered[s][reason].Add(1)
	if who.line != nil && reason.Accepted() {
		who.line.Learn(r, c.heading)
	}
	if p != nil {
		g.drain(w, r, c, p, src)
		if p.Reason == answer.Method {
			w.Header().Set("Allow", http.MethodPost)
		}
	}
	c.hangUp = g.tire(c, who.peer, reason) || c.hangUp
	said := g.reply(c, reason, p)
	_ = said.Send(w) // an error means that the device has gone, and will send the same seq again; or that it asked by HEAD
}

// again is a request whose head is the one of a message that was stored before it on its connection: handle, but for
// what the head says.
func (g *Gateway) again(conn *line, h heading, p []byte) (goesOn bool) {
	g.metrics.received[h.stream].Add(1)
	c := g.calls.Get().(*call)
	c.begin(h.stream)
	defer g.settle(c)
	c.heading = h
	refused := g.enter(c, door.PeerOf(conn))
	if refused == nil && c.whose != "" {
		refused = g.actFor(c, c.whose)
	}
	if refused == nil {
		refused = g.afford(c, int64(len(p)))
	}
	c.src.Reset(p)
	reason, refused := g.take(c, refused, &c.src, int64(len(p)), nil)
	g.metrics.answered[h.stream][reason].Add(1)
	c.hangUp = g.tire(c, c.peer, reason) || c.hangUp
	said := g.reply(c, reason, refused)
	c.wire = said.Append(c.wire[:0], time.Now())
	_, err := conn.Write(c.wire)
	return err == nil && !said.Close
}

// tire makes one wait who sends again and again what is refused, so that it keeps the gateway no busier than others do, and
// says whether its connection is to end. It holds up that connection alone. What the gateway cannot take for reasons of its
// own is nobody's fault.
func (g *Gateway) tire(c *call, peer *door.Peer, reason answer.Reason) (ends bool) {
	if peer == nil || reason.Accepted() || reason.Status() >= http.StatusInternalServerError {
		return false
	}
	sender, factor := c.device, 1.0
	if c.agent != nil {
		sender = c.agent
	}
	if _, acts := g.roster.Acting(sender.No); acts { // some of many may be refused, and the others are not to wait for them
		factor = g.cfg.Limits.AgentFactor
	}
	wait, ends := peer.Refused(time.Now(), factor)
	if wait > 0 {
		time.Sleep(wait)
	}
	return ends
}

// settle ends a call, also one that panics: what it holds is given back, and net/http ends its connection and no other.
func (g *Gateway) settle(c *call) {
	if v := recover(); v != nil {
		c.spoiled.Store(true) // nobody knows who still looks at it
		c.release()
		g.log.Error("a request panicked", "device", string(c.device.ID), "stream", c.stream.String(), "panic", v, "stack", string(debug.Stack()))
		panic(http.ErrAbortHandler) // which net/http does not log again
	}
	c.release()
}

// take carries the message to the log, or says why not; refused is why it goes no further than its headers. header is
// nil when it holds nothing that take could want.
func (g *Gateway) take(c *call, refused *answer.Problem, src io.Reader, declared int64, header http.Header) (answer.Reason, *answer.Problem) {
	p := refused
	if p != nil {
		return p.Reason, p
	}
	if !g.requests.Take(1) {
		p = c.crowded()
		return p.Reason, p
	}
	defer g.requests.Give(1)
	if p = g.read(c, src, declared); p != nil {
		return p.Reason, p
	}
	if c.isForeign() {
		return g.publishForeign(c, header)
	}
	if p = c.understand(); p != nil {
		return p.Reason, p
	}
	return g.publish(c, header)
}

// understand makes the record's value of a body that is there.
func (c *call) understand() *answer.Problem {
	if p := c.decode(); p != nil {
		if p.Reason == answer.DeviceMismatch {
			c.g.tellOfAnother(c)
		}
		return p
	}
	return c.still()
}

// crowded is the answer when the gateway works on as much as it may.
func (c *call) crowded() *answer.Problem {
	most := c.g.requests.Limit()
	return c.problemf(answer.Overloaded, "", most, "The gateway works on %d requests, which is its limit; the message was not read. Send it again.", most)
}

// admit decides by the headers alone.
func (g *Gateway) admit(c *call, r *http.Request, peer *door.Peer) *answer.Problem {
	if c.stream == noStream {
		return c.problemf(answer.NotFound, "", 0, "There is nothing at %.100q: send telemetry to %s and device events to %s.", r.URL.Path, pathTelemetry, pathEvents)
	}
	if r.Method != http.MethodPost {
		return c.problemf(answer.Method, "", 0, "%s takes POST, not %.20s.", r.URL.Path, r.Method)
	}
	if p := g.enter(c, peer); p != nil {
		return p
	}
	if c.whose != "" {
		if p := g.actFor(c, c.whose); p != nil {
			return p
		}
	}
	if p := c.contentType(r); p != nil {
		return p
	}
	c.backlog = r.Header.Get(headerBacklog) == "1"
	return g.afford(c, r.ContentLength)
}

// afford decides whether the device, and the gateway, can afford a body of a declared length, below 0 for none.
func (g *Gateway) afford(c *call, declared int64) *answer.Problem {
	limit, field := g.cfg.Limits.Body, "body"
	if c.encoding != body.Identity && g.cfg.Limits.Compressed < limit {
		limit, field = g.cfg.Limits.Compressed, "compressed body"
	}
	if declared > limit {
		return c.problemf(answer.TooLarge, field, limit, "The %s has %d bytes, the limit is %d: send several messages.", field, declared, limit)
	}
	// A body whose length is not declared is charged when it has come.
	if ok, wait := g.charge(c, max(declared, 0)); !ok {
		return c.tooFast(wait)
	}
	if g.producer.Stalled() {
		return c.problemf(answer.LogStalled, "", 0, "The log has not answered for a while. Send the message again under the same seq.")
	}
	return nil
}

// enter finds out who sends a message and whether it may.
func (g *Gateway) enter(c *call, peer *door.Peer) *answer.Problem {
	if p := g.judge(c, peer); p != nil {
		return p
	}
	c.peer, c.seat = peer, peer.Seat
	if kinds, other := c.seat.Came(c.at); kinds != nil {
		for _, kind := range kinds {
			g.tell(c, kind, &other, 0)
		}
	}
	return nil
}

// judge finds out who is there and whether it may speak.
func (g *Gateway) judge(c *call, peer *door.Peer) *answer.Problem {
	if g.draining.Load() {
		return c.problemf(answer.Draining, "", 0, "The gateway is stopping. Connect again and send the same seq.")
	}
	if peer == nil {
		return c.problemf(answer.BadIdentity, "certificate", 0, "The connection has no identity.")
	}
	if peer.Err != nil {
		c.hangUp = true
		return c.problemf(answer.BadIdentity, "certificate", 0, "The client certificate names no device of this fleet: %v.", peer.Err)
	}
	if c.at.After(peer.Until) {
		c.hangUp = true
		return c.problemf(answer.BadIdentity, "certificate", 0, "The client certificate has expired on %s, while the connection was open. Renew it and connect again.", peer.Until.UTC().Format(time.RFC3339))
	}
	if peer.Crowded {
		c.hangUp = true
		return c.problemf(answer.DeviceConnections, "", int64(g.cfg.Limits.ConnectionsPerDevice),
			"The device holds %d connections already, which is the limit; the message was not read. Use one of them.", g.cfg.Limits.ConnectionsPerDevice)
	}
	if age := g.roster.Age(); age > g.cfg.RosterMaxAge {
		return c.problemf(answer.RosterStale, "", 0, "The gateway cannot tell who is enrolled: its copy of the registry may be out of date. Send the message again under the same seq.")
	}
	v := g.desk.Look(&peer.Card)
	if v.Standing != roster.Good {
		return c.standing(v, peer)
	}
	c.setDevice(&v.Device)
	return c.region()
}

// still asks again once the message is there. Its body may have taken as long as bodies may, and a device that was held
// off, ended or given to another region meanwhile is as much refused as one that begins now. As a rule nothing happened,
// and it costs a comparison.
func (c *call) still() *answer.Problem {
	if c.agent != nil {
		return c.stillActs()
	}
	v := c.g.desk.Look(&c.peer.Card)
	if &v.Device == c.device {
		return nil
	}
	if v.Standing != roster.Good {
		return c.standing(v, c.peer)
	}
	c.setDevice(&v.Device)
	return c.region()
}

func (c *call) setDevice(d *roster.Device) {
	c.device = d
	c.key = append(c.key[:0], d.ID...)
}

// contentType reads how the body is written and compressed.
func (c *call) contentType(r *http.Request) *answer.Problem {
	kind := r.Header.Get("Content-Type")
	if i := strings.IndexByte(kind, ';'); i >= 0 {
		kind = kind[:i] // a charset says nothing of these forms
	}
	switch kind = strings.TrimSpace(kind); {
	case strings.EqualFold(kind, typeCompact) && c.stream == telemetry:
		c.form = compact
	case strings.EqualFold(kind, "application/msgpack"):
		c.form = easyMsgPack
	case strings.EqualFold(kind, "application/json"):
		c.form = easyJSON
	case strings.EqualFold(kind, "text/plain") && c.mayBeForeign():
		c.form = foreign
	case c.stream == events:
		return c.problemf(answer.MediaType, "Content-Type", 0, "%s takes application/msgpack and application/json, not %.100q.", pathEvents, kind)
	default:
		return c.problemf(answer.MediaType, "Content-Type", 0, "%s takes %s, application/msgpack and application/json, not %.100q.", pathTelemetry, typeCompact, kind)
	}
	switch lines := r.Header["Content-Encoding"]; {
	case len(lines) == 0:
		c.encoding = body.Identity
	case len(lines) == 1 && (lines[0] == "" || strings.EqualFold(lines[0], "identity")):
		c.encoding = body.Identity
	case len(lines) == 1 && strings.EqualFold(lines[0], "gzip"):
		c.encoding = body.Gzip
	case len(lines) == 1 && strings.EqualFold(lines[0], "zstd"):
		c.encoding = body.Zstd
	default:
		return c.problemf(answer.ContentEncoding, "Content-Encoding", 0, "The body may be compressed once, by gzip or zstd, not by %.100q.", strings.Join(lines, ", "))
	}
	return nil
}
