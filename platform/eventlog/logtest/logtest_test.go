package logtest

import (
	"context"
	"errors"
	"testing"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestEachStartIsEmptyWhateverWasThere(t *testing.T) {
	for _, time := range []string{"first", "second"} {
		t.Run(time, use)
	}
}

// use finds a new log, and leaves a used one.
func use(t *testing.T) {
	seeds := Start(t, Topic{"muster.a", 3}, Topic{"muster.b", 1})
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	cl, err := kgo.NewClient(kgo.SeedBrokers(seeds...), kgo.DefaultProduceTopic("muster.a"), kgo.ConsumeTopics("muster.a"), kgo.ConsumerGroup("g"), kgo.DisableAutoCommit())
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	adm := kadm.NewClient(cl)
	topics, err := adm.ListTopics(ctx)
	if err != nil || len(topics) != 2 || len(topics["muster.a"].Partitions) != 3 {
		t.Fatalf("topics %v, %v", topics.Names(), err)
	}
	if ends, err := adm.ListEndOffsets(ctx, "muster.a", "muster.b"); err != nil || len(ends.KOffsets()["muster.a"]) != 3 {
		t.Fatalf("ends %v, %v", ends, err)
	} else {
		ends.Each(func(o kadm.ListedOffset) {
			if o.Offset != 0 {
				t.Errorf("%s/%d ends at %d", o.Topic, o.Partition, o.Offset)
			}
		})
	}
	if at, err := adm.FetchOffsets(ctx, "g"); len(at) != 0 || err != nil && !errors.Is(err, kerr.GroupIDNotFound) {
		t.Fatalf("the group has committed %v, %v", at, err)
	}
	rec := kgo.StringRecord("x")
	if err := cl.ProduceSync(ctx, rec).FirstErr(); err != nil {
		t.Fatal(err)
	}
	n := 0
	for n == 0 && ctx.Err() == nil { // what the group says of itself comes as a fetch without records
		n = cl.PollFetches(ctx).NumRecords()
	}
	if n != 1 {
		t.Fatalf("%d records", n)
	}
	if err := cl.CommitRecords(ctx, rec); err != nil {
		t.Fatal(err)
	}
}
