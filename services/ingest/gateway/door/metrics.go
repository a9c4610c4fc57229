package door

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"strings"

	"github.com/prometheus/client_golang/prometheus"

	"muster.dev/platform/roster"
	"muster.dev/proto/identity"
)

type metrics struct {
	open       *prometheus.GaugeVec
	accepted   *prometheus.CounterVec
	refused    *prometheus.CounterVec
	handshakes *prometheus.CounterVec
	closed     *prometheus.CounterVec
	chatter    prometheus.Counter
}

// counts are those of one door.
type counts struct {
	open     prometheus.Gauge
	accepted prometheus.Counter
}

func (m *metrics) of(protocol string) counts {
	return counts{m.open.WithLabelValues(protocol), m.accepted.WithLabelValues(protocol)}
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

// Reasons for which a certificate does not open the door any more, and open connections end.
const (
	reasonDevice      = "device-revoked"
	reasonCertificate = "certificate-revoked"
	reasonAuthority   = "authority-revoked"
	reasonSuperseded  = "superseded"
)

func reasonOf(s roster.Standing) string {
	switch s {
	case roster.DeviceRevoked:
		return reasonDevice
	case roster.CertificateRevoked:
		return reasonCertificate
	case roster.AuthorityRevoked:
		return reasonAuthority
	}
	return reasonSuperseded
}

// refused is the error of a handshake whose certificate is good in itself.
type refused struct {
	device   identity.Device
	standing roster.Standing
}

// Error never reaches the device, which reads the alert "bad certificate".
func (e *refused) Error() string {
	return fmt.Sprintf("device %s is not let in: %s", e.device, e.standing)
}

func newMetrics(reg prometheus.Registerer, material *Material) *metrics {
	m := &metrics{
		open: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "muster_gateway_connections",
			Help: "Open connections of devices, those that are shaking hands included, by what is spoken at the port that they came to.",
		}, []string{"protocol"}),
		accepted: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "muster_gateway_connections_accepted_total",
			Help: "Connections that completed their handshake, by what is spoken at the port that they came to.",
		}, []string{"protocol"}),
		refused: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "muster_gateway_connections_refused_total",
			Help: "Connections closed before their handshake, by the cap they met.",
		}, []string{"cap"}),
		handshakes: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "muster_gateway_handshake_errors_total",
			Help: "TLS handshakes that failed, by class; the classes of connections_ended are certificates that were good and are not any more.",
		}, []string{"class"}),
		closed: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "muster_gateway_connections_ended_total",
			Help: "Open connections closed because their certificate came to its end, by what ended it.",
		}, []string{"reason"}),
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
	for _, c := range []string{reasonDevice, reasonCertificate, reasonAuthority, reasonSuperseded} {
		m.handshakes.WithLabelValues(c)
		m.closed.WithLabelValues(c)
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
	var ended *refused
	switch {
	case errors.As(err, &ended):
		return reasonOf(ended.standing)
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
