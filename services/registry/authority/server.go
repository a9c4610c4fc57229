package authority

import (
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"slices"

	"muster.dev/services/registry/wholefile"
)

// LoopbackHosts are the names by which a local stack's servers are called.
var LoopbackHosts = []string{"localhost", "127.0.0.1", "::1"}

// EnsureServer sees to it that certFile and keyFile hold a server certificate of this authority for hosts (names or
// addresses) with a third of its life left and the chain of today, and makes a new pair where they do not.
func (a *Authority) EnsureServer(certFile, keyFile string, hosts ...string) error {
	if len(hosts) == 0 {
		return errors.New("a server certificate needs at least one host")
	}
	good, err := a.serverGood(certFile, keyFile, hosts)
	if err != nil || good {
		return err
	}
	if err := a.Ready(); err != nil {
		return err
	}
	key, err := newKey()
	if err != nil {
		return err
	}
	now, i := a.now(), a.held.Load().current
	template := &x509.Certificate{
		Subject:               pkix.Name{CommonName: hosts[0]},
		NotBefore:             now.Add(-backdate),
		NotAfter:              now.Add(a.opts.serverLife),
		KeyUsage:              x509.KeyUsageDigitalSignature,
		ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		BasicConstraintsValid: true,
	}
	if i.cert.NotAfter.Before(template.NotAfter) {
		template.NotAfter = i.cert.NotAfter
	}
	for _, host := range hosts {
		if ip := net.ParseIP(host); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		} else {
			template.DNSNames = append(template.DNSNames, host)
		}
	}
	if template.SerialNumber, err = newSerial(); err != nil {
		return err
	}
	der, err := x509.CreateCertificate(rand.Reader, template, i.cert, key.Public(), i.signer)
	if err != nil {
		return fmt.Errorf("sign the server certificate of %s: %w", hosts[0], err)
	}
	data, err := EncodeKey(key)
	if err != nil {
		return err
	}
	// A crash between the two leaves a pair that does not match: the next EnsureServer makes another.
	if err := wholefile.Write(keyFile, data, 0o600); err != nil {
		return err
	}
	return writeCertificates(certFile, append([]*x509.Certificate{{Raw: der}}, a.Chain()...)...)
}

func (a *Authority) serverGood(certFile, keyFile string, hosts []string) (bool, error) {
	certs, err := readCertificates(certFile)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	} else if err != nil {
		return false, err
	}
	if _, err := readPlainKey(keyFile); errors.Is(err, fs.ErrNotExist) {
		return false, nil
	} else if err != nil {
		return false, err
	}
	if _, err := tls.LoadX509KeyPair(certFile, keyFile); err != nil {
		return false, nil
	}
	leaf, i := certs[0], a.held.Load().current
	if a.now().Add(a.opts.serverLife/3).After(leaf.NotAfter) || leaf.CheckSignatureFrom(i.cert) != nil {
		return false, nil
	}
	if !slices.EqualFunc(certs[1:], a.Chain(), (*x509.Certificate).Equal) {
		return false, nil // a root came or went
	}
	return !slices.ContainsFunc(hosts, func(host string) bool { return leaf.VerifyHostname(host) != nil }), nil
}
