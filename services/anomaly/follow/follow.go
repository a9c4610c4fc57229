package follow

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"log/slog"
	"runtime/debug"

	"github.com/prometheus/client_golang/prometheus"

	"muster.dev/platform/eventlog"
	"muster.dev/proto/record"
	"muster.dev/services/anomaly/judge"
	"muster.dev/services/anomaly/shard"
)

// Settings is what code passes to New.
type Settings struct {
	Log     eventlog.Config
	Config  Config
	Shard   shard.Settings
	Judge   judge.Settings
	Logger  *slog.Logger          // nil: silence
	Metrics prometheus.Registerer // nil: metrics are kept by nobody
}

// New checks the settings and prepares a room, whose Run is the work.
func New(s Settings) (*Room, error) {
	if s.Logger == nil {
		s.Logger = slog.New(slog.DiscardHandler)
	}
	if s.Metrics == nil {
		s.Metrics = prometheus.NewRegistry()
	}
	if err := s.Log.Validate(); err != nil {
		return nil, fmt.Errorf("kafka: %w", err)
	}
	if err := s.Shard.Validate(); err != nil {
		return nil, fmt.Errorf("shards: %w", err)
	}
	if err := s.Judge.Validate(); err != nil {
		return nil, fmt.Errorf("judge: %w", err)
	}
	first, err := detectorOf(stageShard, s.Shard)
	if err != nil {
		return nil, err
	}
	second, err := detectorOf(stageJudge, s.Judge)
	if err != nil {
		return nil, err
	}
	return newRoom(s.Config, s.Log, s.Logger, s.Metrics, map[string]*kind{
		record.TopicTelemetry: shards(s.Shard, first),
		record.TopicIncidents: judges(s.Judge, second),
	})
}

// detectorOf names what a fold is made of: its constants, and the build of its code. Another build may say other things of
// the same records, so it begins an epoch of its own, with the state that it finds.
func detectorOf(stage string, settings any) (string, error) {
	text, err := json.Marshal(settings)
	if err != nil {
		return "", fmt.Errorf("the settings of the %s: %w", stage, err)
	}
	if info, ok := debug.ReadBuildInfo(); ok {
		text = append(text, info.Main.Version...)
	}
	sum := sha256.Sum256(text)
	return stage + "-" + hex.EncodeToString(sum[:4]), nil
}
