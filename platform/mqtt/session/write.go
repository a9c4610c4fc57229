package session

import (
	"time"

	"muster.dev/platform/mqtt/packet"
)

// answer sends what the handler said of a message, without waiting for the client.
func (c *Conn) answer(qos byte, id uint16, a Answer) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.open--
	if c.state == over {
		return
	}
	reason := a.Reason
	switch a.Kind {
	case Stored:
		reason = packet.Success
	case Slow:
		reason = packet.QuotaExceeded
	case Refused:
		if !reason.Failed() {
			reason = packet.ImplementationSpecific
		}
	case Unsure:
		if !reason.Failed() {
			reason = packet.ServerBusy
		}
	}
	hangUp := a.HangUp || a.Kind == Unsure
	switch {
	case qos == 0:
	case a.Kind == Skipped || a.Kind == Unsure:
		c.forget(id)
	case a.Kind == Stored:
		c.puback(packet.Puback{ID: id})
	case c.version != packet.V5: // no word for it, and a PUBACK would say that it is stored
		c.forget(id)
		hangUp = true
	default:
		c.puback(packet.Puback{ID: id, Reason: refusal(reason), Text: a.Text})
	}
	if hangUp && c.state == live {
		c.state, c.why = leaving, Ended{By: ByServer, Reason: farewell(reason), Text: a.Text}
		c.least = time.Now()
		c.latest = c.least.Add(c.settings.Limits.Pause)
		if c.version != packet.V5 {
			c.least = c.latest
		}
		c.wake()
	}
	c.flushLater()
	if c.waiting && !c.full() || c.state == leaving {
		c.tell()
	}
}

// farewell is the reason of a DISCONNECT where r is why: the standard has not every reason for every packet.
func farewell(r packet.Reason) packet.Reason {
	switch {
	case !r.Failed(), r == packet.Banned:
		return packet.AdministrativeAction
	case r == packet.PacketIDInUse, r == packet.PacketIDNotFound:
		return packet.ProtocolError
	case r == packet.ServerUnavailable:
		return packet.ServerBusy
	case r == packet.UnsupportedVersion, r == packet.BadClientID, r == packet.BadUserOrPassword, r == packet.BadAuthMethod:
		return packet.NotAuthorized
	case r > packet.WildcardNotSupported:
		return packet.ImplementationSpecific
	}
	return r
}

// refusal is the same for a PUBACK.
func refusal(r packet.Reason) packet.Reason {
	switch r {
	case packet.Unspecified, packet.NotAuthorized, packet.TopicNameInvalid, packet.QuotaExceeded, packet.PayloadFormatInvalid:
		return r
	}
	return packet.ImplementationSpecific
}

func (c *Conn) puback(k packet.Puback) {
	if len(k.Text) > 256 {
		k.Text = k.Text[:256]
	}
	if c.terse || 9+len(k.Text) > c.most {
		k.Text = ""
	}
	c.queue(9 + len(k.Text))
	c.outLen = len(k.Append(c.out.b[:c.outLen], c.version))
	for i := range c.ids {
		if c.ids[i].id == k.ID && !c.ids[i].answered {
			c.ids[i].answered = true
			c.answered++
			break
		}
	}
}

// queue makes room for n bytes more of answers; mu is held.
func (c *Conn) queue(n int) {
	switch {
	case c.out == nil:
		c.out, c.outLen = newBlock(n), 0
	case c.outLen+n > len(c.out.b):
		c.out = c.out.grown(c.outLen, c.outLen+n)
	}
}

// forget takes an identifier back that gets no answer.
func (c *Conn) forget(id uint16) {
	for i := range c.ids {
		if c.ids[i].id == id && !c.ids[i].answered {
			c.ids[i] = c.ids[len(c.ids)-1]
			c.ids = c.ids[:len(c.ids)-1]
			return
		}
	}
}

// flushLater starts to write what is queued, if nobody does and the reader would not come to it; mu is held.
func (c *Conn) flushLater() {
	if c.outLen == 0 || c.writing || !c.blocked {
		return
	}
	c.writing = true
	if c.flusher == nil {
		c.flusher = func() {
			defer c.flushers.Done()
			c.guard(c.flush)
		}
	}
	c.flushers.Add(1)
	go c.flusher()
}

// flush writes what is queued until nothing is. Its caller has set writing.
func (c *Conn) flush() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for c.outLen > 0 {
		if c.state == over {
			break // the reader writes the last words
		}
		b, n := c.out, c.outLen
		c.out, c.outLen = nil, 0
		if c.answered > 0 {
			c.taken()
		}
		if now := time.Now(); c.by.Before(now.Add(c.settings.Limits.Write)) { // seldom, because it costs
			c.by = now.Add(2 * c.settings.Limits.Write)
			_ = c.conn.SetWriteDeadline(c.by)
		}
		if c.waiting && !c.full() {
			c.tell()
		}
		c.mu.Unlock()
		_, err := c.conn.Write(b.b[:n])
		b.free()
		c.mu.Lock()
		if err != nil {
			if c.state != over {
				c.state, c.why = over, Ended{By: ByNetwork, Err: err}
			}
			c.refer = unsaid
			c.wake()
			break
		}
	}
	c.writing = false
}

// unsaid marks a connection on which nothing more can be written.
const unsaid = "\x00"

// taken frees the identifiers whose PUBACKs are about to be written: from then on the client may use them again.
func (c *Conn) taken() {
	kept := c.ids[:0]
	for _, f := range c.ids {
		if !f.answered {
			kept = append(kept, f)
		}
	}
	c.ids, c.answered = kept, 0
}

// say queues what the reader answers by itself.
func (c *Conn) say(n int, append func(dst []byte) []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.queue(n)
	c.outLen = len(append(c.out.b[:c.outLen]))
}
