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
	err := eventlog.Tail(ctx, cfg, eventlog.TailSettings{Topics: []string{record.TopicRegistry}, From: from, Start: true, Follow: true}, fn)
	if errors.Is(err, kerr.OffsetOutOfRange) {
		return fmt.Errorf("the tables know events up to offset %d, which the log has not: it is another one than they were made of (muster rebuild): %w", from, err)
	}
	return err
}
