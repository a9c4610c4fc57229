package session

import (
	"context"
	"net"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"muster.dev/platform/mqtt/mqtttest"
	"muster.dev/platform/mqtt/packet"
)

func TestAClientIsToldHowLongItMayBeSilentAndIsReapedAfterOneAndAHalfTimesThat(t *testing.T) {
	for _, c := range []struct {
		version packet.Version
		asked   uint16
		told    int // seconds; 0: nothing
		reaped  time.Duration
	}{
		{packet.V5, 60, 0, 90 * time.Second},
		{packet.V5, 0, 60, 90 * time.Second},
		{packet.V5, 1, 10, 15 * time.Second},
		{packet.V5, 65_535, 300, 450 * time.Second},
		{packet.V311, 60, 0, 90 * time.Second},
		{packet.V311, 0, 0, 300 * time.Second},
		{packet.V311, 1, 0, 15 * time.Second},
		{packet.V311, 65_535, 0, 450 * time.Second},
	} {
		synctest.Test(t, func(t *testing.T) {
			w := connect(t, settings(), &recorder{})
			k := hello(c.version)
			k.KeepAlive = c.asked
			ack := w.in(k)
			if told := ack.KeepAlive; c.told == 0 != (told == nil) || told != nil && int(*told) != c.told {
				t.Errorf("%v, %d s: told %v", c.version, c.asked, told)
			}
			for range 5 { // as long as it says something it lives
				time.Sleep(c.reaped - time.Second)
				w.write(packet.AppendPingreq(nil)...)
				w.expect(0xd0, 0)
			}
			quiet := time.Now()
			said := w.bye()
			if d := time.Since(quiet); d < c.reaped || d > c.reaped+c.reaped/15 {
				t.Errorf("%v, %d s: ended after %v of silence, and should after %v", c.version, c.asked, d, c.reaped)
			}
			if e := w.over(); e.Reason != packet.KeepAliveTimeout || c.version == packet.V5 && said.Reason != e.Reason {
				t.Errorf("%v, %d s: ended %v", c.version, c.asked, e)
			}
		})
	}
}

func TestWhatIsSlowIsNotWaitedFor(t *testing.T) {
	l := DefaultLimits()
	greeting := hello(packet.V5)
	connect5 := greeting.Append(nil)
	for name, c := range map[string]struct {
		before bool
		bytes  []byte
		step   int
		limit  time.Duration
		reason packet.Reason
	}{
		"nothing":                        {true, nil, 1, l.Connect, packet.ProtocolError},
		"CONNECT byte for byte":          {true, connect5, 1, l.Connect, packet.ProtocolError},
		"a header's first byte":          {false, []byte{0x30}, 1, l.Body, packet.ImplementationSpecific},
		"PUBLISH byte for byte":          {false, publication(packet.V5, packet.Publish{Payload: make([]byte, 1000)}), 1, l.Body, packet.ImplementationSpecific},
		"a large PUBLISH in little bits": {false, publication(packet.V5, packet.Publish{Payload: make([]byte, 200_000)}), 5_000, l.Body, packet.ImplementationSpecific},
		"SUBSCRIBE byte for byte":        {false, packet.AppendSubscribe(nil, packet.SUBSCRIBE, packet.V5, 1, strings.Repeat("f", 400)), 1, l.Body, packet.ImplementationSpecific},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := connect(t, settings(), &recorder{})
				if !c.before {
					w.in(greeting)
				}
				began := time.Now()
				var writing sync.WaitGroup
				writing.Go(func() {
					for b := c.bytes; len(b) > 0; b = b[min(c.step, len(b)):] {
						if _, err := w.conn.Write(b[:min(c.step, len(b))]); err != nil {
							return
						}
						time.Sleep(time.Second)
					}
				})
				defer writing.Wait()
				e := w.over()
				if d := time.Since(began); d < c.limit || d > c.limit+linger {
					t.Errorf("ended after %v, and should after %v", d, c.limit)
				}
				if e.By != ByServer || e.Reason != c.reason {
					t.Errorf("ended %v", e)
				}
				_ = w.conn.Close()
			})
		})
	}
}

func TestAClientThatDoesNotReadIsNotWaitedFor(t *testing.T) {
	var messages []byte
	for id := range byte(200) {
		messages = append(messages, "\x32\x06\x00\x01t\x00"+string([]byte{id + 1})+"x"...)
	}
	for name, flood := range map[string][]byte{
		"pings":         []byte(strings.Repeat("\xc0\x00", 500)),
		"subscriptions": []byte(strings.Repeat("\x82\x06\x00\x01\x00\x01a\x01", 200)),
		"messages":      messages,
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				near, far := mqtttest.Pair(2000) // what a network takes that nobody reads
				s := settings()
				s.Limits.Chatter = 1e9 // that is another limit
				ended := make(chan Ended, 1)
				go func() { ended <- Serve(t.Context(), far, s, &recorder{}) }()
				w := &wire{t: t, conn: near}
				w.in(hello(packet.V311))
				began := time.Now()
				var writing sync.WaitGroup
				defer writing.Wait()
				writing.Go(func() {
					for {
						if _, err := near.Write(flood); err != nil {
							return
						}
					}
				})
				e := <-ended
				if d := time.Since(began); e.By != ByNetwork || d > 2*s.Limits.Write+linger {
					t.Errorf("ended %v after %v", e, d)
				}
				_ = near.Close()
			})
		})
	}
}

func TestWhoIsNotLetInIsToldWhyInTheWordsOfItsVersion(t *testing.T) {
	for reason, code := range map[packet.Reason]byte{
		packet.NotAuthorized: 5, packet.BadClientID: 2, packet.ServerUnavailable: 3, packet.BadUserOrPassword: 4, packet.QuotaExceeded: 3, 0: 5,
	} {
		synctest.Test(t, func(t *testing.T) {
			r := &recorder{connect: func(*Conn, *Hello) (Refusal, bool) { return Refusal{Reason: reason, Text: "because"}, false }}
			old := connect(t, settings(), r)
			k := hello(packet.V311)
			old.write(k.Append(nil)...)
			old.expect(0x20, 2, 0, code)
			old.over()
			if reason == 0 {
				reason = packet.NotAuthorized
			}
			five := connect(t, settings(), r)
			if ack := five.in(hello(packet.V5)); ack.Reason != reason || ack.Text != "because" {
				t.Errorf("told %v (%q)", ack.Reason, ack.Text)
			}
			if e := five.over(); e.Reason != reason || e.Let {
				t.Errorf("ended %v", e)
			}
		})
	}
}

func TestWhatAServerOfThisKindCannotDoIsSaidAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &recorder{}
		w := connect(t, settings(), r)
		k := hello(packet.V5)
		k.SessionExpiry, k.CleanStart, k.ClientID = 3600, false, nil
		k.Will = &packet.Will{Topic: []byte("w"), QoS: 1, Payload: []byte("gone")}
		ack := w.in(k)
		if ack.Reason != packet.Success || ack.SessionPresent || ack.SessionExpiry == nil || *ack.SessionExpiry != 0 || !ack.PublishOnly ||
			ack.ReceiveMaximum != 64 || ack.MaximumPacket != 256<<10 || ack.TopicAliasMax != 16 || !strings.HasPrefix(ack.AssignedID, "auto-") {
			t.Errorf("told %+v", ack)
		}
		w.write((&packet.Disconnect{Reason: packet.DisconnectWithWill, SessionExpiry: 7}).Append(nil, packet.V5)...)
		if e := w.over(); e.By != ByClient || e.Reason != packet.DisconnectWithWill {
			t.Errorf("ended %v", e)
		}
		if len(r.messages) > 0 || !r.hello.Will {
			t.Errorf("published %q", r.messages)
		}
	})
}

func TestPacketsThatBringNoMessageAreCounted(t *testing.T) {
	for name, packets := range map[string][]byte{
		"pings":           []byte("\xc0\x00"),
		"subscriptions":   packet.AppendSubscribe(nil, packet.SUBSCRIBE, packet.V5, 1, "a"),
		"unsubscriptions": packet.AppendSubscribe(nil, packet.UNSUBSCRIBE, packet.V5, 1, "a"),
	} {
		synctest.Test(t, func(t *testing.T) {
			w := connect(t, settings(), &recorder{})
			w.in(hello(packet.V5))
			once := func() bool { w.write(packets...); p := w.next(); return len(p) > 0 && p[0] != 0xe0 }
			for range 3 { // so many at once, and again after a minute
				for i := range 600 {
					if !once() {
						t.Fatalf("%s: ended at %d", name, i)
					}
				}
				time.Sleep(time.Minute)
			}
			for range 1000 { // ten a second is as many as there may be for ever
				if !once() {
					t.Fatalf("%s: ended", name)
				}
				time.Sleep(100 * time.Millisecond)
			}
			n := 0
			for once() {
				n++
			}
			if e := w.over(); n > 600 || e.Reason != packet.MessageRateTooHigh {
				t.Errorf("%s: ended after %d more, %v", name, n, e)
			}
		})
	}
}

func TestAClientThatTakesNoAnswerToConnectIsLeftWithoutAWord(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &recorder{}
		w := connect(t, settings(), r)
		k := hello(packet.V5)
		k.MaximumPacket = 4
		w.write(k.Append(nil)...)
		if p := w.next(); p != nil {
			t.Errorf("told % x", p)
		}
		if e := w.over(); e.Reason != packet.PacketTooLarge || len(r.closed) != 1 {
			t.Errorf("ended %v, and Closed came %d times", e, len(r.closed))
		}
	})
}

func TestAPanicEndsTheConnectionThatItHappenedInAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &recorder{publish: func(_ *Conn, m *Message) {
			if string(m.Payload) == "boom" {
				panic("boom")
			}
			m.Done(Answer{})
		}}
		neighbour := connect(t, settings(), r)
		neighbour.in(hello(packet.V5))
		w := connect(t, settings(), r)
		w.in(hello(packet.V5))
		w.write(publication(packet.V5, packet.Publish{QoS: 1, ID: 1, Payload: []byte("boom")})...)
		if k := w.bye(); k.Reason != packet.Unspecified {
			t.Errorf("told %v", k.Reason)
		}
		w.over()
		neighbour.write(publication(packet.V5, packet.Publish{QoS: 1, ID: 1})...)
		neighbour.expect(0x40, 2, 0, 1)

		r.connect = func(*Conn, *Hello) (Refusal, bool) { panic("boom") }
		early := connect(t, settings(), r)
		k := hello(packet.V5)
		early.write(k.Append(nil)...)
		if p := early.next(); p != nil {
			t.Errorf("told % x", p)
		}
		early.over()
	})
}

func TestWhoEndsAConnectionDoesNotWaitAndTheClientIsToldWhy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var c *Conn
		s := settings()
		r := &recorder{connect: func(conn *Conn, _ *Hello) (Refusal, bool) { c = conn; return Refusal{}, true }}
		w := connect(t, s, r)
		w.in(hello(packet.V5))
		began := time.Now()
		c.End(packet.ServerMoved, "the region is closed", "other.example:8883")
		c.End(packet.AdministrativeAction, "twice", "")
		if k := w.bye(); k.Reason != packet.ServerMoved || k.ServerReference != "other.example:8883" || k.Text != "the region is closed" {
			t.Errorf("told %+v", k)
		}
		_ = w.conn.Close()
		if e := w.over(); e.Reason != packet.ServerMoved || time.Since(began) > 0 {
			t.Errorf("ended %v after %v", e, time.Since(began))
		}

		deaf, far := mqtttest.Pair(100) // which takes no last words
		ended := make(chan Ended, 1)
		go func() { ended <- Serve(t.Context(), far, s, r) }()
		d := &wire{t: t, conn: deaf}
		d.in(hello(packet.V5))
		for range 2 {
			d.write([]byte(strings.Repeat("\xc0\x00", 50))...)
		}
		synctest.Wait()
		began = time.Now()
		c.End(packet.AdministrativeAction, "revoked", "")
		<-ended
		if d := time.Since(began); d > s.Limits.Farewell {
			t.Errorf("ended after %v", d)
		}
		_ = deaf.Close()
	})
}

func TestAServerThatStopsAnswersWhatItHasAndSaysSo(t *testing.T) {
	for _, v := range []packet.Version{packet.V5, packet.V311} {
		synctest.Test(t, func(t *testing.T) {
			near, far := mqtttest.Pair(1 << 20)
			ctx, stop := context.WithCancel(t.Context())
			defer stop()
			h := &held{}
			ended := make(chan Ended, 1)
			go func() { ended <- Serve(ctx, far, settings(), &recorder{publish: h.keep}) }()
			w := &wire{t: t, conn: near}
			w.in(hello(v))
			w.write(publication(v, packet.Publish{QoS: 1, ID: 1})...)
			synctest.Wait()
			stop()
			synctest.Wait()
			w.write(publication(v, packet.Publish{QoS: 1, ID: 2})...)
			time.Sleep(3 * time.Second)
			if h.len() != 1 {
				t.Error("it takes messages while it stops")
			}
			h.answer(0, Answer{})
			w.expect(0x40, 2, 0, 1)
			if k := w.bye(); v == packet.V5 && k.Reason != packet.ServerShuttingDown {
				t.Errorf("told %v", k.Reason)
			}
			if e := <-ended; e.Reason != packet.ServerShuttingDown {
				t.Errorf("ended %v", e)
			}
			_ = near.Close()
		})
	}
}

func TestEveryPacketIsCountedAndTheTagIsKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		counts := map[packet.Type]int{}
		s := settings()
		s.Packet = func(p packet.Type) { counts[p]++ }
		r := &recorder{
			connect: func(c *Conn, h *Hello) (Refusal, bool) { c.SetTag("tag of " + h.ClientID); return Refusal{}, true },
			publish: func(c *Conn, m *Message) {
				if c.Tag() != "tag of d" || c.Version() != packet.V5 || c.NetConn() == nil {
					t.Errorf("the tag is %v", c.Tag())
				}
				kind, _ := m.UserProperty("muster-backlog")
				if string(m.ContentType) != "application/json" || string(kind) != "1" || m.Size == 0 {
					t.Errorf("content type %q, backlog %q", m.ContentType, kind)
				}
				if _, there := m.UserProperty("other"); there {
					t.Error("a property that did not come")
				}
				m.Done(Answer{})
			},
		}
		w := connect(t, s, r)
		w.in(hello(packet.V5))
		for id := range uint16(3) {
			w.write(publication(packet.V5, packet.Publish{QoS: 1, ID: id + 1, ContentType: []byte("application/json")},
				packet.Property{Name: "x", Value: "y"}, packet.Property{Name: "muster-backlog", Value: "1"})...)
		}
		w.write(packet.AppendPingreq(nil)...)
		w.write((&packet.Disconnect{}).Append(nil, packet.V5)...)
		if e := w.over(); e.By != ByClient || e.Reason != packet.Success {
			t.Errorf("ended %v", e)
		}
		want := map[packet.Type]int{packet.CONNECT: 1, packet.PUBLISH: 3, packet.PINGREQ: 1, packet.DISCONNECT: 1}
		for p, n := range want {
			if counts[p] != n {
				t.Errorf("%v was counted %d times", p, counts[p])
			}
		}
	})
}

// Over the kernel's own TCP, where closing over bytes that nobody read resets the connection under the last words.
func TestTheLastWordsArriveAlsoWhenTheClientIsStillSending(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	var serving sync.WaitGroup
	defer serving.Wait()
	serving.Go(func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			serving.Go(func() { Serve(context.Background(), conn, settings(), &recorder{}) })
		}
	})
	defer ln.Close()
	for range 20 {
		conn, err := net.Dial("tcp", ln.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		w := &wire{t: t, conn: conn}
		w.in(hello(packet.V5))
		go func() { _, _ = conn.Write(publication(packet.V5, packet.Publish{Payload: make([]byte, 300_000)})) }()
		if k := w.bye(); k.Reason != packet.PacketTooLarge {
			t.Errorf("told %v", k.Reason)
		}
		_ = conn.Close()
	}
}
