package door

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"sync/atomic"
	"time"
)

// Files are where the server's certificate, its key and the authorities of the devices lie, all PEM.
type Files struct {
	Certificate string `yaml:"certificate"`
	Key         string `yaml:"key"`
	ClientCA    string `yaml:"client_ca"`
}

// Material is the TLS configuration made of Files, as they are now.
type Material struct {
	files  Files
	raw    [3][]byte // what config was made of; only Reload reads and writes it
	config atomic.Pointer[tls.Config]
	admits atomic.Pointer[func(tls.ConnectionState) error] // the door's last word; nil without a door
}

// LoadMaterial reads the files; one that cannot be used is an error that names it.
func LoadMaterial(f Files) (*Material, error) {
	m := &Material{files: f}
	if _, err := m.Reload(); err != nil {
		return nil, err
	}
	return m, nil
}

// Config is for new connections; those that are open keep theirs.
func (m *Material) Config() *tls.Config { return m.config.Load() }

// Until is when the server's certificate ends.
func (m *Material) Until() time.Time { return m.Config().Certificates[0].Leaf.NotAfter }

// Reload takes the files as they are now and says whether they changed. On an error the old ones stay.
func (m *Material) Reload() (changed bool, err error) {
	var raw [3][]byte
	for i, name := range []string{m.files.Certificate, m.files.Key, m.files.ClientCA} {
		if raw[i], err = os.ReadFile(name); err != nil {
			return false, fmt.Errorf("tls: %w", err)
		}
	}
	if m.config.Load() != nil && bytes.Equal(raw[0], m.raw[0]) && bytes.Equal(raw[1], m.raw[1]) && bytes.Equal(raw[2], m.raw[2]) {
		return false, nil
	}
	pair, err := tls.X509KeyPair(raw[0], raw[1])
	if err != nil {
		return false, fmt.Errorf("tls: certificate %s with key %s: %w", m.files.Certificate, m.files.Key, err)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(raw[2]) {
		return false, fmt.Errorf("tls: client_ca %s holds no certificate", m.files.ClientCA)
	}
	m.raw = raw
	m.config.Store(&tls.Config{
		MinVersion:   tls.VersionTLS13,
		Certificates: []tls.Certificate{pair},
		ClientAuth:   tls.RequireAndVerifyClientCert,
		ClientCAs:    roots,
		// A resumed session skips the chain's verification, so a device whose authority was taken away would stay.
		SessionTicketsDisabled: true,
		VerifyConnection:       m.verify,
	})
	return true, nil
}

// Watch reloads when the files change, until ctx ends. Files are replaced one after another, so a pair that does not
// match is tried again at the next look.
func (m *Material) Watch(ctx context.Context, every time.Duration, log *slog.Logger) error {
	tick := time.NewTicker(every)
	defer tick.Stop()
	var said string
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		changed, err := m.Reload()
		switch {
		case err != nil && err.Error() != said:
			said = err.Error()
			log.Warn("certificates are not reloaded", "error", err)
		case changed:
			said = ""
			log.Info("certificates reloaded", "certificate", m.files.Certificate)
		}
	}
}

// errUsage is a certificate for something else: the chain's check takes one that names no usage for any.
var errUsage = errors.New("the certificate is not for client authentication")

// verify runs on every connection, also on one that a later change would let resume: VerifyPeerCertificate would not.
func (m *Material) verify(s tls.ConnectionState) error {
	if len(s.PeerCertificates) == 0 || len(s.VerifiedChains) == 0 {
		return errors.New("no verified client certificate")
	}
	leaf := s.PeerCertificates[0]
	if !slices.Contains(leaf.ExtKeyUsage, x509.ExtKeyUsageClientAuth) || leaf.IsCA {
		return errUsage
	}
	if admits := m.admits.Load(); admits != nil {
		return (*admits)(s)
	}
	return nil
}
