package follow

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kgo"
	"go.uber.org/goleak"

	"muster.dev/embedded/kafka"
	"muster.dev/platform/eventlog"
	"muster.dev/proto/record"
)

func TestMain(m *testing.M) {
	if text := os.Getenv(envChild); text != "" {
		os.Exit(childMain(text))
	}
	goleak.VerifyTestMain(m)
}

// tick is how much event time an output of a tally is about.
const tick = 10_000

// tally is a small fold of the shape of a shard: two inputs that are merged by time, and the registry's log at the end of
// each tick. What it says depends on all that it was ever told.
type tally struct {
	part    int32
	waiting [2][]*kgo.Record
	events  []*kgo.Record // of the registry
	asking  bool
	said    []Output
	S       tallied
}

type tallied struct {
	Read                [3]int64 // offsets that come next: telemetry, events, registry
	Tick                int64    // its end; 0: none is open
	N                   uint64
	Chain               []byte
	Heard, Told, Events int
}

func (f *tally) Take(rec *kgo.Record) error {
	switch rec.Topic {
	case record.TopicRegistry:
		if rec.Offset >= f.S.Read[2] {
			f.events = append(f.events, rec)
		}
		return nil
	case record.TopicTelemetry:
		f.waiting[0] = append(f.waiting[0], rec)
	case record.TopicEvents:
		f.waiting[1] = append(f.waiting[1], rec)
	}
	f.run()
	return nil
}

func (f *tally) run() {
	for !f.asking && len(f.waiting[0]) > 0 && len(f.waiting[1]) > 0 {
		from := 0
		if f.waiting[1][0].Timestamp.Before(f.waiting[0][0].Timestamp) {
			from = 1
		}
		rec := f.waiting[from][0]
		at := rec.Timestamp.UnixMilli()
		if f.S.Tick == 0 {
			f.S.Tick = at - at%tick + tick
		}
		if at > f.S.Tick {
			f.asking = true
			return
		}
		f.waiting[from] = f.waiting[from][1:]
		f.S.Read[from] = rec.Offset + 1
		f.link(rec)
		if from == 0 {
			f.S.Heard++
		} else {
			f.S.Told++
		}
	}
}

func (f *tally) link(rec *kgo.Record) {
	sum := sha256.Sum256(append(slices.Clone(f.S.Chain), rec.Value...))
	f.S.Chain = sum[:]
}

func (f *tally) Asks() bool { return f.asking }

func (f *tally) Expect(int64) {}

func (f *tally) Answer(int64) {
	for len(f.events) > 0 && f.events[0].Timestamp.UnixMilli() <= f.S.Tick {
		f.link(f.events[0])
		f.S.Read[2] = f.events[0].Offset + 1
		f.S.Events++
		f.events = f.events[1:]
	}
	f.S.N++
	text := fmt.Sprintf("heard %d, told %d, events %d, %x", f.S.Heard, f.S.Told, f.S.Events, f.S.Chain)
	f.said = append(f.said, output(f.S.N, f.S.Tick, text))
	f.S.Heard, f.S.Told = 0, 0
	f.S.Tick += tick
	f.asking = false
	f.run()
}

func (f *tally) Heard() int64 { return f.S.Tick }

func (f *tally) Reached(Place, int64) {}

func (f *tally) Next(in Place) int64 {
	return f.S.Read[slices.Index([]string{record.TopicTelemetry, record.TopicEvents, record.TopicRegistry}, in.Topic)]
}

func (f *tally) Clock() int64               { return max(0, f.S.Tick-tick) }
func (f *tally) Snapshot(w io.Writer) error { return json.NewEncoder(w).Encode(f.S) }
func (f *tally) Restore(r io.Reader) error  { return json.NewDecoder(r).Decode(&f.S) }

func (f *tally) Said() ([]Output, error) {
	said := f.said
	f.said = nil
	return said, nil
}

// said is a record of the tests' folds.
type said struct {
	N    uint64 `json:"n"`
	At   int64  `json:"at"`
	Text string `json:"text"`
}

func output(n uint64, at int64, text string) Output {
	return Output{N: n, At: at, Record: func(n uint64) (*kgo.Record, error) {
		value, err := json.Marshal(said{n, at, text})
		return &kgo.Record{Value: value}, err
	}}
}

func number(rec *kgo.Record) (uint64, int64, error) {
	var s said
	err := json.Unmarshal(rec.Value, &s)
	return s.N, s.At, err
}

// counting is a small fold of the shape of the judge: the pages of all partitions, merged by time, and once in a while a word.
type counting struct {
	waiting [][]*kgo.Record
	told    []Output
	S       struct {
		Read  []int64
		Seen  []uint64 // number of each partition's last page
		N     uint64
		Pages uint64
		Clock int64
		Chain []byte
	}
}

func (f *counting) Take(rec *kgo.Record) error {
	if rec.Topic != record.TopicCohorts {
		return nil
	}
	f.waiting[rec.Partition] = append(f.waiting[rec.Partition], rec)
	for {
		next, least := -1, int64(0)
		for p, w := range f.waiting {
			if len(w) == 0 {
				return nil
			}
			_, at, err := number(w[0])
			if err != nil {
				return err
			}
			if next < 0 || at < least {
				next, least = p, at
			}
		}
		page := f.waiting[next][0]
		f.waiting[next] = f.waiting[next][1:]
		n, _, _ := number(page)
		if n != f.S.Seen[next]+1 {
			return fmt.Errorf("page %d of partition %d follows %d", n, next, f.S.Seen[next])
		}
		f.S.Seen[next], f.S.Read[next], f.S.Clock = n, page.Offset+1, least
		sum := sha256.Sum256(append(slices.Clone(f.S.Chain), page.Value...))
		f.S.Chain = sum[:]
		if f.S.Pages++; f.S.Pages%3 == 0 {
			f.S.N++
			f.told = append(f.told, output(f.S.N, least, fmt.Sprintf("%d pages, %x", f.S.Pages, f.S.Chain)))
		}
	}
}

func (f *counting) Said() ([]Output, error) {
	told := f.told
	f.told = nil
	return told, nil
}

func (f *counting) Next(in Place) int64 {
	if in == registryLog {
		return 0
	}
	return f.S.Read[in.Part]
}

func (f *counting) Clock() int64               { return f.S.Clock }
func (f *counting) Reached(Place, int64)       {}
func (f *counting) Heard() int64               { return f.S.Clock }
func (f *counting) Asks() bool                 { return false }
func (f *counting) Expect(int64)               {}
func (f *counting) Answer(int64)               {}
func (f *counting) Snapshot(w io.Writer) error { return json.NewEncoder(w).Encode(f.S) }
func (f *counting) Restore(r io.Reader) error  { return json.NewDecoder(r).Decode(&f.S) }

func newTally(part int32) *tally { return &tally{part: part} }

func newCounting(parts int32) *counting {
	f := &counting{waiting: make([][]*kgo.Record, parts)}
	f.S.Read, f.S.Seen = make([]int64, parts), make([]uint64, parts)
	return f
}

// kinds are the tests' two stages, as detectors of a version.
func kinds(version string) map[string]*kind {
	return map[string]*kind{
		record.TopicTelemetry: {
			stage: stageShard, topic: record.TopicCohorts, inputs: shardInputs, prefix: shardPrefix, number: number, held: 500, detector: "tally-" + version,
			begin: func(part, _ int32) (Fold, error) { return newTally(part), nil },
		},
		record.TopicIncidents: {
			stage: stageJudge, topic: record.TopicIncidents, inputs: judgeInputs, prefix: judgePrefix, number: number, held: 500, detector: "counting-" + version,
			begin: func(_, parts int32) (Fold, error) { return newCounting(parts), nil },
		},
	}
}

const parts = 2

// patience is how long a test waits for what must come.
const patience = 2 * time.Minute

// world is a broker and what was sent.
type world struct {
	t        testing.TB
	broker   *kafka.Broker
	settings kafka.Config
	log      eventlog.Config
	cl       *kgo.Client
	rng      *rand.Rand
	kinds    func(version string) map[string]*kind
	at       int64 // Unix ms: how far devices have come
}

func newWorld(t testing.TB) *world {
	t.Helper()
	w := worldWithout(t)
	w.topics()
	return w
}

// worldWithout has a broker without topics.
func worldWithout(t testing.TB) *world {
	t.Helper()
	settings := kafka.Config{Listen: "127.0.0.1:0", DataDir: t.TempDir(), NoAuth: true, MinSession: 50 * time.Millisecond}
	broker, err := kafka.Start(settings)
	if err != nil {
		t.Fatal(err)
	}
	seed := rand.Uint64()
	if s := os.Getenv("MUSTER_TEST_SEED"); s != "" {
		if seed, err = strconv.ParseUint(s, 10, 64); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("seed %d (MUSTER_TEST_SEED replays it)", seed)
	settings.Listen = broker.Addr()
	w := &world{t: t, broker: broker, settings: settings, log: eventlog.Config{Brokers: []string{broker.Addr()}, ClientID: "test"}, rng: rand.New(rand.NewPCG(seed, 34))}
	t.Cleanup(func() { w.broker.Close() })
	w.kinds = kinds
	w.at = time.Now().Add(-24*time.Hour).UnixMilli() / tick * tick
	w.cl, err = kgo.NewClient(append(w.log.Options(), kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.MetadataMinAge(20*time.Millisecond))...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.cl.Close)
	return w
}

func (w *world) topics() {
	w.t.Helper()
	if _, err := eventlog.EnsureTopics(w.t.Context(), w.cl, eventlog.Topics(parts, true)); err != nil {
		w.t.Fatal(err)
	}
}

// hear has devices say something for so many ticks.
func (w *world) hear(ticks int) {
	w.t.Helper()
	var records, registry []*kgo.Record
	say := func(topic string, part int32, at int64) {
		value := strconv.AppendUint(nil, w.rng.Uint64(), 36)
		rec := &kgo.Record{Topic: topic, Partition: part, Timestamp: time.UnixMilli(at), Value: value}
		if topic == record.TopicRegistry {
			registry = append(registry, rec)
		} else {
			records = append(records, rec)
		}
	}
	for end := w.at + int64(ticks)*tick; w.at < end; w.at += 1_000 {
		if w.rng.IntN(20) == 0 {
			say(record.TopicRegistry, 0, w.at)
		}
		for part := range int32(parts) {
			for range w.rng.IntN(4) {
				say(record.TopicTelemetry, part, w.at+w.rng.Int64N(100))
			}
			if w.rng.IntN(3) == 0 {
				say(record.TopicEvents, part, w.at)
			}
		}
	}
	for part := range int32(parts) { // as watermarks do: each tick ends
		say(record.TopicTelemetry, part, w.at)
		say(record.TopicEvents, part, w.at)
	}
	// First what the registry said: else a tick might be over for a line before the log has it, as requests go to the broker
	// partition by partition.
	for _, list := range [...][]*kgo.Record{registry, records} {
		if err := w.cl.ProduceSync(w.t.Context(), list...).FirstErr(); err != nil {
			w.t.Fatal(err)
		}
	}
}

// whole is all that is committed in a partition.
func (w *world) whole(in Place) (out []*kgo.Record) {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), patience)
	defer cancel()
	err := eventlog.Tail(ctx, w.log, eventlog.TailSettings{Topics: []string{in.Topic}}, func(rec *kgo.Record) error {
		if rec.Partition == in.Part {
			out = append(out, rec)
		}
		return nil
	})
	if err != nil {
		w.t.Fatal(err)
	}
	return out
}

// wanted is what an undisturbed run says of what the log holds.
func (w *world) wanted(in Place) (out [][]byte) {
	w.t.Helper()
	k := w.kinds("1")[map[string]string{record.TopicCohorts: record.TopicTelemetry, record.TopicIncidents: record.TopicIncidents}[in.Topic]]
	fold, err := k.begin(in.Part, parts)
	if err != nil {
		w.t.Fatal(err)
	}
	inputs := k.inputs(in.Part, parts)
	slices.Reverse(inputs) // the registry first, and then it has nothing more to say
	registryEnd := int64(0)
	for _, from := range inputs {
		for _, rec := range w.whole(from) {
			if err := fold.Take(rec); err != nil {
				w.t.Fatal(err)
			}
			if from == registryLog {
				registryEnd = rec.Offset + 1
				fold.Reached(from, registryEnd)
			}
		}
		for fold.Asks() {
			fold.Answer(registryEnd)
		}
	}
	said, err := fold.Said()
	if err != nil {
		w.t.Fatal(err)
	}
	for _, o := range said {
		rec, err := o.Record(o.N)
		if err != nil {
			w.t.Fatal(err)
		}
		out = append(out, rec.Value)
	}
	return out
}

// outputs are all places that are written to: the judge's last.
func outputs() (out []Place) {
	for part := range int32(parts) {
		out = append(out, Place{record.TopicCohorts, part})
	}
	return append(out, Place{Topic: record.TopicIncidents})
}

// complete waits until all has been said, and holds each byte of it to what an undisturbed run says.
func (w *world) complete() {
	w.t.Helper()
	for _, in := range outputs() {
		want := w.wanted(in)
		var got []*kgo.Record
		w.until(fmt.Sprintf("%s holds all outputs", in), func() error {
			if got = w.whole(in); len(got) < len(want) {
				return fmt.Errorf("%d of %d", len(got), len(want))
			}
			return nil
		})
		if len(got) > len(want) {
			w.t.Errorf("%s holds %d outputs, want %d", in, len(got), len(want))
		}
		for i, rec := range got[:min(len(got), len(want))] {
			if string(rec.Value) != string(want[i]) {
				w.t.Fatalf("%s, output %d: %.300q, want %.300q", in, i+1, rec.Value, want[i])
			}
		}
		if len(want) == 0 {
			w.t.Errorf("%s: nothing was to be said", in)
		}
	}
}

func (w *world) until(what string, ok func() error) {
	w.t.Helper()
	deadline := time.Now().Add(patience)
	for {
		err := ok()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			w.t.Fatalf("%s: %v", what, err)
		}
		<-time.After(20 * time.Millisecond)
	}
}

// config snapshots often.
func (w *world) config() Config {
	cfg := DefaultConfig()
	cfg.SessionTimeout = 500 * time.Millisecond
	cfg.SnapshotEvery, cfg.SnapshotPause = 4*tick*time.Millisecond, 0
	return cfg
}

// member is a room that runs.
type member struct {
	*Room
	end     func() // and wait
	crashed chan string
}

// join runs a room. One that meets its crash point ends there, without another word to the log.
func (w *world) join(cfg Config, version string) *member {
	w.t.Helper()
	r, err := w.room(cfg, version)
	if err != nil {
		w.t.Fatal(err)
	}
	m := &member{Room: r, crashed: make(chan string, 1)}
	ctx, cancel := context.WithCancel(context.Background())
	r.crash.die = func(point string) error {
		select {
		case m.crashed <- point:
		default:
		}
		cancel()
		return errCrashed
	}
	done := make(chan error, 1)
	go func() { done <- r.Run(ctx) }()
	m.end = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			w.t.Error(err)
		}
	})
	w.t.Cleanup(m.end)
	return m
}

// room is one that nobody runs.
func (w *world) room(cfg Config, version string) (*Room, error) {
	level := slog.LevelError + 1
	if testing.Verbose() {
		level = slog.LevelInfo
	}
	log := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: level}))
	return newRoom(cfg, w.log, log, prometheus.NewRegistry(), w.kinds(version))
}

// ready waits until a member has caught up.
func (w *world) ready(m *member) {
	w.t.Helper()
	w.until("a member is ready", m.Ready)
}

var errNotYet = errors.New("not yet")
