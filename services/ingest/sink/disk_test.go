//go:build linux

package sink

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"muster.dev/proto/record"
)

// storeDisk is a disk that fills up soon.
const storeDisk = 96 << 20

// The store's disk is full for a while: nothing is stored and no commit moves, the store says why, and what came
// meanwhile is stored without anybody's help when there is room. The torture of cmd/muster has deaths on top.
func TestAStoreWhoseDiskIsFullIsWaitedFor(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "disk")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, fmt.Sprintf("size=%d,mode=0700", storeDisk)); err != nil {
		if os.Getenv("CI") != "" {
			t.Fatalf("CI must have the right to mount: %v", err)
		}
		t.Skipf("SKIPPED, NOTHING WAS TESTED: a disk of its own for the store needs the right to mount: %v", err)
	}
	t.Cleanup(func() { _ = syscall.Unmount(dir, syscall.MNT_DETACH) }) // the store on it is ended before
	w, _ := newWorldOn(t, filepath.Join(dir, "store"))
	w.defineProfile(1)
	s := w.start(calm(w.cfg))
	w.send(100)
	w.stored(patience)
	empty := fill(t, dir)
	failures := func() float64 { return s.metric("muster_sink_insert_seconds", "outcome", "error") }
	w.send(200)
	before := w.positions()
	w.until("inserts fail", patience, func() (bool, string) { return failures() > 0, "none failed" })
	at := w.standstill(before)
	full := time.Now()
	w.until("inserts go on failing", patience, func() (bool, string) {
		return time.Since(full) > 2*time.Second && failures() > 1, fmt.Sprintf("%v failed", failures())
	})
	if now := w.positions(); now != at {
		t.Errorf("commits moved while the disk was full: %s, then %s", at, now)
	}
	err := w.house.Conn().Exec(t.Context(), "INSERT INTO `"+w.house.Database()+"`.s_other (device) VALUES ('x')")
	if err == nil || !strings.Contains(err.Error(), "NOT_ENOUGH_SPACE") {
		t.Errorf("the store says %v", err)
	}
	empty()
	w.stored(patience)
	if n := s.metric("muster_sink_broken_sessions_total"); n != 0 {
		t.Errorf("%v sessions broke: a full disk is no reason to leave the group", n)
	}
	s.stop()
	w.audit()
}

// fill takes a disk's last block; what it returns makes room again.
func fill(t *testing.T, dir string) func() {
	t.Helper()
	path := filepath.Join(dir, "ballast")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for _, size := range []int{1 << 20, 4 << 10} {
		for block := make([]byte, size); err == nil; {
			_, err = f.Write(block)
		}
		if !errors.Is(err, syscall.ENOSPC) {
			t.Fatalf("filling the disk: %v", err)
		}
		err = nil
	}
	return func() {
		if err := os.Remove(path); err != nil {
			t.Error(err)
		}
	}
}

// positions are where the group stands in telemetry.
func (w *world) positions() (all string) {
	w.t.Helper()
	for part := range int32(parts) {
		at, _ := w.committed(record.TopicTelemetry, part)
		all += fmt.Sprintf("%d:%d ", part, at)
	}
	return all
}

// standstill waits until what was under way has been committed.
func (w *world) standstill(at string) string {
	w.t.Helper()
	since := time.Now()
	w.until("nothing moves", patience, func() (bool, string) {
		if now := w.positions(); now != at {
			at, since = now, time.Now()
		}
		return time.Since(since) > time.Second, at
	})
	return at
}
