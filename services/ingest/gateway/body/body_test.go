package body

import (
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"strings"
	"testing"
	"testing/iotest"
	"testing/synctest"
	"time"

	"github.com/klauspost/compress/zstd"

	"muster.dev/services/ingest/gateway/admit"
)

var limits = Limits{Compressed: 1 << 20, Output: 4 << 20, Ratio: 50, MinRate: 256, Grace: 2 * time.Second}

func gz(t testing.TB, p []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	w, err := gzip.NewWriterLevel(&b, gzip.BestCompression)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(p); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func zs(t testing.TB, p []byte, opts ...zstd.EOption) []byte {
	t.Helper()
	e, err := zstd.NewWriter(nil, opts...)
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	return e.EncodeAll(p, nil)
}

func streamed(t testing.TB, p []byte, window int) []byte {
	t.Helper()
	var b bytes.Buffer
	e, err := zstd.NewWriter(&b, zstd.WithWindowSize(window), zstd.WithSingleSegment(false))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(e, iotest.OneByteReader(bytes.NewReader(p))); err != nil {
		t.Fatal(err)
	}
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func noise(n int) []byte {
	p := make([]byte, n)
	r := rand.New(rand.NewPCG(1, 2))
	for i := range p {
		p[i] = byte(r.IntN(64))
	}
	return p
}

func TestWhatWasSentIsRead(t *testing.T) {
	var r Reader
	budget := admit.NewBudget(16 << 20)
	for _, n := range []int{0, 1, 200, 4095, 4096, 4097, 100_000, 900_000} {
		p := noise(n)
		for _, c := range []struct {
			name string
			enc  Encoding
			wire []byte
		}{{"identity", Identity, p}, {"gzip", Gzip, gz(t, p)}, {"zstd", Zstd, zs(t, p)}, {"zstd stream", Zstd, streamed(t, p, 1<<20)}} {
			if c.enc == Zstd && len(c.wire) == 0 {
				continue // klauspost encodes nothing as no frame
			}
			for _, declared := range []int64{int64(len(c.wire)), -1} {
				got, wire, err := r.Read(iotest.HalfReader(bytes.NewReader(c.wire)), declared, c.enc, limits, budget)
				if err != nil || !bytes.Equal(got, p) || wire != int64(len(c.wire)) {
					t.Errorf("%s, %d bytes, declared %d: %d bytes back, wire %d of %d, %v", c.name, n, declared, len(got), wire, len(c.wire), err)
				}
				if n > 0 && budget.Used() < int64(n) {
					t.Errorf("%s, %d bytes: only %d reserved", c.name, n, budget.Used())
				}
				r.Release()
				if budget.Used() != 0 {
					t.Fatalf("%d bytes stay reserved", budget.Used())
				}
			}
		}
	}
}

func TestWhatIsRefused(t *testing.T) {
	json := []byte(strings.Repeat(`{"ts":1,"v":2},`, 1000))
	whole := gz(t, noise(5000))
	badCRC := bytes.Clone(whole)
	badCRC[len(badCRC)-8] ^= 1
	zwhole := zs(t, noise(5000))
	zbad := bytes.Clone(zwhole)
	zbad[len(zbad)-1] ^= 1
	for _, c := range []struct {
		name string
		wire []byte
		enc  Encoding
		want error
	}{
		{"one byte above the limit", make([]byte, 4<<20+1), Identity, ErrTooLarge},
		{"wire bytes above the compressed limit", noise(1<<20 + 1), Gzip, ErrTooLarge},
		{"16 MiB of 0x91 in 16 KiB of gzip", gz(t, bytes.Repeat([]byte{0x91}, 16<<20)), Gzip, ErrRatio},
		{"the same as zstd", zs(t, bytes.Repeat([]byte{0x91}, 16<<20), zstd.WithWindowSize(1<<20)), Zstd, ErrRatio},
		{"the same as a zstd stream", streamed(t, bytes.Repeat([]byte{0x91}, 16<<20), 1<<20), Zstd, ErrRatio},
		{"two gzip members", append(bytes.Clone(whole), whole...), Gzip, ErrDamaged},
		{"bytes behind the member", append(bytes.Clone(whole), 0), Gzip, ErrDamaged},
		{"gzip cut short", whole[:len(whole)-9], Gzip, ErrDamaged},
		{"gzip without its last byte", whole[:len(whole)-1], Gzip, ErrDamaged},
		{"gzip with a wrong checksum", badCRC, Gzip, ErrDamaged},
		{"no gzip at all", json, Gzip, ErrDamaged},
		{"nothing as gzip", nil, Gzip, ErrDamaged},
		{"two zstd frames", append(bytes.Clone(zwhole), zwhole...), Zstd, ErrDamaged},
		{"zstd cut short", zwhole[:len(zwhole)-5], Zstd, ErrDamaged},
		{"zstd with a wrong checksum", zbad, Zstd, ErrDamaged},
		{"a skippable frame", append([]byte{0x50, 0x2a, 0x4d, 0x18, 1, 0, 0, 0, 7}, zwhole...), Zstd, ErrDamaged},
		{"no zstd at all", json, Zstd, ErrDamaged},
		{"nothing as zstd", nil, Zstd, ErrDamaged},
		{"a zstd window of 8 MiB", []byte{0x28, 0xb5, 0x2f, 0xfd, 0, 13 << 3, 1 | 1<<3, 0, 0, 'x'}, Zstd, ErrTooLarge},
	} {
		t.Run(c.name, func(t *testing.T) {
			var r Reader
			budget := admit.NewBudget(16 << 20)
			_, _, err := r.Read(bytes.NewReader(c.wire), -1, c.enc, limits, budget)
			if !errors.Is(err, c.want) {
				t.Errorf("%d bytes: %v, want %v", len(c.wire), err, c.want)
			}
			if budget.Used() > 8<<20 {
				t.Errorf("%d bytes reserved for it", budget.Used())
			}
			r.Release()
			if budget.Used() != 0 {
				t.Errorf("%d bytes stay reserved", budget.Used())
			}
		})
	}
}

func TestAnOutputAboveTheLimitIsTooLargeAtAnyRatio(t *testing.T) {
	l := limits
	l.Output = 100_000
	for enc, wire := range map[Encoding][]byte{Gzip: gz(t, noise(100_001)), Zstd: zs(t, noise(100_001))} {
		var r Reader
		if _, _, err := r.Read(bytes.NewReader(wire), -1, enc, l, admit.NewBudget(1<<30)); !errors.Is(err, ErrTooLarge) {
			t.Errorf("encoding %d: %v", enc, err)
		}
	}
}

func TestABodyWithoutRoomIsShedAndNotBuffered(t *testing.T) {
	var r Reader
	budget := admit.NewBudget(50_000)
	_, _, err := r.Read(bytes.NewReader(noise(60_000)), 60_000, Identity, limits, budget)
	if !errors.Is(err, ErrBudget) || cap(r.wire) > 50_000 {
		t.Errorf("declared: %v, %d bytes of buffer", err, cap(r.wire))
	}
	r.Release()
	_, _, err = r.Read(bytes.NewReader(noise(60_000)), -1, Identity, limits, budget)
	if !errors.Is(err, ErrBudget) || cap(r.wire) > 50_000 {
		t.Errorf("chunked: %v, %d bytes of buffer", err, cap(r.wire))
	}
	r.Release()
	if budget.Used() != 0 {
		t.Errorf("%d stay reserved", budget.Used())
	}
}

// watched looks at the budget whenever more of a body is asked for.
type watched struct {
	io.Reader
	budget *admit.Budget
	came   int64
	most   int64 // reserved beyond twice what had come
}

func (w *watched) Read(p []byte) (int, error) {
	w.most = max(w.most, w.budget.Used()-2*w.came)
	n, err := w.Reader.Read(p[:min(len(p), 1000)])
	w.came += int64(n)
	return n, err
}

func TestWhatIsDeclaredHoldsNoRoomBeforeItComes(t *testing.T) {
	const size = 1 << 20
	for _, declared := range []int64{size, -1} {
		budget := admit.NewBudget(2 * size)
		w := &watched{Reader: bytes.NewReader(noise(size)), budget: budget}
		var r Reader
		p, _, err := r.Read(w, declared, Identity, Limits{Compressed: size, Output: size, Ratio: 50}, budget)
		if err != nil || !bytes.Equal(p, noise(size)) {
			t.Fatalf("declared %d: %d bytes, %v", declared, len(p), err)
		}
		if w.most > firstRead {
			t.Errorf("declared %d: %d bytes were reserved beyond twice what had come", declared, w.most)
		}
		if budget.Used() > size {
			t.Errorf("declared %d: %d bytes are reserved for a body of %d", declared, budget.Used(), size)
		}
		r.Release()
	}
}

func TestABodyThatEndsEarlyIsCut(t *testing.T) {
	var r Reader
	budget := admit.NewBudget(1 << 20)
	if _, _, err := r.Read(bytes.NewReader(noise(10)), 20, Identity, limits, budget); !errors.Is(err, ErrCut) {
		t.Errorf("10 of 20: %v", err)
	}
	r.Release()
	if _, _, err := r.Read(iotest.ErrReader(io.ErrUnexpectedEOF), 20, Identity, limits, budget); !errors.Is(err, ErrCut) {
		t.Errorf("a broken connection: %v", err)
	}
	r.Release()
	if _, _, err := r.Read(iotest.ErrReader(fmt.Errorf("read: %w", os.ErrDeadlineExceeded)), 20, Identity, limits, budget); !errors.Is(err, ErrSlow) {
		t.Errorf("a deadline: %v", err)
	}
	r.Release()
}

type trickle struct{ every time.Duration }

func (s trickle) Read(p []byte) (int, error) {
	time.Sleep(s.every) // the bubble's clock
	p[0] = 'x'
	return 1, nil
}

func TestABodyBelowTheRateIsSlow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var r Reader
		began := time.Now()
		_, _, err := r.Read(trickle{time.Second}, 100_000, Identity, limits, admit.NewBudget(1<<20))
		if d := time.Since(began); !errors.Is(err, ErrSlow) || d > 5*time.Second {
			t.Errorf("after %v: %v", d, err)
		}
		r.Release()
		if _, _, err = r.Read(io.LimitReader(trickle{time.Millisecond}, 9000), 9000, Identity, limits, admit.NewBudget(1<<20)); err != nil {
			t.Errorf("1000 bytes a second: %v", err)
		}
		r.Release()
	})
}

func TestALargeBodyIsNotKept(t *testing.T) {
	var r Reader
	if _, _, err := r.Read(bytes.NewReader(make([]byte, 1<<20)), 1<<20, Identity, limits, admit.NewBudget(2<<20)); err != nil {
		t.Fatal(err)
	}
	r.Release()
	if cap(r.wire) > keep {
		t.Errorf("%d bytes are kept", cap(r.wire))
	}
}

func FuzzNeverAboveTheLimits(f *testing.F) {
	f.Add(gz(f, noise(300)), true)
	f.Add(gz(f, make([]byte, 100_000)), true)
	f.Add(zs(f, noise(300)), false)
	f.Add(streamed(f, noise(3000), 1<<16), false)
	f.Add([]byte{0x28, 0xb5, 0x2f, 0xfd, 0xe0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1, 0, 0}, false)
	l := Limits{Compressed: 64 << 10, Output: 256 << 10, Ratio: 50}
	f.Fuzz(func(t *testing.T, wire []byte, gzip bool) {
		enc := Zstd
		if gzip {
			enc = Gzip
		}
		var r Reader
		budget := admit.NewBudget(1 << 20)
		p, _, err := r.Read(bytes.NewReader(wire), -1, enc, l, budget)
		if err == nil && int64(len(p)) > l.Output {
			t.Fatalf("%d bytes out", len(p))
		}
		if budget.Used() > l.Compressed+l.Output+firstRead {
			t.Fatalf("%d bytes reserved", budget.Used())
		}
		r.Release()
		if budget.Used() != 0 {
			t.Fatal("bytes stay reserved")
		}
	})
}

func BenchmarkRead(b *testing.B) {
	p := noise(640)
	budget := admit.NewBudget(1 << 20)
	for name, c := range map[string]struct {
		enc  Encoding
		wire []byte
	}{"identity": {Identity, p}, "gzip": {Gzip, gz(b, p)}, "zstd": {Zstd, zs(b, p)}} {
		b.Run(name, func(b *testing.B) {
			var r Reader
			var src bytes.Reader
			b.ReportAllocs()
			b.SetBytes(int64(len(p)))
			for b.Loop() {
				src.Reset(c.wire)
				got, _, err := r.Read(&src, int64(len(c.wire)), c.enc, limits, budget)
				if err != nil || len(got) != len(p) {
					b.Fatal(err)
				}
				r.Release()
			}
		})
	}
}
