package decide

import (
	"testing"

	"muster.dev/platform/roster"
)

// What ends with a certificate is its key: whoever has that must not go on with an older or newer certificate of it, nor
// renew with one to a key of their own.
func TestARevokedKeyEndsAllCertificatesOfIt(t *testing.T) {
	s := site(t)
	first := do(t, s, enrolled("d", "k")).Certificate
	second := do(t, s, Reenrol{Device: "d", Serial: first.Serial, SPKI: first.SPKI, Certificate: cert("k", "again")}).Certificate
	do(t, s, RevokeCertificate{first.Serial})
	if _, standing := s.Standing("d", second.Serial, second.SPKI); standing != roster.CertificateRevoked {
		t.Errorf("another certificate of the revoked key is %v", standing)
	}
	refused(t, s, Reenrol{Device: "d", Serial: second.Serial, SPKI: second.SPKI, Certificate: cert("another", "new")}, Forbidden, "device")
}
