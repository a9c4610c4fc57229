package sink

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"muster.dev/proto/record"
	"muster.dev/services/ingest/sink/plan"
)

// Timings of the group, in session timeouts. A worker that loses its partition has revokeSessions to finish the plan that
// it is sending, and a member is to be back one session after that at the latest: a rebalance waits no longer for one that
// lives and does not come. Heartbeats are many because one brings the news that the group rebalances.
const (
	rebalanceSessions = 3
	revokeSessions    = 2
	heartbeats        = 12 // in one session timeout
)

const (
	adminTimeout = 10 * time.Second
	leaveTimeout = 5 * time.Second
)

// What is fetched ahead. The client's own buffer is outside the budget, so it is kept small beside it.
const (
	pollRecords    = 4096
	fetchBytes     = 16 << 20
	partitionBytes = 4 << 20
)

// place is one partition of one topic.
type place struct {
	topic string
	part  int32
}

func (p place) String() string { return fmt.Sprintf("%s/%d", p.topic, p.part) }

// session is the life of one client in the group. It ends with an error when the client can no longer be trusted,
// as when a topic was created anew; Sink then begins another.
type session struct {
	sink *Sink
	cl   *kgo.Client
	adm  *kadm.Client
	kick chan struct{} // the valve is to look again
	fail context.CancelCauseFunc

	mu      sync.Mutex // over the fields below
	workers map[place]*worker
	found   map[place]commitFound // what the last offset fetch brought
}

// commitFound is a committed offset as the group gave it.
type commitFound struct {
	offset   int64 // -1: none
	metadata string
}

// errTopicChanged ends a session: the client holds on to a topic's old id.
var errTopicChanged = errors.New("a topic was deleted and created again")

// follow joins the group and stores what comes until ctx ends, or the session has to be begun anew.
func (s *Sink) follow(ctx context.Context) error {
	ctx, fail := context.WithCancelCause(ctx)
	defer fail(nil)
	ses := &session{sink: s, fail: fail, kick: make(chan struct{}, 1), workers: map[place]*worker{}, found: map[place]commitFound{}}
	clientCtx, closeClient := context.WithCancel(context.Background())
	defer closeClient()
	opts := append(s.cfg.Log.Options(),
		kgo.WithContext(clientCtx),
		kgo.ConsumerGroup(s.cfg.Group),
		kgo.ConsumeTopics(record.TopicTelemetry, record.TopicEvents),
		kgo.Balancers(kgo.CooperativeStickyBalancer()),
		kgo.SessionTimeout(s.cfg.SessionTimeout),
		kgo.HeartbeatInterval(s.cfg.SessionTimeout/heartbeats),
		kgo.RebalanceTimeout(rebalanceSessions*s.cfg.SessionTimeout),
		kgo.FetchIsolationLevel(kgo.ReadCommitted()),
		// Every other commit path would put the member's id where the plan stands.
		kgo.DisableAutoCommit(),
		kgo.BlockRebalanceOnPoll(),
		// A partition without a commit begins at its start; one whose commit the log no longer holds fails, and
		// is reported with the range that is gone.
		kgo.ConsumeStartOffset(kgo.NewOffset().AtStart()),
		kgo.ConsumeResetOffset(kgo.NoResetOffset()),
		kgo.FetchMaxBytes(fetchBytes),
		kgo.FetchMaxPartitionBytes(partitionBytes),
		kgo.FetchMaxWait(500*time.Millisecond),
		kgo.OnPartitionsRevoked(ses.revoked),
		kgo.OnPartitionsLost(ses.lost),
		kgo.OnOffsetsFetched(ses.fetched),
		kgo.AdjustFetchOffsetsFn(ses.assign),
	)
	if err := ses.open(opts...); err != nil {
		return err
	}

	valve := make(chan struct{})
	valveCtx, stopValve := context.WithCancel(ctx)
	go func() {
		defer close(valve)
		ses.valve(valveCtx)
	}()
	defer func() {
		// The order: workers finish what they are sending and commit it, while the client still is a member;
		// then the client leaves, and the group moves the partitions on.
		ses.cl.AllowRebalance()
		ses.release(ses.all(), true)
		leaving, cancel := context.WithTimeout(clientCtx, leaveTimeout)
		_ = ses.cl.LeaveGroupContext(leaving) // else the group finds out by the session timeout
		cancel()
		// A join that waits for other members ends with the client's own ctx alone, and close waits for it.
		closeClient()
		ses.cl.CloseAllowingRebalance()
		// To close is to poll once more. Where that brings something, it counts as a poll that goes on, and the
		// goroutine that leaves the group, if it comes later, would wait for its end for ever.
		ses.cl.AllowRebalance()
		stopValve()
		<-valve
	}()
	for {
		fetches := ses.cl.PollRecords(ctx, pollRecords)
		if ctx.Err() != nil || fetches.IsClientClosed() {
			return context.Cause(ctx)
		}
		err := ses.dispatch(fetches)
		ses.cl.AllowRebalance()
		if err != nil {
			return err
		}
	}
}

// open makes the session's client.
func (ses *session) open(opts ...kgo.Opt) error {
	if _, err := kgo.NewClient(append(opts, kgo.WithHooks(ses))...); err != nil {
		return fmt.Errorf("kafka client: %w", err)
	}
	return nil
}

// OnNewClient gives the session its client before that begins to work: it may join the group and hand partitions out
// while NewClient has not returned.
func (ses *session) OnNewClient(cl *kgo.Client) {
	ses.cl, ses.adm = cl, kadm.NewClient(cl)
}

// dispatch hands what was polled to the workers. It never waits for one.
func (ses *session) dispatch(fetches kgo.Fetches) error {
	ses.mu.Lock()
	defer ses.mu.Unlock()
	var failed error
	for i := range fetches {
		for j := range fetches[i].Topics {
			t := &fetches[i].Topics[j]
			for k := range t.Partitions {
				p := &t.Partitions[k]
				w := ses.workers[place{t.Topic, p.Partition}]
				switch {
				case p.Err != nil:
					if err := ses.fetchFailed(w, t.Topic, p); err != nil {
						failed = err
					}
				case w == nil || len(p.Records) == 0:
				case t.TopicID != [16]byte{} && plan.TopicID(t.TopicID) != w.id:
					failed = fmt.Errorf("%s: %w", w.place, errTopicChanged)
				default:
					w.push(p.Records)
				}
			}
		}
	}
	ses.look()
	return failed
}

// fetchFailed sorts a partition's fetch error: the client retries most by itself and reports only what it cannot.
func (ses *session) fetchFailed(w *worker, topic string, p *kgo.FetchPartition) error {
	switch {
	case errors.Is(p.Err, context.Canceled), errors.Is(p.Err, context.DeadlineExceeded), errors.Is(p.Err, kgo.ErrClientClosed):
		return nil
	case errors.Is(p.Err, kerr.UnknownTopicID), errors.Is(p.Err, kerr.InconsistentTopicID):
		return fmt.Errorf("%s: %w: %w", topic, errTopicChanged, p.Err)
	case errors.Is(p.Err, kerr.OffsetOutOfRange) && w != nil:
		w.outOfRange()
		return nil
	}
	var lost *kgo.ErrDataLoss
	if errors.As(p.Err, &lost) && w != nil {
		w.outOfRange()
		return nil
	}
	return fmt.Errorf("fetch %s/%d: %w", topic, p.Partition, p.Err)
}

// fetched keeps the commits with their metadata, which the client itself drops. It runs before assign.
func (ses *session) fetched(_ context.Context, _ *kgo.Client, resp *kmsg.OffsetFetchResponse) error {
	ses.mu.Lock()
	defer ses.mu.Unlock()
	clear(ses.found)
	for _, g := range resp.Groups {
		for _, t := range g.Topics {
			for _, p := range t.Partitions {
				f := commitFound{offset: p.Offset}
				if p.Metadata != nil {
					f.metadata = *p.Metadata
				}
				ses.found[place{t.Topic, p.Partition}] = f
			}
		}
	}
	return nil
}

// assign starts a worker for each partition that came, and says where to fetch from. It asks the brokers what the
// topic is and where its log begins and ends today, since a commit may be of a topic or of records that are gone.
func (ses *session) assign(ctx context.Context, offsets map[string]map[int32]kgo.Offset) (map[string]map[int32]kgo.Offset, error) {
	if len(offsets) == 0 {
		return offsets, nil
	}
	ctx, cancel := context.WithTimeout(ctx, adminTimeout)
	defer cancel()
	names := make([]string, 0, len(offsets))
	for t := range offsets {
		names = append(names, t)
	}
	topics, err := ses.adm.ListTopics(ctx, names...)
	if err != nil {
		return nil, fmt.Errorf("topic ids: %w", err)
	}
	starts, err := ses.adm.ListStartOffsets(ctx, names...)
	if err != nil {
		return nil, fmt.Errorf("where the log begins: %w", err)
	}
	ends, err := ses.adm.ListEndOffsets(ctx, names...)
	if err != nil {
		return nil, fmt.Errorf("where the log ends: %w", err)
	}
	ses.mu.Lock()
	defer ses.mu.Unlock()
	for t, parts := range offsets {
		detail, ok := topics[t]
		if !ok || detail.Err != nil || detail.ID == (kadm.TopicID{}) {
			return nil, fmt.Errorf("topic %s: no id: %w", t, detail.Err)
		}
		for p := range parts {
			at := place{t, p}
			start, okStart := starts.Lookup(t, p)
			end, okEnd := ends.Lookup(t, p)
			if !okStart || !okEnd || start.Err != nil || end.Err != nil {
				return nil, fmt.Errorf("bounds of %s: %w", at, errors.Join(start.Err, end.Err))
			}
			if old := ses.workers[at]; old != nil {
				// A session that ended between this callback and the fetch: no record has come since.
				old.abandon()
			}
			found, ok := ses.found[at]
			if !ok {
				found.offset = -1
			}
			b := ses.sink.begin(at, plan.TopicID(detail.ID), found, bounds{start.Offset, end.Offset})
			w := newWorker(ses, at, plan.TopicID(detail.ID), b)
			ses.workers[at] = w
			parts[p] = kgo.NewOffset().At(b.fetch)
			w.start()
		}
	}
	return offsets, nil
}

// revoked gives partitions back in order: their workers finish the plan that they are sending, in time.
func (ses *session) revoked(_ context.Context, _ *kgo.Client, parts map[string][]int32) {
	ses.release(ses.take(parts), true)
}

// lost drops partitions that another member may own already: nothing is committed any more.
func (ses *session) lost(_ context.Context, _ *kgo.Client, parts map[string][]int32) {
	ses.release(ses.take(parts), false)
}

func (ses *session) take(parts map[string][]int32) (ws []*worker) {
	ses.mu.Lock()
	defer ses.mu.Unlock()
	for t, ps := range parts {
		for _, p := range ps {
			if w := ses.workers[place{t, p}]; w != nil {
				delete(ses.workers, w.place)
				ws = append(ws, w)
			}
		}
	}
	return ws
}

// all are the session's workers. They stay in its hands: while they finish, the client is a member still, and the group
// may take a partition away. The callback then has to find its worker, for it is what keeps that from committing.
func (ses *session) all() []*worker {
	ses.mu.Lock()
	defer ses.mu.Unlock()
	return slices.Collect(maps.Values(ses.workers))
}

// release stops workers. With grace they may finish and commit the plan they are sending; what is not done in time
// is abandoned with the plan left in the commit, where the next owner finds it.
func (ses *session) release(ws []*worker, grace bool) {
	if grace {
		for _, w := range ws {
			w.finish()
		}
		limit := time.NewTimer(revokeSessions * ses.sink.cfg.SessionTimeout)
		defer limit.Stop()
		for _, w := range ws {
			select {
			case <-w.done:
				continue
			case <-limit.C:
			}
			break
		}
	}
	for _, w := range ws {
		w.abandon()
	}
	ses.look()
}

// look asks the valve to look again.
func (ses *session) look() {
	select {
	case ses.kick <- struct{}{}:
	default:
	}
}

// valve is the one place that pauses and resumes partitions. A paused partition is not fetched; the member goes on
// polling and beating, so that a store that is gone for an hour costs no rebalance.
func (ses *session) valve(ctx context.Context) {
	for {
		select {
		case <-ses.kick:
		case <-ctx.Done():
			return
		}
		pause, resume := map[string][]int32{}, map[string][]int32{}
		ses.mu.Lock()
		for at, w := range ses.workers {
			if shut := w.wantsShut(); shut != w.shut {
				w.shut = shut
				if shut {
					pause[at.topic] = append(pause[at.topic], at.part)
				} else {
					resume[at.topic] = append(resume[at.topic], at.part)
				}
			}
		}
		if len(pause) > 0 {
			ses.cl.PauseFetchPartitions(pause)
		}
		if len(resume) > 0 {
			ses.cl.ResumeFetchPartitions(resume)
		}
		ses.mu.Unlock()
	}
}
