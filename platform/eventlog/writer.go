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
	// The Writer is of no more use; open another and read the log to see.
	ErrUnknown = errors.New("outcome unknown")
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
		kgo.RecordDeliveryTimeout(transactionTimeout),
		kgo.UnknownTopicRetries(-1),
	)...)
	if err != nil {
		return nil, fmt.Errorf("kafka writer %s: %w", transactionalID, err)
	}
	// kgo would ask for the producer id with the first record; fencing must have happened before we read the end.
	if _, _, err := client.ProducerID(ctx); err != nil {
		client.Close()
		return nil, fmt.Errorf("take over as writer %s: %w", transactionalID, err)
	}
	return &Writer{client: client}, nil
}

// Append writes the records, all or none, in order, and fills in their partitions and offsets. A record without a
// key goes to its Partition. On an error without ErrFenced and ErrUnknown none is in the log and Append may be
// called again. ctx bounds the wait before the end of the transaction is asked for, not the end itself.
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
		return w.failed("begin", err)
	}
	produceErr := w.client.ProduceSync(ctx, records...).FirstErr()
	// The end is asked for whatever became of ctx: an open transaction holds up every reader.
	end, cancel := context.WithTimeout(context.WithoutCancel(ctx), endTimeout)
	defer cancel()
	if produceErr == nil {
		if err := w.client.EndTransaction(end, kgo.TryCommit); err != nil {
			if isFenced(err) {
				return w.failed("commit", err)
			}
			return w.brokenBy(fmt.Errorf("commit: %w: %w", ErrUnknown, err))
		}
		return nil
	}
	err := w.failed("write", produceErr)
	if w.broken != nil {
		return err
	}
	abortErr := w.client.AbortBufferedRecords(end)
	if abortErr == nil {
		abortErr = w.client.EndTransaction(end, kgo.TryAbort)
	}
	if abortErr != nil {
		// Not committed for sure; but this client can not begin another one.
		return w.brokenBy(fmt.Errorf("%w; abort: %w", err, abortErr))
	}
	return err
}

// Close gives the place up without another taking it.
func (w *Writer) Close() { w.client.Close() }

func (w *Writer) failed(doing string, err error) error {
	if isFenced(err) {
		return w.brokenBy(fmt.Errorf("%s: %w: %w", doing, ErrFenced, err))
	}
	return fmt.Errorf("%s: %w", doing, err)
}

func (w *Writer) brokenBy(err error) error {
	w.broken = err
	return err
}

// isFenced holds for every answer by which a broker says that the epoch is an old one. INVALID_PRODUCER_EPOCH also
// follows a transaction that the broker timed out, from which kgo could recover; a single writer that was away so
// long had better read the log again.
func isFenced(err error) bool {
	return errors.Is(err, kerr.ProducerFenced) || errors.Is(err, kerr.InvalidProducerEpoch) || errors.Is(err, kerr.InvalidProducerIDMapping)
}
