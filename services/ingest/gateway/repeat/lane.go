package repeat

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"os"
	"sync/atomic"
	"time"
)

// Handle answers a repeated request: meaning is what Done was told when its head came first, body its whole body, which
// is the lane's again when Handle returns. It writes the response to c, and says whether the connection goes on.
type Handle[M any] func(c *Conn[M], meaning M, body []byte) (goesOn bool)

// Lane is what the connections of one server share.
type Lane[M any] struct {
	handle   Handle[M]
	idle     time.Duration
	busy     atomic.Int64 // requests that it works on
	answered atomic.Int64
	draining atomic.Bool
}

// NewLane makes a lane whose connections end when nothing has come for idle.
func NewLane[M any](idle time.Duration, handle Handle[M]) *Lane[M] {
	return &Lane[M]{handle: handle, idle: idle}
}

// Answered is how many requests it has answered so far.
func (l *Lane[M]) Answered() int64 { return l.answered.Load() }

// Drain leaves every request from now on to net/http, and waits for those at work until ctx ends. It is called before
// the server's Shutdown, which takes their connections for idle ones and would cut them.
func (l *Lane[M]) Drain(ctx context.Context) error {
	l.draining.Store(true)
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for l.busy.Load() > 0 {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	return nil
}

// begin counts a request in, unless the lane is to end. The order matters: who is counted before Drain looks is waited
// for, who is counted after it sees that it drains.
func (l *Lane[M]) begin() bool {
	l.busy.Add(1)
	if l.draining.Load() {
		l.busy.Add(-1)
		return false
	}
	return true
}

// Listen gives the connections of ln, whose TLS handshakes are done, for an http.Server. Those that speak HTTP/2 are
// given as they are.
func (l *Lane[M]) Listen(ln net.Listener) net.Listener { return &listener[M]{ln, l} }

type listener[M any] struct {
	net.Listener
	lane *Lane[M]
}

func (l *listener[M]) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	if t, ok := c.(*tls.Conn); ok && t.ConnectionState().NegotiatedProtocol != "h2" {
		return &Conn[M]{Conn: t, lane: l.lane}, nil
	}
	return c, nil
}

// leastBuffer is less than net/http's buffer has.
const leastBuffer = 2 << 10

// unknown is where the next request begins when nobody can tell.
const unknown = -1

// Conn is a connection that speaks HTTP/1.1. But for handed, its fields belong to the goroutine in which net/http serves
// it, handler included.
type Conn[M any] struct {
	*tls.Conn
	lane *Lane[M]
	// handed counts what net/http has been given. While a handler works, net/http reads one byte in a goroutine of its
	// own, to notice when the client goes. A client that is quick to send its next request may find it there still.
	handed  atomic.Int64
	early   byte  // that byte; net/http waits for the goroutine before it reads on
	earlyAt int64 // what handed was before it
	next    int64 // what handed is when the next request begins, or unknown

	now   []byte // the head of the request that net/http works on; empty if it was not seen whole
	start int64  // what handed was before it

	again   head // as it was when Done was told what it means
	meaning M
	until   time.Time // the deadline, if the lane has set it since net/http set one
}

// Read gives net/http what the client sends, unless it repeats itself.
func (c *Conn[M]) Read(p []byte) (int, error) {
	// Between two requests net/http asks for all that its buffer holds.
	if len(p) < leastBuffer {
		n, err := c.Conn.Read(p)
		if n == 1 {
			c.early, c.earlyAt = p[0], c.handed.Load()
		}
		c.handed.Add(int64(n))
		return n, err
	}
	if handed := c.handed.Load(); handed != c.next {
		n, err := c.Conn.Read(p)
		switch {
		case handed == c.next+1 && c.earlyAt == c.next: // of the next request one byte is there already
			c.now = append(append(c.now[:0], c.early), p[:min(n, mostHead)]...)
			c.leave(c.now, n)
		case handed > c.next: // more of it is, and nobody knows how much of that net/http has looked at
			c.next = unknown
			fallthrough
		default: // within a request
			c.handed.Add(int64(n))
		}
		return n, err
	}
	for {
		n, err := c.Conn.Read(p)
		length, size := c.again.match(p[:n])
		whole := size + int(length)
		if size == 0 || n > whole || whole > len(p) || !c.lane.begin() {
			c.leave(p[:n], n)
			return n, err
		}
		if n < whole && err == nil {
			n, err = c.rest(p[:whole], n)
		}
		if n < whole {
			c.lane.busy.Add(-1)
			c.leave(p[:n], n)
			return n, err
		}
		if !c.answer(p[size:whole]) {
			return 0, io.EOF
		}
		if err != nil {
			return 0, err
		}
	}
}

// patience is how long the lane waits for a body that does not come with its head. Many clients send it at once, in a
// record of its own. One that comes later is net/http's, whose clocks begin then.
const patience = time.Second

// rest reads on until p, of which n bytes are there, is full.
func (c *Conn[M]) rest(p []byte, n int) (int, error) {
	c.until = time.Time{} // the next answer sets it again
	if err := c.SetReadDeadline(time.Now().Add(patience)); err != nil {
		return n, err
	}
	for n < len(p) {
		more, err := c.Conn.Read(p[n:])
		n += more
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return n, nil // net/http has read something, so it sets a deadline of its own
		}
		if err != nil {
			return n, err
		}
	}
	return n, nil
}

func (c *Conn[M]) answer(body []byte) (goesOn bool) {
	defer c.lane.busy.Add(-1) // net/http recovers what panics
	// One deadline is for the client's silence and for a client that does not read its answers. It is moved now and
	// then, since each move costs a timer of the runtime; so it is late by as much, and never early.
	if now := time.Now(); c.until.Sub(now) < c.lane.idle {
		c.until = now.Add(c.lane.idle + c.lane.idle/16)
		if err := c.SetDeadline(c.until); err != nil {
			return false
		}
	}
	c.lane.answered.Add(1)
	return c.lane.handle(c, c.meaning, body)
}

// leave is where a request begins that net/http gets: p is its beginning, of which n bytes are handed over now.
func (c *Conn[M]) leave(p []byte, n int) {
	c.now = append(c.now[:0], headOf(p)...)
	c.start = c.next
	c.next = unknown
	c.until = time.Time{} // net/http sets its own
	c.handed.Add(int64(n))
}

// Learn is called by the handler of a request that is Repeatable, before Done: its head is to mean this from now on.
func (c *Conn[M]) Learn(length int64, meaning M) {
	if len(c.now) > 0 && c.again.set(c.now, length) {
		c.meaning = meaning
	}
}

// Done is called by the handler of each request that net/http gave it, with the length of its body, below 0 when that
// was not declared.
func (c *Conn[M]) Done(length int64) {
	c.next = unknown
	if len(c.now) > 0 && length >= 0 {
		c.next = c.start + int64(len(c.now)) + length
	}
	c.now = c.now[:0]
}

// NetConn is the connection below, whose peer the door knows.
func (c *Conn[M]) NetConn() net.Conn { return c.Conn.NetConn() }
