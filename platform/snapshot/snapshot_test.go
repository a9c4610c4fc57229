package snapshot

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"go.uber.org/goleak"

	"muster.dev/platform/eventlog"
	"muster.dev/platform/eventlog/logtest"
	"muster.dev/proto/event"
	"muster.dev/proto/record"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func onLog(t *testing.T) eventlog.Config {
	t.Helper()
	return eventlog.Config{Brokers: logtest.Start(t, logtest.Topic{Name: record.TopicRegistry, Partitions: 1}, logtest.Topic{Name: record.TopicSnapshots, Partitions: 1})}
}

func soon(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	t.Cleanup(cancel)
	return ctx
}

func random(n int) []byte {
	rng := rand.NewChaCha8([32]byte{byte(n)})
	p := make([]byte, n)
	_, _ = rng.Read(p)
	return p
}

func get(t *testing.T, cfg eventlog.Config, taken event.SnapshotTaken) ([]byte, error) {
	t.Helper()
	var got bytes.Buffer
	err := Get(soon(t), cfg, taken, func(r io.Reader) error { _, err := io.Copy(&got, r); return err })
	return got.Bytes(), err
}

func put(t *testing.T, cfg eventlog.Config, slot uint8, p []byte) event.SnapshotTaken {
	t.Helper()
	taken, err := Put(soon(t), cfg, slot, func(w io.Writer) error {
		for len(p) > 0 { // as sections come: in pieces that are no chunks
			n := min(len(p), 100_001)
			if _, err := w.Write(p[:n]); err != nil {
				return err
			}
			p = p[n:]
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return taken
}

func TestASnapshotComesBackWhateverLiesAroundIt(t *testing.T) {
	cfg := onLog(t)
	for i, size := range []int{1, chunkSize - 1, chunkSize, chunkSize + 1, 3*chunkSize + 17} {
		p := random(size)
		put(t, cfg, uint8(i%2), random(2*chunkSize)) // an older one, in the same slot
		taken := put(t, cfg, uint8(i%2), p)
		put(t, cfg, uint8(1-i%2), random(10))
		if want := (size + chunkSize - 1) / chunkSize; int(taken.Chunks) != want || !bytes.Equal(taken.Sum, sumOf(p)) {
			t.Errorf("%d bytes: %+v", size, taken)
		}
		got, err := get(t, cfg, taken)
		if err != nil || !bytes.Equal(got, p) {
			t.Errorf("%d bytes: %d came back, %v", size, len(got), err)
		}
	}
}

func sumOf(p []byte) []byte {
	sum := sha256.Sum256(p)
	return sum[:]
}

func TestWhatIsNotWhatTheLogNamesIsRefused(t *testing.T) {
	cfg := onLog(t)
	taken := put(t, cfg, 0, random(2*chunkSize+5))
	for name, spoil := range map[string]func(*event.SnapshotTaken){
		"another sum":        func(s *event.SnapshotTaken) { s.Sum = make([]byte, 32) },
		"a chunk too many":   func(s *event.SnapshotTaken) { s.Chunks++ },
		"a chunk too few":    func(s *event.SnapshotTaken) { s.Chunks-- },
		"another beginning":  func(s *event.SnapshotTaken) { s.Start++ },
		"beyond the end":     func(s *event.SnapshotTaken) { s.Start += 100 },
		"another slot":       func(s *event.SnapshotTaken) { s.Slot = 1 },
		"a beginning before": func(s *event.SnapshotTaken) { s.Start = -1 },
	} {
		spoiled := taken
		spoil(&spoiled)
		if _, err := get(t, cfg, spoiled); err == nil {
			t.Errorf("%s was taken", name)
		} else if !errors.Is(err, ErrDamaged) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := Put(soon(t), cfg, 0, func(io.Writer) error { return nil }); err == nil {
		t.Error("a snapshot of nothing was written")
	}
	broken := errors.New("broken")
	if _, err := Put(soon(t), cfg, 0, func(io.Writer) error { return broken }); !errors.Is(err, broken) {
		t.Errorf("%v", err)
	}
}

func TestTheNewestSnapshotIsFoundFromTheEnd(t *testing.T) {
	cfg := onLog(t)
	if _, ok, err := Latest(soon(t), cfg); ok || err != nil {
		t.Fatalf("in an empty log: %v, %v", ok, err)
	}
	client, err := kgo.NewClient(cfg.Options()...)
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	name := func(n uint64) {
		t.Helper()
		e := event.Registry{N: n, Time: 1, Who: "registry", Body: event.SnapshotTaken{Event: n, Chunks: 1, Sum: sumOf(nil)}}
		value, headers, err := e.Encode()
		if err != nil {
			t.Fatal(err)
		}
		rec := &kgo.Record{Topic: record.TopicRegistry, Value: value}
		for _, h := range headers {
			rec.Headers = append(rec.Headers, kgo.RecordHeader{Key: h.Key, Value: h.Value})
		}
		if err := client.ProduceSync(soon(t), rec).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
	name(1)
	name(2)
	for range 5_000 { // farther back than the first look
		client.Produce(t.Context(), &kgo.Record{Topic: record.TopicRegistry, Value: []byte("x")}, nil)
	}
	if err := client.Flush(soon(t)); err != nil {
		t.Fatal(err)
	}
	if taken, ok, err := Latest(soon(t), cfg); err != nil || !ok || taken.Event != 2 {
		t.Errorf("%+v, %v, %v", taken, ok, err)
	}
	if !strings.Contains(String(event.SnapshotTaken{Event: 2, Slot: 1}), "registry/1, event 2") {
		t.Error("it has no name")
	}
}

func TestSectionsComeBack(t *testing.T) {
	var out bytes.Buffer
	w := NewWriter(&out)
	w.Section('a', func(b *Buffer) {
		b.Uint(1 << 63)
		b.Int(-5)
		b.Bool(true)
		b.Raw([]byte{1, 2})
		b.Bytes([]byte("xyz"))
		b.Text("é")
		b.Uint(2)
		if b.Len() == 0 {
			t.Error("nothing was written")
		}
	})
	w.Section('b', func(*Buffer) {})
	w.Section('c', func(b *Buffer) { b.Raw(make([]byte, maxSection+1)) })
	if w.Err() == nil {
		t.Error("a section without a bound was written")
	}
	r := NewReader(&out)
	tag, c, err := r.Next()
	if err != nil || tag != 'a' {
		t.Fatal(tag, err)
	}
	got := fmt.Sprintln(c.Uint(), c.Int(), c.Bool(), c.Raw(2), string(c.Bytes()), c.Text(), c.Count(0))
	if want := "9223372036854775808 -5 true [1 2] xyz é 0\n"; got != want || c.Err() == nil { // of two things nothing is left
		t.Errorf("%s, %v", got, c.Err())
	}
	if tag, c, err := r.Next(); err != nil || tag != 'b' || c.Done() != nil {
		t.Error(tag, err)
	}
	if _, _, err := r.Next(); !errors.Is(err, io.EOF) {
		t.Error(err)
	}
}

func FuzzSections(f *testing.F) {
	f.Add([]byte{'a', 0, 0, 0, 2, 1, 2}, []byte{0, 1, 2, 3, 4, 5, 6})
	f.Add([]byte{'a', 255, 255, 255, 255}, []byte{0})
	f.Fuzz(func(t *testing.T, stream, script []byte) {
		r := NewReader(bytes.NewReader(stream))
		for {
			_, c, err := r.Next()
			if err != nil {
				if !errors.Is(err, io.EOF) && !errors.Is(err, ErrDamaged) {
					t.Fatal(err)
				}
				return
			}
			for _, op := range script {
				switch op % 7 {
				case 0:
					c.Uint()
				case 1:
					c.Int()
				case 2:
					c.Bool()
				case 3:
					c.Raw(int(op))
				case 4:
					c.Bytes()
				case 5:
					_ = c.Text()
				case 6:
					if n := c.Count(2); n > len(stream) {
						t.Fatalf("%d things in %d bytes", n, len(stream))
					}
				}
			}
			_ = c.Done()
		}
	})
}

func TestTwoPlacesDoNotMeet(t *testing.T) {
	brokers := logtest.Start(t, logtest.Topic{Name: record.TopicRegistry, Partitions: 1}, logtest.Topic{Name: record.TopicSnapshots, Partitions: 2})
	cfg := eventlog.Config{Brokers: brokers}
	a, b := Place{Prefix: "one/0", Partition: 1}, Place{Prefix: "two", Partition: 1}
	write := func(p Place, no uint64, what []byte) Ref {
		t.Helper()
		ref, err := p.Put(soon(t), cfg, no, func(w io.Writer) error { _, err := w.Write(what); return err })
		if err != nil {
			t.Fatal(err)
		}
		return ref
	}
	read := func(p Place, ref Ref) ([]byte, error) {
		t.Helper()
		var got bytes.Buffer
		err := p.Get(soon(t), cfg, ref, func(r io.Reader) error { _, err := io.Copy(&got, r); return err })
		return got.Bytes(), err
	}
	taken := put(t, cfg, 1, random(20))
	first, other := write(a, 1<<40, random(chunkSize+9)), write(b, 1<<40, random(30))
	if got, err := read(a, first); err != nil || !bytes.Equal(got, random(chunkSize+9)) {
		t.Errorf("%d bytes, %v", len(got), err)
	}
	if got, err := read(b, other); err != nil || !bytes.Equal(got, random(30)) {
		t.Errorf("%d bytes, %v", len(got), err)
	}
	if got, err := get(t, cfg, taken); err != nil || !bytes.Equal(got, random(20)) {
		t.Errorf("the registry's: %d bytes, %v", len(got), err)
	}
	if _, err := read(b, first); !errors.Is(err, ErrDamaged) {
		t.Errorf("one of another place was read: %v", err)
	}
	if err := a.Drop(soon(t), cfg, first); err != nil {
		t.Fatal(err)
	}
	if got, err := read(b, other); err != nil || len(got) != 30 {
		t.Errorf("after another was dropped: %v", err)
	}
}

func TestAHeadIsTheNewestHoweverFarBack(t *testing.T) {
	brokers := logtest.Start(t, logtest.Topic{Name: record.TopicSnapshots, Partitions: 3})
	cfg := eventlog.Config{Brokers: brokers}
	p := At("x", 3)
	headed := func() string {
		t.Helper()
		value, ok, err := p.Headed(soon(t), cfg)
		if err != nil {
			t.Fatal(err)
		}
		return fmt.Sprintf("%s %v", value, ok)
	}
	if got := headed(); got != " false" {
		t.Errorf("in an empty log: %s", got)
	}
	w, err := eventlog.OpenWriter(soon(t), cfg, "test")
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	write := func(records ...*kgo.Record) {
		t.Helper()
		if err := w.Append(soon(t), records); err != nil {
			t.Fatal(err)
		}
		for _, r := range records {
			if r.Partition != p.Partition {
				t.Fatalf("%s lies in %d, want %d", r.Key, r.Partition, p.Partition)
			}
		}
	}
	write(p.Head([]byte("a")))
	write(p.Head([]byte("b")))
	if got := headed(); got != "b true" {
		t.Error(got)
	}
	for i := range 2 { // beyond the first look, and beyond the second
		var others []*kgo.Record
		for range looks[i] + 1 {
			others = append(others, &kgo.Record{Topic: record.TopicSnapshots, Partition: p.Partition, Value: []byte("x")})
		}
		write(others...)
		if got := headed(); got != "b true" {
			t.Errorf("%d records on: %s", len(others), got)
		}
	}
}
