package kafka

import (
	"context"
	"net"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// Why this file is. Kafka keeps a member for as long as the broker owes it an answer to JoinGroup or SyncGroup, and begins
// its session when the answer is given, whether or not it arrives. kfake does neither: the session runs on while the
// member waits, and one that ends drops the member without an answer; and where the connection is gone when the answer
// is due, no session begins at all, so that the dead member stays and, made the leader, stops the group. It also counts
// wrongly when a member goes or joins anew whose SyncGroup is unanswered: the next rebalance then lasts its whole timeout.
//
// So the guards tell what they see of members, and the broker does what is missing:
//   - a connection that ends while an answer is owed on it stays open towards kfake until the answer has come;
//   - a member that waits has its session prolonged;
//   - a member whose connection ended between its JoinGroup and the answer to its SyncGroup leaves, after a grace in
//     which it may come back by another connection;
//   - what would move a member whose SyncGroup is unanswered waits for that answer.
//
// One thing is done that Kafka does not do: a member whose connection has ended, and of which nothing is heard by another
// for half of its session, leaves then. Here a connection's end is not a network's fault but a process's, and the session
// is most of the time for which the partitions of one that was killed stand still.
const (
	// grace is what a client has to come back that lost its connection but lives. One that is later has to join anew.
	grace = time.Second
	// maxHold bounds how long a connection is held for an answer.
	maxHold = 2 * time.Minute
	// maxYield bounds how long a request waits for the answer to another one.
	maxYield = 30 * time.Second
	// roundEvery is how often the members are looked at.
	roundEvery = 50 * time.Millisecond
	// maxRemembered bounds what is remembered of groups, and of the members of one connection.
	maxRemembered = 4096
	// maxSeats bounds the members of one connection that are attended to.
	maxSeats = 64
)

// memberID is a member's name in its group.
type memberID struct{ group, member string }

// members is what the guards know of the members that the broker owes an answer. Nothing in it is more than a claim of
// the one who sent the request until kfake has answered without an error, and nothing is done for a claim that one
// without the right to the group could not do itself.
type members struct {
	mu          sync.Mutex       // over the fields below, and those of each watch and seat
	seats       map[*seat]bool   // of them all
	generations map[string]int32 // by group: the last one that the broker has confirmed
	settled     map[memberID]*settled
}

// settled is a member whose heartbeats the broker takes.
type settled struct {
	session time.Duration
	by      *watch    // the connection by which it was heard last
	gone    time.Time // that connection's end
}

func newMembers() *members {
	return &members{seats: make(map[*seat]bool), generations: make(map[string]int32), settled: make(map[memberID]*settled)}
}

// seat is a member from its JoinGroup to the answer to its SyncGroup.
type seat struct {
	id      memberID
	at      *watch
	phase   phase
	session time.Duration // 0 where it is not known
	own     bool          // the broker gave the member its name on this very connection
	static  bool          // it has an instance id: it may be away for a session
	every   time.Duration // between two beats
	next    time.Time     // of them
	unknown int           // beats in a row that were told that there is no such member
	over    chan struct{} // closed when it is no longer in phase syncing
}

type phase int

const (
	joining phase = iota // its JoinGroup is unanswered
	joined               // its SyncGroup has not come
	syncing              // its SyncGroup is unanswered
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

// rise takes a seat away. Call it with mu held.
func (s *seat) rise() {
	if s.at.all.seats[s] {
		delete(s.at.all.seats, s)
		s.at.seats--
		close(s.over)
	}
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
			all.settled[a.seat.id] = &settled{session: a.seat.session}
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
	if len(w.asks) == 0 && w.idle != nil {
		close(w.idle)
		w.idle = nil
	}
}

// confirm remembers a generation. Call it with mu held.
func (all *members) confirm(group string, generation int32) {
	if _, known := all.generations[group]; !known && len(all.generations) >= maxRemembered {
		clear(all.generations)
	}
	all.generations[group] = generation
}

// alone takes the member's other seats away: it has been answered here. Call it with mu held.
func (all *members) alone(here *seat) {
	for s := range all.seats {
		if s != here && s.id == here.id {
			s.rise()
			s.at.forgo(s)
		}
	}
}

// forgo waits no longer for an answer that kfake will not give: it has only the last request of a member. Call it with
// mu held.
func (w *watch) forgo(s *seat) {
	for corr, a := range w.asks {
		if a.seat == s {
			delete(w.asks, corr)
		}
	}
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

// task is what a round has to do for a seat.
type task struct {
	id         memberID
	seat       *seat // nil where the member has none
	generation int32
	leave      bool
}

// due is what is to be done now.
func (all *members) due(now time.Time) (tasks []task) {
	all.mu.Lock()
	defer all.mu.Unlock()
	for s := range all.seats {
		if s.id.member == "" {
			continue
		}
		gone := !s.at.gone.IsZero()
		switch {
		case s.phase == syncing, s.phase == joining && !gone:
			if now.Before(s.next) {
				continue
			}
			s.next = now.Add(s.every)
		case !gone || now.Sub(s.at.gone) < grace || all.lives(s):
			continue
		}
		generation, ok := all.generations[s.id.group]
		if !ok {
			generation = -1 // it still says whether there is such a member
		}
		leave := gone && s.phase != syncing && s.own && !s.static
		if gone && s.phase != syncing && !leave {
			if s.phase == joined {
				s.rise() // its session has begun with the answer
				continue
			}
			if s.next.IsZero() {
				continue
			}
			s.next = time.Time{} // beat once: its session begins, and ends
		}
		tasks = append(tasks, task{s.id, s, generation, leave})
	}
	for id, m := range all.settled {
		if !m.gone.IsZero() && now.Sub(m.gone) >= max(m.session/2, grace) && !all.seated(id) {
			tasks = append(tasks, task{id: id, leave: true})
		}
	}
	return tasks
}

// seated says whether the member joins. Call it with mu held.
func (all *members) seated(id memberID) bool {
	for s := range all.seats {
		if s.id == id {
			return true
		}
	}
	return false
}

// lives says whether the member has come back by another connection of its user. Call it with mu held.
func (all *members) lives(dead *seat) bool {
	for s := range all.seats {
		if s.id == dead.id && s.at.gone.IsZero() && s.at.user == dead.at.user {
			return true
		}
	}
	return false
}

// attend does for the members what kfake does not, until ctx ends.
func (all *members) attend(ctx context.Context, broker *kgo.Broker) {
	tick := time.NewTicker(roundEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-tick.C:
			for _, t := range all.due(now) {
				if t.leave {
					all.leave(ctx, broker, t)
				} else {
					all.beat(ctx, broker, t)
				}
			}
		}
	}
}

// beat prolongs a member's session. That there is no such member means that kfake has dropped it without an answer:
// its connection is then cut, so that it asks again.
func (all *members) beat(ctx context.Context, broker *kgo.Broker, t task) {
	req := kmsg.NewPtrHeartbeatRequest()
	req.Group, req.MemberID, req.Generation = t.id.group, t.id.member, t.generation
	code, ok := request(ctx, broker, req)
	all.mu.Lock()
	defer all.mu.Unlock()
	s := t.seat
	if !ok || !all.seats[s] {
		return
	}
	if code != kerr.UnknownMemberID.Code && code != kerr.GroupIDNotFound.Code {
		s.unknown = 0
		return
	}
	if s.unknown++; s.unknown < 2 { // once may be because its own request has not arrived
		return
	}
	s.rise()
	s.at.forgo(s)
	s.at.conn.Close()
}

// leave lets a member go. One that came back by another connection meanwhile has its connection cut: it would wait for
// an answer to a request that kfake has thrown away.
func (all *members) leave(ctx context.Context, broker *kgo.Broker, t task) {
	req := kmsg.NewPtrLeaveGroupRequest()
	req.Group, req.MemberID = t.id.group, t.id.member
	m := kmsg.NewLeaveGroupRequestMember()
	m.MemberID = t.id.member
	req.Members = append(req.Members, m)
	if _, ok := request(ctx, broker, req); !ok {
		return // the next round tries again
	}
	all.mu.Lock()
	defer all.mu.Unlock()
	delete(all.settled, t.id)
	for s := range all.seats {
		if s.id == t.id {
			s.rise()
			s.at.forgo(s)
			if s != t.seat {
				s.at.conn.Close()
			}
		}
	}
}

// request asks the broker from inside, and gives the answer's code.
func request(ctx context.Context, broker *kgo.Broker, req kmsg.Request) (int16, bool) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	resp, err := broker.Request(ctx, req)
	if err != nil {
		return 0, false
	}
	switch r := resp.(type) {
	case *kmsg.HeartbeatResponse:
		return r.ErrorCode, true
	case *kmsg.LeaveGroupResponse:
		return r.ErrorCode, true
	}
	return 0, false
}

// readAnswer reads what stands behind size and correlation id.
func readAnswer(r kmsg.Response, body []byte) bool {
	if r.IsFlexible() && len(body) > 0 {
		body = body[1:] // an empty section of tags
	}
	return r.ReadFrom(body) == nil
}
