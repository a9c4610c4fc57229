package pkcs7

import (
	"bytes"
	"crypto/x509"
	"encoding/asn1"
	"fmt"
	"slices"
)

var (
	oidData       = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 7, 1}
	oidSignedData = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 7, 2}
)

type contentInfo struct {
	Type    asn1.ObjectIdentifier
	Content asn1.RawValue `asn1:"optional"`
}

type signedData struct {
	Version      int
	Digests      asn1.RawValue // SET OF AlgorithmIdentifier: none
	Content      contentInfo
	Certificates asn1.RawValue // [0] IMPLICIT SET OF Certificate
	Signers      asn1.RawValue // SET OF SignerInfo: none
}

var emptySet = asn1.RawValue{FullBytes: []byte{asn1.TagSet | 0x20, 0}}

// CertsOnly is the DER of a message that carries the certificates, each in DER. They stand in the order that DER
// demands of a set, not in the caller's: who reads it has to build the path by itself.
func CertsOnly(certificates ...[]byte) ([]byte, error) {
	for _, der := range certificates {
		if _, err := x509.ParseCertificate(der); err != nil {
			return nil, fmt.Errorf("pkcs7: %w", err)
		}
	}
	sorted := slices.Clone(certificates)
	slices.SortFunc(sorted, bytes.Compare)
	inner, err := asn1.Marshal(signedData{
		Version: 1, Digests: emptySet, Content: contentInfo{Type: oidData},
		Certificates: asn1.RawValue{Class: asn1.ClassContextSpecific, Tag: 0, IsCompound: true, Bytes: slices.Concat(sorted...)},
		Signers:      emptySet,
	})
	if err != nil {
		return nil, fmt.Errorf("pkcs7: %w", err)
	}
	out, err := asn1.Marshal(contentInfo{
		Type:    oidSignedData,
		Content: asn1.RawValue{Class: asn1.ClassContextSpecific, Tag: 0, IsCompound: true, Bytes: inner},
	})
	if err != nil {
		return nil, fmt.Errorf("pkcs7: %w", err)
	}
	return out, nil
}
