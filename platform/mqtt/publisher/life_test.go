package publisher_test

import (
	"context"
	"errors"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"muster.dev/platform/mqtt/mqtttest"
	"muster.dev/platform/mqtt/packet"
	"muster.dev/platform/mqtt/publisher"
)

// scripted is the server's side, by hand.
type scripted struct {
	t    *testing.T
	conn net.Conn
	buf  []byte
}

// meet is a client and its server, which has read CONNECT and answered it.
func meet(t *testing.T, o publisher.Options, k packet.Connack) (*publisher.Publisher, *scripted) {
	t.Helper()
	near, far := mqtttest.Pair(1 << 20)
	s := &scripted{t: t, conn: far}
	v := o.Version
	if v == 0 {
		v = packet.V5
	}
	if _, err := far.Write(k.Append(nil, v)); err != nil {
		t.Fatal(err)
	}
	p, err := publisher.Dial(t.Context(), near, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = p.Close()
		_ = far.Close()
	})
	if h, _ := s.next(); h.Type != packet.CONNECT {
		t.Fatalf("the client began with %v", h.Type)
	}
	return p, s
}

func (s *scripted) next() (packet.Header, []byte) {
	s.t.Helper()
	for {
		h, n, err := packet.ParseHeader(s.buf)
		if err != nil {
			s.t.Fatal(err)
		}
		if n > 0 && n+h.Length <= len(s.buf) {
			body := s.buf[n : n+h.Length]
			s.buf = s.buf[n+h.Length:]
			return h, body
		}
		part := make([]byte, 4096)
		n, err = s.conn.Read(part)
		if err != nil {
			return packet.Header{}, nil
		}
		s.buf = append(s.buf, part[:n]...)
	}
}

func TestASilentServerIsAskedForAWordAndThenGivenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		told := uint16(20) // the server says so, and it holds
		p, s := meet(t, publisher.Options{KeepAlive: time.Hour}, packet.Connack{KeepAlive: &told})
		for range 3 {
			began := time.Now()
			if h, _ := s.next(); h.Type != packet.PINGREQ || time.Since(began) > 20*time.Second {
				t.Fatalf("%v after %v", h.Type, time.Since(began))
			}
			if _, err := s.conn.Write(packet.AppendPingresp(nil)); err != nil {
				t.Fatal(err)
			}
		}
		s.next()
		<-p.Ended()
		if err := p.Err(); err == nil || !strings.Contains(err.Error(), "does not answer") {
			t.Error(err)
		}
	})
}

func TestAServerThatWantsNoKeepAliveIsAskedByOurOwn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, s := meet(t, publisher.Options{KeepAlive: time.Minute}, packet.Connack{KeepAlive: new(uint16)})
		began := time.Now()
		if h, _ := s.next(); h.Type != packet.PINGREQ || time.Since(began) != 45*time.Second {
			t.Errorf("%v after %v", h.Type, time.Since(began))
		}
	})
}

func TestTheWindowIsTheSmallerOfBoth(t *testing.T) {
	for _, c := range []struct{ own, server, want int }{{0, 0, 16}, {64, 10, 10}, {4, 100, 4}} {
		synctest.Test(t, func(t *testing.T) {
			p, _ := meet(t, publisher.Options{Window: c.own}, packet.Connack{ReceiveMaximum: uint16(c.server)})
			sent := 0
			for {
				ctx, cancel := context.WithTimeout(t.Context(), time.Second)
				err := p.Send(ctx, publisher.Message{Topic: "t", QoS: 1}, func(error) {})
				cancel()
				if err != nil {
					if !errors.Is(err, context.DeadlineExceeded) {
						t.Fatal(err)
					}
					break
				}
				sent++
			}
			if sent != c.want {
				t.Errorf("%d were on their way, and should %d", sent, c.want)
			}
		})
	}
}

func TestWhatIsOnItsWayAtTheEndIsToldOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, s := meet(t, publisher.Options{Window: 3}, packet.Connack{})
		answers := make(chan error, 10)
		for range 3 {
			if err := p.Send(t.Context(), publisher.Message{Topic: "t", QoS: 1}, func(err error) { answers <- err }); err != nil {
				t.Fatal(err)
			}
			s.next()
		}
		gone := make(chan error, 1)
		go func() {
			gone <- p.Send(t.Context(), publisher.Message{Topic: "t", QoS: 1}, func(err error) { answers <- err })
		}()
		synctest.Wait()
		moved := packet.Disconnect{Reason: packet.ServerMoved, Text: "elsewhere", ServerReference: "o:1"}
		if _, err := s.conn.Write(moved.Append(nil, packet.V5)); err != nil {
			t.Fatal(err)
		}
		<-p.Ended()
		synctest.Wait()
		for range 3 {
			e, is := errors.AsType[*publisher.Ended](<-answers)
			if !is || e.Reason != packet.ServerMoved || e.Reference != "o:1" || e.Text != "elsewhere" {
				t.Error(e)
			}
		}
		if err := <-gone; err == nil || !strings.Contains(err.Error(), "elsewhere") {
			t.Error("who waited for room:", err)
		}
		if len(answers) > 0 {
			t.Error("told twice")
		}
	})
}

func TestWhatTheServerDoesNotTakeIsNotSent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, s := meet(t, publisher.Options{Window: 1}, packet.Connack{MaximumPacket: 100})
		for range 3 { // and its place is free again
			err := p.Publish(t.Context(), publisher.Message{Topic: "t", QoS: 1, Payload: make([]byte, 100)})
			if err == nil || !strings.Contains(err.Error(), "takes 100 at most") {
				t.Fatal(err)
			}
		}
		go func() {
			_, body := s.next()
			var m packet.Publish
			if m.Decode(packet.Header{Type: packet.PUBLISH, Flags: 2, Length: len(body)}, body, packet.V5) == nil {
				_, _ = s.conn.Write((&packet.Puback{ID: m.ID, Reason: packet.NoMatchingSubscribers}).Append(nil, packet.V5))
			}
		}()
		if err := p.Publish(t.Context(), publisher.Message{Topic: "t", QoS: 1}); err != nil {
			t.Error(err)
		}
	})
}

func TestADialThatIsNotAnsweredEndsInItsTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		near, far := mqtttest.Pair(1000)
		defer far.Close()
		began := time.Now()
		if _, err := publisher.Dial(t.Context(), near, publisher.Options{}); err == nil || time.Since(began) != 10*time.Second {
			t.Error(err, time.Since(began))
		}
		near, far = mqtttest.Pair(1000)
		defer far.Close()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := publisher.Dial(ctx, near, publisher.Options{}); !errors.Is(err, context.DeadlineExceeded) {
			t.Error(err)
		}
	})
}

func TestAServerThatSaysWhatItMayNotIsLeft(t *testing.T) {
	for name, bytes := range map[string]string{
		"PUBLISH": "\x30\x04\x00\x01t\x00", "PINGREQ": "\xc0\x00", "a packet too long": "\x40\xff\xff\x7f", "a packet of type 0": "\x00\x00",
		"PUBACK cut short": "\x40\x01\x00", "SUBACK": "\x90\x04\x00\x01\x00\x00",
	} {
		synctest.Test(t, func(t *testing.T) {
			p, s := meet(t, publisher.Options{}, packet.Connack{})
			if _, err := s.conn.Write([]byte("\x40\x02\x00\x05" + bytes)); err != nil { // a PUBACK of nothing is passed over
				t.Fatal(err)
			}
			select {
			case <-p.Ended():
			case <-time.After(10 * time.Second):
				t.Errorf("%s: it goes on", name)
			}
		})
	}
}
