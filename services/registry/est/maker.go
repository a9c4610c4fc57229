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

// makers remembers the manufacturers' certificates, which are parsed once as long as they stay the same.
type makers struct {
	mu   sync.Mutex
	last vouching // guarded by mu
}

// vouching is who may vouch for a device, all in one pool: a chain that leads nowhere is followed once, not once for
// each manufacturer.
type vouching struct {
	of    []decide.Manufacturer
	certs *x509.CertPool
	whose map[string]int // the first manufacturer of a certificate, as of has it
}

func (m *makers) vouching(of []decide.Manufacturer) vouching {
	m.mu.Lock()
	defer m.mu.Unlock()
	same := func(a, b decide.Manufacturer) bool {
		return a.Name == b.Name && slices.EqualFunc(a.Certificates, b.Certificates, bytes.Equal)
	}
	if m.last.certs != nil && slices.EqualFunc(m.last.of, of, same) {
		return m.last
	}
	v := vouching{of: of, certs: x509.NewCertPool(), whose: map[string]int{}}
	for n, maker := range of {
		for _, der := range maker.Certificates {
			if _, had := v.whose[string(der)]; had {
				continue
			}
			v.whose[string(der)] = n
			if cert, err := x509.ParseCertificate(der); err == nil { // decide has parsed it before
				v.certs.AddCert(cert)
			}
		}
	}
	m.last = v
	return v
}

// path is the way up from the leaf that a client shows, each step by the name of the issuer. Anybody may show anything:
// of certificates that all bear one name each could have signed each, and to try them all costs a hundred signatures.
func path(chain []*x509.Certificate) *x509.CertPool {
	between := x509.NewCertPool()
	left := slices.Clone(chain[1:min(len(chain), maxChain)])
	for at := chain[0]; ; {
		n := slices.IndexFunc(left, func(c *x509.Certificate) bool { return bytes.Equal(c.RawSubject, at.RawIssuer) })
		if n < 0 {
			return between
		}
		at = left[n]
		between.AddCert(at)
		left = slices.DeleteFunc(left, func(c *x509.Certificate) bool { return bytes.Equal(c.RawSubject, at.RawSubject) })
	}
}

// maker says which trusted manufacturer vouches for a certificate. The key was proven by the handshake.
func (e *EST) maker(ctx context.Context, chain []*x509.Certificate) (string, error) {
	var trusted []decide.Manufacturer
	var name string
	var refused error
	err := e.look(ctx, func(s *decide.State) { trusted = s.Manufacturers() }, func() bool {
		name, refused = e.vouches(trusted, chain)
		return refused == nil
	})
	if err != nil {
		return "", err
	}
	return name, refused
}

// vouches says which one of the manufacturers signed the first certificate of a chain.
//
// An IDevID is not one of the web's certificates (IEEE 802.1AR-2018 section 8): its end may be the year 9999, it need not
// name a usage, and its alternative name may be a critical one of a kind that nobody else knows (hardwareModuleName).
func (e *EST) vouches(trusted []decide.Manufacturer, chain []*x509.Certificate) (string, error) {
	leaf := *chain[0]
	leaf.UnhandledCriticalExtensions = slices.DeleteFunc(slices.Clone(leaf.UnhandledCriticalExtensions), oidSAN.Equal)
	v := e.makers.vouching(trusted)
	because := errors.New("no trusted manufacturer signed it")
	ways, err := leaf.Verify(x509.VerifyOptions{Roots: v.certs, Intermediates: path(chain), CurrentTime: e.now(), KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny}})
	var unknown x509.UnknownAuthorityError
	switch {
	case err == nil && !leaf.IsCA:
		first := len(v.of)
		for _, way := range ways {
			first = min(first, v.whose[string(way[len(way)-1].Raw)])
		}
		return v.of[first].Name, nil
	case err != nil && !errors.As(err, &unknown):
		because = err // what is the matter with one that is known: its end, as a rule
	}
	return "", refuse(http.StatusForbidden, "Ask an operator to trust the manufacturer, or for a one-time password; to renew a certificate of this fleet use simplereenroll.",
		"the client certificate of %.200q is not accepted: %.200s", leaf.Subject.String(), because)
}
