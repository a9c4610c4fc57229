package logtest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
)

// Env names the environment variable with the real broker's host:port.
const Env = "MUSTER_TEST_KAFKA"

// limit bounds the emptying of a real broker: a dead member of a group keeps the group for its session's timeout, which
// is 45 s where nobody says another.
const limit = 2 * time.Minute

// Topic is a topic that a test begins with, empty.
type Topic struct {
	Name       string
	Partitions int32
}

// Real says that Start gives the broker of the environment.
func Real() bool { return os.Getenv(Env) != "" }

// OnlyFake skips a test that makes the broker fail, or lives in a bubble of time, when the broker is a real one.
func OnlyFake(t testing.TB) {
	t.Helper()
	if Real() {
		t.Skip("this test is for a broker that does what it is told; " + Env + " names a real one")
	}
}

// Start gives the seeds of a broker that has the topics and nothing else.
func Start(t testing.TB, topics ...Topic) []string {
	t.Helper()
	if !Real() {
		_, seeds := Fake(t, topics)
		return seeds
	}
	seeds := []string{os.Getenv(Env)}
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	cl, err := kgo.NewClient(kgo.SeedBrokers(seeds...), kgo.MetadataMinAge(10*time.Millisecond))
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	adm := kadm.NewClient(cl)
	for _, step := range []struct {
		what string
		do   func() error
	}{
		{"forget the groups", func() error { return forget(ctx, adm) }},
		{"delete the topics", func() error { return empty(ctx, adm) }},
		{"make the topics", func() error { return create(ctx, adm, topics) }},
	} {
		// A broker answers before all of its pieces have heard, so a step is repeated until it finds nothing to do.
		for err := step.do(); err != nil; err = step.do() {
			select {
			case <-ctx.Done():
				t.Fatalf("%s of the broker at %s: %v", step.what, seeds[0], err)
			case <-time.After(20 * time.Millisecond):
			}
		}
	}
	return seeds
}

// Fake is a broker in memory with the topics, for tests that tell it to fail; a real one makes them skip.
func Fake(t testing.TB, topics []Topic, opts ...kfake.Opt) (*kfake.Cluster, []string) {
	t.Helper()
	OnlyFake(t)
	opts = append([]kfake.Opt{kfake.NumBrokers(1), kfake.GroupMinSessionTimeout(50 * time.Millisecond)}, opts...)
	for _, topic := range topics {
		opts = append(opts, kfake.SeedTopics(topic.Partitions, topic.Name))
	}
	cluster, err := kfake.NewCluster(opts...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cluster.Close)
	return cluster, cluster.ListenAddrs()
}

func forget(ctx context.Context, adm *kadm.Client) error {
	// The first look at a group makes a broker make its own topics; from then on commits are taken.
	if _, err := adm.FetchOffsets(ctx, "nobody"); err != nil && !errors.Is(err, kerr.GroupIDNotFound) {
		return fmt.Errorf("ask for a group's commits: %w", err)
	}
	groups, err := adm.ListGroups(ctx)
	if err != nil {
		return fmt.Errorf("list the groups: %w", err)
	}
	if len(groups) == 0 {
		return nil
	}
	gone, err := adm.DeleteGroups(ctx, groups.Groups()...)
	if err != nil {
		return fmt.Errorf("delete the groups: %w", err)
	}
	var errs []error
	for _, g := range gone {
		if !errors.Is(g.Err, kerr.GroupIDNotFound) {
			errs = append(errs, g.Err)
		}
	}
	return errors.Join(errs...)
}

func empty(ctx context.Context, adm *kadm.Client) error {
	there, err := adm.ListTopics(ctx)
	if err != nil {
		return fmt.Errorf("list the topics: %w", err)
	}
	if len(there) == 0 {
		return nil
	}
	if _, err := adm.DeleteTopics(ctx, there.Names()...); err != nil {
		return fmt.Errorf("delete the topics: %w", err)
	}
	return fmt.Errorf("still there: %s", strings.Join(there.Names(), ", "))
}

func create(ctx context.Context, adm *kadm.Client, topics []Topic) error {
	if len(topics) == 0 {
		return nil
	}
	ever := "-1" // else a record with an old time is soon gone
	var names []string
	for _, topic := range topics {
		r, err := adm.CreateTopic(ctx, topic.Partitions, 1, map[string]*string{"retention.ms": &ever}, topic.Name)
		if err == nil {
			err = r.Err
		}
		if err != nil && !errors.Is(err, kerr.TopicAlreadyExists) {
			return fmt.Errorf("make topic %s: %w", topic.Name, err)
		}
		names = append(names, topic.Name)
	}
	ends, err := adm.ListEndOffsets(ctx, names...)
	if err == nil {
		err = ends.Error()
	}
	if err != nil {
		return fmt.Errorf("ask for the new topics' ends: %w", err)
	}
	return nil
}
