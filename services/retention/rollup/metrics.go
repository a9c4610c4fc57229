package rollup

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

type metrics struct {
	passes  *prometheus.CounterVec
	hours   prometheus.Counter
	seconds prometheus.Histogram
	last    prometheus.Gauge
	behind  prometheus.Gauge
	fast    prometheus.Gauge
}

func newMetrics(reg prometheus.Registerer) *metrics {
	m := &metrics{
		passes: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "muster_rollup_passes_total", Help: "Passes over the ledger by outcome.",
		}, []string{"outcome"}),
		hours: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "muster_rollup_buckets_computed_total", Help: "Buckets of one hour that were computed and put in place.",
		}),
		seconds: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "muster_rollup_pass_duration_seconds", Help: "Time that a pass took.",
			Buckets: prometheus.ExponentialBuckets(.01, 3, 10),
		}),
		behind: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "muster_rollup_backlog", Help: "Days further back than a month that were touched and are still to be computed.",
		}),
		fast: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "muster_rollup_minute_metrics", Help: "Metrics of which the minutes of the last day with closed hours are stored.",
		}),
		last: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "muster_rollup_last_pass_timestamp_seconds", Help: "When the last pass that succeeded began.",
		}),
	}
	reg.MustRegister(m.passes, m.hours, m.seconds, m.last, m.behind, m.fast)
	return m
}

func (m *metrics) passed(began time.Time, err error) {
	m.seconds.Observe(time.Since(began).Seconds())
	if err != nil {
		m.passes.WithLabelValues("failed").Inc()
		return
	}
	m.passes.WithLabelValues("done").Inc()
	m.last.Set(float64(began.UnixMilli()) / 1000)
}
