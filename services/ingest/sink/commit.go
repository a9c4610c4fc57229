package sink

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/cenkalti/backoff/v4"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"muster.dev/services/ingest/sink/plan"
)

// commitTimeout bounds one try, and so how long a revoke may wait for the lease.
const commitTimeout = 8 * time.Second

// errLost ends a worker whose partition is no longer this member's. Whatever it had in flight is left to the plan.
var errLost = errors.New("the partition is no longer ours")

// commit writes a mark into the group: the one commit path of the sink, since the client's others would erase the
// plan. It returns nil when the group has it, and tries again until then, as a commit that timed out may or may not
// have been taken: writing the same again is harmless while the partition is ours.
//
// The lease orders it against the group's callbacks: once revoked or lost has returned, no commit of this worker is
// under way, nor will there be one. The broker checks the member and the generation, never the partition. The client
// commits as whoever it is by then: where the group did not know it any more it has joined as another, at times before
// it says that partitions were lost. So a worker commits as the member that its partition was given to, or not at all.
func (w *worker) commit(ctx context.Context, m plan.Mark) error {
	metadata, err := m.Encode()
	if err != nil {
		return err
	}
	return w.write(ctx, m.Next, metadata)
}

// unknown is metadata that says nothing of what is stored: whoever reads it asks the ledger.
const unknown = ""

// write is commit with the metadata as it stands.
func (w *worker) write(ctx context.Context, offset int64, metadata string) error {
	try := func() error {
		w.lease.Lock()
		defer w.lease.Unlock()
		if !w.live {
			return backoff.Permanent(errLost)
		}
		began := time.Now()
		err := w.commitOnce(ctx, offset, metadata)
		w.sink.m.commits.WithLabelValues(outcomeOf(err)).Observe(time.Since(began).Seconds())
		switch {
		case err == nil:
			return nil
		case ctx.Err() != nil:
			return backoff.Permanent(fmt.Errorf("%w: %w", errLost, context.Cause(ctx)))
		case isFenced(err):
			return backoff.Permanent(fmt.Errorf("%w: %w", errLost, err))
		}
		return err
	}
	if err := backoff.Retry(try, patient(ctx)); err != nil {
		return fmt.Errorf("commit %s@%d: %w", w.place, offset, err)
	}
	return nil
}

func (w *worker) commitOnce(ctx context.Context, offset int64, metadata string) error {
	ctx, cancel := context.WithTimeout(ctx, commitTimeout)
	defer cancel()
	ctx = kgo.PreCommitFnContext(ctx, func(req *kmsg.OffsetCommitRequest) error {
		if req.MemberID != w.as {
			return fmt.Errorf("%w: it was given to %s, which is %s by now", errLost, w.as, req.MemberID)
		}
		for i := range req.Topics {
			for j := range req.Topics[i].Partitions {
				req.Topics[i].Partitions[j].Metadata = &metadata
			}
		}
		return nil
	})
	var failed error
	w.ses.cl.CommitOffsetsSync(ctx, map[string]map[int32]kgo.EpochOffset{
		w.topic: {w.part: {Epoch: -1, Offset: offset}},
	}, func(_ *kgo.Client, _ *kmsg.OffsetCommitRequest, resp *kmsg.OffsetCommitResponse, err error) {
		if err != nil {
			failed = err
			return
		}
		answered := false
		for _, t := range resp.Topics {
			for _, p := range t.Partitions {
				answered = true
				failed = errors.Join(failed, kerr.ErrorForCode(p.ErrorCode))
			}
		}
		if !answered {
			failed = errors.New("the group did not answer for the partition")
		}
	})
	return failed
}

// isFenced says that the group does not take commits of this member for this partition any more.
func isFenced(err error) bool {
	for _, gone := range []error{errLost, kerr.IllegalGeneration, kerr.UnknownMemberID, kerr.FencedInstanceID, kerr.StaleMemberEpoch, kerr.FencedMemberEpoch, kerr.UnknownTopicID, kerr.UnknownTopicOrPartition, kgo.ErrClientClosed} {
		if errors.Is(err, gone) {
			return true
		}
	}
	return false
}

// patient is the retry of everything a worker does: it never gives up by itself (MaxElapsedTime 0), because nothing
// may be skipped; the ctx ends it when the partition goes or the process stops.
func patient(ctx context.Context) backoff.BackOffContext {
	b := backoff.NewExponentialBackOff()
	b.InitialInterval = 50 * time.Millisecond
	b.MaxInterval = 5 * time.Second
	b.MaxElapsedTime = 0
	b.Reset()
	return backoff.WithContext(b, ctx)
}

func outcomeOf(err error) string {
	if err != nil {
		return "error"
	}
	return "ok"
}
