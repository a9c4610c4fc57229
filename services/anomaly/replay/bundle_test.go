package replay

import (
	"archive/tar"
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"reflect"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"
	"go.uber.org/goleak"

	"muster.dev/proto/event"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// memory is a log of lists.
type memory map[string][]*Record

func (m memory) Read(ctx context.Context, topic string, part int32, from int64, each func(*Record) error) error {
	for _, r := range m[logEntry(topic, part)] {
		if r.Offset < from {
			continue
		}
		if err := each(r); errors.Is(err, ErrEnough) {
			return nil
		} else if err != nil {
			return err
		}
	}
	return ctx.Err()
}

func some(n int) (out []*Record) {
	for i := range n {
		r := &Record{Offset: int64(2 * i), Time: 1_767_571_200_000 + int64(i), Key: fmt.Appendf(nil, "device-%d", i), Value: bytes.Repeat([]byte{byte(i)}, i)}
		if i%3 == 0 {
			r.Key, r.Headers = nil, []event.Header{{Key: "ce_type", Value: []byte("muster.gateway.watermark.v1")}, {Key: "empty", Value: []byte{}}}
		}
		out = append(out, r)
	}
	return out
}

const topic = "muster.telemetry.v1"

// oneState is the state of whoever is asked for.
type oneState string

func (s oneState) State(context.Context, string) (io.ReadCloser, error) {
	return io.NopCloser(strings.NewReader(string(s))), nil
}

func TestAStateCountsAgainstWhatABundleMayHave(t *testing.T) {
	for limit, want := range map[int64]error{5: nil, 4: ErrTooLarge} {
		rec, err := NewRecorder(nil, limit)
		if err != nil {
			t.Fatal(err)
		}
		defer rec.Close()
		if _, err := (keeping{oneState("state"), rec}).State(t.Context(), judgeState); !errors.Is(err, want) {
			t.Errorf("five bytes of %d: %v, want %v", limit, err, want)
		}
	}
}

// packed is a bundle of the log's records below an offset.
func packed(t *testing.T, log Log, below int64) []byte {
	t.Helper()
	rec, err := NewRecorder(log, 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	defer rec.Close()
	err = rec.Read(t.Context(), topic, 0, 0, func(r *Record) error {
		if r.Offset >= below {
			return ErrEnough
		}
		return nil
	})
	if err == nil {
		err = rec.Keep("snapshots/judge", func(w io.Writer) error { _, err := io.WriteString(w, "state"); return err })
	}
	var b bytes.Buffer
	if err == nil {
		err = rec.Write(&b, &Manifest{Incident: "iaaaaaaaaaaaa", Partitions: 1})
	}
	if err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestABundleHoldsWhatWasReadAndNoMore(t *testing.T) {
	log := memory{logEntry(topic, 0): some(100)}
	b, err := OpenBundle(bytes.NewReader(packed(t, log, 50)), 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	var got []*Record
	if err := b.Read(t.Context(), topic, 0, 10, func(r *Record) error { got = append(got, r); return nil }); err != nil {
		t.Fatal(err)
	}
	want := some(100)[5:26] // the one that was enough was read too
	for _, r := range want {
		if len(r.Value) == 0 {
			r.Value = []byte{}
		}
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("read %d records, want %d", len(got), len(want))
	}
	if err := b.Read(t.Context(), topic, 1, 0, nil); !errors.Is(err, ErrBundle) {
		t.Errorf("a partition that is not in it: %v", err)
	}
	f, err := b.open("snapshots/judge")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if p, err := io.ReadAll(f); string(p) != "state" || err != nil {
		t.Errorf("the snapshot: %q, %v", p, err)
	}
}

func TestWhatIsReadTwiceIsInABundleOnce(t *testing.T) {
	log := memory{logEntry(topic, 0): some(100)}
	rec, err := NewRecorder(log, 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	defer rec.Close()
	for _, part := range []struct{ from, below int64 }{{40, 120}, {0, 60}, {10, 80}} {
		err := rec.Read(t.Context(), topic, 0, part.from, func(r *Record) error {
			if r.Offset >= part.below {
				return ErrEnough
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	var out bytes.Buffer
	if err := rec.Write(&out, &Manifest{Partitions: 1}); err != nil {
		t.Fatal(err)
	}
	b, err := OpenBundle(&out, 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	next := int64(0)
	err = b.Read(t.Context(), topic, 0, 0, func(r *Record) error {
		if r.Offset != next {
			t.Fatalf("offset %d, want %d", r.Offset, next)
		}
		next += 2
		return nil
	})
	if err != nil || next != 122 {
		t.Errorf("it ends before %d, %v", next, err)
	}
}

func TestAChangedOrCutBundleIsRefused(t *testing.T) {
	whole := packed(t, memory{logEntry(topic, 0): some(100)}, 100)
	for n := 0; n < len(whole); n += 37 {
		if b, err := OpenBundle(bytes.NewReader(whole[:n]), 1<<20); err == nil {
			_ = b.Close()
			t.Errorf("the first %d of %d bytes were taken", n, len(whole))
		}
	}
	if _, err := OpenBundle(bytes.NewReader(whole), 100); err == nil || !strings.Contains(err.Error(), "--max") {
		t.Errorf("more bytes than are allowed: %v", err)
	}
}

// tarOf is a bundle made by a stranger.
func tarOf(t testing.TB, entries ...tar.Header) []byte {
	var b bytes.Buffer
	z, _ := zstd.NewWriter(&b)
	w := tar.NewWriter(z)
	for _, h := range entries {
		body := strings.Repeat("x", int(h.Size))
		if h.Name == manifestFile {
			body = `{"muster_incident_bundle":1,"partitions":1,"files":[]}`
			h.Size = int64(len(body))
		}
		h.Mode = 0o777
		if err := w.WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
		_, _ = io.WriteString(w, body)
	}
	_ = w.Close()
	_ = z.Close()
	return b.Bytes()
}

func TestAStrangersBundleWritesNowhereElse(t *testing.T) {
	manifest := tar.Header{Name: manifestFile}
	for name, entries := range map[string][]tar.Header{
		"a path upwards":       {{Name: "../../escaped", Size: 1}, manifest},
		"a path in the name":   {{Name: "log/../../x-0", Size: 1}, manifest},
		"a link":               {{Name: "snapshots/judge", Typeflag: tar.TypeSymlink, Linkname: "/etc/passwd"}, manifest},
		"a directory":          {{Name: "log/", Typeflag: tar.TypeDir}, manifest},
		"an entry unsaid":      {{Name: "snapshots/judge", Size: 1}, manifest},
		"one after the end":    {manifest, {Name: "snapshots/judge", Size: 1}},
		"no manifest":          {{Name: "snapshots/judge", Size: 1}},
		"an entry of any name": {{Name: "notes.txt", Size: 1}, manifest},
	} {
		b, err := OpenBundle(bytes.NewReader(tarOf(t, entries...)), 1<<20)
		if err == nil {
			_ = b.Close()
		}
		if !errors.Is(err, ErrBundle) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func FuzzABundle(f *testing.F) {
	f.Add(tarOf(f, tar.Header{Name: manifestFile}))
	f.Add([]byte{0x28, 0xb5, 0x2f, 0xfd})
	f.Fuzz(func(_ *testing.T, p []byte) {
		if b, err := OpenBundle(bytes.NewReader(p), 1<<16); err == nil {
			_ = b.Close()
		}
	})
}

func FuzzARecord(f *testing.F) {
	for _, r := range some(4) {
		f.Add(appendRecord(nil, r))
	}
	f.Fuzz(func(t *testing.T, p []byte) {
		r, err := readRecord(bufio.NewReader(bytes.NewReader(p)))
		if err != nil {
			return
		}
		again, err := readRecord(bufio.NewReader(bytes.NewReader(appendRecord(nil, r))))
		if err != nil || !reflect.DeepEqual(again, r) {
			t.Errorf("%+v came back as %+v, %v", r, again, err)
		}
	})
}
