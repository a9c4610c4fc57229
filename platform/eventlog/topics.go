package eventlog

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/cenkalti/backoff/v4"
	"github.com/google/uuid"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"muster.dev/proto/record"
)

// ErrPartitions is in the error of EnsureTopics when a topic has another number of partitions than it should: keys
// would move, so the number is fixed when the topic is made.
var ErrPartitions = errors.New("wrong number of partitions")

// TopicID is what a topic is: a topic that was deleted and made again under its name has another one.
type TopicID [16]byte

// String is the form that Kafka's own tools call a UUID.
func (id TopicID) String() string { return uuid.UUID(id).String() }

// Topic is a topic as it should be.
type Topic struct {
	Name        string
	Partitions  int32
	Replication int16 // 0 is the broker's default
	Configs     map[string]*string
	// Where is what only some brokers know: it is set where it is, and nothing is amiss where it is not.
	Where map[string]*string
}

// Retention of what a device said, by age alone: a bound in bytes eats young records too, and what the store has not
// taken yet is nowhere else. The local stack's broker bounds its disk itself, and keeps what is younger than a day.
const (
	telemetryRetention   = 7 * 24 * time.Hour
	eventsRetention      = 30 * 24 * time.Hour
	localEventsRetention = 7 * 24 * time.Hour
	cohortsRetention     = 7 * 24 * time.Hour
)

// anyTime bounds nothing that is meant: the time of a record is its writer's, be it a gateway whose clock is wrong or a
// simulation that is in another year. A broker that refuses it refuses what devices will send again for ever, and brokers
// differ in when they do: Kafka 4 where it is more than an hour ahead. The number stays clear of overflows in nanoseconds.
const anyTime = 100 * 365 * 24 * time.Hour

// Topics is every topic of Muster, each with its retention in words: the embedded broker applies its default to
// all topics as soon as one has any. partitions is that of what is keyed by device; local is for a laptop's disk.
func Topics(partitions int32, local bool) []Topic {
	events := eventsRetention
	if local {
		events = localEventsRetention
	}
	topic := func(name string, partitions int32, age time.Duration, more map[string]string) Topic {
		ms := int64(-1)
		if age > 0 {
			ms = age.Milliseconds()
		}
		configs := map[string]string{
			"cleanup.policy":         "delete",
			"retention.ms":           strconv.FormatInt(ms, 10),
			"retention.bytes":        "-1",
			"message.timestamp.type": "CreateTime",
			"max.message.bytes":      strconv.Itoa(MaxRecordBytes + 1<<16),
		}
		for k, v := range more {
			configs[k] = v
		}
		unbounded := strconv.FormatInt(anyTime.Milliseconds(), 10)
		t := Topic{Name: name, Partitions: partitions, Configs: make(map[string]*string, len(configs)), Where: map[string]*string{
			"message.timestamp.before.max.ms": &unbounded,
			"message.timestamp.after.max.ms":  &unbounded,
		}}
		for k, v := range configs {
			t.Configs[k] = &v
		}
		return t
	}
	const ever = 0
	return []Topic{
		topic(record.TopicTelemetry, partitions, telemetryRetention, nil),
		topic(record.TopicEvents, partitions, events, nil),
		topic(record.TopicRegistry, 1, ever, nil),
		topic(record.TopicIncidents, 1, ever, nil),
		topic(record.TopicCohorts, partitions, cohortsRetention, nil),
		topic(record.TopicSnapshots, partitions, ever, map[string]string{"cleanup.policy": "compact"}),
	}
}

// EnsureTopics makes the topics that are missing and returns the id of each. On one that is there it sets those
// configurations that the topic does not set itself, and leaves alone what an operator has set. It tries again, with
// backoff, for as long as ctx lasts; a refusal (ErrPartitions, no permission, an invalid configuration) ends it at once.
func EnsureTopics(ctx context.Context, cl *kgo.Client, topics []Topic) (map[string]TopicID, error) {
	exp := backoff.NewExponentialBackOff()
	exp.InitialInterval, exp.MaxInterval = 100*time.Millisecond, 5*time.Second
	exp.MaxElapsedTime = 0 // a broker may take its time to start: ctx is the limit
	ids, err := backoff.RetryWithData(func() (map[string]TopicID, error) {
		ids, err := ensureTopics(ctx, kadm.NewClient(cl), topics)
		if refused(err) {
			return nil, backoff.Permanent(err)
		}
		return ids, err
	}, backoff.WithContext(exp, ctx))
	if err != nil {
		return nil, fmt.Errorf("ensure topics: %w", err)
	}
	return ids, nil
}

// refused tells what no retry can mend.
func refused(err error) bool {
	if errors.Is(err, ErrPartitions) {
		return true
	}
	var broker *kerr.Error
	return errors.As(err, &broker) && !broker.Retriable && broker.Code != kerr.UnknownServerError.Code
}

func ensureTopics(ctx context.Context, adm *kadm.Client, topics []Topic) (map[string]TopicID, error) {
	names := make([]string, len(topics))
	for i, t := range topics {
		names[i] = t.Name
	}
	there, err := adm.ListTopics(ctx, names...)
	if err != nil {
		return nil, fmt.Errorf("list topics: %w", err)
	}
	for _, t := range topics {
		d, known := there[t.Name]
		switch {
		case !known || errors.Is(d.Err, kerr.UnknownTopicOrPartition):
			// What only some brokers know is asked for when it is known whether this one does.
			if err = createTopic(ctx, adm, t); err == nil && len(t.Where) > 0 {
				err = completeConfigs(ctx, adm, t)
			}
		case d.Err != nil:
			err = fmt.Errorf("topic %s: %w", t.Name, d.Err)
		default:
			err = completeConfigs(ctx, adm, t)
		}
		if err != nil {
			return nil, err
		}
	}
	// Read back rather than believed: another process may have made the topic at the same time, with other numbers.
	there, err = adm.ListTopics(ctx, names...)
	if err != nil {
		return nil, fmt.Errorf("list topics: %w", err)
	}
	ids := make(map[string]TopicID, len(topics))
	for _, t := range topics {
		d := there[t.Name]
		if d.Err != nil {
			return nil, fmt.Errorf("topic %s: %w", t.Name, d.Err)
		}
		if n := int32(len(d.Partitions)); n != t.Partitions {
			return nil, fmt.Errorf("topic %s has %d partitions, want %d: %w", t.Name, n, t.Partitions, ErrPartitions)
		}
		ids[t.Name] = TopicID(d.ID)
	}
	return ids, nil
}

func createTopic(ctx context.Context, adm *kadm.Client, t Topic) error {
	replication := t.Replication
	if replication == 0 {
		replication = -1
	}
	r, err := adm.CreateTopic(ctx, t.Partitions, replication, t.Configs, t.Name)
	if err == nil {
		err = r.Err
	}
	if err != nil && !errors.Is(err, kerr.TopicAlreadyExists) {
		return fmt.Errorf("create topic %s: %w", t.Name, err)
	}
	return nil
}

func completeConfigs(ctx context.Context, adm *kadm.Client, t Topic) error {
	described, err := adm.DescribeTopicConfigs(ctx, t.Name)
	if err == nil && len(described) > 0 {
		err = described[0].Err
	}
	if err != nil {
		return fmt.Errorf("describe topic %s: %w", t.Name, err)
	}
	if len(described) == 0 {
		return fmt.Errorf("describe topic %s: %w", t.Name, kerr.UnknownTopicOrPartition) // it is too new
	}
	own := map[string]bool{} // and whether the broker knows of it at all
	for _, c := range described[0].Configs {
		own[c.Key] = own[c.Key] || c.Source == kmsg.ConfigSourceDynamicTopicConfig
	}
	var missing []kadm.AlterConfig
	for key, value := range t.Configs {
		if !own[key] {
			missing = append(missing, kadm.AlterConfig{Op: kadm.SetConfig, Name: key, Value: value})
		}
	}
	if err := alterConfigs(ctx, adm, t.Name, missing); err != nil {
		return err
	}
	missing = nil
	for key, value := range t.Where {
		if set, known := own[key]; known && !set {
			missing = append(missing, kadm.AlterConfig{Op: kadm.SetConfig, Name: key, Value: value})
		}
	}
	// By itself, and not insisted on: a broker may have bounds of its own for it.
	err = alterConfigs(ctx, adm, t.Name, missing)
	if errors.Is(err, kerr.InvalidConfig) || errors.Is(err, kerr.InvalidRequest) {
		return nil
	}
	return err
}

func alterConfigs(ctx context.Context, adm *kadm.Client, topic string, missing []kadm.AlterConfig) error {
	if len(missing) == 0 {
		return nil
	}
	slices.SortFunc(missing, func(a, b kadm.AlterConfig) int {
		if a.Name < b.Name {
			return -1
		}
		return 1
	})
	altered, err := adm.AlterTopicConfigs(ctx, missing, topic)
	if err == nil && len(altered) > 0 {
		err = altered[0].Err
	}
	if err != nil {
		return fmt.Errorf("configure topic %s: %w", topic, err)
	}
	return nil
}
