package authority

import (
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"fmt"
	"slices"
)

var (
	oidCommonName = asn1.ObjectIdentifier{2, 5, 4, 3}
	oidSAN        = asn1.ObjectIdentifier{2, 5, 29, 17}
)

// Names are what the request asks to be called: common names, and alternative names as text. None is granted; they are
// for the registry to compare with what the device is.
func (r *Request) Names() []string {
	var names []string
	for _, n := range r.csr.Subject.Names {
		if text, ok := n.Value.(string); ok && n.Type.Equal(oidCommonName) {
			names = append(names, text)
		}
	}
	return append(names, alternative(r.csr.DNSNames, r.csr.EmailAddresses, texts(r.csr.IPAddresses), texts(r.csr.URIs))...)
}

// NamedAs says how the request's subject and alternative names differ from the certificate's; "" is not at all. What
// counts is the text: a name in another string type of ASN.1 is the same. A request without alternative names is taken
// for one with the certificate's: strongSwan's pki writes no URI into a request, and what is issued is the same anyway.
func (r *Request) NamedAs(cert *x509.Certificate) string {
	have, want := words(r.csr.Subject), words(cert.Subject)
	if !slices.Equal(have, want) {
		return fmt.Sprintf("its subject is %.200q, the certificate's %.200q", r.csr.Subject.String(), cert.Subject.String())
	}
	carries := func(e pkix.Extension) bool { return e.Id.Equal(oidSAN) }
	if !slices.ContainsFunc(r.csr.Extensions, carries) {
		return ""
	}
	asked := alternative(r.csr.DNSNames, r.csr.EmailAddresses, texts(r.csr.IPAddresses), texts(r.csr.URIs))
	held := alternative(cert.DNSNames, cert.EmailAddresses, texts(cert.IPAddresses), texts(cert.URIs))
	if !slices.Equal(asked, held) {
		return fmt.Sprintf("its alternative names are %.200q, the certificate's %.200q", asked, held)
	}
	return ""
}

// words are a name's attributes, in their order.
func words(name pkix.Name) []string {
	var out []string
	for _, n := range name.Names {
		out = append(out, fmt.Sprintf("%v=%v", n.Type, n.Value))
	}
	return out
}

func alternative(kinds ...[]string) []string { return slices.Concat(kinds...) }

func texts[T fmt.Stringer](values []T) []string {
	var out []string
	for _, v := range values {
		out = append(out, v.String())
	}
	return out
}
