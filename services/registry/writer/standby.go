package writer

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"muster.dev/platform/eventlog"
	"muster.dev/services/registry/decide"
)

// errTake ends the standing by: the writer's place is free, or ours.
var errTake = errors.New("the writer's place is to be taken")

// standBy follows the log, serves readers, and refuses commands, until the place is to be taken or something fails.
// The state is published once the log's end was reached.
func (w *Writer) standBy(ctx context.Context) error {
	ctx, stop := context.WithCancelCause(ctx)
	var beside sync.WaitGroup
	defer beside.Wait()
	defer stop(nil)

	state := w.state
	if state == nil {
		state = w.load(ctx)
	}
	f, err := follow(w.log, state.Offset())
	if err != nil {
		return err
	}
	defer f.client.Close()
	if w.state == nil {
		end, err := w.leases.end(ctx)
		if err != nil {
			return err
		}
		began := time.Now()
		if err := w.reach(ctx, f, state, end); err != nil {
			return fmt.Errorf("fold the registry's log: %w", err)
		}
		w.logger.Info("folded the registry's log", "events", state.Last(), "took", time.Since(began))
		w.publish(state)
	}
	beside.Go(func() { w.watch(ctx, stop) })
	for {
		records, err := f.next(ctx)
		if err != nil {
			return err
		}
		// Nobody but this goroutine takes the state away.
		state := <-w.turn
		w.apply(state, records)
		w.position.Store(state.Offset())
		w.turn <- state
	}
}

// publish lets readers in.
func (w *Writer) publish(state *decide.State) {
	w.state = state
	w.position.Store(state.Offset())
	w.turn <- state
	w.metrics.folded.Store(true)
}

// unpublish throws the state away: it may be ahead of the log. held says that the caller has taken its turn.
func (w *Writer) unpublish(held bool) {
	if w.state == nil {
		return
	}
	w.metrics.folded.Store(false)
	if !held {
		<-w.turn // a reader has it at most
	}
	w.state = nil
}

// watch looks at the lease until the place is to be taken: at once if nobody has it, or this process had it last and
// nobody took it since; else once its holder has not renewed it for as long as Settings say.
func (w *Writer) watch(ctx context.Context, stop context.CancelCauseFunc) {
	tick := time.NewTicker(w.settings.Beat / 2)
	defer tick.Stop()
	var (
		seen   lease
		quiet  time.Duration // that the holder was seen to keep, without the time in which nothing could be seen
		looked time.Time
	)
	for {
		held, err := w.leases.read(ctx)
		now := time.Now()
		switch {
		case err != nil:
			looked = time.Time{}
			if ctx.Err() == nil {
				w.logger.Debug("the writer's lease cannot be read", "error", err)
			}
		case held.name == "", held.place == w.place && held.name == w.settings.Name, w.fresh && held.name == w.settings.Name:
			stop(errTake)
			return
		case held != seen:
			seen, quiet, looked = held, 0, now
		default:
			if !looked.IsZero() {
				quiet += now.Sub(looked)
			}
			looked = now
			if quiet >= w.settings.Stale {
				w.logger.Warn("the registry's writer is silent", "writer", held.name, "for", quiet)
				stop(errTake)
				return
			}
		}
		// Somebody else has the place: whoever waits is told.
		wait := true
		for wait {
			var requests chan *request
			if err == nil {
				requests = w.requests
			}
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
				wait = false
			case r := <-requests:
				r.done <- result{err: ErrStandby}
			}
		}
	}
}

// errSuperseded says that another process has taken the place.
var errSuperseded = fmt.Errorf("%w: the lease names another", eventlog.ErrFenced)

// beat renews the lease until ctx ends, and ends it if another has taken the place.
func (w *Writer) beat(ctx context.Context, held lease, stop context.CancelCauseFunc) {
	tick := time.NewTicker(w.settings.Beat)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		seen, err := w.leases.read(ctx)
		if err == nil && seen.name != "" && held.place.Before(seen.place) {
			stop(errSuperseded)
			return
		}
		if err == nil {
			held.beat++
			err = w.leases.write(ctx, held, w.position.Load())
		}
		if err != nil && ctx.Err() == nil {
			w.logger.Warn("the writer's lease cannot be renewed", "error", err)
		}
	}
}
