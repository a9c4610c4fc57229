package gateway

import (
	"context"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"muster.dev/proto/event"
	"muster.dev/proto/record"
)

// watermarks writes a control record to each partition of telemetry and events, until ctx ends. It stands behind all
// that this gateway accepted before it in that partition, so a partition in which nothing else comes is known to be
// idle; and a reader that misses it knows that the silence is the pipeline's own.
func (g *Gateway) watermarks(ctx context.Context) error {
	tick := time.NewTicker(g.cfg.WatermarkEvery)
	defer tick.Stop()
	w := watermarker{g: g, partitions: map[string]int32{}}
	for {
		select {
		case <-ctx.Done():
			return nil
		case now := <-tick.C:
			w.write(ctx, now)
		}
	}
}

type watermarker struct {
	g          *Gateway
	partitions map[string]int32 // by topic, once known: their number is fixed when a topic is made
}

func (w *watermarker) write(ctx context.Context, now time.Time) {
	if w.g.producer.Stalled() {
		w.g.metrics.marks.WithLabelValues(markFailed).Inc()
		return // the missing watermark says it
	}
	accepted, refused := w.g.metrics.totals()
	mark := event.Watermark{Gateway: w.g.cfg.name(), Time: now.UnixMilli(), Accepted: accepted, Refused: refused, Region: w.g.cfg.Region}
	value, headers, err := mark.Encode()
	if err != nil {
		w.g.log.Error("watermark is not written", "error", err)
		return
	}
	kafkaHeaders := make([]kgo.RecordHeader, len(headers))
	for i, h := range headers {
		kafkaHeaders[i] = kgo.RecordHeader{Key: h.Key, Value: h.Value}
	}
	for _, topic := range []string{record.TopicTelemetry, record.TopicEvents} {
		n, err := w.count(ctx, topic)
		if err != nil {
			w.g.metrics.marks.WithLabelValues(markFailed).Inc()
			w.g.log.Warn("watermark is not written", "topic", topic, "error", err)
			continue
		}
		for p := range n {
			w.g.producer.TryPublish(&kgo.Record{Topic: topic, Partition: p, Value: value, Headers: kafkaHeaders, Timestamp: time.UnixMilli(mark.Time)}, w.landed)
		}
	}
}

func (w *watermarker) landed(_ *kgo.Record, err error) {
	outcome := markWritten
	if err != nil {
		outcome = markFailed
	}
	w.g.metrics.marks.WithLabelValues(outcome).Inc()
}

func (w *watermarker) count(ctx context.Context, topic string) (int32, error) {
	if n := w.partitions[topic]; n > 0 {
		return n, nil
	}
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	n, err := w.g.producer.Partitions(ctx, topic)
	if err != nil {
		return 0, err
	}
	if n == 0 {
		return 0, fmt.Errorf("topic %s has no partitions", topic)
	}
	w.partitions[topic] = n
	return n, nil
}
