package projector

import (
	"context"
	"errors"
	"fmt"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"muster.dev/platform/eventlog"
	"muster.dev/proto/record"
)

// follow reads the registry's log from an offset on, what was committed, for as long as ctx lasts. 0 is the log's start.
func follow(ctx context.Context, cfg eventlog.Config, from int64, fn func(*kgo.Record) error) error {
	at := kgo.NewOffset().At(from)
	if from == 0 {
		at = kgo.NewOffset().AtStart()
	}
	client, err := kgo.NewClient(append(cfg.Options(),
		kgo.FetchIsolationLevel(kgo.ReadCommitted()),
		kgo.ConsumeResetOffset(kgo.NoResetOffset()),
		kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{record.TopicRegistry: {0: at}}),
	)...)
	if err != nil {
		return fmt.Errorf("open the log: %w", err)
	}
	defer client.Close()
	for {
		fetches := client.PollFetches(ctx)
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		switch err := fetches.Err(); {
		case errors.Is(err, kerr.OffsetOutOfRange):
			return fmt.Errorf("the tables know events up to offset %d, which the log has not: it is another one than they were made of (muster rebuild): %w", from, err)
		case err != nil:
			return fmt.Errorf("read the log: %w", err)
		}
		for iter := fetches.RecordIter(); !iter.Done(); {
			if err := fn(iter.Next()); err != nil {
				return err
			}
		}
	}
}
