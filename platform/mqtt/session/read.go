package session

import (
	"errors"
	"io"
	"net"
	"os"
	"time"

	"muster.dev/platform/mqtt/packet"
)

// run reads until the connection is to end.
func (c *Conn) run() {
	c.idle = c.settings.Limits.Connect
	c.begin(c.settings.Limits.Connect) // for all of CONNECT, and the handshake if there is one to come
	if !c.greet() {
		return
	}
	for c.await() {
		c.inside = false
		h, ok := c.header(c.settings.Limits.Packet)
		if !ok || !c.packet(h) {
			return
		}
	}
}

// fault ends the connection for what the client did.
func (c *Conn) fault(err error) bool {
	if e, ok := errors.AsType[*packet.Error](err); ok {
		c.end(Ended{By: ByServer, Reason: e.Reason, Text: e.Detail}, "")
	} else {
		c.end(Ended{By: ByNetwork, Err: err}, "")
	}
	return false
}

func (c *Conn) refuse(r packet.Reason, text string) bool {
	c.end(Ended{By: ByServer, Reason: r, Text: text}, "")
	return false
}

// await writes what is queued, and waits until there is room for a packet more. It is false when the connection is to end.
func (c *Conn) await() bool {
	for {
		c.mu.Lock()
		switch {
		case c.state != live:
			c.mu.Unlock()
			return false
		case !c.full():
			c.mu.Unlock()
			return true
		case c.outLen > 0 && !c.writing:
			c.writing = true
			c.mu.Unlock()
			c.flush()
		default:
			c.pause(nil)
		}
	}
}

// pause waits for tell, or for the timer; it takes mu, and leaves it free.
func (c *Conn) pause(timer <-chan time.Time) {
	if c.room == nil {
		c.room = make(chan struct{}, 1)
	}
	c.waiting, c.blocked = true, true
	c.mu.Unlock()
	select {
	case <-c.room:
	case <-timer:
	}
	c.mu.Lock()
	if c.blocked = false; c.waiting {
		c.waiting = false
	} else {
		select { // told while the timer fired
		case <-c.room:
		default:
		}
	}
	c.mu.Unlock()
}

// mostQueued is how many bytes of answers wait for a client before it is not read any more.
const mostQueued = 16 << 10

// full says that nothing more is read for now. A client of 5.0 knows how many messages it may have on their way, and one too many is
// its fault; 3.1.1 has no such thing, nor has QoS 0.
func (c *Conn) full() bool {
	most := c.settings.Limits.ReceiveMaximum
	return c.outLen > mostQueued || c.open >= 2*most || c.version != packet.V5 && len(c.ids) >= most
}

// begin sets the time within which a packet has to be there.
func (c *Conn) begin(d time.Duration) {
	if c.inside {
		return
	}
	c.inside = true
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.state == live {
		c.deadline = time.Now().Add(d)
		_ = c.conn.SetReadDeadline(c.deadline)
	}
}

// read waits for bytes, after it has written what is queued. It is false when the connection is to end.
func (c *Conn) read(p []byte) (int, bool) {
	for {
		c.mu.Lock()
		for c.outLen > 0 && !c.writing && c.state == live {
			c.writing = true
			c.mu.Unlock()
			c.flush()
			c.mu.Lock()
		}
		if c.state != live {
			c.mu.Unlock()
			return 0, false
		}
		if !c.inside { // set seldom, because it costs, and therefore a little later
			if now := time.Now(); c.deadline.Before(now.Add(c.idle)) {
				c.deadline = now.Add(c.idle + c.idle/16)
				_ = c.conn.SetReadDeadline(c.deadline)
			}
		}
		c.blocked = true
		c.mu.Unlock()
		n, err := c.conn.Read(p)
		c.mu.Lock()
		c.blocked = false
		alive := c.state == live
		c.mu.Unlock()
		switch {
		case !alive:
			return 0, false
		case n > 0:
			return n, true // an error comes again
		case err == nil:
		case errors.Is(err, os.ErrDeadlineExceeded):
			return 0, c.late()
		default:
			return 0, c.fault(err)
		}
	}
}

func (c *Conn) late() bool {
	switch {
	case !c.let:
		return c.refuse(packet.ProtocolError, "no CONNECT came within "+c.settings.Limits.Connect.String())
	case c.inside:
		return c.refuse(packet.ImplementationSpecific, "a packet was not whole within "+c.settings.Limits.Body.String())
	}
	return c.refuse(packet.KeepAliveTimeout, "nothing came for "+c.idle.String()+": one and a half times the keep alive")
}

// header reads the next one, of a packet that is limit bytes long at most.
func (c *Conn) header(limit int) (packet.Header, bool) {
	for {
		h, n, err := packet.ParseHeader(c.in[c.r:c.w])
		switch {
		case err != nil:
			return h, c.fault(err)
		case n > 0 && n+h.Length > limit:
			return h, c.refuse(packet.PacketTooLarge, h.Type.String()+" of more bytes than a packet may have here")
		case n > 0:
			c.r += n
			return h, true
		}
		if !c.more() {
			return h, false
		}
	}
}

// more adds to the connection's own buffer, which is not full.
func (c *Conn) more() bool {
	if c.r > 0 {
		c.w = copy(c.in[:], c.in[c.r:c.w])
		c.r = 0
	}
	if c.w > 0 {
		c.begin(c.settings.Limits.Body)
	}
	n, ok := c.read(c.in[c.w:])
	c.w += n
	return ok
}

// small reads a body of n bytes that may lie in the connection's own buffer, where it is until the next read; else in the block,
// which the caller frees.
func (c *Conn) small(n int) ([]byte, *block, bool) {
	if n > len(c.in) {
		b, ok := c.large(n)
		if !ok {
			return nil, nil, false
		}
		return b.b[:n], b, true
	}
	for c.w-c.r < n {
		c.begin(c.settings.Limits.Body)
		if !c.more() {
			return nil, nil, false
		}
	}
	c.r += n
	return c.in[c.r-n : c.r], nil, true
}

// buffered moves what was read already.
func (c *Conn) buffered(dst []byte) int {
	n := copy(dst, c.in[c.r:c.w])
	c.r += n
	return n
}

// firstBlock is what a body gets that has not come yet.
const firstBlock = 4 << 10

// large reads a body of n bytes into a block, which grows as the bytes come.
func (c *Conn) large(n int) (*block, bool) {
	b := newBlock(min(n, firstBlock))
	used := c.buffered(b.b[:min(n, len(b.b))])
	for used < n {
		c.begin(c.settings.Limits.Body)
		if used == len(b.b) {
			b = b.grown(used, min(n, 8*used))
		}
		got, ok := c.read(b.b[used:min(n, len(b.b))])
		if !ok {
			b.free()
			return nil, false
		}
		used += got
	}
	return b, true
}

// skip reads n bytes that nobody wants.
func (c *Conn) skip(n int) bool {
	for {
		here := min(n, c.w-c.r)
		c.r += here
		if n -= here; n == 0 {
			return true
		}
		c.begin(c.settings.Limits.Body)
		if !c.more() {
			return false
		}
	}
}

const (
	linger      = time.Second // for the client to read the last words, before the connection is reset under them
	lingerBytes = 1 << 20
)

// goodbye ends the connection: waits for what may still be answered, writes the last words and closes.
func (c *Conn) goodbye() {
	c.mu.Lock()
	for c.state == leaving {
		c.blocked = true
		c.flushLater()
		until := c.latest
		if now := time.Now(); c.open == 0 {
			until = c.least
			if !now.Before(until) {
				break
			}
		} else if !now.Before(until) {
			break
		}
		timer := time.NewTimer(time.Until(until))
		c.pause(timer.C)
		timer.Stop()
		c.mu.Lock()
	}
	if c.state != over {
		if c.state == live { // the reader ended by itself, without a word: nobody should
			c.why = Ended{By: ByServer, Reason: packet.Unspecified}
		}
		c.state = over
		_ = c.conn.SetWriteDeadline(time.Now().Add(c.settings.Limits.Farewell))
	}
	c.mu.Unlock()
	c.flushers.Wait()
	said := c.lastWords()
	if said {
		c.linger()
	}
	c.close(said)
}

// lastWords writes what is queued, and DISCONNECT; false if there was nobody to hear it.
func (c *Conn) lastWords() bool {
	c.mu.Lock()
	why, refer := c.why, c.refer
	b, n := c.out, c.outLen
	c.out, c.outLen = nil, 0
	c.mu.Unlock()
	defer func() { b.free() }()
	if why.By != ByServer || refer == unsaid {
		return false
	}
	if b == nil {
		b = newBlock(firstBlock)
	}
	last := b.b[:n]
	if c.let && c.version == packet.V5 {
		d := packet.Disconnect{Reason: farewell(why.Reason), Text: why.Text[:min(len(why.Text), 256)], ServerReference: refer}
		if 12+len(d.Text)+len(refer) > c.most {
			d = packet.Disconnect{Reason: d.Reason}
		}
		if c.most >= 4 {
			last = d.Append(last, packet.V5)
		}
	}
	_ = c.conn.SetWriteDeadline(time.Now().Add(c.settings.Limits.Farewell)) // the handler may have taken its time
	_, err := c.conn.Write(last)
	return err == nil
}

// linger reads what still comes and throws it away: closing over unread bytes resets the connection, and the client might never read why.
func (c *Conn) linger() {
	if half, ok := c.conn.(interface{ CloseWrite() error }); !ok || half.CloseWrite() != nil {
		return
	}
	_ = c.conn.SetReadDeadline(time.Now().Add(linger))
	_, _ = io.Copy(io.Discard, io.LimitReader(c.conn, lingerBytes))
}

// close does not wait for a client that does not read.
func (c *Conn) close(said bool) {
	if below, ok := c.conn.(interface{ NetConn() net.Conn }); ok && !said {
		_ = below.NetConn().Close()
	}
	_ = c.conn.Close()
}
