package fastpath

import (
	"context"
	"crypto/tls"
	"net"
	"net/http"
	"sync/atomic"
	"time"
)

// Handle answers a request whose head came before: meaning is what Learn was told of it, body its whole body, which is
// the connection's again when Handle returns. It writes the response to c, and says whether the connection goes on.
type Handle[M any] func(c *Conn[M], meaning M, body []byte) (goesOn bool)

// Path is what the connections of one server share. Its server's listener is Listen's, its ConnState is State.
type Path[M any] struct {
	handle   Handle[M]
	idle     time.Duration
	write    time.Duration
	busy     atomic.Int64 // requests that it works on
	answered atomic.Int64
	draining atomic.Bool
}

// New makes a path whose connections end when nothing has come for idle, or when an answer is not read within write of
// its request. These are the server's IdleTimeout and WriteTimeout.
func New[M any](idle, write time.Duration, handle Handle[M]) *Path[M] {
	return &Path[M]{handle: handle, idle: idle, write: write}
}

// Answered is how many requests it has answered so far.
func (f *Path[M]) Answered() int64 { return f.answered.Load() }

// Drain leaves every request from now on to net/http, and waits for those at work until ctx ends. It is called before
// the server's Shutdown, which takes their connections for idle ones and would cut them.
func (f *Path[M]) Drain(ctx context.Context) error {
	f.draining.Store(true)
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for f.busy.Load() > 0 {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	return nil
}

// begin counts a request in, unless the path drains. The order matters: who is counted before Drain looks is waited
// for, who is counted after it sees that it drains.
func (f *Path[M]) begin() bool {
	f.busy.Add(1)
	if f.draining.Load() {
		f.end()
		return false
	}
	return true
}

func (f *Path[M]) end() { f.busy.Add(-1) }

// Listen gives the connections of ln, whose TLS handshakes are done, for an http.Server. Those that speak HTTP/2 are
// given as they are.
func (f *Path[M]) Listen(ln net.Listener) net.Listener { return &listener[M]{ln, f} }

// State is the server's ConnState.
func (f *Path[M]) State(nc net.Conn, s http.ConnState) {
	if c, ok := nc.(*Conn[M]); ok && s == http.StateIdle {
		c.at = done
		// What is known must be of the last request that net/http had: by its method net/http takes what follows.
		c.known = c.known && c.seen
		c.seen = false
	}
}

type listener[M any] struct {
	net.Listener
	path *Path[M]
}

func (l *listener[M]) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	if t, ok := c.(*tls.Conn); ok && t.ConnectionState().NegotiatedProtocol != "h2" {
		return &Conn[M]{Conn: t, path: l.path}, nil
	}
	return c, nil
}
