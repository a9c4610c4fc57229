package uplink

import (
	"crypto/tls"
	"crypto/x509"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"
)

// Identity is who the edge is and whom it trusts.
type Identity struct {
	Certificate tls.Certificate
	Roots       *x509.CertPool
}

// client is the HTTP client of the identity in use. A new identity gets connections of its own.
type client struct {
	base    *url.URL
	timeout time.Duration

	mu        sync.Mutex // over those below
	http      *http.Client
	transport *http.Transport
}

func newClient(cfg Config, id Identity) (*client, error) {
	base, err := url.Parse(strings.TrimSuffix(cfg.Gateway, "/"))
	if err != nil {
		return nil, err
	}
	c := &client{base: base, timeout: cfg.Timeout}
	c.use(id)
	return c, nil
}

// use makes the next requests be id's.
func (c *client) use(id Identity) {
	t := &http.Transport{
		TLSClientConfig:     &tls.Config{MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{id.Certificate}, RootCAs: id.Roots},
		ForceAttemptHTTP2:   true, // one connection for all devices
		TLSHandshakeTimeout: c.timeout,
		IdleConnTimeout:     55 * time.Second,
		DisableCompression:  true,
		// A connection that died without a word is found before a message waits for it in vain.
		HTTP2: &http.HTTP2Config{SendPingTimeout: 15 * time.Second, PingTimeout: 10 * time.Second},
	}
	c.mu.Lock()
	old := c.transport
	c.http, c.transport = &http.Client{Transport: t, Timeout: c.timeout}, t
	c.mu.Unlock()
	if old != nil {
		old.CloseIdleConnections()
	}
}

func (c *client) now() *http.Client {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.http
}

func (c *client) close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.transport.CloseIdleConnections()
}
