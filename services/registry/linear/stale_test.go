package linear

import (
	"encoding/json"
	"net"
	"syscall"
	"testing"
	"time"
)

// caller is a client of one process who asks what the test says.
type caller struct {
	f      *fleet
	client int
	to     *process
	conn   net.Conn
	asked  operation
}

func (f *fleet) call(client int, to *process) *caller {
	f.t.Helper()
	var conn net.Conn
	waitUntil(f.t, "the process listens", 2*time.Minute, func() bool {
		var err error
		conn, err = net.Dial("unix", to.socket)
		return err == nil
	})
	f.t.Cleanup(func() { conn.Close() })
	return &caller{f: f, client: client, to: to, conn: conn}
}

// send asks, and does not wait.
func (c *caller) send(a ask) {
	c.f.t.Helper()
	b := c.f.all[a.Device]
	q := request{Op: a.Op, Device: a.Device, Serial: a.Serial, With: a.With, Synced: a.Synced, Key: b.spki[keyOf(a.Held)]}
	if a.Serial != "" {
		q.CSR = b.csr[a.CSR]
	}
	c.asked = operation{client: c.client, process: c.to.number, ask: a, asked: time.Since(c.f.began).Nanoseconds()}
	if err := json.NewEncoder(c.conn).Encode(q); err != nil {
		c.f.t.Fatal(err)
	}
}

// hear waits for the answer.
func (c *caller) hear() heard {
	c.f.t.Helper()
	var r reply
	if err := json.NewDecoder(c.conn).Decode(&r); err != nil {
		c.f.t.Fatal(err)
	}
	o := c.asked
	o.ended = time.Since(c.f.began).Nanoseconds()
	c.f.hear(&o, r)
	if o.heard.Said != elsewhere {
		c.f.note(o)
	}
	return o.heard
}

func (c *caller) ask(a ask) heard {
	c.f.t.Helper()
	c.send(a)
	return c.hear()
}

// done asks until it is done.
func (c *caller) done(a ask) {
	c.f.t.Helper()
	waitUntil(c.f.t, "somebody does it: "+a.String(), 2*time.Minute, func() bool { return c.ask(a).Said == done })
}

// An answer that writes nothing - a refusal, the certificate that a request had already, a look-up that waits for the
// log's end - is as true as one that does: who wakes up must not give it from what he knew before.
func TestWhatNeedsNoEventIsNotAnsweredByAZombieEither(t *testing.T) {
	s := open(t)
	s.beat, s.stale = 2*time.Second, 500*time.Millisecond
	f := newFleet(t)
	names := []string{"left", "right"}
	holder := s.start(names[0], point{}, syscall.SIGSTOP)
	old, fresh := f.present[0], f.present[1]
	f.call(1, holder).done(ask{Op: enrol, Device: old.name, CSR: 0, Serial: "a1"})
	next := s.start(names[1], point{}, syscall.SIGSTOP)
	f.call(2, next).ask(ask{Op: look, Device: old.name, Synced: true})

	again, end, see := f.call(3, holder), f.call(4, holder), f.call(5, holder)
	holder.signal(syscall.SIGSTOP)
	waitUntil(t, "the first sleeps", 2*time.Minute, holder.stopped)
	other := f.call(6, next)
	other.done(ask{Op: revokeDevice, Device: old.name})
	other.done(ask{Op: enrol, Device: fresh.name, CSR: 0, Serial: "b1"})

	again.send(ask{Op: enrol, Device: old.name, CSR: 0, Serial: "a2"})
	end.send(ask{Op: revokeDevice, Device: fresh.name})
	see.send(ask{Op: look, Device: old.name, Synced: true})
	holder.signal(syscall.SIGCONT)
	t.Logf("who woke up says to a device that was revoked meanwhile: %v", again.hear())
	t.Logf("of one that enrolled meanwhile: %v", end.hear())
	t.Logf("to who looks: %v", see.hear())
	holder.kill()
	next.kill()
	linearizable(t, f.history)
	s.settled(f)
}
