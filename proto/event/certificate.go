package event

import (
	"crypto/sha256"
	"encoding/hex"

	"muster.dev/proto/batch"
)

// The ce_types of what is said of certificates and of those who issue them.
const (
	TypeCertificateIssued  = "muster.registry.certificate-issued.v1"
	TypeCertificateRevoked = "muster.registry.certificate-revoked.v1"
	TypeIssuerDefined      = "muster.registry.issuer-defined.v1"
	TypeIssuerRevoked      = "muster.registry.issuer-revoked.v1"
)

// CertificateIssued gives a device one more certificate. It is written before the certificate is signed, which is a pure function of
// it, of the request's key and of the issuer's: one that was lost on the way is signed again, to the same bytes.
type CertificateIssued struct {
	No        uint32 `msgpack:"no"`
	Serial    string `msgpack:"serial"`        // lower-case hex without leading zeros
	SPKI      []byte `msgpack:"spki"`          // SHA-256 of the public key
	CSR       []byte `msgpack:"csr"`           // SHA-256 of the request's DER
	NotBefore int64  `msgpack:"not_before"`    // Unix ms
	NotAfter  int64  `msgpack:"not_after"`     // Unix ms
	Issuer    string `msgpack:"issuer"`        // as IssuerDefined names it
	Method    string `msgpack:"method"`        // operator, password, manufacturer, renewal
	Via       string `msgpack:"via,omitempty"` // the password's id, or manufacturer/serial
}

// CertificateRevoked ends one certificate, and its key for ever.
type CertificateRevoked struct {
	No     uint32 `msgpack:"no"`
	Serial string `msgpack:"serial"`
}

// IssuerDefined names a certificate that issues those of devices. The first one that a log defines issued all before it.
type IssuerDefined struct {
	Issuer      string `msgpack:"issuer"`      // lower-case hex of the first 16 bytes of the SHA-256 of its DER
	Certificate []byte `msgpack:"certificate"` // DER
}

// IssuerRevoked ends every certificate that the issuer signed.
type IssuerRevoked struct {
	Issuer string `msgpack:"issuer"`
}

// Type is the ce_type.
func (CertificateIssued) Type() string { return TypeCertificateIssued }

// Type is the ce_type.
func (CertificateRevoked) Type() string { return TypeCertificateRevoked }

// Type is the ce_type.
func (IssuerDefined) Type() string { return TypeIssuerDefined }

// Type is the ce_type.
func (IssuerRevoked) Type() string { return TypeIssuerRevoked }

// MaxDER is the number of bytes that an authority's certificate may have.
const MaxDER = 8 << 10

// IssuerID is how the issuer with this certificate is called.
func IssuerID(der []byte) string {
	sum := sha256.Sum256(der)
	return hex.EncodeToString(sum[:16])
}

// Serial says whether s is a certificate's serial number as the registry writes it: lower-case hex without leading
// zeros, at most 20 bytes.
func Serial(s string) bool { return s != "" && s[0] != '0' && len(s) <= 40 && lowerHex(s) }

func lowerHex(s string) bool {
	for i := range len(s) {
		if c := s[i]; (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return true
}

func checkSerial(s string) *batch.Error {
	if !Serial(s) {
		return bad("serial", "must be lower-case hex without leading zeros, at most 40 digits")
	}
	return nil
}

func checkIssuer(s string) *batch.Error {
	if len(s) != 32 || !lowerHex(s) {
		return bad("issuer", "must have 32 digits of lower-case hex")
	}
	return nil
}

func (c CertificateIssued) validate() *batch.Error {
	switch {
	case c.No == 0:
		return bad("no", "must count from 1")
	case len(c.SPKI) != 32:
		return bad("spki", "must have 32 bytes")
	case len(c.CSR) != 32:
		return bad("csr", "must have 32 bytes")
	case c.NotBefore < 0 || c.NotAfter <= c.NotBefore || c.NotAfter > batch.MaxTime:
		return bad("not_after", "must be Unix milliseconds after not_before")
	}
	if err := checkSerial(c.Serial); err != nil {
		return err
	}
	if err := checkIssuer(c.Issuer); err != nil {
		return err
	}
	if err := checkText("via", c.Via); err != nil {
		return err
	}
	return checkName("method", c.Method)
}

// An old certificate's serial may be written otherwise, as DeviceEnrolled takes any text.
func (c CertificateRevoked) validate() *batch.Error {
	switch {
	case c.No == 0:
		return bad("no", "must count from 1")
	case c.Serial == "":
		return bad("serial", "is missing")
	}
	return checkText("serial", c.Serial)
}

func (i IssuerDefined) validate() *batch.Error {
	if err := checkDER("certificate", i.Certificate); err != nil {
		return err
	}
	if i.Issuer != IssuerID(i.Certificate) {
		return bad("issuer", "must be the hex of the first 16 bytes of the certificate's SHA-256")
	}
	return nil
}

func (i IssuerRevoked) validate() *batch.Error { return checkIssuer(i.Issuer) }

func checkDER(field string, der []byte) *batch.Error {
	switch {
	case len(der) == 0:
		return bad(field, "is missing")
	case len(der) > MaxDER:
		return refuse(batch.Unprocessable, field, "is too long", MaxDER)
	}
	return nil
}
