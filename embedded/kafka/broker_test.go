package kafka

import (
	"context"
	"crypto/rand"
	"errors"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/sasl/scram"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	if dir := os.Getenv(envChild); dir != "" {
		runChild(dir)
		return
	}
	goleak.VerifyTestMain(m)
}

func start(t *testing.T, cfg Config) *Broker {
	t.Helper()
	if cfg.Listen == "" {
		cfg.Listen = "127.0.0.1:0"
	}
	b, err := Start(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.Close)
	return b
}

// client connects as a user, or as nobody when user is empty. It gives up soon: a refusal must be seen, not retried.
func client(t *testing.T, addr, user, secret string, opts ...kgo.Opt) *kgo.Client {
	t.Helper()
	// No RecordDeliveryTimeout: kgo counts it from the record's timestamp, and some of ours are old.
	opts = append(opts, kgo.SeedBrokers(addr), kgo.RetryTimeout(5*time.Second),
		kgo.DisableClientMetrics(), kgo.RecordPartitioner(kgo.ManualPartitioner()))
	if user != "" {
		opts = append(opts, kgo.SASL(scram.Auth{User: user, Pass: secret}.AsSha256Mechanism()))
	}
	cl, err := kgo.NewClient(opts...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cl.Close)
	return cl
}

// aWhile is what anything may take of which nobody has said how long it takes.
const aWhile = 2 * time.Minute

func within(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), aWhile)
	t.Cleanup(cancel)
	return ctx
}

func createTopics(t *testing.T, cl *kgo.Client, topics ...string) {
	t.Helper()
	res, err := kadm.NewClient(cl).CreateTopics(within(t), 1, 1, nil, topics...)
	if err != nil {
		t.Fatal(err)
	}
	if err := res.Error(); err != nil {
		t.Fatal(err)
	}
}

func produce(t *testing.T, cl *kgo.Client, topic, value string) error {
	t.Helper()
	return cl.ProduceSync(within(t), &kgo.Record{Topic: topic, Value: []byte(value)}).FirstErr()
}

// readAll reads partition 0 of a topic from its start to its end.
func readAll(t *testing.T, addr, user, secret, topic string) ([]string, error) {
	t.Helper()
	ctx := within(t)
	cl := client(t, addr, user, secret, kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{topic: {0: kgo.NewOffset().AtStart()}}))
	ends, err := kadm.NewClient(cl).ListEndOffsets(ctx, topic)
	if err != nil {
		return nil, err
	}
	if err := ends.Error(); err != nil {
		return nil, err
	}
	end, _ := ends.Lookup(topic, 0)
	starts, err := kadm.NewClient(cl).ListStartOffsets(ctx, topic)
	if err != nil {
		return nil, err
	}
	from, _ := starts.Lookup(topic, 0)
	var got []string
	for at := from.Offset; at < end.Offset; {
		fs := cl.PollFetches(ctx)
		if errs := fs.Errors(); len(errs) > 0 {
			return got, errs[0].Err
		}
		fs.EachRecord(func(r *kgo.Record) {
			got = append(got, string(r.Value))
			at = r.Offset + 1
		})
	}
	return got, nil
}

func TestAPortThatIsTakenIsNamedWithWhatToDo(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	dir := filepath.Join(t.TempDir(), "kafka")
	_, err = Start(Config{Listen: ln.Addr().String(), DataDir: dir, NoAuth: true})
	if err == nil {
		t.Fatal("started on a port that is taken")
	}
	_, port, _ := net.SplitHostPort(ln.Addr().String())
	for _, want := range []string{"port " + port + " is taken", "--listen-offset"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q does not say %q", err, want)
		}
	}
	if _, err := os.Stat(dir); !errors.Is(err, os.ErrNotExist) {
		t.Error("the data directory was touched")
	}
}

func TestTwoBrokersOnOneDirectoryAreRefused(t *testing.T) {
	dir := t.TempDir()
	b := start(t, Config{DataDir: dir, NoAuth: true})
	_, err := Start(Config{Listen: "127.0.0.1:0", DataDir: dir, NoAuth: true})
	if err == nil || !strings.Contains(err.Error(), "another broker runs on "+dir) {
		t.Fatalf("second broker: %v", err)
	}
	b.Close()
	start(t, Config{DataDir: dir, NoAuth: true})
}

func TestOnlyLoopbackIsServed(t *testing.T) {
	for _, addr := range []string{"0.0.0.0:0", "10.0.0.1:9092", ":9092", "nonsense"} {
		if _, err := Start(Config{Listen: addr, NoAuth: true}); err == nil {
			t.Errorf("%q was accepted", addr)
		}
	}
}

func TestATopicIsNotCreatedByNamingIt(t *testing.T) {
	b := start(t, Config{NoAuth: true})
	cl := client(t, b.Addr(), "", "", kgo.AllowAutoTopicCreation(), kgo.UnknownTopicRetries(1))
	if err := produce(t, cl, "misspelt", "x"); !errors.Is(err, kerr.UnknownTopicOrPartition) {
		t.Fatalf("produce to a topic that is not there: %v", err)
	}
}

func TestARestartKeepsRecordsAndCommitsAndTakesTheNewSecrets(t *testing.T) {
	dir := t.TempDir()
	b := start(t, Config{DataDir: dir, Sync: true, Users: users()})
	admin := client(t, b.Addr(), "admin", secretOf("admin"))
	createTopics(t, admin, topicTelemetry)
	for _, v := range []string{"one", "two"} {
		if err := produce(t, admin, topicTelemetry, v); err != nil {
			t.Fatal(err)
		}
	}
	commit := make(kadm.Offsets)
	commit.Add(kadm.Offset{Topic: topicTelemetry, Partition: 0, At: 1, LeaderEpoch: -1, Metadata: "the plan"})
	if err := kadm.NewClient(admin).CommitAllOffsets(within(t), "muster-sink", commit); err != nil {
		t.Fatal(err)
	}
	admin.Close()
	b.Close()

	changed := users()
	changed[slices.IndexFunc(changed, func(u User) bool { return u.Name == "follower" })].Secret = "another"
	b = start(t, Config{DataDir: dir, Sync: true, Users: changed})
	got, err := readAll(t, b.Addr(), "follower", "another", topicTelemetry)
	if err != nil || strings.Join(got, " ") != "one two" {
		t.Fatalf("read back %v, %v", got, err)
	}
	follower := client(t, b.Addr(), "follower", "another")
	offs, err := kadm.NewClient(follower).FetchOffsets(within(t), "muster-sink")
	if err != nil {
		t.Fatal(err)
	}
	if o, ok := offs.Lookup(topicTelemetry, 0); !ok || o.At != 1 || o.Metadata != "the plan" {
		t.Fatalf("commit read back: %+v", o)
	}
	old := client(t, b.Addr(), "follower", secretOf("follower"))
	if err := old.Ping(within(t)); err == nil {
		t.Fatal("the old secret still opens the door")
	}
}

func TestNothingExpiresUnlessItsTopicSaysSo(t *testing.T) {
	b := start(t, Config{NoAuth: true, RetentionEvery: 10 * time.Millisecond})
	cl := client(t, b.Addr(), "", "")
	createTopics(t, cl, topicRegistry)
	month := "2592000000"
	if res, err := kadm.NewClient(cl).CreateTopics(within(t), 1, 1, map[string]*string{"retention.ms": &month}, topicTelemetry); err != nil || res.Error() != nil {
		t.Fatal(err, res.Error())
	}
	old := time.Now().AddDate(-1, 0, 0)
	for _, topic := range []string{topicRegistry, topicTelemetry} {
		for _, at := range []time.Time{old, time.Now()} {
			if err := cl.ProduceSync(within(t), &kgo.Record{Topic: topic, Value: []byte("v"), Timestamp: at}).FirstErr(); err != nil {
				t.Fatal(err)
			}
		}
	}
	eventually(t, func() bool { return b.Cluster().PartitionInfo(topicTelemetry, 0).LogStartOffset == 1 })
	if got := b.Cluster().PartitionInfo(topicRegistry, 0).LogStartOffset; got != 0 {
		t.Fatalf("the registry's topic begins at %d", got)
	}
}

func TestACapTrimsTheOldAndNeverTheYoung(t *testing.T) {
	b := start(t, Config{NoAuth: true, RetentionEvery: 10 * time.Millisecond, Caps: map[string]Cap{topicTelemetry: {Bytes: 1000, Keep: 24 * time.Hour}}})
	cl := client(t, b.Addr(), "", "")
	createTopics(t, cl, topicTelemetry)
	value := make([]byte, 500)
	rand.Read(value) // else it is compressed away
	for _, at := range []time.Time{time.Now().AddDate(0, 0, -2), time.Now().AddDate(0, 0, -2), time.Now(), time.Now(), time.Now(), time.Now()} {
		if err := cl.ProduceSync(within(t), &kgo.Record{Topic: topicTelemetry, Value: value, Timestamp: at}).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, func() bool { return b.Cluster().PartitionInfo(topicTelemetry, 0).LogStartOffset == 2 })
	// Ten more rounds: over the cap still, and all of it is young.
	deadline := time.Now().Add(100 * time.Millisecond)
	eventually(t, func() bool { return time.Now().After(deadline) })
	if got := b.Cluster().PartitionInfo(topicTelemetry, 0).LogStartOffset; got != 2 {
		t.Fatalf("the log begins at %d: what is young was trimmed", got)
	}
}

func eventually(t *testing.T, cond func() bool) {
	t.Helper()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	timeout := time.After(aWhile)
	for !cond() {
		select {
		case <-tick.C:
		case <-timeout:
			t.Fatalf("the condition did not come true in %v", aWhile)
		}
	}
}
