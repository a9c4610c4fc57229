package est

import (
	"encoding/asn1"
	"fmt"
)

var (
	oidECPublicKey     = asn1.ObjectIdentifier{1, 2, 840, 10045, 2, 1}
	oidP256            = asn1.ObjectIdentifier{1, 2, 840, 10045, 3, 1, 7}
	oidECDSAWithSHA256 = asn1.ObjectIdentifier{1, 2, 840, 10045, 4, 3, 2}
)

// wanted is the DER of CsrAttrs (RFC 7030 section 4.5.2): a key on P-256, and a signature with SHA-256. It is a hint.
func wanted() ([]byte, error) {
	type attribute struct {
		Type   asn1.ObjectIdentifier
		Values []asn1.ObjectIdentifier `asn1:"set"`
	}
	key, err := asn1.Marshal(attribute{oidECPublicKey, []asn1.ObjectIdentifier{oidP256}})
	if err != nil {
		return nil, fmt.Errorf("csrattrs: %w", err)
	}
	signature, err := asn1.Marshal(oidECDSAWithSHA256)
	if err != nil {
		return nil, fmt.Errorf("csrattrs: %w", err)
	}
	return asn1.Marshal([]asn1.RawValue{{FullBytes: key}, {FullBytes: signature}})
}
