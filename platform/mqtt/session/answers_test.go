package session

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"muster.dev/platform/mqtt/packet"
)

// A message's answers, as they go over the wire, and what follows them.
func TestAnAnswerIsWhatTheVersionHasForIt(t *testing.T) {
	for _, c := range []struct {
		name   string
		answer Answer
		v5     string // "" is: no PUBACK
		v311   string
		ends5  packet.Reason // 0: the connection lives
		ends3  bool
	}{
		{"stored", Answer{Kind: Stored}, "\x40\x02\x00\x07", "\x40\x02\x00\x07", 0, false},
		{"refused", Answer{Kind: Refused, Reason: packet.PayloadFormatInvalid, Text: "no"},
			"\x40\x09\x00\x07\x99\x05\x1f\x00\x02no", "", 0, true},
		{"refused without a reason", Answer{Kind: Refused}, "\x40\x03\x00\x07\x83", "", 0, true},
		{"refused for what PUBACK has no word for", Answer{Kind: Refused, Reason: packet.PacketTooLarge}, "\x40\x03\x00\x07\x83", "", 0, true},
		{"refused for what DISCONNECT has no word for", Answer{Kind: Refused, Reason: packet.Banned, HangUp: true}, "\x40\x03\x00\x07\x83", "",
			packet.AdministrativeAction, true},
		{"stored, and the last", Answer{Kind: Stored, HangUp: true}, "\x40\x02\x00\x07", "\x40\x02\x00\x07", packet.AdministrativeAction, true},
		{"slow", Answer{Kind: Slow}, "\x40\x03\x00\x07\x97", "", 0, true},
		{"slow, and enough of it", Answer{Kind: Slow, HangUp: true}, "\x40\x03\x00\x07\x97", "", packet.QuotaExceeded, true},
		{"refused, and enough of it", Answer{Kind: Refused, Reason: packet.NotAuthorized, HangUp: true}, "\x40\x03\x00\x07\x87", "",
			packet.NotAuthorized, true},
		{"unsure", Answer{Kind: Unsure, Text: "the log is silent"}, "", "", packet.ServerBusy, true},
		{"skipped", Answer{Kind: Skipped}, "", "", 0, false},
	} {
		for _, v := range []packet.Version{packet.V5, packet.V311} {
			t.Run(c.name+" in "+v.String(), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					s := settings()
					w := connect(t, s, &recorder{publish: func(_ *Conn, m *Message) { m.Done(c.answer) }})
					w.in(hello(v))
					began := time.Now()
					w.write(publication(v, packet.Publish{QoS: 1, ID: 7})...)
					puback, ends := c.v5, c.ends5.Failed()
					if v == packet.V311 {
						puback, ends = c.v311, c.ends3
					}
					if puback != "" {
						w.expect([]byte(puback)...)
					}
					if !ends {
						w.write(packet.AppendPingreq(nil)...)
						w.expect(0xd0, 0)
						return
					}
					p := w.next()
					e := w.over()
					if v == packet.V311 {
						if p != nil {
							t.Errorf("told % x", p)
						}
						if d := time.Since(began); d < s.Limits.Pause || d > s.Limits.Pause+linger {
							t.Errorf("it ended after %v: a client that comes back at once has to have waited", d)
						}
						if !e.Reason.Failed() {
							t.Errorf("ended %v", e)
						}
						return
					}
					if p == nil || p[0] != 0xe0 || packet.Reason(p[2]) != c.ends5 || e.Reason != c.ends5 {
						t.Errorf("told % x, and ended %v", p, e)
					}
				})
			})
		}
	}
}

func TestQoS0IsNotAnsweredButEndsWhereTheHandlerSaysSo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, a := range []Answer{{Kind: Stored}, {Kind: Refused}, {Kind: Slow}, {Kind: Skipped}} {
			for _, v := range []packet.Version{packet.V5, packet.V311} {
				w := connect(t, settings(), &recorder{publish: func(_ *Conn, m *Message) { m.Done(a) }})
				w.in(hello(v))
				w.write(publication(v, packet.Publish{})...)
				w.write(packet.AppendPingreq(nil)...)
				w.expect(0xd0, 0)
			}
		}
		w := connect(t, settings(), &recorder{publish: func(_ *Conn, m *Message) { m.Done(Answer{Kind: Unsure}) }})
		w.in(hello(packet.V5))
		w.write(publication(packet.V5, packet.Publish{})...)
		if k := w.bye(); k.Reason != packet.ServerBusy {
			t.Errorf("ended for %v", k.Reason)
		}
	})
}

// held keeps the messages until they are answered by the test.
type held struct {
	mu  sync.Mutex
	all []*Message
}

func (h *held) keep(_ *Conn, m *Message) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.all = append(h.all, m)
}

func (h *held) len() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.all)
}

func (h *held) answer(i int, a Answer) {
	h.mu.Lock()
	m := h.all[i]
	h.mu.Unlock()
	m.Done(a)
}

func TestWhatTheLogDoesNotKnowIsSentAgainAndWhatItStoredIsNot(t *testing.T) {
	for _, v := range []packet.Version{packet.V5, packet.V311} {
		synctest.Test(t, func(t *testing.T) {
			h := &held{}
			w := connect(t, settings(), &recorder{publish: h.keep})
			w.in(hello(v))
			for id := range uint16(3) {
				w.write(publication(v, packet.Publish{QoS: 1, ID: id + 1})...)
			}
			synctest.Wait()
			h.answer(1, Answer{Kind: Unsure})
			time.Sleep(100 * time.Millisecond) // in a bubble: the others are a little later
			h.answer(0, Answer{Kind: Stored})
			w.expect(0x40, 2, 0, 1)
			h.answer(2, Answer{Kind: Stored})
			w.expect(0x40, 2, 0, 3)
			if k := w.bye(); v == packet.V5 && k.Reason != packet.ServerBusy {
				t.Errorf("ended for %v", k.Reason)
			}
			w.over()
		})
	}
}

func TestAHandlerThatNeverAnswersDoesNotHoldTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := &held{}
		r := &recorder{publish: h.keep}
		s := settings()
		w := connect(t, s, r)
		w.in(hello(packet.V5))
		w.write(publication(packet.V5, packet.Publish{QoS: 1, ID: 1})...)
		w.write(publication(packet.V5, packet.Publish{QoS: 1, ID: 2})...)
		synctest.Wait()
		h.answer(0, Answer{Kind: Unsure})
		began := time.Now()
		w.bye()
		if d := time.Since(began); d != s.Limits.Pause {
			t.Errorf("it waited %v for what the handler has", d)
		}
		w.over()
		h.answer(1, Answer{Kind: Stored}) // far too late, and of no harm
	})
}

func TestOneMessageMoreThanTheReceiveMaximumEndsFiveAndHoldsThreeBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		most := settings().Limits.ReceiveMaximum
		h := &held{}
		five := connect(t, settings(), &recorder{publish: h.keep})
		if k := five.in(hello(packet.V5)); int(k.ReceiveMaximum) != most {
			t.Fatalf("told %d", k.ReceiveMaximum)
		}
		for id := range most + 1 {
			five.write(publication(packet.V5, packet.Publish{QoS: 1, ID: uint16(id + 1)})...)
		}
		if k := five.bye(); k.Reason != packet.ReceiveMaximumExceeded {
			t.Errorf("ended for %v", k.Reason)
		}
		if five.over(); h.len() != most {
			t.Errorf("%d messages were published", h.len())
		}

		h = &held{}
		old := connect(t, settings(), &recorder{publish: h.keep})
		old.in(hello(packet.V311))
		for id := range most + 10 {
			old.write(publication(packet.V311, packet.Publish{QoS: 1, ID: uint16(id + 1)})...)
		}
		synctest.Wait()
		if h.len() != most {
			t.Fatalf("%d messages are with the handler", h.len())
		}
		for i := range 10 {
			h.answer(i, Answer{})
			old.expect(0x40, 2, 0, byte(i+1))
			synctest.Wait()
			if h.len() != most+i+1 {
				t.Fatalf("after %d answers %d messages came", i+1, h.len())
			}
		}
	})
}

func TestWhatIsAnsweredMakesRoomAsSoonAsTheClientCanKnow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		most := settings().Limits.ReceiveMaximum
		h := &held{}
		w := connect(t, settings(), &recorder{publish: h.keep})
		w.in(hello(packet.V5))
		for i := range 10 * most { // the window is always full
			if i >= most {
				h.answer(i-most, Answer{})
				id := uint16((i-most)%most + 1)
				w.expect(0x40, 2, byte(id>>8), byte(id))
			}
			w.write(publication(packet.V5, packet.Publish{QoS: 1, ID: uint16(i%most + 1)})...)
			synctest.Wait()
			if h.len() != i+1 {
				t.Fatalf("message %d did not come", i)
			}
		}
	})
}

func TestQoS0IsHeldBackWhereTheHandlerIsBehind(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := &held{}
		w := connect(t, settings(), &recorder{publish: h.keep})
		w.in(hello(packet.V5))
		most := 2 * settings().Limits.ReceiveMaximum
		for range most + 5 {
			w.write(publication(packet.V5, packet.Publish{})...)
		}
		synctest.Wait()
		if h.len() != most {
			t.Fatalf("%d messages are with the handler", h.len())
		}
		for i := range most + 5 {
			h.answer(i, Answer{})
			synctest.Wait()
		}
		if h.len() != most+5 {
			t.Errorf("%d messages came", h.len())
		}
	})
}

func TestAMessageSentAgainWhileItIsOnItsWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		// ESP-IDF's client of 3.1.1 sends again by a timer.
		h := &held{}
		old := connect(t, settings(), &recorder{publish: h.keep})
		old.in(hello(packet.V311))
		old.write(publication(packet.V311, packet.Publish{QoS: 1, ID: 9})...)
		old.write(publication(packet.V311, packet.Publish{QoS: 1, ID: 9, Dup: true})...)
		synctest.Wait()
		if h.len() != 1 {
			t.Fatalf("%d messages", h.len())
		}
		h.answer(0, Answer{})
		old.expect(0x40, 2, 0, 9)
		old.write(publication(packet.V311, packet.Publish{QoS: 1, ID: 9, Dup: true})...) // for it the PUBACK was lost: it counts anew
		synctest.Wait()
		if h.len() != 2 {
			t.Fatalf("%d messages", h.len())
		}
		old.write(publication(packet.V311, packet.Publish{QoS: 1, ID: 9})...) // another message under the same identifier
		if e := old.over(); e.Reason != packet.ProtocolError {
			t.Errorf("ended %v", e)
		}

		h = &held{}
		five := connect(t, settings(), &recorder{publish: h.keep}) // there is no such thing in 5.0
		five.in(hello(packet.V5))
		five.write(publication(packet.V5, packet.Publish{QoS: 1, ID: 9})...)
		five.write(publication(packet.V5, packet.Publish{QoS: 1, ID: 9, Dup: true})...)
		if k := five.bye(); k.Reason != packet.ProtocolError {
			t.Errorf("ended for %v", k.Reason)
		}
	})
}

func TestAliasesStandForTheirTopicsAlsoWhenTheyChange(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := &held{}
		r := &recorder{publish: h.keep}
		w := connect(t, settings(), r)
		if k := w.in(hello(packet.V5)); k.TopicAliasMax != 16 {
			t.Fatalf("told %d aliases", k.TopicAliasMax)
		}
		send := func(topic string, alias uint16) {
			w.write(publication(packet.V5, packet.Publish{Topic: []byte(topic), Alias: alias, Payload: []byte("x")})...)
		}
		send("first", 1)
		send("", 1)
		send("sixteenth", 16)
		send("", 16)
		send("", 1)
		send("other", 1)
		send("", 1)
		synctest.Wait()
		want := []string{"first", "first", "sixteenth", "sixteenth", "first", "other", "other"}
		for i, topic := range want {
			if got := string(h.all[i].Topic); got != topic { // as the handler still sees it
				t.Errorf("message %d: %q, and should be %q", i, got, topic)
			}
		}
	})
}

func TestReasonsAreToldToThoseWhoWantThem(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		long := strings.Repeat("x", 1000)
		for _, c := range []struct {
			change func(*packet.Connect)
			text   string
		}{
			{func(*packet.Connect) {}, long[:256]},
			{func(k *packet.Connect) { k.NoProblemInfo = true }, ""},
			{func(k *packet.Connect) { k.MaximumPacket = 100 }, ""},
		} {
			w := connect(t, settings(), &recorder{publish: func(_ *Conn, m *Message) {
				m.Done(Answer{Kind: Refused, Reason: packet.TopicNameInvalid, Text: long})
			}})
			k := hello(packet.V5)
			c.change(&k)
			w.in(k)
			w.write(publication(packet.V5, packet.Publish{QoS: 1, ID: 7})...)
			p := w.next()
			var ack packet.Puback
			_, n, _ := packet.ParseHeader(p)
			if err := ack.Decode(p[n:], packet.V5); err != nil || ack.Reason != packet.TopicNameInvalid || ack.Text != c.text {
				t.Errorf("told %v (%q): %v", ack.Reason, ack.Text, err)
			}
		}
	})
}

// room is a small memory.
type room struct {
	mu   sync.Mutex
	left int64
}

func (r *room) Take(n int64) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if n > r.left {
		return false
	}
	r.left -= n
	return true
}

func (r *room) Give(n int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.left += n
}

func TestAMessageForWhichThereIsNoMemoryIsNotReadAndSentLater(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, mem := settings(), &room{left: 50_000}
		s.Room = mem
		h := &held{}
		w := connect(t, s, &recorder{publish: h.keep})
		w.in(hello(packet.V5))
		big := packet.Publish{QoS: 1, ID: 1, Payload: make([]byte, 40_000)}
		w.write(publication(packet.V5, big)...)
		big.ID = 2
		w.write(publication(packet.V5, big)...) // no room
		p := w.next()
		if len(p) < 5 || p[3] != 2 || packet.Reason(p[4]) != packet.QuotaExceeded {
			t.Fatalf("told % x", p)
		}
		w.write(publication(packet.V5, packet.Publish{QoS: 1, ID: 3})...) // what follows it is read as it is
		synctest.Wait()
		h.answer(0, Answer{})
		w.expect(0x40, 2, 0, 1)
		h.answer(1, Answer{})
		w.expect(0x40, 2, 0, 3)
		big.ID = 4
		w.write(publication(packet.V5, big)[:20_000]...)
		synctest.Wait()
		_ = w.conn.Close() // in the middle of it
		w.over()
		if mem.left != 50_000 {
			t.Errorf("%d bytes are not given back", 50_000-mem.left)
		}

		mem.left = 10
		old := connect(t, s, &recorder{publish: h.keep})
		old.in(hello(packet.V311))
		old.write(publication(packet.V311, packet.Publish{Payload: make([]byte, 40_000)})...) // QoS 0: gone
		old.write(packet.AppendPingreq(nil)...)
		old.expect(0xd0, 0)
		old.write(publication(packet.V311, big)...)
		if p := old.next(); p != nil {
			t.Errorf("told % x", p)
		}
		if e := old.over(); e.Reason != packet.QuotaExceeded {
			t.Errorf("ended %v", e)
		}
	})
}

func TestAMessageHoldsNoMemoryBeforeItComes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, mem := settings(), &room{left: 100_000}
		s.Room = mem
		h := &held{}
		w := connect(t, s, &recorder{publish: h.keep})
		w.in(hello(packet.V5))
		p := publication(packet.V5, packet.Publish{QoS: 1, ID: 1, Payload: make([]byte, 90_000)})
		for sent, until := 0, 0; sent < len(p); sent = until {
			until = min(sent+1_000, len(p))
			w.write(p[sent:until]...)
			synctest.Wait()
			mem.mu.Lock()
			held := int(100_000 - mem.left)
			mem.mu.Unlock()
			if held > 8*until+firstBlock {
				t.Errorf("%d bytes are held when %d of %d have come", held, until, len(p))
			}
		}
		if len(h.all) != 1 || len(h.all[0].Payload) != 90_000 || 100_000-mem.left < 90_000 {
			t.Fatalf("%d messages, %d bytes are held", len(h.all), 100_000-mem.left)
		}
		// There is room for another's beginning, and not for the rest of it.
		p = publication(packet.V5, packet.Publish{QoS: 1, ID: 2, Payload: make([]byte, 50_000)})
		w.write(p[:8_000]...)
		w.write(p[8_000:]...)
		if p := w.next(); len(p) < 5 || p[3] != 2 || packet.Reason(p[4]) != packet.QuotaExceeded {
			t.Fatalf("told % x", p)
		}
		h.answer(0, Answer{})
		w.expect(0x40, 2, 0, 1)
		w.write(p...) // now there is
		synctest.Wait()
		h.answer(1, Answer{})
		w.expect(0x40, 2, 0, 2)
		if mem.left != 100_000 {
			t.Errorf("%d bytes are not given back", 100_000-mem.left)
		}
	})
}

func TestWhatAnAliasStandsForIsKeptOfAMessageForWhichThereIsNoMemory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, mem := settings(), &room{left: 10_000}
		s.Room = mem
		h := &held{}
		w := connect(t, s, &recorder{publish: h.keep})
		w.in(hello(packet.V5))
		w.write(publication(packet.V5, packet.Publish{Topic: []byte("events"), Alias: 1})...)
		w.write(publication(packet.V5, packet.Publish{Topic: []byte("telemetry"), Alias: 1, QoS: 1, ID: 7, Payload: make([]byte, 20_000)})...)
		if p := w.next(); len(p) < 5 || p[3] != 7 || packet.Reason(p[4]) != packet.QuotaExceeded {
			t.Fatalf("told % x", p)
		}
		w.write(publication(packet.V5, packet.Publish{Topic: []byte{}, Alias: 1, QoS: 1, ID: 7})...)
		synctest.Wait()
		if got := string(h.all[1].Topic); got != "telemetry" {
			t.Errorf("the alias stands for %q", got)
		}
		// Where its head is too long to know, nothing is taken for granted.
		w.write(publication(packet.V5, packet.Publish{QoS: 1, ID: 8, Payload: make([]byte, 20_000)}, packet.Property{Name: "x", Value: strings.Repeat("y", 5_000)})...)
		if k := w.bye(); k.Reason != packet.QuotaExceeded {
			t.Errorf("told %v", k.Reason)
		}
	})
}

func ExampleEnded_String() {
	fmt.Println(Ended{By: ByServer, Reason: packet.KeepAliveTimeout, Text: "nothing came for 1m30s"})
	// Output: the server: keep alive timeout: nothing came for 1m30s
}
