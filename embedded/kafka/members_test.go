package kafka

import (
	"context"
	"slices"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// The sessions of these tests are no longer than it takes a loaded machine to have them prolonged, their rebalances much
// longer than anything that nobody holds up takes on one.
const (
	testGroup     = "group"
	testSession   = 3 * time.Second
	testRebalance = 2 * time.Minute
	atOnce        = time.Minute
)

// ordinary is a client as any other. It is to live, so its session is long.
func ordinary(t *testing.T, b *Broker) *kgo.Client {
	t.Helper()
	cl := client(t, b.Addr(), "", "", kgo.ConsumerGroup(testGroup), kgo.ConsumeTopics(topicTelemetry),
		kgo.SessionTimeout(time.Minute), kgo.HeartbeatInterval(testSession/20), kgo.RebalanceTimeout(testRebalance),
		kgo.Balancers(kgo.CooperativeStickyBalancer()), kgo.DisableAutoCommit())
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		for ctx.Err() == nil {
			cl.PollFetches(ctx)
		}
	}()
	t.Cleanup(func() { cancel(); <-done })
	return cl
}

// settles waits until the group is stable with n members, none of them one of those named, and says how long it took. A
// group that waits for one who is dead takes the whole rebalance.
func settles(t *testing.T, b *Broker, n int, without ...string) time.Duration {
	t.Helper()
	began := time.Now()
	adm := kadm.NewClient(b.steward)
	eventually(t, func() bool {
		groups, err := adm.DescribeGroups(within(t), testGroup)
		if err != nil {
			t.Fatal(err)
		}
		g := groups[testGroup]
		if time.Since(began) > atOnce {
			t.Fatalf("after %v the group is %s with %d members, want %d", atOnce, g.State, len(g.Members), n)
		}
		return g.State == "Stable" && len(g.Members) == n && !slices.ContainsFunc(g.Members, func(m kadm.DescribedGroupMember) bool {
			return slices.Contains(without, m.MemberID)
		})
	})
	return time.Since(began)
}

// awaited waits until the group is in the state and has n members, and does something meanwhile, again and again.
func awaited(t *testing.T, b *Broker, state string, n int, meanwhile ...func()) {
	t.Helper()
	adm := kadm.NewClient(b.steward)
	eventually(t, func() bool {
		for _, do := range meanwhile {
			do()
		}
		groups, err := adm.DescribeGroups(within(t), testGroup)
		if err != nil {
			t.Fatal(err)
		}
		now := groups[testGroup].State
		// It goes on to the second by itself once all have joined, and from there no further while one is silent.
		return (now == state || state == preparing && now == completing) && len(groups[testGroup].Members) == n
	})
}

const preparing, completing = "PreparingRebalance", "CompletingRebalance"

func startGroup(t *testing.T) *Broker {
	t.Helper()
	b := start(t, Config{NoAuth: true})
	createTopics(t, client(t, b.Addr(), "", ""), topicTelemetry)
	set := []kadm.AlterConfig{{Op: kadm.SetConfig, Name: "group.min.session.timeout.ms", Value: kadm.StringPtr("100")}}
	if _, err := kadm.NewClient(b.steward).AlterBrokerConfigs(within(t), set); err != nil {
		t.Fatal(err)
	}
	return b
}

func TestAMemberThatDiesInItsJoinDoesNotKeepTheOthersWaiting(t *testing.T) {
	b := startGroup(t)
	ordinary(t, b)
	ordinary(t, b)
	settles(t, b, 2)
	dead := mortal(t, b)
	id := dead.asMember()
	awaited(t, b, preparing, 3)
	dead.conn.Close()
	t.Log("settled in", settles(t, b, 2, id))
}

// One of them is made the leader when the leader that they waited for has gone.
func TestMembersThatDieInTheirJoinDoNotKeepTheOthersWaiting(t *testing.T) {
	b := startGroup(t)
	leader := speak(t, b)
	id, generation := leader.alone()
	dead, ids := []*speaker{leader}, []string{id}
	for range 5 {
		s := mortal(t, b)
		dead, ids = append(dead, s), append(ids, s.asMember())
		leader.staying(id, generation)()
	}
	ordinary(t, b)
	awaited(t, b, preparing, len(dead)+1, leader.staying(id, generation))
	if code := leader.beat(id, generation); code != kerr.RebalanceInProgress.Code {
		t.Fatalf("heartbeat: code %d", code)
	}
	for _, s := range dead {
		s.conn.Close()
	}
	t.Log("settled in", settles(t, b, 1, ids...))
}

func TestMembersThatDieOneAfterTheOtherDoNotKeepTheOthersWaiting(t *testing.T) {
	b := startGroup(t)
	ordinary(t, b)
	ordinary(t, b)
	settles(t, b, 2)
	var dead []string
	for i := range 5 {
		s := mortal(t, b)
		if i%2 == 1 {
			s.session = testSession // if the leader is quick, it is settled before its end is seen, and leaves as such
		}
		id := s.asMember()
		dead = append(dead, id)
		generation := allJoined(t, s)
		if i%2 == 1 {
			s.askSync(id, generation)
		}
		s.conn.Close()
	}
	t.Log("settled in", settles(t, b, 2, dead...))
}

func TestAMemberThatWaitsForOthersToJoinIsKept(t *testing.T) {
	t.Parallel()
	b := startGroup(t)
	leader, second, third := speak(t, b), speak(t, b), speak(t, b)
	one, generation := leader.alone()
	two := second.asMember()
	awaited(t, b, preparing, 2, leader.staying(one, generation))
	leader.askJoin(one, "")
	generation = allJoined(t, leader, second)
	second.askSync(two, generation)
	leader.askSync(one, generation, one, two)
	allSynced(t, leader, second)
	third.asMember()
	awaited(t, b, preparing, 3, leader.staying(one, generation), second.staying(two, generation))
	if code := second.beat(two, generation); code != kerr.RebalanceInProgress.Code {
		t.Fatalf("heartbeat: code %d", code)
	}
	second.askJoin(two, "") // its session began with that heartbeat, and it sends none while it waits
	leader.holdingBack(one, generation)
	leader.askJoin(one, "")
	allJoined(t, leader, second, third)
}

func TestAMemberThatWaitsForItsLeadersSyncIsKept(t *testing.T) {
	t.Parallel()
	b := startGroup(t)
	leader, second := speak(t, b), speak(t, b)
	one, generation := leader.alone()
	two := second.asMember()
	awaited(t, b, preparing, 2, leader.staying(one, generation))
	leader.askJoin(one, "")
	generation = allJoined(t, leader, second)
	second.askSync(two, generation)
	leader.holdingBack(one, generation)
	leader.askSync(one, generation, one, two)
	allSynced(t, leader, second)
}

// A member that is settled is told from a dead one by what is heard of it within half of its session.
func TestAMemberWhoseConnectionEndedLeavesUnlessItIsHeardOf(t *testing.T) {
	t.Parallel()
	const session = 2 * testSession // a half of it is time enough for whatever beats on a loaded machine
	b := startGroup(t)
	first := speak(t, b)
	first.session = session
	one, generation := first.alone()
	beats := speak(t, b)
	for range 3 { // each by another connection
		if code := beats.beat(one, generation); code != 0 {
			t.Fatalf("heartbeat: code %d", code)
		}
		beats.conn.Close()
		beats = speak(t, b)
	}
	until := time.Now().Add(session/2 + 5*roundEvery)
	first.conn.Close() // and one by which nothing has been heard of late
	eventually(t, func() bool {
		if code := beats.beat(one, generation); code != 0 {
			t.Fatalf("heartbeat: code %d", code)
		}
		return time.Now().After(until)
	})
	began := time.Now()
	beats.conn.Close()
	awaited(t, b, "Empty", 0)
	if took := time.Since(began); took >= session {
		t.Errorf("it left after %v, its session is %v", took, session)
	}
}

func TestAMemberThatDiesBeforeItsFirstBeatLeavesBeforeItsSessionIsOver(t *testing.T) {
	t.Parallel()
	const session = 2 * testSession
	b := startGroup(t)
	first := speak(t, b)
	first.session = session
	first.alone()
	began := time.Now()
	first.conn.Close()
	awaited(t, b, "Empty", 0)
	if took := time.Since(began); took >= session-testSession/2 { // its session began a little before
		t.Errorf("it left after %v, its session is %v", took, session)
	}
}

// One that has lost nothing but its connection is the same member by another.
func TestAMemberThatComesBackByAnotherConnectionIsKept(t *testing.T) {
	t.Parallel()
	b := startGroup(t)
	leader, second, again := speak(t, b), speak(t, b), speak(t, b)
	one, generation := leader.alone()
	two := second.asMember()
	awaited(t, b, preparing, 2, leader.staying(one, generation))
	second.conn.Close()
	again.askJoin(two, "")
	leader.holdingBack(one, generation)
	leader.askJoin(one, "")
	for i, s := range []*speaker{leader, again} {
		s.conn.SetReadDeadline(time.Now().Add(atOnce))
		if r, err := s.joined(); err != nil || r.ErrorCode != 0 || i == 1 && r.MemberID != two {
			t.Errorf("member %d: code %d, %v", i, r.ErrorCode, err)
		}
	}
}

// kfake counts one too few who joined, from then on to the rebalance's end, when a member goes that waits for its sync.
func TestAMemberThatLeavesWhileItWaitsForTheLeaderDoesNotKeepTheOthersWaiting(t *testing.T) {
	b := startGroup(t)
	leader, second, third := speak(t, b), speak(t, b), speak(t, b)
	one, generation := leader.alone()
	two, three := second.asMember(), third.asMember()
	awaited(t, b, preparing, 3, leader.staying(one, generation))
	leader.askJoin(one, "")
	generation = allJoined(t, leader, second, third)
	second.askSync(two, generation)
	third.askSync(three, generation)
	leaver := speak(t, b)
	leave := kmsg.NewPtrLeaveGroupRequest()
	leave.Version = 2
	leave.Group, leave.MemberID = testGroup, two
	eventually(t, func() bool { return b.gate.members.waiting(memberID{testGroup, two}) })
	leaver.ask(leave)
	leader.conn.Close()
	if code, err := third.synced(); err != nil || code != kerr.RebalanceInProgress.Code {
		t.Fatalf("code %d, %v", code, err)
	}
	ordinary(t, b)
	third.askJoin(three, "")
	allJoined(t, third)
	third.conn.Close()
	settles(t, b, 1, one, two, three)
}

func (all *members) waiting(id memberID) bool {
	all.mu.Lock()
	defer all.mu.Unlock()
	for s := range all.seats {
		if s.id == id && s.phase == syncing {
			return true
		}
	}
	return false
}
