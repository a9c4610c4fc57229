package kafka

import (
	"context"
	"encoding/binary"
	"io"
	"net"
	"slices"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// The sessions of these tests are as long as the broker lets them be short, their rebalances much longer than the tests
// may take.
const (
	testGroup     = "group"
	testSession   = 1500 * time.Millisecond
	testRebalance = time.Minute
)

// speaker says one request after another on a connection of its own.
type speaker struct {
	t    *testing.T
	conn net.Conn
	form *kmsg.RequestFormatter
	corr int32
}

func speak(t *testing.T, b *Broker) *speaker {
	t.Helper()
	c := connect(t, b.Addr())
	c.SetDeadline(time.Now().Add(30 * time.Second))
	return &speaker{t: t, conn: c, form: kmsg.NewRequestFormatter(kmsg.FormatterClientID("speaker"))}
}

func (s *speaker) ask(req kmsg.Request) {
	s.t.Helper()
	s.corr++
	if _, err := s.conn.Write(s.form.AppendRequest(nil, req, s.corr)); err != nil {
		s.t.Fatal(err)
	}
}

// answer is the next one; an error says that the connection ended first.
func (s *speaker) answer(resp kmsg.Response) error {
	s.t.Helper()
	var head [8]byte
	if _, err := io.ReadFull(s.conn, head[:]); err != nil {
		return err
	}
	body := make([]byte, binary.BigEndian.Uint32(head[:])-4)
	if _, err := io.ReadFull(s.conn, body); err != nil {
		return err
	}
	if !readAnswer(resp, body) {
		s.t.Fatalf("unreadable answer: %x", body)
	}
	return nil
}

func joinRequest(member string, metadata string) *kmsg.JoinGroupRequest {
	req := kmsg.NewPtrJoinGroupRequest()
	req.Version = 5
	req.Group, req.MemberID, req.ProtocolType = testGroup, member, "consumer"
	req.SessionTimeoutMillis, req.RebalanceTimeoutMillis = int32(testSession.Milliseconds()), int32(testRebalance.Milliseconds())
	p := kmsg.NewJoinGroupRequestProtocol()
	p.Name = "cooperative-sticky"
	meta := kmsg.NewConsumerMemberMetadata()
	meta.Topics = []string{topicTelemetry}
	meta.UserData = []byte(metadata)
	p.Metadata = meta.AppendTo(nil)
	req.Protocols = append(req.Protocols, p)
	return req
}

// asMember gives the speaker a name in the group, and asks to join under it.
func (s *speaker) asMember() string {
	s.t.Helper()
	s.ask(joinRequest("", ""))
	var r kmsg.JoinGroupResponse
	r.Version = 5
	if err := s.answer(&r); err != nil || r.ErrorCode != kerr.MemberIDRequired.Code {
		s.t.Fatalf("first join: code %d, %v", r.ErrorCode, err)
	}
	s.ask(joinRequest(r.MemberID, ""))
	return r.MemberID
}

func (s *speaker) joined() (kmsg.JoinGroupResponse, error) {
	s.t.Helper()
	var r kmsg.JoinGroupResponse
	r.Version = 5
	err := s.answer(&r)
	return r, err
}

func (s *speaker) askSync(member string, generation int32, assigned ...string) {
	s.t.Helper()
	req := kmsg.NewPtrSyncGroupRequest()
	req.Version = 3
	req.Group, req.MemberID, req.Generation = testGroup, member, generation
	for _, m := range assigned {
		a := kmsg.NewSyncGroupRequestGroupAssignment()
		a.MemberID = m
		req.GroupAssignment = append(req.GroupAssignment, a)
	}
	s.ask(req)
}

func (s *speaker) synced() (int16, error) {
	s.t.Helper()
	var r kmsg.SyncGroupResponse
	r.Version = 3
	err := s.answer(&r)
	return r.ErrorCode, err
}

func (s *speaker) beat(member string, generation int32) int16 {
	s.t.Helper()
	req := kmsg.NewPtrHeartbeatRequest()
	req.Version = 3
	req.Group, req.MemberID, req.Generation = testGroup, member, generation
	s.ask(req)
	var r kmsg.HeartbeatResponse
	r.Version = 3
	if err := s.answer(&r); err != nil {
		s.t.Fatal(err)
	}
	return r.ErrorCode
}

// alone makes the speaker the group's only member, and so its leader.
func (s *speaker) alone() (member string, generation int32) {
	s.t.Helper()
	member = s.asMember()
	r, err := s.joined()
	if err != nil || r.ErrorCode != 0 || r.LeaderID != member {
		s.t.Fatalf("join alone: code %d, leader %s, %v", r.ErrorCode, r.LeaderID, err)
	}
	s.askSync(member, r.Generation, member)
	if code, err := s.synced(); code != 0 || err != nil {
		s.t.Fatalf("sync alone: code %d, %v", code, err)
	}
	return member, r.Generation
}

// ordinary is a client as any other.
func ordinary(t *testing.T, b *Broker) *kgo.Client {
	t.Helper()
	cl := client(t, b.Addr(), "", "", kgo.ConsumerGroup(testGroup), kgo.ConsumeTopics(topicTelemetry),
		kgo.SessionTimeout(testSession), kgo.HeartbeatInterval(testSession/10), kgo.RebalanceTimeout(testRebalance),
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

// settles waits until the group is stable with n members, none of them one of those named, and says how long it took.
func settles(t *testing.T, b *Broker, n int, limit time.Duration, without ...string) time.Duration {
	t.Helper()
	began := time.Now()
	adm := kadm.NewClient(b.steward)
	eventually(t, func() bool {
		groups, err := adm.DescribeGroups(within(t), testGroup)
		if err != nil {
			t.Fatal(err)
		}
		g := groups[testGroup]
		if time.Since(began) > limit {
			t.Fatalf("after %v the group is %s with %d members, want %d", limit, g.State, len(g.Members), n)
		}
		return g.State == "Stable" && len(g.Members) == n && !slices.ContainsFunc(g.Members, func(m kadm.DescribedGroupMember) bool {
			return slices.Contains(without, m.MemberID)
		})
	})
	return time.Since(began)
}

// awaited waits until the group is in the state and has n members.
func awaited(t *testing.T, b *Broker, state string, n int) {
	t.Helper()
	adm := kadm.NewClient(b.steward)
	eventually(t, func() bool {
		groups, err := adm.DescribeGroups(within(t), testGroup)
		if err != nil {
			t.Fatal(err)
		}
		return groups[testGroup].State == state && len(groups[testGroup].Members) == n
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

const soon = testSession + 2*grace // no more than a session, the others' next beats, and the time of a loaded machine

func TestAMemberThatDiesInItsJoinDoesNotKeepTheOthersWaiting(t *testing.T) {
	b := startGroup(t)
	ordinary(t, b)
	ordinary(t, b)
	settles(t, b, 2, 10*time.Second)
	dead := speak(t, b)
	id := dead.asMember()
	awaited(t, b, preparing, 3)
	dead.conn.Close()
	t.Log("settled in", settles(t, b, 2, soon, id))
}

func TestALeaderThatDiesInItsJoinDoesNotKeepTheOthersWaiting(t *testing.T) {
	b := startGroup(t)
	leader := speak(t, b)
	id, _ := leader.alone()
	other := speak(t, b)
	waiting := other.asMember()
	awaited(t, b, preparing, 2)
	third := speak(t, b)
	last := third.asMember()
	awaited(t, b, preparing, 3)
	other.conn.Close() // it is counted among those who joined
	leader.ask(joinRequest(id, "again"))
	leader.conn.Close()
	r, err := third.joined()
	if err != nil || r.ErrorCode != 0 {
		t.Fatalf("code %d, %v", r.ErrorCode, err)
	}
	if r.LeaderID != last { // it died before the others' time to ask for it
		third.askSync(last, r.Generation)
		if code, err := third.synced(); err != nil || code != kerr.RebalanceInProgress.Code {
			t.Fatalf("code %d, %v", code, err)
		}
		third.ask(joinRequest(last, ""))
		if r, err = third.joined(); err != nil || r.ErrorCode != 0 {
			t.Fatalf("code %d, %v", r.ErrorCode, err)
		}
	}
	third.askSync(last, r.Generation, last)
	if code, err := third.synced(); err != nil || code != 0 {
		t.Fatalf("code %d, %v", code, err)
	}
	t.Log("settled in", settles(t, b, 1, soon, id, waiting))
}

func TestMembersThatDieOneAfterTheOtherDoNotKeepTheOthersWaiting(t *testing.T) {
	b := startGroup(t)
	ordinary(t, b)
	ordinary(t, b)
	settles(t, b, 2, 10*time.Second)
	var dead []string
	for range 5 {
		s := speak(t, b)
		dead = append(dead, s.asMember())
		if r, err := s.joined(); err == nil && r.ErrorCode == 0 && len(dead)%2 == 0 {
			s.askSync(dead[len(dead)-1], r.Generation)
		}
		s.conn.Close()
	}
	t.Log("settled in", settles(t, b, 2, soon, dead...))
}

// holdingBack is a leader that beats and does not join again, for longer than a session: as one that has work to finish.
func (s *speaker) holdingBack(member string, generation int32) {
	s.t.Helper()
	until := time.Now().Add(2 * testSession)
	eventually(s.t, func() bool {
		if code := s.beat(member, generation); code != kerr.RebalanceInProgress.Code && code != 0 {
			s.t.Fatalf("heartbeat: code %d", code)
		}
		return time.Now().After(until)
	})
}

func TestAMemberThatWaitsForOthersToJoinIsKept(t *testing.T) {
	b := startGroup(t)
	leader, second, third := speak(t, b), speak(t, b), speak(t, b)
	one, generation := leader.alone()
	two := second.asMember()
	awaited(t, b, preparing, 2)
	leader.ask(joinRequest(one, ""))
	for _, s := range []*speaker{leader, second} {
		r, err := s.joined()
		if err != nil || r.ErrorCode != 0 {
			t.Fatalf("code %d, %v", r.ErrorCode, err)
		}
		generation = r.Generation
	}
	second.askSync(two, generation)
	leader.askSync(one, generation, one, two)
	for _, s := range []*speaker{leader, second} {
		if code, err := s.synced(); err != nil || code != 0 {
			t.Fatalf("code %d, %v", code, err)
		}
	}
	third.asMember()
	awaited(t, b, preparing, 3)
	if code := second.beat(two, generation); code != kerr.RebalanceInProgress.Code {
		t.Fatalf("heartbeat: code %d", code)
	}
	second.ask(joinRequest(two, "")) // its session began with that heartbeat, and it sends none while it waits
	leader.holdingBack(one, generation)
	leader.ask(joinRequest(one, ""))
	for i, s := range []*speaker{leader, second, third} {
		s.conn.SetReadDeadline(time.Now().Add(5 * time.Second))
		if r, err := s.joined(); err != nil || r.ErrorCode != 0 {
			t.Errorf("member %d: code %d, %v", i, r.ErrorCode, err)
		}
	}
}

func TestAMemberThatWaitsForItsLeadersSyncIsKept(t *testing.T) {
	b := startGroup(t)
	leader, second := speak(t, b), speak(t, b)
	one, generation := leader.alone()
	two := second.asMember()
	awaited(t, b, preparing, 2)
	leader.ask(joinRequest(one, ""))
	for _, s := range []*speaker{leader, second} {
		r, err := s.joined()
		if err != nil || r.ErrorCode != 0 {
			t.Fatalf("code %d, %v", r.ErrorCode, err)
		}
		generation = r.Generation
	}
	second.askSync(two, generation)
	leader.holdingBack(one, generation)
	leader.askSync(one, generation, one, two)
	for i, s := range []*speaker{leader, second} {
		s.conn.SetReadDeadline(time.Now().Add(5 * time.Second))
		if code, err := s.synced(); err != nil || code != 0 {
			t.Errorf("member %d: code %d, %v", i, code, err)
		}
	}
}

// A member that is settled is told from a dead one by what is heard of it within half of its session.
func TestAMemberWhoseConnectionEndedLeavesUnlessItIsHeardOf(t *testing.T) {
	b := startGroup(t)
	first := speak(t, b)
	one, generation := first.alone()
	beats := speak(t, b)
	for range 3 { // each by another connection
		if code := beats.beat(one, generation); code != 0 {
			t.Fatalf("heartbeat: code %d", code)
		}
		beats.conn.Close()
		beats = speak(t, b)
	}
	until := time.Now().Add(testSession)
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
	if took := time.Since(began); took >= testSession {
		t.Errorf("it left after %v, its session is %v", took, testSession)
	}
}

// One that has lost nothing but its connection is the same member by another.
func TestAMemberThatComesBackByAnotherConnectionIsKept(t *testing.T) {
	b := startGroup(t)
	leader, second, again := speak(t, b), speak(t, b), speak(t, b)
	one, generation := leader.alone()
	two := second.asMember()
	awaited(t, b, preparing, 2)
	second.conn.Close()
	again.ask(joinRequest(two, ""))
	leader.holdingBack(one, generation)
	leader.ask(joinRequest(one, ""))
	for i, s := range []*speaker{leader, again} {
		s.conn.SetReadDeadline(time.Now().Add(5 * time.Second))
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
	awaited(t, b, preparing, 3)
	leader.ask(joinRequest(one, ""))
	for _, s := range []*speaker{leader, second, third} {
		r, err := s.joined()
		if err != nil || r.ErrorCode != 0 {
			t.Fatalf("code %d, %v", r.ErrorCode, err)
		}
		generation = r.Generation
	}
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
	third.ask(joinRequest(three, ""))
	third.conn.SetReadDeadline(time.Now().Add(soon))
	if r, err := third.joined(); err != nil || r.ErrorCode != 0 {
		t.Errorf("code %d, %v", r.ErrorCode, err)
	}
	third.conn.Close()
	settles(t, b, 1, soon, one, two, three)
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
