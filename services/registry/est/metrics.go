package est

import (
	"github.com/prometheus/client_golang/prometheus"
)

type metrics struct {
	requests *prometheus.CounterVec
	seconds  *prometheus.HistogramVec
	open     prometheus.Gauge
	refused  *prometheus.CounterVec
	until    prometheus.Gauge
}

func newMetrics(reg prometheus.Registerer) *metrics {
	m := &metrics{
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "muster_registry_est_requests_total",
			Help: "Requests of devices by operation of EST and status.",
		}, []string{"operation", "code"}),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "muster_registry_est_request_duration_seconds",
			Help:    "Time from a request's headers to the end of its answer, by operation of EST.",
			Buckets: []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10},
		}, []string{"operation"}),
		open: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "muster_registry_est_connections",
			Help: "Connections of devices that are open.",
		}),
		refused: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "muster_registry_est_connections_refused_total",
			Help: "Connections that were closed at once, by the bound that they were beyond: total, address.",
		}, []string{"bound"}),
		until: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "muster_registry_est_certificate_not_after_timestamp_seconds",
			Help: "End of the certificate that devices are shown.",
		}),
	}
	reg.MustRegister(m.requests, m.seconds, m.open, m.refused, m.until)
	return m
}
