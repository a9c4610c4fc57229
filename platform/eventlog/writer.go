package eventlog

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
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
// The end of ctx, and ten seconds, bound the writing; whether it is committed is then still waited for. When Append
// returns without an error, whoever asks for the end of what is committed is told one that holds the records.
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
		if err := w.list(ending, records); err != nil {
			return w.breakWith("commit", err)
		}
		err := w.client.EndTransaction(ending, kgo.TryCommit)
		switch {
		case err == nil:
			if err = w.shown(ending, records); err == nil {
				return nil
			}
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

// list waits until the client lists the partitions that were written to. It sends the first records of a topic on their
// way before it does (kgo v1.22, storePartitionsUpdate), and goes by that list at the end of a transaction: a commit
// that comes between the two finds that nothing was written, aborts, and says that all is well.
func (w *Writer) list(ctx context.Context, records []*kgo.Record) error {
	for _, r := range records {
		for pause := time.Millisecond; ; pause = min(2*pause, 50*time.Millisecond) {
			if leader, _, _ := w.client.PartitionLeader(r.Topic, r.Partition); leader >= 0 {
				break
			}
			select {
			case <-time.After(pause):
			case <-ctx.Done():
				return fmt.Errorf("the client does not list partition %d of %s, which it wrote to: %w", r.Partition, r.Topic, context.Cause(ctx))
			}
		}
	}
	return nil
}

// shown waits until the commit stands in every partition that was written to. A broker answers for the end of a
// transaction when its coordinator has decided; that is told to the partitions' leaders after the answer, and until
// then readers of what is committed stand before the records (KIP-98, data flow 5.1 to 5.3). As a rule the first question is
// the last.
func (w *Writer) shown(ctx context.Context, records []*kgo.Record) error {
	after := map[string]map[int32]int64{} // what is yet to be shown, by topic and partition
	for _, r := range records {
		if after[r.Topic] == nil {
			after[r.Topic] = map[int32]int64{}
		}
		after[r.Topic][r.Partition] = max(after[r.Topic][r.Partition], r.Offset+1)
	}
	for pause := time.Millisecond; ; pause = min(2*pause, 50*time.Millisecond) {
		err := w.strike(ctx, after)
		if len(after) == 0 {
			return nil
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return fmt.Errorf("the records are committed, and not shown to readers yet: %w", errors.Join(context.Cause(ctx), err))
		}
	}
}

// strike takes those partitions off the list whose committed end has come so far.
func (w *Writer) strike(ctx context.Context, after map[string]map[int32]int64) error {
	const committed, latest = 1, -1
	ask := kmsg.NewPtrListOffsetsRequest()
	ask.ReplicaID, ask.IsolationLevel = -1, committed
	for topic, partitions := range after {
		of := kmsg.NewListOffsetsRequestTopic()
		of.Topic = topic
		for partition := range partitions {
			one := kmsg.NewListOffsetsRequestTopicPartition()
			one.Partition, one.Timestamp = partition, latest
			of.Partitions = append(of.Partitions, one)
		}
		ask.Topics = append(ask.Topics, of)
	}
	said, err := ask.RequestWith(ctx, w.client) // by the leaders that the client knows of: kadm would ask who they are each time
	if err != nil {
		return err
	}
	for _, of := range said.Topics {
		for _, at := range of.Partitions {
			if end, waits := after[of.Topic][at.Partition]; waits && at.ErrorCode == 0 && at.Offset >= end {
				delete(after[of.Topic], at.Partition)
			}
		}
		if len(after[of.Topic]) == 0 {
			delete(after, of.Topic)
		}
	}
	return nil
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
