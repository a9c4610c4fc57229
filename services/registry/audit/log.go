package audit

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"muster.dev/platform/eventlog"
	"muster.dev/proto/record"
)

// LogReader is told what stands in a log.
type LogReader struct {
	Record func(Record) error // each record that was committed; ErrStop ends the reading
	Hole   func(Hole)         // offsets without one; may be nil
	// Begin is told where the log begins and ends, before the first record; may be nil.
	Begin func(start, end int64)
}

// ErrStop, returned by LogReader.Record, ends the reading without an error.
var ErrStop = eventlog.ErrStop

// ReadLog reads the registry's topic from its first record to what is its end now, committed records only. It leaves
// no trace on the log.
func ReadLog(ctx context.Context, cfg eventlog.Config, to LogReader) error {
	if err := cfg.Validate(); err != nil {
		return fmt.Errorf("kafka: %w", err)
	}
	client, err := kgo.NewClient(append(cfg.Options(),
		kgo.FetchIsolationLevel(kgo.ReadCommitted()),
		kgo.ConsumeResetOffset(kgo.NoResetOffset()),
		kgo.KeepControlRecords(), // they tell what became of the offsets that are not there
	)...)
	if err != nil {
		return fmt.Errorf("open the log: %w", err)
	}
	defer client.Close()
	start, end, err := bounds(ctx, kadm.NewClient(client))
	if err != nil {
		return err
	}
	if to.Begin != nil {
		to.Begin(start, end)
	}
	if start >= end {
		return nil
	}
	client.AddConsumePartitions(map[string]map[int32]kgo.Offset{record.TopicRegistry: {0: kgo.NewOffset().At(start)}})
	next := start
	var holes []Hole // of which it is not known yet why
	tell := func(aborted bool) {
		for _, h := range holes {
			if h.Aborted = aborted; to.Hole != nil {
				to.Hole(h)
			}
		}
		holes = nil
	}
	for next < end {
		fetches := client.PollFetches(ctx)
		if err := ctx.Err(); err != nil {
			return context.Cause(ctx)
		}
		if err := fetches.Err(); err != nil {
			return fmt.Errorf("read the log: %w", err)
		}
		for iter := fetches.RecordIter(); !iter.Done() && next < end; {
			rec := iter.Next()
			if rec.Offset > next {
				holes = append(holes, Hole{From: next, To: min(rec.Offset, end) - 1})
			}
			if next = rec.Offset + 1; rec.Offset >= end {
				break // written after the reading began
			}
			if rec.Attrs.IsControl() {
				tell(aborts(rec.Key))
				continue
			}
			if len(holes) > 0 && len(holes) == cap(holes) && len(holes) >= maxHoles {
				tell(false)
			}
			switch err := to.Record(of(rec)); {
			case errors.Is(err, ErrStop):
				return nil
			case err != nil:
				return err
			}
		}
	}
	tell(false)
	return nil
}

// of is a record as the chain sees it.
func of(rec *kgo.Record) Record {
	r := Record{Offset: rec.Offset, Value: rec.Value}
	for _, h := range rec.Headers {
		if h.Key == record.HeaderType {
			r.Type = string(h.Value) // the last one holds, as for every reader
		}
	}
	return r
}

// aborts says whether a control record is of a transaction that was aborted: its key is version and type, two bytes each.
func aborts(key []byte) bool { return len(key) >= 4 && binary.BigEndian.Uint16(key[2:]) == 0 }

func bounds(ctx context.Context, adm *kadm.Client) (start, end int64, err error) {
	starts, err := adm.ListStartOffsets(ctx, record.TopicRegistry)
	if err == nil {
		err = starts.Error()
	}
	if err != nil {
		return 0, 0, fmt.Errorf("ask for the start of the log: %w", err)
	}
	ends, err := adm.ListCommittedOffsets(ctx, record.TopicRegistry)
	if err == nil {
		err = ends.Error()
	}
	if err != nil {
		return 0, 0, fmt.Errorf("ask for the end of the log: %w", err)
	}
	first, _ := starts.Lookup(record.TopicRegistry, 0)
	last, _ := ends.Lookup(record.TopicRegistry, 0)
	return first.Offset, last.Offset, nil
}
