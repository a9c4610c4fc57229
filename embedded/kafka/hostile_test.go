package kafka

import (
	"context"
	"encoding/binary"
	"errors"
	"net"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

const sinkGroup = "muster-sink"

// What a reader may not do, request by request: the sink's group, whose commits hold the plans, above all.
func TestAReaderCanDoNothingButRead(t *testing.T) {
	b := start(t, Config{Users: users()})
	admin := client(t, b.Addr(), "admin", secretOf("admin"))
	createTopics(t, admin, topicTelemetry)
	var plan kadm.Offsets
	plan.Add(kadm.Offset{Topic: topicTelemetry, Partition: 0, At: 7, LeaderEpoch: -1, Metadata: "the plan"})
	if err := kadm.NewClient(admin).CommitAllOffsets(within(t), sinkGroup, plan); err != nil {
		t.Fatal(err)
	}
	guest := client(t, b.Addr(), "guest", secretOf("guest"))
	adm := kadm.NewClient(guest)
	ctx := within(t)
	var moved kadm.Offsets
	moved.AddOffset(topicTelemetry, 0, 0, -1)
	value := "1"
	topics, err := adm.ListTopics(ctx, topicTelemetry)
	if err != nil {
		t.Fatal(err)
	}
	ask := func(req kmsg.Request) kmsg.Response {
		resp, err := guest.SeedBrokers()[0].Request(ctx, req)
		if err != nil {
			t.Fatalf("%T: %v", req, err)
		}
		return resp
	}
	code := func(c int16) error { return kerr.ErrorForCode(c) }
	for name, do := range map[string]func() error{
		"delete a topic": func() error { r, err := adm.DeleteTopic(ctx, topicTelemetry); return errors.Join(err, r.Err) },
		"make a topic":   func() error { r, err := adm.CreateTopic(ctx, 1, 1, nil, "muster.mine"); return errors.Join(err, r.Err) },
		"add partitions": func() error {
			r, err := adm.CreatePartitions(ctx, 3, topicTelemetry)
			return errors.Join(err, r.Error())
		},
		"delete records": func() error {
			r, err := adm.DeleteRecords(ctx, moved)
			return errors.Join(err, r.Error())
		},
		"configure a topic": func() error {
			r, err := adm.AlterTopicConfigs(ctx, []kadm.AlterConfig{{Op: kadm.SetConfig, Name: "retention.ms", Value: &value}}, topicTelemetry)
			return errors.Join(err, r[0].Err)
		},
		"configure the broker": func() error {
			r, err := adm.AlterBrokerConfigs(ctx, []kadm.AlterConfig{{Op: kadm.SetConfig, Name: "group.max.size", Value: &value}})
			return errors.Join(err, r[0].Err)
		},
		"give itself a right": func() error {
			r, err := adm.CreateACLs(ctx, kadm.NewACLs().Allow("User:guest").AllowHosts("*").Topics(topicTelemetry).ResourcePatternType(kadm.ACLPatternLiteral).Operations(kadm.OpAll))
			if err != nil {
				return err
			}
			return r[0].Err
		},
		"change the sink's secret": func() error {
			r, err := adm.AlterUserSCRAMs(ctx, nil, []kadm.UpsertSCRAM{{User: "follower", Mechanism: kadm.ScramSha256, Iterations: 4096, Password: "x"}})
			if err != nil {
				return err
			}
			return r["follower"].Err
		},
		"write": func() error { return produce(t, guest, topicTelemetry, "x") },
		"delete the sink's group": func() error {
			r, err := adm.DeleteGroup(ctx, sinkGroup)
			return errors.Join(err, r.Err)
		},
		"move the sink's offsets": func() error { return adm.CommitAllOffsets(ctx, sinkGroup, moved) },
		"delete the sink's offsets": func() error {
			r, err := adm.DeleteOffsets(ctx, sinkGroup, moved.TopicsSet())
			return errors.Join(err, r.Error())
		},
		"move the sink's offsets in a transaction": func() error {
			req := kmsg.NewPtrTxnOffsetCommitRequest()
			req.TransactionalID, req.Group = "mine", sinkGroup
			rt := kmsg.NewTxnOffsetCommitRequestTopic()
			rt.Topic, rt.TopicID = topicTelemetry, [16]byte(topics[topicTelemetry].ID)
			rt.Partitions = append(rt.Partitions, kmsg.NewTxnOffsetCommitRequestTopicPartition())
			req.Topics = append(req.Topics, rt)
			return code(ask(req).(*kmsg.TxnOffsetCommitResponse).Topics[0].Partitions[0].ErrorCode)
		},
		"begin a transaction": func() error {
			req := kmsg.NewPtrInitProducerIDRequest()
			id := "muster-registry"
			req.TransactionalID = &id
			return code(ask(req).(*kmsg.InitProducerIDResponse).ErrorCode)
		},
		"join the sink's group": func() error {
			req := joinRequest("", "")
			req.Group, req.SessionTimeoutMillis = sinkGroup, 6000
			return code(ask(req).(*kmsg.JoinGroupResponse).ErrorCode)
		},
		"join the sink's group by the new protocol": func() error {
			req := kmsg.NewPtrConsumerGroupHeartbeatRequest()
			req.Group, req.MemberID, req.RebalanceTimeoutMillis = sinkGroup, "mine", 1000
			req.SubscribedTopicNames, req.Topics = []string{topicTelemetry}, []kmsg.ConsumerGroupHeartbeatRequestTopic{}
			return code(ask(req).(*kmsg.ConsumerGroupHeartbeatResponse).ErrorCode)
		},
		"make a share group of the sink's name": func() error {
			req := kmsg.NewPtrShareGroupHeartbeatRequest()
			req.GroupID, req.MemberID, req.SubscribedTopicNames = sinkGroup, "AAAAAAAAAAAAAAAAAAAAAA", []string{topicTelemetry}
			return code(ask(req).(*kmsg.ShareGroupHeartbeatResponse).ErrorCode)
		},
	} {
		if err := do(); err == nil {
			t.Errorf("a reader could %s", name)
		} else if !denied(err) {
			t.Errorf("%s: refused, but not for want of the right: %v", name, err)
		}
	}
	got, err := kadm.NewClient(admin).FetchOffsets(ctx, sinkGroup)
	if o, ok := got.Lookup(topicTelemetry, 0); err != nil || !ok || o.At != 7 || o.Metadata != "the plan" {
		t.Errorf("the plan after all that: %+v, %v", o, err)
	}
}

func denied(err error) bool {
	for _, want := range []error{kerr.TopicAuthorizationFailed, kerr.GroupAuthorizationFailed, kerr.ClusterAuthorizationFailed, kerr.TransactionalIDAuthorizationFailed} {
		if errors.Is(err, want) {
			return true
		}
	}
	return false
}

// A reader learns the names of the sink's members, for it may describe the group. What it says in their names has no
// effect, nor has that its connection ends.
func TestAReaderThatSpeaksAsAMemberOfTheSinkMovesNothing(t *testing.T) {
	b := start(t, Config{Users: users()})
	createTopics(t, client(t, b.Addr(), "admin", secretOf("admin")), topicTelemetry)
	lost := make(chan struct{}, 10)
	sink := client(t, b.Addr(), "follower", secretOf("follower"), kgo.ConsumerGroup(sinkGroup), kgo.ConsumeTopics(topicTelemetry),
		kgo.SessionTimeout(6*time.Second), kgo.HeartbeatInterval(200*time.Millisecond), kgo.DisableAutoCommit(),
		kgo.OnPartitionsLost(func(context.Context, *kgo.Client, map[string][]int32) { lost <- struct{}{} }))
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		for ctx.Err() == nil {
			sink.PollFetches(ctx)
		}
	}()
	defer func() { cancel(); <-done }()
	adm := kadm.NewClient(client(t, b.Addr(), "guest", secretOf("guest")))
	describe := func() (member string, generationIsStable bool) {
		groups, err := adm.DescribeGroups(within(t), sinkGroup)
		if err != nil {
			t.Fatal(err)
		}
		if g := groups[sinkGroup]; len(g.Members) == 1 {
			return g.Members[0].MemberID, g.State == "Stable"
		}
		return "", false
	}
	var member string
	eventually(t, func() bool { id, stable := describe(); member = id; return stable })
	generation := memberGeneration(t, sink)
	until := time.Now().Add(2 * grace)
	eventually(t, func() bool {
		guest := client(t, b.Addr(), "guest", secretOf("guest"))
		join := joinRequest(member, "")
		join.Group, join.SessionTimeoutMillis = sinkGroup, 6000
		sync := kmsg.NewPtrSyncGroupRequest()
		sync.Group, sync.MemberID, sync.Generation = sinkGroup, member, generation
		leave := kmsg.NewPtrLeaveGroupRequest()
		leave.Group, leave.MemberID = sinkGroup, member
		leave.Members = []kmsg.LeaveGroupRequestMember{{MemberID: member}}
		for _, req := range []kmsg.Request{join, sync, leave} {
			short, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
			guest.SeedBrokers()[0].Request(short, req)
			cancel()
		}
		guest.Close()
		return time.Now().After(until)
	})
	if id, stable := describe(); id != member || !stable || len(lost) > 0 || memberGeneration(t, sink) != generation {
		t.Errorf("the sink's member was %s and is %s (stable %v), lost its partitions %d times", member, id, stable, len(lost))
	}
}

func memberGeneration(t *testing.T, cl *kgo.Client) int32 {
	t.Helper()
	_, generation := cl.GroupMetadata()
	return generation
}

// kfake panics, and the broker with it, of a member that has no protocol or one twice.
func TestAMemberWithoutAProtocolOrWithOneTwiceIsRefused(t *testing.T) {
	b := startGroup(t)
	for name, spoil := range map[string]func(*kmsg.JoinGroupRequest){
		"without":           func(r *kmsg.JoinGroupRequest) { r.Protocols = nil },
		"with one twice":    func(r *kmsg.JoinGroupRequest) { r.Protocols = append(r.Protocols, r.Protocols...) },
		"of an old version": func(r *kmsg.JoinGroupRequest) { r.Version, r.Protocols = 3, append(r.Protocols, r.Protocols...) },
	} {
		s := speak(t, b)
		s.ask(joinRequest("", ""))
		r, err := s.joined()
		if err != nil || r.ErrorCode != kerr.MemberIDRequired.Code {
			t.Fatalf("%s: code %d, %v", name, r.ErrorCode, err)
		}
		req := joinRequest(r.MemberID, "")
		if spoil(req); req.Version == 3 {
			req.MemberID = ""
		}
		s.ask(req)
		if r, err := s.joined(); err == nil {
			t.Errorf("%s: code %d", name, r.ErrorCode)
		}
	}
	s := speak(t, b)
	s.alone()
}

// kfake answers a fetch with all that it asks for, up to 2 GiB in memory.
func TestAFetchBringsNoMoreThanItsBound(t *testing.T) {
	const fetch, records = 1 << 30, 6
	b := start(t, Config{NoAuth: true})
	cl := client(t, b.Addr(), "", "", kgo.ProducerBatchMaxBytes(7<<20), kgo.ProducerBatchCompression(kgo.NoCompression()),
		kgo.FetchMaxBytes(fetch), kgo.FetchMaxPartitionBytes(fetch), kgo.BrokerMaxReadBytes(fetch))
	createTopics(t, cl, topicTelemetry)
	for range records {
		if err := cl.ProduceSync(within(t), &kgo.Record{Topic: topicTelemetry, Value: make([]byte, 6<<20)}).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
	topics, err := kadm.NewClient(cl).ListTopics(within(t), topicTelemetry)
	if err != nil {
		t.Fatal(err)
	}
	for _, version := range []int16{4, 11, 12, 14, 15, 17} {
		s := speak(t, b)
		req := kmsg.NewPtrFetchRequest()
		req.Version, req.MaxBytes, req.MaxWaitMillis, req.SessionEpoch = version, fetch, 10, -1
		rt := kmsg.NewFetchRequestTopic()
		rt.Topic, rt.TopicID = topicTelemetry, [16]byte(topics[topicTelemetry].ID)
		rp := kmsg.NewFetchRequestTopicPartition()
		rp.PartitionMaxBytes = fetch
		rt.Partitions = append(rt.Partitions, rp)
		req.Topics = append(req.Topics, rt)
		s.ask(req)
		var r kmsg.FetchResponse
		r.Version = version
		if err := s.answer(&r); err != nil || len(r.Topics) != 1 || r.Topics[0].Partitions[0].ErrorCode != 0 {
			t.Fatalf("version %d: %+v, %v", version, r.ErrorCode, err)
		}
		if n := len(r.Topics[0].Partitions[0].RecordBatches); n < 6<<20 || n > maxFetch+1<<20 {
			t.Errorf("version %d brought %d bytes", version, n)
		}
	}
	for _, version := range []int16{0, 2} {
		s := speak(t, b)
		req := kmsg.NewPtrFetchRequest()
		req.Version = version
		s.ask(req)
		if err := s.answer(&kmsg.FetchResponse{Version: version}); err == nil {
			t.Errorf("version %d, which names no bound, was answered", version)
		}
	}
}

// A client that asks and takes no answer holds it in memory, so it is bounded how long.
func TestWhoTakesNoAnswerIsCutOff(t *testing.T) {
	ours, theirs := net.Pipe()
	defer ours.Close()
	bounded := &deadlines{Conn: theirs}
	g, err := newGuard(bounded, true, nil, door{})
	if err != nil {
		t.Fatal(err)
	}
	go ours.Read(make([]byte, 64))
	if _, err := g.Write(binary.BigEndian.AppendUint32(nil, 4)); err != nil {
		t.Fatal(err)
	}
	g.Close()
	if left := time.Until(bounded.writing); left <= 0 || left > unread {
		t.Errorf("an answer may be left for %v", left)
	}
}

// deadlines remembers the last bounds on a read and on a write.
type deadlines struct {
	net.Conn
	reading, writing time.Time
}

func (d *deadlines) SetReadDeadline(t time.Time) error {
	d.reading = t
	return d.Conn.SetReadDeadline(t)
}

func (d *deadlines) SetWriteDeadline(t time.Time) error {
	d.writing = t
	return d.Conn.SetWriteDeadline(t)
}
