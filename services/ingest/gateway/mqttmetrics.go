package gateway

import (
	"strings"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"

	"muster.dev/platform/mqtt/packet"
	"muster.dev/platform/mqtt/session"
)

// mqttMetrics are of MQTT alone: its connections and packets. Its messages are counted with those of HTTP.
type mqttMetrics struct {
	packets [packet.AUTH + 1]atomic.Int64
	open    *prometheus.GaugeVec
	let     *prometheus.CounterVec
	ends    *prometheus.CounterVec
}

func newMQTTMetrics(reg prometheus.Registerer) *mqttMetrics {
	m := &mqttMetrics{
		open: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "muster_gateway_mqtt_connections",
			Help: "Open connections whose CONNECT was accepted, by the version of MQTT.",
		}, []string{"version"}),
		let: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "muster_gateway_mqtt_connects_total",
			Help: "CONNECTs that were accepted, by the version of MQTT. Those that were refused are among the ends.",
		}, []string{"version"}),
		ends: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "muster_gateway_mqtt_ends_total",
			Help: "Connections that ended, by whom, and by the reason of the DISCONNECT or of the CONNACK that refused; \"none\" where nobody said one, \"other\" for a failure that a client told.",
		}, []string{"by", "reason"}),
	}
	for _, v := range []packet.Version{packet.V311, packet.V5} {
		m.open.WithLabelValues(v.String())
		m.let.WithLabelValues(v.String())
	}
	m.ends.WithLabelValues(session.ByNetwork.String(), "none")
	reg.MustRegister(m.open, m.let, m.ends)
	for t := packet.CONNECT; t <= packet.AUTH; t++ {
		reg.MustRegister(prometheus.NewCounterFunc(prometheus.CounterOpts{
			Name:        "muster_gateway_mqtt_packets_total",
			Help:        "Packets that came, by type, each as soon as its header was read.",
			ConstLabels: prometheus.Labels{"type": strings.ToLower(t.String())},
		}, func() float64 { return float64(m.packets[t].Load()) }))
	}
	return m
}

func (m *mqttMetrics) packet(t packet.Type) { m.packets[t].Add(1) }

func (m *mqttMetrics) came(v packet.Version) {
	m.open.WithLabelValues(v.String()).Inc()
	m.let.WithLabelValues(v.String()).Inc()
}

func (m *mqttMetrics) went(v packet.Version) { m.open.WithLabelValues(v.String()).Dec() }

// ended counts an end. Reasons of ours are few; of a client's, which may be any byte, no more is told than whether all was
// well.
func (m *mqttMetrics) ended(e session.Ended) {
	reason := "none"
	switch {
	case e.By == session.ByServer, e.By == session.ByClient && !e.Reason.Failed():
		reason = e.Reason.String()
	case e.By == session.ByClient:
		reason = "other"
	}
	m.ends.WithLabelValues(e.By.String(), reason).Inc()
}
