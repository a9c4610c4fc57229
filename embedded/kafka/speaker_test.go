package kafka

import (
	"encoding/binary"
	"io"
	"net"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// speaker says one request after another on a connection of its own.
type speaker struct {
	t       *testing.T
	conn    net.Conn
	form    *kmsg.RequestFormatter
	corr    int32
	session time.Duration
}

func speak(t *testing.T, b *Broker) *speaker {
	t.Helper()
	c := connect(t, b.Addr())
	return &speaker{t: t, conn: c, form: kmsg.NewRequestFormatter(kmsg.FormatterClientID("speaker")), session: testSession}
}

// mortal is a speaker that is to die: its session, begun or not, is of no help to those who wait for it.
func mortal(t *testing.T, b *Broker) *speaker {
	t.Helper()
	s := speak(t, b)
	s.session = testRebalance
	return s
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

func (s *speaker) askJoin(member, metadata string) {
	s.t.Helper()
	req := joinRequest(member, metadata)
	req.SessionTimeoutMillis = int32(s.session.Milliseconds())
	s.ask(req)
}

// asMember gives the speaker a name in the group, and asks to join under it.
func (s *speaker) asMember() string {
	s.t.Helper()
	s.askJoin("", "")
	var r kmsg.JoinGroupResponse
	r.Version = 5
	if err := s.answer(&r); err != nil || r.ErrorCode != kerr.MemberIDRequired.Code {
		s.t.Fatalf("first join: code %d, %v", r.ErrorCode, err)
	}
	s.askJoin(r.MemberID, "")
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

// holdingBack is a leader that beats and does not join again, for longer than a session: as one that has work to finish.
func (s *speaker) holdingBack(member string, generation int32) {
	s.t.Helper()
	until := time.Now().Add(2 * testSession)
	beat := s.staying(member, generation)
	eventually(s.t, func() bool {
		beat()
		return time.Now().After(until)
	})
}

// staying is a beat of a member that would else be silent while something is waited for: its session is short.
func (s *speaker) staying(member string, generation int32) func() {
	return func() {
		s.t.Helper()
		if code := s.beat(member, generation); code != kerr.RebalanceInProgress.Code && code != 0 {
			s.t.Fatalf("heartbeat: code %d", code)
		}
	}
}

// allJoined takes the answers to the joins of all, and gives their generation.
func allJoined(t *testing.T, all ...*speaker) (generation int32) {
	t.Helper()
	for i, s := range all {
		s.conn.SetReadDeadline(time.Now().Add(atOnce))
		r, err := s.joined()
		if err != nil || r.ErrorCode != 0 {
			t.Fatalf("join of member %d: code %d, %v", i, r.ErrorCode, err)
		}
		generation = r.Generation
	}
	return generation
}

// allSynced takes the answers to the syncs of all.
func allSynced(t *testing.T, all ...*speaker) {
	t.Helper()
	for i, s := range all {
		s.conn.SetReadDeadline(time.Now().Add(atOnce))
		if code, err := s.synced(); err != nil || code != 0 {
			t.Fatalf("sync of member %d: code %d, %v", i, code, err)
		}
	}
}
