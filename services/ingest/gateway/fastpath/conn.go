package fastpath

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"time"
)

// bufferSize is what net/http reads into: a bufio.Reader's own size. Were it another one day, nothing would take the fast
// path, and its tests would say so.
const bufferSize = 4 << 10

// place is where net/http stands on a connection. When it has done with a request it says that the connection is idle,
// sets a deadline, waits until four bytes are there, and sets another deadline. If it reads while it waits, and its
// whole buffer is free, nothing is left of what came before, and what it reads is where a request begins.
type place uint8

const (
	fresh place = iota // nothing was read yet
	working
	done
	waiting
)

// Conn is a connection that speaks HTTP/1.1. Its fields belong to the goroutine in which net/http serves it, handler
// included. The other goroutine, in which net/http reads one byte ahead while a handler works, touches none of them.
type Conn[M any] struct {
	*tls.Conn
	path *Path[M]
	at   place

	head    head
	seen    bool // the head is the one of the request that net/http works on
	known   bool // the head was learned
	meaning M

	readBy, writeBy time.Time // the deadlines, if they are ours; zero if net/http set its own
}

// SetReadDeadline is called by net/http.
func (c *Conn[M]) SetReadDeadline(t time.Time) error {
	switch c.at {
	case done:
		c.at = waiting
	case waiting:
		c.at = working
	}
	return c.Conn.SetReadDeadline(t)
}

// Read gives net/http what the client sends, unless it repeats itself.
func (c *Conn[M]) Read(p []byte) (int, error) {
	if len(p) != bufferSize || c.at != fresh && c.at != waiting {
		return c.Conn.Read(p)
	}
	for {
		n, err := c.Conn.Read(p) // an error behind n bytes comes again
		size, whole := 0, 0
		if c.known {
			size, whole = c.head.match(p[:n])
		}
		if size == 0 || n > whole || whole > len(p) || !c.path.begin() {
			c.leave(p[:n])
			return n, err
		}
		if n < whole {
			n, err = c.rest(p[:whole], n)
		}
		if n < whole {
			c.path.end()
			c.leave(p[:n])
			return n, err
		}
		if !c.answer(p[size:whole]) {
			return 0, io.EOF
		}
	}
}

// patience is how long a body may come after its head. Many clients send it at once, in a record of its own. One that
// comes later is net/http's, whose clocks begin then.
const patience = time.Second

// rest reads on until p, of which n bytes are there, is full.
func (c *Conn[M]) rest(p []byte, n int) (int, error) {
	c.readBy = time.Time{}
	if err := c.Conn.SetReadDeadline(time.Now().Add(patience)); err != nil {
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

// answer has a request answered, and says whether another may come.
func (c *Conn[M]) answer(body []byte) (goesOn bool) {
	defer c.path.end() // net/http recovers what panics
	c.path.answered.Add(1)
	return extend(&c.writeBy, c.path.write, c.Conn.SetWriteDeadline) == nil &&
		c.path.handle(c, c.meaning, body) &&
		extend(&c.readBy, c.path.idle, c.Conn.SetReadDeadline) == nil
}

// extend sets a deadline, unless the one that is set gives as much time. Each move costs a timer of the runtime, so it
// moves now and then, and is late by up to a sixteenth, never early.
func extend(by *time.Time, after time.Duration, set func(time.Time) error) error {
	now := time.Now()
	if by.Sub(now) >= after {
		return nil
	}
	*by = now.Add(after + after/16)
	return set(*by)
}

// leave is where a request begins that net/http gets.
func (c *Conn[M]) leave(p []byte) {
	c.at = working
	c.readBy, c.writeBy = time.Time{}, time.Time{}
	c.seen, c.known = c.head.keep(p), false
}

// Learn is called by the handler of a request that net/http gave it, when its message was stored: requests with its head
// mean this from now on. It learns nothing from a request that means another thing when it comes again, that asks
// something of the server before its body; one that was not seen to begin is forgotten when it ends.
func (c *Conn[M]) Learn(r *http.Request, meaning M) {
	for _, name := range []string{"Expect", "Traceparent"} {
		if _, has := r.Header[name]; has {
			return
		}
	}
	if r.Proto == "HTTP/1.1" && r.Method == http.MethodPost && c.head.split(r.ContentLength) {
		c.meaning, c.known = meaning, true
	}
}

// NetConn is the connection below, whose peer the door knows.
func (c *Conn[M]) NetConn() net.Conn { return c.Conn.NetConn() }
