package eventlog

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

// TailSettings is what Tail reads. Where it begins: at the first record at or after Since, else Last records before
// each partition's end, else at the end if it follows and at the start if not; From says it outright.
type TailSettings struct {
	Topics []string
	Since  time.Time
	Last   int64
	// From begins at this offset of each partition, if it is above 0.
	From int64
	// Start begins at the first record of the log though it follows.
	Start bool
	// Follow reads on for ever; else Tail ends at what was the end when it began.
	Follow bool
}

// ErrStop, returned by the function that Tail calls, ends Tail without an error.
var ErrStop = errors.New("stop")

// span is what is left to read of a partition: [next, end).
type span struct{ next, end int64 }

// Tail reads topics in no group, committed records only, and calls fn with each; those of one partition come in
// order. It leaves no trace on the log. It returns nil at the end (or after ErrStop), fn's error, or that of ctx.
func Tail(ctx context.Context, cfg Config, s TailSettings, fn func(*kgo.Record) error) error {
	if err := cfg.Validate(); err != nil {
		return fmt.Errorf("kafka: %w", err)
	}
	client, err := kgo.NewClient(append(cfg.Options(),
		kgo.FetchIsolationLevel(kgo.ReadCommitted()),
		kgo.ConsumeResetOffset(kgo.NoResetOffset()),
		// The end of a transaction takes an offset too; without it the end would never be reached.
		kgo.KeepControlRecords(),
	)...)
	if err != nil {
		return fmt.Errorf("kafka tail: %w", err)
	}
	defer client.Close()

	spans, err := s.spans(ctx, kadm.NewClient(client))
	if err != nil {
		return err
	}
	from := map[string]map[int32]kgo.Offset{}
	open := 0
	for topic, parts := range spans {
		from[topic] = map[int32]kgo.Offset{}
		for part, at := range parts {
			if s.Follow || at.next < at.end {
				from[topic][part] = kgo.NewOffset().At(at.next)
				open++
			}
		}
	}
	client.AddConsumePartitions(from)
	for open > 0 {
		fetches := client.PollFetches(ctx)
		if err := ctx.Err(); err != nil {
			return context.Cause(ctx)
		}
		if err := fetches.Err(); err != nil {
			return fmt.Errorf("read the log: %w", err)
		}
		for iter := fetches.RecordIter(); !iter.Done(); {
			rec := iter.Next()
			at := spans[rec.Topic][rec.Partition]
			if !s.Follow && at.next >= at.end {
				continue
			}
			late := !s.Follow && rec.Offset >= at.end // written after Tail began; the span's own last was compacted
			if !late && !rec.Attrs.IsControl() {
				if err := fn(rec); errors.Is(err, ErrStop) {
					return nil
				} else if err != nil {
					return err
				}
			}
			if at.next = rec.Offset + 1; !s.Follow && at.next >= at.end {
				open--
			}
			spans[rec.Topic][rec.Partition] = at
		}
	}
	return nil
}

// spans asks the log where each partition begins and ends for these settings.
func (s TailSettings) spans(ctx context.Context, adm *kadm.Client) (map[string]map[int32]span, error) {
	ask := func(what string, list func(context.Context, ...string) (kadm.ListedOffsets, error)) (kadm.ListedOffsets, error) {
		got, err := list(ctx, s.Topics...)
		if err == nil {
			err = got.Error()
		}
		if err != nil {
			return nil, fmt.Errorf("ask for the %s of the log: %w", what, err)
		}
		return got, nil
	}
	starts, err := ask("start", adm.ListStartOffsets)
	if err != nil {
		return nil, err
	}
	ends, err := ask("end", adm.ListCommittedOffsets)
	if err != nil {
		return nil, err
	}
	since := starts
	if !s.Since.IsZero() {
		since, err = ask("time", func(ctx context.Context, topics ...string) (kadm.ListedOffsets, error) {
			return adm.ListOffsetsAfterMilli(ctx, s.Since.UnixMilli(), topics...)
		})
		if err != nil {
			return nil, err
		}
	}
	out := map[string]map[int32]span{}
	ends.Each(func(end kadm.ListedOffset) {
		start, _ := starts.Lookup(end.Topic, end.Partition)
		at := span{next: start.Offset, end: end.Offset}
		switch {
		case !s.Since.IsZero():
			first, _ := since.Lookup(end.Topic, end.Partition)
			at.next = first.Offset
		case s.From > 0:
			at.next = max(start.Offset, s.From)
		case s.Last > 0:
			at.next = max(start.Offset, end.Offset-s.Last)
		case s.Follow && !s.Start:
			at.next = end.Offset
		}
		if out[end.Topic] == nil {
			out[end.Topic] = map[int32]span{}
		}
		out[end.Topic][end.Partition] = at
	})
	return out, nil
}
