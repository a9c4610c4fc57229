package simulator

import "github.com/prometheus/client_golang/prometheus"

type metrics struct {
	values prometheus.Counter
}

// newMetrics registers what the fleet counts; messages are read from the outboxes when they are asked for.
func newMetrics(reg prometheus.Registerer, f *Fleet) *metrics {
	m := &metrics{values: prometheus.NewCounter(prometheus.CounterOpts{
		Name: "muster_fleet_values_total", Help: "Values in messages that the gateway stored, as the devices count them.",
	})}
	reg.MustRegister(m.values, messages{f})
	return m
}

var (
	messagesDesc = prometheus.NewDesc("muster_fleet_messages_total", "Messages by what became of them.", []string{"outcome"}, nil)
	retriesDesc  = prometheus.NewDesc("muster_fleet_retries_total", "Attempts that were not answered for.", nil, nil)
	waitingDesc  = prometheus.NewDesc("muster_fleet_waiting_messages", "Messages that wait to be answered for.", nil, nil)
	devicesDesc  = prometheus.NewDesc("muster_fleet_devices", "Simulated devices.", nil, nil)
)

// messages reads the outboxes.
type messages struct{ fleet *Fleet }

func (m messages) Describe(out chan<- *prometheus.Desc) {
	out <- messagesDesc
	out <- retriesDesc
	out <- waitingDesc
	out <- devicesDesc
}

func (m messages) Collect(out chan<- prometheus.Metric) {
	c := m.fleet.Counts()
	for outcome, n := range map[string]int{"stored": c.Stored - c.Duplicates, "duplicate": c.Duplicates, "refused": c.Refused, "dropped": c.Dropped} {
		out <- prometheus.MustNewConstMetric(messagesDesc, prometheus.CounterValue, float64(n), outcome)
	}
	out <- prometheus.MustNewConstMetric(retriesDesc, prometheus.CounterValue, float64(c.Retries))
	out <- prometheus.MustNewConstMetric(waitingDesc, prometheus.GaugeValue, float64(c.Waiting))
	out <- prometheus.MustNewConstMetric(devicesDesc, prometheus.GaugeValue, float64(len(m.fleet.units)))
}
