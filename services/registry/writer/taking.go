package writer

import (
	"context"
	"sync"

	"muster.dev/platform/eventlog"
	"muster.dev/platform/snapshot"
	"muster.dev/proto/event"
	"muster.dev/services/registry/decide"
)

// taking is the snapshot that is under way beside the rounds, if there is one.
type taking struct {
	w      *Writer
	ctx    context.Context
	beside *sync.WaitGroup
	done   chan taken
	busy   bool
	after  uint64 // the event after which the next one is due
}

type taken struct {
	event.SnapshotTaken
	err error
}

func (w *Writer) newTaking(ctx context.Context, beside *sync.WaitGroup) *taking {
	state := <-w.turn
	defer func() { w.turn <- state }()
	return &taking{w: w, ctx: ctx, beside: beside, done: make(chan taken, 1), after: state.Snapshot().Event + w.every(state)}
}

// every is after how many events the next snapshot is due. A large one is written less often: what is then folded at a
// start is still an eighth of the fleet at most, and a million devices are a quarter of a gigabyte each time.
func (w *Writer) every(state *decide.State) uint64 {
	return max(w.settings.SnapshotEvery, uint64(state.Counts().Devices)/8)
}

// begin takes a snapshot if one is due. The rounds go on.
func (t *taking) begin() {
	state := <-t.w.turn
	defer func() { t.w.turn <- state }()
	if t.busy || state.Last() < t.after {
		return
	}
	frozen, draft := freeze(state)
	t.busy = true
	t.beside.Go(func() { t.done <- t.w.put(t.ctx, frozen, draft) })
}

// freeze keeps the state, and says what the log is to say of it.
func freeze(state *decide.State) (*decide.Frozen, event.SnapshotTaken) {
	return state.Freeze(), event.SnapshotTaken{Offset: state.Offset(), Event: state.Last(), Slot: 1 - state.Snapshot().Slot&1}
}

func (w *Writer) put(ctx context.Context, frozen *decide.Frozen, draft event.SnapshotTaken) taken {
	put, err := snapshot.Put(ctx, w.log, draft.Slot, frozen.Write)
	draft.Start, draft.Chunks, draft.Sum = put.Start, put.Chunks, put.Sum
	return taken{draft, err}
}

// end names the snapshot in the log: from then on it may be believed. Without one nothing is lost but time.
func (t *taking) end(ctx context.Context, out *eventlog.Writer, s taken) error {
	t.busy = false
	if s.err != nil {
		t.w.metrics.snapshots.WithLabelValues("failed").Inc()
		t.w.logger.Warn("no snapshot was taken", "error", s.err)
		t.after = t.w.lastEvent() + t.w.settings.SnapshotEvery/10
		return nil
	}
	state := <-t.w.turn
	t.after = s.Event + t.w.every(state)
	t.w.turn <- state
	return t.w.name(ctx, out, s)
}

func (w *Writer) name(ctx context.Context, out *eventlog.Writer, s taken) error {
	err := w.round(ctx, out, []*request{{
		ctx: ctx, who: "registry", why: "so that the next start need not read all", command: decide.NameSnapshot{Taken: s.SnapshotTaken}, done: make(chan result, 1),
	}})
	if err == nil {
		w.metrics.snapshots.WithLabelValues("taken").Inc()
		w.logger.Info("took a snapshot", "snapshot", snapshot.String(s.SnapshotTaken), "chunks", s.Chunks)
	}
	return err
}

// takeAtStop takes a snapshot when enough has happened since the last one.
func (w *Writer) takeAtStop(ctx context.Context, out *eventlog.Writer) {
	state := <-w.turn
	if state.Last() < state.Snapshot().Event+w.settings.SnapshotAtStop {
		w.turn <- state
		return
	}
	frozen, draft := freeze(state)
	w.turn <- state
	s := w.put(ctx, frozen, draft)
	if s.err == nil {
		s.err = w.name(ctx, out, s)
	}
	if s.err != nil {
		w.metrics.snapshots.WithLabelValues("failed").Inc()
		w.logger.Warn("no snapshot was taken at the stop", "error", s.err)
	}
}
