package pkcs7

import (
	"crypto/x509"
	"encoding/asn1"
	"errors"
	"fmt"
)

// MaxMessage bounds a message that is read, in bytes of DER.
const MaxMessage = 256 << 10

var errForm = errors.New("pkcs7: not a message of certificates")

// Certificates reads a certs-only message. They come in the message's order, which means nothing; signers, if there
// are any, are not looked at.
func Certificates(der []byte) ([]*x509.Certificate, error) {
	if len(der) > MaxMessage {
		return nil, fmt.Errorf("pkcs7: %d bytes, the limit is %d", len(der), MaxMessage)
	}
	var message struct {
		Type    asn1.ObjectIdentifier
		Content asn1.RawValue `asn1:"explicit,optional,tag:0"`
	}
	if rest, err := asn1.Unmarshal(der, &message); err != nil || len(rest) > 0 || !message.Type.Equal(oidSignedData) {
		return nil, errForm
	}
	var signed struct {
		Version      int
		Digests      asn1.RawValue
		Content      asn1.RawValue
		Certificates asn1.RawValue `asn1:"optional,tag:0"`
	}
	if _, err := asn1.Unmarshal(message.Content.Bytes, &signed); err != nil {
		return nil, errForm
	}
	certs, err := x509.ParseCertificates(signed.Certificates.Bytes)
	if err != nil {
		return nil, fmt.Errorf("pkcs7: %w", err)
	}
	return certs, nil
}
