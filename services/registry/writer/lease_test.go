package writer

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"muster.dev/platform/eventlog"
	"muster.dev/platform/eventlog/logtest"
	"muster.dev/proto/record"
	"muster.dev/services/registry/decide"
)

func TestALeaseComesBack(t *testing.T) {
	for _, want := range []lease{{}, {"registry-1", eventlog.Place{ID: 7, Epoch: 32_767}, 1 << 60}, {"", eventlog.Place{ID: -1, Epoch: -1}, 0}} {
		if got, ok := parseLease(want.String()); !ok || got != want {
			t.Errorf("%q became %+v", want, got)
		}
	}
	for _, text := range []string{"", "a", "a b c d", "a 1 2", "a 1 2 3 4", "a 1 99999 3", "a 1 2 -3"} {
		if got, ok := parseLease(text); ok {
			t.Errorf("%q is %+v", text, got)
		}
	}
	first, second := eventlog.Place{ID: 1, Epoch: 5}, eventlog.Place{ID: 2}
	if !first.Before(second) || second.Before(first) || first.Before(first) || !(eventlog.Place{ID: 1, Epoch: 4}).Before(first) {
		t.Error("places are not in their order")
	}
}

func TestAWriterThatStopsGivesItsPlaceUp(t *testing.T) {
	cfg := onLog(t)
	first, stop := runWith(t, Settings{Log: cfg, Name: "first", Beat: 100 * time.Millisecond, Stale: time.Hour})
	if _, err := first.Do(soon(t), "test", "", enrol("a")); err != nil {
		t.Fatal(err)
	}
	heldBy(t, cfg, "first")
	second, _ := runWith(t, Settings{Log: cfg, Name: "second", Beat: 100 * time.Millisecond, Stale: time.Hour})
	if err := second.Sync(soon(t)); err != nil {
		t.Fatal(err)
	}
	if _, err := second.Do(soon(t), "test", "", enrol("b")); !errors.Is(err, ErrStandby) || second.Role() != Standby || second.Ready() != nil {
		t.Fatalf("a standby answered %v, as %s", err, second.Role())
	}
	if err := second.View(soon(t), func(s *decide.State) {
		if _, ok := s.Device("a"); !ok {
			t.Error("a standby does not follow")
		}
	}); err != nil {
		t.Fatal(err)
	}
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	for ctx := soon(t); ; {
		out, err := second.Do(ctx, "test", "", enrol("b"))
		if err == nil && out.No == 2 {
			break
		}
		if !errors.Is(err, ErrStandby) {
			t.Fatalf("%+v, %v", out, err)
		}
	}
	if second.Position() == 0 || second.Role() != Leader {
		t.Errorf("position %d as %s", second.Position(), second.Role())
	}
}

// heldBy waits until the lease is a process's: one that could not be written at once is renewed with the next beat, and
// until then whoever comes takes the place.
func heldBy(t *testing.T, cfg eventlog.Config, name string) {
	t.Helper()
	all := leases{adm(t, cfg)}
	for ctx := soon(t); ; <-time.After(time.Millisecond) {
		held, err := all.read(ctx)
		if err == nil && held.name == name {
			return
		}
		if ctx.Err() != nil {
			t.Fatalf("the lease is %q's, want %s: %v", held.name, name, err)
		}
	}
}

// Without a place for snapshots nothing is lost but time.
func TestASnapshotThatCannotBeTakenStopsNothing(t *testing.T) {
	_, seeds := logtest.Fake(t, topics[:1])
	cfg := eventlog.Config{Brokers: seeds}
	w, stop := runWith(t, Settings{Log: cfg, SnapshotEvery: 5})
	for i := range 20 {
		if _, err := w.Do(soon(t), "test", "", enrol(fmt.Sprint("d", i))); err != nil {
			t.Fatal(err)
		}
	}
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	if n := testutil.ToFloat64(w.metrics.snapshots.WithLabelValues("taken")); n != 0 || fold(t, cfg).Counts().Devices != 20 {
		t.Errorf("%v snapshots on no topic %s", n, record.TopicSnapshots)
	}
}
