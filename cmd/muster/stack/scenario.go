package stack

import (
	"context"
	"fmt"

	"muster.dev/fleet/scenario"
	"muster.dev/fleet/simulator/fast"
	"muster.dev/fleet/simulator/realtime"
	"muster.dev/fleet/simulator/world"
	v1 "muster.dev/services/registry/api/v1"
)

// EnrollScenario gives an identity to each device of a scenario that has none, those too that join later.
func (s Site) EnrollScenario(ctx context.Context, sc *scenario.Scenario, seed uint64, say func(sentence string)) error {
	w, err := world.New(sc, seed)
	if err != nil {
		return fmt.Errorf("scenario %s: %w", sc.Name, err)
	}
	devices := w.Devices()
	names := make([]string, len(devices))
	for i := range devices {
		names[i] = devices[i].ID
	}
	return s.EnrollAs(ctx, names, func(i int) v1.Enrolment {
		c := &sc.Cohorts[devices[i].Cohort]
		e := v1.Enrolment{
			Device: names[i], Cohort: c.Name, Profile: fast.ProfileName(c), Class: c.Class, History: c.History, IntervalMS: c.Interval.Milliseconds(),
			Attributes: map[string]string{"site": fmt.Sprint(devices[i].Site + 1)}, Why: "scenario " + sc.Name,
		}
		for key, value := range map[string]string{"model": c.Model, "hardware": c.Hardware} {
			if value != "" {
				e.Attributes[key] = value
			}
		}
		return e
	}, say)
}

// RealTime is how simulated devices reach this stack; share of them by MQTT.
func (s Site) RealTime(share float64) realtime.Config {
	cfg := realtime.DefaultConfig()
	cfg.Gateway, cfg.MQTT, cfg.Share = s.Ports.GatewayURL(), Loopback(s.Ports.MQTT), share
	return cfg
}
