package follow

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"muster.dev/platform/eventlog"
	"muster.dev/platform/outage"
)

// errOvertaken ends a life: the topic holds what this one has not said.
var errOvertaken = errors.New("another owner has written")

// flush writes what was said, in transactions of a bounded size; with the first of an epoch goes the head that tells of it.
func (l *line) flush(ctx context.Context) error {
	for len(l.queue) > 0 {
		n, size := 0, 0
		for n < len(l.queue) && n < maxQueue && (n == 0 || size+len(l.queue[n].Value) <= maxBytes) {
			size += len(l.queue[n].Value)
			n++
		}
		records := slices.Clone(l.queue[:n])
		if l.taking.unnamed {
			head, err := l.headRecord()
			if err != nil {
				return err
			}
			records = append(records, head)
		}
		if err := l.room.crash.at(atWrite); err != nil {
			return err
		}
		if err := l.append(ctx, records, n); err != nil {
			return err
		}
		l.room.m.written.WithLabelValues(l.kind.stage).Add(float64(n))
		l.last, l.taking.unnamed = l.last+uint64(n), false
		l.queue, l.size = l.queue[n:], l.size-size
		if err := l.room.crash.at(atWritten); err != nil {
			return err
		}
	}
	l.queue = nil
	return nil
}

func (l *line) headRecord() (*kgo.Record, error) {
	value, err := l.head.encode()
	if err != nil {
		return nil, err
	}
	return l.place.Head(value), nil
}

// append writes records, of which the first are so many outputs, the next ones after the last. It waits for a log that is away. Where the end of a
// transaction was not heard, a new writer sees from the topic whether it holds them.
func (l *line) append(ctx context.Context, records []*kgo.Record, outputs int) error {
	faults := outage.New(50*time.Millisecond, 5*time.Second)
	for {
		err := l.writer.Append(ctx, anew(records))
		switch {
		case err == nil:
			return nil
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case errors.Is(err, eventlog.ErrFenced):
			return err
		}
		l.log.Warn("could not write", "error", err)
		if !outage.Pause(ctx, faults.Next()) {
			return context.Cause(ctx)
		}
		if !errors.Is(err, eventlog.ErrReopen) {
			continue // nothing of it is in the log
		}
		done, err := l.reopen(ctx, records, outputs)
		if err != nil || done {
			return err
		}
	}
}

// anew makes records that no try has touched: a client keeps its ctx in them, which has ended.
func anew(records []*kgo.Record) []*kgo.Record {
	out := make([]*kgo.Record, len(records))
	for i, r := range records {
		out[i] = &kgo.Record{Topic: r.Topic, Partition: r.Partition, Key: r.Key, Value: r.Value, Headers: r.Headers}
	}
	return out
}

// reopen opens the writer anew, and says whether the records are in the log.
func (l *line) reopen(ctx context.Context, records []*kgo.Record, outputs int) (done bool, err error) {
	l.room.m.reopened.Inc()
	l.writer.Close()
	writer, err := eventlog.OpenWriter(ctx, l.room.log, l.id())
	if err != nil {
		return false, err
	}
	l.writer = writer
	before, err := l.before(ctx, func(found []*kgo.Record) bool { return len(found) > 0 })
	if err != nil {
		return false, err
	}
	n := uint64(0)
	if len(before) > 0 {
		if n, _, err = l.kind.number(before[len(before)-1]); err != nil {
			return false, fmt.Errorf("%s: %w", l.out, err)
		}
	}
	switch {
	case n == l.last:
		return false, nil
	case outputs > 0 && n == l.last+uint64(outputs) && sumOf(before[len(before)-1]) == sumOf(records[outputs-1]):
		return true, nil
	}
	return false, fmt.Errorf("%w: the last of %s is %d, here it was %d", errOvertaken, l.out, n, l.last)
}
