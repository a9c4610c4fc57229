package replay

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/klauspost/compress/zstd"
	"github.com/vmihailenco/msgpack/v5"

	"muster.dev/proto/event"
	"muster.dev/proto/record"
	"muster.dev/services/anomaly/judge"
	"muster.dev/services/anomaly/page"
)

// stranger is a bundle that says what its maker likes.
func stranger(t *testing.T, m Manifest) []byte {
	t.Helper()
	m.Format = BundleFormat
	text, err := json.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	z, err := zstd.NewWriter(&b)
	if err != nil {
		t.Fatal(err)
	}
	w := tar.NewWriter(z)
	if err := w.WriteHeader(&tar.Header{Name: manifestFile, Size: int64(len(text)), Mode: 0o600}); err != nil {
		t.Fatal(err)
	}
	_, _ = w.Write(text)
	_ = w.Close()
	_ = z.Close()
	return b.Bytes()
}

func TestAStrangersManifestIsNotBelieved(t *testing.T) {
	for name, m := range map[string]Manifest{
		"no partitions":        {},
		"too many partitions":  {Partitions: 10_000},
		"states of others":     {Partitions: 2, Start: Start{Shards: make([]ShardStart, 3)}},
		"a terminal's command": {Partitions: 1, Title: "pumps\x1b]0;x\x07"},
		"a line of its own":    {Partitions: 1, By: "1.0\nmuster: all is well"},
		"a word without end":   {Partitions: 1, Incident: strings.Repeat("i", 1<<20)},
	} {
		b, err := OpenBundle(bytes.NewReader(stranger(t, m)), 1<<20)
		if err == nil {
			_ = b.Close()
		}
		if !errors.Is(err, ErrBundle) || strings.ContainsAny(err.Error(), "\x1b\n") || len(err.Error()) > 1_000 {
			t.Errorf("%s: %.2000q", name, err)
		}
	}
	b, err := OpenBundle(bytes.NewReader(stranger(t, Manifest{Partitions: 1, Settings: []byte(`{"shard":{"Hold":-1},"judge":{"Security":{"Times":0}}}`)})), 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	if _, err := b.Case(t.Context()); !errors.Is(err, ErrBundle) {
		t.Errorf("without an incident: %v", err)
	}
}

// none is where no state is.
type none struct{}

func (none) State(context.Context, string) (io.ReadCloser, error) {
	return io.NopCloser(strings.NewReader("no state")), nil
}

// Of many partitions each has its part of what is read ahead.
func TestManyPartitionsHaveRoom(t *testing.T) {
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	log := &waiting{all: make(chan struct{}), want: 3*maxPartitions + 1}
	err := Run(t.Context(), log, none{}, DefaultSettings(maxPartitions), Start{}, func(judge.Out) error { return nil })
	if err != nil {
		t.Fatal(err)
	}
	runtime.ReadMemStats(&after)
	if each := (after.TotalAlloc - before.TotalAlloc) / maxPartitions; each > 1<<20 {
		t.Errorf("%d bytes a partition", each)
	} else {
		t.Logf("%d bytes a partition", each)
	}
}

// waiting is an empty log that ends when all of its partitions are read.
type waiting struct {
	mu   sync.Mutex
	want int
	all  chan struct{}
}

func (w *waiting) Read(ctx context.Context, _ string, _ int32, _ int64, _ func(*Record) error) error {
	w.mu.Lock()
	if w.want--; w.want == 0 {
		close(w.all)
	}
	w.mu.Unlock()
	select {
	case <-w.all:
	case <-ctx.Done():
	}
	return nil
}

// large is a log whose records are as large as they may be.
type large struct {
	memory
	mu   sync.Mutex
	read int
}

func (l *large) Read(ctx context.Context, topic string, part int32, from int64, each func(*Record) error) error {
	if topic != record.TopicTelemetry {
		return l.memory.Read(ctx, topic, part, from, each)
	}
	for n := range int64(1_000) {
		l.mu.Lock()
		l.read++
		l.mu.Unlock()
		r := &Record{Offset: n, Value: make([]byte, maxValue)}
		if n%2 == 1 {
			r = &Record{Offset: n, Headers: slices.Repeat([]event.Header{{Key: "k", Value: make([]byte, maxHeader)}}, maxHeaders)}
		}
		if err := each(r); err != nil {
			return err
		}
	}
	return nil
}

func TestLargeRecordsAreNotReadFarAhead(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	log := &large{}
	var wait sync.WaitGroup
	s := pull(ctx, log, record.TopicTelemetry, 0, 0, wait.Go)
	for range 10 {
		if _, err := s.head(); err != nil {
			t.Fatal(err)
		}
		s.pop()
	}
	cancel()
	wait.Wait()
	if log.read > 14 {
		t.Errorf("%d records were read for 10", log.read)
	}
}

func TestAStateOrPageThatCannotBeIsNoCrash(t *testing.T) {
	set := DefaultSettings(2)
	quiet := func(judge.Out) error { return nil }
	for name, start := range map[string]Start{
		"a shard's state": {Shards: []ShardStart{{Snapshot: true}, {}}},
		"a judge's state": {Judge: JudgeStart{Snapshot: true}},
	} {
		if err := Run(t.Context(), memory{}, none{}, set, start, quiet); err == nil {
			t.Errorf("%s: it was taken", name)
		}
		if err := Run(t.Context(), memory{}, broken{}, set, start, quiet); err == nil || !strings.Contains(err.Error(), "do not go together") {
			t.Errorf("%s: %v", name, err)
		}
	}
	p := page.Page{Part: 1, N: 1, Until: 60_000}
	value, headers, err := p.Encode()
	if err != nil {
		t.Fatal(err)
	}
	log := memory{logEntry(record.TopicCohorts, 0): {{Headers: headers, Value: value}}}
	if err := Run(t.Context(), log, none{}, set, Start{Pages: true}, quiet); err == nil || !strings.Contains(err.Error(), "of partition 1") {
		t.Errorf("another partition's page: %v", err)
	}
	set.Judge.Security.Times = 0
	if err := Run(t.Context(), memory{}, none{}, set, Start{}, quiet); err == nil {
		t.Error("settings that cannot be are taken")
	}
}

// broken is a state at which a fold panics.
type broken struct{}

func (broken) State(context.Context, string) (io.ReadCloser, error) { panic("out of range") }

// A page that another hand wrote, with other bytes for the same, is the same page.
func TestAPageOfOtherBytesIsHeldAgainstByWhatItSays(t *testing.T) {
	p := page.Page{Part: 1, N: 7, Until: 60_000, Registry: 5, Slots: []page.Slot{{Cohort: "boilers", At: 60_000, Members: 9, Expected: 9}}}
	long := func(p page.Page) *told {
		value, err := msgpack.Marshal(struct { // numbers have as many bytes as they may, and nothing is left out
			V    uint64
			Page page.Page
		}{1, p})
		if err != nil {
			t.Fatal(err)
		}
		head, err := page.DecodeHead(nil, value)
		if err != nil {
			t.Fatal(err)
		}
		return &told{head, &Record{Offset: 12, Value: value}}
	}
	cut := p
	cut.N = 1 // of its own epoch
	got, err := (&feeder{next: long(p)}).same(&cut)
	if err != nil || got.offset != 12 || got.page.N != 7 || len(got.page.Slots) != 1 {
		t.Errorf("%v, %+v", err, got)
	}
	other, differs := p, (*Differs)(nil)
	other.Slots = []page.Slot{{Cohort: "boilers", At: 60_000, Members: 9, Expected: 8}}
	if _, err := (&feeder{next: long(other)}).same(&cut); !errors.As(err, &differs) || differs.N != 7 {
		t.Errorf("another page: %v", err)
	}
	none := long(p)
	none.rec.Value = none.rec.Value[:len(none.rec.Value)-1]
	if _, err := (&feeder{next: none}).same(&cut); !errors.Is(err, page.ErrRefused) {
		t.Errorf("no page: %v", err)
	}
}
