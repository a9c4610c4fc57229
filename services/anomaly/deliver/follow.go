package deliver

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"muster.dev/proto/event"
	"muster.dev/proto/record"
)

// heartbeats is how many there are in a session timeout.
const heartbeats = 6

const (
	adminTimeout = 10 * time.Second
	leaveTimeout = 2 * time.Second
)

// following is the life of one client in a route's group.
type following struct {
	*route
	cl  *kgo.Client
	adm *kadm.Client

	mu    sync.Mutex // over the fields below
	found string     // metadata of the commit that the last offset fetch brought
	turn  *turn      // nil while the log of incidents is not this member's
}

// follow joins the group and delivers while the log is ours, until ctx ends or the client has to be made anew.
func (r *route) follow(ctx context.Context, landed func()) error {
	f := &following{route: r}
	// The client outlives ctx: it commits what was delivered, and leaves the group.
	clientCtx, closeClient := context.WithCancel(context.Background())
	defer closeClient()
	_, err := kgo.NewClient(append(r.log.Options(),
		kgo.WithContext(clientCtx),
		kgo.WithHooks(f),
		kgo.ConsumerGroup(GroupPrefix+r.name),
		kgo.ConsumeTopics(record.TopicIncidents),
		kgo.Balancers(kgo.CooperativeStickyBalancer()),
		kgo.SessionTimeout(r.session),
		kgo.HeartbeatInterval(r.session/heartbeats),
		kgo.RebalanceTimeout(3*r.session),
		kgo.FetchIsolationLevel(kgo.ReadCommitted()),
		kgo.FetchMaxBytes(4<<20),
		// The end of a transaction takes an offset too; without it the end would never be reached.
		kgo.KeepControlRecords(),
		kgo.DisableAutoCommit(),
		kgo.ConsumeStartOffset(kgo.NewOffset().AtStart()),
		kgo.ConsumeResetOffset(kgo.NoResetOffset()),
		kgo.OnPartitionsRevoked(f.over),
		kgo.OnPartitionsLost(f.over),
		kgo.OnOffsetsFetched(f.fetched),
		kgo.AdjustFetchOffsetsFn(f.assign),
	)...)
	if err != nil {
		return fmt.Errorf("kafka client: %w", err)
	}
	defer func() {
		// What is under way is broken off: it is sent again, under the same key. Then the client leaves, and the group moves on.
		f.end()
		leaving, cancel := context.WithTimeout(clientCtx, leaveTimeout)
		_ = f.cl.LeaveGroupContext(leaving) // else the group finds out by the session timeout
		cancel()
		closeClient()
		f.cl.CloseAllowingRebalance()
		f.end() // what was assigned while it left
	}()
	for {
		fetches := f.cl.PollFetches(ctx)
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err := fetches.Err(); err != nil && !errors.Is(err, context.DeadlineExceeded) {
			return fmt.Errorf("read the log of incidents: %w", err)
		}
		f.take(fetches)
		landed()
	}
}

// OnNewClient gives the session its client before that begins to work: it may join the group while NewClient has not returned.
func (f *following) OnNewClient(cl *kgo.Client) { f.cl, f.adm = cl, kadm.NewClient(cl) }

// fetched keeps the commit's metadata, which the client itself drops. It runs before assign.
func (f *following) fetched(_ context.Context, _ *kgo.Client, resp *kmsg.OffsetFetchResponse) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.found = ""
	for _, g := range resp.Groups {
		for _, t := range g.Topics {
			for _, p := range t.Partitions {
				if t.Topic == record.TopicIncidents && p.Partition == 0 && p.Metadata != nil {
					f.found = *p.Metadata
				}
			}
		}
	}
	return nil
}

// assign begins a turn, and says where it has to read from.
func (f *following) assign(ctx context.Context, offsets map[string]map[int32]kgo.Offset) (map[string]map[int32]kgo.Offset, error) {
	parts := offsets[record.TopicIncidents]
	if _, ours := parts[0]; !ours {
		return offsets, nil
	}
	ctx, cancel := context.WithTimeout(ctx, adminTimeout)
	defer cancel()
	starts, err := f.adm.ListStartOffsets(ctx, record.TopicIncidents)
	if err != nil {
		return nil, fmt.Errorf("where the log of incidents begins: %w", err)
	}
	ends, err := f.adm.ListCommittedOffsets(ctx, record.TopicIncidents)
	if err != nil {
		return nil, fmt.Errorf("where the log of incidents ends: %w", err)
	}
	start, _ := starts.Lookup(record.TopicIncidents, 0)
	end, ok := ends.Lookup(record.TopicIncidents, 0)
	if !ok {
		end.Err = kerr.UnknownTopicOrPartition
	}
	if err := errors.Join(start.Err, end.Err); err != nil {
		return nil, fmt.Errorf("bounds of the log of incidents: %w", err)
	}
	commit := parts[0].EpochOffset().Offset // -1 or below: there is none
	f.end()
	f.mu.Lock()
	defer f.mu.Unlock()
	place := parsePlace(commit, f.found)
	if place.commit > end.Offset {
		f.logger.Warn("the log of incidents is another one than the route was told of; it begins at its start", "commit", place.commit, "end", end.Offset)
		place = restored{}
	}
	place.low = max(place.low, start.Offset)
	place.commit = max(place.commit, start.Offset)
	member, _ := f.cl.GroupMetadata()
	f.turn = newTurn(f, member, place, end.Offset)
	parts[0] = kgo.NewOffset().At(place.low)
	return offsets, nil
}

// over ends the turn: another member may own the log already. It is called when nothing is given back, too.
func (f *following) over(_ context.Context, _ *kgo.Client, parts map[string][]int32) {
	if len(parts[record.TopicIncidents]) > 0 {
		f.end()
	}
}

func (f *following) end() {
	f.mu.Lock()
	t := f.turn
	f.turn = nil
	f.mu.Unlock()
	if t != nil {
		t.end()
	}
}

// take hands what was read to the turn.
func (f *following) take(fetches kgo.Fetches) {
	f.mu.Lock()
	t := f.turn
	f.mu.Unlock()
	if t == nil {
		return
	}
	for iter := fetches.RecordIter(); !iter.Done(); {
		t.read(iter.Next())
	}
	t.look()
}

// decode gives an incident, or what else a record is.
func decode(rec *kgo.Record) (i event.Incident, is bool, err error) {
	if rec.Attrs.IsControl() {
		return i, false, nil
	}
	headers := make([]event.Header, 0, len(rec.Headers))
	for _, h := range rec.Headers {
		headers = append(headers, event.Header{Key: h.Key, Value: h.Value})
	}
	if event.TypeOf(headers) == event.TypeVerdict {
		return i, false, nil
	}
	i, err = event.DecodeIncident(headers, rec.Value)
	return i, err == nil, err
}

// commit writes a place into the group, as the member that it was given to or not at all: the broker checks the member, and the client
// commits as whoever it is by now.
func (f *following) commit(ctx context.Context, member string, p restored) error {
	ctx, cancel := context.WithTimeout(ctx, adminTimeout)
	defer cancel()
	metadata := p.metadata()
	ctx = kgo.PreCommitFnContext(ctx, func(req *kmsg.OffsetCommitRequest) error {
		if req.MemberID != member {
			return fmt.Errorf("the log was given to %s, which is %s by now: %w", member, req.MemberID, kerr.UnknownMemberID)
		}
		for i := range req.Topics {
			for j := range req.Topics[i].Partitions {
				req.Topics[i].Partitions[j].Metadata = &metadata
			}
		}
		return nil
	})
	failed := errors.New("the group did not answer")
	f.cl.CommitOffsetsSync(ctx, map[string]map[int32]kgo.EpochOffset{record.TopicIncidents: {0: {Epoch: -1, Offset: p.commit}}},
		func(_ *kgo.Client, _ *kmsg.OffsetCommitRequest, resp *kmsg.OffsetCommitResponse, err error) {
			if failed = err; err != nil {
				return
			}
			for _, t := range resp.Topics {
				for _, part := range t.Partitions {
					failed = errors.Join(failed, kerr.ErrorForCode(part.ErrorCode))
				}
			}
		})
	if failed != nil {
		return fmt.Errorf("commit: %w", failed)
	}
	return nil
}
