package est

import (
	"context"
	"crypto/sha256"
	"crypto/x509"
	"errors"
	"net/http"
	"time"

	"muster.dev/platform/roster"
	"muster.dev/platform/share"
	"muster.dev/proto/identity"
	"muster.dev/proto/pkcs7"
	"muster.dev/services/registry/authority"
	"muster.dev/services/registry/decide"
)

// author stands in the log as who enrols by EST; why says how.
const author = "est"

const wantCredentials = "Send the one-time password by HTTP Basic with the device's name as user, or the manufacturer's certificate as the TLS client's."

// enrol gives a device its first certificate, or, by a new password or the manufacturer's certificate, a new key.
func (e *EST) enrol(w http.ResponseWriter, r *http.Request, a *attempt) (answer, error) {
	label, err := label(r)
	if err != nil {
		return answer{}, err
	}
	user, password, basic := r.BasicAuth()
	var command func(*authority.Request, decide.Certificate) decide.Command
	var why string
	switch {
	case basic:
		a.by(user)
		why = "enrolled by a one-time password"
		if _, err := identity.ParseDevice(user); err != nil {
			p := refuse(http.StatusUnauthorized, "The user name of HTTP Basic is the device's name.", "user: %v", err)
			p.challenge = true
			return answer{}, p
		}
		secret := sha256.Sum256([]byte(password))
		command = func(request *authority.Request, c decide.Certificate) decide.Command {
			return decide.EnrolByPassword{User: user, Secret: secret, Label: label, Certificate: c, Names: request.Names()}
		}
	case r.TLS != nil && len(r.TLS.PeerCertificates) > 0:
		leaf := r.TLS.PeerCertificates[0]
		a.by(leaf.Subject.String())
		why = "enrolled by the manufacturer's certificate"
		maker, err := e.maker(r.Context(), r.TLS.PeerCertificates)
		if err != nil {
			return answer{}, err
		}
		serial := leaf.Subject.SerialNumber
		if serial == "" {
			return answer{}, refuse(http.StatusForbidden, "An IDevID names the device by the attribute serialNumber of its subject (IEEE 802.1AR).", "the manufacturer's certificate has no serial number in its subject, %.200q", leaf.Subject.String())
		}
		a.by(maker + "/" + serial)
		command = func(request *authority.Request, c decide.Certificate) decide.Command {
			return decide.EnrolByManufacturer{Manufacturer: maker, Serial: serial, Label: label, Certificate: c, Names: request.Names(), Aliases: []string{leaf.Subject.CommonName}}
		}
	default:
		p := refuse(http.StatusUnauthorized, wantCredentials, "enrolment needs a one-time password or a manufacturer's certificate").quietly()
		p.challenge = true
		return answer{}, p
	}
	if wait := e.failures.empty(failing{a.subject, share.Address(r.RemoteAddr)}); wait > 0 {
		return answer{}, slower(wait, "too many attempts in the name of this device were refused from this address")
	}
	request, err := read(w, r)
	if err != nil {
		return answer{}, err
	}
	spare := a.subject
	if basic {
		spare = "" // its password has a count
	}
	return e.issue(r.Context(), spare, why, request, command)
}

// reenrol renews the certificate that the device shows.
func (e *EST) reenrol(w http.ResponseWriter, r *http.Request, a *attempt) (answer, error) {
	if _, err := label(r); err != nil {
		return answer{}, err
	}
	if r.TLS == nil || len(r.TLS.PeerCertificates) == 0 {
		p := refuse(http.StatusUnauthorized, "Show the device's certificate as the TLS client's; without one, enrol at simpleenroll.", "renewal needs the certificate that is to be renewed").quietly()
		p.challenge = true // RFC 7030 knows no other way to say so
		return answer{}, p
	}
	leaf := r.TLS.PeerCertificates[0]
	a.by(leaf.Subject.String())
	device, err := e.ours(leaf)
	if err != nil {
		return answer{}, err
	}
	a.by(string(device))
	if wait := e.failures.empty(failing{a.subject, share.Address(r.RemoteAddr)}); wait > 0 {
		return answer{}, slower(wait, "too many attempts in the name of this device were refused from this address")
	}
	serial, spki := leaf.SerialNumber.Text(16), sha256.Sum256(leaf.RawSubjectPublicKeyInfo)
	var standing roster.Standing
	err = e.look(r.Context(), func(s *decide.State) { _, standing = s.Standing(device, serial, spki) }, func() bool { return standing == roster.Good })
	if err != nil {
		return answer{}, err
	}
	if standing != roster.Good {
		return answer{}, refuse(http.StatusForbidden, stand(standing), "device %s may not renew certificate %s: %v", device, serial, standing)
	}
	request, err := read(w, r)
	if err != nil {
		return answer{}, err
	}
	if differs := request.NamedAs(leaf); differs != "" {
		return answer{}, refuse(http.StatusForbidden, "Subject and alternative names must be those of the certificate that is renewed (RFC 7030 section 4.2.2).", "the certificate request is refused: %s", differs)
	}
	return e.issue(r.Context(), a.subject, "renewed by the device", request, func(request *authority.Request, c decide.Certificate) decide.Command {
		return decide.Reenrol{Device: device, Serial: serial, SPKI: spki, Certificate: c, Names: request.Names()}
	})
}

// look shows fn the state and has judge say whether what fn saw lets the device go on. If it does not, both are called once
// more, with all that the log holds: a registry that stands by, or was stopped and woke up, must not refuse what another
// has made good meanwhile.
func (e *EST) look(ctx context.Context, fn func(*decide.State), judge func() bool) error {
	err := e.writer.View(ctx, fn)
	if err != nil || judge() {
		return err
	}
	if err = e.writer.Sync(ctx); err == nil {
		err = e.writer.View(ctx, fn)
	}
	if err == nil {
		judge()
	}
	return err
}

// stand says what helps against a standing that is not good.
func stand(s roster.Standing) string {
	switch s {
	case roster.CertificateRevoked, roster.AuthorityRevoked, roster.Superseded:
		return "Enrol with a new key by a one-time password for this device."
	case roster.Quarantined:
		return "An operator holds the device off for now; ask when that ends."
	}
	return "Ask an operator."
}

// label is the product line of the address.
func label(r *http.Request) (string, error) {
	l := r.PathValue("label")
	if l == "" {
		return "", nil
	}
	if _, err := identity.ParseDevice(l); err != nil { // of one grammar
		return "", refuse(http.StatusNotFound, "Use the address of a product line that an operator has defined.", "%.80q is no label", l)
	}
	return l, nil
}

// issue has the command decided, signs what then stands in the log, and answers. Who may ask as often as it likes gets
// new certificates so often and no more, counted under spare; "" is not counted.
func (e *EST) issue(ctx context.Context, spare, why string, request *authority.Request, command func(*authority.Request, decide.Certificate) decide.Command) (answer, error) {
	if err := e.authority.Ready(); err != nil {
		return answer{}, errors.Join(later(60, "the registry cannot issue certificates now: %v", err), err)
	}
	if spare != "" {
		if wait := e.issues.empty(spare); wait > 0 {
			return answer{}, slower(wait, "too many new certificates were issued to this device; the last one is good")
		}
	}
	outcome, err := e.writer.Do(ctx, author, why, command(request, e.authority.Draft(request)))
	if err != nil {
		return answer{}, err
	}
	if spare != "" && len(outcome.Events) > 0 { // a repeat costs the log nothing
		e.issues.take(spare)
	}
	cert, err := e.authority.Sign(outcome.Device, request, outcome.Certificate)
	if err != nil {
		return answer{}, err
	}
	der, err := pkcs7.CertsOnly(cert.DER) // RFC 7030 section 4.2.3: the certificate that was issued, and no other
	if err != nil {
		return answer{}, err
	}
	e.log.Info("certificate issued", "device", outcome.Device, "no", outcome.No, "serial", cert.Serial, "not_after", cert.NotAfter.Format(time.RFC3339), "why", why)
	return answer{typeCertsOnly, der}, nil
}

// ours says which device a certificate of our own speaks for, as far as the certificate itself says.
func (e *EST) ours(leaf *x509.Certificate) (identity.Device, error) {
	roots, between := x509.NewCertPool(), x509.NewCertPool()
	for _, c := range e.authority.Roots() {
		roots.AddCert(c)
	}
	for _, c := range e.authority.Issuers() { // all that there are: what the client shows above its own adds nothing
		between.AddCert(c)
	}
	_, err := leaf.Verify(x509.VerifyOptions{Roots: roots, Intermediates: between, CurrentTime: e.now(), KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}})
	if err != nil {
		return "", refuse(http.StatusForbidden, "Renewal is for a certificate of this fleet that has not ended; otherwise enrol at simpleenroll.", "the client certificate is not accepted: %.200s", err)
	}
	if len(leaf.URIs) != 1 || leaf.IsCA {
		return "", refuse(http.StatusForbidden, "", "the client certificate names no device")
	}
	device, err := identity.ParseURI(e.authority.TrustDomain(), leaf.URIs[0].String())
	if err != nil {
		return "", refuse(http.StatusForbidden, "", "the client certificate names no device: %.200s", err)
	}
	return device, nil
}
