package local

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"os"
	"sync"
	"time"

	"muster.dev/proto/event"
	"muster.dev/proto/identity"
)

// material is the listener's side of TLS, read again when its files change.
type material struct {
	files Files

	mu     sync.Mutex // over those below
	looked time.Time
	stamp  string
	config *tls.Config
}

// lookEvery is how often the files are looked at, at most.
const lookEvery = time.Second

func openMaterial(f Files) (*material, error) {
	m := &material{files: f}
	_, err := m.current(time.Now())
	return m, err
}

// server is what a listener is made with.
func (m *material) server() *tls.Config {
	return &tls.Config{
		MinVersion:         tls.VersionTLS12, // a field device may be old; what it says is for this edge
		GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) { return m.current(time.Now()) },
	}
}

// current reads the files if they have changed. What cannot be read leaves what was read before in force.
func (m *material) current(now time.Time) (*tls.Config, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.config != nil && now.Sub(m.looked) < lookEvery {
		return m.config, nil
	}
	m.looked = now
	stamp := ""
	for _, path := range []string{m.files.Certificate, m.files.Key, m.files.ClientCA} {
		if info, err := os.Stat(path); err == nil {
			stamp += fmt.Sprint(info.ModTime().UnixNano(), info.Size(), " ")
		}
	}
	if m.config != nil && stamp == m.stamp {
		return m.config, nil
	}
	config, err := m.load()
	if err != nil {
		if m.config != nil {
			return m.config, nil // half of a renewal may be written
		}
		return nil, err
	}
	m.config, m.stamp = config, stamp
	return config, nil
}

func (m *material) load() (*tls.Config, error) {
	pair, err := tls.LoadX509KeyPair(m.files.Certificate, m.files.Key)
	if err != nil {
		return nil, fmt.Errorf("tls: %w", err)
	}
	config := &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{pair}}
	if m.files.ClientCA == "" {
		return config, nil
	}
	text, err := os.ReadFile(m.files.ClientCA)
	if err != nil {
		return nil, fmt.Errorf("tls.client_ca: %w", err)
	}
	config.ClientCAs = x509.NewCertPool()
	if !config.ClientCAs.AppendCertsFromPEM(text) {
		return nil, fmt.Errorf("tls.client_ca: %s holds no certificate", m.files.ClientCA)
	}
	config.ClientAuth = tls.RequireAndVerifyClientCert
	return config, nil
}

// nameOf is the client that a certificate names, empty when it names none: by its SPIFFE id, else by its common name.
func nameOf(cert *x509.Certificate) string {
	if len(cert.URIs) == 1 {
		if d, err := identity.ParseURL(cert.URIs[0].Host, cert.URIs[0]); err == nil {
			return string(d)
		}
		return ""
	}
	if len(cert.URIs) == 0 && event.Name(cert.Subject.CommonName) {
		return cert.Subject.CommonName
	}
	return ""
}
