package gateway

import (
	"crypto/sha256"
	"encoding/binary"
	"net/http"
	"sync"

	"muster.dev/platform/roster"
	"muster.dev/proto/batch"
	"muster.dev/proto/identity"
	"muster.dev/services/ingest/gateway/answer"
	"muster.dev/services/ingest/gateway/recent"
	"muster.dev/services/ingest/gateway/telegraf"
)

// whoseIsNamed says whether the path or the topic names the device that the message is of.
func (c *call) whoseIsNamed() bool { return c.agent != nil || c.whose != "" || c.topic.Device != "" }

// forMany says whether the body may be of devices that it names itself.
func (c *call) forMany() bool {
	if c.stream != telemetry || c.message != nil || c.whoseIsNamed() {
		return false
	}
	_, acts := c.g.roster.Acting(c.device.No)
	return acts
}

// mayBeForeign says whether the body may be Telegraf's: its device is named beside it, or its sender may speak for others.
// From nobody else would anything in it say whose it is.
func (c *call) mayBeForeign() bool {
	return c.stream == telemetry && c.whoseIsNamed() || c.forMany()
}

// isForeign says whether the body, which is there, is Telegraf's.
func (c *call) isForeign() bool {
	switch {
	case c.form == foreign:
		return true
	case c.form != easyJSON || len(c.body) == 0:
		return false
	case c.message != nil && c.body[0] != '{' && c.body[0] != '[': // lines: by MQTT nothing else says so
		return c.stream == telemetry && c.whoseIsNamed()
	}
	return c.mayBeForeign() && telegraf.Looks(c.body) // from most it may not, and they do not pay for a look
}

// parseForeign reads a body of one device as one message.
func (c *call) parseForeign() error {
	all, err := telegraf.Parse(c.body, telegraf.Settings{Device: string(c.device.ID), NowMS: c.at.UnixMilli()})
	if err != nil {
		return err
	}
	c.builder.Reset()
	c.derived = true
	for _, m := range all {
		m.AddTo(c.builder)
		c.derived = c.derived && m.Dated
	}
	return nil
}

// Streams of messages in the window of recent keys whose keys are made of their content.
const ofContent = 1 << 7

// derive makes the window know the message by its content, which has no key of its own: who repeats it to this gateway,
// since it got no answer, finds it there. The log and the tables know it as one without a key. Only of a message with
// timestamps its content says which it is.
func (c *call) derive() {
	sum := sha256.Sum256(c.value)
	c.derived = true
	c.content = recent.Key{
		Device: c.device.No, Stream: ofContent | uint8(c.stream),
		Boot: binary.BigEndian.Uint32(sum[:]), Seq: binary.BigEndian.Uint64(sum[4:]) & batch.MaxSeq,
	}
}

// chorus gathers what became of the messages of one body.
type chorus struct {
	g    *Gateway
	all  chan struct{} // closed when nothing is missing
	mu   sync.Mutex
	left int // guarded by mu
	over bool
	// voices are guarded by mu until the end.
	voices []voice
}

type voice struct {
	heard   bool
	reason  answer.Reason
	problem answer.Problem
}

func (ch *chorus) heard(c *call, f fate) {
	ch.mu.Lock()
	defer ch.mu.Unlock()
	if ch.over {
		return // it was counted as one of which nothing was heard
	}
	ch.hear(c.place, ch.voiceOf(c, f))
}

func (ch *chorus) voiceOf(c *call, f fate) voice {
	reason, p := ch.g.conclude(c, f)
	v := voice{heard: true, reason: reason}
	if p != nil {
		v.problem = *p
	}
	return v
}

// hear is called with mu held.
func (ch *chorus) hear(place int, v voice) {
	ch.voices[place] = v
	if ch.left--; ch.left == 0 {
		close(ch.all)
	}
}

// bytesOfCall is about what the memory of one message's call takes beside the message.
const bytesOfCall = 4 << 10

// publishForeign carries a body of Telegraf's to the log: a message for each device and time. Nothing of it is published
// unless all of it can be read, is of devices that the sender may speak for, and within their rates; and it is stored
// when all of it is.
func (g *Gateway) publishForeign(c *call, header http.Header) (answer.Reason, *answer.Problem) {
	s := telegraf.Settings{NowMS: c.at.UnixMilli()}
	if c.whoseIsNamed() {
		s.Device = string(c.device.ID)
	}
	messages, err := telegraf.Parse(c.body, s)
	if err != nil {
		p := c.unreadable(err)
		return p.Reason, p
	}
	if p := c.still(); p != nil {
		return p.Reason, p
	}
	room := int64(len(messages)) * bytesOfCall
	if !g.bytes.Take(room) {
		p := c.problemf(answer.Overloaded, "", g.bytes.Limit(), "The gateway holds as many bytes as it may; the metrics were not taken. Send them again.")
		return p.Reason, p
	}
	defer g.bytes.Give(room)
	calls, p := g.callsOf(c, messages)
	defer func() {
		for _, one := range calls {
			one.release()
		}
	}()
	if p != nil {
		return p.Reason, p
	}
	ch := &chorus{g: g, all: make(chan struct{}), left: len(calls), voices: make([]voice, len(calls))}
	for i, one := range calls {
		one.waiter, one.place = ch, i
		c.sum(one)
		if h := g.submit(one, header); h.known {
			v := voice{heard: true, reason: h.reason}
			if h.problem != nil {
				v.problem = *h.problem
			}
			ch.mu.Lock()
			ch.hear(i, v)
			ch.mu.Unlock()
		}
	}
	c.timer.Reset(g.cfg.AckTimeout)
	select {
	case <-ch.all:
		c.timer.Stop()
	case <-c.timer.C:
	}
	ch.mu.Lock()
	ch.over = true
	ch.mu.Unlock()
	return g.verdict(c, ch.voices)
}

// callsOf makes a call of each message, or says why there is none of any. What is there is the caller's to release.
func (g *Gateway) callsOf(c *call, messages []*telegraf.Message) (calls []*call, p *answer.Problem) {
	devices := map[string]*roster.Device{}
	sender := c.device
	if c.agent != nil {
		sender = c.agent
	}
	share := int64(len(c.body) / len(messages))
	for _, m := range messages {
		d := devices[m.Device]
		if d == nil {
			if d, p = g.spokenFor(c, m.Device); p != nil {
				return calls, p
			}
			devices[m.Device] = d
		}
		one := g.calls.Get().(*call)
		one.begin(c.stream)
		calls = append(calls, one)
		one.at, one.peer, one.seat = c.at, c.peer, c.seat
		one.setDevice(d)
		if d.No != sender.No {
			one.agent = sender
		}
		if p = one.fill(m); p != nil {
			c.problem = *p
			return calls, &c.problem
		}
	}
	if c.whoseIsNamed() {
		return calls, nil // it has paid
	}
	for _, one := range calls {
		if ok, wait := g.rates.Take(one.device.No, share, c.at); !ok {
			return calls, c.tooFast(wait)
		}
	}
	return calls, nil
}

// spokenFor finds a device that the sender speaks for in a body.
func (g *Gateway) spokenFor(c *call, name string) (*roster.Device, *answer.Problem) {
	if name == string(c.device.ID) {
		return c.device, nil
	}
	d, standing := g.roster.ActFor(c.device.No, identity.Device(name))
	if p := c.mayAct(name, &d, standing); p != nil {
		return nil, p
	}
	before := c.device
	c.device = &d
	p := c.otherRegion()
	c.device = before
	return &d, p
}

// fill makes the record's value of a message.
func (c *call) fill(m *telegraf.Message) *answer.Problem {
	c.builder.Reset()
	m.AddTo(c.builder)
	var err error
	if c.out, err = c.builder.AppendTo(c.out[:0]); err != nil {
		return c.unreadable(err)
	}
	c.body, c.form = c.out, compact
	if p := c.decodeBatch(); p != nil {
		return p
	}
	if m.Dated {
		c.derive()
	}
	return nil
}

// sum adds what a message of the body brings to what its sender is told.
func (c *call) sum(one *call) {
	r := &c.receipt
	r.Unkeyed = true
	r.Values += one.receipt.Values
	r.Faults += one.receipt.Faults
	left := answer.MaxQuarantined - len(r.Quarantined)
	r.Quarantined = append(r.Quarantined, one.receipt.Quarantined[:min(left, len(one.receipt.Quarantined))]...)
}

// verdict is the answer for the body as a whole. Each message is counted by what became of it, the one that stands for the
// body by handle.
func (g *Gateway) verdict(c *call, voices []voice) (answer.Reason, *answer.Problem) {
	g.metrics.received[c.stream].Add(int64(len(voices) - 1))
	stands, unlike, confirmed := 0, false, 0
	for i := range voices {
		v := &voices[i]
		if !v.heard {
			_, p := g.silent(c, false)
			v.reason, v.problem = p.Reason, *p
		}
		if v.reason.Accepted() {
			confirmed++
		}
	}
	for i := range voices {
		if voices[i].weight() > voices[stands].weight() {
			stands = i
		}
	}
	for i := range voices {
		unlike = unlike || voices[i].reason != voices[stands].reason && !voices[stands].reason.Accepted()
		if i != stands {
			g.metrics.answered[c.stream][voices[i].reason].Add(1)
		}
	}
	v := &voices[stands]
	if v.reason.Accepted() {
		return v.reason, nil
	}
	if unlike {
		// What is not stored may be said of all or of nothing: of some it would have those lost that are.
		return answer.LogFailed, c.problemf(answer.LogFailed, "", 0, "%d of %d messages that the metrics became were confirmed by the log, the others were not. Send all of them again.", confirmed, len(voices))
	}
	c.problem = v.problem
	return v.reason, &c.problem
}

// weight says which of many answers counts for all.
func (v *voice) weight() int {
	switch v.reason {
	case answer.Duplicate:
		return 0
	case answer.Stored:
		return 1
	}
	switch v.reason.Status() {
	case http.StatusServiceUnavailable:
		return 4
	case http.StatusTooManyRequests:
		return 3
	}
	return 2
}
