package publisher_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"muster.dev/platform/mqtt/packet"
	"muster.dev/platform/mqtt/publisher"
	"muster.dev/platform/mqtt/session"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// server answers each message by what its payload says.
type server struct {
	mu   sync.Mutex
	held []*session.Message
	got  []string
}

func (s *server) Connect(_ *session.Conn, h *session.Hello) (session.Refusal, bool) {
	if h.ClientID == "stranger" {
		return session.Refusal{Reason: packet.BadClientID, Text: "who is that"}, false
	}
	return session.Refusal{}, true
}

func (s *server) Publish(_ *session.Conn, m *session.Message) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.got = append(s.got, string(m.Topic)+" "+string(m.Payload))
	switch string(m.Payload) {
	case "no":
		m.Done(session.Answer{Kind: session.Refused, Reason: packet.PayloadFormatInvalid, Text: "it says no"})
	case "slow":
		m.Done(session.Answer{Kind: session.Slow, Text: "too fast"})
	case "unsure":
		m.Done(session.Answer{Kind: session.Unsure, Text: "the log is silent"})
	case "hold":
		s.held = append(s.held, m)
	case "free":
		for i := len(s.held); i > 0; i-- { // in the order that is not the client's
			s.held[i-1].Done(session.Answer{})
		}
		s.held = nil
		m.Done(session.Answer{})
	default:
		go m.Done(session.Answer{})
	}
}

func (s *server) Closed(*session.Conn, session.Ended) {}

// connected is a client of a server that answers by payload.
func connected(t *testing.T, s *server, o publisher.Options) (*publisher.Publisher, error) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	var serving sync.WaitGroup
	t.Cleanup(func() {
		stop()
		serving.Wait()
	})
	settings := &session.Settings{Limits: session.DefaultLimits()}
	settings.Limits.Pause = 10 * time.Millisecond
	serving.Go(func() {
		defer ln.Close()
		conn, err := ln.Accept()
		if err != nil {
			t.Error(err)
			return
		}
		session.Serve(ctx, conn, settings, s)
	})
	conn, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	p, err := publisher.Dial(t.Context(), conn, o)
	if p != nil {
		t.Cleanup(func() { _ = p.Close() })
	}
	return p, err
}

func TestAMessageIsAnsweredByWhatTheServerSaysOfIt(t *testing.T) {
	p, err := connected(t, &server{}, publisher.Options{ClientID: "d"})
	if err != nil {
		t.Fatal(err)
	}
	say := func(payload string) error {
		return p.Publish(t.Context(), publisher.Message{Topic: "telemetry", QoS: 1, Payload: []byte(payload)})
	}
	for range 100 {
		if err := say("yes"); err != nil {
			t.Fatal(err)
		}
	}
	for payload, want := range map[string]packet.Reason{"no": packet.PayloadFormatInvalid, "slow": packet.QuotaExceeded} {
		refused, ok := errors.AsType[*publisher.Refused](say(payload))
		if !ok || refused.Reason != want {
			t.Errorf("%q: %v", payload, refused)
		}
	}
	if err := p.Publish(t.Context(), publisher.Message{Topic: "telemetry", Payload: []byte("yes")}); err != nil {
		t.Error("QoS 0:", err)
	}
	ended, ok := errors.AsType[*publisher.Ended](say("unsure"))
	if !ok || ended.Reason != packet.ServerBusy {
		t.Errorf("unsure: %v", ended)
	}
	if err := say("yes"); err == nil {
		t.Error("published on a connection that is over")
	}
}

func TestManyMessagesAreOnTheirWayAndAnsweredInAnyOrder(t *testing.T) {
	for _, v := range []packet.Version{packet.V311, packet.V5} {
		t.Run(v.String(), func(t *testing.T) {
			s := &server{}
			p, err := connected(t, s, publisher.Options{Version: v, ClientID: "d", Window: 64})
			if err != nil {
				t.Fatal(err)
			}
			answers := make(chan error, 64)
			send := func(payload string) {
				err := p.Send(t.Context(), publisher.Message{Topic: "t", QoS: 1, Payload: []byte(payload)}, func(err error) { answers <- err })
				if err != nil {
					t.Fatal(err)
				}
			}
			for range 63 {
				send("hold")
			}
			send("free")
			for i := range 64 {
				if err := <-answers; err != nil {
					t.Error(i, err)
				}
			}
		})
	}
}

func TestAStrangerIsToldWhy(t *testing.T) {
	for _, v := range []packet.Version{packet.V311, packet.V5} {
		_, err := connected(t, &server{}, publisher.Options{Version: v, ClientID: "stranger"})
		refused, ok := errors.AsType[*publisher.Refused](err)
		if !ok || refused.Reason != packet.BadClientID {
			t.Error(v, err)
		}
	}
}

func TestOrderIsKept(t *testing.T) {
	s := &server{}
	p, err := connected(t, s, publisher.Options{})
	if err != nil {
		t.Fatal(err)
	}
	const n = 500
	var waiting sync.WaitGroup
	for i := range n {
		waiting.Add(1)
		err := p.Send(t.Context(), publisher.Message{Topic: "t", QoS: byte(i % 2), Payload: fmt.Append(nil, i)}, func(err error) {
			defer waiting.Done()
			if err != nil {
				t.Error(err)
			}
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	waiting.Wait()
	if err := p.Publish(t.Context(), publisher.Message{Topic: "t", QoS: 1}); err != nil {
		t.Fatal(err)
	}
	for i := range n {
		if want := fmt.Sprintf("t %d", i); s.got[i] != want {
			t.Fatalf("%d: %q", i, s.got[i])
		}
	}
}
