package writer

import (
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"
)

type metrics struct {
	folded    atomic.Bool
	leads     atomic.Bool
	fenced    prometheus.Counter
	snapshots *prometheus.CounterVec
	restored  prometheus.Counter
	events    prometheus.Counter
	refused   prometheus.Counter
	failed    prometheus.Counter
	refolds   prometheus.Counter
	ignored   prometheus.Counter
}

func newMetrics(reg prometheus.Registerer) *metrics {
	counter := func(name, help string) prometheus.Counter {
		c := prometheus.NewCounter(prometheus.CounterOpts{Name: "muster_registry_" + name, Help: help})
		reg.MustRegister(c)
		return c
	}
	m := &metrics{
		events:  counter("events_written_total", "Events that the registry's log has acknowledged."),
		refused: counter("commands_refused_total", "Commands that contradict the registry or are malformed."),
		failed:  counter("writes_failed_total", "Rounds of events that the log refused or did not answer."),
		refolds: counter("refolds_total", "Times that the log was read again after a fault."),
		ignored: counter("records_ignored_total", "Records of the registry's log that do not chain or do not decode."),
	}
	m.fenced = counter("writer_fenced_total", "Times that another process took the writer's place from this one.")
	m.restored = counter("snapshots_restored_total", "Times that the state was begun with a snapshot.")
	m.snapshots = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "muster_registry_snapshots_total",
		Help: "Snapshots of the state, by what became of them: taken or failed.",
	}, []string{"outcome"})
	reg.MustRegister(m.snapshots)
	for _, outcome := range []string{"taken", "failed"} {
		m.snapshots.WithLabelValues(outcome)
	}
	reg.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "muster_registry_writer_ready",
		Help: "1 while this process holds the writer's place and has folded the log.",
	}, func() float64 {
		if m.leads.Load() && m.folded.Load() {
			return 1
		}
		return 0
	}))
	return m
}
