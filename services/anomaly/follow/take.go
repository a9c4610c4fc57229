package follow

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"muster.dev/platform/snapshot"
)

// taking is a line's snapshot that is under way beside it, if there is one.
type taking struct {
	ctx     context.Context
	beside  *sync.WaitGroup
	done    chan take
	busy    bool
	due     bool      // whatever the time is
	clock   int64     // of the last one, in Unix ms of event time
	when    time.Time // it was begun
	unnamed bool      // the head on the log does not tell of the epoch yet
}

type take struct {
	Taken
	err error
}

// pieces is a stream in memory, in pieces: to grow it copies nothing.
type pieces [][]byte

const piece = 1 << 20

func (p *pieces) Write(b []byte) (int, error) {
	n := len(b)
	for len(b) > 0 {
		if k := len(*p); k == 0 || len((*p)[k-1]) == piece {
			*p = append(*p, make([]byte, 0, piece))
		}
		last := &(*p)[len(*p)-1]
		m := min(len(b), piece-len(*last))
		*last = append(*last, b[:m]...)
		b = b[m:]
	}
	return n, nil
}

// to writes the stream on.
func (p pieces) to(w io.Writer) error {
	for _, b := range p {
		if _, err := w.Write(b); err != nil {
			return err
		}
	}
	return nil
}

// snapshots names one that was taken, and takes one if it is time. The fold stands still while its state is written into
// memory, and not while that goes to the log.
func (l *line) snapshots(ctx context.Context) error {
	select {
	case t := <-l.taking.done:
		l.taking.busy = false
		if err := l.enter(ctx, t); err != nil {
			return err
		}
	default:
	}
	// A snapshot says after which output it is, so all that was said is to be written.
	if l.taking.busy || l.adopts || !l.begun || len(l.queue) > 0 || l.at < l.last {
		return nil
	}
	clock := l.fold.Clock()
	if l.taking.clock == 0 {
		l.taking.clock = clock
	}
	due := l.taking.due || clock-l.taking.clock >= l.room.cfg.SnapshotEvery.Milliseconds() || l.read >= l.room.cfg.SnapshotRecords
	if !due || clock == 0 || time.Since(l.taking.when) < l.room.cfg.SnapshotPause || !l.room.mayTake() {
		return nil
	}
	if err := l.take(clock); err != nil {
		l.room.taken()
		return err
	}
	return nil
}

func (l *line) take(clock int64) error {
	if err := l.room.crash.at(atTake); err != nil {
		return err
	}
	t, state, err := l.copied(clock)
	if err != nil {
		return err
	}
	l.taking.busy = true
	l.taking.beside.Go(func() {
		defer l.room.taken()
		l.taking.done <- l.put(l.taking.ctx, t, state)
	})
	return nil
}

// copied is the state as it is now.
func (l *line) copied(clock int64) (t Taken, state pieces, err error) {
	began := time.Now()
	if err := l.fold.Snapshot(&state); err != nil {
		return t, nil, err
	}
	t = Taken{Epoch: l.epoch.tag(), N: l.at, Own: l.own, Clock: clock}
	for _, in := range l.inputs {
		t.Next = append(t.Next, Position{in, l.fold.Next(in)})
	}
	l.room.m.pauses.Observe(time.Since(began).Seconds())
	l.taking.due, l.taking.clock, l.taking.when, l.read = false, clock, began, 0
	return t, state, nil
}

func (l *line) put(ctx context.Context, t Taken, state pieces) take {
	var err error
	t.Ref, err = l.place.Put(ctx, l.room.log, rand.Uint64()>>1, state.to)
	return take{t, err}
}

// adopt makes the state that of the detector of now, where its epoch begins. The log does not say where that is, so a
// snapshot does, before anything more is read.
func (l *line) adopt(ctx context.Context) error {
	if !l.adopts || !l.begun {
		return nil
	}
	if err := l.fold.(adopter).Adopt(); err != nil {
		return fmt.Errorf("go on as %s: %w", l.epoch.Detector, err)
	}
	l.adopts = false
	t, state, err := l.copied(l.fold.Clock())
	if err != nil {
		return err
	}
	taken := l.put(ctx, t, state)
	if taken.err != nil {
		return taken.err
	}
	return l.enter(ctx, taken)
}

// enter says on the log that there is a snapshot, and lets those go that nobody needs. Without one nothing is lost but time.
func (l *line) enter(ctx context.Context, t take) error {
	if t.err != nil {
		if ctx.Err() == nil {
			l.room.m.snapshots.WithLabelValues(l.kind.stage, "failed").Inc()
			l.log.Warn("no snapshot was taken", "error", t.err)
		}
		return nil
	}
	if err := l.room.crash.at(atTaken); err != nil {
		return err
	}
	if err := l.flush(ctx); err != nil {
		return err
	}
	before := l.head
	l.head.Snapshots = append(slices.Clone(l.head.Snapshots), t.Taken)
	var gone []snapshot.Ref
	l.head, gone = l.head.thin(l.room.pins.needs(l.head))
	head, err := l.headRecord()
	if err != nil {
		l.head = before
		return err
	}
	if err := l.append(ctx, []*kgo.Record{head}, 0); err != nil {
		return err
	}
	l.taking.unnamed = false
	l.room.m.snapshots.WithLabelValues(l.kind.stage, "taken").Inc()
	l.log.Info("took a snapshot", "number", t.N, "clock", time.UnixMilli(t.Clock).UTC(), "chunks", t.Ref.Chunks)
	if err := l.room.crash.at(atNamed); err != nil {
		return err
	}
	if len(gone) > 0 {
		if err := l.place.Drop(ctx, l.room.log, gone...); err != nil {
			return err
		}
	}
	return l.room.crash.at(atDropped)
}
