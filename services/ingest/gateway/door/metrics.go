package door

import (
	"crypto/tls"
	"errors"
	"net"
	"strings"

	"github.com/prometheus/client_golang/prometheus"
)

type metrics struct {
	open       prometheus.Gauge
	accepted   prometheus.Counter
	refused    *prometheus.CounterVec
	handshakes *prometheus.CounterVec
	closed     prometheus.Counter
	chatter    prometheus.Counter
}

// Reasons for which a connection is refused before its handshake, and for which handshakes fail.
const (
	refusedTotal      = "total"
	refusedAddress    = "address"
	refusedHandshakes = "handshakes"

	failedTimeout     = "timeout"
	failedCertificate = "certificate"
	failedPlain       = "plain"
	failedClosed      = "closed"
	failedProtocol    = "protocol"
)

func newMetrics(reg prometheus.Registerer, material *Material) *metrics {
	m := &metrics{
		open: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "muster_gateway_connections",
			Help: "Open connections of devices, those that are shaking hands included.",
		}),
		accepted: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "muster_gateway_connections_accepted_total",
			Help: "Connections that completed their handshake.",
		}),
		refused: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "muster_gateway_connections_refused_total",
			Help: "Connections closed before their handshake, by the cap they met.",
		}, []string{"cap"}),
		handshakes: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "muster_gateway_handshake_errors_total",
			Help: "TLS handshakes that failed, by class.",
		}, []string{"class"}),
		closed: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "muster_gateway_connections_ended_total",
			Help: "Open connections closed because the device was revoked.",
		}),
		chatter: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "muster_gateway_connections_chatter_total",
			Help: "Connections of HTTP/2 closed because they brought frames and no messages.",
		}),
	}
	for _, c := range []string{refusedTotal, refusedAddress, refusedHandshakes} {
		m.refused.WithLabelValues(c)
	}
	for _, c := range []string{failedTimeout, failedCertificate, failedPlain, failedClosed, failedProtocol} {
		m.handshakes.WithLabelValues(c)
	}
	reg.MustRegister(m.open, m.accepted, m.refused, m.handshakes, m.closed, m.chatter, prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "muster_gateway_certificate_not_after_timestamp_seconds",
		Help: "When the gateway's server certificate ends, the one that new connections are shown.",
	}, func() float64 { return float64(material.Until().Unix()) }))
	return m
}

func classify(err error) string {
	var plain tls.RecordHeaderError
	var network net.Error
	var verification *tls.CertificateVerificationError
	switch {
	case errors.As(err, &verification), errors.Is(err, errUsage), strings.Contains(err.Error(), "certificate"):
		return failedCertificate
	case errors.As(err, &plain):
		return failedPlain
	case errors.As(err, &network) && network.Timeout(), strings.Contains(err.Error(), "deadline exceeded"):
		return failedTimeout
	case errors.As(err, &network), strings.HasSuffix(err.Error(), "EOF"):
		return failedClosed
	}
	return failedProtocol
}
