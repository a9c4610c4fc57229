package kafka

import (
	"context"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

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
