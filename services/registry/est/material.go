package est

import (
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"log/slog"
	"os"
	"sync/atomic"
	"time"
)

// lookEvery is how often the certificate's files are looked at.
const lookEvery = 10 * time.Second

// material is the server's certificate, as its files are now.
type material struct {
	certFile, keyFile string
	metrics           *metrics
	raw               [2][]byte // only reload reads and writes it
	pair              atomic.Pointer[tls.Certificate]
}

func loadMaterial(certFile, keyFile string, m *metrics) (*material, error) {
	mat := &material{certFile: certFile, keyFile: keyFile, metrics: m}
	_, err := mat.reload()
	return mat, err
}

func (m *material) reload() (changed bool, err error) {
	var raw [2][]byte
	for i, name := range []string{m.certFile, m.keyFile} {
		if raw[i], err = os.ReadFile(name); err != nil {
			return false, fmt.Errorf("the devices' side: %w", err)
		}
	}
	if bytes.Equal(raw[0], m.raw[0]) && bytes.Equal(raw[1], m.raw[1]) {
		return false, nil
	}
	pair, err := tls.X509KeyPair(raw[0], raw[1])
	if err != nil {
		return false, fmt.Errorf("the devices' side: certificate %s with key %s: %w", m.certFile, m.keyFile, err)
	}
	m.raw = raw
	m.pair.Store(&pair)
	m.metrics.until.Set(float64(pair.Leaf.NotAfter.Unix()))
	return true, nil
}

// watch reloads until ctx ends. Files are replaced one after another, so a pair that does not match is tried again.
func (m *material) watch(ctx context.Context, every time.Duration, log *slog.Logger) {
	tick := time.NewTicker(every)
	defer tick.Stop()
	var said string
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		switch changed, err := m.reload(); {
		case err != nil && err.Error() != said:
			said = err.Error()
			log.Warn("the certificate is not reloaded", "error", err)
		case changed:
			said = ""
			log.Info("certificate reloaded", "certificate", m.certFile)
		}
	}
}

// config is the side of the server. Devices are asked for a certificate and may have none; whose it is, is for each
// request to judge, since a password needs none, and a manufacturer's and ours are judged by different rules. TLS 1.2 is
// for clients with a stack of their own, as strongSwan. Nothing resumes: a session would outlive its certificate.
func (m *material) config() *tls.Config {
	return &tls.Config{
		MinVersion:             tls.VersionTLS12,
		ClientAuth:             tls.RequestClientCert,
		SessionTicketsDisabled: true,
		NextProtos:             []string{"http/1.1"},
		// strongSwan reads twice and no more: an answer in several records, as Go begins a connection, is cut off by chance.
		DynamicRecordSizingDisabled: true,
		GetCertificate:              func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return m.pair.Load(), nil },
	}
}
