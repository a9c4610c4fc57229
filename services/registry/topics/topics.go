package topics

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"muster.dev/platform/eventlog"
	"muster.dev/proto/record"
	"muster.dev/services/registry/decide"
	"muster.dev/services/registry/writer"
)

// Config is what an operator sets.
type Config struct {
	// Partitions of the topics that are keyed by device: fixed when they are made.
	Partitions int32 `yaml:"partitions"`
	// Local bounds the topics' size on the disk too.
	Local bool `yaml:"local"`
	// Replication is the number of copies; 0 is the brokers' default.
	Replication int16 `yaml:"replication"`
	// Interval between looks.
	Interval time.Duration `yaml:"interval"`
}

// DefaultConfig is the local stack's.
func DefaultConfig() Config { return Config{Partitions: 4, Local: true, Interval: 2 * time.Second} }

// Validate names the first key that cannot be used.
func (c Config) Validate() error {
	switch {
	case c.Partitions < 1 || c.Partitions > 1024:
		return fmt.Errorf("partitions %d: want 1 to 1024", c.Partitions)
	case c.Replication < 0:
		return fmt.Errorf("replication %d: want 0 or more", c.Replication)
	case c.Interval < 10*time.Millisecond || c.Interval > time.Minute:
		return fmt.Errorf("interval %v: want 10ms to 1m", c.Interval)
	}
	return nil
}

// ErrReplaced is in the error of Run when the registry's log was deleted and made again.
var ErrReplaced = errors.New("the registry's log was deleted and made again: what it said of devices is gone; restore it, or start with an empty installation")

// Keeper is the room.
type Keeper struct {
	cfg    Config
	log    eventlog.Config
	writer *writer.Writer
	logger *slog.Logger
	known  map[eventlog.TopicID]bool
	own    eventlog.TopicID // of the registry's log
}

// New prepares; Run works.
func New(cfg Config, log eventlog.Config, w *writer.Writer, logger *slog.Logger) *Keeper {
	return &Keeper{cfg: cfg, log: log, writer: w, logger: logger, known: map[eventlog.TopicID]bool{}}
}

// Run looks every interval until ctx ends. It rides out faults of the log; a topic that cannot be as it should
// (eventlog.ErrPartitions, a missing right) ends it, as does ErrReplaced.
func (k *Keeper) Run(ctx context.Context) error {
	client, err := kgo.NewClient(k.log.Options()...)
	if err != nil {
		return fmt.Errorf("kafka client of the topics: %w", err)
	}
	defer client.Close()
	list := eventlog.Topics(k.cfg.Partitions, k.cfg.Local)
	for i := range list {
		list[i].Replication = k.cfg.Replication
	}
	tick := time.NewTicker(k.cfg.Interval)
	defer tick.Stop()
	for {
		ids, err := eventlog.EnsureTopics(ctx, client, list)
		if ctx.Err() != nil {
			return nil
		} else if err != nil {
			return err
		}
		if err := k.define(ctx, list, ids); err != nil {
			return err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil
		}
	}
}

// define gives a generation to what has none, in the order of the list so that a new installation has the same ones.
func (k *Keeper) define(ctx context.Context, list []eventlog.Topic, ids map[string]eventlog.TopicID) error {
	own := ids[record.TopicRegistry]
	if k.own != (eventlog.TopicID{}) && k.own != own {
		return fmt.Errorf("%w (its id was %v and is %v)", ErrReplaced, k.own, own)
	}
	k.own = own
	for _, t := range list {
		id := ids[t.Name]
		if k.known[id] {
			continue
		}
		wait, cancel := context.WithTimeout(ctx, 10*time.Second)
		outcome, err := k.writer.Do(wait, "registry", "the topic has an id without a generation",
			decide.DefineTopic{Name: t.Name, ID: id, Partitions: t.Partitions})
		cancel()
		var refusal *decide.Refusal
		switch {
		case errors.As(err, &refusal):
			return fmt.Errorf("give topic %s a generation: %w", t.Name, err)
		case err != nil:
			return nil // the log is away, or the process stops: the next look tries again
		}
		k.known[id] = true
		if len(outcome.Events) > 0 {
			k.logger.Info("topic has a generation", "topic", t.Name, "id", id.String(), "gen", outcome.Gen)
		}
	}
	return nil
}
