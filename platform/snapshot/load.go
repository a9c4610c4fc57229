package snapshot

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/twmb/franz-go/pkg/kgo"

	"muster.dev/platform/eventlog"
	"muster.dev/proto/event"
	"muster.dev/proto/record"
)

// ErrNone says that the log names no snapshot near its end.
var ErrNone = errors.New("the log names no snapshot")

// State is a fold that a snapshot holds.
type State interface {
	// Fold folds a record in. An error says that it is no link of the chain: the log goes on from another state than
	// this one. What is a link and says what cannot be is no error.
	Fold(*kgo.Record) error
	// Snapshot is the last one that the fold has seen named; of none its Event is 0.
	Snapshot() event.SnapshotTaken
}

// Load gives the state of the newest snapshot, folded on to the event that names it, and the offset at which the log goes
// on. On any error fold the log from its start: nothing but time is lost.
func Load[S State](ctx context.Context, cfg eventlog.Config, read func(io.Reader) (S, error)) (state S, next int64, err error) {
	taken, ok, err := Latest(ctx, cfg)
	if err == nil && !ok {
		err = ErrNone
	}
	if err != nil {
		return state, 0, err
	}
	err = Get(ctx, cfg, taken, func(r io.Reader) error {
		var err error
		state, err = read(r)
		return err
	})
	if err != nil {
		return state, 0, err
	}
	// The log must go on from the state, link by link, to the very event that names the snapshot.
	same := func(t event.SnapshotTaken) bool {
		return t.Event == taken.Event && t.Offset == taken.Offset && t.Slot == taken.Slot && slices.Equal(t.Sum, taken.Sum)
	}
	confirmed := false
	// At offset 0 there is nothing before: a snapshot of nothing is none.
	err = eventlog.Tail(ctx, cfg, eventlog.TailSettings{Topics: []string{record.TopicRegistry}, From: max(taken.Offset, 1)}, func(rec *kgo.Record) error {
		if err := state.Fold(rec); err != nil {
			return fmt.Errorf("%w: offset %d does not follow it: %w", ErrDamaged, rec.Offset, err)
		}
		next = rec.Offset + 1
		if confirmed = same(state.Snapshot()); confirmed {
			return eventlog.ErrStop
		}
		return nil
	})
	if err == nil && !confirmed {
		err = fmt.Errorf("%w: the log does not lead from it to its name", ErrDamaged)
	}
	return state, next, err
}
