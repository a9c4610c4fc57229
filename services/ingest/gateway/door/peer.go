package door

import (
	"crypto/x509"
	"fmt"
	"net"
	"sync/atomic"
	"time"

	"muster.dev/proto/identity"
	"muster.dev/services/ingest/gateway/clones"
	"muster.dev/services/ingest/gateway/standing"
)

// Peer is who stands at the other end of a connection, fixed once it has shaken hands.
type Peer struct {
	standing.Card
	// Err is why the certificate names no device; Device is empty then.
	Err error
	// Seat is where it sits among the device's connections, nil without a device.
	Seat *clones.Seat
	// Began is when it had shaken hands.
	Began time.Time
	// Until is the end of the certificate. A connection may outlive it.
	Until time.Time
	// Crowded: the device holds as many connections as it may, this one is to be refused.
	Crowded bool

	farewell atomic.Pointer[func(*standing.Verdict)]
	chatter  chatter
	refusals refusals
}

// Farewell has tell end the connection when the registry does, instead of the door, which closes it without a word. It
// must not wait, may be called again, and has the connection closed soon, whatever its client does.
func (p *Peer) Farewell(tell func(*standing.Verdict)) { p.farewell.Store(&tell) }

// Account says that a request brought n bytes of the wire, with its frames and headers.
func (p *Peer) Account(n int64) { p.chatter.account(n) }

// PeerOf is the peer of a connection that Accept gave.
func PeerOf(c net.Conn) *Peer {
	if over, ok := c.(interface{ NetConn() net.Conn }); ok { // *tls.Conn, and what stands for one
		c = over.NetConn()
	}
	if in, ok := c.(*conn); ok {
		return &in.peer
	}
	return &Peer{Err: fmt.Errorf("a connection of type %T has no peer", c)}
}

// identify reads the one name that counts: exactly one URI SAN, a SPIFFE id of a device. The common name and other
// names say nothing.
func identify(trustDomain string, leaf *x509.Certificate) (identity.Device, error) {
	if n := len(leaf.URIs); n != 1 {
		return "", fmt.Errorf("the certificate has %d URI names, it must have exactly one: spiffe://%s/device/<id>", n, trustDomain)
	}
	return identity.ParseURL(trustDomain, leaf.URIs[0])
}
