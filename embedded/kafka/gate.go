package kafka

import (
	"context"
	"fmt"
	"net"
	"slices"
	"sync"
)

// gate is the broker's listener while its rights are being set: connections from outside wait in the kernel's
// queue until open, and the steward comes in by a pipe. Without it a producer that reconnects in the first
// milliseconds after a restart would be refused for want of an ACL, which clients take as final.
type gate struct {
	net.Listener
	conns    chan net.Conn
	done     chan struct{}
	openOnce sync.Once
	stopOnce sync.Once
	accepts  sync.WaitGroup
	failed   chan error
	noAuth   bool
	places   chan struct{} // one token for each connection from outside
	members  *members

	mu        sync.Mutex
	strangers []*guard       // guarded by mu: the oldest first
	users     map[string]int // guarded by mu: connections of each
	ofUser    int            // that one may have
}

func newGate(ln net.Listener, noAuth bool) *gate {
	return &gate{
		Listener: ln, conns: make(chan net.Conn), done: make(chan struct{}), failed: make(chan error, 1),
		noAuth: noAuth, places: make(chan struct{}, maxConnections), members: newMembers(),
		users: make(map[string]int), ofUser: maxOfUser,
	}
}

// open lets the outside in.
func (g *gate) open() {
	g.openOnce.Do(func() {
		g.accepts.Go(func() {
			for {
				c, err := g.Listener.Accept()
				if err != nil {
					g.failed <- err
					return
				}
				guarded := g.guard(c)
				if guarded == nil {
					continue
				}
				select {
				case g.conns <- guarded:
				case <-g.done:
					guarded.Close()
					return
				}
			}
		})
	})
}

// guard gives a connection its place and its guard; nil says that it was closed.
func (g *gate) guard(c net.Conn) net.Conn {
	select {
	case g.places <- struct{}{}:
	default:
		c.Close()
		return nil
	}
	guarded, err := newGuard(c, g.noAuth, g.members, door{g.admit, g.leave})
	if err != nil { // it has gone already
		c.Close()
		<-g.places
		return nil
	}
	if !g.noAuth {
		g.receive(guarded)
	}
	return guarded
}

// receive makes room for one more stranger: the oldest goes, who has had the most time to say who he is. So strangers
// cannot keep out those who are known.
func (g *gate) receive(stranger *guard) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if len(g.strangers) >= maxStrangers {
		g.strangers[0].Conn.Close()
		g.strangers = slices.Delete(g.strangers, 0, 1)
	}
	g.strangers = append(g.strangers, stranger)
}

// admit makes a user of a stranger, unless the user has enough connections: no user can keep out the others.
func (g *gate) admit(stranger *guard, user string) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.users[user] >= g.ofUser {
		return fmt.Errorf("%w: %s has %d connections already", errRequest, user, g.ofUser)
	}
	g.users[user]++
	g.forget(stranger)
	return nil
}

// leave gives a connection's place back.
func (g *gate) leave(gone *guard, user string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if user == "" {
		g.forget(gone)
	} else if g.users[user]--; g.users[user] == 0 {
		delete(g.users, user)
	}
	<-g.places
}

// forget takes a stranger off the list. Call it with mu held.
func (g *gate) forget(stranger *guard) {
	if i := slices.Index(g.strangers, stranger); i >= 0 {
		g.strangers = slices.Delete(g.strangers, i, i+1)
	}
}

// dial connects from inside, whether or not the gate is open.
func (g *gate) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	ours, theirs := net.Pipe()
	select {
	case g.conns <- theirs:
		return ours, nil
	case <-g.done:
		return nil, net.ErrClosed
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// Accept implements net.Listener.
func (g *gate) Accept() (net.Conn, error) {
	select {
	case c := <-g.conns:
		return c, nil
	case err := <-g.failed:
		return nil, err
	case <-g.done:
		return nil, net.ErrClosed
	}
}

// Close implements net.Listener and may be called more than once, as kfake does.
func (g *gate) Close() error {
	var err error
	g.stopOnce.Do(func() {
		close(g.done)
		err = g.Listener.Close()
		g.accepts.Wait()
	})
	return err
}
