package verbs

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"muster.dev/cmd/muster/rehearsal"
	"muster.dev/cmd/muster/stack"
	"muster.dev/fleet/device"
	"muster.dev/fleet/scenario"
	"muster.dev/fleet/simulator/realtime"
	"muster.dev/fleet/simulator/report"
	"muster.dev/fleet/simulator/world"
	"muster.dev/platform/daemon"
	"muster.dev/platform/warehouse"
)

// playLive plays a scenario against the stack that --data names, by the wall clock.
func (f *frame) playLive(cmd *cobra.Command, o *simulation, s *scenario.Scenario) error {
	dir, inst, err := f.running()
	if err != nil {
		return err
	}
	out, err := f.outDir(o, s)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(string(out), 0o700); err != nil {
		return fmt.Errorf("making a directory for the truth: %w", err)
	}
	if o.length > 0 {
		s.Lasts = o.length
	}
	ctx, cancel := contextWithCancel(cmd)
	defer cancel()
	w, err := world.New(s, s.Seed)
	if err != nil {
		return misuse{err}
	}
	site := stack.Site{Dir: dir, Ports: inst.Ports, World: w}
	if err := site.EnrollScenario(ctx, func(line string) { f.say("%s", line) }); err != nil {
		return err
	}
	began := time.Now()
	s.Begins = began.UTC().Truncate(time.Second)
	if w, err = world.New(s, s.Seed); err != nil {
		return misuse{err}
	}
	f.say("%s, seed %d: %d devices, %s from now", s.Name, s.Seed, len(w.Devices()), scenario.FormatSpan(s.Lasts))
	for _, line := range realtime.Unplayed(s, w) {
		f.say("not as the scenario says: %s", line)
	}
	cfg := site.RealTime(o.mqtt)
	if err := cfg.Validate(); err != nil {
		return misuse{err}
	}
	last := began
	result, err := realtime.Run(ctx, cfg, realtime.Settings{
		World: w, Boots: uint32(began.Unix()), Log: daemon.NewLog(f.Err, slog.LevelWarn, "simulate", f.Version),
		Identity: func(id string) (device.Identity, error) { return device.LoadIdentity(dir.Identity(id)) },
		Progress: func(c realtime.Counts) {
			if time.Since(last) < 5*time.Second {
				return
			}
			last = time.Now()
			f.say("%s: %d messages stored, %d waiting, %d retries, %d refused; %s to an answer, at most %s late",
				time.Since(began).Round(time.Second), c.Stored, c.Waiting, c.Retries, c.Refused, c.Answered.Round(time.Millisecond), c.Behind.Round(time.Millisecond))
		},
	})
	if err != nil {
		return err
	}
	c := result.Counts
	f.say("%d messages stored (%d of them told as duplicates), %d refused, %d dropped, %d waiting; %d retries, %d handshakes",
		c.Stored, c.Duplicates, c.Refused, c.Dropped, c.Waiting, c.Retries, c.Dials)
	if err := stack.WriteTruth(filepath.Join(string(out), truthFile), w, result.Lines); err != nil {
		return err
	}
	facts := rehearsal.TellFacts(w, result.Told, result.Lines)
	facts.Until, facts.Took = result.Until, time.Since(began)
	for i := range facts.Members {
		facts.Members[i].Until = min(facts.Members[i].Until, facts.Until)
	}
	if err := f.hearLive(context.WithoutCancel(ctx), dir, inst, w, &facts, uint32(began.Unix())); err != nil {
		return err
	}
	return f.deliver(out, report.Make(facts))
}

// hearLive asks the stack's store what it has of the devices, until it has what the gateway took or does not move any more.
func (f *frame) hearLive(ctx context.Context, dir stack.Dir, inst stack.Instance, w *world.World, facts *report.Facts, boots uint32) error {
	house, err := warehouse.Open(stack.Store(dir, inst.Ports))
	if err != nil {
		return err
	}
	defer house.Close()
	scope, err := rehearsal.ScopeOf(ctx, house, w)
	if err != nil {
		return err
	}
	scope.Boots, scope.Real = boots, true
	var arrived uint64
	for i := range facts.Members {
		arrived += facts.Members[i].Told.Telemetry.Count + facts.Members[i].Told.Events.Count
	}
	f.say("waiting for the store to have what the gateway took: %s messages", strconv.FormatUint(arrived, 10))
	if err := rehearsal.Await(ctx, house, scope, arrived); err != nil {
		return err
	}
	return rehearsal.Hear(ctx, house, w, facts, scope)
}
