package kafka

import (
	"sync"
	"time"
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

// rise takes a seat away. Call it with mu held.
func (s *seat) rise() {
	if s.at.all.seats[s] {
		delete(s.at.all.seats, s)
		s.at.seats--
		close(s.over)
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
