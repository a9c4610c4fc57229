package kafka

import (
	"context"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
)

// retain applies retention until ctx ends.
func (b *Broker) retain(ctx context.Context) {
	tick := time.NewTicker(b.cfg.RetentionEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			b.cluster.ApplyRetention()
			for topic, c := range b.cfg.Caps {
				if err := b.trim(ctx, topic, c); err != nil && ctx.Err() == nil {
					b.cfg.Log.Error("trim a topic to its cap", "topic", topic, "error", err)
				}
			}
		}
	}
}

// trim drops the head of each partition of a topic that outgrew its cap, but nothing younger than the cap keeps.
// kfake tells a partition's size and offsets but not where a byte lies, so the cut is by share: of a partition
// that is twice its cap the older half of the offsets goes. Sizes converge over the next ticks.
func (b *Broker) trim(ctx context.Context, topic string, c Cap) error {
	adm := kadm.NewClient(b.steward)
	var young kadm.ListedOffsets
	cut := make(kadm.Offsets)
	for _, p := range b.cluster.PartitionInfos(topic) {
		if p == nil || p.NumBytes <= c.Bytes || p.HighWatermark <= p.LogStartOffset {
			continue
		}
		if young == nil {
			var err error
			if young, err = adm.ListOffsetsAfterMilli(ctx, time.Now().Add(-c.Keep).UnixMilli(), topic); err != nil {
				return err
			}
		}
		share := float64(p.NumBytes-c.Bytes) / float64(p.NumBytes)
		at := p.LogStartOffset + int64(share*float64(p.HighWatermark-p.LogStartOffset))
		if first, ok := young.Lookup(topic, p.Partition); ok && first.Err == nil && first.Offset >= 0 {
			at = min(at, first.Offset)
		}
		if at > p.LogStartOffset {
			cut.AddOffset(topic, p.Partition, at, -1)
		}
	}
	if len(cut) == 0 {
		return nil
	}
	got, err := adm.DeleteRecords(ctx, cut)
	if err != nil {
		return err
	}
	return got.Error()
}
