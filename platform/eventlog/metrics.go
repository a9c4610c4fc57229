package eventlog

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

type producerMetrics struct {
	reg      prometheus.Registerer
	all      []prometheus.Collector
	latency  prometheus.Histogram
	records  *prometheus.CounterVec
	bytes    *prometheus.CounterVec
	failures *prometheus.CounterVec
}

func newProducerMetrics(p *Producer, reg prometheus.Registerer) (*producerMetrics, error) {
	m := &producerMetrics{
		reg: reg,
		latency: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name:    "muster_eventlog_produce_duration_seconds",
			Help:    "From handing a record over to the log's acknowledgement.",
			Buckets: []float64{.001, .0025, .005, .0075, .01, .015, .02, .03, .04, .06, .1, .25, .5, 1, 2, 5, 10, 30},
		}),
		records: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "muster_eventlog_produced_records_total",
			Help: "Records that the log acknowledged.",
		}, []string{"topic"}),
		bytes: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "muster_eventlog_produced_bytes_total",
			Help: "Bytes of the values that the log acknowledged, before compression.",
		}, []string{"topic"}),
		failures: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "muster_eventlog_produce_failures_total",
			Help: "Records that were not acknowledged, by class; class full was never sent, of the others the log may have some.",
		}, []string{"class"}),
	}
	m.all = []prometheus.Collector{
		m.latency, m.records, m.bytes, m.failures,
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "muster_eventlog_buffered_records",
			Help: "Records that wait for the log's acknowledgement.",
		}, func() float64 { return float64(p.client.BufferedProduceRecords()) }),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "muster_eventlog_buffered_bytes",
			Help: "Bytes of the records that wait for the log's acknowledgement.",
		}, func() float64 { return float64(p.client.BufferedProduceBytes()) }),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "muster_eventlog_oldest_in_flight_seconds",
			Help: "Age of the oldest record that waits for the log's acknowledgement.",
		}, func() float64 { return p.OldestInFlight().Seconds() }),
	}
	for _, class := range []string{classFull, classTimeout, classClosed, classNetwork, classRefused, classOther} {
		m.failures.WithLabelValues(class) // a rate needs the zero before the first failure
	}
	for i, c := range m.all {
		if err := reg.Register(c); err != nil {
			m.all = m.all[:i]
			m.unregister()
			return nil, fmt.Errorf("register producer metrics: %w", err)
		}
	}
	return m, nil
}

func (m *producerMetrics) unregister() {
	for _, c := range m.all {
		m.reg.Unregister(c)
	}
}

func (m *producerMetrics) landed(rec *kgo.Record, took time.Duration, err error) {
	if err != nil {
		m.failures.WithLabelValues(failureClass(err)).Inc()
		return
	}
	m.latency.Observe(took.Seconds())
	m.records.WithLabelValues(rec.Topic).Inc()
	m.bytes.WithLabelValues(rec.Topic).Add(float64(len(rec.Value)))
}

const (
	classFull    = "full"    // our own buffers
	classTimeout = "timeout" // never sent within DeliveryTimeout
	classClosed  = "closed"  // the producer was closed
	classNetwork = "network"
	classRefused = "refused" // the broker answered with an error
	classOther   = "other"
)

func failureClass(err error) string {
	var broker *kerr.Error
	var network net.Error
	switch {
	case errors.Is(err, kgo.ErrMaxBuffered):
		return classFull
	case errors.Is(err, kgo.ErrRecordTimeout), errors.Is(err, context.DeadlineExceeded):
		return classTimeout
	case errors.Is(err, kgo.ErrClientClosed), errors.Is(err, kgo.ErrAborting):
		return classClosed
	case errors.As(err, &broker):
		return classRefused
	case errors.As(err, &network):
		return classNetwork
	}
	return classOther
}
