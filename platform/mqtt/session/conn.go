package session

import (
	"context"
	"crypto/rand"
	"fmt"
	"net"
	"runtime/debug"
	"sync"
	"time"

	"muster.dev/platform/mqtt/packet"
)

// Conn is one client's connection.
type Conn struct {
	conn     net.Conn
	settings *Settings
	handler  Handler
	tag      any

	// The reader's alone: the goroutine of Serve.
	in       [512]byte
	r, w     int // what of it was read and not used yet
	idle     time.Duration
	deadline time.Time
	inside   bool // a packet has begun, and has its own deadline
	aliases  [][]byte
	chatted  time.Time // how far packets that brought nothing have used time up: to now at most
	expires  bool      // the client asked for a session that outlives the connection
	let      bool

	// Since CONNECT, for everybody.
	version packet.Version
	most    int  // the longest packet that the client takes
	terse   bool // it wants no reason strings in PUBACK

	mu       sync.Mutex
	state    state
	why      Ended
	refer    string        // a server reference, for the last words
	least    time.Time     // leaving: not before,
	latest   time.Time     // and not later than
	out      *block        // answers that wait to be written,
	outLen   int           // so many bytes,
	answered int           // among them so many PUBACKs
	writing  bool          // somebody writes
	blocked  bool          // the reader waits for the network or for room: whoever has answers sees to it that they are written
	waiting  bool          // it waits for room
	ids      []inflight    // of QoS 1, not answered or the answer not written
	open     int           // messages with the handler
	room     chan struct{} // tells the reader that waits
	by       time.Time     // the write deadline
	flusher  func()        // flushes, in a goroutine of its own
	flushers sync.WaitGroup
}

type state uint8

const (
	live    state = iota
	leaving       // nothing is read any more; what the handler has may still be answered
	over          // nothing more is answered
)

type inflight struct {
	id       uint16
	answered bool
}

// Serve speaks with one client until the connection ends, which it closes, and says how it ended. When ctx ends, what the handler has
// is waited for, and the client is told that the server stops. If conn is a TLS connection that has not shaken hands, that is done
// within the time for CONNECT.
func Serve(ctx context.Context, conn net.Conn, s *Settings, h Handler) Ended {
	c := &Conn{conn: conn, settings: s, handler: h}
	stop := context.AfterFunc(ctx, func() {
		c.leave(Ended{By: ByServer, Reason: packet.ServerShuttingDown, Text: "the server stops"}, 0, s.Limits.Drain)
	})
	defer stop()
	c.guard(c.run)
	c.goodbye()
	c.mu.Lock()
	why := c.why
	c.mu.Unlock()
	why.Let = c.let
	if c.let {
		c.guard(func() { h.Closed(c, why) })
	}
	return why
}

// guard keeps a panic in the connection that it happened in.
func (c *Conn) guard(f func()) {
	defer func() {
		if p := recover(); p != nil {
			c.settings.log().Error("an MQTT connection panicked", "panic", fmt.Sprint(p), "stack", string(debug.Stack()))
			c.end(Ended{By: ByServer, Reason: packet.Unspecified, Text: "the server is at fault"}, "")
		}
	}()
	f()
}

// Version is what the client speaks.
func (c *Conn) Version() packet.Version { return c.version }

// NetConn is the connection below, for its addresses and its certificates: nothing may be read from it or written to it.
func (c *Conn) NetConn() net.Conn { return c.conn }

// SetTag keeps what the handler knows of the connection. It is for Connect alone.
func (c *Conn) SetTag(tag any) { c.tag = tag }

// Tag is what SetTag kept.
func (c *Conn) Tag() any { return c.tag }

// End tells the client why the connection ends (5.0), for which it waits no longer than the farewell's limit, and ends it. It is for any
// goroutine, and never blocks. What the handler still has is not answered any more. A message that is just being read may
// still be published: whoever ends connections because of who they are asks again there.
func (c *Conn) End(reason packet.Reason, text, serverReference string) {
	c.end(Ended{By: ByServer, Reason: reason, Text: text}, serverReference)
}

func (c *Conn) end(why Ended, reference string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.state == over {
		return
	}
	c.state, c.why, c.refer = over, why, reference
	_ = c.conn.SetWriteDeadline(time.Now().Add(c.settings.Limits.Farewell)) // also for what is being written
	c.wake()
}

// leave stops reading, and ends the connection when the handler has answered what it has: not before least, not later than most.
func (c *Conn) leave(why Ended, least, most time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.state != live {
		return
	}
	now := time.Now()
	c.state, c.why, c.least, c.latest = leaving, why, now.Add(least), now.Add(max(least, most))
	c.wake()
}

var past = time.Unix(1, 0)

// wake gets the reader out of whatever it waits for; mu is held.
func (c *Conn) wake() {
	_ = c.conn.SetReadDeadline(past)
	c.tell()
}

func (c *Conn) tell() {
	if c.waiting {
		c.waiting = false
		c.room <- struct{}{} // it has place for one, and who waits takes it
	}
}

func randomID() string { return "auto-" + rand.Text()[:16] }
