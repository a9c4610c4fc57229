//go:build linux

package torture

import (
	"context"
	"net"
	"sync"
	"time"

	"muster.dev/cmd/muster/stack"
	"muster.dev/platform/principals"
)

// hole is a TCP proxy before the store that can swallow what passes: connections stay open and nothing arrives.
type hole struct {
	listener net.Listener
	target   string

	mu     sync.Mutex // over the three below
	shut   bool
	opened chan struct{} // closed while it is open
	conns  map[net.Conn]bool

	done sync.WaitGroup
}

func (s *site) dig() *hole {
	s.t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		s.t.Fatal(err)
	}
	h := &hole{listener: l, target: stack.Loopback(s.ports.ClickHouse), opened: make(chan struct{}), conns: map[net.Conn]bool{}}
	close(h.opened)
	h.done.Go(h.accept)
	return h
}

func (h *hole) accept() {
	for {
		in, err := h.listener.Accept()
		if err != nil {
			return
		}
		out, err := net.Dial("tcp", h.target)
		if err != nil {
			in.Close()
			continue
		}
		h.mu.Lock()
		h.conns[in], h.conns[out] = true, true
		h.mu.Unlock()
		h.done.Go(func() { h.pass(in, out) })
		h.done.Go(func() { h.pass(out, in) })
	}
}

// pass copies one way, as long as the hole is open.
func (h *hole) pass(to, from net.Conn) {
	defer to.Close()
	defer from.Close()
	buf := make([]byte, 32<<10)
	for {
		n, err := from.Read(buf)
		h.mu.Lock()
		opened := h.opened
		h.mu.Unlock()
		<-opened
		if n > 0 {
			if _, werr := to.Write(buf[:n]); werr != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}

func (h *hole) swallow() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.shut, h.opened = true, make(chan struct{})
}

// heal lets everything through again; what was held arrives late, as it does behind a network that was away.
func (h *hole) heal() {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.shut {
		h.shut = false
		close(h.opened)
	}
}

func (h *hole) close() {
	h.heal()
	h.listener.Close()
	h.mu.Lock()
	for c := range h.conns {
		c.Close()
	}
	h.mu.Unlock()
	h.done.Wait()
}

// maxRSS is what a sink may hold while its store is away.
const maxRSS = 512 << 20

// blackhole lets one sink of our own, the only one, stand before a store that answers nothing, and looks at what it
// does meanwhile.
func (r *run) blackhole(length time.Duration) int {
	hold, cancel := context.WithTimeout(r.t.Context(), patience)
	defer cancel()
	release, err := r.dir.Hold(hold, stack.Sink)
	if err != nil {
		r.t.Errorf("holding the sink: %v", err)
		return 0
	}
	defer release()
	h := r.dig()
	defer h.close()
	// The silence is longer than the session, and the session longer than what a busy machine makes of a heartbeat.
	p := r.site.run(stack.Sink, "MUSTER_WAREHOUSE_ADDR=http://"+h.listener.Addr().String(), "MUSTER_SESSION_TIMEOUT="+max(r.session(), 4*time.Second).String())
	defer p.leave(30 * time.Second)
	if _, err := r.moves(time.Now(), patience); err != nil {
		r.t.Errorf("through the proxy: %v", err)
		return 0
	}
	before, err := r.members()
	if err != nil {
		r.t.Errorf("the group's members: %v", err)
	}
	h.swallow()
	end := time.Now().Add(length)
	var most int64
	for time.Now().Before(end) {
		if n, err := rss(p.cmd.Process.Pid); err == nil {
			most = max(most, n)
		}
		<-time.After(200 * time.Millisecond)
	}
	after, err := r.members()
	if err != nil || after != before {
		r.t.Errorf("the group's members were %s before and are %s: %v", before, after, err)
	}
	if most > maxRSS {
		r.t.Errorf("the sink holds %d MiB while the store is silent", most>>20)
	}
	r.report.BlackholeRSS = max(r.report.BlackholeRSS, most)
	h.heal()
	if _, err := r.moves(time.Now(), patience); err != nil {
		r.t.Errorf("after the store answered again: %v", err)
	}
	return 0
}

// members names who is in the sinks' group.
func (s *site) members() (said string, err error) {
	adm, err := s.adm()
	if err != nil {
		return "", err
	}
	// The first question may go out on a connection to a broker that was killed since.
	err = s.within(patience, func(ctx context.Context) error {
		groups, err := adm.DescribeGroups(ctx, principals.Group)
		if err != nil {
			return err
		}
		g := groups[principals.Group]
		said = ""
		for _, m := range g.Members {
			said += m.MemberID + " "
		}
		said += g.State
		return g.Err
	})
	return said, err
}
