//go:build linux

package torture

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"muster.dev/cmd/muster/stack"
	"muster.dev/cmd/muster/stack/stacktest"
	"muster.dev/platform/principals"
	"muster.dev/proto/record"
)

// storeDisk is a disk that fills up soon.
const storeDisk = 256 << 20

// The store's disk is full for a while. The fleet goes on and is answered, for the log has room; nothing is stored and
// no commit moves; and when the disk has room again, all of it is stored without anybody's help.
func TestTortureTheStoresDiskIsFullForAWhile(t *testing.T) {
	if !full() {
		t.Skip("SKIPPED: the full form alone (" + variable + "=full)")
	}
	n := seed(t)
	s := newSite(t, n, pace{session: 2 * time.Second, linger: 500 * time.Millisecond, settle: 5 * time.Second})
	if err := os.MkdirAll(s.dir.ClickHouse(), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mount("tmpfs", s.dir.ClickHouse(), "tmpfs", 0, fmt.Sprintf("size=%d,mode=0700", storeDisk)); err != nil {
		t.Skipf("SKIPPED: a disk of its own for the store needs the right to mount: %v", err)
	}
	t.Cleanup(func() { _ = syscall.Unmount(s.dir.ClickHouse(), syscall.MNT_DETACH) }) // its processes are ended after this
	s.start()
	r := &run{site: s, port: stacktest.FreePort(t), report: newReport("disk full", n)}
	r.gatewayB()
	s.eventually(time.Minute, "the second gateway listens", listens(stack.Loopback(r.port)))
	r.fleet = s.startFleet(usual(40, 100*time.Millisecond), "https://"+stack.Loopback(r.port), n)
	if _, err := s.moves(time.Now(), time.Minute); err != nil {
		t.Fatalf("before the disk is full: %v", err)
	}
	// A table that is changed on a full disk is another story: the engine says that it did, and does not start again.
	s.eventually(time.Minute, "the fleet's metrics have their columns", func(ctx context.Context) error {
		var n uint64
		err := s.house.Conn().QueryRow(ctx, "SELECT uniqExact(metric) FROM muster.samples_climate").Scan(&n)
		if err == nil && n < 3 {
			err = fmt.Errorf("%d of 3", n)
		}
		return err
	})
	r.inject(fault{name: "the store's disk is full", do: (*run).fillDisk})
	r.inject(fault{name: "full, and the sink dies", do: func(r *run) int {
		empty := r.ballast()
		defer empty()
		<-time.After(5 * time.Second)
		return r.killed(stack.Sink)
	}})
	r.inject(fault{name: "full, and the store dies", do: func(r *run) int {
		empty := r.ballast()
		<-time.After(5 * time.Second)
		killed := r.killed(stack.ClickHouse)
		<-time.After(5 * time.Second)
		empty()
		return killed
	}})
	v := s.judge(r.fleet, r.second)
	r.report.of(r.fleet)
	r.report.print(t, v)
}

// fillDisk fills it, looks at what moves meanwhile, and makes room.
func (r *run) fillDisk() int {
	empty := r.ballast()
	defer empty()
	// What fitted still lands: wait until nothing does.
	err := r.within(time.Minute, func(ctx context.Context) error {
		at, err := r.frontier(ctx)
		if err != nil {
			return err
		}
		if age := time.Since(at); age < 10*time.Second {
			return fmt.Errorf("it still stores, up to %s ago", age)
		}
		return nil
	})
	if err != nil {
		r.t.Errorf("the disk is full: %v", err)
	}
	answered, before := r.fleet.answered.Load(), r.commits()
	<-time.After(10 * time.Second)
	if after := r.commits(); after != before {
		r.t.Errorf("commits moved while the disk was full: %s, then %s", before, after)
	}
	if n := r.fleet.answered.Load() - answered; n < 100 {
		r.t.Errorf("%d messages were answered in 10 s while the store's disk was full", n)
	}
	return 0
}

// ballast fills the store's disk to the last block; what it returns makes room again.
func (r *run) ballast() func() {
	path := filepath.Join(r.dir.ClickHouse(), "ballast")
	f, err := os.Create(path)
	if err != nil {
		r.t.Fatal(err)
	}
	defer f.Close()
	for _, size := range []int{1 << 20, 4 << 10} {
		for block := make([]byte, size); err == nil; {
			_, err = f.Write(block)
		}
		if !errors.Is(err, syscall.ENOSPC) {
			r.t.Errorf("filling the disk: %v", err)
		}
		err = nil
	}
	return func() {
		if err := os.Remove(path); err != nil {
			r.t.Error(err)
		}
	}
}

// commits are where the sinks' group stands in telemetry.
func (r *run) commits() string {
	ctx, cancel := context.WithTimeout(r.t.Context(), 10*time.Second)
	defer cancel()
	adm, err := r.adm()
	if err != nil {
		return err.Error()
	}
	all, err := adm.FetchOffsets(ctx, principals.Group)
	if err != nil {
		return err.Error()
	}
	out := ""
	for p := range int32(defaultPartitions) {
		o, _ := all.Lookup(record.TopicTelemetry, p)
		out += fmt.Sprintf("%d:%d ", p, o.At)
	}
	return out
}
