package door

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"muster.dev/proto/identity"
	"muster.dev/services/ingest/gateway/admit"
)

// Limits bound connections.
type Limits struct {
	Connections          int           // open at once, in all
	PerAddress           int           // of one IPv4 address or IPv6 /64
	PerDevice            int           // of one device
	Handshakes           int           // under way at once; more wait in the kernel's queue
	HandshakesPerAddress int           // of them, so that one who only knocks keeps nobody else out
	HandshakeTimeout     time.Duration // from accept to the end of the handshake
}

// Door is a net.Listener whose connections have shaken hands.
type Door struct {
	ln          net.Listener
	material    *Material
	trustDomain string
	limits      Limits
	metrics     *metrics

	ready     chan *tls.Conn
	ctx       context.Context // ends with Close
	cancel    context.CancelFunc
	wg        sync.WaitGroup // the accept loop and the handshakes
	shaking   chan struct{}  // one token per handshake
	computing chan struct{}  // one token per handshake that does not wait for its peer
	total     *admit.Budget
	addresses *admit.Slots[netip.Prefix]
	knocking  *admit.Slots[netip.Prefix] // handshakes by address
	devices   *admit.Slots[identity.Device]

	mu    sync.Mutex
	conns map[*conn]struct{} // guarded by mu: those that have shaken hands
}

// Open takes connections of ln, which it owns from now on. Close ends it.
func Open(ln net.Listener, m *Material, trustDomain string, l Limits, reg prometheus.Registerer) *Door {
	d := &Door{
		ln: ln, material: m, trustDomain: trustDomain, limits: l, metrics: newMetrics(reg, m),
		ready:     make(chan *tls.Conn),
		shaking:   make(chan struct{}, l.Handshakes),
		computing: make(chan struct{}, computing),
		total:     admit.NewBudget(int64(l.Connections)),
		addresses: admit.NewSlots[netip.Prefix](l.PerAddress),
		knocking:  admit.NewSlots[netip.Prefix](l.HandshakesPerAddress),
		devices:   admit.NewSlots[identity.Device](l.PerDevice),
		conns:     map[*conn]struct{}{},
	}
	d.ctx, d.cancel = context.WithCancel(context.Background())
	d.wg.Go(d.accept)
	return d
}

// Accept gives the next connection, a *tls.Conn. After Close it is net.ErrClosed.
func (d *Door) Accept() (net.Conn, error) {
	select {
	case c := <-d.ready:
		return c, nil
	case <-d.ctx.Done():
		return nil, net.ErrClosed
	}
}

// Addr is where it listens.
func (d *Door) Addr() net.Addr { return d.ln.Addr() }

// Close stops listening and ends handshakes; connections that Accept gave stay open.
func (d *Door) Close() error {
	d.cancel()
	err := d.ln.Close()
	d.wg.Wait()
	if errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}

// CloseIf closes the connections of the devices that gone names, and says how many.
func (d *Door) CloseIf(gone func(identity.Device) bool) int {
	var list []*conn
	d.mu.Lock()
	for c := range d.conns {
		if c.peer.Device != "" && gone(c.peer.Device) {
			list = append(list, c)
		}
	}
	d.mu.Unlock()
	for _, c := range list { // outside the lock: Close takes it
		_ = c.Close() // it is gone either way
		d.metrics.closed.Inc()
	}
	return len(list)
}

func (d *Door) accept() {
	for {
		select {
		case d.shaking <- struct{}{}:
		case <-d.ctx.Done():
			return
		}
		nc, err := d.ln.Accept()
		if err != nil {
			<-d.shaking
			if d.ctx.Err() != nil || errors.Is(err, net.ErrClosed) {
				return
			}
			// Out of descriptors, or the peer has gone already: go on, but not in a hot loop.
			pause := time.NewTimer(10 * time.Millisecond)
			select {
			case <-pause.C:
			case <-d.ctx.Done():
			}
			pause.Stop()
			continue
		}
		c := d.admit(nc)
		if c == nil {
			<-d.shaking
			continue
		}
		d.wg.Go(func() { d.shake(c) })
	}
}

// admit counts the connection against its caps; nil means that it was refused and closed.
func (d *Door) admit(nc net.Conn) *conn {
	refuse := func(reason string) *conn {
		d.metrics.refused.WithLabelValues(reason).Inc()
		_ = nc.Close() // refused: how it closes is of no interest
		return nil
	}
	if !d.total.Take(1) {
		return refuse(refusedTotal)
	}
	address := prefix(nc.RemoteAddr())
	if !d.addresses.Take(address) {
		d.total.Give(1)
		return refuse(refusedAddress)
	}
	if !d.knocking.Take(address) {
		d.addresses.Give(address)
		d.total.Give(1)
		return refuse(refusedHandshakes)
	}
	d.metrics.open.Inc()
	return &conn{Conn: nc, door: d, address: address}
}

// prefix is whom a cap per address counts: an IPv6 host has a whole /64 to choose from.
func prefix(a net.Addr) netip.Prefix {
	at, err := netip.ParseAddrPort(a.String())
	if err != nil {
		return netip.Prefix{}
	}
	ip, bits := at.Addr().Unmap().WithZone(""), 32
	if ip.Is6() {
		bits = 64
	}
	p, err := ip.Prefix(bits)
	if err != nil {
		return netip.Prefix{}
	}
	return p
}

func (d *Door) shake(c *conn) {
	t := tls.Server(c, d.material.Config())
	c.turn.of = d.computing
	ctx, cancel := context.WithTimeout(d.ctx, d.limits.HandshakeTimeout)
	err := t.HandshakeContext(ctx)
	cancel()
	c.turn.end()
	d.knocking.Give(c.address)
	<-d.shaking
	if err != nil {
		if d.ctx.Err() == nil {
			d.metrics.handshakes.WithLabelValues(classify(err)).Inc()
			var plain tls.RecordHeaderError
			if errors.As(err, &plain) {
				d.explain(c, plain)
			}
		}
		_ = c.Close() // failed already
		return
	}
	d.metrics.accepted.Inc()
	c.identify(d, t.ConnectionState())
	select {
	case d.ready <- t:
	case <-d.ctx.Done():
		_ = c.Close() // nobody will read it
	}
}

// explain tells one who speaks plain HTTP what the matter is, as net/http does.
func (d *Door) explain(c *conn, e tls.RecordHeaderError) {
	switch string(e.RecordHeader[:]) {
	case "GET /", "HEAD ", "POST ", "PUT /", "OPTIO":
		if err := c.SetWriteDeadline(time.Now().Add(time.Second)); err == nil {
			_, _ = fmt.Fprint(c, "HTTP/1.0 400 Bad Request\r\nContent-Type: text/plain\r\n\r\nThis port speaks HTTPS with a client certificate.\n")
		}
	}
}

// conn is a TCP connection that gives its slots back when it closes.
type conn struct {
	net.Conn
	door    *Door
	address netip.Prefix
	peer    Peer
	holds   bool // a slot of the device
	counted bool // HTTP/2: bytes are counted as chatter until a request accounts for them
	turn    turn // of the goroutine that shakes hands
	once    sync.Once
	err     error
}

func (c *conn) identify(d *Door, s tls.ConnectionState) {
	c.peer.Device, c.peer.Err = identify(d.trustDomain, s.PeerCertificates[0])
	c.peer.Until = s.PeerCertificates[0].NotAfter
	c.counted, c.peer.chatter.began = s.NegotiatedProtocol == "h2", time.Now()
	if c.peer.Err == nil {
		c.holds = d.devices.Take(c.peer.Device)
		c.peer.Crowded = !c.holds
	}
	d.mu.Lock()
	d.conns[c] = struct{}{}
	d.mu.Unlock()
}

// Read ends the connection of one who only chatters.
func (c *conn) Read(p []byte) (int, error) {
	c.turn.rest()
	n, err := c.Conn.Read(p)
	c.turn.take()
	if c.counted && !c.peer.chatter.came(n) {
		c.door.metrics.chatter.Inc()
		return 0, errors.Join(errChatter, c.Close())
	}
	return n, err
}

// Close closes once; the slots come back with the first call.
func (c *conn) Close() error {
	c.once.Do(func() {
		c.err = c.Conn.Close()
		d := c.door
		d.mu.Lock()
		delete(d.conns, c)
		d.mu.Unlock()
		if c.holds {
			d.devices.Give(c.peer.Device)
		}
		d.addresses.Give(c.address)
		d.total.Give(1)
		d.metrics.open.Dec()
	})
	return c.err
}
