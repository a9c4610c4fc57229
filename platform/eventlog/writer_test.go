package eventlog

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

func writer(t *testing.T, cfg Config) *Writer {
	t.Helper()
	w, err := OpenWriter(within(t, aWhile), cfg, "registry")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.Close)
	return w
}

func values(records []*kgo.Record) []string {
	out := []string{}
	for _, r := range records {
		out = append(out, string(r.Value))
	}
	return out
}

func events(names ...string) []*kgo.Record {
	var out []*kgo.Record
	for _, n := range names {
		out = append(out, &kgo.Record{Topic: topic, Value: []byte(n)})
	}
	return out
}

func TestAnAppendIsInTheLogWholeAndInOrder(t *testing.T) {
	cfg := log(t, 1, topic)
	w := writer(t, cfg)
	first, second := events("a", "b", "c"), events("d")
	for _, batch := range [][]*kgo.Record{first, nil, second} {
		if err := w.Append(within(t, aWhile), batch); err != nil {
			t.Fatal(err)
		}
	}
	got := read(t, cfg, topic)
	if !slices.Equal(values(got), []string{"a", "b", "c", "d"}) {
		t.Errorf("read %v", values(got))
	}
	if first[2].Offset != 2 || second[0].Offset != got[3].Offset {
		t.Errorf("offsets %d and %d, the log says %d", first[2].Offset, second[0].Offset, got[3].Offset)
	}
}

func TestTheFormerOfTwoWritersIsFenced(t *testing.T) {
	cfg := log(t, 1, topic)
	old := writer(t, cfg)
	if err := old.Append(within(t, aWhile), events("old")); err != nil {
		t.Fatal(err)
	}
	young := writer(t, cfg)
	for range 2 { // the second time it does not even ask
		if !old.Place().Before(young.Place()) || young.Place().Before(old.Place()) {
			t.Errorf("%+v comes after %+v", young.Place(), old.Place())
		}
		if err := old.Append(within(t, aWhile), events("zombie")); !errors.Is(err, ErrFenced) || !errors.Is(err, ErrReopen) {
			t.Errorf("the former writer: %v", err)
		}
	}
	if err := young.Append(within(t, aWhile), events("young")); err != nil {
		t.Errorf("the later writer: %v", err)
	}
	if got := values(read(t, cfg, topic)); !slices.Equal(got, []string{"old", "young"}) {
		t.Errorf("the log holds %v", got)
	}
}

func TestAWriterThatIsFencedBeforeItsFirstWordSaysNothing(t *testing.T) {
	cfg := log(t, 1, topic)
	old := writer(t, cfg)
	_ = writer(t, cfg)
	if err := old.Append(within(t, aWhile), events("zombie")); !errors.Is(err, ErrFenced) {
		t.Errorf("%v", err)
	}
	if got := read(t, cfg, topic); len(got) != 0 {
		t.Errorf("the log holds %v", values(got))
	}
}

func TestARefusedRecordTakesTheWholeAppendWithIt(t *testing.T) {
	cfg := log(t, 1, topic)
	w := writer(t, cfg)
	batch := append(events("a"), &kgo.Record{Topic: topic, Value: []byte("b"), Partition: 7})
	if err := w.Append(within(t, aWhile), batch); err == nil || errors.Is(err, ErrReopen) {
		t.Fatalf("%v", err)
	}
	if err := w.Append(within(t, aWhile), events("c")); err != nil {
		t.Fatalf("the next one: %v", err)
	}
	if got := values(read(t, cfg, topic)); !slices.Equal(got, []string{"c"}) {
		t.Errorf("the log holds %v", got)
	}
}

func TestACommitThatIsNotHeardOfIsUnknown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cluster, cfg := fake(t, kfake.SeedTopics(1, topic))
		w := writer(t, cfg)
		if err := w.Append(within(t, aWhile), events("before")); err != nil {
			t.Fatal(err)
		}
		answer := silence(cluster, kmsg.EndTxn)
		err := w.Append(within(t, time.Minute), events("lost"))
		if !errors.Is(err, ErrUnknown) || !errors.Is(err, ErrReopen) {
			t.Errorf("%v", err)
		}
		answer()
		next := writer(t, cfg)
		if err := next.Append(within(t, time.Minute), events("after")); err != nil {
			t.Fatal(err)
		}
		if got := values(read(t, cfg, topic)); !slices.Equal(got, []string{"before", "after"}) {
			t.Errorf("the log holds %v", got)
		}
	})
}

// silence makes the broker swallow requests of a kind until the returned function is called.
func silence(c *kfake.Cluster, key kmsg.Key) func() {
	on := make(chan struct{})
	c.ControlKey(int16(key), func(kmsg.Request) (kmsg.Response, error, bool) {
		c.KeepControl()
		select {
		case <-on:
			return nil, nil, false
		default:
			return nil, nil, true
		}
	})
	return func() { close(on) }
}

// Apache Kafka answers for a commit before the partitions know of it, which the embedded broker does here alone.
func TestAnAppendThatReturnsIsShownToReadersOfWhatIsCommitted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cluster, cfg := fake(t, kfake.SeedTopics(1, topic))
		w := writer(t, cfg)
		var commit *kmsg.EndTxnRequest
		cluster.ControlKey(int16(kmsg.EndTxn), func(req kmsg.Request) (kmsg.Response, error, bool) {
			commit = req.(*kmsg.EndTxnRequest)
			return commit.ResponseKind(), nil, true // decided, and nobody told
		})
		appended := make(chan error, 1)
		go func() { appended <- w.Append(within(t, time.Minute), events("a", "b")) }()
		<-time.After(time.Second)
		select {
		case err := <-appended:
			t.Fatalf("it returned while nobody can read it: %v", err)
		default:
		}
		if got := read(t, cfg, topic); len(got) != 0 {
			t.Fatalf("the log shows %v", values(got))
		}
		teller, err := kgo.NewClient(cfg.Options()...)
		if err != nil {
			t.Fatal(err)
		}
		defer teller.Close()
		if _, err := commit.RequestWith(within(t, aWhile), teller); err != nil {
			t.Fatal(err)
		}
		if err := <-appended; err != nil {
			t.Error(err)
		}
		if got := values(read(t, cfg, topic)); !slices.Equal(got, []string{"a", "b"}) {
			t.Errorf("the log shows %v", got)
		}
	})
}

// The client sends the first record of a topic on its way, and is held up before it lists the topic's partition: by a
// second record, which is not the append's.
func TestACommitDoesNotOvertakeTheClientsListOfWhatWasWritten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cluster, cfg := fake(t, kfake.SeedTopics(1, topic))
		slow := &kgo.Record{Topic: topic, Value: []byte("slow")}
		client, err := kgo.NewClient(append(cfg.Options(), kgo.TransactionalID("registry"), kgo.ProducerLinger(0),
			kgo.RecordPartitioner(kgo.BasicConsistentPartitioner(func(string) func(*kgo.Record, int) int {
				return func(r *kgo.Record, _ int) int {
					if r == slow {
						<-time.After(time.Second) // of the bubble: all that can be done is done meanwhile
						return -1
					}
					return 0
				}
			})))...)
		if err != nil {
			t.Fatal(err)
		}
		w := &Writer{client: client}
		t.Cleanup(w.Close)
		told := make(chan struct{})
		cluster.ControlKey(int16(kmsg.Metadata), func(req kmsg.Request) (kmsg.Response, error, bool) {
			cluster.KeepControl()
			if len(req.(*kmsg.MetadataRequest).Topics) > 0 { // where the partition is
				cluster.SleepControl(func() { <-told })
			}
			return nil, nil, false
		})
		appended := make(chan error, 1)
		go func() { appended <- w.Append(within(t, time.Minute), events("a")) }()
		synctest.Wait()
		refused := make(chan error, 1)
		client.Produce(within(t, time.Minute), slow, func(_ *kgo.Record, err error) { refused <- err })
		close(told)
		if err := <-appended; err != nil {
			t.Error(err)
		}
		if err := <-refused; err == nil {
			t.Error("the record that only held up was written")
		}
		if err := w.Append(within(t, time.Minute), events("b")); err != nil {
			t.Error(err)
		}
		if got := values(read(t, cfg, topic)); !slices.Equal(got, []string{"a", "b"}) {
			t.Errorf("acknowledged were a and b; the log shows %v", got)
		}
	})
}

func TestACommitThatIsNeverShownIsUnknown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cluster, cfg := fake(t, kfake.SeedTopics(1, topic))
		w := writer(t, cfg)
		defer silence(cluster, kmsg.ListOffsets)()
		began := time.Now()
		err := w.Append(within(t, time.Minute), events("a"))
		if !errors.Is(err, ErrUnknown) || !errors.Is(err, ErrReopen) || time.Since(began) > endTimeout+time.Second {
			t.Errorf("%v after %v", err, time.Since(began))
		}
	})
}

func TestALogThatDoesNotAnswerEndsTheAppendAndNothingOfItIsRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cluster, cfg := fake(t, kfake.SeedTopics(1, topic))
		w := writer(t, cfg)
		answer := silence(cluster, kmsg.Produce)
		start := time.Now()
		ctx, cancel := context.WithTimeout(t.Context(), 4*time.Second)
		defer cancel()
		err := w.Append(ctx, events("lost"))
		if !errors.Is(err, ErrReopen) || errors.Is(err, ErrUnknown) || time.Since(start) > 10*time.Second {
			t.Errorf("%v after %v", err, time.Since(start))
		}
		w.Close()
		answer()
		next := writer(t, cfg)
		if err := next.Append(within(t, time.Minute), events("after")); err != nil {
			t.Fatal(err)
		}
		if got := values(read(t, cfg, topic)); !slices.Equal(got, []string{"after"}) {
			t.Errorf("the log holds %v", got)
		}
	})
}

func TestPassingFaultsAreRiddenOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cluster, cfg := fake(t, kfake.SeedTopics(1, topic))
		w := writer(t, cfg)
		want := []string{}
		for i, f := range []kfake.Fault{
			{Keys: []kmsg.Key{kmsg.Produce}, Err: kerr.NotEnoughReplicas, Count: 3},
			{Keys: []kmsg.Key{kmsg.Produce}, Err: kerr.RequestTimedOut, Count: 2},
			{Keys: []kmsg.Key{kmsg.AddPartitionsToTxn}, Err: kerr.CoordinatorLoadInProgress, Count: 2},
			{Keys: []kmsg.Key{kmsg.EndTxn}, Err: kerr.CoordinatorNotAvailable, Count: 2},
		} {
			cluster.Fault(f)
			want = append(want, fmt.Sprint(i))
			if err := w.Append(within(t, time.Minute), events(want[i])); err != nil {
				t.Fatalf("fault %d: %v", i, err)
			}
		}
		if got := values(read(t, cfg, topic)); !slices.Equal(got, want) {
			t.Errorf("the log holds %v", got)
		}
	})
}
