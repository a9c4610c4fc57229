package session

import (
	"context"
	"io"
	"log/slog"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"muster.dev/platform/mqtt/packet"
)

// script is a connection on which a client says what it says, in parts, and hangs up.
type script struct {
	net.Conn
	parts [][]byte
	mu    sync.Mutex
	said  []byte // by the server
}

func (s *script) Read(p []byte) (int, error) {
	for len(s.parts) > 0 && len(s.parts[0]) == 0 {
		s.parts = s.parts[1:]
	}
	if len(s.parts) == 0 {
		return 0, io.EOF
	}
	n := copy(p, s.parts[0])
	s.parts[0] = s.parts[0][n:]
	return n, nil
}

func (s *script) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.said = append(s.said, p...)
	return len(p), nil
}

func (*script) Close() error                     { return nil }
func (*script) SetReadDeadline(time.Time) error  { return nil }
func (*script) SetWriteDeadline(time.Time) error { return nil }

// answering answers by a payload's first byte, some at once, some in another goroutine.
type answering struct{ wg sync.WaitGroup }

func (*answering) Connect(_ *Conn, h *Hello) (Refusal, bool) {
	return Refusal{Reason: packet.NotAuthorized}, !strings.HasPrefix(h.ClientID, "no")
}

func (a *answering) Publish(c *Conn, m *Message) {
	m.UserProperty("muster-backlog")
	kind := byte(0)
	if len(m.Payload) > 0 {
		kind = m.Payload[0]
	}
	answer := Answer{Kind: Kind(kind % 5), Reason: packet.Reason(kind), Text: "because", HangUp: kind&0x40 != 0}
	switch {
	case kind&0x20 != 0:
		a.wg.Go(func() { m.Done(answer) })
	case kind&0x10 != 0:
		c.End(packet.AdministrativeAction, "revoked", "")
		m.Done(answer)
	default:
		m.Done(answer)
	}
}

func (*answering) Closed(*Conn, Ended) {}

// faults fails the test at a panic, which Serve keeps from the process.
type faults struct {
	slog.Handler
	t *testing.T
}

func (f faults) Handle(_ context.Context, r slog.Record) error {
	r.Attrs(func(a slog.Attr) bool { f.t.Error(r.Message, a.Key, a.Value); return true })
	return nil
}

func (f faults) Enabled(context.Context, slog.Level) bool { return true }

// FuzzNoClientIsOurFault: whatever a client says, in whatever parts it comes, the connection ends in order, and what the server said is
// packets.
func FuzzNoClientIsOurFault(f *testing.F) {
	five, old := hello(packet.V5), hello(packet.V311)
	f.Add([]byte("GET / HTTP/1.1\r\n\r\n"), uint16(3))
	f.Add([]byte("\x10\xff\xff\xff\x7f"), uint16(0))
	for _, b := range broken {
		f.Add(append(five.Append(nil), b.v5...), uint16(0))
		f.Add(append(old.Append(nil), b.v311...), uint16(len(b.v311)))
	}
	all := five.Append(nil)
	for i := range byte(250) {
		all = append(all, publication(packet.V5, packet.Publish{QoS: i & 1, ID: uint16(i) + 1, Alias: uint16(i%4 + 1), Payload: []byte{i}})...)
	}
	f.Add(all, uint16(7))
	all = append(old.Append(nil), packet.AppendSubscribe(nil, packet.SUBSCRIBE, packet.V311, 1, "a", "#")...)
	for i := range byte(20) {
		all = append(all, publication(packet.V311, packet.Publish{QoS: 1, ID: uint16(i) + 1, Payload: []byte{0x20}})...)
	}
	f.Add(append(all, 0xe0, 0), uint16(100))
	f.Add(append(old.Append(nil), publication(packet.V311, packet.Publish{Payload: make([]byte, 9000)})...), uint16(1000))

	f.Fuzz(func(t *testing.T, b []byte, step uint16) {
		conn := &script{}
		memory := int64(1 << 20)
		if step&1 == 1 { // too little for some messages
			memory = 200
		}
		for step := max(int(step), 1); len(b) > 0; b = b[min(step, len(b)):] {
			conn.parts = append(conn.parts, append([]byte(nil), b[:min(step, len(b))]...))
		}
		s := settings()
		s.Log = slog.New(faults{t: t})
		s.Limits.Pause = 0
		mem := &room{left: memory}
		s.Room = mem
		h := &answering{}
		e := Serve(context.Background(), conn, s, h)
		h.wg.Wait()
		if mem.left != memory {
			t.Errorf("%d bytes of messages are not given back", memory-mem.left)
		}
		if e.By == ByServer && !e.Reason.Failed() {
			t.Errorf("ended %v", e)
		}
		first := true
		for said := conn.said; len(said) > 0; first = false {
			h, n, err := packet.ParseHeader(said)
			if err != nil || n == 0 || n+h.Length > len(said) {
				t.Fatalf("the server said % x: %v", said, err)
			}
			if first != (h.Type == packet.CONNACK) {
				t.Fatalf("the server said %v (first: %v)", h.Type, first)
			}
			said = said[n+h.Length:]
			if h.Type == packet.DISCONNECT && len(said) > 0 {
				t.Fatalf("the server goes on after DISCONNECT: % x", said)
			}
		}
	})
}
