package evaluate

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"muster.dev/cmd/muster/rehearsal"
	"muster.dev/cmd/muster/stack"
	"muster.dev/fleet/scenario"
	"muster.dev/fleet/simulator/fast"
	"muster.dev/fleet/simulator/world"
	"muster.dev/proto/event"
	"muster.dev/services/anomaly/judge"
	"muster.dev/services/anomaly/replay"
)

// partitions of the logs that scenarios are played onto: as the local stack has.
const partitions = 4

// Settings is what code passes to Play.
type Settings struct {
	Dir      stack.Dir // of the log; what another simulation left there is replaced
	Scenario *scenario.Scenario
	Detector replay.Settings // the zero value is the service's
	Log      *slog.Logger
}

// Play plays a scenario in fast time onto a log, lets the detectors read it, and judges what they said.
func Play(ctx context.Context, s Settings) (_ Outcome, err error) {
	began := time.Now()
	w, err := world.New(s.Scenario, s.Scenario.Seed)
	if err != nil {
		return Outcome{}, err
	}
	ctx, fail := context.WithCancelCause(ctx)
	defer fail(nil)
	place, err := rehearsal.Open(ctx, rehearsal.Settings{Dir: s.Dir, About: w.Header(), Log: s.Log, Failed: func(err error) { fail(err) }})
	if err != nil {
		return Outcome{}, err
	}
	defer func() { err = errors.Join(err, place.Close()) }()
	to, err := place.Log()
	if err != nil {
		return Outcome{}, err
	}
	made, err := fast.Run(ctx, fast.Settings{World: w, Log: to, Partitions: partitions, Beat: time.Minute})
	if err != nil {
		return Outcome{}, err
	}
	detector := s.Detector
	if detector.Partitions == 0 {
		detector = replay.DefaultSettings(partitions)
	}
	var records []event.Incident
	err = replay.Run(ctx, replay.NewBroker(to), nil, detector, replay.Start{}, func(o judge.Out) error {
		if event.TypeOf(o.Headers) == event.TypeVerdict {
			return nil
		}
		i, err := event.DecodeIncident(o.Headers, o.Value)
		records = append(records, i)
		return err
	})
	if err != nil {
		return Outcome{}, fmt.Errorf("detectors on %s: %w", s.Scenario.Name, err)
	}
	wants := Wants(s.Scenario, made.Lines)
	return Outcome{
		Scenario: s.Scenario.Name, Seed: s.Scenario.Seed, Records: made.Records, Took: time.Since(began),
		Judgement:   Judge(wants, Gather(records), made.Lines, w.Until()),
		CohortWeeks: float64(len(s.Scenario.Cohorts)) * s.Scenario.Lasts.Hours() / (7 * 24),
	}, nil
}
