package kafka

import (
	"net"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// ask is a group request that is unanswered on its connection.
type ask struct {
	key        kmsg.Key
	version    int16
	id         memberID
	generation int32
	seat       *seat // nil for a heartbeat
}

// watch is what one connection asks about members.
type watch struct {
	all    *members
	conn   net.Conn
	closed chan struct{}
	once   sync.Once

	asks  map[int32]ask     // by correlation id
	given map[memberID]bool // by the broker on this connection
	gone  time.Time         // the client's end of it
	user  string            // who speaks on it
	seats int               // at it
	idle  chan struct{}     // closed when nothing is owed on a connection whose client has gone
}

func (all *members) watch(c net.Conn) *watch {
	return &watch{all: all, conn: c, closed: make(chan struct{}), asks: make(map[int32]ask), given: make(map[memberID]bool)}
}

// watched says whether a request's body is to be shown to asked.
func watched(key int16) bool {
	switch kmsg.Key(key) {
	case kmsg.JoinGroup, kmsg.SyncGroup, kmsg.Heartbeat, kmsg.LeaveGroup:
		return true
	}
	return false
}

// asked takes note of a request before kfake has the last byte of it. It waits where kfake must not have it yet.
func (w *watch) asked(req kmsg.Request, corr int32, user string) {
	all := w.all
	all.mu.Lock()
	w.user = user
	all.mu.Unlock()
	switch r := req.(type) {
	case *kmsg.HeartbeatRequest:
		all.mu.Lock()
		defer all.mu.Unlock()
		w.asks[corr] = ask{key: kmsg.Heartbeat, version: r.Version, id: memberID{r.Group, r.MemberID}, generation: r.Generation}
	case *kmsg.LeaveGroupRequest:
		w.yield(memberID{r.Group, r.MemberID})
		for _, m := range r.Members {
			w.yield(memberID{r.Group, m.MemberID})
		}
	case *kmsg.JoinGroupRequest:
		id := memberID{r.Group, r.MemberID}
		w.yield(id)
		all.mu.Lock()
		defer all.mu.Unlock()
		s := w.sit(id, joining, time.Duration(r.SessionTimeoutMillis)*time.Millisecond)
		s.static = r.InstanceID != nil
		w.asks[corr] = ask{key: kmsg.JoinGroup, version: r.Version, id: id, seat: s}
	case *kmsg.SyncGroupRequest:
		id := memberID{r.Group, r.MemberID}
		all.mu.Lock()
		defer all.mu.Unlock()
		s := w.sit(id, syncing, 0)
		s.static = r.InstanceID != nil
		w.asks[corr] = ask{key: kmsg.SyncGroup, version: r.Version, id: id, seat: s}
	}
}

// sit gives the member its seat at this connection. Call it with mu held.
func (w *watch) sit(id memberID, p phase, session time.Duration) *seat {
	for s := range w.all.seats {
		if s.at == w && s.id == id && s.phase == joined && p == syncing {
			s.phase, s.next, s.unknown = syncing, time.Now().Add(s.every), 0
			return s
		}
	}
	every := time.Second
	if session > 0 {
		every = min(max(session/4, roundEvery), 3*time.Second)
	}
	if w.seats >= maxSeats {
		for s := range w.all.seats {
			if s.at == w && s.phase == joined {
				s.rise()
			}
		}
	}
	s := &seat{id: id, at: w, phase: p, session: session, own: w.given[id], every: every, next: time.Now().Add(every), over: make(chan struct{})}
	w.all.seats[s] = true
	w.seats++
	return s
}

// yield waits while the member's SyncGroup is unanswered on another connection.
func (w *watch) yield(id memberID) {
	limit := time.NewTimer(maxYield)
	defer limit.Stop()
	for {
		var over chan struct{}
		w.all.mu.Lock()
		for s := range w.all.seats {
			if s.id == id && s.phase == syncing && s.own && s.at != w {
				over = s.over
			}
		}
		w.all.mu.Unlock()
		if over == nil {
			return
		}
		select {
		case <-over:
		case <-w.closed:
			return
		case <-limit.C:
			return
		}
	}
}

// answered takes note of an answer, before the client has it.
func (w *watch) answered(corr int32, body []byte) {
	all := w.all
	all.mu.Lock()
	defer all.mu.Unlock()
	a, ok := w.asks[corr]
	if !ok {
		return
	}
	delete(w.asks, corr)
	switch a.key {
	case kmsg.Heartbeat:
		r := kmsg.NewPtrHeartbeatResponse()
		r.Version = a.version
		switch {
		case !readAnswer(r, body):
		case r.ErrorCode == 0 || r.ErrorCode == kerr.RebalanceInProgress.Code:
			all.confirm(a.id.group, a.generation)
			if m := all.settled[a.id]; m != nil {
				m.by, m.gone = w, w.gone
			}
		case r.ErrorCode == kerr.UnknownMemberID.Code:
			delete(all.settled, a.id)
		}
	case kmsg.JoinGroup:
		r := kmsg.NewPtrJoinGroupResponse()
		r.Version = a.version
		ok := readAnswer(r, body)
		if ok && (r.ErrorCode == 0 || r.ErrorCode == kerr.MemberIDRequired.Code) {
			if len(w.given) >= maxRemembered {
				clear(w.given)
			}
			a.seat.id.member = r.MemberID
			w.given[a.seat.id] = true
		}
		if !ok || r.ErrorCode != 0 {
			a.seat.rise()
			break
		}
		all.confirm(a.id.group, r.Generation)
		all.alone(a.seat)
		a.seat.phase, a.seat.own = joined, true
		delete(all.settled, a.seat.id)
		if a.seat.session > 0 && !a.seat.static {
			if len(all.settled) >= maxRemembered {
				clear(all.settled)
			}
			all.settled[a.seat.id] = &settled{session: a.seat.session, by: w}
		}
	case kmsg.SyncGroup:
		r := kmsg.NewPtrSyncGroupResponse()
		r.Version = a.version
		if readAnswer(r, body) && r.ErrorCode == 0 {
			all.alone(a.seat)
		}
		if w.gone.IsZero() || !a.seat.own {
			a.seat.rise()
			break
		}
		dead := *a.seat // it has to leave, and nothing has to wait for it any more
		a.seat.rise()
		dead.phase, dead.over = joined, make(chan struct{})
		all.seats[&dead] = true
		w.seats++
	}
	w.rest()
}

// forgo waits no longer for an answer that kfake will not give: it has only the last request of a member. Call it with
// mu held.
func (w *watch) forgo(s *seat) {
	for corr, a := range w.asks {
		if a.seat == s {
			delete(w.asks, corr)
		}
	}
	w.rest()
}

// rest lets a connection go that is held, once nothing is owed on it. Call it with mu held.
func (w *watch) rest() {
	if len(w.asks) == 0 && w.idle != nil {
		close(w.idle)
		w.idle = nil
	}
}

// hold returns when nothing is owed any more on a connection whose client has gone.
func (w *watch) hold() {
	w.all.mu.Lock()
	w.ended()
	if len(w.asks) == 0 {
		w.all.mu.Unlock()
		return
	}
	if w.idle == nil {
		w.idle = make(chan struct{})
	}
	idle := w.idle
	w.all.mu.Unlock()
	limit := time.NewTimer(maxHold)
	defer limit.Stop()
	select {
	case <-idle:
	case <-w.closed:
	case <-limit.C:
	}
}

// ended takes note of the client's end. Call it with mu held.
func (w *watch) ended() {
	if !w.gone.IsZero() {
		return
	}
	w.gone = time.Now()
	for _, m := range w.all.settled {
		if m.by == w {
			m.gone = w.gone
		}
	}
}

// close is the end of the connection on kfake's side: no answer comes any more.
func (w *watch) close() {
	w.once.Do(func() {
		close(w.closed)
		w.all.mu.Lock()
		defer w.all.mu.Unlock()
		w.ended()
		for s := range w.all.seats {
			if s.at != w {
				continue
			}
			if !s.own {
				s.rise()
				continue
			}
			s.phase = joined
		}
		clear(w.asks)
	})
}

// readAnswer reads what stands behind size and correlation id.
func readAnswer(r kmsg.Response, body []byte) bool {
	if r.IsFlexible() && len(body) > 0 {
		body = body[1:] // an empty section of tags
	}
	return r.ReadFrom(body) == nil
}
