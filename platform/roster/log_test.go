package roster

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"muster.dev/platform/eventlog"
	"muster.dev/platform/eventlog/logtest"
	"muster.dev/proto/batch"
	"muster.dev/proto/event"
	"muster.dev/proto/record"
)

// What holds on any broker, in its own time; follow_test.go has what needs one that can be made to fail.

// onLog is a registry on a broker in memory, or on the real one of logtest.Env.
func onLog(t *testing.T) *registry {
	t.Helper()
	seeds := logtest.Start(t, logtest.Topic{Name: record.TopicRegistry, Partitions: 1})
	r := &registry{t: t, chain: chain{t: t}, cfg: eventlog.Config{Brokers: seeds}}
	r.open()
	return r
}

func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(aWhile); !holds(); <-time.After(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%s: not within %v", what, aWhile)
		}
	}
}

// catchesUp waits until the roster has reached an end of the log that was asked for after now: how young it then is, hangs
// on the machine as well.
func catchesUp(t *testing.T, roster *Roster, what string) {
	t.Helper()
	now := time.Now()
	eventually(t, what, func() bool { return roster.Age() < time.Since(now) })
}

func TestOnAnyBrokerARosterFollowsAndStaysYoung(t *testing.T) {
	r := onLog(t)
	r.say(life()[:3]...)
	roster, reg := r.follow()
	if err := roster.WaitReady(r.within(aWhile)); err != nil {
		t.Fatal(err)
	}
	heard := make(chan time.Time, 16)
	defer roster.Watch(func(Change) { heard <- time.Now() })()
	end := r.say(life()[3:]...)
	if err := roster.WaitRev(r.within(aWhile), uint64(end)); err != nil {
		t.Fatal(err)
	}
	for range life()[3:] {
		<-heard
	}
	least := aWhile // of several: each alone may be the machine's
	for i := range 5 {
		r.say(event.MetricAdded{Profile: 1, Metric: fmt.Sprintf("m_%d", i), Kind: batch.Int})
		said := time.Now()
		least = min(least, (<-heard).Sub(said))
	}
	if least > time.Second {
		t.Errorf("heard %v after it was committed, at best", least)
	}
	if d, _ := roster.DeviceByNo(2); !d.Revoked {
		t.Error("the revocation has not come")
	}
	// What was aborted takes offsets that no reader sees, at the very end of the log.
	if err := r.writer.Append(r.within(aWhile), []*kgo.Record{{Topic: record.TopicRegistry, Value: []byte("x")}, {Topic: record.TopicRegistry, Partition: 9}}); err == nil {
		t.Fatal("a partition that is not there was taken")
	}
	for range 6 {
		catchesUp(t, roster, "it stays young on an idle log that ends with an aborted transaction")
	}
	if n := counted(t, reg, "muster_roster_ignored_events_total", "", ""); n != 0 {
		t.Errorf("%v events ignored", n)
	}
}

func TestOnAnyBrokerAnOpenTransactionIsNotReadAndHoldsNobodyUp(t *testing.T) {
	r := onLog(t)
	r.say(life()[:3]...)
	roster, _ := r.follow()
	if err := roster.WaitReady(r.within(aWhile)); err != nil {
		t.Fatal(err)
	}
	cl, err := kgo.NewClient(append(r.cfg.Options(), kgo.TransactionalID("another"), kgo.TransactionTimeout(5*time.Minute))...)
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	if err := cl.BeginTransaction(); err != nil {
		t.Fatal(err)
	}
	lost := encode(t, r.chain.next(event.DeviceEnrolled{Device: "never", No: 2}))
	if err := cl.ProduceSync(r.within(aWhile), lost).FirstErr(); err != nil {
		t.Fatal(err)
	}
	for range 5 {
		catchesUp(t, roster, "it stays young during somebody's transaction")
	}
	if _, known := roster.Device("never"); known {
		t.Error("what is not committed was read")
	}
	if err := cl.EndTransaction(r.within(aWhile), kgo.TryAbort); err != nil {
		t.Fatal(err)
	}
	end := r.say(event.DeviceEnrolled{Device: "pump-2", No: 2})
	if err := roster.WaitRev(r.within(aWhile), uint64(end)); err != nil {
		t.Fatal(err)
	}
	if d, _ := roster.DeviceByNo(2); d.ID != "pump-2" {
		t.Errorf("2 is %+v", d)
	}
}

func TestOnAnyBrokerALostLogIsSaid(t *testing.T) {
	again := func(r *registry) {
		adm := r.client()
		if _, err := adm.DeleteTopics(r.within(aWhile), record.TopicRegistry); err != nil {
			r.t.Fatal(err)
		}
		eventually(r.t, "the topic is made again", func() bool {
			_, err := adm.CreateTopic(r.within(aWhile), 1, -1, nil, record.TopicRegistry)
			return err == nil
		})
	}
	for name, lose := range map[string]func(*registry){
		"made again": again,
		"made again and longer": func(r *registry) {
			again(r)
			r.chain = chain{t: r.t}
			r.open()
			for i := range 5 {
				r.say(event.DeviceEnrolled{Device: fmt.Sprintf("new-%d", i), No: uint32(i + 1)})
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			r := onLog(t)
			r.say(life()[:4]...)
			roster, _ := r.follow()
			if err := roster.WaitReady(r.within(aWhile)); err != nil {
				t.Fatal(err)
			}
			lose(r)
			eventually(t, "the loss is said", func() bool { return errors.Is(roster.Err(), ErrLost) })
			eventually(t, "what is known grows old", func() bool { return roster.Age() > 2*time.Second })
			if _, ok := roster.Device("new-0"); ok {
				t.Error("the other log was folded in")
			}
			if d, ok := roster.Device("pump-1"); !ok || d.No != 1 {
				t.Errorf("pump-1 is %+v: it has forgotten what it knew", d)
			}
		})
	}
	t.Run("cut at its start", func(t *testing.T) {
		r := onLog(t)
		r.say(life()...)
		cut := kadm.Offsets{}
		cut.AddOffset(record.TopicRegistry, 0, 3, -1)
		if got, err := r.client().DeleteRecords(r.within(aWhile), cut); err != nil || got.Error() != nil {
			t.Fatal(err, got.Error())
		}
		roster, _ := r.follow()
		eventually(t, "the loss is said", func() bool { return errors.Is(roster.Err(), ErrLost) })
		if roster.Ready() {
			t.Error("ready without the log's beginning")
		}
	})
}
