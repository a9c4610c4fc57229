package kafka

import (
	"encoding/binary"
	"errors"
	"io"
	"net"
	"os"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// frame is a request as it goes over the wire.
func frame(key, version int16, body ...byte) []byte {
	p := make([]byte, 0, 64)
	p = binary.BigEndian.AppendUint32(p, uint32(10+len(body)))
	p = binary.BigEndian.AppendUint16(p, uint16(key))
	p = binary.BigEndian.AppendUint16(p, uint16(version))
	p = binary.BigEndian.AppendUint32(p, 7)
	p = binary.BigEndian.AppendUint16(p, 0xffff) // no client id
	return append(p, body...)
}

func connect(t *testing.T, addr string) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	if err := c.SetDeadline(time.Now().Add(aWhile)); err != nil {
		t.Fatal(err)
	}
	return c
}

func TestAStrangersBytesDoNotEndTheBroker(t *testing.T) {
	b := start(t, Config{Users: users(), DataDir: t.TempDir()})
	for name, bytes := range map[string][]byte{
		"a key that no Kafka has":  frame(999, 0),
		"a negative key":           frame(-1, 0),
		"a negative version":       frame(int16(kmsg.Metadata), -1),
		"2 GiB":                    {0x7f, 0xff, 0xff, 0xff, 0, 18, 0, 0, 0, 0, 0, 1},
		"4 GiB":                    {0xff, 0xff, 0xff, 0xff, 0, 18, 0, 0, 0, 0, 0, 1},
		"nothing":                  {0, 0, 0, 0, 0, 18, 0, 0, 0, 0, 0, 1},
		"more than a stranger may": {0, 1, 0, 1, 0, 18, 0, 0, 0, 0, 0, 1},
		"plain HTTP":               []byte("GET / HTTP/1.1\r\nHost: x\r\n\r\n"),
		"a produce of garbage":     frame(int16(kmsg.Produce), 9, 0xff, 0xff, 0xff, 0xff),
	} {
		t.Run(name, func(t *testing.T) {
			c := connect(t, b.Addr())
			if _, err := c.Write(bytes); err != nil {
				t.Fatal(err)
			}
			if got, err := io.ReadAll(c); err != nil && len(got) > 0 {
				t.Errorf("%d bytes came, %v", len(got), err)
			}
		})
	}
	if err := client(t, b.Addr(), "admin", secretOf("admin")).Ping(within(t)); err != nil {
		t.Errorf("the broker after them: %v", err)
	}
}

func TestWhoDoesNotAuthenticateIsClosedAndWhoDoesStays(t *testing.T) {
	t.Parallel()
	b := start(t, Config{Users: users(), DataDir: t.TempDir()})
	cl := client(t, b.Addr(), "admin", secretOf("admin"))
	if err := cl.Ping(within(t)); err != nil {
		t.Fatal(err)
	}
	c := connect(t, b.Addr())
	began := time.Now()
	if _, err := io.ReadAll(c); err != nil {
		t.Errorf("a silent stranger: %v", err)
	}
	if took := time.Since(began); took < patience/2 {
		t.Errorf("a silent stranger stayed for %v", took)
	}
	if err := cl.Ping(within(t)); err != nil {
		t.Errorf("one who is known, after that time: %v", err)
	}
}

func TestAStrangersTimeIsBounded(t *testing.T) {
	_, theirs := net.Pipe()
	bounded := &deadlines{Conn: theirs}
	g, err := newGuard(bounded, false, nil, door{})
	if err != nil {
		t.Fatal(err)
	}
	g.Close()
	if left := time.Until(bounded.reading); left <= 0 || left > patience {
		t.Errorf("a stranger may say nothing for %v", left)
	}
}

// No answer but those of a whole SCRAM exchange makes a stranger known.
func TestErrorsAndBeginningsDoNotMakeAStrangerKnown(t *testing.T) {
	answer := func(bytes ...byte) []byte {
		return append([]byte{0, 0, 0, 20, 0, 0, 0, 7}, append(bytes, make([]byte, 8)...)...)
	}
	auth, shake := int16(kmsg.SASLAuthenticate), int16(kmsg.SASLHandshake)
	for _, c := range []struct {
		name  string
		steps []asked
		with  [][]byte
		known bool
	}{
		{"two rounds", []asked{{18, 3}, {shake, 1}, {auth, 1}, {auth, 1}}, [][]byte{answer(0, 0), answer(0, 0), answer(0, 0), answer(0, 0)}, true},
		{"two rounds with tags", []asked{{shake, 1}, {auth, 2}, {auth, 2}}, [][]byte{answer(0, 0), answer(0, 0, 0), answer(0, 0, 0)}, true},
		{"errors with tags", []asked{{auth, 2}, {auth, 2}}, [][]byte{answer(0, 0, 34), answer(0, 0, 34)}, false},
		{"errors", []asked{{auth, 1}, {auth, 1}}, [][]byte{answer(0, 34), answer(0, 34)}, false},
		{"two beginnings", []asked{{shake, 1}, {auth, 1}, {shake, 1}, {auth, 1}}, [][]byte{answer(0, 0), answer(0, 0), answer(0, 0), answer(0, 0)}, false},
		{"other answers", []asked{{18, 0}, {18, 0}, {3, 1}}, [][]byte{answer(0, 0), answer(0, 0), answer(0, 0)}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			ours, theirs := net.Pipe()
			defer ours.Close()
			go io.Copy(io.Discard, ours)
			g, err := newGuard(theirs, false, nil, door{})
			if err != nil {
				t.Fatal(err)
			}
			defer g.Close()
			g.asked = c.steps
			for _, p := range c.with {
				if _, err := g.Write(p); err != nil {
					t.Fatal(err)
				}
			}
			if g.known != c.known {
				t.Errorf("known %v", g.known)
			}
		})
	}
}

func TestConnectionsAboveTheBoundAreClosedAndPlacesComeBack(t *testing.T) {
	b := start(t, Config{NoAuth: true, DataDir: t.TempDir()})
	conns := make([]net.Conn, maxConnections)
	for i := range conns {
		conns[i] = connect(t, b.Addr())
	}
	eventually(t, func() bool { return len(b.gate.places) == maxConnections })
	if n, err := connect(t, b.Addr()).Read(make([]byte, 1)); n != 0 || err == nil {
		t.Errorf("one more: %d bytes, %v", n, err)
	}
	for _, c := range conns {
		c.Close()
	}
	eventually(t, func() bool { return len(b.gate.places) == 0 })
}

func TestStrangersDoNotKeepOutThoseWhoAreKnown(t *testing.T) {
	b := start(t, Config{Users: users()})
	known := client(t, b.Addr(), "admin", secretOf("admin"))
	if err := known.Ping(within(t)); err != nil {
		t.Fatal(err)
	}
	var crowd []net.Conn
	for range maxStrangers + 20 {
		crowd = append(crowd, connect(t, b.Addr()))
	}
	late := client(t, b.Addr(), "admin", secretOf("admin"))
	if err := late.Ping(within(t)); err != nil {
		t.Errorf("one who came after them: %v", err)
	}
	if err := known.Ping(within(t)); err != nil {
		t.Errorf("one who came before them: %v", err)
	}
	crowd[0].SetReadDeadline(time.Now().Add(patience / 2))
	if n, err := crowd[0].Read(make([]byte, 1)); n > 0 || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("the first of them is there still: %d bytes, %v", n, err)
	}
}

func TestNoUserTakesTheOthersPlaces(t *testing.T) {
	b := start(t, Config{Users: users()})
	b.gate.mu.Lock()
	b.gate.ofUser = 4
	b.gate.mu.Unlock()
	var guests []*kgo.Client
	for range 4 {
		cl := client(t, b.Addr(), "guest", secretOf("guest"))
		if err := cl.Ping(within(t)); err != nil {
			t.Fatal(err)
		}
		guests = append(guests, cl)
	}
	if err := client(t, b.Addr(), "guest", secretOf("guest")).Ping(within(t)); err == nil {
		t.Error("a user has one connection more than it may have")
	}
	if err := client(t, b.Addr(), "admin", secretOf("admin")).Ping(within(t)); err != nil {
		t.Errorf("another user: %v", err)
	}
	guests[0].Close()
	eventually(t, func() bool { return client(t, b.Addr(), "guest", secretOf("guest")).Ping(within(t)) == nil })
	eventually(t, func() bool { // those who were refused give their places back by themselves
		b.gate.mu.Lock()
		defer b.gate.mu.Unlock()
		return len(b.gate.strangers) == 0 && len(b.gate.users) == 2
	})
}
