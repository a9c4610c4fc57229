package deliver

import (
	"github.com/prometheus/client_golang/prometheus"
)

type metrics struct {
	messages *prometheus.CounterVec
	skipped  *prometheus.CounterVec
	seconds  *prometheus.HistogramVec
	waiting  *prometheus.GaugeVec
	oldest   *prometheus.GaugeVec
	open     *prometheus.GaugeVec
	summed   *prometheus.GaugeVec
	active   *prometheus.GaugeVec
	faults   *prometheus.CounterVec
}

func newMetrics(reg prometheus.Registerer) *metrics {
	m := &metrics{
		messages: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "muster_anomaly_delivery_messages_total", Help: "Messages about incidents by route and outcome: sent is the receiver's 2xx, refused a 400, 413 or 422, which is not tried again, failed everything else, which is.",
		}, []string{"route", "outcome"}),
		skipped: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "muster_anomaly_delivery_unsent_total", Help: "Changes of incidents that a route had no need to tell: resolved before the receiver heard of it, acknowledged, counted in a summary, unreadable.",
		}, []string{"route", "why"}),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "muster_anomaly_delivery_seconds", Help: "How long a request to a receiver took.", Buckets: prometheus.ExponentialBuckets(0.005, 2.5, 10),
		}, []string{"route"}),
		waiting: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "muster_anomaly_delivery_waiting", Help: "Incidents whose latest state the receiver has not taken.",
		}, []string{"route"}),
		oldest: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "muster_anomaly_delivery_oldest_seconds", Help: "For how long the oldest of them has waited; 0 when none does.",
		}, []string{"route"}),
		open: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "muster_anomaly_delivery_open", Help: "Open incidents that the route is about.",
		}, []string{"route"}),
		summed: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "muster_anomaly_delivery_summarised", Help: "Of them, those that the receiver knows from a summary only.",
		}, []string{"route"}),
		active: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "muster_anomaly_delivery_active", Help: "1 when this process delivers the route and has read the log to its end; of several processes one does.",
		}, []string{"route"}),
		faults: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "muster_anomaly_delivery_restarts_total", Help: "Times that a route began anew after a fault of the log.",
		}, []string{"route"}),
	}
	reg.MustRegister(m.messages, m.skipped, m.seconds, m.waiting, m.oldest, m.open, m.summed, m.active, m.faults)
	return m
}

// begin makes a route's series, so that a rate is seen from the first message on.
func (m *metrics) begin(route string) {
	for _, outcome := range []string{"sent", "refused", "failed"} {
		m.messages.WithLabelValues(route, outcome)
	}
	for _, why := range []string{"resolved", "acknowledged", "summarised", "unreadable"} {
		m.skipped.WithLabelValues(route, why)
	}
	m.seconds.WithLabelValues(route)
	m.faults.WithLabelValues(route)
	for _, g := range []*prometheus.GaugeVec{m.waiting, m.oldest, m.open, m.summed, m.active} {
		g.WithLabelValues(route)
	}
}
