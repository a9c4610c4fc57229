package fast

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"muster.dev/platform/eventlog"
	"muster.dev/proto/record"
)

// batchBytes is what one batch may weigh: large ones cost least, for the log and for whoever reads it.
const batchBytes = 1 << 20

// ErrWritten is in the error of whoever would simulate onto a log that holds something already: its times would mingle.
var ErrWritten = errors.New("the log holds records already")

// openLog makes the topics as Muster has them, but for ever: a record of a simulated week is as old as that week says, and
// retention by age would take it at once.
func openLog(ctx context.Context, cfg eventlog.Config, partitions int32) (*kgo.Client, map[string]eventlog.TopicID, error) {
	client, err := kgo.NewClient(append(cfg.Options(),
		kgo.RecordPartitioner(kgo.ManualPartitioner()),
		kgo.ProducerLinger(0),
		kgo.ProducerBatchCompression(kgo.Lz4Compression()),
		kgo.ProducerBatchMaxBytes(batchBytes),
		kgo.MaxBufferedRecords(1<<20), // what is under way is bounded by the slots
		kgo.MaxBufferedBytes(1<<30),
	)...)
	if err != nil {
		return nil, nil, fmt.Errorf("client of the log: %w", err)
	}
	topics := eventlog.Topics(partitions, true)
	ever := strconv.Itoa(-1)
	for _, t := range topics {
		t.Configs["retention.ms"] = &ever
	}
	ids, err := eventlog.EnsureTopics(ctx, client, topics)
	if err == nil {
		err = empty(ctx, client)
	}
	if err != nil {
		client.Close()
		return nil, nil, err
	}
	return client, ids, nil
}

func empty(ctx context.Context, client *kgo.Client) error {
	ends, err := kadm.NewClient(client).ListEndOffsets(ctx, record.TopicTelemetry, record.TopicEvents, record.TopicRegistry)
	if err == nil {
		err = ends.Error()
	}
	if err != nil {
		return fmt.Errorf("asking where the log ends: %w", err)
	}
	ends.Each(func(o kadm.ListedOffset) {
		if o.Offset > 0 && err == nil {
			err = fmt.Errorf("%s: %w: simulate onto one of its own", o.Topic, ErrWritten)
		}
	})
	return err
}
