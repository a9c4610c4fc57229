package follow

import (
	"context"
	"strconv"

	"muster.dev/platform/eventlog"
	"muster.dev/platform/snapshot"
	"muster.dev/proto/record"
)

// shardInputs are what a shard is told.
func shardInputs(part, _ int32) []Place {
	return []Place{{record.TopicTelemetry, part}, {record.TopicEvents, part}, registryLog}
}

// judgeInputs are what the judge is told: the pages of all shards.
func judgeInputs(_, parts int32) []Place {
	out := make([]Place, 0, parts+1)
	for part := range parts {
		out = append(out, Place{record.TopicCohorts, part})
	}
	return append(out, registryLog)
}

func shardPrefix(part int32) string { return "anomaly/" + strconv.Itoa(int(part)) }

func judgePrefix(int32) string { return "anomaly/judge" }

// ShardPlace is where the snapshots of a shard lie, on a topic of so many partitions.
func ShardPlace(part, partitions int32) snapshot.Place {
	return snapshot.At(shardPrefix(part), partitions)
}

// JudgePlace is where those of the judge lie.
func JudgePlace(partitions int32) snapshot.Place { return snapshot.At(judgePrefix(0), partitions) }

// ReadHead gives what a line's owner says of its epochs and snapshots; one that has said nothing yet has none.
func ReadHead(ctx context.Context, cfg eventlog.Config, place snapshot.Place) (Head, error) {
	value, ok, err := place.Headed(ctx, cfg)
	if err != nil || !ok {
		return Head{}, err
	}
	return DecodeHead(value)
}
