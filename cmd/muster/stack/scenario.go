package stack

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"muster.dev/fleet/device"
	"muster.dev/fleet/scenario"
	"muster.dev/fleet/simulator/fast"
	"muster.dev/fleet/simulator/realtime"
	"muster.dev/fleet/simulator/truth"
	"muster.dev/fleet/simulator/world"
	"muster.dev/platform/daemon"
	"muster.dev/services/registry/client"

	v1 "muster.dev/services/registry/api/v1"
)

// The places of the scenario that a stack's fleet lives, and of what befell it.
func (d Dir) scenario() string { return d.in("config", "scenario.yaml") }
func (d Dir) truth() string    { return d.in("logs", "truth.jsonl") }

// namesOf are the ids of a world's devices, those too that join later.
func namesOf(w *world.World) []string {
	devices := w.Devices()
	names := make([]string, len(devices))
	for i := range devices {
		names[i] = devices[i].ID
	}
	return names
}

// enrolmentsOf says how a world's devices are enrolled, by their ids.
func enrolmentsOf(w *world.World) func(name string) v1.Enrolment {
	devices, s := w.Devices(), w.Scenario()
	index := make(map[string]int, len(devices))
	for i := range devices {
		index[devices[i].ID] = i
	}
	return func(name string) v1.Enrolment {
		d := &devices[index[name]]
		c := &s.Cohorts[d.Cohort]
		e := v1.Enrolment{
			Device: name, Cohort: c.Name, Profile: fast.ProfileName(c), Class: c.Class, History: c.History, IntervalMS: c.Interval.Milliseconds(),
			Attributes: map[string]string{"site": fmt.Sprint(d.Site + 1)}, Why: "scenario " + s.Name,
		}
		for key, value := range map[string]string{"model": c.Model, "hardware": c.Hardware} {
			if value != "" {
				e.Attributes[key] = value
			}
		}
		return e
	}
}

// defineCohorts tells the registry what holds for the cohorts of the site's world: without it their planned sleep is a silence. A
// cohort that is there stays as somebody has set it.
func (s Site) defineCohorts(ctx context.Context, reg *client.Client, say func(sentence string)) error {
	in := s.World.Scenario()
	for i := range in.Cohorts {
		c := &in.Cohorts[i]
		if _, err := reg.Cohort(ctx, c.Name); err == nil {
			continue
		}
		d := v1.CohortDefinition{Change: v1.Change{Why: "scenario " + in.Name}, IntervalMS: c.Interval.Milliseconds()}
		for _, sleep := range fast.SleepOf(c.Sleep) {
			at := func(minute uint16) string { return fmt.Sprintf("%02d:%02d", minute/60, minute%60) }
			d.Sleep = append(d.Sleep, v1.Sleep{Days: daysOf(sleep.Days), From: at(sleep.From), To: at(sleep.To)})
		}
		define := func() error {
			_, err := reg.DefineCohort(ctx, c.Name, d)
			return err
		}
		if err := patiently(ctx, define, func() bool { return true }, func(err error) { say(fmt.Sprintf("cohort %s: %v; asking again for up to %s", c.Name, err, startLimit)) }); err != nil {
			return fmt.Errorf("cohort %s: %w", c.Name, err)
		}
	}
	return nil
}

// daysOf names the days of a week whose bits are set, of which the first is Monday's.
func daysOf(bits uint8) (out []string) {
	for i, day := range []string{"mon", "tue", "wed", "thu", "fri", "sat", "sun"} {
		if bits&(1<<i) != 0 {
			out = append(out, day)
		}
	}
	return out
}

// EnrollScenario gives an identity to each device of the site's world that has none, those too that join later.
func (s Site) EnrollScenario(ctx context.Context, say func(sentence string)) error {
	return s.EnrollFleet(ctx, namesOf(s.World), say)
}

// RealTime is how simulated devices reach this stack; share of them by MQTT.
func (s Site) RealTime(share float64) realtime.Config {
	cfg := realtime.DefaultConfig()
	cfg.Gateway, cfg.MQTT, cfg.Share = s.Ports.GatewayURL(), Loopback(s.Ports.MQTT), share
	return cfg
}

// liveConfig is the scenario of a stack's fleet.
type liveConfig struct {
	File     string          `yaml:"file"` // empty: the devices send by the clock
	Truth    string          `yaml:"truth"`
	RealTime realtime.Config `yaml:"real_time"`
}

// runScenario lets the devices live a scenario that begins now, and again from its beginning when the process is started
// again. When it has ended they are silent.
func runScenario(p *daemon.Process, c fleetConfig) error {
	text, err := os.ReadFile(c.Scenario.File)
	if err != nil {
		return fmt.Errorf("the fleet's scenario: %w", err)
	}
	s, err := scenario.Parse(c.Scenario.File, text)
	if err != nil {
		return err
	}
	began := time.Now()
	s.Begins = began.UTC().Truncate(time.Second)
	w, err := world.New(s, s.Seed)
	if err != nil {
		return err
	}
	for _, line := range realtime.Unplayed(s, w) {
		p.Log.Warn("not as the scenario says", "what", line)
	}
	settings := realtime.Settings{
		World: w, Boots: uint32(began.Unix()), Log: p.Log, Metrics: p.Metrics,
		Identity: func(id string) (device.Identity, error) { return device.LoadIdentity(Dir(c.Fleet.Identities).in(id)) },
	}
	p.Go("devices", func(ctx context.Context) error {
		result, err := realtime.Run(ctx, c.Scenario.RealTime, settings)
		if err != nil {
			return err
		}
		p.Log.Info("the scenario has ended", "stored", result.Counts.Stored, "refused", result.Counts.Refused, "waiting", result.Counts.Waiting)
		return WriteTruth(c.Scenario.Truth, w, result.Lines)
	})
	return nil
}

// WriteTruth leaves what happened to whom in a file.
func WriteTruth(path string, w *world.World, lines []truth.Line) (err error) {
	file, err := os.OpenFile(path, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("writing the truth: %w", err)
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	return truth.Write(file, w.Header(), lines)
}
