package writer

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"muster.dev/platform/eventlog"
	"muster.dev/platform/principals"
	"muster.dev/proto/record"
)

// lease says who has the writer's place and that it lives. It is the commit of a group that has no members: small, kept
// by the broker, overwritten in place. It decides only who tries to take the place and when; that there is one writer is
// the transactional id's doing, and holds whatever the lease says.
type lease struct {
	name  string // of the process; empty is given up
	place eventlog.Place
	beat  uint64
}

func (l lease) String() string {
	return strings.Join([]string{l.name, strconv.FormatInt(l.place.ID, 10), strconv.Itoa(int(l.place.Epoch)), strconv.FormatUint(l.beat, 10)}, " ")
}

func parseLease(text string) (lease, bool) {
	parts := strings.Split(text, " ")
	if len(parts) != 4 {
		return lease{}, false
	}
	id, err1 := strconv.ParseInt(parts[1], 10, 64)
	epoch, err2 := strconv.ParseInt(parts[2], 10, 16)
	beat, err3 := strconv.ParseUint(parts[3], 10, 64)
	if err1 != nil || err2 != nil || err3 != nil {
		return lease{}, false
	}
	return lease{parts[0], eventlog.Place{ID: id, Epoch: int16(epoch)}, beat}, true
}

// leaseTimeout bounds one question or answer about it.
const leaseTimeout = 2 * time.Second

type leases struct{ adm *kadm.Client }

func openLeases(cfg eventlog.Config) (leases, *kgo.Client, error) {
	client, err := kgo.NewClient(append(cfg.Options(), kgo.RequestTimeoutOverhead(leaseTimeout), kgo.RetryTimeout(leaseTimeout))...)
	if err != nil {
		return leases{}, nil, fmt.Errorf("kafka client of the writer's lease: %w", err)
	}
	return leases{kadm.NewClient(client)}, client, nil
}

// read gives the lease; one that nobody ever took is given up.
func (l leases) read(ctx context.Context) (lease, error) {
	ctx, cancel := context.WithTimeout(ctx, leaseTimeout)
	defer cancel()
	offsets, err := l.adm.FetchOffsets(ctx, principals.RegistryGroup)
	if errors.Is(err, kerr.GroupIDNotFound) {
		return lease{}, nil
	}
	if err != nil {
		return lease{}, fmt.Errorf("read the writer's lease: %w", err)
	}
	at, ok := offsets.Lookup(record.TopicRegistry, 0)
	if !ok {
		return lease{}, nil
	}
	if at.Err != nil {
		return lease{}, fmt.Errorf("read the writer's lease: %w", at.Err)
	}
	held, _ := parseLease(at.Metadata)
	return held, nil
}

// write takes or renews the lease; offset is how far the log is folded, for people who look at the group.
func (l leases) write(ctx context.Context, held lease, offset int64) error {
	ctx, cancel := context.WithTimeout(ctx, leaseTimeout)
	defer cancel()
	var offsets kadm.Offsets
	offsets.Add(kadm.Offset{Topic: record.TopicRegistry, Partition: 0, At: offset, LeaderEpoch: -1, Metadata: held.String()})
	if err := l.adm.CommitAllOffsets(ctx, principals.RegistryGroup, offsets); err != nil {
		return fmt.Errorf("write the writer's lease: %w", err)
	}
	return nil
}

// end is the end of the log's committed records.
func (l leases) end(ctx context.Context) (int64, error) {
	return endBy(ctx, l.adm.ListCommittedOffsets)
}

// written is the end of all records, of transactions that are under way too.
func (l leases) written(ctx context.Context) (int64, error) {
	return endBy(ctx, l.adm.ListEndOffsets)
}

func endBy(ctx context.Context, list func(context.Context, ...string) (kadm.ListedOffsets, error)) (int64, error) {
	ctx, cancel := context.WithTimeout(ctx, leaseTimeout)
	defer cancel()
	ends, err := list(ctx, record.TopicRegistry)
	if err == nil {
		err = ends.Error()
	}
	if err != nil {
		return 0, fmt.Errorf("ask for the end of the registry's log: %w", err)
	}
	end, ok := ends.Lookup(record.TopicRegistry, 0)
	if !ok {
		return 0, errors.New("ask for the end of the registry's log: there is no partition")
	}
	return end.Offset, nil
}
