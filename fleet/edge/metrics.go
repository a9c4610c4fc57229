package edge

import (
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"muster.dev/fleet/agent/ring"
	"muster.dev/fleet/edge/intake"
	"muster.dev/fleet/edge/parcel"
)

// metrics are the edge's counters. No label is made from what a device sends.
type metrics struct {
	messages    *prometheus.CounterVec
	readings    prometheus.Counter
	connections prometheus.Gauge
	refused     *prometheus.CounterVec
	sent        *prometheus.CounterVec
	took        prometheus.Histogram
	lost        *prometheus.CounterVec

	// What the heartbeat tells, since the start.
	taken, turned, stored, given atomic.Int64
}

func newMetrics(reg prometheus.Registerer, e *Edge) *metrics {
	m := &metrics{
		messages: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "muster_edge_messages_total", Help: "Messages of local devices, by what became of them: stored is on the disk.",
		}, []string{"stream", "outcome"}),
		readings:    prometheus.NewCounter(prometheus.CounterOpts{Name: "muster_edge_readings_dropped_total", Help: "Readings that a local rule dropped."}),
		connections: prometheus.NewGauge(prometheus.GaugeOpts{Name: "muster_edge_connections", Help: "Connections of local clients."}),
		refused: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "muster_edge_refused_total", Help: "What a local client was refused before its message was looked at: a connection, a CONNECT, a topic, another's name.",
		}, []string{"reason"}),
		sent: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "muster_edge_sent_total", Help: "Attempts to send a message to the gateway, by its answer; forbidden is a device that the edge may not speak for, barred the edge's own certificate.",
		}, []string{"outcome"}),
		took: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "muster_edge_send_seconds", Help: "How long an attempt took.", Buckets: prometheus.ExponentialBuckets(0.001, 4, 8),
		}),
		lost: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "muster_edge_given_up_total", Help: "Messages that were kept and then let go without being stored: refused by the gateway, forbidden, unanswered, unreadable.",
		}, []string{"why"}),
	}
	reg.MustRegister(m.messages, m.readings, m.connections, m.refused, m.sent, m.took, m.lost)
	for s := range parcel.Streams {
		m.messages.WithLabelValues(parcel.Stream(s).String(), intake.Stored.String())
	}
	counts := func(pick func(ring.Counts) float64) func() float64 {
		return func() float64 { return pick(e.ring.Counts()) }
	}
	reg.MustRegister(
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "muster_edge_waiting", Help: "Messages on the disk that are not answered for."},
			counts(func(c ring.Counts) float64 { return float64(c.Waiting + c.InFlight) })),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "muster_edge_store_bytes", Help: "Bytes of what is kept."},
			counts(func(c ring.Counts) float64 { return float64(c.Bytes) })),
		prometheus.NewCounterFunc(prometheus.CounterOpts{Name: "muster_edge_dropped_total", Help: "Messages that gave way because the store was full. They are lost."},
			counts(func(c ring.Counts) float64 { return float64(c.Dropped.Messages) })),
		prometheus.NewCounterFunc(prometheus.CounterOpts{Name: "muster_edge_corrupt_total", Help: "Messages that the disk did not give back as they were written. They are lost."},
			counts(func(c ring.Counts) float64 { return float64(c.Corrupt.Messages) })),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "muster_edge_devices", Help: "Local devices that were heard since the start."},
			func() float64 { return float64(e.intake.Devices()) }),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "muster_edge_devices_forbidden", Help: "Devices that the gateway does not let the edge speak for."},
			func() float64 { return float64(e.uplink.State().Forbidden) }),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "muster_edge_uplink_up", Help: "1 when the gateway answered the last attempt."},
			func() float64 {
				if e.uplink.State().Up {
					return 1
				}
				return 0
			}),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "muster_edge_oldest_seconds", Help: "Age of the oldest message that is to be sent; 0 when none is."},
			func() float64 { return age(e.uplink.State().Oldest, time.Now()).Seconds() }),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "muster_edge_certificate_seconds", Help: "How long the edge's certificate is good for; below 0 it has ended."},
			func() float64 { return time.Until(e.identity.ends()).Seconds() }),
	)
	return m
}

// age is how long ago t was, 0 for no time.
func age(t, now time.Time) time.Duration {
	if t.IsZero() {
		return 0
	}
	return max(0, now.Sub(t))
}

func (m *metrics) answered(s parcel.Stream, o intake.Outcome) {
	m.messages.WithLabelValues(s.String(), o.String()).Inc()
	if o == intake.Stored {
		m.taken.Add(1)
	} else {
		m.turned.Add(1)
	}
}

func (m *metrics) tried(outcome string, took time.Duration) {
	m.sent.WithLabelValues(outcome).Inc()
	m.took.Observe(took.Seconds())
	if outcome == "stored" || outcome == "duplicate" {
		m.stored.Add(1)
	}
}

func (m *metrics) gaveUp(why string, messages int) {
	m.lost.WithLabelValues(why).Add(float64(messages))
	m.given.Add(int64(messages))
}
