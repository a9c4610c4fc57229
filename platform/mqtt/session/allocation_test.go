package session

import (
	"context"
	"io"
	"net"
	"runtime"
	"sync"
	"testing"

	"muster.dev/platform/mqtt/packet"
)

// loop is a server on the kernel's own TCP and a client's end of it, which has been let in.
func loop(tb testing.TB, s *Settings, h Handler, v packet.Version) net.Conn {
	tb.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	defer ln.Close()
	var serving sync.WaitGroup
	ctx, stop := context.WithCancel(context.Background())
	serving.Go(func() {
		conn, err := ln.Accept()
		if err != nil {
			tb.Error(err)
			return
		}
		Serve(ctx, conn, s, h)
	})
	conn, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		stop()
		_ = conn.Close()
		serving.Wait()
	})
	k := hello(v)
	if _, err := conn.Write(k.Append(nil)); err != nil {
		tb.Fatal(err)
	}
	ack := make([]byte, 2)
	if _, err := io.ReadFull(conn, ack); err != nil {
		tb.Fatal(err)
	}
	if _, err := io.ReadFull(conn, make([]byte, ack[1])); err != nil {
		tb.Fatal(err)
	}
	return conn
}

// later stores what comes, in a goroutine of its own, as the log's client does.
type later struct{ ch chan *Message }

func storeLater(tb testing.TB) *later {
	l := &later{make(chan *Message, 1024)}
	var working sync.WaitGroup
	working.Go(func() {
		for m := range l.ch {
			m.Done(Answer{})
		}
	})
	tb.Cleanup(func() {
		close(l.ch)
		working.Wait()
	})
	return l
}

func (l *later) Connect(*Conn, *Hello) (Refusal, bool) { return Refusal{}, true }
func (l *later) Publish(_ *Conn, m *Message)           { l.ch <- m }
func (l *later) Closed(*Conn, Ended)                   {}

// burst is messages that come together, and their answers.
func burst(n, size int) (messages, answers []byte) {
	for id := range n {
		m := packet.Publish{QoS: 1, ID: uint16(id + 1), Topic: []byte("telemetry"), ContentType: []byte("application/msgpack"), Payload: make([]byte, size)}
		messages = m.Append(messages, packet.V5)
	}
	return messages, make([]byte, 4*n)
}

func TestAMessageIsTakenAndAnsweredWithoutAllocating(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector allocates, and drops what pools hold")
	}
	for _, size := range []int{40, 3_000, 100_000} {
		conn := loop(t, settings(), storeLater(t), packet.V5)
		messages, answers := burst(8, size)
		round := func() {
			if _, err := conn.Write(messages); err != nil {
				t.Fatal(err)
			}
			if _, err := io.ReadFull(conn, answers); err != nil {
				t.Fatal(err)
			}
		}
		for range 50 {
			round()
		}
		// A collection empties the pools, at an instant of its own: the least of several is what is always taken.
		least := testing.AllocsPerRun(50, round)
		for range 4 {
			least = min(least, testing.AllocsPerRun(50, round))
		}
		if least >= 1 {
			t.Errorf("8 messages of %d bytes allocate %v times", size, least)
		}
	}
}

// What a client announces takes no memory: only what it sends does.
func TestWhatIsAnnouncedTakesNoMemory(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector allocates")
	}
	const clients = 64
	h := &recorder{}
	var before, after runtime.MemStats
	var conns []net.Conn
	for range clients {
		conns = append(conns, loop(t, settings(), h, packet.V5))
	}
	runtime.ReadMemStats(&before)
	for _, c := range conns { // 256 KiB less a little, of which the topic comes
		if _, err := c.Write([]byte("\x30\xf0\xff\x0f\x00\x01t\x00")); err != nil {
			t.Fatal(err)
		}
		if _, err := c.Write([]byte("x")); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range conns { // a client that says so much and breaks off
		_ = c.(*net.TCPConn).CloseWrite()
		_, _ = io.Copy(io.Discard, c)
	}
	runtime.ReadMemStats(&after)
	if each := (after.TotalAlloc - before.TotalAlloc) / clients; each > 16<<10 {
		t.Errorf("a message of 256 KiB that does not come takes %d bytes", each)
	}
}

func BenchmarkConnection(b *testing.B) {
	for _, c := range []struct {
		name    string
		n, size int
	}{{"window1", 1, 600}, {"window16", 16, 600}, {"window64", 64, 600}, {"large", 4, 20_000}} {
		b.Run(c.name, func(b *testing.B) {
			conn := loop(b, settings(), storeLater(b), packet.V5)
			messages, answers := burst(c.n, c.size)
			b.SetBytes(int64(len(messages)))
			b.ReportAllocs()
			for b.Loop() {
				if _, err := conn.Write(messages); err != nil {
					b.Fatal(err)
				}
				if _, err := io.ReadFull(conn, answers); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.N*c.n)/b.Elapsed().Seconds(), "messages/s")
		})
	}
}
