package follow

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"muster.dev/embedded/kafka"
	"muster.dev/platform/eventlog"
	"muster.dev/platform/snapshot"
	"muster.dev/proto/record"
)

func TestWhatIsSaidIsThatOfAnUndisturbedRun(t *testing.T) {
	w := newWorld(t)
	w.hear(10)
	m := w.join(w.config(), "1")
	w.complete()
	w.hear(30)
	w.complete()
	w.ready(m)
	w.until("a snapshot is taken", func() error {
		if testutil.ToFloat64(m.m.snapshots.WithLabelValues(stageShard, "taken")) == 0 {
			return errNotYet
		}
		return nil
	})
	m.end()
}

func TestAMemberThatDiesAtAnyPointLeavesNothingOutAndSaysNothingTwice(t *testing.T) {
	w := newWorld(t)
	w.hear(5)
	for range max(1, kills(t)/50) {
		for _, point := range CrashPoints() {
			cfg := w.config()
			cfg.CrashAt = fmt.Sprintf("%s:%d", point, 1+w.rng.IntN(parts+1)) // of the lines, or of one line's times
			m := w.join(cfg, "1")
			w.until("it dies at "+cfg.CrashAt, func() error {
				select {
				case <-m.crashed:
					return nil
				default:
					w.hear(3)
					return errNotYet
				}
			})
			m.end()
		}
	}
	kept := func() (n int) {
		for part := range int32(parts) {
			if h, err := ReadHead(t.Context(), w.log, ShardPlace(part, parts)); err != nil {
				t.Fatal(err)
			} else if len(h.Snapshots) > 0 {
				n++
			}
		}
		return n
	}
	m := w.join(w.config(), "1")
	w.until("a shard has a snapshot", func() error { // it may have been the judge that came to each of the points
		w.hear(1)
		if kept() == 0 {
			return errNotYet
		}
		return nil
	})
	m.end()
	have := kept()
	m = w.join(w.config(), "1")
	w.hear(5)
	w.complete()
	w.ready(m)
	if n := testutil.ToFloat64(m.m.restores.WithLabelValues(stageShard, "snapshot")); int(n) < have {
		t.Errorf("shards began from a snapshot %v times, and %d have one", n, have)
	}
}

func TestPartitionsMoveBetweenMembersAndEachThingIsSaidOnce(t *testing.T) {
	w := newWorld(t)
	w.hear(5)
	one := w.join(w.config(), "1")
	w.complete()
	for range 3 {
		two := w.join(w.config(), "1")
		w.until("both have something to do", func() error {
			w.hear(1)
			if _, _, _, n := one.sums(); n == parts+1 || n == 0 {
				return errNotYet
			}
			return nil
		})
		w.hear(5)
		one.end()
		one = two
		w.hear(5)
		w.complete()
	}
}

func TestAFormerOwnerThatGoesOnWritesNothingMore(t *testing.T) {
	w := newWorld(t)
	w.hear(5)
	owner, err := w.room(w.config(), "1")
	if err != nil {
		t.Fatal(err)
	}
	partitions := map[string]int32{record.TopicTelemetry: parts, record.TopicSnapshots: parts}
	all := map[string][]int32{record.TopicTelemetry: {0, 1}, record.TopicIncidents: {0}}
	owner.start(t.Context(), all, partitions)
	w.complete()
	zombie, err := w.room(w.config(), "1")
	if err != nil {
		t.Fatal(err)
	}
	zombie.start(t.Context(), all, partitions)
	w.until("one of them is fenced", func() error {
		w.hear(1)
		if testutil.ToFloat64(owner.m.fenced)+testutil.ToFloat64(zombie.m.fenced) == 0 {
			return errNotYet
		}
		return nil
	})
	for range 5 {
		w.hear(3)
	}
	w.complete() // whoever it was
	for _, r := range []*Room{owner, zombie} {
		lines := r.take(nil)
		r.release(lines, true)
		for _, l := range lines {
			<-l.done
		}
	}
	w.complete()
}

func TestAFoldThatCannotBearARecordDoesNotEndTheOthers(t *testing.T) {
	w := newWorld(t)
	w.kinds = func(version string) map[string]*kind {
		all := kinds(version)
		one := all[record.TopicTelemetry]
		begin := one.begin
		one.begin = func(part, parts int32) (Fold, error) {
			if part == 0 {
				panic("it cannot bear it")
			}
			return begin(part, parts)
		}
		return all
	}
	w.hear(5)
	m := w.join(w.config(), "1")
	w.reaches(1)
	w.until("the reason is said", func() error {
		if err := m.Ready(); err == nil || !strings.Contains(err.Error(), "shard 0 begins again: panic: it cannot bear it") {
			return fmt.Errorf("ready: %v", err)
		}
		return nil
	})
}

func TestTopicsMayComeLate(t *testing.T) {
	w := worldWithout(t)
	m := w.join(w.config(), "1")
	w.until("it is not ready", func() error {
		if m.Ready() == nil {
			return errors.New("it is")
		}
		return nil
	})
	w.topics()
	w.hear(10)
	w.complete()
	w.ready(m)
}

func TestALogThatIsAwayIsWaitedForAndIsNoSilence(t *testing.T) {
	w := newWorld(t)
	w.hear(10)
	m := w.join(w.config(), "1")
	w.complete()
	for range 2 {
		w.broker.Close()
		broker, err := kafka.Start(w.settings)
		if err != nil {
			t.Fatal(err)
		}
		w.broker = broker
		w.hear(10)
		w.complete()
	}
	w.ready(m)
}

func TestAWriteWhoseEndWasNotHeardIsMadeOnce(t *testing.T) {
	w := newWorld(t)
	w.hear(5)
	w.join(w.config(), "1")
	for i := range 4 {
		// The coordinator fails in a way that says nothing of the transaction.
		w.broker.Cluster().Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.EndTxn}, Err: kerr.UnknownServerError, Count: 1 + i})
		w.hear(10)
		w.complete()
	}
}

func TestAWriterThatIsOpenedAgainSeesWhetherItsWordsAreThere(t *testing.T) {
	w := newWorld(t)
	r, err := w.room(w.config(), "1")
	if err != nil {
		t.Fatal(err)
	}
	l := r.newLine(r.kinds[record.TopicTelemetry], 1, map[string]int32{record.TopicTelemetry: parts, record.TopicSnapshots: parts})
	l.life = life{adm: kadm.NewClient(w.cl)}
	open := func() {
		t.Helper()
		if l.writer, err = eventlog.OpenWriter(t.Context(), w.log, l.id()); err != nil {
			t.Fatal(err)
		}
	}
	words := func(n uint64, text string) []*kgo.Record {
		rec, err := output(n, int64(n)*tick, text).Record(n)
		if err != nil {
			t.Fatal(err)
		}
		rec.Topic, rec.Partition = l.out.Topic, l.out.Part
		return []*kgo.Record{rec}
	}
	open()
	if done, err := l.reopen(t.Context(), words(1, "a"), 1); done || err != nil {
		t.Errorf("of nothing: %v, %v", done, err)
	}
	if err := l.writer.Append(t.Context(), words(1, "a")); err != nil {
		t.Fatal(err)
	}
	if done, err := l.reopen(t.Context(), words(1, "a"), 1); !done || err != nil {
		t.Errorf("of what is there: %v, %v", done, err)
	}
	if _, err := l.reopen(t.Context(), words(1, "b"), 1); !errors.Is(err, errOvertaken) {
		t.Errorf("of other words under the number: %v", err)
	}
	if err := l.writer.Append(t.Context(), words(2, "c")); err != nil {
		t.Fatal(err)
	}
	if _, err := l.reopen(t.Context(), words(1, "a"), 1); !errors.Is(err, errOvertaken) {
		t.Errorf("of what another has gone on from: %v", err)
	}
	l.writer.Close()
}

// forge writes an output as if the line's own writer had.
func (w *world) forge(part int32, n uint64, at int64) {
	w.t.Helper()
	in := Place{record.TopicCohorts, part}
	written := w.whole(in)
	rec, err := output(n, at, "forged").Record(n)
	if err != nil {
		w.t.Fatal(err)
	}
	rec.Topic, rec.Partition, rec.Headers = in.Topic, in.Part, written[len(written)-1].Headers
	writer, err := eventlog.OpenWriter(w.t.Context(), w.log, fmt.Sprintf("muster-anomaly-%d", part))
	if err != nil {
		w.t.Fatal(err)
	}
	defer writer.Close()
	if err := writer.Append(w.t.Context(), []*kgo.Record{rec}); err != nil {
		w.t.Fatal(err)
	}
}

// contiguous holds the numbers and times of a place to their order, and gives the last record.
func (w *world) contiguous(in Place) *kgo.Record {
	w.t.Helper()
	written := w.whole(in)
	last := int64(0)
	for i, rec := range written {
		n, at, err := number(rec)
		if err != nil || n != uint64(i+1) || at <= last && in.Topic == record.TopicCohorts {
			w.t.Fatalf("%s: output %d has the number %d and the time %d after %d, %v", in, i+1, n, at, last, err)
		}
		last = at
	}
	if len(written) == 0 {
		w.t.Fatalf("%s holds nothing", in)
	}
	return written[len(written)-1]
}

// reaches waits until a shard has spoken of the time up to which devices were heard.
func (w *world) reaches(part int32) {
	w.t.Helper()
	w.until(fmt.Sprintf("shard %d has come to the end", part), func() error {
		if len(w.whole(Place{record.TopicCohorts, part})) == 0 {
			return errNotYet
		}
		_, at, err := number(w.contiguous(Place{record.TopicCohorts, part}))
		if err == nil && at < w.at-tick {
			err = fmt.Errorf("%d of %d ms", at, w.at)
		}
		return err
	})
}

func TestALineThatDiffersFromTheLogStandsStillUntilAnOperatorBeginsANewEpoch(t *testing.T) {
	w := newWorld(t)
	w.hear(20)
	m := w.join(w.config(), "1")
	w.complete()
	m.end()
	n, at, err := number(w.contiguous(Place{record.TopicCohorts, 0}))
	if err != nil {
		t.Fatal(err)
	}
	w.forge(0, n+1, at+tick)
	w.hear(10)
	m = w.join(w.config(), "1")
	w.until("it stands still", func() error {
		if err := m.Ready(); err == nil || !strings.Contains(err.Error(), errDiffers.Error()) {
			return fmt.Errorf("ready: %v", err)
		}
		return nil
	})
	w.reaches(1) // the others go on
	if last, _, _ := number(w.contiguous(Place{record.TopicCohorts, 0})); last != n+1 {
		t.Errorf("it has written on up to %d", last)
	}
	if _, _, parked, _ := m.sums(); parked != 1 || testutil.ToFloat64(m.m.differs) != 1 {
		t.Errorf("%d stand still", parked)
	}
	m.end()
	cfg := w.config()
	cfg.Epoch = "looked-at"
	m = w.join(cfg, "1")
	w.reaches(0)
	w.reaches(1)
	last := w.contiguous(Place{record.TopicCohorts, 0})
	if want := fmt.Sprintf("tally-1+looked-at/%d", n+2); tagOf(last) != want {
		t.Errorf("the epoch is %s, want %s", tagOf(last), want)
	}
	w.kept(last)
	m.end()
	m = w.join(cfg, "1") // and from there on as ever
	w.hear(10)
	w.reaches(0)
	w.ready(m)
	if last := w.contiguous(Place{record.TopicCohorts, 0}); tagOf(last) != fmt.Sprintf("tally-1+looked-at/%d", n+2) {
		t.Errorf("another epoch has begun: %s", tagOf(last))
	}
}

func TestAnotherDetectorGoesOnWithANewEpoch(t *testing.T) {
	w := newWorld(t)
	w.hear(20)
	m := w.join(w.config(), "1")
	w.complete()
	m.end()
	for _, version := range []string{"2", "3", "1"} {
		w.hear(10)
		m := w.join(w.config(), version)
		w.reaches(0)
		w.reaches(1)
		w.ready(m)
		m.end()
		if n := testutil.ToFloat64(m.m.epochs.WithLabelValues(whyDetector)); n < parts+1 {
			t.Errorf("version %s: %v epochs began", version, n)
		}
	}
	w.contiguous(Place{Topic: record.TopicIncidents})
}

func TestWhatRetentionHasEatenIsCountedAndNotWaitedFor(t *testing.T) {
	w := newWorld(t)
	w.hear(20)
	m := w.join(w.config(), "1")
	w.complete()
	w.until("there are snapshots", func() error {
		for part := range int32(parts) {
			if h, err := ReadHead(t.Context(), w.log, ShardPlace(part, parts)); err != nil || len(h.Snapshots) == 0 {
				return fmt.Errorf("%d snapshots, %w", len(h.Snapshots), errors.Join(err, errNotYet))
			}
		}
		return nil
	})
	m.end()
	w.hear(20) // and nobody reads it in time
	var gone kadm.Offsets
	for _, topic := range []string{record.TopicTelemetry, record.TopicEvents} {
		for part := range int32(parts) {
			all := w.whole(Place{topic, part})
			gone.Add(kadm.Offset{Topic: topic, Partition: part, At: all[len(all)-1].Offset + 1, LeaderEpoch: -1})
		}
	}
	if _, err := kadm.NewClient(w.cl).DeleteRecords(t.Context(), gone); err != nil {
		t.Fatal(err)
	}
	w.hear(20)
	m = w.join(w.config(), "1")
	w.reaches(0)
	w.reaches(1)
	w.ready(m)
	if lost := testutil.ToFloat64(m.m.lost); lost == 0 {
		t.Error("nothing is counted as lost")
	}
	if n := testutil.ToFloat64(m.m.restores.WithLabelValues(stageShard, "snapshot")); n < parts {
		t.Errorf("%v shards kept what they had learnt, want %d", n, parts)
	}
	last := w.contiguous(Place{record.TopicCohorts, 0})
	w.kept(last)
	m.end()
	w.hear(20)
	w.join(w.config(), "1")
	w.reaches(0)
	if now := w.contiguous(Place{record.TopicCohorts, 0}); tagOf(now) != tagOf(last) {
		t.Errorf("another epoch has begun: %s after %s", tagOf(now), tagOf(last))
	}
}

// kept waits until there is a snapshot of a shard's output's epoch.
func (w *world) kept(rec *kgo.Record) {
	w.t.Helper()
	w.until("there is a snapshot of epoch "+tagOf(rec), func() error {
		w.hear(1)
		h, err := ReadHead(w.t.Context(), w.log, ShardPlace(rec.Partition, parts))
		if n := len(h.Snapshots); err == nil && (n == 0 || h.Snapshots[n-1].Epoch != tagOf(rec)) {
			err = errNotYet
		}
		return err
	})
}

func TestADamagedSnapshotCostsTimeAndNothingElse(t *testing.T) {
	w := newWorld(t)
	w.hear(10)
	m := w.join(w.config(), "1")
	w.complete()
	for range 3 {
		w.hear(10)
		w.complete()
	}
	w.until("it has a snapshot", func() error {
		w.hear(1)
		if testutil.ToFloat64(m.m.snapshots.WithLabelValues(stageShard, "taken")) < 2*parts {
			return errNotYet
		}
		return nil
	})
	w.complete()
	m.end()
	place := ShardPlace(0, parts)
	h, err := ReadHead(t.Context(), w.log, place)
	if err != nil || len(h.Snapshots) < 2 {
		t.Fatalf("%+v, %v", h, err)
	}
	h.Snapshots[len(h.Snapshots)-1].Ref.Sum[3] ^= 1
	w.rewrite(place, h)
	m = w.join(w.config(), "1")
	w.hear(5)
	w.complete()
	if n := testutil.ToFloat64(m.m.restores.WithLabelValues(stageShard, "refused")); n < 1 {
		t.Error("no snapshot was refused")
	}
	m.end()
	for i := range h.Snapshots { // and if none is good, from where the epoch began
		h.Snapshots[i].Ref.Sum[3] ^= 2
	}
	w.rewrite(place, h)
	m = w.join(w.config(), "1")
	w.hear(5)
	w.complete()
	if n := testutil.ToFloat64(m.m.restores.WithLabelValues(stageShard, "refused")); n < 2 {
		t.Errorf("%v snapshots were refused", n)
	}
}

func (w *world) rewrite(place snapshot.Place, h Head) {
	w.t.Helper()
	value, err := h.encode()
	if err != nil {
		w.t.Fatal(err)
	}
	rec := place.Head(value)
	if err := w.cl.ProduceSync(context.WithoutCancel(w.t.Context()), rec).FirstErr(); err != nil {
		w.t.Fatal(err)
	}
}
