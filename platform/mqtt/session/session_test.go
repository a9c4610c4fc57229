package session

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"net"
	"os"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"muster.dev/platform/mqtt/mqtttest"
	"muster.dev/platform/mqtt/packet"
)

func TestMain(m *testing.M) {
	if os.Getenv(idleServes) != "" { // this binary as another test's server
		if err := serveIdle(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	goleak.VerifyTestMain(m)
}

// recorder lets everybody in and keeps what it was told; publish says what becomes of a message, and is stored without it.
type recorder struct {
	connect func(*Conn, *Hello) (Refusal, bool)
	publish func(*Conn, *Message)

	mu       sync.Mutex
	hello    Hello
	messages []string // topic and payload
	closed   []Ended
}

func (r *recorder) Connect(c *Conn, h *Hello) (Refusal, bool) {
	r.mu.Lock()
	r.hello = *h
	r.mu.Unlock()
	if r.connect != nil {
		return r.connect(c, h)
	}
	return Refusal{}, true
}

func (r *recorder) Publish(c *Conn, m *Message) {
	r.mu.Lock()
	r.messages = append(r.messages, string(m.Topic)+"="+string(m.Payload))
	r.mu.Unlock()
	if r.publish != nil {
		r.publish(c, m)
		return
	}
	m.Done(Answer{})
}

func (r *recorder) Closed(_ *Conn, why Ended) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.closed = append(r.closed, why)
}

func settings() *Settings {
	return &Settings{Limits: DefaultLimits(), Log: slog.New(slog.DiscardHandler)}
}

// wire is a client that writes bytes and reads packets.
type wire struct {
	t       *testing.T
	conn    net.Conn
	version packet.Version
	buf     []byte
	ended   chan Ended
}

// connect starts a server on a pair of connections, and is its client. Within a synctest bubble time is virtual.
func connect(t *testing.T, s *Settings, h Handler) *wire {
	t.Helper()
	near, far := mqtttest.Pair(1 << 20)
	w := &wire{t: t, conn: near, ended: make(chan Ended, 1)}
	ctx, stop := context.WithCancel(context.Background())
	go func() {
		w.ended <- Serve(ctx, far, s, h)
		close(w.ended)
	}()
	t.Cleanup(func() {
		stop()
		_ = near.Close()
		for range w.ended { // to its end, which waits a while for a handler that does not answer
		}
	})
	return w
}

func (w *wire) write(b ...byte) {
	w.t.Helper()
	if _, err := w.conn.Write(b); err != nil {
		w.t.Fatal(err)
	}
}

// next is the next packet that the server sends; nil at the end.
func (w *wire) next() []byte {
	w.t.Helper()
	for {
		h, n, err := packet.ParseHeader(w.buf)
		if err != nil {
			w.t.Fatalf("the server sent % x: %v", w.buf, err)
		}
		if n > 0 && n+h.Length <= len(w.buf) {
			p := w.buf[: n+h.Length : n+h.Length]
			w.buf = w.buf[n+h.Length:]
			return p
		}
		part := make([]byte, 512)
		n, err = w.conn.Read(part)
		w.buf = append(w.buf, part[:n]...)
		if err != nil && n == 0 {
			if len(w.buf) > 0 {
				w.t.Fatalf("the server's last words are cut: % x", w.buf)
			}
			return nil
		}
	}
}

func (w *wire) expect(want ...byte) {
	w.t.Helper()
	if got := w.next(); !bytes.Equal(got, want) {
		w.t.Fatalf("the server said % x, and should % x", got, want)
	}
}

// bye reads to the end, and is the reason of the DISCONNECT that has to come there with 5.0.
func (w *wire) bye() packet.Disconnect {
	w.t.Helper()
	var k packet.Disconnect
	for {
		p := w.next()
		if p == nil {
			return k
		}
		if packet.Type(p[0]>>4) == packet.DISCONNECT {
			h, n, _ := packet.ParseHeader(p)
			if err := k.Decode(p[n:n+h.Length], w.version); err != nil {
				w.t.Fatal(err)
			}
		}
	}
}

// in says hello and reads the answer.
func (w *wire) in(k packet.Connect) packet.Connack {
	w.t.Helper()
	w.version = k.Version
	w.write(k.Append(nil)...)
	p := w.next()
	if len(p) == 0 {
		w.t.Fatal("the server ended the connection without a word")
	}
	var ack packet.Connack
	h, n, _ := packet.ParseHeader(p)
	if h.Type != packet.CONNACK {
		w.t.Fatalf("the server answered CONNECT by %v", h.Type)
	}
	if err := ack.Decode(p[n:], k.Version); err != nil {
		w.t.Fatal(err)
	}
	return ack
}

func hello(v packet.Version) packet.Connect {
	return packet.Connect{Version: v, CleanStart: true, KeepAlive: 60, ClientID: []byte("d")}
}

func publication(v packet.Version, m packet.Publish, user ...packet.Property) []byte {
	if m.Topic == nil && m.Alias == 0 {
		m.Topic = []byte("t")
	}
	return m.Append(nil, v, user...)
}

// over waits for the end of Serve.
func (w *wire) over() Ended {
	w.t.Helper()
	select {
	case e := <-w.ended:
		return e
	case <-time.After(time.Minute):
		w.t.Fatal("the server does not end")
		return Ended{}
	}
}
