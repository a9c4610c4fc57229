package writer

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"muster.dev/platform/eventlog"
	"muster.dev/platform/snapshot"
	"muster.dev/proto/record"
	"muster.dev/services/registry/decide"
)

// follower reads the log on from where a state stands.
type follower struct{ client *kgo.Client }

func follow(cfg eventlog.Config, from int64) (follower, error) {
	client, err := kgo.NewClient(append(cfg.Options(),
		kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{record.TopicRegistry: {0: kgo.NewOffset().At(from)}}),
		kgo.FetchIsolationLevel(kgo.ReadCommitted()),
		kgo.ConsumeResetOffset(kgo.NoResetOffset()), // history that is gone is never jumped over
		kgo.KeepControlRecords(),                    // the end of a transaction takes an offset, and the end must be reached
		kgo.FetchMaxWait(time.Second),
		kgo.FetchMaxBytes(8<<20), kgo.FetchMaxPartitionBytes(8<<20),
		kgo.RequestTimeoutOverhead(2*time.Second),
	)...)
	if err != nil {
		return follower{}, fmt.Errorf("kafka client of the follower: %w", err)
	}
	return follower{client}, nil
}

// next waits for records.
func (f follower) next(ctx context.Context) ([]*kgo.Record, error) {
	fetches := f.client.PollFetches(ctx)
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	if err := fetches.Err(); err != nil && fetches.NumRecords() == 0 {
		return nil, fmt.Errorf("read the registry's log: %w", err)
	}
	return fetches.Records(), nil
}

// apply folds records in that the state does not hold yet.
func (w *Writer) apply(state *decide.State, records []*kgo.Record) {
	for _, rec := range records {
		if rec.Offset < state.Offset() {
			continue
		}
		if rec.Attrs.IsControl() {
			state.Pass(rec.Offset + 1)
			continue
		}
		if err := state.Apply(rec); err != nil {
			// Not ours, or damaged: ignored as every reader ignores it, and told.
			w.metrics.ignored.Inc()
			w.logger.Error("a record of the registry's log is ignored", "offset", rec.Offset, "error", err)
		}
	}
}

// reach folds on to an end of the log.
func (w *Writer) reach(ctx context.Context, f follower, state *decide.State, end int64) error {
	for state.Offset() < end {
		records, err := f.next(ctx)
		if err != nil {
			return err
		}
		w.apply(state, records)
	}
	return nil
}

// load begins with the newest snapshot, or with nothing.
func (w *Writer) load(ctx context.Context) *decide.State {
	began := time.Now()
	state, next, err := snapshot.Load(ctx, w.log, func(in io.Reader) (*decide.State, error) { return decide.ReadState(in) })
	if err != nil {
		w.logger.Info("the registry's log is folded from its start", "because", err)
		return decide.NewState()
	}
	state.Pass(next)
	w.metrics.restored.Inc()
	w.logger.Info("began with a snapshot", "event", state.Last(), "offset", next, "took", time.Since(began))
	return state
}
