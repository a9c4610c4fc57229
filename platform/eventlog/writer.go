package eventlog

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

var (
	// ErrFenced is in the error of a Writer whose place another has taken: nothing of that Append is in the log,
	// nor will anything of a later one be.
	ErrFenced = errors.New("fenced: another writer has taken over")
	// ErrUnknown is in the error of an Append whose end was not heard: the log has all of its records or none.
	// Open another Writer and read the log to see.
	ErrUnknown = errors.New("outcome unknown")
	// ErrReopen is in every error after which the Writer takes no more; with neither of the others, nothing of
	// that Append is in the log.
	ErrReopen = errors.New("the writer must be opened again")
)

const (
	// A writer that dies in the middle of an Append holds up read-committed readers for as long, unless another
	// opens first.
	transactionTimeout = 10 * time.Second
	endTimeout         = 15 * time.Second
)

// Writer is the only writer of a log: there is at most one per transactional id, the one that was opened last.
type Writer struct {
	client *kgo.Client
	place  Place
	mu     sync.Mutex // one Append at a time; over broken
	broken error
}

// OpenWriter takes the place of whoever writes under the transactional id. When it returns, what the former writer
// had not finished is aborted, and its Appends fail: the log can be read to its end and built upon.
func OpenWriter(ctx context.Context, cfg Config, transactionalID string) (*Writer, error) {
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("kafka: %w", err)
	}
	client, err := kgo.NewClient(append(cfg.Options(),
		kgo.TransactionalID(transactionalID),
		kgo.TransactionTimeout(transactionTimeout),
		kgo.RequiredAcks(kgo.AllISRAcks()),
		kgo.RecordPartitioner(partitioner()),
		kgo.ProducerLinger(0), // one caller, who waits
		kgo.ProducerBatchMaxBytes(MaxRecordBytes),
		kgo.ProduceRequestTimeout(3*time.Second),
		kgo.RequestTimeoutOverhead(3*time.Second),
		kgo.UnknownTopicRetries(-1),
	)...)
	if err != nil {
		return nil, fmt.Errorf("kafka writer %s: %w", transactionalID, err)
	}
	// kgo would ask for the producer id with the first record; fencing must have happened before we read the end.
	id, epoch, err := client.ProducerID(ctx)
	if err != nil {
		client.Close()
		return nil, fmt.Errorf("take over as writer %s: %w", transactionalID, err)
	}
	return &Writer{client: client, place: Place{ID: id, Epoch: epoch}}, nil
}

// Place is what a Writer was given when it was opened, as the log's broker counts: a later writer has a later place.
type Place struct {
	ID    int64
	Epoch int16
}

// Before says whether the other place was given after this one.
func (p Place) Before(other Place) bool {
	return p.ID < other.ID || p.ID == other.ID && p.Epoch < other.Epoch
}

// Place is what the writer was given.
func (w *Writer) Place() Place { return w.place }

// Append writes the records, all or none, in order, and fills in their partitions and offsets. A record without a
// key goes to its Partition. On an error without ErrReopen none is in the log and Append may be called again.
// The end of ctx, and ten seconds, bound the writing; whether it is committed is then still waited for.
func (w *Writer) Append(ctx context.Context, records []*kgo.Record) error {
	if len(records) == 0 {
		return nil
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.broken != nil {
		return w.broken
	}
	if err := w.client.BeginTransaction(); err != nil {
		return w.breakWith("begin", err)
	}
	writing, stop := context.WithTimeout(ctx, transactionTimeout)
	defer stop()
	writeErr := w.write(writing, records)

	// The end is asked for whatever became of ctx: an open transaction holds up every reader.
	ending, cancel := context.WithTimeout(context.WithoutCancel(ctx), endTimeout)
	defer cancel()
	if writeErr == nil {
		err := w.client.EndTransaction(ending, kgo.TryCommit)
		switch {
		case err == nil:
			return nil
		case isFenced(err):
			return w.breakWith("commit", err)
		}
		return w.breakWith("commit", fmt.Errorf("%w: %w", ErrUnknown, err))
	}
	if isFenced(writeErr) || errors.Is(writeErr, errUnanswered) {
		return w.breakWith("write", writeErr)
	}
	err := w.client.AbortBufferedRecords(ending)
	if err == nil {
		err = w.client.EndTransaction(ending, kgo.TryAbort)
	}
	if err != nil {
		return w.breakWith("abort", errors.Join(err, writeErr))
	}
	return fmt.Errorf("write: %w", writeErr)
}

// errUnanswered: kgo keeps what it has sent until the broker answers, so the transaction can not be aborted from
// here. It is never committed either: the broker ends it after transactionTimeout, or when another writer opens.
var errUnanswered = errors.New("the log does not answer")

func (w *Writer) write(ctx context.Context, records []*kgo.Record) error {
	answers := make(chan error, len(records))
	for _, r := range records {
		w.client.Produce(ctx, r, func(_ *kgo.Record, err error) { answers <- err })
	}
	var first error
	for range records {
		select {
		case err := <-answers:
			if first == nil {
				first = err
			}
		case <-ctx.Done():
			// What was not sent fails by the same ctx in a moment; what was sent may never.
			select {
			case err := <-answers:
				if first == nil {
					first = err
				}
			case <-time.After(time.Second):
				return fmt.Errorf("%w: %w", errUnanswered, ctx.Err())
			}
		}
	}
	return first
}

// Close gives the place up without another taking it.
func (w *Writer) Close() { w.client.Close() }

func (w *Writer) breakWith(doing string, err error) error {
	if isFenced(err) {
		err = fmt.Errorf("%w: %w", ErrFenced, err)
	}
	w.broken = fmt.Errorf("%s: %w; %w", doing, err, ErrReopen)
	return w.broken
}

// isFenced holds for every answer by which a broker says that the epoch is an old one. INVALID_PRODUCER_EPOCH also
// follows a transaction that the broker timed out, from which kgo could recover; a single writer that was away so
// long had better read the log again.
func isFenced(err error) bool {
	return errors.Is(err, kerr.ProducerFenced) || errors.Is(err, kerr.InvalidProducerEpoch) || errors.Is(err, kerr.InvalidProducerIDMapping)
}
