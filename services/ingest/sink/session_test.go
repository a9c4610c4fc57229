package sink

import (
	"context"
	"errors"
	"net"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"muster.dev/platform/eventlog/logtest"
	"muster.dev/proto/record"
	"muster.dev/services/ingest/sink/plan"
)

// member is a session whose client is in the group.
func member(t *testing.T, seeds []string) *session {
	t.Helper()
	s, err := New(DefaultConfig(), Settings{})
	if err != nil {
		t.Fatal(err)
	}
	ses := &session{sink: s, fail: func(error) {}, kick: make(chan struct{}, 1), workers: map[place]*worker{}}
	ses.cl, err = kgo.NewClient(kgo.SeedBrokers(seeds...), kgo.ConsumerGroup(s.cfg.Group), kgo.ConsumeTopics(record.TopicTelemetry),
		kgo.Balancers(kgo.CooperativeStickyBalancer()), kgo.SessionTimeout(3*time.Second), kgo.RebalanceTimeout(30*time.Second), kgo.HeartbeatInterval(50*time.Millisecond), kgo.DisableAutoCommit())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(ses.cl.CloseAllowingRebalance)
	ses.isAnother(t, "")
	return ses
}

// isAnother waits until the group has assigned to the client as another member than it was, and names that.
func (ses *session) isAnother(t *testing.T, than string) (id string) {
	t.Helper()
	deadline := time.Now().Add(patience)
	for time.Now().Before(deadline) {
		id, generation := ses.cl.GroupMetadata()
		if id != than && id != "" && generation >= 0 {
			return id
		}
		<-time.After(10 * time.Millisecond)
	}
	t.Fatalf("the client is no other member than %q", than)
	return ""
}

// The client joins its group in goroutines of its own, and its callbacks may come before NewClient has returned.
func TestASessionHasItsClientBeforeThatFirstDials(t *testing.T) {
	ses := &session{}
	dialled := make(chan bool, 1)
	err := ses.open(kgo.SeedBrokers("127.0.0.1:1"), kgo.ConsumerGroup("g"), kgo.ConsumeTopics(record.TopicTelemetry),
		kgo.Dialer(func(context.Context, string, string) (net.Conn, error) {
			select {
			case dialled <- ses.cl != nil && ses.adm != nil: // the race detector, too, holds it to come first
			default:
			}
			return nil, errors.New("no network here")
		}))
	if err != nil {
		t.Fatal(err)
	}
	defer ses.cl.CloseAllowingRebalance()
	if !<-dialled {
		t.Error("the client dials, and the session does not know it yet")
	}
}

// A sink that the group has given up joins again as another member, whose commits the broker takes for any partition.
// A worker of before, which does not know of it yet, would put its plan over that of the partition's owner.
func TestAWorkerCommitsAsTheMemberThatItsPartitionWasGivenToOrNotAtAll(t *testing.T) {
	cluster, seeds := logtest.Fake(t, topics)
	ses := member(t, seeds)
	first, _ := ses.cl.GroupMetadata()
	id := plan.TopicID{1}
	w := newWorker(ses, place{record.TopicTelemetry, 0}, id, beginning{})
	if err := w.commit(t.Context(), plan.Mark{Topic: id, Part: 0, Next: 5}); err != nil {
		t.Fatal(err)
	}
	cluster.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Heartbeat}, Err: kerr.RebalanceInProgress, Count: 1})
	cluster.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.JoinGroup}, Err: kerr.UnknownMemberID, Count: 1})
	ses.isAnother(t, first)
	if err := w.commit(t.Context(), plan.Mark{Topic: id, Part: 0, Next: 3}); !errors.Is(err, errLost) {
		t.Errorf("a worker of the member that was given up commits: %v", err)
	}
	next := newWorker(ses, place{record.TopicTelemetry, 0}, id, beginning{})
	if err := next.commit(t.Context(), plan.Mark{Topic: id, Part: 0, Next: 7}); err != nil {
		t.Errorf("a worker of the new member: %v", err)
	}
}

// While a session that ends lets its workers finish, the group may take their partitions away; it must not have them
// back before the workers are kept from committing.
func TestAPartitionThatIsTakenFromASessionThatEndsIsCommittedNoMore(t *testing.T) {
	for name, take := range map[string]func(*session, map[string][]int32){
		"lost":    func(ses *session, parts map[string][]int32) { ses.lost(t.Context(), ses.cl, parts) },
		"revoked": func(ses *session, parts map[string][]int32) { ses.revoked(t.Context(), ses.cl, parts) },
	} {
		t.Run(name, func(t *testing.T) {
			_, seeds := logtest.Fake(t, topics)
			ses := member(t, seeds)
			ses.sink.cfg.SessionTimeout = 500 * time.Millisecond
			w := newWorker(ses, place{record.TopicTelemetry, 0}, plan.TopicID{1}, beginning{})
			ses.workers[w.place] = w
			go func() { // it sends something that takes its time
				defer close(w.done)
				<-w.ctx.Done()
			}()
			released := make(chan struct{})
			go func() {
				defer close(released)
				ses.release(ses.all(), true)
			}()
			<-w.stop // the session ends
			take(ses, map[string][]int32{record.TopicTelemetry: {0}})
			if err := w.commit(t.Context(), plan.Mark{Topic: w.id, Part: 0, Next: 3}); !errors.Is(err, errLost) {
				t.Errorf("it commits after the group has taken the partition: %v", err)
			}
			<-released
		})
	}
}
