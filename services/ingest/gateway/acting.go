package gateway

import (
	"strings"
	"time"

	"muster.dev/platform/roster"
	"muster.dev/proto/identity"
	"muster.dev/proto/record"
	"muster.dev/services/ingest/gateway/answer"
)

// acting is what a call has more whose message another sends than the device that it is of: an edge gateway's, a Telegraf's.
// The message is the device's in every way; whose connection it is, and the seat that tells of clones, are the agent's.
type acting struct {
	agent  *roster.Device // who sends it; nil is the device itself. Not to be written to
	spoken roster.Device  // the memory of device, then
	sawAt  uint64         // the roster's version by which the agent might
	via    [4]byte
}

// actFor makes the call one of the device of this name, if the one who was let in may speak for it. Whoever may not
// hears the same of every name, whether there is such a device or not.
func (g *Gateway) actFor(c *call, name string) *answer.Problem {
	if name == string(c.device.ID) {
		return nil
	}
	agent, version := c.device, g.roster.Version()
	d, standing := g.roster.ActFor(agent.No, identity.Device(name))
	if p := c.mayAct(name, &d, standing); p != nil {
		return p
	}
	c.agent, c.sawAt, c.spoken = agent, version, d
	c.setDevice(&c.spoken)
	return c.otherRegion()
}

// mayAct is why the one who was let in may not speak for a device; nil is that it may.
func (c *call) mayAct(name string, d *roster.Device, standing roster.Standing) *answer.Problem {
	switch standing {
	case roster.Good:
		return nil
	case roster.Quarantined:
		return c.problemf(answer.Isolated, fieldDevice, 0, "Device %q is in quarantine: an operator has isolated it, and takes nothing of it until it is released. Keep the message, and ask the operator.", d.ID)
	case roster.DeviceRevoked:
		return c.problemf(answer.Revoked, fieldDevice, 0, "Device %q is revoked, and nothing more is taken of it.", d.ID)
	}
	return c.mayNotAct(name)
}

// mayNotAct is what everybody hears who has no right to a device, and who names what is none.
func (c *call) mayNotAct(name string) *answer.Problem {
	c.named = name
	c.g.tellOfAnother(c)
	return c.problemf(answer.DeviceMismatch, fieldDevice, 0, "The certificate of %q may not speak for the device that the message is said to be of. An operator lets it with \"muster device act-for\".", c.peer.Device)
}

const fieldDevice = "device"

// otherRegion is region for a device that is spoken for: its agent may have others here.
func (c *call) otherRegion() *answer.Problem {
	hangUp := c.hangUp
	p := c.region()
	c.hangUp = hangUp
	return p
}

// stillActs asks again once the message is there, see still.
func (c *call) stillActs() *answer.Problem {
	g := c.g
	version := g.roster.Version()
	if version == c.sawAt {
		return nil
	}
	v := g.desk.Look(&c.peer.Card)
	if v.Standing != roster.Good {
		return c.standing(v, c.peer)
	}
	id := c.device.ID
	d, standing := g.roster.ActFor(v.Device.No, id)
	if p := c.mayAct(string(id), &d, standing); p != nil {
		return p
	}
	c.agent, c.sawAt, c.spoken = &v.Device, version, d
	c.setDevice(&c.spoken)
	return c.otherRegion()
}

// charge takes what a message costs from the bucket of its device, and from its agent's, which is larger by far. A message
// of an agent's that says for itself whose it is costs the agent alone: its devices pay when they are known.
func (g *Gateway) charge(c *call, n int64) (ok bool, wait time.Duration) {
	switch {
	case c.agent != nil:
		if ok, wait := g.agents.Take(c.agent.No, n, c.at); !ok {
			return ok, wait
		}
	case (c.form == foreign || c.form == easyJSON) && c.forMany():
		return g.agents.Take(c.device.No, n, c.at)
	}
	return g.rates.Take(c.device.No, n, c.at)
}

// chargeMore is for bytes that were not declared.
func (g *Gateway) chargeMore(c *call, n int64) {
	if c.agent != nil {
		g.agents.Charge(c.agent.No, n)
	}
	g.rates.Charge(c.device.No, n)
}

// sender is the value of the header that names the agent.
func (c *call) sender() []byte { return record.AppendVia(c.via[:0], c.agent.No) }

// tooFast is the answer for one who sends more than it may.
func (c *call) tooFast(wait time.Duration) *answer.Problem {
	l := &c.g.cfg.Limits
	p := c.problemf(answer.DeviceRate, "", int64(l.DeviceMessages),
		"The device may send %g messages and %g bytes a second; the message was not read. Keep it, and send it after Retry-After.", l.DeviceMessages, l.DeviceBytes)
	p.RetryAfter = int((wait + time.Second - 1) / time.Second)
	return p
}

// streamOf is what is sent to a path, and the device that the path names, which is empty if it names none.
func streamOf(path string) (s stream, whose string) {
	switch path {
	case pathTelemetry:
		return telemetry, ""
	case pathEvents:
		return events, ""
	}
	if whose, ok := strings.CutPrefix(path, pathTelemetry+"/"); ok && isOne(whose) {
		return telemetry, whose
	}
	if whose, ok := strings.CutPrefix(path, pathEvents+"/"); ok && isOne(whose) {
		return events, whose
	}
	return noStream, ""
}

// isOne says whether a path's rest is one part.
func isOne(rest string) bool { return rest != "" && strings.IndexByte(rest, '/') < 0 }
