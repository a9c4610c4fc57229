package follow

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"muster.dev/platform/eventlog"
	"muster.dev/platform/outage"
	"muster.dev/platform/snapshot"
	"muster.dev/proto/record"
)

// The stages of the detector.
const (
	stageShard = "shard"
	stageJudge = "judge"
)

// errCrashed is a line that died where a test told it to.
var errCrashed = errors.New("crashed")

// Room runs the lines of this process. Run does the work; New only prepares it.
type Room struct {
	cfg    Config
	log    eventlog.Config
	logger *slog.Logger
	kinds  map[string]*kind // by the topic that is assigned
	m      *metrics
	crash  *crash
	pins   pins
	takes  chan struct{} // one for each snapshot that may be under way

	fetchBytes int32 // set before the first line

	mu     sync.Mutex // over the rest
	lines  map[Place]*running
	joined bool
}

// running is a line that was started.
type running struct {
	*line
	stop context.CancelFunc
	done chan struct{}
}

const (
	revokeSessions = 2 // how long a rebalance waits for a line to write what it has said, in session timeouts
	heartbeats     = 12
	leaveTimeout   = 5 * time.Second
	takesAtOnce    = 2
	// bytesAtOnce is what all lines together may fetch at once, and a line at least and at most. They are bytes as the log has
	// them: unpacked, and with what a client keeps of each record, they are twenty times as many where devices say little.
	bytesAtOnce           = 8 << 20
	leastFetch, mostFetch = 128 << 10, 512 << 10
)

func newRoom(cfg Config, log eventlog.Config, logger *slog.Logger, reg prometheus.Registerer, kinds map[string]*kind) (*Room, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	armed, err := parseCrash(cfg.CrashAt)
	if err != nil {
		return nil, err
	}
	r := &Room{cfg: cfg, log: log, logger: logger, kinds: kinds, crash: armed, takes: make(chan struct{}, takesAtOnce), lines: map[Place]*running{}}
	r.m, err = newMetrics(reg, r)
	return r, err
}

func (r *Room) detector(k *kind) string {
	if r.cfg.Epoch == "" {
		return k.detector
	}
	return k.detector + "+" + r.cfg.Epoch
}

// mayTake says whether a snapshot may begin now: each is held in memory while it is written.
func (r *Room) mayTake() bool {
	select {
	case r.takes <- struct{}{}:
		return true
	default:
		return false
	}
}

func (r *Room) taken() { <-r.takes }

// Run owns what the group gives it until ctx ends, and returns nil then. It may be called once.
func (r *Room) Run(ctx context.Context) error {
	partitions, err := r.await(ctx)
	if err != nil {
		return nil // the end of ctx: the topics were not there yet
	}
	r.fetchBytes = max(leastFetch, min(mostFetch, bytesAtOnce/partitions[record.TopicTelemetry]))
	var beside sync.WaitGroup
	defer beside.Wait()
	watch, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	beside.Go(func() { r.pins.follow(watch, r.log, r.logger) })
	return r.member(ctx, partitions)
}

// await waits until all topics are there; the registry makes them. It gives how many partitions each has.
func (r *Room) await(ctx context.Context) (map[string]int32, error) {
	want := []string{record.TopicTelemetry, record.TopicEvents, record.TopicRegistry, record.TopicCohorts, record.TopicIncidents, record.TopicSnapshots}
	waits := outage.New(100*time.Millisecond, 5*time.Second)
	for said := ""; ; {
		found, err := r.ask(ctx, want)
		if err == nil {
			return found, nil
		}
		if ctx.Err() == nil && err.Error() != said { // what it waits for may change
			said = err.Error()
			r.logger.Info("waiting for the topics", "missing", said)
		}
		if !outage.Pause(ctx, waits.Next()) {
			return nil, context.Cause(ctx)
		}
	}
}

func (r *Room) ask(ctx context.Context, want []string) (map[string]int32, error) {
	cl, err := kgo.NewClient(r.log.Options()...)
	if err != nil {
		return nil, fmt.Errorf("kafka client: %w", err)
	}
	defer cl.Close()
	topics, err := kadm.NewClient(cl).ListTopics(ctx, want...)
	if err != nil {
		return nil, fmt.Errorf("list the topics: %w", err)
	}
	out := map[string]int32{}
	for _, name := range want {
		t, ok := topics[name]
		if !ok || t.Err != nil || len(t.Partitions) == 0 {
			return nil, fmt.Errorf("%s: %w", name, errors.Join(t.Err, kerr.UnknownTopicOrPartition))
		}
		out[name] = int32(len(t.Partitions))
	}
	if a, b, c := out[record.TopicTelemetry], out[record.TopicEvents], out[record.TopicCohorts]; a != b || a != c {
		return nil, fmt.Errorf("%s has %d partitions, %s %d, %s %d: want the same number", record.TopicTelemetry, a, record.TopicEvents, b, record.TopicCohorts, c)
	}
	return out, nil
}

// member is in the group, which says what is to be run here. It reads nothing through the group's client.
func (r *Room) member(ctx context.Context, partitions map[string]int32) error {
	var topics []string
	for topic := range r.kinds {
		topics = append(topics, topic)
	}
	slices.Sort(topics)
	// The client outlives ctx: lines end their transactions, and the group is left.
	clientCtx, closeClient := context.WithCancel(context.Background())
	defer closeClient()
	start := func(_ context.Context, _ *kgo.Client, given map[string][]int32) {
		r.start(clientCtx, given, partitions)
	}
	cl, err := kgo.NewClient(append(r.log.Options(),
		kgo.WithContext(clientCtx),
		kgo.ConsumerGroup(r.cfg.Group),
		kgo.ConsumeTopics(topics...),
		kgo.Balancers(kgo.CooperativeStickyBalancer()),
		kgo.SessionTimeout(r.cfg.SessionTimeout),
		kgo.HeartbeatInterval(r.cfg.SessionTimeout/heartbeats),
		kgo.RebalanceTimeout((revokeSessions+1)*r.cfg.SessionTimeout),
		kgo.DisableAutoCommit(),
		kgo.ConsumeStartOffset(kgo.NewOffset().AtEnd()),
		kgo.OnPartitionsAssigned(start),
		kgo.OnPartitionsRevoked(func(_ context.Context, _ *kgo.Client, parts map[string][]int32) { r.release(r.take(parts), true) }),
		kgo.OnPartitionsLost(func(_ context.Context, _ *kgo.Client, parts map[string][]int32) { r.release(r.take(parts), false) }),
	)...)
	if err != nil {
		return fmt.Errorf("kafka client: %w", err)
	}
	defer func() {
		all := r.take(nil)
		r.release(all, true)
		leaving, cancel := context.WithTimeout(clientCtx, leaveTimeout)
		_ = cl.LeaveGroupContext(leaving) // else the group finds out by the session timeout
		cancel()
		closeClient()
		cl.CloseAllowingRebalance()
		all = append(all, r.take(nil)...) // what was given while we left
		r.release(all, true)
		for _, l := range all {
			<-l.done
		}
	}()
	for {
		fetches := cl.PollFetches(ctx) // nothing but what goes wrong
		if ctx.Err() != nil || fetches.IsClientClosed() {
			return nil
		}
		fetches.EachError(func(topic string, part int32, err error) {
			r.logger.Warn("the group's client", "topic", topic, "partition", part, "error", err)
		})
	}
}

// start starts the lines of what was given.
func (r *Room) start(ctx context.Context, given map[string][]int32, partitions map[string]int32) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.joined = true
	for topic, parts := range given {
		k := r.kinds[topic]
		for _, part := range parts {
			at := Place{topic, part}
			if k == nil || k.stage == stageJudge && part != 0 {
				continue
			}
			former := r.lines[at]
			l := r.newLine(k, part, partitions)
			lineCtx, stop := context.WithCancel(ctx)
			run := &running{line: l, stop: stop, done: make(chan struct{})}
			r.lines[at] = run
			go func() {
				defer close(run.done)
				defer stop()
				if former != nil { // it is told to stop, and holds the same writer's name
					former.stop()
					<-former.done
				}
				l.run(lineCtx)
			}()
		}
	}
}

func (r *Room) newLine(k *kind, part int32, partitions map[string]int32) *line {
	parts := partitions[record.TopicTelemetry]
	name := fmt.Sprintf("%s %d", k.stage, part)
	out := Place{k.topic, part}
	return &line{
		room: r, kind: k, part: part, parts: parts, name: name, out: out, inputs: k.inputs(part, parts), standing: newStanding(),
		place: snapshot.At(k.prefix(part), partitions[record.TopicSnapshots]), log: r.logger.With("line", name),
	}
}

// take takes lines out of the room's hands; nil takes all of them.
func (r *Room) take(parts map[string][]int32) (out []*running) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for at, l := range r.lines {
		if parts == nil || slices.Contains(parts[at.Topic], at.Part) {
			out = append(out, l)
		}
	}
	return out
}

// release stops lines. With grace they may end the transaction that is under way; without it they are fenced anyway as soon
// as another owner opens.
func (r *Room) release(lines []*running, grace bool) {
	for _, l := range lines {
		l.stop()
	}
	limit := time.NewTimer(revokeSessions * r.cfg.SessionTimeout)
	defer limit.Stop()
	for _, l := range lines {
		if !grace {
			break
		}
		select {
		case <-l.done:
			continue
		case <-limit.C:
		}
		break
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for at, l := range r.lines {
		select {
		case <-l.done:
			delete(r.lines, at)
		default: // it goes when the next one of its place has waited for it, or at the end
		}
	}
}

// Ready says whether the room does its work: it is in the group, and what it was given has caught up and does not stand
// still. One that was given nothing stands by.
func (r *Room) Ready() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.joined {
		return errors.New("not in the group yet")
	}
	var still, other []string
	for _, l := range r.lines {
		if err := l.standing.check(l.name); err == nil {
			continue
		} else if _, _, parked := l.standing.numbers(); parked {
			still = append(still, err.Error())
		} else {
			other = append(other, err.Error())
		}
	}
	return unready(still, other)
}

// unready puts into one line what keeps lines from being ready: those that stand still by themselves lead, and of many some
// are named.
func unready(still, other []string) error {
	slices.Sort(still)
	slices.Sort(other)
	all := slices.Concat(still, other)
	const most = 4
	if len(all) == 0 {
		return nil
	}
	text := strings.Join(all[:min(len(all), most)], "; ")
	if more := len(all) - most; more > 0 {
		text += fmt.Sprintf("; and %d more are not ready", more)
	}
	return errors.New(text)
}
