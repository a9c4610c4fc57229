package realtime

import "github.com/prometheus/client_golang/prometheus"

// The same families as those of a fleet that sends by the clock: a stack has one of the two.
var (
	messagesDesc = prometheus.NewDesc("muster_fleet_messages_total", "Messages by what became of them.", []string{"outcome"}, nil)
	retriesDesc  = prometheus.NewDesc("muster_fleet_retries_total", "Attempts that were not answered for.", nil, nil)
	waitingDesc  = prometheus.NewDesc("muster_fleet_waiting_messages", "Messages that wait to be answered for.", nil, nil)
	devicesDesc  = prometheus.NewDesc("muster_fleet_devices", "Simulated devices.", nil, nil)
)

// Describe is prometheus.Collector's.
func (r *run) Describe(out chan<- *prometheus.Desc) {
	out <- messagesDesc
	out <- retriesDesc
	out <- waitingDesc
	out <- devicesDesc
}

// Collect is prometheus.Collector's.
func (r *run) Collect(out chan<- prometheus.Metric) {
	c := r.counts()
	for outcome, n := range map[string]int64{"stored": c.Stored - c.Duplicates, "duplicate": c.Duplicates, "refused": c.Refused, "dropped": c.Dropped} {
		out <- prometheus.MustNewConstMetric(messagesDesc, prometheus.CounterValue, float64(n), outcome)
	}
	out <- prometheus.MustNewConstMetric(retriesDesc, prometheus.CounterValue, float64(c.Retries))
	out <- prometheus.MustNewConstMetric(waitingDesc, prometheus.GaugeValue, float64(c.Waiting))
	out <- prometheus.MustNewConstMetric(devicesDesc, prometheus.GaugeValue, float64(c.Devices))
}
