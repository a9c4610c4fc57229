package roster

import (
	"fmt"

	"github.com/prometheus/client_golang/prometheus"
)

type metrics struct {
	reg     prometheus.Registerer
	all     []prometheus.Collector
	applied prometheus.Counter
	ignored *prometheus.CounterVec
	failed  *prometheus.CounterVec
}

func newMetrics(r *Roster, reg prometheus.Registerer) (*metrics, error) {
	gauge := func(name, help string, value func() float64) prometheus.Collector {
		return prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help}, value)
	}
	m := &metrics{
		reg: reg,
		applied: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "muster_roster_applied_events_total",
			Help: "Events of the registry's log that were folded in.",
		}),
		ignored: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "muster_roster_ignored_events_total",
			Help: "Records of the registry's log that were ignored, by reason; reason chain is a forgery or a second writer.",
		}, []string{"reason"}),
		failed: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "muster_roster_failures_total",
			Help: "Failures to follow the registry's log, by what was tried; a lost log needs an operator.",
		}, []string{"step"}),
	}
	for _, reason := range reasons {
		m.ignored.WithLabelValues(string(reason))
	}
	for _, step := range []string{stepAsk, stepFetch, stepLost} {
		m.failed.WithLabelValues(step)
	}
	m.all = []prometheus.Collector{
		m.applied, m.ignored, m.failed,
		gauge("muster_roster_age_seconds", "Time since the end of the registry's log was last known to be reached; +Inf before the first time.", r.ageSeconds),
		gauge("muster_roster_position_records", "Offset up to which the registry's log was read.", func() float64 { return float64(r.Position()) }),
		gauge("muster_roster_devices", "Devices that are enrolled, revoked ones included.", func() float64 { return float64(r.Counts().Devices) }),
		gauge("muster_roster_revoked_devices", "Devices that are revoked.", func() float64 { return float64(r.Counts().Revoked) }),
	}
	for i, c := range m.all {
		if err := reg.Register(c); err != nil {
			m.all = m.all[:i]
			m.unregister()
			return nil, fmt.Errorf("register roster metrics: %w", err)
		}
	}
	return m, nil
}

func (m *metrics) unregister() {
	for _, c := range m.all {
		m.reg.Unregister(c)
	}
}
