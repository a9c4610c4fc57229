// Package mqtttest is a network for tests: two ends with buffers between them and deadlines, as TCP has, on the clock of whoever runs
// them, so that a test in a bubble of testing/synctest sees hours of silence at once.
package mqtttest

import (
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"time"
)

// stream is bytes one way.
type stream struct {
	mu    sync.Mutex
	cond  chan struct{} // closed and made anew at each change
	buf   []byte
	most  int
	ended bool // no more is written
	gone  bool // nobody reads any more
}

// Pair is two connected ends. Each takes most bytes before a write waits for the other side to read.
func Pair(most int) (net.Conn, net.Conn) {
	a, b := &stream{cond: make(chan struct{}), most: most}, &stream{cond: make(chan struct{}), most: most}
	return newEnd(a, b), newEnd(b, a)
}

// end is one of the two.
type end struct {
	in, out     *stream
	read, write deadline
}

func newEnd(in, out *stream) *end {
	e := &end{in: in, out: out}
	e.read.ch, e.write.ch = make(chan struct{}), make(chan struct{})
	return e
}

// deadline closes ch when it passes.
type deadline struct {
	mu    sync.Mutex
	timer *time.Timer
	ch    chan struct{}
	fired bool
}

func (d *deadline) set(t time.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.timer != nil {
		d.timer.Stop()
		d.timer = nil
	}
	if d.fired {
		d.ch, d.fired = make(chan struct{}), false
	}
	if t.IsZero() {
		return
	}
	ch := d.ch
	fire := func() {
		d.mu.Lock()
		defer d.mu.Unlock()
		if d.ch == ch && !d.fired {
			d.fired = true
			close(ch)
		}
	}
	if left := time.Until(t); left > 0 {
		d.timer = time.AfterFunc(left, fire)
	} else if !d.fired {
		d.fired = true
		close(ch)
	}
}

func (d *deadline) wait() <-chan struct{} {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.ch
}

func (s *stream) changed() {
	close(s.cond)
	s.cond = make(chan struct{})
}

func (e *end) Read(p []byte) (int, error) {
	for {
		late := e.read.wait()
		select {
		case <-late:
			return 0, os.ErrDeadlineExceeded
		default:
		}
		s := e.in
		s.mu.Lock()
		if s.gone {
			s.mu.Unlock()
			return 0, net.ErrClosed
		}
		if len(s.buf) > 0 {
			n := copy(p, s.buf)
			s.buf = s.buf[n:]
			s.changed()
			s.mu.Unlock()
			return n, nil
		}
		if s.ended {
			s.mu.Unlock()
			return 0, io.EOF
		}
		wait := s.cond
		s.mu.Unlock()
		select {
		case <-wait:
		case <-late:
		}
	}
}

func (e *end) Write(p []byte) (n int, err error) {
	for {
		late := e.write.wait()
		select {
		case <-late:
			return n, os.ErrDeadlineExceeded
		default:
		}
		s := e.out
		s.mu.Lock()
		if s.ended || s.gone {
			s.mu.Unlock()
			return n, errors.New("the other end is closed")
		}
		here := min(len(p)-n, s.most-len(s.buf))
		s.buf = append(s.buf, p[n:n+here]...)
		n += here
		if here > 0 {
			s.changed()
		}
		wait := s.cond
		s.mu.Unlock()
		if n == len(p) {
			return n, nil
		}
		select {
		case <-wait:
		case <-late:
		}
	}
}

func (e *end) CloseWrite() error {
	e.out.mu.Lock()
	defer e.out.mu.Unlock()
	e.out.ended = true
	e.out.changed()
	return nil
}

func (e *end) Close() error {
	_ = e.CloseWrite()
	e.in.mu.Lock()
	defer e.in.mu.Unlock()
	e.in.gone = true
	e.in.changed()
	e.read.set(time.Time{})
	e.write.set(time.Time{})
	return nil
}

func (e *end) SetReadDeadline(t time.Time) error  { e.read.set(t); return nil }
func (e *end) SetWriteDeadline(t time.Time) error { e.write.set(t); return nil }
func (e *end) SetDeadline(t time.Time) error {
	e.read.set(t)
	e.write.set(t)
	return nil
}
func (e *end) LocalAddr() net.Addr  { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)} }
func (e *end) RemoteAddr() net.Addr { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)} }
