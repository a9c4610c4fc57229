package ring

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	if os.Getenv(childVar) != "" {
		child()
		return
	}
	goleak.VerifyTestMain(m)
}

func small(order Order) Config {
	return Config{Bytes: 16 * MinSegment, Segment: MinSegment, Order: order}
}

func must(t *testing.T, dir string, cfg Config) *Ring {
	t.Helper()
	r, err := Open(dir, cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close() })
	return r
}

func put(t *testing.T, r *Ring, values ...string) {
	t.Helper()
	for _, v := range values {
		if _, err := r.Put([]byte(v), 1); err != nil {
			t.Fatal(err)
		}
	}
}

// next takes what is there; "" is nothing.
func next(t *testing.T, r *Ring) Entry {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	if r.Counts().Waiting == 0 {
		cancel()
	}
	defer cancel()
	e, err := r.Next(ctx)
	if err != nil && !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	return e
}

// drain takes all that is there and lets it go.
func drain(t *testing.T, r *Ring) (values []string) {
	t.Helper()
	for {
		e := next(t, r)
		if e.ID == 0 {
			return values
		}
		v := string(e.Value)
		if e.Backlog {
			v += " (backlog)"
		}
		values = append(values, v)
		if err := r.Done(e.ID); err != nil {
			t.Fatal(err)
		}
	}
}

func TestValuesComeOutInOrderOnceAndAreGoneAfterARestart(t *testing.T) {
	dir := t.TempDir()
	r := must(t, dir, small(OldestFirst))
	put(t, r, "a", "b", "", "d")
	if e := next(t, r); string(e.Value) != "a" || e.Kind != 1 || e.Backlog {
		t.Fatalf("%+v", e)
	} else if err := r.Done(e.ID); err != nil {
		t.Fatal(err)
	} else if err := r.Done(e.ID); err == nil {
		t.Error("done twice")
	}
	b := next(t, r)
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Put(nil, 0); !errors.Is(err, ErrClosed) {
		t.Error(err)
	}
	r = must(t, dir, small(OldestFirst))
	if n := r.Counts(); n.Found != 3 || n.Waiting != 3 || n.Torn != 0 || n.Corrupt != (Lost{}) {
		t.Errorf("%+v", n)
	}
	put(t, r, "e")
	if got := drain(t, r); fmt.Sprint(got) != "[b  d e]" {
		t.Errorf("%q after %q was out", got, b.Value)
	}
	r.Close()
	r = must(t, dir, small(OldestFirst))
	if n := r.Counts(); n.Found != 0 {
		t.Errorf("%+v", n)
	}
}

func TestWhatIsReturnedComesAgainInItsPlace(t *testing.T) {
	r := must(t, t.TempDir(), small(OldestFirst))
	put(t, r, "a", "b", "c")
	a, b := next(t, r), next(t, r)
	for _, e := range []Entry{b, a} {
		if err := r.Return(e.ID); err != nil {
			t.Fatal(err)
		}
	}
	if got := drain(t, r); fmt.Sprint(got) != "[a b c]" {
		t.Error(got)
	}
}

func TestNewestFirstGivesWhatIsLiveAndMarksWhatWasLeftBehind(t *testing.T) {
	dir := t.TempDir()
	r := must(t, dir, small(NewestFirst))
	put(t, r, "1", "2", "3")
	e := next(t, r)
	if string(e.Value) != "3" || e.Backlog {
		t.Fatalf("%q %v", e.Value, e.Backlog)
	}
	put(t, r, "4") // while 3 cannot be sent
	if err := r.Return(e.ID); err != nil {
		t.Fatal(err)
	}
	if got := drain(t, r); fmt.Sprint(got) != "[4 3 (backlog) 2 (backlog) 1 (backlog)]" {
		t.Error(got)
	}
	put(t, r, "5", "6")
	r.Close()
	r = must(t, dir, small(NewestFirst))
	put(t, r, "7")
	if got := drain(t, r); fmt.Sprint(got) != "[7 6 (backlog) 5 (backlog)]" {
		t.Error(got)
	}
}

func TestTheOldestGivesWayAndIsCounted(t *testing.T) {
	dir := t.TempDir()
	cfg := small(OldestFirst)
	r := must(t, dir, cfg)
	put(t, r, strings.Repeat("x", 1000))
	held := next(t, r) // and is out while its segment goes
	const n = 300
	for i := range n {
		put(t, r, fmt.Sprintf("%04d%s", i, strings.Repeat(".", 500)))
		if b := onDisk(t, dir); b > cfg.Bytes {
			t.Fatalf("%d bytes on the disk, %d allowed", b, cfg.Bytes)
		}
	}
	c := r.Counts()
	if c.Bytes != onDisk(t, dir) {
		t.Errorf("%d bytes counted, %d on the disk", c.Bytes, onDisk(t, dir))
	}
	if c.Dropped.Messages == 0 || int(c.Dropped.Messages)+c.Waiting != n {
		t.Errorf("%+v", c)
	}
	if err := r.Return(held.ID); err != nil {
		t.Error(err)
	}
	if got := r.Counts().Dropped.Messages; got != c.Dropped.Messages+1 {
		t.Errorf("%d dropped, after %d and one that was out", got, c.Dropped.Messages)
	}
	got := drain(t, r)
	if len(got) != c.Waiting || !strings.HasPrefix(got[0], fmt.Sprintf("%04d", c.Dropped.Messages)) || !strings.HasPrefix(got[len(got)-1], "0299") {
		t.Errorf("%d values, from %.4s to %.4s", len(got), got[0], got[len(got)-1])
	}
	if b := onDisk(t, dir); b > 2*cfg.Segment {
		t.Errorf("%d bytes are kept of nothing", b)
	}
}

func onDisk(t *testing.T, dir string) (n int64) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		info, err := e.Info()
		if err != nil {
			t.Fatal(err)
		}
		n += info.Size()
	}
	return n
}

func TestWhatNoSegmentCanHoldIsRefused(t *testing.T) {
	r := must(t, t.TempDir(), small(OldestFirst))
	if _, err := r.Put(make([]byte, MinSegment-headerSize-recordHead), 0); err != nil {
		t.Error(err)
	}
	if _, err := r.Put(make([]byte, MinSegment-headerSize-recordHead+1), 0); !errors.Is(err, ErrTooLarge) {
		t.Error(err)
	}
}

func TestOneProcessAtATime(t *testing.T) {
	dir := t.TempDir()
	r := must(t, dir, small(OldestFirst))
	if _, err := Open(dir, small(OldestFirst)); !errors.Is(err, ErrInUse) {
		t.Error(err)
	}
	r.Close()
	must(t, dir, small(OldestFirst))
}

func TestManyAtOncePutTakeReturnAndLetGo(t *testing.T) {
	for _, order := range []Order{OldestFirst, NewestFirst} {
		r := must(t, t.TempDir(), Config{Bytes: 4 << 20, Segment: MinSegment, Order: order})
		const writers, each = 8, 40
		var puts, takers sync.WaitGroup
		for w := range writers {
			puts.Go(func() {
				for i := range each {
					if _, err := r.Put(fmt.Appendf(nil, "%d/%d", w, i), 0); err != nil {
						t.Error(err)
					}
				}
			})
		}
		ctx, cancel := context.WithCancel(t.Context())
		var mu sync.Mutex
		seen := map[string]int{}
		for range 3 {
			takers.Go(func() {
				for {
					e, err := r.Next(ctx)
					if err != nil {
						return
					}
					mu.Lock()
					seen[string(e.Value)]++
					first := seen[string(e.Value)] == 1
					mu.Unlock()
					if first && e.ID%7 == 0 {
						err = r.Return(e.ID)
					} else {
						err = r.Done(e.ID)
					}
					if err != nil {
						t.Error(err)
					}
					if r.Counts().Done == writers*each {
						cancel()
					}
				}
			})
		}
		puts.Wait()
		takers.Wait()
		cancel()
		if c := r.Counts(); c.Put != writers*each || c.Done != c.Put || len(seen) != writers*each || c.Dropped.Messages+c.Corrupt.Messages+c.Failed != 0 {
			t.Errorf("%v: %+v", order, c)
		}
	}
}

func TestSyncSparesTheDiskForItsTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemory()
		cfg := small(OldestFirst)
		cfg.Sync = 10 * time.Second
		r, err := open(m, cfg)
		if err != nil {
			t.Fatal(err)
		}
		put(t, r, "a", "b")
		if got := drain(t, r); len(got) != 2 {
			t.Error(got)
		}
		if n := m.syncs(); n != 0 {
			t.Errorf("%d fsyncs at once", n)
		}
		time.Sleep(11 * time.Second) // of the bubble
		synctest.Wait()
		if n := m.syncs(); n != 1 {
			t.Errorf("%d fsyncs in the first interval", n)
		}
		put(t, r, "c")
		if err := r.Close(); err != nil {
			t.Error(err)
		}
		if n := m.syncs(); n != 2 {
			t.Errorf("%d fsyncs after the end", n)
		}
	})
}

func TestAConfigurationThatCannotWorkIsNamed(t *testing.T) {
	for want, change := range map[string]func(*Config){
		"bytes":   func(c *Config) { c.Bytes = 0 },
		"segment": func(c *Config) { c.Segment = 1 },
		"order":   func(c *Config) { c.Order = 9 },
		"sync":    func(c *Config) { c.Sync = -1 },
	} {
		cfg := DefaultConfig()
		change(&cfg)
		if err := cfg.Validate(); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%s: %v", want, err)
		}
	}
	for _, o := range []Order{OldestFirst, NewestFirst} {
		if got, err := ParseOrder(o.String()); err != nil || got != o {
			t.Errorf("%v %v", got, err)
		}
	}
}

func TestDamageInTheMiddleIsPassedOverAndCounted(t *testing.T) {
	dir := t.TempDir()
	cfg := Config{Bytes: 64 * MinSegment, Segment: MinSegment}
	r := must(t, dir, cfg)
	var want []string
	for i := range 60 {
		want = append(want, fmt.Sprintf("%03d%s", i, strings.Repeat("v", 200)))
	}
	put(t, r, want...)
	r.Close()
	segments, err := filepath.Glob(filepath.Join(dir, "*"+segmentSuffix))
	if err != nil || len(segments) < 3 {
		t.Fatalf("%d segments, %v", len(segments), err)
	}
	slices.Sort(segments)
	raw, err := os.ReadFile(segments[1])
	if err != nil {
		t.Fatal(err)
	}
	record := recordHead + len(want[0])
	copy(raw[headerSize+2*record+50:], "damage") // in the third value
	raw[headerSize+5*record] ^= 1                // and in the head of the sixth
	if err := os.WriteFile(segments[1], raw, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(segments[2], []byte("not a segment"), 0o600); err != nil {
		t.Fatal(err)
	}
	perSegment := (MinSegment - headerSize) / record
	r = must(t, dir, cfg)
	c := r.Counts()
	if c.Corrupt.Messages != 2 || c.Corrupt.Bytes != uint64(2*record+len("not a segment")) {
		t.Errorf("%+v", c.Corrupt)
	}
	lost := []int{perSegment + 2, perSegment + 5}
	var left []string
	for i, v := range want {
		if !slices.Contains(lost, i) && i/perSegment != 2 {
			left = append(left, v)
		}
	}
	if got := drain(t, r); !slices.Equal(got, left) {
		t.Errorf("%d values came, %d were good", len(got), len(left))
	}
}
