package est

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/asn1"
	"errors"
	"net/http"
	"slices"
	"sync"

	"muster.dev/services/registry/decide"
)

// maxChain bounds the certificates of a client that are looked at.
const maxChain = 8

var oidSAN = asn1.ObjectIdentifier{2, 5, 29, 17}

// makers remembers the pools of the manufacturers' certificates, which are parsed once as long as they stay the same.
type makers struct {
	mu    sync.Mutex
	pools map[string]pool // guarded by mu
}

type pool struct {
	of    [][]byte
	certs *x509.CertPool
}

func (m *makers) pool(of decide.Manufacturer) *x509.CertPool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if p, ok := m.pools[of.Name]; ok && slices.EqualFunc(p.of, of.Certificates, bytes.Equal) {
		return p.certs
	}
	certs := x509.NewCertPool()
	for _, der := range of.Certificates {
		if cert, err := x509.ParseCertificate(der); err == nil { // decide has parsed it before
			certs.AddCert(cert)
		}
	}
	if m.pools == nil || len(m.pools) >= decide.MaxManufacturers {
		m.pools = map[string]pool{}
	}
	m.pools[of.Name] = pool{of.Certificates, certs}
	return certs
}

// maker says which trusted manufacturer vouches for a certificate. The key was proven by the handshake.
//
// An IDevID is not one of the web's certificates (IEEE 802.1AR-2018 section 8): its end may be the year 9999, it need not
// name a usage, and its alternative name may be a critical one of a kind that nobody else knows (hardwareModuleName).
func (e *EST) maker(ctx context.Context, chain []*x509.Certificate) (string, error) {
	var trusted []decide.Manufacturer
	if err := e.writer.View(ctx, func(s *decide.State) { trusted = s.Manufacturers() }); err != nil {
		return "", err
	}
	leaf := *chain[0]
	leaf.UnhandledCriticalExtensions = slices.DeleteFunc(slices.Clone(leaf.UnhandledCriticalExtensions), oidSAN.Equal)
	between := x509.NewCertPool()
	for _, c := range chain[1:min(len(chain), maxChain)] {
		between.AddCert(c)
	}
	because := errors.New("no trusted manufacturer signed it")
	for _, m := range trusted {
		_, err := leaf.Verify(x509.VerifyOptions{Roots: e.makers.pool(m), Intermediates: between, CurrentTime: e.now(), KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny}})
		if err == nil && !leaf.IsCA {
			return m.Name, nil
		}
		var unknown x509.UnknownAuthorityError
		if err != nil && !errors.As(err, &unknown) {
			because = err // what is the matter with one that is known: its end, as a rule
		}
	}
	return "", refuse(http.StatusForbidden, "Ask an operator to trust the manufacturer, or for a one-time password; to renew a certificate of this fleet use simplereenroll.",
		"the client certificate of %.200q is not accepted: %.200s", leaf.Subject.String(), because)
}
