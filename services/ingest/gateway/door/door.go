package door

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"muster.dev/platform/share"
	"muster.dev/proto/identity"
	"muster.dev/services/ingest/gateway/admit"
	"muster.dev/services/ingest/gateway/clones"
	"muster.dev/services/ingest/gateway/standing"
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

// Settings is what code passes to Open.
type Settings struct {
	TrustDomain string
	Limits      Limits
	Desk        *standing.Desk // says who may come in
	Clones      *clones.Watch  // hears of each connection
	Registerer  prometheus.Registerer
	Protocol    string // what is spoken behind this door: a label of its metrics
	// ALPN are the protocols that a client may ask for in its handshake; one that asks for none comes in.
	ALPN []string
}

// Door is a net.Listener whose connections have shaken hands.
type Door struct {
	ln       net.Listener
	material *Material
	desk     *standing.Desk
	clones   *clones.Watch
	domain   string
	limits   Limits
	alpn     []string
	spoken   atomic.Pointer[spoken]
	metrics  *metrics
	counts   counts // of metrics, this door's

	ready     chan *tls.Conn
	ctx       context.Context // ends with Close
	cancel    context.CancelFunc
	wg        sync.WaitGroup // the accept loop and the handshakes
	shaking   chan struct{}  // one token per handshake
	computing chan struct{}  // one token per handshake that does not wait for its peer
	total     *admit.Budget
	addresses *share.Slots[netip.Prefix]
	knocking  *share.Slots[netip.Prefix] // handshakes by address
	devices   *share.Slots[identity.Device]

	mu    sync.Mutex
	conns map[identity.Device][]*conn // guarded by mu: those that have shaken hands and name a device
}

// Open takes connections of ln, which it owns from now on. Close ends it.
func Open(ln net.Listener, m *Material, s Settings) *Door {
	d := &Door{
		material: m, desk: s.Desk, clones: s.Clones, domain: s.TrustDomain, metrics: newMetrics(s.Registerer, m),
		devices: share.NewSlots[identity.Device](s.Limits.PerDevice),
	}
	admits := d.admits
	m.admits.Store(&admits)
	return d.open(ln, s.Limits, s.Protocol, s.ALPN)
}

// Beside opens another door of the same house, for another protocol: a device may hold as many connections through both as
// through one. All other limits are its own.
func (d *Door) Beside(ln net.Listener, l Limits, protocol string, alpn []string) *Door {
	other := &Door{material: d.material, desk: d.desk, clones: d.clones, domain: d.domain, metrics: d.metrics, devices: d.devices}
	return other.open(ln, l, protocol, alpn)
}

func (d *Door) open(ln net.Listener, l Limits, protocol string, alpn []string) *Door {
	d.ln, d.limits, d.alpn, d.counts = ln, l, alpn, d.metrics.of(protocol)
	d.ready = make(chan *tls.Conn)
	d.shaking = make(chan struct{}, l.Handshakes)
	d.computing = make(chan struct{}, computing)
	d.total = admit.NewBudget(int64(l.Connections))
	d.addresses = share.NewSlots[netip.Prefix](l.PerAddress)
	d.knocking = share.NewSlots[netip.Prefix](l.HandshakesPerAddress)
	d.conns = map[identity.Device][]*conn{}
	d.ctx, d.cancel = context.WithCancel(context.Background())
	d.wg.Go(d.accept)
	return d
}

// spoken is the material's configuration with the protocols of one door.
type spoken struct{ of, config *tls.Config }

// config is for a new connection. All share one, until the files change.
func (d *Door) config() *tls.Config {
	now := d.material.Config()
	if s := d.spoken.Load(); s != nil && s.of == now {
		return s.config
	}
	s := &spoken{now, now.Clone()}
	s.config.NextProtos = d.alpn
	d.spoken.Store(s)
	return s.config
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

// Recheck ends the open connections of a device whose certificate has come to its end, and says how many.
func (d *Door) Recheck(id identity.Device) int {
	d.mu.Lock()
	list := slices.Clone(d.conns[id])
	d.mu.Unlock()
	return d.end(list)
}

// RecheckAll is Recheck of every device: for what ends many at once.
func (d *Door) RecheckAll() int {
	var list []*conn
	d.mu.Lock()
	for _, conns := range d.conns {
		list = append(list, conns...)
	}
	d.mu.Unlock()
	return d.end(list)
}

// end closes those of the list that have nothing more to expect. It is called without the lock, which Close takes.
func (d *Door) end(list []*conn) (ended int) {
	for _, c := range list {
		v := d.desk.Look(&c.peer.Card)
		if !v.Ends() {
			continue
		}
		if tell := c.peer.farewell.Load(); tell != nil {
			(*tell)(v)
		} else {
			_ = c.Close() // it is gone either way
		}
		d.metrics.closed.WithLabelValues(reasonOf(v.Standing)).Inc()
		ended++
	}
	return ended
}

// admits is the last word of a handshake, of which the certificate's chain is verified. Who has no name, or an unknown
// one, comes in to be told so.
func (d *Door) admits(s tls.ConnectionState) error {
	leaf := s.PeerCertificates[0]
	id, err := identify(d.domain, leaf)
	if err != nil {
		return nil
	}
	var card standing.Card
	card.Fill(id, leaf)
	if v := d.desk.Look(&card); v.Ends() {
		return &refused{id, v.Standing}
	}
	return nil
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
	address := share.Address(nc.RemoteAddr().String())
	if !d.addresses.Take(address) {
		d.total.Give(1)
		return refuse(refusedAddress)
	}
	if !d.knocking.Take(address) {
		d.addresses.Give(address)
		d.total.Give(1)
		return refuse(refusedHandshakes)
	}
	d.counts.open.Inc()
	return &conn{Conn: nc, door: d, address: address}
}

func (d *Door) shake(c *conn) {
	t := tls.Server(c, d.config())
	c.turn.of = d.computing
	ctx, cancel := context.WithTimeout(d.ctx, d.limits.HandshakeTimeout)
	err := t.HandshakeContext(ctx)
	cancel()
	c.turn.end()
	d.knocking.Give(c.address)
	<-d.shaking
	if err != nil {
		if d.ctx.Err() == nil {
			class := classify(err)
			d.metrics.handshakes.WithLabelValues(class).Inc()
			var plain tls.RecordHeaderError
			if errors.As(err, &plain) {
				d.explain(c, plain)
			}
			if class != failedTimeout && class != failedClosed {
				d.linger(c)
			}
		}
		_ = c.Close() // failed already
		return
	}
	d.counts.accepted.Inc()
	c.identify(t.ConnectionState())
	select {
	case d.ready <- t:
	case <-d.ctx.Done():
		_ = c.Close() // nobody will read it
	}
}

// linger lets the peer read the alert. A client of TLS 1.3 sends its first request before it learns that it is refused; a
// connection that is closed over unread bytes is reset, and the alert is lost with them.
func (d *Door) linger(c *conn) {
	half, ok := c.Conn.(interface{ CloseWrite() error })
	if !ok || half.CloseWrite() != nil || c.SetReadDeadline(time.Now().Add(lingerFor)) != nil {
		return
	}
	defer context.AfterFunc(d.ctx, func() { _ = c.SetReadDeadline(time.Now()) })()
	_, _ = io.CopyN(io.Discard, c.Conn, lingerBytes) // to its end, or for as long as it takes: nothing more is owed
}

// How long, and over how many bytes, a refused peer may take to close.
const (
	lingerFor   = time.Second
	lingerBytes = 256 << 10
)

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

func (c *conn) identify(s tls.ConnectionState) {
	d, leaf, p := c.door, s.PeerCertificates[0], &c.peer
	var id identity.Device
	id, p.Err = identify(d.domain, leaf)
	p.Card.Fill(id, leaf)
	p.Began, p.Until = time.Now(), leaf.NotAfter
	c.counted, p.chatter.began = s.NegotiatedProtocol == "h2", p.Began
	if p.Err != nil {
		return
	}
	c.holds = d.devices.Take(id)
	p.Crowded = !c.holds
	p.Seat = d.clones.Enter(id, clones.Place{Address: share.Host(c.RemoteAddr().String()), Serial: p.Card.Serial, Key: p.Card.SPKI})
	d.mu.Lock()
	d.conns[id] = append(d.conns[id], c)
	d.mu.Unlock()
	// The order of events: what the registry says after the handshake's last word, and before the connection stood in the
	// list, nobody has applied to it.
	d.end([]*conn{c})
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

func (d *Door) forget(c *conn) {
	id := c.peer.Device
	d.mu.Lock()
	defer d.mu.Unlock()
	list := d.conns[id]
	if i := slices.Index(list, c); i >= 0 {
		if list = slices.Delete(list, i, i+1); len(list) == 0 {
			delete(d.conns, id)
		} else {
			d.conns[id] = list
		}
	}
}

// Close closes once; the slots come back with the first call.
func (c *conn) Close() error {
	c.once.Do(func() {
		c.err = c.Conn.Close()
		d := c.door
		d.forget(c)
		if c.holds {
			d.devices.Give(c.peer.Device)
		}
		d.addresses.Give(c.address)
		d.total.Give(1)
		d.counts.open.Dec()
	})
	return c.err
}
